"""A retrained network is taken over only if it is better on corrected frames that it never saw; both scores are shown."""

from __future__ import annotations

import json
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from helpers.__main__ import main
from helpers.curation import Cell, Curation, Stroke, confirming
from helpers.curation.draft import NothingToDo
from helpers.data.movies import write_movie
from helpers.data.training_set import TrainingSet
from helpers.errors import InputError
from helpers.models import unet
from helpers.runs import adoption
from helpers.runs.parameters import CreateDataset, TrainSegmentation
from helpers.runs.steps import dataset, training
from helpers.segmentation.segmenter import Segmentation
from tests.curation.curated_movies import write_cells

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
    with pytest.raises(InputError, match="run notebook 03_create_dataset first"):
        adoption.held_back(run)
    (new / "dataset" / "dataset.json").write_text(json.dumps({"validation_stacks": ["other"]}))
    with pytest.raises(InputError, match="one curated frame or more"):
        adoption.held_back(new)
    with pytest.raises(InputError, match="run notebook 04_train_segmentation first"):
        adoption.open_models(tmp_path)


# ---- the whole way: segmented, corrected, learned, compared, adopted ----------------------------------------------


def discs(seed: int, dim: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return raw (1, 64, 64) and labels of nine cells, every other one dim where wanted."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:64, :64]
    raw, labels = rng.normal(40, 4, (1, 64, 64)), np.zeros((1, 64, 64), np.int32)
    for k in range(9):
        at = 11 + 21 * np.array(divmod(k, 3)) + rng.integers(-2, 3, 2)
        inside = np.hypot(y - at[0], x - at[1]) < 6
        labels[0, inside] = k + 1
        raw[0, inside] = (280 if dim and k % 2 else 900) + rng.normal(0, 8, int(inside.sum()))
    return raw.clip(0).astype(np.uint16), labels


def trained(run: Path, **given) -> dict:
    """Make the training set and train the U-Net, as notebooks 03_create_dataset and 04_train_segmentation do; return what is noted of the training."""
    start = {name: given.pop(name) for name in ("start_from",) if name in given}
    p = CreateDataset.checked({
        "run_dir": run, "raw_dir": run.parent / "raw", "label_dir": run.parent / "labels", "patch_size": (32, 32),
        "network_depth": 1, "copies_per_image": 0, "patches_per_image": 8, "boundary_width_um": 0.0, **given,
    })  # fmt: skip
    training_set = dataset.make(p, dataset.find_pairs(p))
    q = TrainSegmentation.checked({
        "run_dir": run, "n_epochs": 12, "batch_size": 4, "network_depth": 1, "start_filters": 4,
        "learning_rate": 0.01, "precision": "float32", "train_stardist": False, **start,
    })  # fmt: skip
    folder = run / "models" / "unet"
    unet.train(
        training_set, folder, training.unet_settings(q), start=training.begin_with(q, "unet", training_set)
    )
    return json.loads((folder / "training.json").read_text())["data"]


@pytest.mark.slow
def test_corrections_teach_and_every_retraining_starts_from_the_first_model(tmp_path: Path, capsys) -> None:
    for name, seed in (("a", 1), ("b", 2)):  # drawn by hand at first, where no cell was dim
        raw, labels = discs(seed, dim=False)
        for folder, stack in (("raw", raw), ("labels", labels.astype(np.uint16))):
            write_movie(tmp_path / folder / f"{name}.tif", stack, voxel_size=VOXEL, axes="ZYX")
    my = tmp_path / "my"
    assert "start" not in trained(my)
    first = zlib.crc32((my / "models" / "unet" / "weights_best.h5").read_bytes())

    frames = [discs(seed, dim=True) for seed in range(10, 14)]
    path = write_movie(tmp_path / "m.tif", np.stack([raw for raw, _ in frames])[:, None], voxel_size=VOXEL)
    step = my / "steps" / "06_segment-m"
    step.mkdir(parents=True)
    (step / "done.json").write_text(json.dumps({"parameters": {"movie": str(path)}}))
    segment = adoption.open_models(my)
    automatic = np.stack([segment(raw).main for raw, _ in frames])
    folder = write_cells(my / "movies" / "m", labels=automatic, links=[])
    with Curation(folder, "ann") as curation:
        for t, (_, truth) in enumerate(frames):
            for k in range(1, 10):
                at = np.argwhere(truth == k).mean(axis=0).round().astype(int)
                label = int(curation.state.labels.frame(t)[tuple(at)])
                cell = Cell(t, label) if label else None
                with suppress(NothingToDo):  # it was found to the voxel
                    curation.do("outline", stroke=Stroke.of_mask(t, truth == k), cell=cell)
            wrong = set(np.unique(curation.state.labels.frame(t)[truth == 0]).tolist()) - {0}
            for label in wrong:
                curation.do("remove", cell=Cell(t, label))
            assert len(np.unique(curation.state.labels.frame(t))) == 10
            curation.do("confirm", **confirming.frame(curation.state, t))

    held = ["my_m_t0003"]
    about = trained(tmp_path / "my_2", curated_runs=[my], validation_stacks=held, start_from=my)
    assert about["start"] == first
    described = json.loads((tmp_path / "my_2" / "dataset" / "dataset.json").read_text())
    assert described["train_stacks"] == ["a", "b", *(f"my_m_t000{t}" for t in range(3))], "all annotations"
    assert main(["adopt", str(tmp_path / "my_2"), "--in", str(my)]) == 0
    said = capsys.readouterr().out
    noted = json.loads((my / "adoption.json").read_text())
    assert noted["adopted"] and noted["f1_new"] > noted["f1_now"] + 0.1 and noted["stacks"] == held
    assert f"{noted['f1_now']:.3f} now, {noted['f1_new']:.3f} with" in said and "taken over" in said
    adopted = zlib.crc32((my / "models" / "unet" / "weights_best.h5").read_bytes())
    assert adopted != first
    p = TrainSegmentation.checked({"run_dir": tmp_path / "my_3", "start_from": my})
    again = training.begin_with(p, "unet", TrainingSet.open(tmp_path / "my_2" / "dataset" / "training.npz"))
    assert again is not None and zlib.crc32((again / "weights_best.h5").read_bytes()) == first


def test_one_beginning_only(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="start_from: set continue_training to False"):
        TrainSegmentation.checked({"run_dir": tmp_path, "start_from": tmp_path, "continue_training": True})
    (tmp_path / "my").mkdir()
    p = TrainSegmentation.checked({"run_dir": tmp_path / "my_2", "start_from": tmp_path / "my"})
    assert p.inputs()[-1] == tmp_path / "my" / "models"
