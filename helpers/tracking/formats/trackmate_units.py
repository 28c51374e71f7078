"""Units of a TrackMate file: names of units to micrometres and seconds, dimensions to powers of them."""

from __future__ import annotations

from dataclasses import dataclass

from helpers.errors import InputError

_MICROMETRES = {
    1.0: ("µm", "μm", "um", "micron", "microns", "micrometer", "micrometers", "micrometre", "micrometres"),
    1e-3: ("nm", "nanometer", "nanometers", "nanometre", "nanometres"),
    1e-4: ("å", "a", "angstrom", "angstroms"),
    1e3: ("mm", "millimeter", "millimeters", "millimetre", "millimetres"),
    1e4: ("cm", "centimeter", "centimeters", "centimetre", "centimetres"),
    1e6: ("m", "meter", "meters", "metre", "metres"),
    25400.0: ("inch", "inches", "in", '"'),
}
_SECONDS = {
    1.0: ("s", "sec", "secs", "second", "seconds"),
    1e-3: ("ms", "msec", "msecs", "millisecond", "milliseconds"),
    1e-6: ("µs", "μs", "us", "usec", "microsecond", "microseconds"),
    60.0: ("min", "mins", "minute", "minutes"),
    3600.0: ("h", "hr", "hrs", "hour", "hours"),
    86400.0: ("d", "day", "days"),
}
_LENGTH = {name: factor for factor, names in _MICROMETRES.items() for name in names}
_TIME = {name: factor for factor, names in _SECONDS.items() for name in names}
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
    return _lookup(unit, _LENGTH, _UNCALIBRATED_LENGTH, "spatialunits", "µm, nm, mm, cm, m, inch or pixel")


def seconds(unit: str | None) -> float | None:
    """Return the seconds in one `unit`, or None for an uncalibrated one ("frame", missing).

    Raises
    ------
    InputError
        A unit that nobody here knows.
    """
    return _lookup(unit, _TIME, _UNCALIBRATED_TIME, "timeunits", "ms, sec, min, hour, day or frame")


def _lookup(
    unit: str | None, known: dict[str, float], none: set[str], name: str, expected: str
) -> float | None:
    key = (unit or "").strip().lower()
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
