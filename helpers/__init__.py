"""Volltrack: from raw 3D live-cell movies to measured cell behaviour.

The package that the notebooks share. Importing it costs nothing: TensorFlow, PyTorch, napari and the
other heavy libraries are imported by the functions that use them.
"""

import os

# csbdeep, StarDist and N2V refuse Keras on another backend, which who works with PyTorch or JAX may have set for all
# programs, in the environment or in ~/.keras/keras.json.
os.environ["KERAS_BACKEND"] = "tensorflow"

__version__ = "0.1.0"
