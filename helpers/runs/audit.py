"""An audit from the command line: a page of strips, verdicts by key or from a table, error rates."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from helpers.curation.audit import KEYS, Audit, open_audit
from helpers.curation.files import state_on_disk
from helpers.errors import InputError, nearest
from helpers.runs.curation import raw_movie


def audit(
    run_dir: str | Path,
    movie: str | None = None,
    *,
    n: int = 60,
    seed: int = 0,
    verdicts: str | Path | None = None,
    ask: Callable[[str], str] | None = None,
) -> Iterator[str]:
    """Audit a movie of a run, and yield what came of it, line by line.

    Parameters
    ----------
    run_dir : path-like
        Such as ``runs/demo``.
    movie : str, optional
        May be left out where the run has one that is tracked.
    n, seed : int
        Of a new sample; see `helpers.curation.audit.open_audit`.
    verdicts : path-like, optional
        A filled copy of ``audit.csv``; then nothing is asked.
    ask : callable, optional
        Given a question, returns the key that was pressed; None: nobody is there to ask.

    Raises
    ------
    InputError
        No such movie, or several and none named; as `open_audit`, `Audit.take` and `state_on_disk`.
    """
    folder = _folder(Path(run_dir), movie)
    state, raw = state_on_disk(folder), raw_movie(folder)
    found = open_audit(folder, state, raw, n=n, seed=seed)
    taken = None if verdicts is None else found.take(Path(verdicts))
    page = folder / "audit.html"
    if not (folder / "audit.json").is_file() or not page.is_file():
        from helpers.view.audit import Strips, write_page

        write_page(found, Strips(state, raw), page)
    found.save()
    yield f"{len(found.sample)} cells and links are drawn: {page}; their verdicts: {folder / 'audit.csv'}"
    if taken is not None:
        yield f"{taken} verdicts taken from {verdicts}"
    elif ask is not None:
        _ask(found, ask)
    if n_open := len(found.open):
        yield f"{n_open} have no verdict yet; the same command goes on"
    for rate in found.rates():
        yield rate.words


def _ask(found: Audit, ask: Callable[[str], str]) -> None:
    """Ask for the verdicts that are missing, until q."""
    from helpers.view.audit import question

    rows = list(found.sample.itertuples())
    for k in found.open:
        text = (
            f"{rows[k].number} of {len(rows)} ({found.folder / 'audit.html'}): {question(rows[k])} y/n/?/q "
        )
        while (key := ask(text).strip().lower()) not in (*KEYS, "q"):
            pass
        if key == "q":
            return
        found.judge(k, key)


def _folder(run_dir: Path, movie: str | None) -> Path:
    tracked = sorted(path.parent.name for path in run_dir.glob("movies/*/tracks.csv"))
    if not tracked:
        raise InputError(
            "run", str(run_dir), "a run folder with a movie that is tracked; run notebook 10_track"
        )
    if movie is None and len(tracked) > 1:
        raise InputError("movie", None, f"name one with --movie: {', '.join(tracked)}")
    if movie is not None and movie not in tracked:
        raise InputError("movie", movie, nearest(movie, tracked))
    return run_dir / "movies" / (movie or tracked[0])
