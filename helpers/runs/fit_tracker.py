"""``python -m helpers fit-tracker``: the global tracker's costs, learnt from a movie of a run that is curated or has a truth."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from helpers.curation.files import is_curated
from helpers.data.label_movies import LabelMovie
from helpers.errors import InputError
from helpers.runs.curation import curated
from helpers.runs.parameters import EvaluateTracking, Track
from helpers.runs.run import read_done, step_folder
from helpers.runs.steps import tracking as step
from helpers.runs.steps.tracking_scores import open_truth
from helpers.tracking import scores
from helpers.tracking.global_tracker.costs import GlobalParameters
from helpers.tracking.global_tracker.fit import fit_costs
from helpers.tracking.tracks import Tracks


def fit_tracker(run_dir: str | Path, movie: str | None = None) -> Iterator[str]:
    """Fit the costs on one movie of a run, and yield what came of it, line by line.

    The truth is the curated result where the movie has one, else what notebook 11_evaluate_tracking was given.

    Parameters
    ----------
    run_dir : path-like
        Such as ``runs/demo``.
    movie : str, optional
        Needed where the run has several tracked movies.

    Raises
    ------
    InputError
        If no movie of that name was tracked, it has no labels, or nothing says what its tracks really are.
    """
    p = _tracked(Path(run_dir), movie)
    labels, truth, said = _truth(p)
    cells, _ = step.keep_cells(step.open_cells(p), p)
    if cells.labels is None or cells.voxel_size is None:
        raise InputError("labels", None, "a movie that was tracked with its labels and voxel size")
    yield f"{p.movie_path().name}: fitted to {said}: {len(truth.objects)} cells, {len(truth.divisions)} divisions"

    def scored(parameters: GlobalParameters) -> dict[str, float]:
        found = step.choose(cells, p, parameters)
        return scores.score(found.tracks, truth, found.labels, labels)

    start = (
        step.tracker_parameters(p)
        if p.tracker == "global"
        else GlobalParameters(max_distance=p.max_distance_um)
    )
    fit = fit_costs(scored, start)
    yield fit.tried.round(4).to_string(index=False)
    first, best = fit.tried.iloc[0], fit.tried[fit.tried["kept"]].iloc[-1]
    if not fit.changed:
        yield f"No change raises TRA, {first['tra']:.3f}: leave the costs as they are."
        return
    options = ", ".join(f"{name}: {value:g}" for name, value in fit.changed.items())
    yield (
        f"TRA {first['tra']:.3f} → {best['tra']:.3f}, F1 of divisions {first['division_f1']:.2f} → {best['division_f1']:.2f} "
        "on this movie, which chose them; see whether it holds on another one."
    )
    yield f"In notebook 10_track, or below it in an experiment: tracker: global, tracker_options: {{{options}}}"


def _tracked(run: Path, movie: str | None) -> Track:
    found = {}
    for done in sorted(run.glob(f"steps/{Track.step}-*/done.json")):
        p = Track.checked({**(read_done(done.parent) or {})["parameters"], "run_dir": run})
        found[done.parent.name.removeprefix(f"{Track.step}-")] = p
    if movie is None and len(found) == 1:
        return next(iter(found.values()))
    if movie not in found:
        there = (
            f"tracked are: {', '.join(found)}"
            if found
            else f"notebook {Track.step} has not tracked any movie of this run yet"
        )
        raise InputError("movie", movie, there)
    return found[movie]


def _truth(p: Track) -> tuple[LabelMovie, Tracks, str]:
    """Return true labels and tracks, and what they are."""
    folder = p.movie_path()
    given = {"run_dir": p.run_dir, "movie_id": folder.name}
    if is_curated(folder):
        found = curated(folder)
        given |= {"truth": found.labels, "truth_tracks": found.tracks}
        said = f"the curated movie ({found.edits} edits)"
    else:
        done = read_done(step_folder(EvaluateTracking.checked(given)))
        if done is None:
            raise InputError(
                "truth",
                None,
                "curate the movie in notebook 12_curate, or name truth and truth_tracks in notebook 11_evaluate_tracking",
            )
        given, said = done["parameters"], "the truth of notebook 11_evaluate_tracking"
    return *open_truth(EvaluateTracking.checked({**given, "run_dir": p.run_dir})), said
