"""Corrected frames become training data by naming the run in notebook 03_create_dataset: the complete ones only, with all edits."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from helpers.curation import Cell, Curation, confirming
from helpers.data.movies import write_movie
from helpers.data.stacks import open_stacks
from helpers.errors import InputError
from helpers.runs.parameters import CreateDataset
from helpers.runs.run import identity
from helpers.runs.steps import dataset
from tests.curation.curated_movies import VOXEL, boxes, write_cells


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A curated run: frame 1 has a cell less than the automatic result and is complete, as is frame 2."""
    folder = tmp_path / "first"
    write_cells(folder / "movies" / "m", labels=boxes(4))
    raw = np.where(boxes(4) > 0, 800, 30).astype(np.uint16)
    path = write_movie(tmp_path / "m.tif", raw[:, None], voxel_size=VOXEL)
    step = folder / "steps" / "06_segment-m"
    step.mkdir(parents=True)
    (step / "done.json").write_text(json.dumps({"parameters": {"movie": str(path)}}))
    with Curation(folder / "movies" / "m", "ann") as curation:
        curation.do("remove", cell=Cell(1, 2))
        for t in (1, 2):
            curation.do("confirm", **confirming.frame(curation.state, t))
    return folder


def test_complete_frames_become_pairs_with_all_edits(run: Path, tmp_path: Path) -> None:
    p = CreateDataset(run_dir=tmp_path / "new", curated_runs=[run])
    pairs = dataset.find_pairs(p)
    assert [pair.name for pair in pairs] == ["first_m_t0001", "first_m_t0002"]
    stacks = open_stacks(pairs, voxel_size=None, boundary_width=0.0)
    for t, stack in zip((1, 2), stacks, strict=True):
        loaded = stack.load()
        expected = boxes(4)[t]
        expected[expected == 2] = 0 if t == 1 else 2
        np.testing.assert_array_equal(loaded.labels, expected)
        np.testing.assert_array_equal(loaded.raw, np.where(boxes(4)[t] > 0, 800, 30))


def test_confirmed_cells_of_other_frames_teach_where_asked(run: Path, tmp_path: Path) -> None:
    with Curation(run / "movies" / "m", "ann") as curation:
        for label in (1, 3):
            curation.do("confirm", **confirming.cell(curation.state, Cell(0, label)))
        curation.do("confirm", **confirming.cell(curation.state, Cell(3, 1)))
        curation.undo()
    p = CreateDataset(run_dir=tmp_path / "new", curated_runs=[run], curated_cells=True)
    pairs = dataset.find_pairs(p)
    assert [pair.name for pair in pairs] == [f"first_m_t000{t}" for t in (0, 1, 2)]
    sparse, *complete = [
        stack.load().labels for stack in open_stacks(pairs, voxel_size=None, boundary_width=0.0)
    ]
    truth = boxes(4)[0]
    np.testing.assert_array_equal(sparse, np.where(np.isin(truth, (1, 3)), truth, -1))
    assert all((labels >= 0).all() for labels in complete), (
        "frame 2 has a cell in two pieces, and is complete"
    )
    p = p.model_copy(update={"validation_stacks": ["first_m_t0002"], "patch_size": (4, 16, 16)})
    made = dataset.make(p.model_copy(update={"network_depth": 1, "patches_per_image": 2}), pairs)
    assert made.settings["sparse"]["cells"] == 2 and made.settings["validation_stacks"] == ["first_m_t0002"]
    with Curation(run / "movies" / "m", "ann") as curation:
        for _ in range(4):
            curation.undo()
    with pytest.raises(
        InputError, match="complete: confirm them in notebook 12_curate, or some of their cells"
    ):
        dataset.find_pairs(p)


def test_an_edit_makes_the_training_set_another(run: Path, tmp_path: Path) -> None:
    p = CreateDataset(run_dir=tmp_path / "new", curated_runs=[run])
    before = identity(p)["sha256"]
    assert identity(p)["sha256"] == before
    with Curation(run / "movies" / "m", "ann") as curation:
        curation.do("remove", cell=Cell(2, 5))
    assert identity(p)["sha256"] != before
    assert [pair.name for pair in dataset.find_pairs(p)] == ["first_m_t0001"], (
        "frame 2 was changed: not complete"
    )


def test_they_are_added_to_the_pairs_of_folders(run: Path, tmp_path: Path) -> None:
    for name, stack in (
        ("raw", np.arange(4 * 40 * 48, dtype=np.uint16).reshape(4, 40, 48)),
        ("labels", boxes(4)[0].astype(np.uint16)),
    ):
        write_movie(tmp_path / name / "own.tif", stack, voxel_size=VOXEL, axes="ZYX")
    p = CreateDataset(
        run_dir=tmp_path / "new", raw_dir=tmp_path / "raw", label_dir=tmp_path / "labels", curated_runs=[run],
        patch_size=(4, 16, 16), network_depth=1, copies_per_image=0, patches_per_image=2,
    )  # fmt: skip
    pairs = dataset.find_pairs(p)
    assert [pair.name for pair in pairs] == ["own", "first_m_t0001", "first_m_t0002"]
    made = dataset.make(p, pairs)
    assert len(made.train) + len(made.validation) > 0


def test_what_is_missing_is_said(run: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="raw_dir"):
        CreateDataset(run_dir=tmp_path / "new").require_pairs()
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="corrected in notebook 12_curate"):
        dataset.find_pairs(CreateDataset(run_dir=tmp_path / "new", curated_runs=[tmp_path / "empty"]))
    (tmp_path / "m.tif").unlink()
    with pytest.raises(InputError, match="raw images are still"):
        dataset.find_pairs(CreateDataset(run_dir=tmp_path / "new", curated_runs=[run]))
    with Curation(run / "movies" / "m", "ann") as curation:
        curation.undo()
        curation.undo()
    with pytest.raises(InputError, match="frames that are complete"):
        dataset.find_pairs(CreateDataset(run_dir=tmp_path / "new", curated_runs=[run]))
