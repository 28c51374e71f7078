"""Every notebook as Colab meets it: ``make colab``, or ``python tests/notebooks/colab_matrix.py --python 3.12 12``.

For each version of Python a base environment holds only what Colab preloads of our dependencies. Each notebook gets a fresh
environment upon it, a folder with nothing in it but the ``.ipynb`` and what the notebooks before it left, a stand-in for
``google.colab``, and runs from top to bottom with nothing edited: its setup cell installs the rest from this checkout, and it
works on the sample data. Installing takes longer than most notebooks: one whose setup cell installs the same as an earlier
one's gets the environment that the earlier one's cell filled, as in a second notebook of the same session. What passed is kept in
``passed.json``: the same command goes on after an interruption or a failure, until the source changes, and then begins anew.
Notebooks that are named run in any case, in a fresh environment of their own.

Cellpose 4 cannot be trained from scratch and its weights are a download: where there is no Cellpose 3, notebook 07_segment_cellpose finds a
network of the real build with random weights in their place.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from helpers.runs.parameters import NOTEBOOKS
from helpers.runs.sample import IN_EXPERIMENT, RUN

VERSIONS = ("3.11", "3.12", "3.13")
ROOT = Path(__file__).resolve().parents[2]
#: What Colab has before anything is installed, and what runs the notebook.
PRELOADED = (
    *("tensorflow", "matplotlib", "pandas", "scipy", "scikit-image", "ipywidgets"),
    *("ipykernel", "papermill"),
)
#: TensorFlow for Python 3.13 refuses Colab's numpy of today.
NUMPY = {"3.13": "numpy==2.1.3"}
#: Preloaded too, but several GB where there is no build for CPUs: only for the notebooks that use it.
TORCH, USE_TORCH = ("torch==2.13.0", "torchvision"), ("07",)
#: The oldest Python for which there is no Cellpose 3.
CELLPOSE_4 = "3.13"
RANDOM_WEIGHTS = """
import sys, torch
from cellpose.vit import CPSAM
torch.manual_seed(0)
torch.save(CPSAM(dtype=torch.float32).state_dict(), sys.argv[1])
"""
PASSED = "passed.json"
STAND_IN = "def mount(path): pass\n"
#: Runs in the fresh environment: the notebook as it is, in this Python's own kernel.
EXECUTE = """
import sys, papermill
papermill.execute_notebook(sys.argv[1], f"executed_{sys.argv[1]}", kernel_name="python3", progress_bar=False)
"""


def run(*command: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command that knows nothing of the environment this one runs in."""
    clean = {
        k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV", IN_EXPERIMENT))
    }
    # Most of what is installed is never imported, and would be compiled for nothing.
    clean["PIP_COMPILE"] = "0"
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
    weights = work / "cellpose_4" / "cpsam"
    weights.parent.mkdir(parents=True, exist_ok=True)
    if not weights.is_file():
        with tempfile.TemporaryDirectory(prefix="cellpose-") as made:
            python = fresh_environment(version, base, Path(made))
            run(python, "-m", "pip", "install", "-q", "cellpose>=4")
            run(python, "-c", RANDOM_WEIGHTS, weights)
    return weights


def installs(step: str) -> int:
    """Return what tells the commands apart by which the setup cells of notebooks install."""
    cells = json.loads((ROOT / "notebooks" / f"{step}.ipynb").read_text(encoding="utf-8"))["cells"]
    lines = "".join(line for cell in cells for line in cell["source"] if line.lstrip().startswith("%pip"))
    return zlib.crc32(lines.encode())


