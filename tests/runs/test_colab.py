"""One address and one set of versions: pyproject, environment.yml, constraints, badges and setup cells agree."""

from __future__ import annotations

import ast
import importlib.metadata
import json
import os
import re
import subprocess
import sys
import tomllib
import types
import zipfile
from pathlib import Path

import pytest
import yaml

import helpers
from helpers.runs import colab
from helpers.runs.parameters import STEPS
from helpers.runs.parameters.cells import badge, colab_address, repository, setup_cell

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def _sources(step: str) -> list[str]:
    notebook = json.loads((ROOT / "notebooks" / f"{step}.ipynb").read_text())
    return ["".join(cell["source"]) for cell in notebook["cells"]]


@pytest.mark.parametrize("step", STEPS)
def test_badges_and_setup_cells_are_made_from_the_one_address(step: str) -> None:
    sources = _sources(step)
    assert badge(step) in sources[0]
    assert setup_cell(STEPS[step]) in sources
    assert f"@v{helpers.__version__}" in setup_cell(STEPS[step])
    assert colab_address(step) in (ROOT / "README.md").read_text()


def test_the_address_stands_nowhere_else() -> None:
    allowed = {"pyproject.toml", "README.md"}
    for path in [*ROOT.glob("*"), *(ROOT / "helpers").rglob("*.py"), *(ROOT / "tests").rglob("*.py")]:
        if (
            path.is_file()
            and path.name not in allowed
            and path.suffix in {".py", ".toml", ".yml", ".txt", ""}
        ):
            assert repository() not in path.read_text(errors="replace"), path
    assert f"git clone {repository()} " in (ROOT / "README.md").read_text()


@pytest.mark.parametrize("step", STEPS)
def test_setup_cells_install_what_the_project_offers(step: str) -> None:
    cell = setup_cell(STEPS[step])
    extras = (
        re.findall(r"volltrack\[([\w,]+)\]", cell)
        or re.findall(r'extras = "(.+)" if \w+ else "(.+)"', cell)[0]
    )
    assert set(",".join(extras).split(",")) <= set(PROJECT["optional-dependencies"])
    pins = (ROOT / "constraints.txt").read_text().splitlines()
    for pin in re.findall(r"n2v==\S+", cell):
        assert pin in pins
    assert ast.parse(re.sub(r"%pip.*", "pass", cell))


def _run_setup(step: str, folder: Path, parameters: str = "") -> subprocess.CompletedProcess[str]:
    """Run a notebook's setup cell in a folder, in a Python of its own; what it would install is printed."""
    cell = re.sub(r'%pip install --quiet "(.*)"', r'print(f"\1")', setup_cell(STEPS[step]))
    cell = re.sub(r"%pip install .*", "pass", cell)
    code = f"run_dir = 'run'\n{parameters}\n{cell}"
    environment = {key: value for key, value in os.environ.items() if key != "VOLLTRACK_SOURCE"}
    return subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True
    )


#: What hides the distribution that is installed here, as on a fresh Colab.
_NOT_INSTALLED = """
import importlib.metadata
def version(name):
    raise importlib.metadata.PackageNotFoundError(name)
importlib.metadata.version = version
"""


@pytest.mark.parametrize(("wanted", "extras"), [(True, "tensorflow,cellpose"), (False, "tensorflow")])
def test_cellpose_is_installed_where_it_is_to_be_trained(tmp_path: Path, wanted: bool, extras: str) -> None:
    ran = _run_setup("04_train_segmentation", tmp_path, f"{_NOT_INSTALLED}\ntrain_cellpose = {wanted}")
    assert ran.stdout.startswith(f"volltrack[{extras}] @ git+"), ran.stderr


def test_nothing_is_installed_where_the_distribution_is(tmp_path: Path) -> None:
    ran = _run_setup("10_track", tmp_path)
    assert (ran.returncode, ran.stdout) == (0, ""), ran.stderr


@pytest.mark.parametrize("stray", ["helpers.py", "helpers/__init__.py"])
def test_another_module_called_helpers_is_told_by_its_path(tmp_path: Path, stray: str) -> None:
    (tmp_path / stray).parent.mkdir(exist_ok=True)
    (tmp_path / stray).write_text("x = 1\n")
    ran = _run_setup("10_track", tmp_path)
    assert ran.returncode and "rename it" in ran.stderr.splitlines()[-1]
    assert str(tmp_path / "helpers") in ran.stderr.splitlines()[-1]


def test_the_pins_satisfy_the_project_and_conda_reads_the_same() -> None:
    from packaging.requirements import Requirement

    pins = dict(
        line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line
    )
    pins = {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in pins.items()}
    groups = {"": PROJECT["dependencies"], **PROJECT["optional-dependencies"]}
    for group, requirements in groups.items():
        for requirement in map(Requirement, requirements):
            if requirement.marker and not requirement.marker.evaluate({"python_version": "3.11"}):
                continue
            version = pins.get(re.sub(r"[-_.]+", "-", requirement.name).lower())
            assert version is not None or group == "cuda", f"{requirement} has no pin"
            assert version is None or requirement.specifier.contains(version), f"{requirement}: {version}"
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    pip = next(d["pip"] for d in environment["dependencies"] if isinstance(d, dict))
    assert pip[0] == "--constraint constraints.txt"
    extras = set(pip[-1].partition("[")[2].rstrip("]").split(","))
    assert extras <= set(groups)
    makefile = re.search(r"^EXTRAS := ([\w,]+)", (ROOT / "Makefile").read_text(), re.M)
    assert makefile and set(makefile[1].split(",")) == extras


def test_the_pins_are_for_every_python_3_11() -> None:
    """Debian's is 3.11.2: there pip would look through all versions of whoever needs a package that asks for more."""
    from packaging.specifiers import SpecifierSet

    pins = set((ROOT / "constraints.txt").read_text().splitlines())
    here = [one for one in importlib.metadata.distributions() if f"{one.name}=={one.version}" in pins]
    assert len(here) > 200
    asked = {one.name: one.metadata.get("Requires-Python") or "" for one in here}
    assert not {name: python for name, python in asked.items() if not SpecifierSet(python).contains("3.11.0")}


def test_elsewhere_nothing_is_set_up(tmp_path: Path) -> None:
    assert not colab.is_colab()
    colab.set_up("/content/drive/run")


def test_on_colab_drive_is_mounted_only_if_the_run_lies_there(monkeypatch: pytest.MonkeyPatch) -> None:
    mounted: list[str] = []
    drive = types.SimpleNamespace(mount=mounted.append)
    stand_in = types.ModuleType("google.colab")
    stand_in.drive = drive  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "google.colab", stand_in)
    monkeypatch.setattr(colab, "is_colab", lambda: True)
    colab.set_up("run")
    assert mounted == []
    colab.set_up("/content/drive/MyDrive/run")
    assert mounted == ["/content/drive"]


def test_a_run_is_packed_for_download(tmp_path: Path) -> None:
    (tmp_path / "run" / "movies").mkdir(parents=True)
    (tmp_path / "run" / "movies" / "x.csv").write_text("a")
    with zipfile.ZipFile(colab.download(tmp_path / "run")) as packed:
        assert "run/movies/x.csv" in packed.namelist()
