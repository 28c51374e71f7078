"""Mothers and daughters."""

from __future__ import annotations

from collections.abc import Sequence

from helpers.curation.cells import Cell
from helpers.curation.draft import Draft
from helpers.curation.operations.registry import operation
from helpers.errors import InputError


@operation
def set_division(draft: Draft, mother: Cell, daughters: Sequence[Cell]) -> None:
    """Let a cell divide into these daughters, and only these; what they came from before is unlinked.

    Raises
    ------
    InputError
        Fewer than two daughters, the same one twice, or one that is not later than the mother.
    """
    if len({daughter.key for daughter in daughters}) < 2 or len(daughters) > len({d.key for d in daughters}):
        raise InputError("daughters", ", ".join(map(str, daughters)), "two different cells or more")
    i = draft.id_of(mother)
    ids = [_later(draft, mother, daughter) for daughter in daughters]
    for target in draft.targets(i) - set(ids):
        draft.unlink(i, target)
    for daughter in ids:
        for source in draft.sources(daughter) - {i}:
            draft.unlink(source, daughter)
        draft.link(i, daughter)


@operation
def remove_division(draft: Draft, mother: Cell, keep: Cell | None = None) -> None:
    """Let a cell not divide: it goes on as the daughter `keep`, or ends.

    Raises
    ------
    InputError
        It does not divide, or `keep` is none of its daughters.
    """
    i = draft.known_id(mother)
    targets = draft.targets(i)
    if len(targets) < 2:
        raise InputError(str(mother), "does not divide", "a cell that is linked to two or more")
    kept = {draft.known_id(keep)} if keep is not None else set()
    if kept - targets:
        raise InputError("keep", str(keep), f"a daughter of {mother}")
    for target in targets - kept:
        draft.unlink(i, target)


@operation
def set_parent(draft: Draft, daughter: Cell, parent: Cell) -> None:
    """Let a cell come from `parent`, and from no other; where the parent goes on already, it divides then.

    Raises
    ------
    InputError
        The parent is not earlier.
    """
    i = draft.id_of(parent)
    child = _later(draft, parent, daughter)
    for source in draft.sources(child) - {i}:
        draft.unlink(source, child)
    draft.link(i, child)


def _later(draft: Draft, mother: Cell, daughter: Cell) -> int:
    if daughter.frame <= mother.frame:
        raise InputError("daughter", f"{daughter}, mother in frame {mother.frame}", "a cell of a later frame")
    return draft.id_of(daughter)
