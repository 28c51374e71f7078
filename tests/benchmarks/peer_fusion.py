"""The published fusions behind one signature; runs in the peers' environment only."""

from __future__ import annotations

import contextlib
import importlib
import importlib.abc
import importlib.machinery
import io
import sys
from types import ModuleType
from typing import Any, ClassVar
from unittest.mock import MagicMock

import numpy as np


class _Stub(ModuleType):
    """A module whose every name is a stand-in."""

    __path__: ClassVar[list[str]] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return MagicMock()


#: What vollseg.utils imports and its fusion does not use.
_STUBBED = {
    "torch", "napari", "numba", "cv2", "pandas", "cellpose", "csbdeep", "stardist", "tqdm", "qtpy", "matplotlib",
    "vollseg.StarDist3D", "vollseg.UNET", "vollseg.CARE", "vollseg.MASKUNET", "vollseg.matching",
}  # fmt: skip


class _StubFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        if name in _STUBBED or name.split(".")[0] in _STUBBED:
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec: Any) -> ModuleType:
        return _Stub(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        pass


def _vollseg_utils() -> Any:
    if "vollseg.utils" not in sys.modules:
        import skimage.morphology

        if not hasattr(skimage.morphology, "square"):
            skimage.morphology.square = lambda width: np.ones((width, width), np.uint8)
        # The package's __init__ imports every model; only the folder is needed.
        sys.meta_path.insert(0, _StubFinder())
        package = ModuleType("vollseg")
        site = next(p for p in sys.path if p.endswith("site-packages"))
        package.__path__ = [f"{site}/vollseg"]
        sys.modules["vollseg"] = package
    return importlib.import_module("vollseg.utils")


def vollseg_32(probability: Any, star_labels: Any, foreground: Any, voxel_size: Any = None) -> Any:
    """vollseg 32.4.0 as it calls its own fusion (uint16 labels and mask)."""
    with contextlib.redirect_stdout(io.StringIO()):
        labels, _ = _vollseg_utils().WatershedwithMask3D(
            probability,
            star_labels.astype("uint16"),
            foreground.astype("uint16"),
            nms_thresh=0.3,
            seedpool=True,
        )
    return labels


def kapoorlabs(probability: Any, star_labels: Any, foreground: Any, voxel_size: Any = None) -> Any:
    """kapoorlabs-vollseg 1.0.5."""

    # Loaded past the package's __init__, which imports torch.
    if "kapoorlabs_vollseg" not in sys.modules:
        package = ModuleType("kapoorlabs_vollseg")
        site = next(p for p in sys.path if p.endswith("site-packages"))
        package.__path__ = [f"{site}/kapoorlabs_vollseg"]
        sys.modules["kapoorlabs_vollseg"] = package
    from kapoorlabs_vollseg.fusion import watershed_fuse

    return watershed_fuse(probability, star_labels, foreground)


def vollseg_2022(probability: Any, star_labels: Any, foreground: Any, voxel_size: Any = None) -> Any:
    """The rule of VollSeg 2022 (the paper's), which is on no index under that date; written anew from the paper.

    Centroids of the stars; a component of the mask without a star's centroid in its box adds its own; a seed at
    the origin; balls of radius 2; watershed on the negated map inside the mask.
    """
    from skimage import measure, morphology
    from skimage.segmentation import watershed

    seeds = [np.asarray(r.centroid) for r in measure.regionprops(star_labels)]
    for region in measure.regionprops(measure.label(foreground)):
        low, high = np.array(region.bbox).reshape(2, -1)
        if not any(((low <= seed) & (seed <= high)).all() for seed in seeds):
            seeds.append(np.asarray(region.centroid))
    seeds.append(np.zeros(probability.ndim))
    markers = np.zeros(probability.shape, np.uint16)
    markers[tuple(np.round(seeds).astype(int).T)] = 1 + np.arange(len(seeds))
    ball = morphology.ball(2) if probability.ndim == 3 else morphology.disk(2)
    return watershed(-probability, morphology.dilation(markers, ball), mask=foreground)


def skimage_watershed(elevation: Any, markers: Any, mask: Any) -> Any:
    """scikit-image's watershed alone."""
    from skimage.segmentation import watershed

    return watershed(elevation, markers, mask=mask)
