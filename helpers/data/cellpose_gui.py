"""The masks in ``*_seg.npy``, which Cellpose's GUI saves beside each image.

Such a file is a pickle, and a pickle may run any code when it is read. So of its classes only those of which an array consists
are let in; whatever else it holds becomes a `_Nothing`.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from helpers.errors import InputError

#: Ending of the files.
ENDING = "_seg.npy"
_LET_IN = {("ndarray", "numpy"), ("dtype", "numpy"), ("encode", "_codecs")} | {
    (name, f"numpy.{core}.{module}")
    for core in ("core", "_core")
    for name, module in (("_reconstruct", "multiarray"), ("scalar", "multiarray"), ("_frombuffer", "numeric"))
}


class _Nothing:
    """Stands for an object of a class that is not let in."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __setstate__(self, _: Any) -> None:
        pass


class _Arrays(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (name, module) not in _LET_IN:
            return _Nothing
        # Files of either generation of numpy are read by either.
        core = "numpy._core." if hasattr(np, "_core") else "numpy.core."
        return super().find_class(module.replace("numpy._core.", core).replace("numpy.core.", core), name)


def read_masks(path: Path) -> np.ndarray:
    """Return the masks of a file.

    Parameters
    ----------
    path : Path
        ``*_seg.npy``.

    Returns
    -------
    ndarray of int, (Y, X) or (Z, Y, X)
        A number for each cell, 0 for the background.

    Raises
    ------
    InputError
        A file that cannot be read, or holds no masks.
    """
    try:
        with path.open("rb") as stream:
            if np.lib.format.read_magic(stream) == (1, 0):
                _, _, dtype = np.lib.format.read_array_header_1_0(stream)
            else:
                _, _, dtype = np.lib.format.read_array_header_2_0(stream)
            content = _Arrays(stream).load() if dtype.hasobject else None
        masks = content.item().get("masks") if isinstance(content, np.ndarray) and content.size == 1 else None
    except Exception as error:  # a damaged pickle may raise anything
        raise InputError(
            str(path), f"{type(error).__name__}: {error}", "cannot be read: truncated or damaged"
        ) from error
    if not isinstance(masks, np.ndarray) or masks.ndim not in (2, 3) or masks.dtype.kind not in "iu":
        raise InputError(
            str(path), "no masks", "give a _seg.npy that Cellpose's GUI saved, or its masks as PNG or TIFF"
        )
    return masks
