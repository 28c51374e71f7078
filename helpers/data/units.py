"""Lengths and times as files spell them, in micrometres and seconds; and units as the names of columns spell them.

Spellings come from ImageJ (``micron``, ``\\u00B5m``, ``sec``), OME (``µm``, ``Å``, ``min``), OME-Zarr
(``micrometer``, ``second``, the UDUNITS-2 names) and TIFF's resolution unit (inch, centimetre).
"""

from __future__ import annotations

import math

_MICROMETRES: dict[float, tuple[str, ...]] = {
    1e-4: ("å", "angstrom", "angstroms", "ångström"),
    1e-6: ("pm", "picometer", "picometre"),
    1e-3: ("nm", "nanometer", "nanometre", "nanometers", "nanometres"),
    1.0: ("µm", "um", "micron", "microns", "micrometer", "micrometre", "micrometers", "micrometres"),
    1e3: ("mm", "millimeter", "millimetre", "millimeters", "millimetres"),
    1e4: ("cm", "centimeter", "centimetre", "centimeters", "centimetres"),
    2.54e4: ("in", "inch", "inches", '"'),
    1e6: ("m", "meter", "metre", "meters", "metres"),
}
_SECONDS: dict[float, tuple[str, ...]] = {
    1e-9: ("ns", "nanosecond", "nanoseconds"),
    1e-6: ("µs", "us", "usec", "microsecond", "microseconds"),
    1e-3: ("ms", "msec", "msecs", "millisecond", "milliseconds"),
    1.0: ("s", "sec", "secs", "second", "seconds"),
    60.0: ("min", "mins", "minute", "minutes"),
    3600.0: ("h", "hr", "hrs", "hour", "hours"),
    86400.0: ("d", "day", "days"),
}
#: Endings of columns' names, and their units.
_UNITS = (
    ("_um2_per_min", "µm²/min"),
    ("_um_per_min", "µm/min"),
    ("_um_per_h", "µm/h"),
    ("_per_h", "1/h"),
    ("_um3", "µm³"),
    ("_um2", "µm²"),
    ("_um", "µm"),
    ("_deg", "°"),
    ("_hz", "Hz"),
    ("_min", "min"),
    ("_s", "s"),
)
#: Micrometres and seconds in one unit, by the unit's spelling in lower case.
LENGTHS = {name: factor for factor, names in _MICROMETRES.items() for name in names}
TIMES = {name: factor for factor, names in _SECONDS.items() for name in names}


def micrometres(value: object, unit: object) -> float | None:
    """Convert a length to µm.

    Parameters
    ----------
    value : object
        The number as the file gives it.
    unit : object
        The unit as the file spells it.

    Returns
    -------
    float or None
        None where the value is not a positive number or the unit is not one of length (``pixel``, nothing at all):
        a length without a unit is not known.
    """
    return _convert(value, unit, LENGTHS)


def seconds(value: object, unit: object) -> float | None:
    """Convert a time to seconds; None where the value is not positive or the unit is not one of time."""
    return _convert(value, unit, TIMES)


def spelled(unit: object) -> str:
    """Return a unit as `LENGTHS` and `TIMES` spell it, whatever a file writes for µ."""
    # Java's escape, and U+03BC (Greek mu), which looks like U+00B5 (the micro sign).
    text = str(unit).strip().replace("\\u00B5", "µ").replace("\\u00b5", "µ").replace("\u03bc", "µ")
    return text.lower()


def _convert(value: object, unit: object, factors: dict[str, float]) -> float | None:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    factor = factors.get(spelled(unit))
    if factor is None or not math.isfinite(number) or number <= 0:
        return None
    if factor == 1.0:
        return number
    # 254 nm is 0.254, not 0.25400000000000006: rounding to 12 digits undoes the product's last bit.
    return float(f"{number * factor:.12g}")


def with_unit(column: str) -> str:
    """Return a column's name in words: ``mean_speed_um_per_min`` → ``mean speed (µm/min)``."""
    if column in ("z", "y", "x"):
        return f"{column} (µm)"
    for ending, unit in _UNITS:
        if column.endswith(ending):
            return f"{column[: -len(ending)].replace('_', ' ')} ({unit})"
    return column.replace("_", " ")
