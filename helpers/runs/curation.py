"""Curated results of a run: made again from the logs of edits, and known to the steps that read them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from helpers.curation.files import Curated, bring_up_to_date, is_curated
from helpers.curation.lock import whoami
from helpers.curation.merging import merge_log
from helpers.curation.rebase import rebase
from helpers.curation.session import Curation
from helpers.data.movies import Movie
from helpers.errors import InputError
from helpers.runs.run import read_done


def curated(folder: Path) -> Curated:
    """Return the curated result of a movie, brought up to date with its log.

    Parameters
    ----------
    folder : Path
        ``<run>/movies/<id>``.

    Raises
    ------
    InputError
        As `helpers.curation.files.bring_up_to_date`.
    """
    return bring_up_to_date(folder, raw_movie(folder))


def raw_movie(folder: Path) -> Movie | None:
    """Return the raw movie that a step of this movie names, or None where it is no longer there."""
    for done in sorted(folder.parent.parent.glob(f"steps/*-{folder.name}/done.json")):
        given = (read_done(done.parent) or {}).get("parameters", {})
        for name in ("movie", "raw"):
            if given.get(name) and Path(given[name]).exists():
                options = {"voxel_size_um": "voxel_size", "frame_interval_s": "frame_interval"}
                known = {option: given[key] for key, option in options.items() if given.get(key)}
                return Movie.open(given[name], **known)
    return None


def replay(run_dir: str | Path, movie: str | None = None, merge: str | Path | None = None) -> Iterator[str]:
    """Make the curated results of a run again from its logs, and yield what came of it, line by line.

    Edits made on an earlier segmentation or tracking are repeated on the new one.

    Parameters
    ----------
    run_dir : path-like
        Such as ``runs/demo``.
    movie : str, optional
        One movie of it; all that have a log where left out.
    merge : path-like, optional
        The log of a second person, whose edits are added; then the movie is named, or the run has one log only.

    Raises
    ------
    InputError
        There is no log; `merge` with several; as `helpers.curation.rebase.rebase` and `merge_log`.
    """
    folders = sorted(path for path in Path(run_dir).glob("movies/*") if is_curated(path))
    known = [folder.name for folder in folders]
    if movie is not None:
        folders = [folder for folder in folders if folder.name == movie]
    if not folders:
        there = (
            f"with a log of edits are: {', '.join(known)}"
            if known
            else "no movie of this run has a log of edits"
        )
        raise InputError("run" if movie is None else "movie", movie or str(run_dir), there)
    if merge is not None and len(folders) > 1:
        raise InputError("movie", None, f"name the movie that {merge} is of: {', '.join(known)}")
    for folder in folders:
        yield from _replay(folder, Path(merge) if merge is not None else None)


def _replay(folder: Path, merge: Path | None) -> Iterator[str]:
    found = rebase(folder)
    if found.former is not None:
        yield (
            f"{folder.name}: {found.repeated} edits repeated on the new result; "
            f"{len(found.missed)} could not be (edits_not_replayed.csv); the former log is {found.former.name}"
        )
    for row in found.missed.itertuples():
        yield f"{folder.name}: not repeated: {row.operation} of {row.author}, {row.time}: {row.why}"
    if merge is not None:
        with Curation(folder, whoami()) as curation:
            merged = merge_log(curation, merge)
        yield f"{folder.name}: {merged.added} edits added, {merged.same} made by both, {len(merged.conflicts)} conflicts"
        for row in merged.conflicts.itertuples():
            yield f"{folder.name}: conflict: {row.operation} of {row.author}, {row.time}: {row.why}"
    result = curated(folder)
    by = f" by {', '.join(result.authors)}" if result.authors else ""
    yield f"{folder.name}: {result.edits} edits in force{by}: {result.tracks.parent}"
