"""The training set on disk, read lazily: a set larger than memory trains.

Members of ``training.npz``, S patches, those for training first, then those for validation:

====================  ======================  ==================================================
``X``                 (S, 1, Z, Y, X) float32  normalised raw patches; 2D: (S, 1, Y, X)
``Y``                 as ``X``                 foreground, 0 or 1; -1 not annotated
``axes``              text                     ``SCZYX`` or ``SCYX``
``labels``            (S, Z, Y, X) integer     instances, 0 is background, -1 not annotated
``stack``             (S,) text                name of the stack a patch comes from
``start``             (S, 3) int32             z, y, x in that stack where the patch begins
``validation``        (S,) bool                held out of training
``settings``          text                     JSON: how the set was made, voxel size among it
====================  ======================  ==================================================

``X``, ``Y`` and ``axes`` are csbdeep's layout: `csbdeep.io.load_training_data` opens the file, and its
``validation_split`` takes the last patches, which are the validation stacks.
"""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from helpers.data.masks import instances_from_binary
from helpers.data.npz_stream import Member, read_members, unpack
from helpers.errors import InputError


@dataclass(frozen=True)
class TrainingSet:
    """A training set in an .npz of stored members; nothing of it is in memory until asked for.

    Open one with `TrainingSet.open`; make one with `helpers.data.patches.create_training_set`.

    Attributes
    ----------
    path : Path
    members : dict of str to Member
        Where each array lies in the file that is read (`source`).
    axes : str
        ``"SCZYX"`` or ``"SCYX"``.
    validation_mask : (S,) bool ndarray
    stacks : (S,) str ndarray
        The name of each patch's stack; empty names in a file from csbdeep.
    voxel_size : (z, y, x) µm or None
        None only in a file that does not say it, such as csbdeep's.
    settings : dict
    """

    path: Path
    source: Path
    members: dict[str, Member]
    axes: str
    validation_mask: np.ndarray
    stacks: np.ndarray
    voxel_size: tuple[float, ...] | None
    settings: dict[str, Any]

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        voxel_size: tuple[float, ...] | None = None,
        validation_fraction: float = 0.1,
    ) -> TrainingSet:
        """Open a training set of this suite, or csbdeep's.

        Parameters
        ----------
        path : path
            A compressed file is unpacked once, into ``<name>.unpacked.npz`` beside it.
        voxel_size : tuple, optional
            µm; needed only where the file does not say it.
        validation_fraction : float
            Used only for a file that names no validation patches: its last patches, as csbdeep takes them.

        Raises
        ------
        InputError
            Missing, truncated or another kind of file; members missing or of shapes that do not agree.
        """
        path = Path(path)
        source, members = path, read_members(path)
        if any(member.offset is None for member in members.values()):
            source = _unpacked(path)
            members = read_members(source)
        _check(path, members)
        count = members["X"].shape[0]

        def small(name: str, default: Any) -> Any:
            if name not in members:
                return default
            return np.array(_mapped(source, members[name]))

        axes = str(small("axes", "SCZYX" if len(members["X"].shape) == 5 else "SCYX"))
        if axes != {5: "SCZYX", 4: "SCYX"}.get(len(members["X"].shape)):
            raise InputError(
                f"{path}: axes", axes, f"SCZYX or SCYX, agreeing with the shape {members['X'].shape} of X"
            )
        try:
            settings = dict(json.loads(str(small("settings", "{}"))))
        except (ValueError, TypeError, RecursionError) as error:
            raise InputError(
                f"{path}: settings", "not JSON", f"a file written by this suite ({error})"
            ) from None
        held_out = np.zeros(count, bool)
        if not 0 <= validation_fraction < 1:
            raise InputError("validation_fraction", validation_fraction, "a fraction, 0 to less than 1")
        if validation_fraction > 0 and count > 1:
            held_out[-max(1, round(count * validation_fraction)) :] = True
        known = settings.get("voxel_size")
        return cls(
            path=path,
            source=source,
            members=members,
            axes=axes,
            validation_mask=small("validation", held_out),
            stacks=small("stack", np.full(count, "")),
            voxel_size=tuple(voxel_size or known or ()) or None,
            settings=settings,
        )

    def __str__(self) -> str:
        held_out = int(np.count_nonzero(self.validation_mask))
        size = " × ".join(map(str, self.patch_size))
        parts = f"{len(self) - held_out} to train, {held_out} to validate"
        return f"{len(self)} patches of {size} voxels: {parts}"

    def __repr__(self) -> str:
        return f"TrainingSet({self}; {self.path})"

    def __len__(self) -> int:
        return self.members["X"].shape[0]

    @property
    def patch_size(self) -> tuple[int, ...]:
        """Voxels along (z, y, x), or (y, x) in 2D."""
        return self.members["X"].shape[2:]

    @property
    def is_2d(self) -> bool:
        """Whether patches are (Y, X)."""
        return self.axes == "SCYX"

    @cached_property
    def train(self) -> np.ndarray:
        """Indices of the patches to train on."""
        return np.flatnonzero(~self.validation_mask)

    @cached_property
    def validation(self) -> np.ndarray:
        """Indices of the patches held out."""
        return np.flatnonzero(self.validation_mask)

    @cached_property
    def X(self) -> np.memmap:
        """Raw patches, mapped. The file pages it touches count as this process's memory; `patch` has none."""
        return _mapped(self.source, self.members["X"])

    @cached_property
    def Y(self) -> np.memmap:
        """Foreground patches, mapped."""
        return _mapped(self.source, self.members["Y"])

    @cached_property
    def labels(self) -> np.memmap | None:
        """Instance patches, mapped; None in a file without them (`patch` then makes them)."""
        return _mapped(self.source, self.members["labels"]) if "labels" in self.members else None

    def read(self, name: str, index: int) -> np.ndarray:
        """Read row `index` of member `name` into memory of its own.

        Unlike the maps this leaves no pages behind: memory does not grow with the part of the set read.
        """
        member = self.members[name]
        index = range(len(self))[index]
        count = int(np.prod(member.shape[1:], dtype=np.int64))
        assert member.offset is not None
        flat = np.fromfile(
            self.source, member.dtype, count, offset=member.offset + index * count * member.dtype.itemsize
        )
        if flat.size != count:
            raise InputError(
                "path", str(self.source), "a complete file: it was truncated after it was opened"
            )
        return flat.reshape(member.shape[1:])

    def patch(self, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Read one patch.

        Returns
        -------
        x : (Z, Y, X) or (Y, X) float32
            Normalised raw.
        y : bool, as `x`
            Foreground.
        labels : int32, as `x`
            Instances, -1 where not annotated; the components of `y` where the file has none.
        """
        x = self.read("X", index)[0].astype(np.float32, copy=False)
        y = self.read("Y", index)[0] > 0.5
        if "labels" in self.members:
            return x, y, self.read("labels", index).astype(np.int32)
        return x, y, instances_from_binary(y)


def _mapped(path: Path, member: Member) -> np.memmap:
    if not member.shape or not np.prod(member.shape, dtype=np.int64):
        flat = np.fromfile(path, member.dtype, int(np.prod(member.shape)), offset=member.offset or 0)
        return flat.reshape(member.shape)  # type: ignore[return-value] - a scalar cannot be mapped
    return np.memmap(path, member.dtype, "r", member.offset or 0, member.shape)


def _check(path: Path, members: dict[str, Member]) -> None:
    missing = [name for name in ("X", "Y") if name not in members]
    if missing:
        raise InputError(
            "path",
            str(path),
            f"a training set: it has no {' and no '.join(missing)}, only {', '.join(members)}",
        )
    shape = members["X"].shape
    if len(shape) not in (4, 5) or shape[0] == 0:
        raise InputError(f"{path}: X", shape, "patches (S, C, Z, Y, X) or (S, C, Y, X), at least one")
    expected = {
        "Y": (shape[0], members["Y"].shape[1] if len(members["Y"].shape) > 1 else 1, *shape[2:]),
        "labels": (shape[0], *shape[2:]),
        "stack": shape[:1],
        "validation": shape[:1],
    }
    for name, right in expected.items():
        if name in members and members[name].shape != right:
            raise InputError(f"{path}: {name}", members[name].shape, f"{right}, to agree with X {shape}")


def _unpacked(path: Path) -> Path:
    """Return a stored copy of a compressed .npz, made once."""
    for folder in (path.parent, Path(tempfile.gettempdir())):
        copy = folder / f"{path.stem}.unpacked.npz"
        if copy.exists() and folder == path.parent and copy.stat().st_mtime >= path.stat().st_mtime:
            return copy
        if os.access(folder, os.W_OK):
            unpack(path, copy)
            return copy
    raise InputError(
        "path", str(path), "is compressed and must be unpacked once: a folder that can be written to"
    )
