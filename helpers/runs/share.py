"""The tracks of a run's movies as web pages to pass on: ``movies/<id>/shared_tracks.html``."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from helpers.curation.session import LOG
from helpers.errors import InputError
from helpers.runs.parameters import Track
from helpers.runs.plan import Job
from helpers.runs.report_overview import LISTED
from helpers.view.track_page import write_track_page
from helpers.view.tracked_run import OBJECT_TABLES, read_tracks, tracked_movies

PAGE = "shared_tracks.html"


def share(run_dir: str | Path, movie: str | None = None) -> list[Path]:
    """Write the page of a movie, or of all that are tracked, with the measures of all notebooks that ran.

    Parameters
    ----------
    run_dir : path-like
        Such as ``runs/demo``.
    movie : str, optional
        Its name in the run.

    Raises
    ------
    InputError
        If nothing is tracked, there is no such movie, or its tracks cannot be read.
    """
    names = tracked_movies(run_dir, movie)
    return [_write(Path(run_dir), name) for name in names]


def pages(jobs: Iterable[Job]) -> list[str]:
    """Write the pages that are missing or older than what they show; return their paths in the run folder.

    Only of the first `LISTED` movies: a run may have a thousand. A movie whose tracks cannot be read has none.
    """
    run_dirs = {job.movie_id: job.parameters.run_dir for job in jobs if isinstance(job.parameters, Track)}
    found = []
    for movie, run_dir in list(run_dirs.items())[:LISTED]:
        page = run_dir / "movies" / str(movie) / PAGE
        try:
            if _is_old(page):
                _write(run_dir, str(movie))
        except InputError:  # its step says what is wrong
            continue
        if page.is_file():
            found.append(page.relative_to(run_dir).as_posix())
    return found


def _write(run_dir: Path, name: str) -> Path:
    return write_track_page(run_dir / "movies" / name / PAGE, read_tracks(run_dir, name), name=name)


def _is_old(page: Path) -> bool:
    sources = ["tracks.csv", LOG, *(f"analysis/{file}" for file in OBJECT_TABLES)]
    changed = [
        (page.parent / source).stat().st_mtime for source in sources if (page.parent / source).is_file()
    ]
    return bool(changed) and (not page.is_file() or page.stat().st_mtime < max(changed))
