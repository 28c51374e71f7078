"""What a client asks for beside the picture: `biopb.image.DetectionSettings`, under TrackMate-Lacss's names."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from helpers.errors import InputError


@dataclass(frozen=True)
class Settings:
    """Settings of one request; what is not sent keeps its default, and 0 is not the same as not sent.

    Attributes
    ----------
    min_cell_area : float
        Cells of fewer pixels (voxels) of the picture as it was sent are left out.
    min_score : float
        Cells of a lower score are left out.
    scaling : float
        The network sees the picture enlarged by this.
    cell_diameter_um : float or None
        Of a typical cell; for Cellpose only.
    model : str
        Name of the model that is wanted; empty: the server's.
    """

    min_cell_area: float = 0.0
    min_score: float = 0.0
    scaling: float = 1.0
    cell_diameter_um: float | None = None
    model: str = ""


def read_settings(sent: Any) -> Settings:
    """Check the settings of a request.

    ``nms_iou`` is checked only: the cells of one picture are labels, no two of which share a pixel, so that none
    overlaps another by more than any limit. ``segmentation_threshold`` too: Fiji always sends 0.5 and shows no box for
    it, and the thresholds of the server are those that were found for its models.

    Parameters
    ----------
    sent : biopb.image.DetectionSettings

    Returns
    -------
    Settings

    Raises
    ------
    InputError
        Naming the setting as Fiji shows it.
    """
    _in_range(sent, "segmentation_threshold", "segmentation threshold", 0, 1)
    _in_range(sent, "nms_iou", "NMS IOU", 0, 1)
    diameter = _in_range(sent, "cell_diameter_hint", "cell_diameter_hint", 0, 1e6)
    return Settings(
        min_cell_area=_in_range(sent, "min_cell_area", "Minimum Cell Area", 0, 1e12) or 0.0,
        min_score=_in_range(sent, "min_score", "Score Threshold", 0, 1) or 0.0,
        scaling=1.0
        if not sent.HasField("scaling_hint")
        else (_in_range(sent, "scaling_hint", "Scaling Factor", 0.05, 20) or 1.0),
        cell_diameter_um=diameter or None,
        model=sent.model_name,
    )


def _in_range(sent: Any, field: str, shown: str, low: float, high: float) -> float | None:
    if not sent.HasField(field):
        return None
    value = getattr(sent, field)
    if not (math.isfinite(value) and low <= value <= high):
        raise InputError(shown, value, f"between {low:g} and {high:g}")
    return float(value)
