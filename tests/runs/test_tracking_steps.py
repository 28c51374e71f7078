"""Notebook 10_track's filters and trackers, on a table and small labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from helpers.data.label_movies import labels_of_tracks
from helpers.data.movies import LabelMovie, Movie, write_movie
from helpers.errors import InputError
from helpers.runs.parameters import EvaluateTracking, Track
from helpers.runs.run import Run
from helpers.runs.steps import tracking as step
from helpers.runs.steps import tracking_scores
from helpers.runs.steps.trackmate_settings import in_words, with_trackmate_settings
from helpers.tracking.formats import table, trackmate
from helpers.tracking.kalman import AdvancedKalmanParameters
from helpers.tracking.linking import LapParameters
from helpers.tracking.objects import measure
from helpers.view.object_plots import removed_over_projection
from helpers.view.track_plots import lineage_tree, tracks_over_projection

VOXEL = (1.0, 1.0, 1.0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two cells that move by one voxel a frame, and a region of interest around the first."""
    labels = np.zeros((3, 4, 20, 20), np.uint16)
    for t in range(3):
        labels[t, 1:3, 2:6, 2 + t : 6 + t] = 1
        labels[t, 1:3, 12:15, 12 + t : 15 + t] = 2
    movie = LabelMovie.create(tmp_path / "labels.zarr", (3, 4, 20, 20), voxel_size=VOXEL, frame_interval=60.0)
    for t in range(3):
        movie.write_frame(t, labels[t])
    tables = [measure(labels[t], labels[t] * 10.0, voxel_size=VOXEL, frame=t) for t in range(3)]
    objects = pd.concat(tables, ignore_index=True).assign(quality=lambda table: table["label"] * 0.4)
    objects["id"] = range(len(objects))
    objects.to_csv(tmp_path / "objects.csv", index=False)
    roi = np.zeros((1, 1, 4, 20, 20), np.uint8)
    roi[..., :10, :10] = 1
    write_movie(tmp_path / "roi.ome.tif", roi, voxel_size=VOXEL)
    return tmp_path


def test_the_global_tracker_leaves_the_labels_it_chose_and_later_steps_read_them(tmp_path: Path) -> None:
    labels = np.zeros((5, 4, 20, 20), np.uint16)
    labels[:, 1:3, 4:12, 4:12] = 1
    truth = labels.copy()
    labels[2, 1:3, 4:12, 8:12] = 2  # cut in two, in one frame
    tables = []
    for name, content in (("labels", labels), ("labels_unet", truth)):
        movie = LabelMovie.create(
            tmp_path / f"movies/movie/{name}.zarr", labels.shape, voxel_size=VOXEL, frame_interval=60.0
        )
        for t in range(5):
            movie.write_frame(t, content[t])
    tables = [measure(labels[t], voxel_size=VOXEL, frame=t) for t in range(5)]
    objects = pd.concat(tables, ignore_index=True).assign(id=range(6))
    objects.to_csv(tmp_path / "movies/movie/objects.csv", index=False)
    p = Track.checked({"run_dir": tmp_path, "tracker": "global"})
    assert [path.name for path in p.competing_paths()] == ["labels_unet.zarr"]
    cells, tracks, about = step.track_movie(step.open_cells(p), p)
    assert about["cells_not_in_labels"] == 1 and about["optimal"]
    assert (tracks.n_tracks, len(tracks.links), len(tracks.divisions)) == (1, 4, 0)
    chosen = labels_of_tracks(p.movie_path())
    assert cells.labels is not None and cells.labels.path == chosen == p.movie_path("labels_tracked.zarr")
    np.testing.assert_array_equal(LabelMovie.open(chosen).frame(2) > 0, truth[2] > 0)
    written = step.write_all(tracks, cells, p)
    assert {"tracks.csv", "ctc"} <= set(written)
    after = Track.checked({"run_dir": tmp_path, "tracker": "overlap"})
    step.track_movie(step.open_cells(after), after)
    assert labels_of_tracks(p.movie_path()).name == "labels.zarr", "another tracker's choice is gone"


def _track(folder: Path, **changes: object) -> Track:
    given = {
        "run_dir": folder,
        "objects": folder / "objects.csv",
        "labels": folder / "labels.zarr",
        **changes,
    }
    return Track.checked(given)


