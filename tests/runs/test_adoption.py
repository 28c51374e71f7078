"""A retrained network is taken over only if it is better on corrected frames that it never saw; both scores are shown."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from helpers.data.movies import write_movie
from helpers.errors import InputError
from helpers.runs import adoption
from helpers.segmentation.segmenter import Segmentation

VOXEL = (2.0, 0.5, 0.5)


class Threshold:
    """A method of segmentation without a network: connected pieces that are brighter than a value."""

    def __init__(self, value: float) -> None:
        self.value = value

    def __call__(self, frame: np.ndarray, *, mask: np.ndarray | None = None) -> Segmentation:
        labels = np.asarray(ndimage.label(frame > self.value)[0], np.int32)
        return Segmentation({"unet": labels}, {})


@pytest.fixture
def runs(tmp_path: Path) -> tuple[Path, Path]:
    """A run, and one that learned from two of its frames and held one back, in which a cell is dim."""
    for name in ("my", "my_2"):
        (tmp_path / name / "models" / "unet").mkdir(parents=True)
        (tmp_path / name / "models" / "unet" / "weights").write_text(name)
        (tmp_path / name / "thresholds.json").write_text(json.dumps({"of": name}))
    labels = np.zeros((4, 30, 40), np.uint16)
    labels[:, 4:12, 4:12], labels[:, 18:26, 22:32] = 1, 2
    raw = np.where(labels == 1, 900, np.where(labels == 2, 300, 20)).astype(np.uint16)
    raw[0, 0, 0] = 21
    folder = tmp_path / "my_2" / "dataset" / "curated"
    for stack in ("my_m_t0001", "my_m_t0004"):
        write_movie(folder / "raw" / f"{stack}.tif", raw, voxel_size=VOXEL, axes="ZYX")
        write_movie(folder / "labels" / f"{stack}.tif", labels, voxel_size=VOXEL, axes="ZYX")
    about = {"validation_stacks": ["other", "my_m_t0004"], "voxel_size": VOXEL}
    (tmp_path / "my_2" / "dataset" / "dataset.json").write_text(json.dumps(about))
    return tmp_path / "my_2", tmp_path / "my"


def test_only_held_back_frames_are_scored(runs) -> None:
    new, _ = runs
    pairs = adoption.held_back(new)
    assert [pair.name for pair in pairs] == ["my_m_t0004"]
    scores = adoption.compare({"now": Threshold(500), "new": Threshold(100)}, pairs)
    assert scores[["model", "cells", "tp", "fp", "fn"]].to_numpy().tolist() == [
        ["now", 2, 1, 0, 1],
        ["new", 2, 2, 0, 0],
    ]
    assert adoption.pooled(scores).to_dict() == {"now": pytest.approx(2 / 3), "new": 1.0}


def test_the_better_model_is_taken_over_and_the_former_kept(runs) -> None:
    new, run = runs
    scores = adoption.compare({"now": Threshold(500), "new": Threshold(100)}, adoption.held_back(new))
    assert adoption.take_over(new, run, scores)
    assert (run / "models" / "unet" / "weights").read_text() == "my_2"
    assert json.loads((run / "thresholds.json").read_text()) == {"of": "my_2"}
    kept = [path for path in run.iterdir() if path.name.startswith("models-")]
    assert [(path / "unet" / "weights").read_text() for path in kept] == ["my"]
    assert len(list(run.glob("thresholds-*.json"))) == 1
    assert (new / "models" / "unet" / "weights").read_text() == "my_2"
    about = json.loads((run / "adoption.json").read_text())
    assert about["adopted"] and about["f1_new"] == 1 and about["stacks"] == ["my_m_t0004"]


@pytest.mark.parametrize("value", [500, 2000], ids=["equal", "worse"])
def test_one_that_is_not_better_changes_nothing(runs, value: float) -> None:
    new, run = runs
    scores = adoption.compare({"now": Threshold(500), "new": Threshold(value)}, adoption.held_back(new))
    assert not adoption.take_over(new, run, scores)
    assert (run / "models" / "unet" / "weights").read_text() == "my"
    assert not json.loads((run / "adoption.json").read_text())["adopted"]


def test_what_is_missing_is_said(runs, tmp_path: Path) -> None:
    new, run = runs
    with pytest.raises(InputError, match="run notebook 01 first"):
        adoption.held_back(run)
    (new / "dataset" / "dataset.json").write_text(json.dumps({"validation_stacks": ["other"]}))
    with pytest.raises(InputError, match="one curated frame or more"):
        adoption.held_back(new)
    with pytest.raises(InputError, match="run notebook 03 first"):
        adoption.open_models(tmp_path)
