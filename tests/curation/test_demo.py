"""On the demo's movie: suspects point at the true errors, ten corrections make the scores better, and analyses use them.

``demo_labels.npz`` is what the demo's networks (trained by notebook 04_train_segmentation with `data_manifests/demo.yaml`) and the fusion made of the
demo's movie, with F1 0.95 at IoU 0.5 (probability 0.5, foreground 0.95, as two of its frames wanted): labels
(T, Z, Y, X). They are kept, so that this test needs no training; tracks and
truth are made here, with the settings of the same file.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from helpers.analysis.spectrum import measure_spectra
from helpers.curation import Cell, Curation, Stroke
from helpers.curation.files import bring_up_to_date, read_state
from helpers.curation.suspects import find_suspects
from helpers.curation.suspects.signs import Cells
from helpers.curation.tables import curated_tracks
from helpers.data.label_movies import LabelMovie
from helpers.data.synthetic.movie import SyntheticMovie, SyntheticSettings, make_movie
from helpers.runs.parameters import AnalyzeBoundaryDistance, AnalyzeIntensitySpectrum, AnalyzeMigration
from helpers.runs.run import Run
from helpers.runs.steps import boundary, migration, spectrum
from helpers.runs.steps.tracked import open_tracks
from helpers.tracking import scores
from helpers.tracking.formats import table
from helpers.tracking.objects import measure
from helpers.tracking.overlap import link_overlap
from helpers.tracking.tracks import Tracks
from tests.curation.true_errors import pointed_at, true_errors

DEMO = yaml.safe_load((Path(__file__).parents[2] / "data_manifests" / "demo.yaml").read_text())


@pytest.fixture(scope="module")
def truth() -> SyntheticMovie:
    settings = {k: v for k, v in DEMO["prepare"]["synthetic"].items() if k != "n_stacks"}
    return make_movie(SyntheticSettings(**settings))


@pytest.fixture(scope="module")
def true_tracks(truth: SyntheticMovie) -> Tracks:
    return Tracks(truth.objects, truth.links, truth.voxel_size, truth.frame_interval)


@pytest.fixture
def folder(truth: SyntheticMovie, tmp_path: Path) -> Path:
    """The automatic result, tracked as the demo says."""
    labels = np.load(Path(__file__).with_name("demo_labels.npz"))["labels"].astype(np.int32)
    movie = LabelMovie.create(
        tmp_path / "movies" / "movie" / "labels.zarr",
        labels.shape,
        voxel_size=truth.voxel_size,
        frame_interval=60.0,
    )
    tables = []
    for t, frame in enumerate(labels):
        movie.write_frame(t, frame)
        tables.append(
            measure(
                frame, np.asarray(truth.raw[t]).reshape(frame.shape), voxel_size=truth.voxel_size, frame=t
            )
        )
    objects = pd.concat(tables, ignore_index=True).assign(id=lambda made: np.arange(len(made)))
    # Not the demo's tracker, which makes hardly an error: there would be nothing to point at.
    tracks = link_overlap(movie, voxel_size=truth.voxel_size, min_iou=0.2, objects=objects)
    table.write(tracks, tmp_path / "movies" / "movie" / "tracks.csv")
    return tmp_path / "movies" / "movie"


@pytest.mark.slow
def test_the_first_thirty_suspects_hold_four_fifths_of_the_true_errors(
    folder: Path, truth: SyntheticMovie, true_tracks: Tracks
) -> None:
    with Curation(folder) as curation:
        state = curation.state
        tracks = state.automatic.tracks
        errors = true_errors(tracks, true_tracks, state.labels, list(truth.labels))
        suspects = find_suspects(state)
        diameter = Cells(tracks, state.shape, truth.voxel_size).diameter
    assert len(errors) > 50
    assert pointed_at(errors, suspects.head(30), diameter).mean() >= 0.8
    by_chance = [
        pointed_at(errors, tracks.objects.sample(30, random_state=seed), diameter).mean()
        for seed in range(20)
    ]
    assert np.mean(by_chance) < 0.4, "places at random do not do it"


@pytest.mark.slow
def test_ten_corrections_raise_tra_and_division_f1_and_analyses_use_them(
    folder: Path, truth: SyntheticMovie, true_tracks: Tracks
) -> None:
    true_labels = [np.asarray(frame).reshape(truth.labels[0].shape) for frame in truth.labels]
    with Curation(folder, "ann") as curation:
        state = curation.state
        before = scores.score(state.automatic.tracks, true_tracks, state.labels, true_labels)
        errors = true_errors(state.automatic.tracks, true_tracks, state.labels, true_labels)
        _remove_false_divisions(curation, true_tracks, true_labels, at_most=5)
        _draw_missed_cells(curation, errors, true_labels, 10 - len(state.done))
        assert len(state.done) == 10
        after = scores.score(curated_tracks(state), true_tracks, state.labels, true_labels)
        drawn = {i for e in state.done if e.operation == "paint" for i in [e.changes.cells[0].after]}
    assert after["tra"] > before["tra"] and after["division_f1"] > before["division_f1"]
    result = bring_up_to_date(folder)
    ids = set(table.read(result.tracks).objects["id"])
    assert ids == set(read_state(folder).graph.cell_of) > drawn and len(drawn) >= 5
    analysed = _analysed(folder.parent.parent)
    assert len(analysed) == 3
    for step, (objects, said) in analysed.items():
        assert objects == ids, step
        assert (said["tracks"], said["edits"], said["authors"]) == ("curated", 10, ["ann"]), step


def _analysed(run_dir: Path) -> dict[str, tuple[set[int], dict]]:
    """Do what notebooks 13_analyze_boundary_distance to 15_analyze_migration do; return for each the ids in its tables, and what done.json says of the tracks."""
    given = {"run_dir": run_dir, "movie_id": "movie", "frame_interval_s": 60.0}
    found = {}
    for kind, more in ((AnalyzeBoundaryDistance, {}), (AnalyzeIntensitySpectrum, {"n_permutations": 99}), (AnalyzeMigration, {})):  # fmt: skip
        p = kind.checked(given | more)
        run = Run.start(p)
        tracks = open_tracks(p)
        objects = tracks.objects
        if isinstance(p, AnalyzeBoundaryDistance):
            objects, _ = boundary.measure(p, tracks, boundary.open_boundary(p, tracks)[0])
        elif isinstance(p, AnalyzeMigration):
            objects, _ = migration.measure(p, tracks, None)
        else:
            objects = spectrum.measured_intensity(p, tracks).objects
            measure_spectra(tracks, spectrum.settings_of(p))
        done = run.finish()
        found[p.step] = (set(objects["id"]), done["provenance"])
    return found


def _remove_false_divisions(curation: Curation, true_tracks: Tracks, true_labels: list, at_most: int) -> None:
    state = curation.state
    tracks = state.automatic.tracks
    matching = scores.match_objects(tracks, true_tracks, state.labels, true_labels)
    wrong = scores.wrong_links(tracks, true_tracks, matching)
    for mother in wrong.loc[wrong["kind"] == "false division", "source"].head(at_most):
        keep = max(state.graph.targets[mother], key=lambda i: (_size(state, i), -i))
        curation.do("remove_division", mother=state.cell(mother), keep=state.cell(keep))


def _size(state, i: int) -> int:
    t, label = state.graph.cell_of[i]
    return int((state.labels.frame(t) == label).sum())


def _draw_missed_cells(curation: Curation, errors: pd.DataFrame, true_labels: list, n: int) -> None:
    """Draw cells that the truth has and the result has not, as a person would."""
    size = np.array(curation.state.automatic.voxel_size)
    for row in errors[errors["kind"] == "missed cell"].head(n).itertuples():
        at = np.rint(np.array([row.z, row.y, row.x]) / size).astype(int)
        frame = true_labels[row.frame]
        mask = frame == frame[tuple(at)]
        state = curation.state
        curation.do("paint", stroke=Stroke.of_mask(row.frame, mask))
        assert Cell(row.frame, state.highest_label).key in state.graph.id_at
