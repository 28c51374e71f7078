"""Cell Tracking Challenge: masks and table, read by others' loaders, gaps and merges as documented."""

from __future__ import annotations

import shutil

import numpy as np
import pandas as pd
import pytest
import tifffile
from hypothesis import HealthCheck, assume, given, settings

from helpers.data.label_movies import LabelMovie
from helpers.errors import InputError
from helpers.tracking.formats import ctc, trackmate
from helpers.tracking.tracks import Tracks
from tests.tracking.formats.format_strategies import family, tracks


def painted(given: Tracks, shape=(3, 8, 40)) -> tuple[Tracks, list[np.ndarray]]:
    """Give every object a block of its own in the label frame of its time; return the Tracks with those centroids."""
    objects = given.objects.copy()
    voxel = given.voxel_size or (1.0, 1.0, 1.0)
    n_frames = int(objects["frame"].max()) + 1 if len(objects) else 1
    frames = [np.zeros(shape, np.uint16) for _ in range(n_frames)]
    for row, (frame, label) in enumerate(zip(objects["frame"], objects["label"], strict=True)):
        place = int((objects["frame"].iloc[:row] == frame).sum()) * 2
        frames[frame][0, 1:4, place : place + 2] = label
        objects.loc[row, ["z", "y", "x"]] = np.array([0, 2, place + 0.5]) * voxel
    return Tracks(objects, given.links, voxel, given.frame_interval), frames


def _shape_of(found: Tracks, labels: np.ndarray) -> set:
    """Return the links as pairs of (frame, position), which no renumbering changes."""
    key = {i: (f, round(x, 6)) for i, f, x in found.objects[["id", "frame", "x"]].itertuples(index=False)}
    return {(key[s], key[t]) for s, t in found.links[["source", "target"]].itertuples(index=False)}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tracks(merges=False, columns=False))
def test_without_merges_nothing_is_lost(tmp_path, drawn):
    expected, frames = painted(drawn)
    lost = ctc.write(expected, tmp_path / "res", frames)
    assert len(lost) == 0
    found = ctc.read(tmp_path / "res", voxel_size=expected.voxel_size, frame_interval=expected.frame_interval)
    assert _shape_of(found, frames) == _shape_of(expected, frames)
    assert len(found.objects) == len(expected.objects)
    assert found.divisions["frame"].tolist() == expected.divisions["frame"].tolist()
    assert found.gaps["missing"].sum() == expected.gaps["missing"].sum()
    shutil.rmtree(tmp_path / "res")


def test_the_table_of_a_family(tmp_path):
    expected, frames = painted(family())
    with pytest.warns(UserWarning, match="1 links are left out"):
        lost = ctc.write(expected, tmp_path, frames)
    dearer = expected.links[expected.links["target"] == 17].sort_values("cost")["source"].iloc[1]
    assert lost[["source", "target"]].to_numpy().tolist() == [[dearer, 17]]
    rows = [tuple(map(int, line.split())) for line in (tmp_path / "res_track.txt").read_text().splitlines()]
    # 10-11 | 12-14-15 and 13 | gap: 16 is a new label after 13 | 20 alone | 17-18 after the merge
    assert rows[:2] == [(1, 0, 1, 0), (2, 2, 4, 1)]
    assert rows[2] == (3, 2, 2, 1)
    assert (4, 3, 3, 0) in rows and (5, 4, 4, 3) in rows
    assert rows[5][:3] == (6, 5, 6) and rows[5][3] in (2, 5)
    mask = tifffile.imread(tmp_path / "mask002.tif")
    assert mask.shape == (3, 8, 40) and len(tifffile.TiffFile(tmp_path / "mask002.tif").pages) == 3
    assert mask.dtype == np.uint16 and set(np.unique(mask)) == {0, 2, 3}
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *(f"mask00{t}.tif" for t in range(7)),
        "res_track.txt",
    ]


