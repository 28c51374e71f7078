"""mmv_h4tracks' metrics and its CSV: as its own code makes them, and what ours makes of gaps, 3D and German computers."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from helpers.analysis import mmv_h4tracks
from helpers.errors import InputError
from helpers.runs.parameters import AnalyzeMigration
from helpers.runs.steps import migration as step
from helpers.runs.steps.tracked import open_tracks
from helpers.tracking.objects import measure
from helpers.tracking.tracks import Tracks
from tests.curation import mmv_cases
from tests.curation.curated_movies import LINKS, VOXEL, boxes, tracks_of

EXPECTED = json.loads(Path(__file__).with_name("mmv_h4tracks_csv.json").read_text())


class Labels:
    def __init__(self, labels: np.ndarray) -> None:
        self.labels = labels

    def frame(self, t: int) -> np.ndarray:
        return self.labels[t]


def tracked(labels: np.ndarray, links) -> Tracks:
    tables = [measure(frame, voxel_size=VOXEL, frame=t) for t, frame in enumerate(labels)]
    return tracks_of(pd.concat(tables, ignore_index=True), links)


def _values(line: list) -> list:
    return [pytest.approx(x, abs=0.0011) if isinstance(x, float) else x for x in line]


@pytest.mark.parametrize("seed", EXPECTED)
def test_its_csv_line_by_line(seed: str) -> None:
    labels, rows = mmv_cases.csv_movie(int(seed))
    keys = [(t, int(labels[t, y, x])) for _, t, y, x in rows.tolist()]
    links = [(keys[k], keys[k + 1]) for k in np.flatnonzero(np.diff(rows[:, 0]) == 0)]
    stacks = labels[:, None].astype(np.int32)
    ours = mmv_h4tracks.csv_lines(
        mmv_h4tracks.measure_pixels(tracked(stacks, links), Labels(stacks)), *mmv_cases.FILTERS
    )
    theirs = EXPECTED[seed]
    assert len(ours) == len(theirs) and any("not matching" in str(line) for line in theirs)
    starts = [k for k, line in enumerate(theirs) if line and str(line[0]).startswith("Cells")]
    assert ours[: starts[0] + 1] == [_values(line) for line in theirs[: starts[0] + 1]]
    for first, last in ((starts[0], starts[1] - 2), (starts[1], len(theirs))):
        # Its numbers of tracks are others.
        mine, its = (sorted(line[1:] for line in lines[first + 1 : last]) for lines in (ours, theirs))
        assert mine == [_values(line) for line in its] and len(its)


def test_a_gap_is_a_straight_line_and_nothing_still_has_a_direction() -> None:
    links = [*[p for p in LINKS if (2, 1) not in p], ((1, 1), (3, 1))]
    table = mmv_h4tracks.measure_pixels(tracked(boxes(1), links)).set_index("ID")
    assert not [name for name in table if "size" in name], "without labels there are no shapes"
    down = table.loc[table["Direction [°]"] == 270.0].iloc[0]
    assert down["Track duration [# frames]"] == 4 and down["Accumulated distance [# pixels]"] == 6.0
    assert down["Velocity [# pixels/frame]"] == 1.5 and down["Directness"] == 1.0
    still = table[table["Accumulated distance [# pixels]"] == 0]
    assert len(still) and (still[["Direction [°]", "Directness"]] == 0).all(axis=None)


def test_a_written_file_has_points_and_commas(tmp_path: Path) -> None:
    table = mmv_h4tracks.measure_pixels(tracked(boxes(1), LINKS), Labels(boxes(1)))
    mmv_h4tracks.write(table, tmp_path / "x.csv", min_duration=9)
    lines = list(csv.reader((tmp_path / "x.csv").open(encoding="utf-8")))
    assert lines[4] == ["Movement Threshold: 0 pixels", "Duration Threshold: 9 frames"]
    assert lines[2][:3] == ["valid", "0", "nan"] and lines[10] == ["Cells not matching the filters"]
    assert {len(line) for line in lines[11:]} == {len(table.columns)} and "." in lines[11][2]


def test_3d_is_refused() -> None:
    with pytest.raises(InputError, match="knows 2D only"):
        mmv_h4tracks.measure_pixels(tracked(boxes(3) * (np.arange(3) < 2)[:, None, None], LINKS[:1]))


def test_the_notebook_writes_it_where_asked(written: dict[int, Path], tmp_path: Path) -> None:
    for depth in (1, 3):
        folder = Path(shutil.copytree(written[depth], tmp_path / str(depth) / "movies" / "m"))
        p = AnalyzeMigration.checked({"run_dir": tmp_path / str(depth), "movie_id": "m", "csv_layout": "mmv_h4tracks", "min_displacement_um": 1.0})  # fmt: skip
        tracks = open_tracks(p)
        if depth == 3:
            tracks.objects.loc[0, "z"] += 1  # the boxes lie at one height
            with pytest.raises(InputError, match="csv_layout"):
                step.measure(p, tracks, None)
            continue
        _, tracklets = step.measure(p, tracks, None)
        assert (tracklets.loc[tracklets["n_points"] > 1, "sd_speed_um_per_min"] >= 0).all()
        p.analysis_path().mkdir()
        assert step.write_layout(p, tracks) == ["analysis/mmv_h4tracks.csv"]
        lines = list(csv.reader((folder / "analysis" / "mmv_h4tracks.csv").open(encoding="utf-8")))
        assert lines[4] == ["Movement Threshold: 2 pixels", "Duration Threshold: 2 frames"]
        assert "Average size [# pixels]" in lines[0] and "Average eccentricity [# pixels]" in lines[6]