@pytest.mark.parametrize("tracker", ["lap", "overlap", "global", "kalman", "advanced_kalman", "nearest"])
def test_every_tracker_follows_two_cells(folder: Path, tracker: str) -> None:
    p = _track(folder, tracker=tracker, max_distance_um=5.0, search_radius_um=5.0)
    tracks = step.track(step.open_cells(p), p)
    assert (tracks.n_tracks, len(tracks.links), len(tracks.divisions)) == (2, 4, 0)
    assert tracks.frame_interval == 60.0


@pytest.mark.parametrize("tracker", ["kalman", "advanced_kalman", "lap"])
@pytest.mark.parametrize(("longest", "linked"), [(1, False), (2, False), (3, True)])
def test_a_gap_is_as_long_for_every_tracker(tmp_path: Path, tracker: str, longest: int, linked: bool) -> None:
    """Of a cell that moves steadily two frames are missing; TrackMate's own filters would bridge them with 2."""
    seen = [t for t in range(12) if t not in (5, 6)]
    cells = pd.DataFrame({"frame": seen, "z": 0.0, "y": 0.0, "x": [2.0 * t for t in seen], "radius_um": 2.0})
    p = Track.checked({"run_dir": tmp_path, "tracker": tracker, "max_frame_gap": longest})
    tracks = step.track(step.Cells(cells, None, None, None), p)
    assert tracks.n_tracklets == (1 if linked else 2)
    assert len(tracks.links) == (9 if linked else 8)


@pytest.mark.parametrize(
    ("filters", "reason"),
    [
        ({"min_size_um3": 20.0}, "volume_um3 < 20"),
        ({"max_size_um3": 20.0}, "volume_um3 > 20"),
        ({"min_intensity": 15.0}, "intensity_mean < 15"),
        ({"min_quality": 0.5}, "quality < 0.5"),
        ({"roi_mask": "roi.ome.tif"}, "outside the mask"),
    ],
)
def test_each_filter_says_what_it_left_out(folder: Path, filters: dict, reason: str) -> None:
    if "roi_mask" in filters:
        filters = {"roi_mask": folder / filters["roi_mask"]}
    p = _track(folder, **filters)
    cells, left_out = step.keep_cells(step.open_cells(p), p)
    assert left_out["reason"].tolist() == [reason] * 3
    assert len(cells.objects) == 3


def test_a_table_alone_istracked_without_images(folder: Path) -> None:
    (folder / "labels.zarr").rename(folder / "gone.zarr")
    p = Track.checked({"run_dir": folder, "objects": folder / "objects.csv", "max_distance_um": 5.0})
    cells = step.open_cells(p)
    assert cells.labels is None
    assert step.track(cells, p).n_tracks == 2
    with pytest.raises(InputError, match=r"^labels = None"):
        step.track(cells, p.model_copy(update={"tracker": "overlap"}))


def test_a_movie_without_cells_has_no_tracks(folder: Path) -> None:
    empty = folder / "empty.csv"
    pd.read_csv(folder / "objects.csv").iloc[:0].to_csv(empty, index=False)
    for tracker in ("lap", "overlap", "kalman", "nearest"):
        p = _track(folder, movie_id=tracker, objects=empty, tracker=tracker, max_distance_um=5.0)
        cells, left_out = step.keep_cells(step.open_cells(p), p)
        assert left_out.empty
        step.write_all(step.track(cells, p), cells, p)
        own = folder / "movies" / tracker
        assert (table.read(own / "tracks.csv").n_tracks, trackmate.read(own / "tracks.xml").n_tracks) == (
            0,
            0,
        )


def test_the_files_are_written(folder: Path) -> None:
    p = _track(folder, movie_id="m", max_distance_um=5.0)
    cells = step.open_cells(p)
    written = step.write_all(step.track(cells, p), cells, p)
    for name in written:
        assert (folder / "movies" / "m" / name).exists()