def run_notebook(
    step: str, version: str, base: Path, content: Path, settings: dict[str, str], kept: Path | None = None
) -> str:
    """Run one notebook as on Colab, in an environment that is kept if it passes; return what went wrong, or nothing."""
    with tempfile.TemporaryDirectory(prefix="colab-") as made:
        folder = kept or Path(made)
        filled = folder / "filled"
        if filled.exists():
            python = folder / "bin" / "python"
        else:
            shutil.rmtree(folder, ignore_errors=True)
            python = fresh_environment(version, base, folder)
        shutil.copy(ROOT / "notebooks" / f"{step}.ipynb", content)
        done = run(
            *(python, "-c", EXECUTE, f"{step}.ipynb"),
            cwd=content,
            env={
                "VOLLTRACK_SOURCE": ROOT.as_uri(),
                "PATH": f"{python.parent}:{os.environ['PATH']}",
                **settings,
            },
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        return done.stderr[-1500:]
    if step != "00_start_here" and not any((content / RUN / "steps").glob(f"{step}*/done.json")):
        return "no done.json"
    if kept:
        filled.touch()
    return ""


def source() -> str:
    """Return what tells one state of the checkout from another."""
    said = [
        run("git", *args, cwd=ROOT, capture_output=True, text=True).stdout
        for args in (("rev-parse", "HEAD"), ("diff", "HEAD"))
    ]
    return hashlib.sha256("".join(said).encode()).hexdigest()


def passed_before(work: Path) -> dict[str, float]:
    """Return the minutes that each "version notebook" took that passed with this source; where there are none, begin anew."""
    try:
        kept = json.loads((work / PASSED).read_text())
    except (OSError, ValueError):
        kept = {}
    if kept.get("source") == source():
        return kept["minutes"]
    for folder in (*work.glob("content-*"), *work.glob("filled-*")):
        shutil.rmtree(folder)
    return {}


def table(versions: Sequence[str], steps: Sequence[str], passed: Mapping[str, float]) -> str:
    """Return one row per notebook, with the minutes it took in each version of Python."""
    wide = max(map(len, steps))
    rows = [" " * wide + "".join(f"{version:>10}" for version in versions)]
    for step in steps:
        took = (passed.get(f"{version} {step}") for version in versions)
        rows.append(step.ljust(wide) + "".join(f"{'–' if m is None else f'{m:.1f} min':>10}" for m in took))
    return "\n".join([*rows, "minutes: passed, with what it installs; –: not (yet)"])


def main() -> int:
    """Run the matrix, or the part of it that is named, and print its table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--python", action="append", choices=VERSIONS)
    parser.add_argument(
        "--work", type=Path, default=ROOT / "runs" / "colab", help="folder of the base environments"
    )
    parser.add_argument("steps", nargs="*", help="numbers of notebooks; by default all")
    given = parser.parse_args()
    shutil.rmtree(ROOT / "build", ignore_errors=True)  # pip builds here, and keeps modules that are no more
    # In their order, as a user goes through them: a notebook finds what those before it left.
    chosen = [step for step in sorted(NOTEBOOKS) if not given.steps or step[:2] in given.steps]
    versions = given.python or VERSIONS
    passed = passed_before(given.work)
    for version in versions:
        content = given.work / f"content-{version}"
        content.mkdir(parents=True, exist_ok=True)
        for step in chosen:
            if f"{version} {step}" in passed and not given.steps:
                continue
            torch = step[:2] in USE_TORCH
            folder = given.work / f"base-{version}{'-torch' * torch}"
            packages = (NUMPY.get(version, "numpy==2.0.2"), *PRELOADED, *(TORCH if torch else ()))
            base = base_environment(version, folder, packages)
            settings: dict[str, str] = {}
            if step.startswith("07") and version >= CELLPOSE_4:
                settings = {"CELLPOSE_LOCAL_MODELS_PATH": str(cellpose_4(given.work, version, base).parent)}
            started = time.monotonic()
            kept = None if given.steps else given.work / f"filled-{version}-{installs(step):08x}"
            error = run_notebook(step, version, base, content, settings, kept)
            minutes = (time.monotonic() - started) / 60
            said = f"FAILED: {error}" if error else f"runs alone, {minutes:.1f} minutes with what it installs"
            print(f"Python {version}  {step}: {said}", flush=True)
            passed.pop(f"{version} {step}", None)
            passed |= {} if error else {f"{version} {step}": minutes}
            (given.work / PASSED).write_text(json.dumps({"source": source(), "minutes": passed}, indent=1))
    print(table(versions, chosen, passed))
    return 0 if all(f"{version} {step}" in passed for version in versions for step in chosen) else 1


if __name__ == "__main__":
    sys.exit(main())
