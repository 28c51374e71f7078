"""The HTML file that a run is passed on by: scores, and of every step its figures, parameters, results and versions."""

from __future__ import annotations

import base64
import importlib.resources
import itertools
import os
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup

from helpers.data.atomic import atomic_path
from helpers.data.experiment import Experiment
from helpers.runs.batch import state_of
from helpers.runs.doubts import Check
from helpers.runs.parameters import STEPS, Parameters
from helpers.runs.plan import Job
from helpers.runs.report_methods import methods
from helpers.runs.report_overview import LISTED, audited, changed_parameters, findings, overview
from helpers.runs.report_overview import tables as csv_files
from helpers.runs.run import read_done
from helpers.runs.share import pages
from helpers.view.result_table import in_words, result_table
from helpers.view.style import method_style

#: Movies of a step whose figures stand in the report: a thousand would make it too large for any browser.
_PICTURED = 3
#: Bytes of an animation that still stands in the report.
_LARGEST_ANIMATION = 4_000_000
#: What each table of scores says, for one who has not seen the notebooks.
_ABOUT = {
    "Segmentation": "How well the cells that were found agree with the true ones. A cell is found where it and a true one "
    "share more than half of what they cover together (IoU 0.5). 1 is perfect; of MSE, which compares the masks, 0 is.",
    "Tracking": "How well the tracks agree with the true ones, 1 is perfect: TRA with its parts DET (cells) and LNK (links), "
    "and SEG (shapes), as in the Cell Tracking Challenge; F1 of the divisions; CHOTA; the share of tracks that are complete.",
    "Analysis": "How well the measurements agree with what is known of the movie; false rhythms are counted in noise that is put in "
    "place of the cells' brightness.",
}
_COLUMNS = {
    "tra": "TRA", "det": "DET", "lnk": "LNK", "seg": "SEG", "division_f1": "F1 of divisions", "chota": "CHOTA",
    "complete_tracks": "complete tracks",
    "boundary_error_um": "error of the distance to the boundary, true cells (µm)",
    "boundary_error_of_found_cells_um": "found cells (µm)",
    "frequency_recovered": "share of rhythms found",
    "false_rhythms": "share of cells with a false rhythm",
    "true_labels": "from true labels", "predicted_labels": "from found labels", "analysis": "all movies",
}  # fmt: skip


def write_page(
    path: Path,
    experiment: Experiment,
    jobs: list[Job],
    tables: dict[str, pd.DataFrame],
    checks: list[tuple[str, Check]],
) -> None:
    """Write the report.

    Parameters
    ----------
    path : Path
        The HTML file; nothing else is needed to read it but the executed notebooks it links to.
    experiment : Experiment
        Gives the name, and the run folder that links are relative to.
    jobs : list of Job
        All jobs of the experiment, step after step.
    tables : dict of DataFrame
        The scores by title.
    checks : list of (str, Check)
        What to doubt, with the step and movie that it is about, the worst first.
    """
    template = importlib.resources.files("helpers.runs").joinpath("report_page.html").read_text()
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    there, found, changed = overview(jobs), findings(jobs), changed_parameters(jobs)
    paragraph, works = methods(jobs)
    page = environment.from_string(template).stream(
        name=experiment.name,
        overview=_plain_table(there.head(LISTED)) if len(there) else "",
        more_movies=max(0, len(there) - LISTED),
        findings=_plain_table(found.head(4 * LISTED)) if len(found) else "",
        audits=audited(jobs),
        has_truth="Segmentation" in tables or "Tracking" in tables,
        track_pages=pages(jobs),
        csv_files=csv_files(jobs, experiment.run_dir),
        animations=_animations(jobs, experiment.run_dir),
        changed=_plain_table(changed) if len(changed) else "",
        methods=paragraph,
        works=works,
        doubted=[(where, check) for where, check in checks if check.level != "ok"],
        fine=[(where, check) for where, check in checks if check.level == "ok"],
        tables=[_table(title, table) for title, table in tables.items()],
        steps=[
            _step(name, list(of_step), experiment)
            for name, of_step in itertools.groupby(jobs, key=lambda job: job.step)
        ],
    )
    with atomic_path(path) as unfinished:
        page.dump(str(unfinished), encoding="utf-8")


def _plain_table(table: pd.DataFrame) -> Markup:
    """Return a table as HTML; whole numbers whole, and – where there is nothing."""
    shown = table.map(lambda v: f"{v:.0f}" if isinstance(v, float) and v.is_integer() else v)
    return Markup(shown.to_html(index=False, border=0, na_rep="–"))


def _table(title: str, table: pd.DataFrame) -> dict[str, Any]:
    shown = table.rename(columns=_COLUMNS, index=lambda name: _COLUMNS.get(name) or method_style(name)[0])
    return {
        "title": title,
        "about": _ABOUT[title],
        "html": Markup(shown.to_html(float_format=lambda value: f"{value:.3f}", border=0)),
    }


