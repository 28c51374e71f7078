"""Out to another program as a GEFF with labels, edited there, and back as edits of the log."""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from helpers.curation import Cell, Curation
from helpers.curation.exchange import take_over
from helpers.curation.files import bring_up_to_date
from helpers.data.label_movies import LabelMovie
from helpers.errors import InputError
from helpers.tracking.formats import any_format, geff, geff_masks, table
from helpers.tracking.tracks import Tracks
from tests.curation.curated_movies import VOXEL, boxes, linked, write_cells


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


@pytest.fixture(scope="module")
def from_napari_track_edit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What napari-track-edit 1.1 (funtracks 2.2) made of `geff.write` of the boxes with ``masks``.

    In 2D as it saves, in 3D as it exports. Edited there: cell 1 of frame 1 lost its upper rows, cell 2 of frame 0 was
    deleted, a cell was drawn where cell 2 was missed and linked to the one before, cell 1 was cut before frame 3.
    """
    folder = tmp_path_factory.mktemp("theirs")
    with tarfile.open(Path(__file__).with_name("napari_track_edit.tar.xz")) as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.mark.parametrize(("depth", "name"), [(1, "saved.geff"), (3, "exported_geff.zarr")], ids=["2D", "3D"])
def test_outlines_edited_in_napari_track_edit_come_back(
    from_napari_track_edit: Path, tmp_path: Path, depth: int, name: str
) -> None:
    path = any_format.inside(from_napari_track_edit / str(depth) / name)
    with Curation(write_cells(tmp_path / "m", depth=depth), "ann") as curation:
        state, before, links = curation.state, boxes(depth), linked(curation.state)
        tracks, outlines = any_format.read(path, voxel_size=VOXEL), geff_masks.read(path)
        found = take_over(curation, tracks, outlines)
        assert found.missed.empty and found.edits == 5
        expected = before.copy()
        expected[1, :, :7][before[1, :, :7] == 1] = 0
        expected[0][before[0] == 2] = 0
        expected[2, :, 6:14, 20:30] = state.highest_label
        after = np.stack([state.labels.frame(t) for t in range(4)])
        np.testing.assert_array_equal(after, expected)
        new = (2, state.highest_label)
        assert linked(state) == links - {((0, 2), (1, 2)), ((2, 1), (3, 1))} | {((1, 2), new)}
        assert take_over(curation, tracks, outlines).edits == 0, "what was taken over differs no longer"
        while state.done:
            curation.undo()
        np.testing.assert_array_equal(np.stack([state.labels.frame(t) for t in range(4)]), before)


@pytest.mark.parametrize("depth", [1, 3])
def test_outlines_given_away_come_back(tmp_path: Path, depth: int) -> None:
    folder = write_cells(tmp_path / "m", depth=depth)
    labels, tracks = LabelMovie.open(folder / "labels.zarr"), table.read(folder / "tracks.csv")
    geff.write(tracks, tmp_path / "ours.geff", masks=labels)
    outlines = geff_masks.read(tmp_path / "ours.geff")
    assert outlines is not None and "mask" not in geff.read(tmp_path / "ours.geff").objects
    for row in tracks.objects.itertuples():
        index = np.flatnonzero(boxes(depth)[row.frame] == row.label)
        np.testing.assert_array_equal(outlines[row.id].index(labels.shape[1:]), index)
    with Curation(folder, "ann") as curation:
        assert take_over(curation, tracks, outlines).edits == 0


def test_outlines_that_grow_over_others_or_do_not_fit(tmp_path: Path) -> None:
    folder = write_cells(tmp_path / "m")
    tracks = table.read(folder / "tracks.csv")
    labels = LabelMovie.open(folder / "labels.zarr")
    geff.write(tracks, tmp_path / "ours.geff", masks=labels)
    outlines = geff_masks.read(tmp_path / "ours.geff")
    assert outlines is not None
    with Curation(folder, "ann") as curation:
        at = curation.state.graph.id_at
        grown = boxes(1)[0] == 3  # cell 3 takes the left half of where cell 1 was, and cell 1 keeps the rest
        grown[:, :, :7] |= boxes(1)[0][:, :, :7] == 1
        outlines[at[0, 3]] = geff_masks.Outline(grown, (0, 0, 0))
        outlines[at[0, 1]] = geff_masks.Outline((boxes(1)[0] == 1) & ~grown, (0, 0, 0))
        links = linked(curation.state)
        assert take_over(curation, tracks, outlines).missed.empty
        np.testing.assert_array_equal(curation.state.labels.frame(0) == 3, grown)
        assert linked(curation.state) == links
        outlines[at[0, 1]] = geff_masks.Outline(np.ones((1, 5, 5), bool), (0, 38, 0))
        with pytest.raises(InputError, match=r"cells inside \(1, 40, 48\)"):
            take_over(curation, tracks, outlines)
