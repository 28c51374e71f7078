"""Every notebook as Colab meets it: ``make colab``, or ``python tests/notebooks/colab_matrix.py --python 3.12 12``.

For each version of Python a base environment holds only what Colab preloads of our dependencies. Each notebook gets a fresh
environment upon it, an empty folder with nothing in it but the ``.ipynb``, a stand-in for ``google.colab``, and runs from top
to bottom: its setup cell installs the rest from this checkout. What a notebook reads (the run folder of a small experiment,
executed here first) lies elsewhere.

Notebook 06 reads what notebook 03 trained, where Cellpose 3 can be had. Cellpose 4 cannot be trained from scratch and its
weights are a download: there it gets a network of the real build with random weights, and one plane of each frame, for a
processor takes seconds for each.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from helpers.data.movies import Movie, write_movie
from helpers.runs.batch import run_experiment
from helpers.runs.plan import Job, open_experiment
from helpers.runs.prepare import prepare

ROOT = Path(__file__).resolve().parents[2]
#: What Colab has before anything is installed, and what runs the notebook.
PRELOADED = (
    *("tensorflow", "matplotlib", "pandas", "scipy", "scikit-image", "ipywidgets"),
    *("ipykernel", "papermill"),
)
#: TensorFlow for Python 3.13 refuses Colab's numpy of today.
NUMPY = {"3.13": "numpy==2.1.3"}
#: Preloaded too, but several GB where there is no build for CPUs: only for the notebooks that use it.
TORCH, USE_TORCH = ("torch==2.13.0", "torchvision"), ("03", "06")
#: The oldest Python for which there is no Cellpose 3.
CELLPOSE_4 = "3.13"
RANDOM_WEIGHTS = """
import sys, torch
from cellpose.vit import CPSAM
torch.manual_seed(0)
torch.save(CPSAM(dtype=torch.float32).state_dict(), sys.argv[1])
"""
STAND_IN = "def mount(path): pass\n"
#: Runs in the fresh environment: the notebook with its parameters, in this Python's own kernel.
EXECUTE = """
import json, sys, papermill
parameters = json.load(open(sys.argv[2]))
papermill.execute_notebook(sys.argv[1], "executed.ipynb", parameters=parameters, kernel_name="python3", progress_bar=False)
"""


def run(*command: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command that knows nothing of the environment this one runs in."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV"))}
    return subprocess.run(
        [*map(str, command)], env=clean | options.pop("env", {}), **{"check": True, **options}
    )


def python_of(version: str) -> str:
    """Return a Python of that version: on the path, or among pyenv's."""
    found = shutil.which(f"python{version}")
    pyenv = sorted((Path.home() / ".pyenv" / "versions").glob(f"{version}.*/bin/python"))
    if pyenv:
        return str(pyenv[-1])
    if found is None:
        raise SystemExit(f"Python {version} is missing")
    return found


def base_environment(version: str, folder: Path, packages: tuple[str, ...]) -> Path:
    """Make the environment that holds what Colab preloads, once, and return its folder of packages."""
    python = folder / "bin" / "python"
    if not (folder / "complete").exists():
        run(python_of(version), "-m", "venv", "--clear", folder)
        run(python, "-m", "pip", "install", "-q", "--upgrade", "pip")
        run(python, "-m", "pip", "install", "-q", *packages)
        (folder / "complete").touch()
    return next(folder.glob("lib/python*/site-packages"))


def fresh_environment(version: str, base: Path, folder: Path) -> Path:
    """Make an environment that sees the base's packages as if they were its own, and return its Python."""
    run(python_of(version), "-m", "venv", folder)
    packages = next(folder.glob("lib/python*/site-packages"))
    (packages / "preloaded.pth").write_text(f"{base}\n")
    colab = packages / "google" / "colab"
    colab.mkdir(parents=True)
    (packages / "google" / "__init__.py").write_text(
        "__path__ = __import__('pkgutil').extend_path(__path__, __name__)\n"
    )
    for name in ("__init__", "drive", "files"):
        (colab / f"{name}.py").write_text(STAND_IN)
    return folder / "bin" / "python"


def cellpose_4(work: Path, version: str, base: Path) -> Path:
    """Return weights of Cellpose 4's network, random and made once."""
    weights = work / "cpsam_random"
    if not weights.is_file():
        with tempfile.TemporaryDirectory(prefix="cellpose-") as made:
            python = fresh_environment(version, base, Path(made))
            run(python, "-m", "pip", "install", "-q", "cellpose>=4")
            run(python, "-c", RANDOM_WEIGHTS, weights)
    return weights


