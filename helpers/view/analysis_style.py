"""What the plots of notebooks 13_analyze_boundary_distance to 16_compare_conditions share: time axes, units, and colours of roles and regions."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from helpers.view.style import OKABE_ITO

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Parents green and daughters red, as in the paper; here a green and a red that everyone can tell apart, and a marker
#: each for those who cannot.
ROLES: dict[str, tuple[str, str]] = {
    "parent": (OKABE_ITO["green"], "o"),
    "daughter": (OKABE_ITO["vermillion"], "^"),
    "does not divide": ("#777777", "s"),
}
#: Colours of regions; others take the rest of the palette in order.
REGION_COLORS: dict[str, str] = {
    "inner": OKABE_ITO["blue"],
    "outer": OKABE_ITO["orange"],
    "outside": OKABE_ITO["black"],
}
#: Generations from 0 on, the same in every figure; they can be seen on white and on black, and begin anew where they end. The
#: colours of regions come last, for both stand in one figure.
GENERATION_COLORS: tuple[str, ...] = tuple(
    OKABE_ITO[name] for name in ("sky", "vermillion", "green", "purple", "orange", "blue")
)
#: Of other groups: the regions' own colours last, for both stand in one figure.
_REST = [OKABE_ITO[name] for name in ("vermillion", "green", "purple", "sky", "blue", "orange", "black")]


def time_axis(seconds: np.ndarray) -> tuple[float, str]:
    """Return (seconds per unit, unit) in which the longest time is a number of one to three digits."""
    known = np.asarray(seconds, float)
    longest = float(np.nanmax(known)) if np.isfinite(known).any() else 0.0
    for unit, size in (("h", 3600.0), ("min", 60.0)):
        if longest >= 2 * size:
            return size, unit
    return 1.0, "s"


def frame_title(t: int, n_frames: int, frame_interval: float | None) -> str:
    """Return the frame and its time, in a unit that suits the whole movie: ``frame 6, 6 min``."""
    if frame_interval is None:
        return f"frame {t}"
    size, unit = time_axis(np.array([(n_frames - 1) * frame_interval]))
    return f"frame {t}, {t * frame_interval / size:.3g} {unit}"


def times_of(table: pd.DataFrame) -> tuple[np.ndarray, str]:
    """Return the times of a table of objects in a readable unit, and the axis' label; frames where no time is known."""
    seconds = table["time_s"].to_numpy(float)
    if not np.isfinite(seconds).any():
        return table["frame"].to_numpy(float), "frame"
    size, unit = time_axis(seconds)
    return seconds / size, f"time ({unit})"


def role_of(tracklets: pd.DataFrame) -> np.ndarray:
    """Return the role of each tracklet: parent, daughter (that does not divide again), or neither."""
    return np.select(
        [tracklets["is_parent"], tracklets["is_daughter"]], ["parent", "daughter"], "does not divide"
    )


def group_colors(names: list[str], by: str | None = None) -> dict[str, str]:
    """Return a colour for each group; regions and generations (numbers by "generation", or "generation 2") have their own."""
    own = {name: REGION_COLORS.get(name) or _of_generation(name, by) for name in names}
    free = itertools.cycle([color for color in _REST if color not in own.values()] or _REST)
    return {name: color or next(free) for name, color in own.items()}


def _of_generation(name: str, by: str | None) -> str | None:
    number = (
        name
        if by == "generation"
        else name.removeprefix("generation ")
        if name.startswith("generation ")
        else ""
    )
    return GENERATION_COLORS[int(number) % len(GENERATION_COLORS)] if number.isdigit() else None


def strips(
    axes: Axes, values: list[np.ndarray], names: list[str], colors: dict[str, str], *, size: float = 3.0
) -> None:
    """Draw every value as a point, spread sideways by its rank, with median and quartiles over them, and how many there are."""
    counts = [int(np.isfinite(group).sum()) for group in values]
    for k, (name, group) in enumerate(zip(names, values, strict=True)):
        group = group[np.isfinite(group)]
        if len(group) == 0:
            continue
        # Neighbours in rank go to different sides, so that they do not hide each other.
        order = np.argsort(np.argsort(group, kind="stable"), kind="stable")
        aside = 0.62 * (np.mod(order * 0.618034, 1) - 0.5)
        axes.plot(
            k + aside, group, "o", color=colors[name], markersize=size, alpha=0.55, markeredgewidth=0, gid="points",
            rasterized=len(group) > 3000,
        )  # fmt: skip
        low, middle, high = np.percentile(group, (25, 50, 75))
        axes.plot([k - 0.34, k + 0.34], [middle, middle], color="black", linewidth=1.8, zorder=4)
        axes.plot([k, k], [low, high], color="black", linewidth=1.2, zorder=4)
    axes.set_xticks(range(len(names)), [f"{name}\nn = {n}" for name, n in zip(names, counts, strict=True)])
    axes.set_xlim(-0.6, len(names) - 0.4)
