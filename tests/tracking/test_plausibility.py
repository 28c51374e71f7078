"""Divisions are judged by the lives, sizes and places of mother and daughters."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from helpers.tracking.formats import table
from helpers.tracking.plausibility import PLAUSIBLE, judge_divisions, judgeable
from helpers.tracking.tracks import Tracks


def family(
    mother: int = 4,
    daughters: tuple[int, ...] = (5, 5),
    sizes: tuple[float, ...] = (50.0, 50.0),
    iou: float | None = None,
    margin: float | None = None,
    n_frames: int = 12,
) -> Tracks:
    """Return a mother of 100 µm³ that is seen for `mother` frames from frame 1 on, her daughters, and a bystander."""
    cells = [{"frame": t, "y": 90.0, "x": 0.0, "volume_um3": 100.0} for t in range(n_frames)]
    links = [(t, t + 1) for t in range(n_frames - 1)]
    first = len(cells)
    cells += [{"frame": 1 + t, "y": 0.0, "x": 0.0, "volume_um3": 100.0} for t in range(mother)]
    links += [(first + t, first + t + 1) for t in range(mother - 1)]
    at = len(cells) - 1
    for k, (life, size) in enumerate(zip(daughters, sizes, strict=True)):
        start = len(cells)
        cells += [{"frame": 1 + mother + t, "y": 5.0 * k, "x": 0.0, "volume_um3": size} for t in range(life)]
        links += [(at, start), *((start + t, start + t + 1) for t in range(life - 1))]
    joined = pd.DataFrame(links, columns=["source", "target"])
    if iou is not None:
        joined["iou"] = iou
    if margin is not None:
        joined["margin"] = margin
    return Tracks(pd.DataFrame(cells), joined)


def judged(tracks: Tracks) -> pd.Series:
    found = judge_divisions(tracks)
    assert len(found) == 1
    return found.iloc[0]


def test_a_clear_division_is_beyond_doubt() -> None:
    row = judged(family(iou=0.45, margin=5.0))
    assert row["plausibility"] == 1 and row["plausible"] and row["doubts"] == ""
    assert row["frame"] == 4


@pytest.mark.parametrize(
    ("tracks", "words"),
    [
        (family(daughters=(5, 2)), "seen in 2 frames only"),
        (family(daughters=(1, 5)), "seen in 1 frame only"),
        (family(mother=9, daughters=(2, 2)), "in the last frames"),
        (family(mother=1), "the mother appears or is born just before"),
        (family(sizes=(90.0, 90.0)), "1.8 times as large as the mother"),
        (family(sizes=(80.0, 20.0)), "0.25 times as large as the other"),
        (family(daughters=(5, 5, 5), sizes=(33.0, 33.0, 33.0)), "into 3"),
        (family(iou=0.1, margin=0.2), "lie where the mother was by 0.1"),
    ],
)
def test_what_makes_a_division_doubtful(tracks: Tracks, words: str) -> None:
    row = judged(tracks)
    assert row["plausibility"] < PLAUSIBLE and not row["plausible"]
    assert words in row["doubts"]


def test_one_weak_doubt_is_not_enough() -> None:
    row = judged(family(iou=0.45, margin=0.5))
    assert row["plausible"] and row["plausibility"] < 1 and "margin 0.5" in row["doubts"]


def test_a_daughter_that_divides_at_once_is_a_third_cell() -> None:
    tracks = family()
    cells, links = tracks.objects, tracks.links
    daughter = int(cells[(cells["y"] == 5) & (cells["frame"] == 5)]["id"].iloc[0])
    more = pd.DataFrame(
        {"frame": [6, 7, 8], "y": 9.0, "x": 0.0, "z": 0.0, "volume_um3": 25.0, "id": [900, 901, 902]}
    )
    joined = pd.DataFrame({"source": [daughter, 900, 901], "target": [900, 901, 902]})
    found = judge_divisions(Tracks(pd.concat([cells, more]), pd.concat([links, joined])))
    assert not found["plausible"].any()


def test_where_divisions_can_be_judged_follows_the_same_numbers() -> None:
    tracks = family()
    frames = tracks.objects["frame"].to_numpy()
    np.testing.assert_array_equal(np.unique(frames[judgeable(tracks)]), np.arange(1, 9))


def test_tracks_without_divisions_and_without_cells() -> None:
    tracks = family(daughters=(5,), sizes=(50.0,))
    assert len(judge_divisions(tracks)) == 0
    assert len(judge_divisions(Tracks(tracks.objects.head(0)))) == 0


def test_the_table_of_tracks_says_it_of_the_mother_and_reads_back_the_same(tmp_path) -> None:
    tracks = family(daughters=(5, 1))
    table.write(tracks, tmp_path / "tracks.csv")
    written = pd.read_csv(tmp_path / "tracks.csv")
    mother = tracks.divisions["parent"][0]
    assert written.set_index("id")["division_plausibility"].dropna().to_dict() == {mother: pytest.approx(0.3)}
    pd.testing.assert_frame_equal(table.read(tmp_path / "tracks.csv").objects, tracks.objects)
