"""StarDist: star-convex cells in 2D and 3D, trained lazily, predicted once, thresholded as often as wanted.

The folder of a model is one of StarDist's: ``stardist.models.StarDist3D(None, name, basedir)`` opens it, and
``thresholds.json`` in it is read and written as StarDist does. The architecture, the targets, the losses, the
non-maximum suppression and the rendering are StarDist's own in 2D, and theirs to the voxel, but many times faster, in
3D (`helpers.models.stardist.suppression`, `helpers.models.stardist.rendering`).

References
----------
Schmidt et al., Cell detection with star-convex polygons, MICCAI 2018. Weigert et al., Star-convex polyhedra for
3D object detection and segmentation in microscopy, WACV 2020.
"""

from helpers.models.stardist.prediction import (
    StarPrediction,
    directions,
    instances,
    predict,
    render,
    survivors,
    tiling,
    upsample,
)
from helpers.models.stardist.training import StarDistSettings, load, save_thresholds, train

__all__ = [
    "StarDistSettings",
    "StarPrediction",
    "directions",
    "instances",
    "load",
    "predict",
    "render",
    "save_thresholds",
    "survivors",
    "tiling",
    "train",
    "upsample",
]
