"""Notebook 08's filters and trackers, on a table and small labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from helpers.data.movies import LabelMovie, write_movie
from helpers.errors import InputError
from helpers.runs.parameters import Track
from helpers.runs.steps import tracking as step

VOXEL = (1.0, 1.0, 1.0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two cells that move by one voxel a frame, and a region of interest around the first."""
    labels = np.zeros((3, 4, 20, 20), np.uint16)
    for t in range(3):
        labels[t, 1:3, 2:6, 2 + t : 6 + t] = 1
        labels[t, 1:3, 12:15, 12 + t : 15 + t] = 2
    movie = LabelMovie.create(tmp_path / "labels.zarr", labels.shape, voxel_size=VOXEL, frame_interval=60.0)
    for t in range(3):
        movie.write_frame(t, labels[t])
    tables = [step.measure(labels[t], labels[t] * 10.0, voxel_size=VOXEL, frame=t) for t in range(3)]
    objects = pd.concat(tables, ignore_index=True).assign(quality=lambda table: table["label"] * 0.4)
    objects["id"] = range(len(objects))
    objects.to_csv(tmp_path / "objects.csv", index=False)
    roi = np.zeros((1, 1, 4, 20, 20), np.uint8)
    roi[..., :10, :10] = 1
    write_movie(tmp_path / "roi.ome.tif", roi, voxel_size=VOXEL)
    return tmp_path


def _track(folder: Path, **changes: object) -> Track:
    given = {
        "run_dir": folder,
        "objects": folder / "objects.csv",
        "labels": folder / "labels.zarr",
        **changes,
    }
    return Track.checked(given)


@pytest.mark.parametrize("tracker", ["lap", "overlap", "kalman", "advanced_kalman", "nearest"])
def test_every_tracker_follows_two_cells(folder: Path, tracker: str) -> None:
    p = _track(folder, tracker=tracker, max_distance_um=5.0, search_radius_um=5.0)
    tracks = step.track(step.open_cells(p), p)
    assert (tracks.n_tracks, len(tracks.links), len(tracks.divisions)) == (2, 4, 0)
    assert tracks.frame_interval == 60.0


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


def test_a_table_alone_is_tracked_without_images(folder: Path) -> None:
    (folder / "labels.zarr").rename(folder / "gone.zarr")
    p = Track.checked({"run_dir": folder, "objects": folder / "objects.csv", "max_distance_um": 5.0})
    cells = step.open_cells(p)
    assert cells.labels is None
    assert step.track(cells, p).n_tracks == 2
    with pytest.raises(InputError, match=r"^labels = None"):
        step.track(cells, p.model_copy(update={"tracker": "overlap"}))


def test_the_files_are_written(folder: Path) -> None:
    p = _track(folder, movie_id="m", max_distance_um=5.0)
    cells = step.open_cells(p)
    written = step.write_all(step.track(cells, p), cells, p)
    for name in written:
        assert (folder / "movies" / "m" / name).exists()


def test_a_missing_table_names_the_parameter(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^objects = .*no such table"):
        step.open_cells(Track.checked({"run_dir": tmp_path, "movie_id": "m"}))
