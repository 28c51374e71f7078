"""Cellpose under the names and units of TrackMate-Cellpose-Advanced, version 3.1 and 4 alike.

A frame is segmented in one of three modes, which follow from its planes and one switch::

    one plane                      2D      flows in the plane
    several, stitch_planes         2D+Z    plane by plane, joined where their outlines overlap (IoU)
    several                        3D      flows of XY, ZY and ZX planes summed, stretched to cubic voxels

`eval_arguments` is the whole mapping from the settings to `cellpose.models.CellposeModel.eval`; what comes out are
Cellpose's own labels. The planes of 2D+Z pass through `eval` one by one, since Cellpose 3.1 keeps a stack's labels in
16 bits however many its planes have.

References
----------
Stringer et al., Cellpose, Nature Methods 2021. Pachitariu & Stringer, Cellpose 2.0, Nature Methods 2022.
Stringer & Pachitariu, Cellpose3, Nature Methods 2025. Pachitariu, Rariden & Stringer, Cellpose-SAM, bioRxiv 2025.
TrackMate-Cellpose-Advanced (parameters and their names).
"""

from helpers.models.cellpose.network import (
    CellposeNetwork,
    CellposeSettings,
    anisotropy,
    cellpose_version,
    eval_arguments,
    load,
)
from helpers.models.cellpose.prediction import (
    CellposePrediction,
    check_frame,
    normalized,
    plane_directions,
    predict,
)

__all__ = [
    "CellposeNetwork",
    "CellposePrediction",
    "CellposeSettings",
    "anisotropy",
    "cellpose_version",
    "check_frame",
    "eval_arguments",
    "load",
    "normalized",
    "plane_directions",
    "predict",
]