def test_traccuracy_reads_the_same_graph(tmp_path):
    loaders = pytest.importorskip("traccuracy.loaders")
    expected, frames = painted(family())
    with pytest.warns(UserWarning):
        ctc.write(expected, tmp_path, frames, truth=True)
    graph = loaders.load_ctc_data(str(tmp_path), run_checks=True).graph
    assert graph.number_of_nodes() == len(expected.objects)
    assert graph.number_of_edges() == len(expected.links) - 1
    assert sum(degree == 2 for _, degree in graph.out_degree()) == 1


def test_ctcmetrics_finds_a_perfect_result(tmp_path):
    evaluate = pytest.importorskip("ctc_metrics.scripts.evaluate")
    expected, frames = painted(family())
    with pytest.warns(UserWarning):
        ctc.write(expected, tmp_path / "01_RES", frames)
        ctc.write(expected, tmp_path / "01_GT" / "TRA", frames, truth=True)
    scores = evaluate.evaluate_sequence(
        str(tmp_path / "01_RES"), str(tmp_path / "01_GT"), metrics=["Valid", "TRA", "DET"]
    )
    assert scores["Valid"] == 1 and scores["TRA"] == 1 and scores["DET"] == 1


def test_a_label_movie_on_disk_is_read_frame_by_frame(tmp_path, read_meshes):
    objects = pd.DataFrame({"frame": [0, 1], "label": [5, 6], "z": 0.0, "y": 0.5, "x": 0.5})
    movie = LabelMovie.create(tmp_path / "labels.zarr", (2, 2, 4, 4), voxel_size=(2, 1, 1))
    for t, label in enumerate((5, 6)):
        frame = np.zeros((2, 4, 4), np.uint16)
        frame[0, 1:3, 1:3] = label
        movie.write_frame(t, frame)
    links = pd.DataFrame({"source": [0], "target": [1]})
    tracks = Tracks(objects, links, (2, 1, 1))
    ctc.write(tracks, tmp_path / "ctc", movie)
    assert (tmp_path / "ctc" / "res_track.txt").read_text() == "1 0 1 0\n"
    assert tifffile.imread(tmp_path / "ctc" / "mask001.tif").sum() == 4
    trackmate.write(tracks, tmp_path / "t.xml", labels=movie)
    assert sorted(read_meshes(tmp_path / "t.xml")) == [0, 1]


def test_planes_are_written_flat_and_labels_of_no_object_are_erased(tmp_path):
    frame = np.array([[[0, 5, 9], [5, 5, 9]]])
    objects = pd.DataFrame({"frame": [0], "label": [5], "y": 0.5, "x": 0.5})
    ctc.write(Tracks(objects, voxel_size=(0.5, 0.5)), tmp_path, [frame])
    assert tifffile.imread(tmp_path / "mask000.tif").tolist() == [[0, 1, 0], [1, 1, 0]]
    found = ctc.read(tmp_path, voxel_size=(0.5, 0.5))
    np.testing.assert_allclose(found.objects[["z", "y", "x"]], [[0, 1 / 3, 1 / 3]])


def test_an_older_longer_result_leaves_nothing_behind(tmp_path):
    expected, frames = painted(family())
    (tmp_path / "notes.md").write_text("mine")
    with pytest.warns(UserWarning):
        ctc.write(expected, tmp_path, frames)
    objects = pd.DataFrame({"frame": [0], "label": [5], "y": 0.5, "x": 0.5})
    ctc.write(Tracks(objects), tmp_path, [np.array([[5]])])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mask000.tif", "notes.md", "res_track.txt"]


