"""Overlap tracker on outlines in the plane, as TrackMate does it for 2D cells.

Where an object has no outline, TrackMate takes a regular polygon of 32 corners on the circle of its radius.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from helpers.errors import InputError
from helpers.tracking.candidates import radii
from helpers.tracking.overlap import OverlapParameters, tracks_of_best
from helpers.tracking.tracks import Tracks, check_objects


def link_overlap_contours(
    objects: pd.DataFrame,
    parameters: OverlapParameters | None = None,
    *,
    voxel_size: Sequence[float] | None = None,
    frame_interval: float | None = None,
) -> Tracks:
    """Link objects by the overlap of their outlines in the plane.

    Parameters
    ----------
    objects : DataFrame
        As for `Tracks`, with ``contour``: (N, 2) arrays of corners (y, x) in µm relative to the position, as
        `helpers.tracking.formats.trackmate.read` gives. Objects without one are circles: of their ``radius_um``
        or of their area or volume.
    parameters : OverlapParameters, optional
        TrackMate's defaults if left out.
    voxel_size : sequence of float, optional
        For the Tracks.
    frame_interval : float, optional
        For the Tracks.

    Returns
    -------
    Tracks
        ``links`` carry ``cost`` (1 − IoU) and ``iou``.

    Raises
    ------
    InputError
        An object has neither outline nor size, or the package shapely is missing.
    """
    try:
        import shapely
    except ImportError as error:
        raise InputError(
            "shapely", None, "overlap of contours needs this package: pip install shapely"
        ) from error

    parameters = parameters or OverlapParameters()
    objects = check_objects(objects)
    shapes = _polygons(objects, parameters)
    areas = shapely.area(shapes)
    frames = objects["frame"].to_numpy()
    ids = objects["id"].to_numpy()
    parts = []
    for t in np.unique(frames):
        source = np.flatnonzero(frames == t)
        target = np.flatnonzero(frames == t + 1)
        if len(target) == 0:
            continue
        j, i = shapely.STRtree(shapes[source]).query(shapes[target], predicate="intersects")
        i, j = source[i], target[j]
        shared = shapely.area(shapely.intersection(shapes[i], shapes[j]))
        parts.append(
            pd.DataFrame(
                {
                    "source": ids[i],
                    "target": ids[j],
                    "iou": shared / (areas[i] + areas[j] - shared),
                    "fraction": shared / areas[j],
                }
            )
        )
    pairs = (
        pd.concat(parts, ignore_index=True)
        if parts
        else pd.DataFrame({name: [] for name in ("source", "target", "iou", "fraction")})
    )
    return tracks_of_best(objects, pairs, parameters, voxel_size, frame_interval)


def _polygons(objects: pd.DataFrame, parameters: OverlapParameters) -> np.ndarray:
    import shapely

    contours = objects["contour"].to_list() if "contour" in objects else [None] * len(objects)
    outlined = [contour is not None and np.ndim(contour) == 2 for contour in contours]
    radius = np.ones(len(objects)) if all(outlined) else radii(objects)
    angle = np.arange(32) * (2 * np.pi / 32)
    circle = np.column_stack([np.sin(angle), np.cos(angle)])
    centers = objects[["y", "x"]].to_numpy(float)
    shapes = np.empty(len(objects), dtype=object)
    for k, (contour, given, center) in enumerate(zip(contours, outlined, centers, strict=True)):
        corners = np.asarray(contour, float) if given else circle * radius[k]
        if not parameters.precise:
            (y0, x0), (y1, x1) = corners.min(axis=0), corners.max(axis=0)
            if not given:
                y0 = x0 = -radius[k]
                y1 = x1 = radius[k]
            corners = np.array([[y0, x0], [y0, x1], [y1, x1], [y1, x0]])
        polygon = shapely.Polygon(corners * parameters.scale_factor + center)
        shapes[k] = polygon if polygon.is_valid else shapely.make_valid(polygon)
    return shapes
