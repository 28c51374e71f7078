"""Notebook 12_curate: cells and tracks are corrected, what is suspicious is listed, and results are scored."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd

from helpers.curation import evaluation
from helpers.curation.changes import Link
from helpers.curation.exchange import take_over
from helpers.curation.files import Curated, bring_up_to_date
from helpers.curation.merging import merge_log
from helpers.curation.operations.relink import confirmed_links
from helpers.curation.others import read_result
from helpers.curation.rebase import rebase
from helpers.curation.session import Curation
from helpers.curation.suspects import find_suspects
from helpers.data.label_movies import LabelMovie
from helpers.data.movies import Movie
from helpers.data.tables import write_table
from helpers.runs.curation import raw_movie
from helpers.runs.parameters import Curate
from helpers.runs.steps.tracking import write_formats
from helpers.tracking.formats import any_format, geff, geff_masks, mmv_h4tracks, table


def open_curation(p: Curate) -> tuple[Curation, list[str]]:
    """Open the movie for editing; repeat edits on a new result, and add those of a second person.

    Returns
    -------
    curation : Curation
        To be closed at the end.
    lines : list of str
        What came of it, in words.

    Raises
    ------
    InputError
        As `Curation`, `rebase` and `merge_log`.
    """
    folder, lines = p.movie_path(), []
    if p.movie_path("edits.jsonl").is_file():
        found = rebase(folder)
        if found.former is not None:
            lines.append(
                f"{found.repeated} edits repeated on the new result; the former log is {found.former.name}"
            )
        lines += [
            f"not repeated: {row.operation} of {row.author}: {row.why}" for row in found.missed.itertuples()
        ]
    curation = Curation(folder, p.author)
    try:
        if p.merge_log is not None:
            merged = merge_log(curation, p.merge_log)
            lines.append(f"{merged.added} edits of {p.merge_log} added; {merged.same} made by both")
            lines += [
                f"conflict: {row.operation} of {row.author}: {row.why}"
                for row in merged.conflicts.itertuples()
            ]
        if p.edited_tracks is not None:
            size = curation.state.automatic.voxel_size
            given = any_format.inside(p.edited_tracks)
            outlines = geff_masks.read(given) if geff.is_geff(given) else None
            taken = take_over(curation, any_format.read(given, voxel_size=size), outlines)
            lines.append(f"{taken.edits} edits made of what is other in {p.edited_tracks}")
            lines += [f"not taken over: {row.what}: {row.why}" for row in taken.missed.itertuples()]
    except BaseException:
        curation.close()
        raise
    n = len(curation.state.done)
    return curation, [*lines, f"{n} edits in force, {len(curation.state.undone)} can be brought back"]


def open_raw(p: Curate) -> Movie | None:
    """Return the raw movie: the one named, or that of an earlier step."""
    return Movie.open(p.raw) if p.raw else raw_movie(p.movie_path())


def list_suspects(p: Curate, curation: Curation, raw: Movie | None) -> pd.DataFrame:
    """Rank the suspicious places, write all of them as ``suspects.csv``, and return the first ones."""
    suspects = find_suspects(curation.state, raw)
    write_table(suspects.drop(columns="confirm"), p.movie_path("suspects.csv"))
    return suspects.head(p.show_suspects)


def evaluate(p: Curate, curation: Curation) -> pd.DataFrame | None:
    """Score the automatic result, and another program's, on the curated frames; keep the scores beside earlier ones.

    Returns
    -------
    DataFrame or None
        All scores that are kept of this movie, the newest last; None where no frame is curated.

    Raises
    ------
    InputError
        Frames that the movie has not, or a result that does not fit it.
    """
    state = curation.state
    frames = p.curated_frames or evaluation.curated_frames(state)
    if not frames:
        return None
    truth = evaluation.curated_result(state)
    results = [evaluation.automatic_result(state)]
    if (labels := p.other_labels or p.other_tracks) is not None:
        automatic = state.automatic
        results.append(
            read_result(
                labels, p.other_tracks, state.shape, automatic.voxel_size, automatic.labels.frame_interval
            )
        )
    scores = pd.concat(
        [evaluation.evaluate(truth, each, frames, own=True) for each in results], ignore_index=True
    )
    return evaluation.keep_scores(p.movie_path(), scores, len(state.done))


def _write_formats(curated: Curated, raw: Movie | None, confirmed: set[Link]) -> dict[str, str]:
    """Write the curated tracks in every format of notebook 10_track, for mmv_h4tracks where the movie is 2D, and confirmed links."""
    tracks, labels = table.read(curated.tracks), LabelMovie.open(curated.labels)
    folder = curated.tracks.parent
    image = raw.path if raw else None
    written = write_formats(tracks, folder, labels, masks=True, image=image)
    if labels.shape[1] == 1 and tracks.voxel_size is not None:
        mmv_h4tracks.write(tracks, folder / "mmv_h4tracks.zarr", labels, raw)
        written["mmv_h4tracks.zarr"] = "mmv_h4tracks"
    if confirmed:
        certain = pd.DataFrame(sorted(confirmed), columns=["source", "target"])
        write_table(certain, folder / "confirmed_links.csv")
        written["confirmed_links.csv"] = "fixed_links of notebook 10_track"
    return written


def finish(p: Curate, curation: Curation, raw: Movie | None, scores: pd.DataFrame | None) -> dict[str, Any]:
    """Write the curated result, close, and return what ``done.json`` keeps."""
    done = curation.state.done
    found: dict[str, Any] = {"edits": len(done), "confirmed": len(curation.state.graph.marks)}
    found["operations"] = pd.Series([edit.operation for edit in done], dtype=object).value_counts().to_dict()
    automatic = set(curation.state.automatic.tracks.objects["id"].tolist())
    # Notebook 10_track knows the cells of notebook 06_segment, not those that were drawn.
    confirmed = {link for link in confirmed_links(curation.state.graph) if automatic.issuperset(link)}
    curation.close()
    if p.movie_path("edits.jsonl").is_file():
        curated = bring_up_to_date(p.movie_path(), raw)
        found["authors"] = curated.authors
        found["written"] = _write_formats(curated, raw, confirmed)
    if scores is not None:
        newest = scores[scores["time"] == scores["time"].iloc[-1]]
        found["scores"] = json.loads(newest.to_json(orient="records"))
    return found
