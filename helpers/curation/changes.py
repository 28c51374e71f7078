"""What an edit changes, exactly, so that it can be done again and undone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from helpers.curation.voxels import Renaming, VoxelChange

#: ("cell", id), ("link", source, target), ("division", id of the mother) or ("frame", t): found correct by a person.
Mark = tuple[Any, ...]
Link = tuple[int, int]


@dataclass(frozen=True)
class CellChange:
    """Which object (id) a cell of a frame is, before and after; None: none, or no such cell.

    Attributes
    ----------
    frame, label : int
    before, after : int or None
    """

    frame: int
    label: int
    before: int | None
    after: int | None


@dataclass(frozen=True)
class Changes:
    """All that one edit changes.

    Attributes
    ----------
    voxels : tuple of VoxelChange
    renamings : tuple of Renaming
        Of frames without a `VoxelChange`.
    cells : tuple of CellChange
    unlinked, linked : tuple of (source id, target id)
    unmarked, marked : tuple of Mark
    """

    voxels: tuple[VoxelChange, ...] = ()
    renamings: tuple[Renaming, ...] = ()
    cells: tuple[CellChange, ...] = ()
    unlinked: tuple[Link, ...] = ()
    linked: tuple[Link, ...] = ()
    unmarked: tuple[Mark, ...] = ()
    marked: tuple[Mark, ...] = ()

    def __bool__(self) -> bool:
        return any(getattr(self, name) for name in self.__dataclass_fields__)

    @property
    def frames(self) -> set[int]:
        """Frames whose labels change."""
        return {part.frame for part in (*self.voxels, *self.renamings)}

    @property
    def highest_label(self) -> int:
        """The highest label that it makes; 0 where none."""
        return max((part.highest for part in (*self.voxels, *self.renamings)), default=0)

    def plain(self) -> dict[str, Any]:
        """Return it as JSON holds it; what is empty is left out."""
        lists = {
            "voxels": [[v.frame, v.text, v.highest] for v in self.voxels],
            "renamings": [[r.frame, r.text, r.highest] for r in self.renamings],
            "cells": [[c.frame, c.label, c.before, c.after] for c in self.cells],
            **{name: [list(part) for part in getattr(self, name)] for name in _TUPLES},
        }
        return {name: content for name, content in lists.items() if content}

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> Changes:
        """Read what `plain` returned."""
        return cls(
            tuple(VoxelChange(*part) for part in plain.get("voxels", ())),
            tuple(Renaming(*part) for part in plain.get("renamings", ())),
            tuple(CellChange(*part) for part in plain.get("cells", ())),
            **{name: tuple(tuple(part) for part in plain.get(name, ())) for name in _TUPLES},
        )


_TUPLES = ("unlinked", "linked", "unmarked", "marked")
