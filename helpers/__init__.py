"""Volltrack: from raw 3D live-cell movies to measured cell behaviour.

The package that the notebooks share. Importing it costs nothing: TensorFlow, PyTorch, napari and the
other heavy libraries are imported by the functions that use them.

Stable, which means that a change is announced in CHANGELOG.md: the command line (``python -m helpers``), experiment files
and the parameters of notebooks, the layout of a run folder and the columns of its tables, the servers' interfaces; and for
scripts `helpers.data.movies` (`Movie`, `LabelMovie`, `write_movie`), `helpers.tracking.tracks.Tracks`,
`helpers.tracking.formats.any_format`, `helpers.curation` (`Curation`) and `helpers.errors.InputError`. All else may change.
"""

import os

# csbdeep, StarDist and N2V refuse Keras on another backend, which who works with PyTorch or JAX may have set for all
# programs, in the environment or in ~/.keras/keras.json.
os.environ["KERAS_BACKEND"] = "tensorflow"

__version__ = "0.1.0"
