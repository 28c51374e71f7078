"""Volltrack: from raw 3D live-cell movies to measured cell behaviour.

The package that the notebooks share. Importing it costs nothing: TensorFlow, PyTorch, napari and the
other heavy libraries are imported by the functions that use them.
"""

__version__ = "0.1.0"
