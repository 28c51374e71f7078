"""A folder of stacks: which frame each file is, by the number in its name."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from helpers.data.source import stem
from helpers.errors import InputError

#: What a number counts that is no frame, as the word before it says.
_COUNTED = re.compile(r"(?:^|[^a-z])(z|slice|plane|c|ch|channel)[ _=-]?$")


def frame_files(files: Sequence[Path], where: str, *, fill: bool = False) -> list[Path | None]:
    """Return the file of each frame.

    Where all names are the same but for one number, that number counts the frames: of every frame, or, in even steps,
    of every second, fifth … Other names are taken in the order in which they come.

    Parameters
    ----------
    files : sequence of Path
        In natural order.
    where : str
        The folder, for the error.
    fill : bool
        Leave None where a number is missing.

    Returns
    -------
    list of (Path or None)
        One file per frame.

    Raises
    ------
    InputError
        Two files for one frame; a number is missing, and not `fill`; or the names count planes or channels.
    """
    _check_words(files, where)
    numbers = frame_numbers(files)
    if numbers is None:
        return list(files)
    order = sorted(range(len(files)), key=lambda i: numbers[i])
    for a, b in pairwise(order):
        if numbers[a] == numbers[b]:
            names = f"{files[a].name} and {files[b].name}"
            raise InputError(
                where,
                names,
                "are the same frame twice; keep one of them, or name one kind by a pattern with *",
            )
    steps = {numbers[b] - numbers[a] for a, b in pairwise(order)}
    if steps <= {1} or (len(steps) == 1 and len(files) > 2):
        return [files[i] for i in order]
    step = math.gcd(*steps) if len(files) > 2 else 1
    there = {numbers[i]: files[i] for i in order}
    frames = range(min(there), max(there) + 1, step)
    missing = [n for n in frames if n not in there]
    if not fill:
        shown = ", ".join(map(str, missing[:5])) + (" …" if len(missing) > 5 else "")
        at = next(k for k, i in enumerate(order) if numbers[i] > missing[0])
        between = f"between {files[order[at - 1]].name} and {files[order[at]].name}"
        raise InputError(
            where,
            f"{len(files)} stacks",
            f"frames are missing: {shown} ({between}); add them; or set missing_frames (notebooks 06_segment, 07_segment_cellpose) to 'empty' to have them without cells",
        )
    return [there.get(n) for n in frames]


def _check_words(files: Sequence[Path], where: str) -> None:
    """Refuse planes (z01, z02 …), and channels beside frames (t1_c1, t1_c2 …): each would be read as a frame."""
    parts = [re.split(r"([0-9]+)", stem(file).lower()) for file in files]
    if len({len(p) for p in parts}) > 1:
        return
    differing = [k for k in range(1, len(parts[0]), 2) if len({p[k] for p in parts}) > 1]
    words = {match[1] for k in differing if (match := _COUNTED.search(parts[0][k - 1]))}
    told = words & {"z", "slice", "plane"} or (len(differing) > 1 and words)
    if told:
        raise InputError(
            where,
            f"{files[0].name}, {files[1].name} …",
            f"the files count {' and '.join(sorted(told))}, and each should be one frame; save each frame as one stack, or "
            "name one channel by a pattern with *",
        )


def frame_numbers(files: Sequence[Path]) -> list[int] | None:
    """Return the one number in which the names differ, or None where they differ in more, or in words."""
    parts = [re.split(r"([0-9]+)", stem(file)) for file in files]
    if len(files) < 2 or len({tuple(p[::2]) for p in parts}) > 1:
        return None
    columns = [
        [int(n) if len(n) < 19 else -1 for n in column]
        for column in zip(*(p[1::2] for p in parts), strict=True)
    ]
    differing = [column for column in columns if len(set(column)) > 1]
    if not differing and columns:
        return columns[-1]  # t1 and t01, or one name with two endings
    return differing[0] if len(differing) == 1 and -1 not in differing[0] else None
