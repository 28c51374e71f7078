"""The gallery: executed notebooks with small pictures, which GitHub shows; the notebooks themselves stay without outputs."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import nbformat

from helpers.data.atomic import atomic_path
from helpers.errors import InputError
from helpers.runs.gallery_missing import COPY, REMARKS, execute_missing
from helpers.runs.parameters import NOTEBOOKS, StartHere
from helpers.runs.run import read_done

#: Bytes of one notebook and of all together.
LIMIT, ALL = 300_000, 4_000_000
#: Widths in pixels and numbers of colours that are tried for the pictures, until a notebook is small enough.
_SIZES = ((640, 128), (520, 128), (400, 128), (320, 96), (240, 64), (200, 32))
#: What is a picture or a text; widgets and bars of progress are neither.
_KEPT = ("image/png", "text/html", "text/plain")


def gallery(runs: Sequence[str | Path], into: str | Path, *, execute: bool = False) -> list[Path]:
    """Write a copy of each executed notebook of some runs, at most one of each notebook.

    Parameters
    ----------
    runs : sequence of path-like
        Run folders, such as ``runs/demo``; a notebook is taken from the first that has executed it.
    into : path-like
        Folder of the copies; those of notebooks that no run has executed stay as they are.
    execute : bool
        Execute the notebooks that no run has executed, on a copy of the first (`helpers.runs.gallery_missing`).

    Returns
    -------
    list of Path
        The copies, of at most 300 kB each and 4 MB together.

    Raises
    ------
    InputError
        If no notebook was executed, or one is too large even with the smallest pictures.
    """
    folders = [Path(run) for run in runs]
    folders += [folders[0].parent / COPY] if execute else []
    found = {step: folder for step in NOTEBOOKS if (folder := _executed(step, folders)) is not None}
    if found and execute:
        for step in sorted(NOTEBOOKS.keys() - found.keys()):
            found[step] = execute_missing(folders[0], step)
    if not found:
        raise InputError(
            "RUN", ", ".join(map(str, runs)), "no executed notebook lies in steps/; run it first"
        )
    into = Path(into)
    into.mkdir(parents=True, exist_ok=True)
    limit = min(LIMIT, ALL // len(NOTEBOOKS))
    written = []
    for step, folder in sorted(found.items()):
        target = into / f"{step}.ipynb"
        text = _small(step, folder, limit)
        with atomic_path(target) as part:
            part.write_text(text, encoding="utf-8")
        written.append(target)
    return written


def _executed(step: str, runs: Iterable[Path]) -> Path | None:
    """Return the folder of the first run, and movie, in which a notebook ran to its end."""
    folders = (folder for run in runs for folder in sorted(run.glob(f"steps/{step}*")))
    return next((folder for folder in folders if _ended(folder)), None)


def _ended(folder: Path) -> bool:
    """Whether a step is done, and its notebook whole and without an error; notebook 00_start_here leaves nothing but itself."""
    notebook = folder / "notebook.ipynb"
    if not notebook.is_file() or (read_done(folder) is None and folder.name != StartHere.step):
        return False
    cells = [cell for cell in nbformat.read(notebook, as_version=4).cells if cell.cell_type == "code"]
    failed = any(one.output_type == "error" for cell in cells for one in cell.outputs)
    return not failed and all(cell.execution_count for cell in cells)


def _small(step: str, folder: Path, limit: int) -> str:
    notebook = nbformat.read(folder / "notebook.ipynb", as_version=4)
    done: dict[str, Any] = read_done(folder) or {}
    about = _about(step, done, notebook)
    if folder.resolve().parents[1].name == COPY and (remark := REMARKS.get(NOTEBOOKS[step].name)):
        about += f"\n\n*{remark}*"
    for width, colors in _SIZES:
        text = json.dumps(_copy(notebook, about, width, colors), indent=1, ensure_ascii=False) + "\n"
        text = _without_paths(
            text, Path(done.get("parameters", {}).get("run_dir") or folder.resolve().parents[1])
        )
        if len(text.encode()) <= limit:
            return text
    raise InputError(str(folder / "notebook.ipynb"), f"{len(text) // 1000} kB", f"at most {limit // 1000} kB")


def _copy(notebook: Any, about: str, width: int, colors: int) -> dict[str, Any]:
    """Return the notebook with small pictures, without widgets, and with a line that says what it is."""
    cells = []
    for cell in notebook.cells:
        kept: dict[str, Any] = {
            "cell_type": cell.cell_type, "id": cell.id, "metadata": _tags(cell), "source": cell.source,
        }  # fmt: skip
        if cell.cell_type == "code":
            kept |= {
                "execution_count": cell.execution_count,
                "outputs": [
                    small for one in cell.outputs if (small := _output(one, width, colors)) is not None
                ],
            }
        cells.append(kept)
    cells.insert(1, {"cell_type": "markdown", "id": "gallery", "metadata": {}, "source": about})
    metadata = {
        key: notebook.metadata[key] for key in ("kernelspec", "language_info") if key in notebook.metadata
    }
    return {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


def _tags(cell: Any) -> dict[str, Any]:
    """Return what tells the cells of parameters from others, of a cell's metadata."""
    return {"tags": cell.metadata.tags} if cell.metadata.get("tags") else {}


def _about(step: str, done: dict[str, Any], notebook: Any) -> str:
    """Return a line that says when and how the notebook was executed; without a ``done.json`` what papermill noted of it."""
    noted = notebook.metadata.get("papermill", {})
    when, took = done.get("started", noted.get("start_time")), done.get("duration_s", noted.get("duration"))
    said = [f" on {when[:10]}"] if when else []
    said += [f" with Volltrack {done.get('packages', {}).get('volltrack', '')}"] if done else []
    said += [f", in {took:.0f} s"] if took is not None else []
    said += [f" on {done.get('device', '')}"] if done else []
    return (
        f"*Executed{''.join(said)}; put here by `python -m helpers gallery`, with small pictures and without widgets. "
        f"The notebook itself: [{step}](../notebooks/{step}.ipynb).*"
    )


def _output(output: Any, width: int, colors: int) -> dict[str, Any] | None:
    """Return an output as GitHub shows it; None for what it does not."""
    if output.output_type == "stream":
        return None if output.name == "stderr" else dict(output)
    if output.output_type == "error" or "data" not in output:
        return dict(output)
    if any("widget" in kind for kind in output.data) and "image/png" not in output.data:
        return None
    data = {kind: output.data[kind] for kind in _KEPT if kind in output.data}
    if "image/png" in data:
        data = {"image/png": small_picture(data["image/png"], width, colors)}
    return {**output, "data": data, "metadata": {}}


def small_picture(text: str, width: int, colors: int) -> str:
    from PIL import Image

    with Image.open(io.BytesIO(base64.b64decode(text))) as image:
        shown = image.convert("RGB")
        if shown.width > width:
            shown = shown.resize(
                (width, max(1, round(shown.height * width / shown.width))), Image.Resampling.LANCZOS
            )
        buffer = io.BytesIO()
        # Not the most frequent colours, which are greys, but those that cover all: cells that touch stay told apart.
        few = shown.quantize(colors, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
        few.save(buffer, "png", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def _without_paths(text: str, run_dir: Path) -> str:
    """Name the run's folder as a reader has it, not as it is called on this machine."""
    text = text.replace(run_dir.as_posix(), f"runs/{run_dir.name}")
    return (
        re.sub(re.escape(run_dir.parent.as_posix()) + r"(?=[/\"'])", "runs", text)
        if run_dir.is_absolute()
        else text
    )