def test_a_missing_table_names_the_parameter(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^objects = .*no such table"):
        step.open_cells(Track.checked({"run_dir": tmp_path, "movie_id": "m"}))


def test_a_table_alone_goes_through_the_whole_notebook_and_opens_no_image(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("an image was opened")

    for kind in (Movie, LabelMovie):
        monkeypatch.setattr(kind, "open", refuse)
    bare = pd.read_csv(folder / "objects.csv")[["frame", "z", "y", "x"]]
    bare = bare.assign(y=bare["y"] + 9e6, x=bare["x"] - 4e5)
    bare.to_csv(folder / "bare.csv", index=False)
    p = Track.checked({"run_dir": folder, "movie_id": "m", "objects": folder / "bare.csv"})
    cells, left_out = step.keep_cells(step.open_cells(p), p)
    tracks, removed = step.keep_tracks(step.track(cells, p), cells, p)
    assert cells.voxel_size is None and cells.labels is None
    removed_over_projection(None, tracks.objects, left_out, removed).canvas.draw()
    lineage_tree(step.by_division(tracks)[1]).canvas.draw()
    for color_by in ("track", "generation", step.first_feature(tracks, p)):
        tracks_over_projection(None, tracks, color_by=color_by).canvas.draw()
    assert set(step.write_all(tracks, cells, p)) == {"tracks.csv", "tracks.xml", "tracks.geff"}
    assert len(table.read(folder / "movies" / "m" / "tracks.csv").links) == 4


def test_linking_parameters_reach_the_tracker() -> None:
    weights = {"volume_um3": 0.5}
    options = {
        "alternative_linking_cost_factor": 1.5, "cutoff_percentile": 0.8, "gap_closing_penalties": {"a": 1},
        "splitting_penalties": {"b": 2}, "merging_penalties": {"c": 3},
    }  # fmt: skip
    p = Track.checked(
        {
            "max_distance_um": 7, "penalties": weights, "overlap_weight": 2, "gap_closing_max_distance_um": 9,
            "max_frame_gap": 4, "splitting_max_distance_um": 5, "merging_max_distance_um": 3, "tracker_options": options,
        }
    )  # fmt: skip
    expected = LapParameters(
        max_distance=7, penalties=weights, overlap_weight=2, alternative_linking_cost_factor=1.5,
        cutoff_percentile=0.8, gap_closing_max_distance=9, max_frame_gap=4, splitting=True,
        gap_closing_penalties={"a": 1}, splitting_penalties={"b": 2}, merging_penalties={"c": 3},
        splitting_max_distance=5, merging=True, merging_max_distance=3,
    )  # fmt: skip
    assert step.tracker_parameters(p) == expected
    kalman = step.tracker_parameters(p.model_copy(update={"tracker": "advanced_kalman"}))
    assert isinstance(kalman, AdvancedKalmanParameters)
    assert kalman.segments.splitting_penalties == {"b": 2} and kalman.penalties == weights
    assert step.tracker_parameters(Track.checked({})) == LapParameters()
    alone = step.tracker_parameters(Track.checked({"gap_closing_max_distance_um": None}))
    assert alone == LapParameters(gap_closing=False)
    with pytest.raises(InputError, match="tracker_options"):
        Track.checked({"tracker_options": {"cutoff": 0.8}})


@pytest.mark.parametrize(
    "given",
    [
        {"max_distance_um": 7.0, "penalties": {"volume_um3": 0.5}, "gap_closing_max_distance_um": None},
        {"splitting_max_distance_um": 5.0, "max_frame_gap": 4, "tracker_options": {"cutoff_percentile": 0.8}},
        {"tracker": "overlap", "min_iou": 0.2, "scale_factor": 1.5},
        {"tracker": "kalman", "max_distance_um": 6.0, "search_radius_um": 9.0, "max_frame_gap": 3},
        {
            "tracker": "advanced_kalman",
            "max_distance_um": 6.0,
            "search_radius_um": 9.0,
            "merging_max_distance_um": 4.0,
        },
    ],
)
def test_the_settings_of_a_trackmate_file_take_the_place_of_those_here(folder: Path, given: dict) -> None:
    first = _track(folder, movie_id="first", **given)
    cells = step.open_cells(first)
    step.write_all(step.track(cells, first), cells, first)
    p = _track(folder, movie_id="m", trackmate_settings=first.movie_path("tracks.xml"), min_track_frames=2)
    found = with_trackmate_settings(p)
    assert (found.tracker, found.min_track_frames) == (first.tracker, 2)
    assert step.tracker_parameters(found) == step.tracker_parameters(first)
    said = in_words(found)
    assert all(f"{name} = {value!r}" in said for name, value in given.items() if name != "tracker_options"), (
        said
    )
    assert with_trackmate_settings(first) is first
    if found.tracker != "lap":
        return
    run = Run.start(p)
    tracks = step.track(cells, found)
    step.write_all(tracks, cells, p)
    nothing = cells.objects.head(0).assign(reason="")
    run.finish(step.results(tracks, nothing, nothing, found))
    q = EvaluateTracking.checked(
        {"run_dir": folder, "movie_id": "m", "truth": folder / "labels.zarr", "truth_tracks": folder}
    )
    first.movie_path("tracks.xml").unlink()
    assert step.tracker_parameters(tracking_scores.tracked_with(q)) == step.tracker_parameters(first)


def test_trackmate_settings_that_are_of_no_use_are_told(folder: Path) -> None:
    path = folder / "manual.xml"
    path.write_text(
        '<TrackMate version="7"><Settings><TrackerSettings TRACKER_NAME="MANUAL_TRACKER"/></Settings></TrackMate>'
    )
    with pytest.raises(InputError, match=r"trackmate_settings.*MANUAL_TRACKER.*LAP, overlap or Kalman"):
        with_trackmate_settings(_track(folder, trackmate_settings=path))
    given = _track(folder, trackmate_settings=path)
    for content, words in (
        ("<TrackMate/>", "states no tracker"),
        ('<?xml version="1.0" encoding="klingon"?><TrackMate/>', "unknown encoding"),
        ('<?xml version="1.0" encoding="utf-7"?><TrackMate/>', "manual.xml"),
        ('<TrackMate><Settings><TrackerSettings TRACKER_NAME="LAP_TRACKER"><Linking LINKING_MAX_DISTANCE="far"/>', "manual.xml"),
        ('<TrackMate><Settings><TrackerSettings TRACKER_NAME="SPARSE_LAP_TRACKER"><Linking LINKING_MAX_DISTANCE="far"/>'
         "</TrackerSettings></Settings></TrackMate>", "manual.xml"),
    ):  # fmt: skip
        path.write_text(content)
        with pytest.raises(InputError, match=words):
            with_trackmate_settings(given)


def test_the_overlap_is_a_term_of_the_cost(folder: Path) -> None:
    plain, weighted = _track(folder), _track(folder, overlap_weight=2.0)
    cells = step.open_cells(plain)
    ratio = step.track(cells, weighted).links["cost"] / step.track(cells, plain).links["cost"]
    # Cells of 4 and 3 voxels along x move by one: IoU 3/5 and 2/4.
    assert sorted(set(ratio.round(9))) == pytest.approx([(1 + 3 * 0.4) ** 2, (1 + 3 * 0.5) ** 2])


@pytest.mark.parametrize(
    ("filters", "reason"),
    [
        ({"min_track_frames": 4}, "frames < 4"),
        ({"track_filters": {"min_displacement_um": 2.5}}, "displacement < 2.5 µm"),
        ({"track_filters": {"latest_start_frame": 0}}, "first frame > 0"),
        ({"track_filters": {"earliest_end_frame": 3}}, "last frame < 3"),
        ({"track_filters": {"min_quality": 0.5}}, "mean quality < 0.5"),
        ({"tissue_mask": "roi.ome.tif"}, "never inside the tissue"),
    ],
)
def test_each_filter_of_tracks_says_what_it_removed(folder: Path, filters: dict, reason: str) -> None:
    if "tissue_mask" in filters:
        filters = {"tissue_mask": folder / filters["tissue_mask"]}
    p = _track(folder, max_distance_um=5.0, **filters)
    cells = step.open_cells(p)
    if "latest_start_frame" in str(filters):
        cells = step.Cells(cells.objects.assign(frame=cells.objects["frame"] + 1), None, VOXEL, 60.0)
    tracks, removed = step.keep_tracks(step.track(cells, p), cells, p)
    assert set(removed["reason"]) == {reason}
    assert len(tracks.objects) + len(removed) == 6 and len(removed) >= 3
    assert step.counts(removed)["cells"].to_dict() == {reason: len(removed)}  # type: ignore[index]
    assert step.counts(removed.head(0)) is None


def test_short_daughters_are_removed_but_at_the_end(folder: Path) -> None:
    rows = [(0, 0.0), (1, 0.0), (2, -1.0), (2, 2.0), (3, -1.0), (4, -1.0), (3, 9.0), (4, 8.0), (4, 10.0)]
    objects = pd.DataFrame(rows, columns=["frame", "x"]).assign(z=0.0, y=0.0)
    objects.to_csv(folder / "t.csv", index=False)
    links = pd.DataFrame({"source": [0, 1, 1, 2, 4, 6, 6], "target": [1, 2, 3, 4, 5, 7, 8]})
    for frames, n in (({"min_tracklet_frames": 0}, 0), ({}, 1), ({"min_tracklet_frames": 3}, 1)):
        p = _track(folder, objects=folder / "t.csv", labels=None, **frames)
        cells = step.open_cells(p)
        tracks, removed = step.keep_tracks(step.Tracks(cells.objects, links), cells, p)
        assert len(removed) == n, frames
        dividing, others, table = step.by_division(tracks)
        assert table["divisions"].tolist() == [2 - n, 0]
        assert len(dividing.objects) + len(others.objects) == 9 - n


def test_a_region_drawn_in_one_plane_holds_for_all(folder: Path) -> None:
    plane = np.zeros((1, 1, 1, 20, 20), np.uint8)
    plane[..., :10, :10] = 1
    write_movie(folder / "plane.ome.tif", plane, voxel_size=VOXEL)
    p = _track(folder, roi_mask=folder / "plane.ome.tif")
    kept, left_out = step.keep_cells(step.open_cells(p), p)
    assert set(kept.objects["label"]) == {1} and set(left_out["label"]) == {2}


def test_a_mask_of_another_shape_is_refused(folder: Path) -> None:
    write_movie(folder / "wide.ome.tif", np.ones((1, 1, 4, 20, 21), np.uint8), voxel_size=VOXEL)
    p = _track(folder, roi_mask=folder / "wide.ome.tif")
    with pytest.raises(InputError, match=r"^roi_mask = .*20, 21.*shape of the labels"):
        step.keep_cells(step.open_cells(p), p)
    alone = Track.checked(
        {"run_dir": folder, "objects": folder / "objects.csv", "roi_mask": folder / "roi.ome.tif"}
    )
    with pytest.raises(InputError, match=r"^voxel_size_um = None"):
        step.keep_cells(step.open_cells(alone), alone)


def test_the_column_to_colour_by_is_checked_before_tracking(folder: Path) -> None:
    with pytest.raises(InputError, match=r"^color_by = 'mood': one of the columns id.*divides"):
        step.open_cells(_track(folder, color_by="mood"))
    p = _track(folder, color_by="surface_um2")
    assert step.first_feature(step.track(step.open_cells(p), p), p) == "surface_um2"


def test_a_bad_table_names_the_parameter(folder: Path) -> None:
    (folder / "t.csv").write_text("")
    with pytest.raises(InputError, match=r"^objects = .*CSV"):
        step.open_cells(_track(folder, objects=folder / "t.csv"))
    (folder / "t.csv").write_text("frame,y\n0,1\n")
    with pytest.raises(InputError, match=r"^objects = .*missing columns \['x'\]"):
        step.open_cells(_track(folder, objects=folder / "t.csv"))


def test_scores_use_the_labels_and_penalties_that_weretracked_with(folder: Path) -> None:
    raw = np.stack([LabelMovie.open(folder / "labels.zarr").frame(t) for t in range(3)])[:, None] * 10
    write_movie(folder / "raw.ome.tif", raw.astype(np.uint16), voxel_size=VOXEL, frame_interval=60.0)
    given = {"movie_id": "m", "raw": folder / "raw.ome.tif", "penalties": {"intensity_mean": 1.0}}
    p = _track(folder, **given, max_distance_um=5.0)
    run = Run.start(p)
    cells = step.open_cells(p)
    tracks = step.track(cells, p)
    step.write_all(tracks, cells, p)
    nothing = cells.objects.head(0).assign(reason="")
    run.finish(step.results(tracks, nothing, nothing, p))
    table.write(tracks, folder / "truth")
    q = EvaluateTracking.checked(
        {
            "run_dir": folder,
            "movie_id": "m",
            "truth": folder / "labels.zarr",
            "truth_tracks": folder / "truth",
        }
    )
    Run.start(q)  # every input is there, though movies/m/labels.zarr is not
    found = {result.name: result for result in tracking_scores.evaluate(q)}
    assert found["true_labels"].scores["tra"] == found["predicted_labels"].scores["tra"] == 1.0
    shown = tracking_scores.under_errors(q, found["true_labels"])
    assert shown["n_frames"] == 3 and shown["image"].sum() == 50
