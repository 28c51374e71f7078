"""The report as one file to pass on: the page, the executed notebooks as HTML, the tables and the tracks it links to."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable
from pathlib import Path

from helpers.data.atomic import atomic_path
from helpers.progress import progress
from helpers.runs.plan import Job
from helpers.runs.report_overview import tables
from helpers.runs.share import pages


def pack(run_dir: Path, jobs: Iterable[Job]) -> Path:
    """Write ``report.zip`` into the run folder.

    Parameters
    ----------
    run_dir : Path
        With ``report.html``.
    jobs : iterable of Job
        All jobs of the experiment.

    Returns
    -------
    Path
        The zip. Unpacked anywhere, every link of its ``report.html`` works.
    """
    from nbconvert import HTMLExporter

    jobs = list(jobs)
    page = (run_dir / "report.html").read_text(encoding="utf-8")
    notebooks = [job.folder / "notebook.ipynb" for job in jobs if (job.folder / "notebook.ipynb").is_file()]
    exporter = HTMLExporter(template_name="basic")
    with (
        atomic_path(run_dir / "report.zip") as part,
        zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for notebook in progress(notebooks, desc="Notebooks", unit="notebook", total=len(notebooks)):
            linked = notebook.relative_to(run_dir).as_posix()
            html = linked.removesuffix(".ipynb") + ".html"
            packed.writestr(html, _whole(exporter.from_filename(str(notebook))[0], notebook.parent.name))
            page = page.replace(f'href="{linked}"', f'href="{html}"')
        for file in (*tables(jobs, run_dir), *pages(jobs)):
            packed.write(run_dir / file, file)
        packed.writestr("report.html", page)
    return run_dir / "report.zip"


def _whole(body: str, title: str) -> str:
    """Return a page that needs nothing from the network, as nbconvert's own would."""
    style = "body{font:15px/1.5 sans-serif;max-width:60rem;margin:auto;padding:1rem}pre{overflow-x:auto}img{max-width:100%}"
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>{style}</style></head>'
        f"<body>{body}</body></html>"
    )