def middle_planes(movie: Path, path: Path) -> Path:
    """Write one plane of each frame of a movie as a movie."""
    found = Movie.open(movie)
    planes = np.stack([frame[found.shape[2] // 2] for frame in found.frames()])
    write_movie(path, planes, axes="TYX", voxel_size=found.voxel_size, frame_interval=found.frame_interval)
    return path


def run_notebook(job: Job, version: str, base: Path, changed: dict[str, Any]) -> str:
    """Run one notebook as on Colab; return what went wrong, or nothing."""
    with tempfile.TemporaryDirectory(prefix="colab-") as made:
        folder = Path(made)
        python = fresh_environment(version, base, folder / "environment")
        work = folder / "content"
        work.mkdir()
        shutil.copy(ROOT / "notebooks" / f"{job.step}.ipynb", work)
        run_dir = folder / "run"
        shutil.copytree(job.parameters.run_dir, run_dir, ignore=shutil.ignore_patterns(".batch"))
        shutil.rmtree(run_dir / "steps" / job.folder.name, ignore_errors=True)
        parameters = job.parameters.plain() | changed
        if "overwrite" in parameters:
            parameters["overwrite"] = True
        (folder / "parameters.json").write_text(json.dumps(parameters | {"run_dir": str(run_dir)}))
        done = run(
            *(python, "-c", EXECUTE, f"{job.step}.ipynb", "../parameters.json"),
            cwd=work,
            env={"VOLLTRACK_SOURCE": ROOT.as_uri(), "PATH": f"{python.parent}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            return done.stderr[-1500:]
        return "" if (run_dir / "steps" / job.folder.name / "done.json").is_file() else "no done.json"


def small_experiment(folder: Path, last: str) -> list[Job]:
    """Run the small experiment of the tests of notebooks here up to a step, and return its jobs."""
    sys.path.insert(0, str(Path(__file__).parent))
    from conftest import MOVIES, TINY  # type: ignore[import-not-found]

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "movies.csv").write_text(MOVIES)
    training = {"train_cellpose": True, "cellpose": {"cell_pixels": 12, "in_gui": False}}
    steps = TINY["steps"] | {
        "03_train_segmentation": TINY["steps"]["03_train_segmentation"] | training,
        "06_segment_cellpose": {"model": "", "beside_05": True, "min_size_um3": 20},
    }
    content = {**TINY, "steps": dict(sorted(steps.items())), "run_dir": str(folder / "run")}
    (folder / "tiny.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    experiment, jobs = open_experiment(folder / "tiny.yaml")
    prepare(experiment)
    for step in [step for step in experiment.steps if step[:2] < last]:
        if run_experiment(experiment, only=step):
            raise SystemExit(f"{step} of the small experiment itself failed")
    return jobs


def main() -> int:
    """Run the matrix, or the part of it that is named, and print its table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--python", action="append", choices=["3.11", "3.12", "3.13"])
    parser.add_argument(
        "--work", type=Path, default=ROOT / "runs" / "colab", help="folder of the base environments"
    )
    parser.add_argument("steps", nargs="*", help="numbers of notebooks; by default all")
    given = parser.parse_args()
    shutil.rmtree(ROOT / "build", ignore_errors=True)  # pip builds here, and keeps modules that are no more
    jobs = small_experiment(given.work, max(given.steps, default="99"))
    chosen = [job for job in jobs if not given.steps or job.step[:2] in given.steps]
    wrong = 0
    for version in given.python or ["3.12", "3.13"]:
        for job in chosen:
            torch = job.step[:2] in USE_TORCH
            folder = given.work / f"base-{version}{'-torch' * torch}"
            packages = (NUMPY.get(version, "numpy==2.0.2"), *PRELOADED, *(TORCH if torch else ()))
            base = base_environment(version, folder, packages)
            changed: dict[str, Any] = {}
            if job.step.startswith("03") and version >= CELLPOSE_4:
                changed = {"train_cellpose": False}
            if job.step.startswith("06") and version >= CELLPOSE_4:
                planes = middle_planes(job.parameters.movie, given.work / "planes.ome.tif")
                changed = {"movie": str(planes), "model": str(cellpose_4(given.work, version, base))}
            error = run_notebook(job, version, base, changed)
            wrong += bool(error)
            print(
                f"Python {version}  {job.step}: {'FAILED: ' + error if error else 'runs alone'}", flush=True
            )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
