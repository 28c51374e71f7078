"""Every notebook, executed by papermill with small settings: what it recorded is held against known truth."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
import yaml

from helpers.data.experiment import read_experiment
from helpers.data.label_movies import LabelMovie
from helpers.data.movies import Movie
from helpers.data.training_set import TrainingSet
from helpers.errors import InputError
from helpers.runs.batch import run_experiment
from helpers.runs.execute import NotebookError, execute_notebook
from helpers.runs.parameters import STEPS, CreateDataset, Segment, TrainSegmentation
from helpers.runs.plan import plan
from tests.csv_digits import assert_six_digits


def test_all_notebooks_ran(tiny) -> None:
    assert tiny.failed == [], "\n".join(tiny.lines)
    steps = {name.partition("-")[0] for name in tiny.done}
    # test_real_data.py, tests/serve, tests/runs/test_annotation.py
    elsewhere = {"07_segment_cellpose", "08_segment_remote", "01_annotate"}
    assert steps == set(STEPS) - elsewhere


def test_01_made_the_patches_that_were_asked_for(tiny) -> None:
    results = tiny.done["03_create_dataset"]["results"]
    assert results == {
        "train_patches": 4 * 12 * 2,
        "validation_patches": 12,
        "patch_size": [16, 48, 48],
        "validation_stacks": ["stack_04"],
        "boundary_width_um": 1.5,
    }
    patches = TrainingSet.open(tiny.run_dir / "dataset" / "training.npz")
    assert set(patches.stacks[patches.validation]) == {"stack_04"}
    x, y, labels = patches.patch(0)
    assert x.shape == y.shape == labels.shape == (16, 48, 48)
    assert (labels[y > 0] > 0).all(), "the mask lies within the cells, eroded at their borders"
    assert 0 < y.mean() < (labels > 0).mean()


def test_02_measured_the_denoiser_against_the_truth(tiny) -> None:
    results = tiny.done["02_train_denoiser"]["results"]
    assert results["epochs"] == 2
    raw, clean = (
        Movie.open(tiny.run_dir / "data" / "movie" / f"{name}.ome.tif") for name in ("raw", "clean")
    )
    from helpers.models.denoising import psnr

    expected = np.mean([psnr(raw.frame(t), clean.frame(t)) for t in range(3)])
    assert results["psnr_raw_db"] == pytest.approx(expected)
    assert np.isfinite(results["psnr_denoised_db"])


def test_03_the_networks_learned(tiny) -> None:
    results = tiny.done["04_train_segmentation"]["results"]
    for network, folder in (("U-Net", "unet"), ("StarDist", "stardist")):
        assert results[network]["epochs"] == 12
        history = pd.read_csv(tiny.run_dir / "models" / folder / "history.csv")
        assert history.val_loss.min() < 0.8 * history.val_loss.iloc[0]


def test_04_thresholds_are_kept_where_they_are_read(tiny) -> None:
    results = tiny.done["05_optimize_thresholds"]["results"]
    kept = json.loads((tiny.run_dir / "thresholds.json").read_text())
    for name in ("prob", "nms", "foreground"):
        assert 0 < kept[name] < 1
        assert kept[name] == results["vollseg"][name]
    stars = json.loads((tiny.run_dir / "models" / "stardist" / "thresholds.json").read_text())
    assert stars == {name: results["stardist"][name] for name in ("prob", "nms")}
    tried = pd.DataFrame(kept["tried"])
    assert tried.score.max() == results["vollseg"]["highest"]
    chosen = (tried[["prob", "nms", "foreground"]] == [kept[n] for n in ("prob", "nms", "foreground")]).all(
        axis=1
    )
    assert tried.score[chosen].item() == kept["score"] == results["vollseg"]["score"]
    assert all(isinstance(warning, str) for warning in results["warnings"])
    assert tried.score.nunique() > 1, "the thresholds that are tried reach the labels"


def test_05_labels_and_objects_agree(tiny) -> None:
    folder = tiny.run_dir / "movies" / "movie"
    labels = LabelMovie.open(folder / "labels.zarr")
    raw = Movie.open(tiny.run_dir / "data" / "movie" / "raw.ome.tif")
    assert labels.shape == (3, 16, 80, 80)
    assert labels.voxel_size == pytest.approx(raw.voxel_size)
    objects = pd.read_csv(folder / "objects.csv")
    assert objects.id.tolist() == list(range(len(objects)))
    voxel = float(np.prod(labels.voxel_size))
    for t in range(3):
        frame, here = labels.frame(t), objects[objects.frame == t]
        ids, counts = np.unique(frame[frame > 0], return_counts=True)
        assert here.label.tolist() == ids.tolist()
        np.testing.assert_array_equal(here.volume_um3, [float(f"{size:.6g}") for size in counts * voxel])
        assert counts.min() * voxel >= 20, "min_size_um3 holds in 3D"
        sums = np.bincount(frame.ravel(), raw.frame(t).ravel())[ids]
        np.testing.assert_allclose(here.intensity_sum, sums)
    tiff = tifffile.imread(folder / "labels.ome.tif")
    np.testing.assert_array_equal(tiff.reshape(labels.shape), np.stack(list(labels.frames())))


def test_07_recorded_the_scores_that_stardist_computes(tiny) -> None:
    from stardist.matching import matching_dataset

    folder = tiny.run_dir / "movies" / "movie"
    truth = tifffile.imread(tiny.run_dir / "data" / "movie" / "labels.ome.tif").reshape(3, 16, 80, 80)
    for method, name in (("vollseg", "labels"), ("stardist", "labels_stardist"), ("unet", "labels_unet")):
        found = np.stack(list(LabelMovie.open(folder / f"{name}.zarr").frames())).astype(np.int32)
        expected = matching_dataset(
            list(truth.astype(np.int32)), list(found), thresh=0.5, show_progress=False
        )
        recorded = tiny.done["09_evaluate_segmentation-movie"]["results"][method]
        assert recorded["f1_50"] == pytest.approx(expected.f1)
        assert recorded["precision_50"] == pytest.approx(expected.precision)
        assert recorded["mse"] == pytest.approx(np.mean((truth > 0) != (found > 0)))


def test_08_wrote_files_that_other_programs_open(tiny) -> None:
    import networkx
    from geff import read
    from pytrackmate import trackmate_peak_import

    folder = tiny.run_dir / "movies" / "movie"
    results = tiny.done["10_track-movie"]["results"]
    objects = pd.read_csv(folder / "objects.csv")
    assert results["objects"] == len(objects)
    spots = trackmate_peak_import(str(folder / "tracks.xml"))
    assert len(spots) <= len(objects)
    graph, _ = read(folder / "tracks.geff", backend="networkx")
    assert isinstance(graph, networkx.DiGraph)
    assert (graph.number_of_nodes(), graph.number_of_edges()) == (len(objects), results["links"])
    assert (folder / "ctc" / "res_track.txt").is_file()
    assert len(pd.read_csv(folder / "btrackmate.csv")) == len(objects)


def test_09_true_labels_are_tracked_without_error(tiny) -> None:
    scores = json.loads((tiny.run_dir / "summary.json").read_text())["tracking"]
    assert scores["true_labels"]["tra"] >= 0.99
    assert scores["true_labels"]["division_f1"] >= 0.95
    assert scores["predicted_labels"]["tra"] <= scores["true_labels"]["tra"]


def test_the_cells_are_found(tiny) -> None:
    scores = json.loads((tiny.run_dir / "summary.json").read_text())["segmentation"]
    assert set(scores) == {"vollseg", "stardist", "unet"}
    assert scores["vollseg"]["f1_50"] >= 0.7
    f1 = {method: (found["f1_50"] + found["f1_70"]) / 2 for method, found in scores.items()}
    assert f1["vollseg"] >= max(f1["stardist"], f1["unet"]) - 0.01


def test_all_tables_have_six_significant_digits_at_most(tiny) -> None:
    assert_six_digits(tiny.experiment.run_dir)


def test_running_again_skips_everything(tiny) -> None:
    lines: list[str] = []
    assert run_experiment(tiny.experiment, say=lines.append) == []
    assert len(lines) == len(plan(tiny.experiment))
    assert all("skipped" in line for line in lines)


def test_the_report_stands_alone(tiny) -> None:
    report = (tiny.run_dir / "report.html").read_text()
    assert "src='http" not in report
    assert "viewport" in report
    assert report.count("data:image/png;base64,") >= 9
    assert "Which method finds more cells" in report, "a figure stands under its question"
    assert str(tiny.run_dir / "report.html") in tiny.summary
    assert "F1 @ IoU 0.5" in tiny.summary


def test_executed_notebooks_name_no_error_and_injected_parameters(tiny) -> None:
    for folder in (tiny.run_dir / "steps").iterdir():
        cells = json.loads((folder / "notebook.ipynb").read_text())["cells"]
        tags = [cell["metadata"].get("tags", []) for cell in cells if cell["cell_type"] == "code"]
        assert tags[0] == ["parameters"]
        assert "injected-parameters" in tags[1]
        assert not [o for c in cells for o in c.get("outputs", []) if o["output_type"] == "error"]


def test_outputs_are_the_same_when_executed_again(tiny, tmp_path: Path) -> None:
    """nbval compares the cells marked NBVAL_CHECK_OUTPUT of executed notebooks with a second execution."""
    settings = tmp_path / "none.ini"  # not those of this repository
    settings.write_text("[pytest]\n")
    for step in ("03_create_dataset", "05_optimize_thresholds", "09_evaluate_segmentation-movie"):
        notebook = tmp_path / f"{step}.ipynb"
        shutil.copy(tiny.run_dir / "steps" / step / "notebook.ipynb", notebook)
        assert "NBVAL_CHECK_OUTPUT" in notebook.read_text()
        result = subprocess.run(
            [
                sys.executable,
                "-m",
                "pytest",
                "--nbval-lax",
                "-q",
                "-W",
                "ignore",  # of the libraries: they would bury the reason of a failure
                "-p",
                "no:cacheprovider",
                "-c",
                str(settings),
                str(notebook),
            ],
            capture_output=True,
            text=True,
            cwd=tmp_path,
        )
        assert result.returncode == 0, result.stdout[-3000:]


def test_an_interrupted_movie_goes_on_at_the_first_missing_frame(tiny, tmp_path: Path) -> None:
    run = _copy_of(tiny, tmp_path)
    folder = run / "movies" / "movie"
    before = {path.name: path.stat().st_mtime_ns for path in (folder / "frames").glob("*.csv")}
    objects = (folder / "objects.csv").read_text()
    (folder / "frames" / "00001.csv").unlink()
    (folder / "objects.csv").unlink()
    job = _segment_job(tiny, run)
    execute_notebook(job.step, job, tmp_path / "again.ipynb")
    after = {path.name: path.stat().st_mtime_ns for path in (folder / "frames").glob("*.csv")}
    assert after["00000.csv"] == before["00000.csv"], "a finished frame is not segmented twice"
    assert after["00001.csv"] != before["00001.csv"]
    assert (folder / "objects.csv").read_text() == objects


def test_a_threshold_reaches_the_labels(tiny, tmp_path: Path) -> None:
    run = _copy_of(tiny, tmp_path)
    objects = run / "movies" / "movie" / "objects.csv"
    assert len(pd.read_csv(objects)) > 0
    job = _segment_job(tiny, run).model_copy(update={"foreground_thresh": 1.0, "prob_thresh": 1.0})
    execute_notebook(job.step, job, tmp_path / "strict.ipynb")
    assert len(pd.read_csv(objects)) == 0, "no probability lies above 1"


def test_a_movie_that_cannot_be_read_does_not_stop_the_others(tiny, tmp_path: Path) -> None:
    run = _copy_of(tiny, tmp_path)
    whole = (run / "data" / "movie" / "raw.ome.tif").read_bytes()
    (run / "data" / "broken.ome.tif").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "movies.csv").write_text("movie_id,movie\nbroken,broken.ome.tif\ngood,movie/raw.ome.tif\n")
    content = {"name": "two", "run_dir": str(run), "data_dir": str(run / "data"), "movies": "movies.csv"}
    path = tmp_path / "two.yaml"
    path.write_text(yaml.safe_dump({**content, "steps": {"06_segment": {}}}))
    lines: list[str] = []
    failed = run_experiment(read_experiment(path), say=lines.append)
    assert failed == ["06_segment [broken]"]
    assert any("broken.ome.tif" in line for line in lines), "the message names the file"
    assert (run / "movies" / "good" / "objects.csv").is_file()


def test_a_notebook_stops_with_the_parameter_to_change(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    p = CreateDataset(run_dir=tmp_path / "run", raw_dir=tmp_path / "raw", label_dir=tmp_path / "raw")
    with pytest.raises(NotebookError, match=r"^raw_dir = .*holds no images"):
        execute_notebook(p.step, p, tmp_path / "out.ipynb")
    assert (tmp_path / "out.ipynb").is_file(), "the executed notebook is kept, to look at"


def test_a_training_without_its_set_says_who_makes_it(tmp_path: Path) -> None:
    p = TrainSegmentation(run_dir=tmp_path / "run")
    with pytest.raises(NotebookError, match="notebook 03_create_dataset makes it"):
        execute_notebook(p.step, p, tmp_path / "out.ipynb")


def _copy_of(tiny, folder: Path) -> Path:
    """Return a copy of the run, so that a test may change it."""
    run = folder / "run"
    shutil.copytree(tiny.run_dir, run)
    return run


def _segment_job(tiny, run: Path) -> Segment:
    job = next(job for job in plan(tiny.experiment) if job.step == Segment.step)
    assert isinstance(job.parameters, Segment)
    if job.parameters.movie is None:
        raise InputError("movie", None, "the experiment names it")
    return job.parameters.model_copy(update={"run_dir": run})