def _step(name: str, jobs: list[Job], experiment: Experiment) -> dict[str, Any]:
    """Return what the page says of one step."""
    found = {job.name: read_done(job.folder) for job in jobs}
    done = [one for one in found.values() if one]
    seconds = sum(one["duration_s"] for one in done)
    wrong = dict(state_of([job for job in jobs if not found[job.name]], experiment.run_dir / ".batch"))
    pictured = [job.name for job in jobs if found[job.name]][:_PICTURED]
    count = "done" if len(done) == len(jobs) == 1 else f"{len(done)} of {len(jobs)} done"
    return {
        "name": name,
        "title": name.replace("_", " "),
        "about": STEPS[name].about(),
        "state": f"{count}, {seconds:.0f} s" if done else "not done",
        "pictured": len(pictured) if len(pictured) < len(done) else 0,
        "jobs": [
            _job(job, one, experiment.run_dir, job.name in pictured)
            if (one := found[job.name])
            else {"movie": job.movie_id, "wrong": wrong[job.name]}
            for job in jobs
        ],
    }


def _job(job: Job, done: dict[str, Any], run_dir: Path, pictured: bool) -> dict[str, Any]:
    notebook = job.folder / "notebook.ipynb"
    details = {
        "parameters": _parameters(type(job.parameters), done["parameters"], run_dir),
        "results": Markup(result_table(done["results"]).html()) if done["results"] else "none",
    }
    if pictured:
        details["packages"] = Markup(result_table(done["packages"]).html())
    return {
        "movie": job.movie_id,
        "started": done["started"][:16].replace("T", " "),
        "seconds": round(done["duration_s"]),
        "device": done["device"],
        "notebook": notebook.relative_to(run_dir).as_posix(),
        "details": details.items(),
        "figures": _figures(notebook) if pictured else (),
    }


def _parameters(cls: type[Parameters], given: dict[str, Any], run_dir: Path) -> Markup:
    """Return parameters as a table, those that are not the defaults in bold, and paths relative to the run folder."""
    defaults = cls.defaults()
    rows = Markup("").join(
        Markup("<tr><td>{}</td><td>{}</td></tr>").format(
            name, _shown(value, value != defaults.get(name), run_dir)
        )
        for name, value in given.items()
    )
    return Markup('<table class="checks">{}</table>').format(rows)


def _shown(value: Any, is_changed: bool, run_dir: Path) -> str:
    said = in_words(_relative(value, run_dir))
    return Markup("<b>{}</b>").format(said) if is_changed else said


def _relative(value: Any, run_dir: Path) -> Any:
    """Return a value whose paths are relative: to the run folder, or to the folder that holds both."""
    if isinstance(value, list):
        return [_relative(one, run_dir) for one in value]
    if isinstance(value, dict):
        return {key: _relative(one, run_dir) for key, one in value.items()}
    return os.path.relpath(value, run_dir) if isinstance(value, str) and os.path.isabs(value) else value


def _animations(jobs: list[Job], run_dir: Path) -> list[tuple[str, str]]:
    """Return the first animations that steps have written, with their names."""
    patterns = [pattern for job in jobs if read_done(job.folder) for pattern in job.parameters.outputs()]
    paths = (path for pattern in patterns for path in sorted(pattern.parent.glob(pattern.name)))
    small = (p for p in paths if p.suffix == ".gif" and p.stat().st_size < _LARGEST_ANIMATION)
    return [
        (path.relative_to(run_dir).as_posix(), base64.b64encode(path.read_bytes()).decode())
        for path in itertools.islice(small, _PICTURED)
    ]


def _figures(notebook: Path) -> Iterator[dict[str, Any]]:
    """Yield the figures of an executed notebook, each with the last question that was asked before it."""
    import mistune  # these two take a second, and a run begins with importing this
    import nbformat

    if not notebook.is_file():
        return
    question = ""
    for cell in nbformat.read(notebook, as_version=4).cells:
        if cell.cell_type == "markdown":
            question = re.sub(r"^#.*$", "", cell.source, flags=re.MULTILINE).strip()
            continue
        for output in cell.get("outputs", []):
            if image := output.get("data", {}).get("image/png"):
                asked = re.sub(r"[*`]", "", question.partition("\n")[0]) or "figure"
                yield {
                    "question": Markup(mistune.html(question)),
                    "alt": asked,
                    "image": Markup(image),
                    "tall": _is_tall(image),
                }
                question = ""


def _is_tall(image: str) -> bool:
    """Whether a PNG is a tree of many tracks or many panels, say, which may fill a printed page."""
    return struct.unpack(">I", base64.b64decode(image[:32])[20:24])[0] > 800
