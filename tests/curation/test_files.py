"""The curated result on the disk: it follows from the log, whatever happens to it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from helpers.curation import Cell, Curation, Stroke
from helpers.curation.files import bring_up_to_date, is_curated, read_state
from helpers.curation.tables import curated_tracks
from helpers.data.label_movies import LabelMovie
from helpers.data.movies import Movie, write_movie
from helpers.errors import InputError
from helpers.tracking.formats import table
from helpers.tracking.objects import measure
from tests.curation.curated_movies import boxes, content, write_cells


def some_edits(folder: Path) -> None:
    with Curation(folder, author="ann") as curation:
        curation.do("remove", cell=Cell(0, 3))
        curation.do("split_by_plane", cell=Cell(1, 1), points=[(0, 0.0, 5.5), (0, 9.0, 5.5)])
        curation.do("link", cells=[Cell(1, 2), Cell(3, 2)])
    with Curation(folder, author="bob") as curation:
        curation.do("cut", cell=Cell(2, 4))


def files_of(folder: Path) -> dict[str, bytes]:
    found = {p.relative_to(folder): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
    return {str(name): content for name, content in found.items() if not str(name).startswith(".edits")}


def test_labels_and_tracks_are_those_of_the_log(folder: Path) -> None:
    automatic = files_of(folder)
    assert not is_curated(folder)
    some_edits(folder)
    assert is_curated(folder)
    result = bring_up_to_date(folder)
    assert result.plain()["edits"] == 4 and result.authors == ["ann", "bob"] and result.last
    state, labels = read_state(folder), LabelMovie.open(result.labels)
    for t in range(4):
        assert np.array_equal(labels.frame(t), state.labels.frame(t))
    tracks = table.read(result.tracks)
    at = dict(
        zip(
            tracks.objects["id"],
            zip(tracks.objects["frame"], tracks.objects["label"], strict=True),
            strict=True,
        )
    )
    assert at == state.graph.cell_of
    assert set(zip(tracks.links["source"], tracks.links["target"], strict=True)) == state.graph.links()
    after = files_of(folder)
    assert {name: after[name] for name in automatic} == automatic, "the automatic result is not touched"


def test_only_changed_frames_take_space(folder: Path) -> None:
    some_edits(folder)
    result = bring_up_to_date(folder)
    same = [
        os.path.samefile(folder / "labels.zarr" / f"0/{t}/0/0/0", result.labels / f"0/{t}/0/0/0")
        for t in range(4)
    ]
    assert same == [False, False, True, True]


def test_changed_cells_are_measured_and_others_stay_as_they_were(folder: Path) -> None:
    before = table.read(folder / "tracks.csv").objects.set_index("id")
    some_edits(folder)
    after = curated_tracks(read_state(folder)).objects.set_index("id")
    state = read_state(folder)
    changed = {state.graph.id_at[1, 1], state.graph.id_at[1, 6]}
    same = [i for i in after.index if i not in changed]
    pd.testing.assert_frame_equal(after.loc[same], before.loc[same])
    measured = measure(state.labels.frame(1), voxel_size=(2.0, 0.5, 0.5), frame=1).set_index("label")
    for i in changed:
        row = after.loc[i]
        assert row["n_voxels"] == measured.loc[row["label"], "n_voxels"]
        assert row["x"] == measured.loc[row["label"], "x"]
    assert list(after.columns) == list(before.columns) and after["n_voxels"].dtype == before["n_voxels"].dtype


def test_intensities_are_measured_in_the_raw_movie(flat: Path, tmp_path: Path) -> None:
    raw = np.arange(4 * 40 * 48, dtype=np.uint16).reshape(4, 1, 1, 40, 48)
    path = tmp_path / "raw.ome.tif"
    write_movie(path, raw, voxel_size=(2.0, 0.5, 0.5))
    movie = Movie.open(path)
    tables = [measure(boxes(1)[t], movie.frame(t), voxel_size=(2.0, 0.5, 0.5), frame=t) for t in range(4)]
    objects = pd.concat(tables, ignore_index=True)
    table.write(table.Tracks(objects.assign(id=range(len(objects)))), flat / "tracks.csv")
    with Curation(flat) as curation:
        curation.do("erase", stroke=Stroke.of_points(0, [(0, 2, x) for x in range(12)], (1, 40, 48)))
    state = read_state(flat)
    i = state.graph.id_at[0, 1]
    row = curated_tracks(state, movie).objects.set_index("id").loc[i]
    assert row["intensity_mean"] == raw[0, 0, 0][state.labels.frame(0)[0] == 1].mean()
    without = curated_tracks(state).objects.set_index("id")
    assert (
        np.isnan(without.loc[i, "intensity_mean"])
        and without["intensity_mean"].notna().sum() == len(without) - 1
    )


def test_undone_means_byte_for_byte_the_automatic_result(folder: Path) -> None:
    some_edits(folder)
    bring_up_to_date(folder)
    with Curation(folder) as curation:
        for _ in range(4):
            curation.undo()
    result = bring_up_to_date(folder)
    for t in range(4):
        assert (result.labels / f"0/{t}/0/0/0").read_bytes() == (
            folder / f"labels.zarr/0/{t}/0/0/0"
        ).read_bytes()
    assert result.tracks.read_bytes() == (folder / "tracks.csv").read_bytes()


def test_a_replay_elsewhere_gives_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    some_edits(folder)
    bring_up_to_date(folder)
    with Curation(folder) as curation:
        curation.undo()
        curation.do("remove", cell=Cell(3, 1))
        curation.undo()
        curation.do("remove", cell=Cell(3, 1))
    bring_up_to_date(folder)
    depth = LabelMovie.open(folder / "labels.zarr").shape[1]
    elsewhere = write_cells(tmp_path / "again" / "movie", depth=depth)
    (elsewhere / "edits.jsonl").write_bytes((folder / "edits.jsonl").read_bytes())
    bring_up_to_date(elsewhere)
    ours, theirs = files_of(folder / "curated"), files_of(elsewhere / "curated")
    assert ours.keys() == theirs.keys()
    assert ours == theirs


def test_what_is_up_to_date_is_not_written_again(flat: Path) -> None:
    some_edits(flat)
    bring_up_to_date(flat)
    before = {p: p.stat().st_mtime_ns for p in (flat / "curated").rglob("*") if p.is_file()}
    bring_up_to_date(flat)
    assert {p: p.stat().st_mtime_ns for p in (flat / "curated").rglob("*") if p.is_file()} == before
    with Curation(flat) as curation:
        curation.do("remove", cell=Cell(3, 1))
    bring_up_to_date(flat)
    changed = [p for p in before if p.stat().st_mtime_ns != before[p] and "labels.zarr" in str(p)]
    assert [p.relative_to(flat / "curated/labels.zarr").parts[1] for p in changed] == ["3"]


def test_labels_changed_beside_the_log_are_found(flat: Path) -> None:
    some_edits(flat)
    result = bring_up_to_date(flat)
    labels = LabelMovie.open(result.labels)
    labels.write_frame(1, labels.frame(1) * 0)
    with pytest.raises(InputError, match=r"frames \[1\] were changed beside the log"):
        bring_up_to_date(flat)
    (flat / "curated").rename(flat / "kept")
    bring_up_to_date(flat)
    assert LabelMovie.open(result.labels).frame(1).any()


@pytest.mark.parametrize("last", [0, 1, 2])
def test_killed_while_writing_it_is_written_again(
    flat: Path, monkeypatch: pytest.MonkeyPatch, last: int
) -> None:
    some_edits(flat)
    bring_up_to_date(flat)
    with Curation(flat) as curation:
        for t in (1, 3):
            curation.do("remove", cell=Cell(t, 1))

    class Killed(BaseException):
        pass

    calls = []

    def write(*args) -> None:
        calls.append(args)
        if len(calls) > last:
            raise Killed

    real = LabelMovie.write_frame
    monkeypatch.setattr(LabelMovie, "write_frame", lambda *args: (write(*args), real(*args)))
    monkeypatch.setattr(table, "write", lambda *args, **options: write(*args))
    with pytest.raises(Killed):
        bring_up_to_date(flat)
        raise Killed
    monkeypatch.undo()
    result = bring_up_to_date(flat)
    state = read_state(flat)
    assert all(
        np.array_equal(LabelMovie.open(result.labels).frame(t), state.labels.frame(t)) for t in range(4)
    )
    assert len(table.read(result.tracks).objects) == len(state.graph.cell_of)


def test_one_frame_and_one_cell(tmp_path: Path) -> None:
    labels = np.zeros((1, 1, 8, 8), np.int32)
    labels[0, 0, 2:5, 2:5] = 1
    folder = write_cells(tmp_path / "one", labels=labels, links=[])
    with Curation(folder) as curation:
        with pytest.raises(InputError, match="nothing to link"):
            curation.do("follow", cell=Cell(0, 1))
        curation.do("remove", cell=Cell(0, 1))
        assert not curation.state.labels.frame(0).any()
    result = bring_up_to_date(folder)
    assert table.read(result.tracks).objects.empty and not LabelMovie.open(result.labels).frame(0).any()
    with Curation(folder) as curation:
        curation.do("paint", stroke=Stroke.of_points(0, [(0, 1, 1), (0, 1, 2)], (1, 8, 8)))
    assert table.read(bring_up_to_date(folder).tracks).objects["n_voxels"].tolist() == [2]


@pytest.mark.slow
def test_seventy_thousand_cells_in_a_frame(tmp_path: Path) -> None:
    labels = np.zeros((2, 1, 540, 540), np.int32)
    labels[0, 0, ::2, ::2] = np.arange(1, 270 * 270 + 1).reshape(270, 270)
    labels[1, 0, ::2, :20:2] = np.arange(1, 2701).reshape(270, 10)
    folder = write_cells(tmp_path / "many", labels=labels, links=[((0, k), (1, k)) for k in range(1, 2001)])
    with Curation(folder) as curation:
        start = content(curation.state)
        curation.do("merge", keep=Cell(0, 70_000), other=Cell(0, 69_999))
        curation.do("paint", stroke=Stroke.of_points(1, [(0, 1, 1)], (1, 540, 540)))
        assert curation.state.labels.frame(1)[0, 1, 1] == 270 * 270 + 1
        curation.do("separate", cell=Cell(0, 70_000, at=(0, 518, 136)))
        curation.do("cut", cell=Cell(1, 5))
        end = content(curation.state)
    result = bring_up_to_date(folder)
    assert LabelMovie.open(result.labels).frame(1)[0, 1, 1] == 270 * 270 + 1
    state = read_state(folder)
    assert content(state) == end
    with Curation(folder) as curation:
        for _ in range(4):
            curation.undo()
        assert content(curation.state) == start


def test_missing_results_name_the_notebook(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"labels.zarr = 'not there': run notebook 06_segment or 07_segment_cellpose"
    ):
        Curation(tmp_path)
    folder = write_cells(tmp_path / "m")
    (folder / "tracks.csv").unlink()
    with pytest.raises(InputError, match=r"tracks.csv = 'not there': run notebook 10_track"):
        Curation(folder)
    with pytest.raises(InputError, match=r"edits.jsonl = .*No such file"):
        read_state(write_cells(tmp_path / "n"))


def test_tracks_without_labels_or_of_another_movie_are_refused(flat: Path) -> None:
    tracks = table.read(flat / "tracks.csv")
    table.write(table.Tracks(tracks.objects.drop(columns="label"), tracks.links), flat / "tracks.csv")
    with pytest.raises(InputError, match="add the column label"):
        Curation(flat)
    late = tracks.objects.assign(frame=tracks.objects["frame"] + 1)
    table.write(table.Tracks(late, tracks.links), flat / "tracks.csv")
    with pytest.raises(InputError, match="objects in frame 4"):
        Curation(flat)
    assert not list(flat.glob("curated")) and json.loads((flat / "tracks.csv.json").read_text())