def _write(folder, **change):
    objects = pd.DataFrame({"frame": [0, 1], "label": [1, 2], "y": 0.0, "x": 0.0})
    frames = [np.array([[1, 0]]), np.array([[2, 0]])]
    ctc.write(Tracks(change.get("objects", objects)), folder, change.get("frames", frames))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"objects": pd.DataFrame({"frame": [0], "y": [0.0], "x": [0.0]})}, "column label"),
        (
            {"objects": pd.DataFrame({"frame": [0, 0], "label": [1, 1], "y": 0.0, "x": 0.0})},
            "per frame and label",
        ),
        ({"frames": [np.array([[1, 0]]), np.array([[2], [0]])]}, "shape of the first"),
        ({"frames": [np.array([[1, 0]])]}, "objects in frame 1"),
        ({"frames": [np.array([[1, 0]]), np.array([[3, 0]])]}, "the frame does not"),
    ],
)
def test_what_cannot_be_written(tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        _write(tmp_path, **change)


def test_as_many_labels_as_16_bits_hold(tmp_path):
    n = 65_535
    objects = pd.DataFrame({"frame": 0, "label": np.arange(1, n + 1), "y": 0.0, "x": 0.0})
    ctc.write(Tracks(objects), tmp_path, [np.arange(1, n + 1, dtype=np.int32).reshape(257, 255)])
    assert tifffile.imread(tmp_path / "mask000.tif").dtype == np.uint16


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 0 1\n", "L B E P"),
        ("1 0 1 one\n", "L B E P"),
        ("1 0 1 0\n1 0 1 0\n", "each once"),
        ("1 1 0 0\n", "B ≤ E"),
        ("1 0 1 7\n", "label of another"),
        ("1 0 1 0\n2 1 1 1\n", "ends before"),
        ("1 0 9 0\n", "last mask"),
        ("1 0 1 0\n2 1 1 0\n", "not in the masks"),
        ("1 0 0 0\n", "in no row"),
    ],
)
def test_bad_results_are_refused(tmp_path, text, message):
    _write(tmp_path)
    for frame in range(2):
        tifffile.imwrite(tmp_path / f"mask00{frame}.tif", np.array([[1, 0]], np.uint16))
    (tmp_path / "res_track.txt").write_text(text)
    with pytest.raises(InputError, match=message):
        ctc.read(tmp_path, voxel_size=(1, 1))


def test_damaged_folders(tmp_path):
    with pytest.raises(InputError, match=r"res_track\.txt"):
        ctc.read(tmp_path, voxel_size=(1, 1))
    _write(tmp_path)
    with pytest.raises(InputError, match="voxel_size"):
        ctc.read(tmp_path, voxel_size=None)
    whole = (tmp_path / "mask001.tif").read_bytes()
    (tmp_path / "mask001.tif").write_bytes(whole[:20])
    with pytest.raises(InputError, match="TIFF"):
        ctc.read(tmp_path, voxel_size=(1, 1))
    tifffile.imwrite(tmp_path / "mask001.tif", np.zeros((3, 3), np.uint16))
    with pytest.raises(InputError, match="shape"):
        ctc.read(tmp_path, voxel_size=(1, 1))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*links are left out")
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tracks(columns=False))
def test_any_tracks_are_valid_to_ctcmetrics_and_complete_to_traccuracy(tmp_path, drawn):
    from ctc_metrics.scripts.evaluate import evaluate_sequence
    from traccuracy.loaders import load_ctc_data

    assume(len(drawn.links))  # py-ctcmetrics counts nothing without a link
    expected, frames = painted(drawn)
    ctc.write(expected, tmp_path / "01_RES", frames)
    ctc.write(expected, tmp_path / "01_GT" / "TRA", frames, truth=True)
    scores = evaluate_sequence(str(tmp_path / "01_RES"), str(tmp_path / "01_GT"), metrics=["Valid", "TRA"])
    assert scores["Valid"] == scores["TRA"] == 1
    graph = load_ctc_data(str(tmp_path / "01_RES"), run_checks=True).graph
    assert graph.number_of_nodes() == len(drawn.objects)
    assert graph.number_of_edges() == drawn.links["target"].nunique(), "all but the further parents of merges"
    shutil.rmtree(tmp_path / "01_RES")
    shutil.rmtree(tmp_path / "01_GT")
