"""All files of an experiment, opened before anything runs: what is wrong is listed at once, each with its place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from helpers.data.experiment import Experiment
from helpers.data.movies import Movie
from helpers.data.patches import check_patch_size
from helpers.data.source import stem
from helpers.data.stacks import Stack, open_stacks
from helpers.data.tables import read_table
from helpers.errors import InputError, Mistakes
from helpers.runs.movie_inputs import MovieInputs
from helpers.runs.parameters import (
    CompareConditions,
    CreateDataset,
    Parameters,
    Segment,
    TrainDenoiser,
    TrainSegmentation,
)
from helpers.runs.parameters.dataset import Pairs
from helpers.runs.plan import Job
from helpers.runs.run import hint

#: How far a movie's voxels may be from those that the networks learn from.
VOXEL_TOLERANCE = 0.3


@dataclass
class Findings:
    """What is wrong with the files of an experiment.

    Attributes
    ----------
    whole : Mistakes
        Of what serves all movies.
    movies : dict
        Movie → its own mistakes; only movies that have any.
    remarks : list of str
        What is worth a look and stops nothing.
    """

    whole: Mistakes = field(default_factory=Mistakes)
    movies: dict[str, Mistakes] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)

    @property
    def all(self) -> Mistakes:
        """All mistakes together."""
        together = Mistakes()
        for mistakes in (self.whole, *self.movies.values()):
            for error in mistakes.found:
                together.include(error)
        return together


def look_at_inputs(experiment: Experiment, jobs: Iterable[Job]) -> Findings:
    """Open every file that the jobs read and no other job makes.

    Parameters
    ----------
    experiment : Experiment
    jobs : iterable of Job
        From `helpers.runs.plan.plan`.

    Returns
    -------
    Findings
        Nothing is raised: movies that are wrong need not stop the others.
    """
    jobs = list(jobs)
    found = Findings()
    stacks: list[Stack] = []
    for job in jobs:
        _look_for_pairs(experiment, job.parameters, found)
        if isinstance(job.parameters, Pairs) and job.parameters.raw_dir:
            stacks = _look_at_pairs(experiment, job.parameters, found) or stacks
    looked: list[MovieInputs] = []
    for row, movie in enumerate(experiment.movies):
        steps = {job.step: job.parameters for job in jobs if job.movie_id == movie["movie_id"]}
        inputs = MovieInputs(experiment, row, steps).look()
        if stacks and Segment.step in steps:
            _compare(movie["movie_id"], inputs, steps[Segment.step], stacks[0], experiment, found)  # type: ignore[arg-type]
        if inputs.mistakes.found:
            found.movies[movie["movie_id"]] = inputs.mistakes
        looked.append(inputs)
    for job in jobs:
        if isinstance(job.parameters, TrainDenoiser):
            _look_at_denoising(experiment, job.parameters, looked, found)
        elif job.movie_id is None and not isinstance(job.parameters, Pairs):
            _look_at_paths(experiment, job.parameters, found)
        if isinstance(job.parameters, CompareConditions):
            _look_at_conditions(experiment, job.parameters, jobs, found)
    return found


def not_made(jobs: Sequence[Job]) -> Iterator[tuple[Job, Path]]:
    """Yield what jobs read that is not there, and that none of them makes; what a parameter names by itself is left out."""
    made = {path for job in jobs for path in job.parameters.outputs()}
    patterns: dict[Path, list[str]] = {}  # by their folder: a * stands in names only
    for path in made:
        if "*" in path.name:
            patterns.setdefault(path.parent, []).append(path.name)
    for job in jobs:
        values = [value for _, value in job.parameters]
        named = [path for value in values for path in (value if isinstance(value, list) else [value])]
        for path in job.parameters.inputs():
            if path in named or "*" in str(path) or path.exists():
                continue
            if made.isdisjoint((path, *path.parents)) and not any(
                map(path.match, patterns.get(path.parent, ()))
            ):
                yield job, path


def look_before(experiment: Experiment, jobs: Iterable[Job]) -> Findings:
    """Look as `look_at_inputs` does, and for networks, labels and tables that steps read and no step makes.

    For a dry run and ``status``: a run does what can be done, and the job that lacks something says so.
    """
    jobs = list(jobs)
    found = look_at_inputs(experiment, jobs)
    for job, path in not_made(jobs):
        mistakes = found.whole if job.movie_id is None else found.movies.setdefault(job.movie_id, Mistakes())
        makers = path.is_relative_to(job.parameters.run_dir)
        why = f"no step that is to run makes it{hint(path)}" if makers else "there is no such file or folder"
        expected = f"{job.step} reads it, and {why}"
        mistakes.add(str(path), "missing", expected)
    return found


def _look_for_pairs(experiment: Experiment, p: Parameters, found: Findings) -> None:
    """Note that a step makes a training set, and no pairs are named, or curated runs that are not there."""
    own = isinstance(p, TrainSegmentation) and p.create_npz
    pairs = Pairs(raw_dir=p.raw_dir, label_dir=p.label_dir) if own else p  # type: ignore[attr-defined]
    if not own and not isinstance(pairs, CreateDataset):
        return
    try:
        pairs.require_pairs()  # type: ignore[attr-defined]
    except InputError as error:
        expected = f"{error.expected}: pairs: {{raw_dir: …, label_dir: …}} in {experiment.path.name}"
        found.whole.add(_where(experiment, p, error.name), None, expected)
    for run in getattr(pairs, "curated_runs", ()):
        if not run.is_dir():
            found.whole.add(_where(experiment, p, "curated_runs"), str(run), "there is no such folder")


def _look_at_paths(experiment: Experiment, p: Parameters, found: Findings) -> None:
    """Note files and folders that a step names and that are not there."""
    for name, path in p:
        if isinstance(path, Path) and name != "run_dir" and not path.exists():
            kind = "folder" if name.endswith("_dir") else "file or folder"
            found.whole.add(_where(experiment, p, name), str(path), f"there is no such {kind}")


def _where(experiment: Experiment, p: Parameters, name: str) -> str:
    given = name in experiment.pairs and name not in experiment.steps[p.step]
    return experiment.where_pairs(name) if given else experiment.where("steps", p.step, name)


def _look_at_conditions(
    experiment: Experiment, p: CompareConditions, jobs: Sequence[Job], found: Findings
) -> None:
    """Look at the movies of notebook 16_compare_conditions and their conditions, and say which have none while others do."""
    if p.cohort and p.cohort.is_file():
        try:
            movies = read_table(p.cohort, "cohort", dtype=str)
        except InputError as error:
            found.whole.include(error)
            return
        missing = [name for name in ("run_dir", "movie_id", "condition") if name not in movies]
        if missing:
            where = experiment.where("steps", p.step, "cohort")
            found.whole.add(where, str(p.cohort), f"a table with the columns {', '.join(missing)} too")
    analysed = {job.movie_id for job in jobs if job.parameters.name in CompareConditions.reads}
    for movie in () if p.cohort else sorted({*p.conditions} - analysed):
        if not any(p.path("movies", movie, "analysis").glob("*_tracklets.csv")):
            expected = "is not analysed: turn on one of the analyses, such as analyze_migration, or leave the movie out"
            found.whole.add(experiment.where("steps", p.step, "conditions"), movie, expected)
    blank = [row["movie_id"] for row in experiment.movies if "condition" not in row]
    own = p.cohort or experiment.steps[p.step].get("conditions")
    if not own and 0 < len(blank) < len(experiment.movies):
        found.remarks.append(f"{', '.join(blank)}: no condition is given; {p.step} calls it 'all'")


def _look_at_pairs(experiment: Experiment, p: Pairs, found: Findings) -> list[Stack]:
    """Open all pairs, one by one, so that every wrong one is named; then see whether they go together."""
    from helpers.runs.steps.dataset import find_pairs

    for name in ("raw_dir", "label_dir", "binary_dir", "annotation_dir"):
        folder = getattr(p, name)
        if folder is not None and not folder.exists():
            found.whole.add(_where(experiment, p, name), str(folder), "there is no such folder")
    if found.whole.found:
        return []
    settings = {"voxel_size": p.voxel_size_um, "dataset": p.dataset_key, "boundary_width": 0.0}
    settings |= {"unannotated": p.unannotated, "background_label": p.background_label}
    before = len(found.whole.found)
    stacks: list[Stack] = []
    unknown: list[str] = []
    try:
        # Curated frames are written out when they are learned from.
        pairs = find_pairs(p.model_copy(update={"curated_runs": []}) if isinstance(p, CreateDataset) else p)
    except InputError as error:
        found.whole.include(error)
        return []
    for pair in pairs:
        try:
            stacks += open_stacks([pair], **settings)  # type: ignore[arg-type]
        except InputError as error:
            if error.name == "voxel_size":
                unknown.append(pair.name or stem(Path(str(pair.raw))))
            else:
                found.whole.include(error)
    if unknown:
        others = f" and {len(unknown) - 5} others" if len(unknown) > 5 else ""
        expected = f"{', '.join(unknown[:5])}{others} do not say it: write voxel_size_um, [z, y, x] in µm, at the top of {experiment.path.name}"
        found.whole.add("voxel_size_um of the pairs", None, expected)
    if len(found.whole.found) > before:
        return []
    try:
        stacks = open_stacks(pairs, **settings)  # type: ignore[arg-type]
        if isinstance(p, CreateDataset):
            check_patch_size(p.patch_size, stacks, p.network_depth)
    except InputError as error:
        place = _where(experiment, p, "patch_size") if error.name == "patch_size" else error.name
        found.whole.add(place, error.value, error.expected)
        return []
    return stacks


def _compare(
    name: str, inputs: MovieInputs, p: Segment, stack: Stack, experiment: Experiment, found: Findings
) -> None:
    """Compare a movie with what its networks learn from."""
    movie = inputs.raw
    if movie is None or p.labels:
        return
    if movie.is_2d and not stack.is_2d:
        inputs.mistakes.add(
            experiment.where_movie(inputs.row, "movie"),
            str(movie.path),
            "is 2D, and the training pairs are 3D",
        )
    elif stack.is_2d and not movie.is_2d and not p.slice_wise:
        inputs.mistakes.add(
            experiment.where_movie(inputs.row, "movie"),
            str(movie.path),
            "is 3D, and the training pairs are 2D: set slice_wise to true, or train on 3D pairs",
        )
    elif not p.resample_to_training and (
        remark := voxel_remark(p.voxel_size_um or movie.voxel_size, stack.voxel_size)
    ):
        found.remarks.append(f"{name}: {remark}")


def voxel_remark(size: Sequence[float] | None, trained: Sequence[float] | None) -> str:
    """Say that voxels are far from those that networks learnt from; nothing where they are near, or either is unknown.

    Parameters
    ----------
    size, trained : sequence of float or None
        (z, y, x) or (y, x) in µm, of the movie and of the training set.
    """
    if size is None or trained is None:
        return ""
    n = min(len(size), len(trained))
    ours, theirs = np.array(size[-n:], float), np.array(trained[-n:], float)
    if (np.maximum(ours / theirs, theirs / ours) <= 1 + VOXEL_TOLERANCE).all():
        return ""
    return (
        f"its voxels are {_text(ours)} µm, those that the networks learn from {_text(theirs)}: cells look of another "
        "size to them; resample_to_training shows them the movie at the size they know"
    )


def _text(size: np.ndarray) -> str:
    return " × ".join(f"{n:g}" for n in size)


def _look_at_denoising(
    experiment: Experiment, p: TrainDenoiser, movies: list[MovieInputs], found: Findings
) -> None:
    for path in p.raw_paths:
        known = next((m.raw for m in movies if m.raw is not None and m.raw.path == path), None)
        row = next((m.row for m in movies if experiment.movies[m.row]["movie"] == str(path)), None)
        if known is None and row is not None and movies[row].mistakes.found:
            continue  # told with its movie
        try:
            known = known or Movie.open(path, dataset=p.dataset_key, missing_frames="empty")
        except InputError as error:
            own = experiment.where("steps", p.step, "raw_paths")
            place = own if row is None else experiment.where_movie(row, "movie")
            found.whole.add(place, str(path), error.expected)
            continue
        spatial = known.shape[3:] if known.is_2d else known.shape[2:]
        if len(p.patch_size) != len(spatial) or any(
            n > have for n, have in zip(p.patch_size, spatial, strict=True)
        ):
            found.whole.add(
                experiment.where("steps", p.step, "patch_size"),
                list(p.patch_size),
                f"{len(spatial)} numbers, no larger than {path.name}, {spatial}",
            )
