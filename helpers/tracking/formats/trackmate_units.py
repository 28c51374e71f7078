"""Units of a TrackMate file: names of units to micrometres and seconds, dimensions to powers of them."""

from __future__ import annotations

from dataclasses import dataclass

from helpers.data.units import LENGTHS, TIMES, spelled
from helpers.errors import InputError

#: What ImageJ calls the unit of an image that was never calibrated.
_UNCALIBRATED_LENGTH = {"", "pixel", "pixels", "px", "voxel", "unit", "units"}
_UNCALIBRATED_TIME = {"", "frame", "frames", "unit", "units"}

#: Powers of (length, time) of each of TrackMate's dimensions; every other dimension has no unit of either.
_POWERS = {
    "POSITION": (1, 0),
    "LENGTH": (1, 0),
    "AREA": (2, 0),
    "VELOCITY": (1, -1),
    "TIME": (0, 1),
    "RATE": (0, -1),
    "ANGLE_RATE": (0, -1),
}
#: The names TrackMate knows; its reader stops at any other.
DIMENSIONS = frozenset(
    {
        *_POWERS,
        *("NONE", "QUALITY", "COST", "INTENSITY", "INTENSITY_SQUARED", "ANGLE", "STRING"),
    }
)


def micrometres(unit: str | None) -> float | None:
    """Return the micrometres in one `unit`, or None for an uncalibrated one ("pixel", missing).

    Raises
    ------
    InputError
        A unit that nobody here knows.
    """
    return _lookup(unit, LENGTHS, _UNCALIBRATED_LENGTH, "spatialunits", "µm, nm, mm, cm, m, inch or pixel")


def seconds(unit: str | None) -> float | None:
    """Return the seconds in one `unit`, or None for an uncalibrated one ("frame", missing).

    Raises
    ------
    InputError
        A unit that nobody here knows.
    """
    return _lookup(unit, TIMES, _UNCALIBRATED_TIME, "timeunits", "ms, sec, min, hour, day or frame")


def _lookup(
    unit: str | None, known: dict[str, float], none: set[str], name: str, expected: str
) -> float | None:
    key = spelled(unit or "")
    if key in none:
        return None
    if key not in known:
        raise InputError(name, unit, f"the unit of the file's Model must be one of {expected}")
    return known[key]


@dataclass(frozen=True)
class Scale:
    """Factors from a file's units to micrometres (z, y, x) and seconds."""

    zyx: tuple[float, float, float] = (1.0, 1.0, 1.0)
    time: float = 1.0

    @property
    def length(self) -> float:
        """One factor for lengths that have no direction: that of the plane (geometric mean of y and x)."""
        _, y, x = self.zyx
        return x if x == y else (x * y) ** 0.5

    def factor(self, feature: str, dimension: str) -> float:
        """Return what a value of `feature`, declared with TrackMate's `dimension`, is multiplied by."""
        if feature in ("POSITION_X", "POSITION_Y", "POSITION_Z"):
            return self.zyx["ZYX".index(feature[-1])]
        length, time = _POWERS.get(dimension, (0, 0))
        return self.length**length * self.time**time
