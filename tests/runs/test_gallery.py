"""The gallery: executed notebooks that GitHub shows, small and without what belongs to this machine."""

from __future__ import annotations

import base64
import contextlib
import io
import json
from collections.abc import Iterator
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from helpers.data.movies import Movie, write_movie
from helpers.errors import InputError
from helpers.runs import gallery as module
from helpers.runs import gallery_missing
from helpers.runs.gallery import gallery
from helpers.runs.parameters import NOTEBOOKS, Parameters
from helpers.runs.run import write_json


def _png(width: int = 1400) -> str:
    noise = np.random.default_rng(0).integers(0, 255, (700, width, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "png")
    return base64.b64encode(buffer.getvalue()).decode()


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of one step that says where it lies, shows a large picture, a bar and a warning."""
    folder = tmp_path / "runs" / "demo" / "steps" / "06_segment-movie"
    folder.mkdir(parents=True)
    run_dir = folder.parents[1]
    output = nbformat.v4.new_output
    cell = nbformat.v4.new_code_cell(f'run_dir = "{run_dir}"', execution_count=1)
    cell.outputs = [
        output("display_data", {"image/png": _png(), "text/plain": "<Figure>"}),
        output("display_data", {"application/vnd.jupyter.widget-view+json": {}, "text/plain": "0%|"}),
        output("stream", name="stdout", text=f"written to {run_dir}/movies\n"),
        output("stream", name="stderr", text="a warning in red\n"),
        output("execute_result", {"text/html": "<table></table>", "text/plain": "cells 3"}),
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# Segment"), cell])
    notebook.metadata["widgets"] = {"state": "x" * 10**6}
    nbformat.write(notebook, folder / "notebook.ipynb")
    done = {
        "parameters": {"run_dir": str(run_dir)},
        "started": "2026-11-27T07:00:00+0000",
        "duration_s": 3.0,
        "device": "2 CPU cores",
        "packages": {"volltrack": "0.1.0"},
    }
    (folder / "done.json").write_text(json.dumps(done))
    return run_dir


def test_a_copy_shows_what_came_out_and_nothing_of_this_machine(run: Path, tmp_path: Path) -> None:
    (copy,) = gallery([run], tmp_path / "gallery")
    assert copy.name == "06_segment.ipynb"
    assert copy.stat().st_size <= module.LIMIT
    text = copy.read_text(encoding="utf-8")
    assert str(tmp_path) not in text and "runs/demo/movies" in text
    notebook = nbformat.reads(text, as_version=4)
    nbformat.validate(notebook)
    assert "Executed on 2026-11-27 with Volltrack 0.1.0, in 3 s on 2 CPU cores" in notebook.cells[1].source
    assert "widgets" not in notebook.metadata
    outputs = notebook.cells[2].outputs
    assert [one.output_type for one in outputs] == ["display_data", "stream", "execute_result"]
    assert "in red" not in text and "0%|" not in text
    picture = Image.open(io.BytesIO(base64.b64decode(outputs[0]["data"]["image/png"])))
    assert 200 <= picture.width <= 640 and picture.height == pytest.approx(picture.width / 2, abs=1)


def test_notebook_00_which_leaves_nothing_else_is_dated_too(run: Path, tmp_path: Path) -> None:
    path = (run / "steps" / "06_segment-movie").rename(run / "steps" / "00_start_here") / "notebook.ipynb"
    path.with_name("done.json").unlink()
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata["papermill"] = {"start_time": "2026-11-26T23:59:59.5+00:00", "duration": 8.6}
    nbformat.write(notebook, path)
    (copy,) = gallery([run], tmp_path / "gallery")
    said = nbformat.read(copy, as_version=4).cells[1].source
    assert said.startswith("*Executed on 2026-11-26, in 9 s; put here by"), said


def test_the_colours_of_cells_survive_beside_many_greys() -> None:
    rng = np.random.default_rng(0)
    picture = np.repeat(rng.integers(0, 255, (300, 300, 1), dtype=np.uint8), 3, axis=2)
    cells = np.array(
        [[200, 90, 90], [160, 110, 60], [90, 140, 70], [40, 130, 130], [80, 110, 170], [150, 90, 160]]
    )
    for k, color in enumerate(cells):
        picture[40:60, 45 * k : 45 * k + 20] = color
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "png")
    small = module.small_picture(base64.b64encode(buffer.getvalue()).decode(), 640, 32)
    shown = np.array(Image.open(io.BytesIO(base64.b64decode(small))).convert("RGB")).astype(int)
    for k, color in enumerate(cells):
        assert np.abs(shown[50, 45 * k + 10] - color).max() <= 24, k


def test_what_was_not_executed_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no executed notebook"):
        gallery([tmp_path], tmp_path / "gallery")


@pytest.mark.parametrize("how", ["failed", "running"])
def test_a_notebook_that_did_not_end_is_not_shown(run: Path, tmp_path: Path, how: str) -> None:
    path = run / "steps" / "06_segment-movie" / "notebook.ipynb"
    notebook = nbformat.read(path, as_version=4)
    if how == "failed":
        error = nbformat.v4.new_output("error", ename="InputError", evalue="no", traceback=[])
        notebook.cells[1].outputs.append(error)
    else:
        notebook.cells[1].execution_count = None
    nbformat.write(notebook, path)
    with pytest.raises(InputError, match="no executed notebook"):
        gallery([run], tmp_path / "gallery")


def test_a_notebook_that_stays_too_large_is_refused(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LIMIT", 2000)
    with pytest.raises(InputError, match="at most 2 kB"):
        gallery([run], tmp_path / "gallery")


def test_what_no_run_holds_is_executed_on_a_copy(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The notebooks themselves take minutes: here it is looked at what they are given, and that the run stays as it is."""
    movie = run / "data" / "movie" / "raw.ome.tif"
    write_movie(movie, np.zeros((3, 4, 8, 8), np.uint16), voxel_size=(1.0, 1.0, 1.0), axes="TZYX")
    (run / "movies" / "movie").mkdir(parents=True)
    (run / "movies" / "movie" / "tracks.csv").write_text("id\n")
    before = sorted(run.rglob("*"))
    given: dict[str, Parameters] = {}

    def execute(step: str, parameters: Parameters, output: Path) -> None:
        given[step] = parameters
        cell = nbformat.v4.new_code_cell("1", execution_count=1)
        nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# A"), cell]), output)
        write_json(output.with_name("done.json"), {"parameters": parameters.plain()})

    @contextlib.contextmanager
    def serving(_: Path) -> Iterator[str]:
        yield "127.0.0.1:1"

    monkeypatch.setattr(gallery_missing, "execute_notebook", execute)
    monkeypatch.setattr(gallery_missing, "_serving", serving)
    monkeypatch.setattr(gallery_missing, "_train_cellpose", lambda _: None)
    copies = gallery([run], tmp_path / "gallery", execute=True)
    assert [path.stem for path in copies] == list(NOTEBOOKS)
    assert given.keys() == NOTEBOOKS.keys() - {"06_segment"} and sorted(run.rglob("*")) == before
    assert {p.run_dir for p in given.values()} == {run.parent / "gallery"}
    assert Movie.open(given["07_segment_cellpose"].movie).n_frames == 2
    cohort = pd.read_csv(given["16_compare_conditions"].cohort)
    assert cohort["condition"].nunique() == 2
    remarked = [path.stem for path in copies if "trained for this page" in path.read_text(encoding="utf-8")]
    assert remarked == ["07_segment_cellpose"]
    given.clear()
    gallery([run], tmp_path / "gallery", execute=True)
    assert not given, "what was executed once is taken from the copy"


def test_the_gallery_of_the_repository_is_within_its_limits() -> None:
    """GitHub shows notebooks of up to some hundred kB; together they must not weigh on a clone."""
    folder = Path(__file__).parents[2] / "gallery"
    sizes = {path.name: path.stat().st_size for path in folder.glob("*.ipynb")}
    assert sorted(sizes) == sorted(f"{step}.ipynb" for step in NOTEBOOKS)
    assert max(sizes.values()) <= module.LIMIT and sum(sizes.values()) <= module.ALL
    for path in folder.glob("*.ipynb"):
        notebook = nbformat.read(path, as_version=4)
        assert notebook.cells[1].source.startswith("*Executed on 20"), f"{path.name} is not dated"
        assert not [o for c in notebook.cells for o in c.get("outputs", []) if o["output_type"] == "error"], (
            path
        )
        assert 'run_dir = "/' not in path.read_text(encoding="utf-8").replace("\\", ""), path
