"""Out to another program as a GEFF with labels, edited there, and back as edits of the log."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from curated_movies import VOXEL, boxes, linked, write_cells

from helpers.curation import Cell, Curation
from helpers.curation.exchange import take_over
from helpers.curation.files import bring_up_to_date
from helpers.errors import InputError
from helpers.tracking.formats import geff, table
from helpers.tracking.tracks import Tracks


@pytest.fixture
def given(tmp_path: Path):
    """The curation, and the GEFF that is given away after an edit of ours."""
    with Curation(write_cells(tmp_path / "m", labels=boxes(3)), "ann") as curation:
        curation.do("interpolate", first=Cell(1, 2), last=Cell(3, 2))
        curated = bring_up_to_date(curation.folder)
        geff.write(table.read(curated.tracks), tmp_path / "ours.geff", labels=curated.labels)
        yield curation, geff.read(tmp_path / "ours.geff")


def edited(tracks: Tracks, state, *, cut=(), joined=(), gone=()) -> Tracks:
    """What another program would write: some links fewer, some more, some nodes fewer."""
    at = state.graph.id_at
    away = {at[key] for key in gone}
    cuts = {(at[a], at[b]) for a, b in cut}
    pairs = [tuple(p) for p in tracks.links[["source", "target"]].to_numpy().tolist()]
    pairs = [p for p in pairs if p not in cuts and not away & set(p)] + [(at[a], at[b]) for a, b in joined]
    objects = tracks.objects[~tracks.objects["id"].isin(list(away))]
    return Tracks(objects, pd.DataFrame(pairs, columns=["source", "target"]), tracks.voxel_size)


def test_nothing_edited_is_no_edit(given) -> None:
    curation, tracks = given
    found = take_over(curation, tracks)
    assert found.edits == 0 and found.missed.empty and len(curation.state.done) == 1


def test_their_links_divisions_and_deletions_become_edits(given) -> None:
    curation, tracks = given
    state = curation.state
    before = linked(state)
    theirs = edited(
        tracks,
        state,
        cut=[((1, 1), (2, 1)), ((1, 3), (2, 4))],
        joined=[((1, 1), (2, 4)), ((2, 2), (3, 1))],
        gone=[(0, 2)],
    )
    # (3, 1) came from (2, 1) and comes from (2, 2) too now: a merge there, refused by no one here.
    found = take_over(curation, theirs)
    after = linked(state)
    assert found.missed.empty or found.missed["why"].str.contains("elsewhere").all()
    assert ((1, 1), (2, 1)) not in after and ((1, 1), (2, 4)) in after
    assert not any((0, 2) in pair for pair in after)
    assert {e.operation for e in state.done[1:]} <= {"unlink", "link", "set_parent", "delete_tracks"}
    while len(state.done) > 1:
        curation.undo()
    assert linked(state) == before


def test_a_division_set_there(given) -> None:
    curation, tracks = given
    state = curation.state
    theirs = edited(tracks, state, cut=[((2, 1), (3, 1))], joined=[((2, 2), (3, 1))])
    assert take_over(curation, theirs).missed.empty
    assert {((2, 2), (3, 1)), ((2, 2), (3, 2))} <= linked(state)
    assert state.done[-1].operation == "set_parent"


@pytest.mark.parametrize("more", [1000, 1], ids=["strange", "as funtracks shifts them"])
def test_nodes_with_other_ids_are_found_by_their_place(given, more: int) -> None:
    curation, tracks = given
    state = curation.state
    theirs = edited(tracks, state, cut=[((2, 1), (3, 1))])
    shift = {i: i + more for i in theirs.objects["id"]}
    renamed = Tracks(
        theirs.objects.assign(id=theirs.objects["id"].map(shift)),
        theirs.links.assign(
            source=theirs.links["source"].map(shift), target=theirs.links["target"].map(shift)
        ),
        theirs.voxel_size,
    )
    found = take_over(curation, renamed)
    # The cell in two pieces has its centre between them.
    assert set(found.missed["what"]) <= {f"node {shift[state.graph.id_at[2, 5]]}"}
    assert ((2, 1), (3, 1)) not in linked(state) and found.edits == 1


def test_positions_without_a_unit_are_understood(given) -> None:
    curation, tracks = given
    theirs = edited(tracks, curation.state, cut=[((2, 1), (3, 1))])
    for axis, size in zip("zyx", VOXEL, strict=True):  # µm that were read as voxels
        theirs.objects[axis] *= size
    found = take_over(curation, theirs)
    assert found.edits == 1 and ((2, 1), (3, 1)) not in linked(curation.state)


def test_tracks_of_another_movie_are_refused(given) -> None:
    curation, tracks = given
    moved = tracks.objects.assign(id=tracks.objects["id"] + 5000, y=tracks.objects["y"] + 500)
    with pytest.raises(InputError, match="none lies on a cell"):
        take_over(curation, Tracks(moved, None, tracks.voxel_size))  # type: ignore[arg-type]
    assert len(curation.state.done) == 1 and np.array_equal(curation.state.labels.frame(3), boxes(3)[3])
