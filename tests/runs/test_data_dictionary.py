"""The page of tables says of each column that is written what it means, and of no other."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from helpers.__main__ import main
from helpers.analysis.boundary import published_columns
from helpers.analysis.migration import TRACKLET_METRICS, split_by_movement, summarize
from helpers.analysis.spectrum import measure_spectra
from helpers.data.movies import LabelMovie, Movie
from helpers.data.synthetic.movie import SyntheticSettings, make_movie
from helpers.data.tables import write_table
from helpers.runs.data_dictionary import TABLES, dictionary
from helpers.runs.parameters import (
    AnalyzeBoundaryDistance,
    AnalyzeIntensitySpectrum,
    AnalyzeMigration,
    CompareConditions,
    Track,
)
from helpers.runs.steps import boundary, conditions, migration, spectrum
from helpers.runs.steps import tracking as tracks_of
from helpers.runs.steps.tracked import open_tracks, write_tables
from helpers.tracking.objects import measure
from tests.csv_digits import assert_six_digits

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with the tables of notebooks 06_segment, 10_track and 13_analyze_boundary_distance to 16_compare_conditions, of one small movie."""
    folder = tmp_path_factory.mktemp("run")
    look = SyntheticSettings(shape=(8, 40, 40), n_cells=5, n_frames=9, division_rate=0.03, irregularity=0.3, seed=5)  # fmt: skip
    made = make_movie(look)
    data = made.save(folder / "data" / "m")
    own = folder / "movies" / "m"
    labels = LabelMovie.create(
        own / "labels.zarr", made.labels.shape, voxel_size=made.voxel_size, frame_interval=60.0
    )
    raw, measured = Movie.open(data / "raw.ome.tif"), []
    for t in range(look.n_frames):
        labels.write_frame(t, made.labels[t])
        measured.append(measure(made.labels[t], raw.frame(t), voxel_size=made.voxel_size, frame=t))
    objects = pd.concat(measured, ignore_index=True)
    write_table(objects.assign(id=np.arange(len(objects))), own / "objects.csv")
    p = Track(run_dir=folder, movie_id="m", tracker="overlap", min_iou=0.2)
    cells, found, _ = tracks_of.track_movie(tracks_of.open_cells(p), p)
    tracks_of.write_all(found, cells, p)
    _analyse(folder, data)
    return folder


def _analyse(folder: Path, data: Path) -> None:
    given = {"run_dir": folder, "movie_id": "m"}
    p = AnalyzeBoundaryDistance.checked(
        {**given, "tissue_mask": data / "tissue.ome.tif", "nearest_voxel": True}
    )
    tracks = open_tracks(p)
    distances, tracklets = boundary.measure(p, tracks, boundary.open_boundary(p, tracks)[0])
    published = published_columns(tracks, distances)
    write_tables(p, {"boundary_objects": distances, "boundary_tracklets": tracklets, "boundary_published": published})  # fmt: skip
    q = AnalyzeIntensitySpectrum.checked({**given, "n_permutations": 99})
    spectra = measure_spectra(tracks, spectrum.settings_of(q))
    write_tables(q, {f"spectrum_{n}": getattr(spectra, n) for n in ("tracklets", "power", "series")})
    r = AnalyzeMigration.checked({**given, "neighbour_radius_um": 8.0, "min_track_frames": 4})
    regions, _ = migration.with_regions(r, tracks)
    steps, tracklets = migration.measure(r, tracks, regions)
    passing, failing = split_by_movement(tracklets, min_displacement=0.0, min_frames=4)
    divisions, rates = migration.measure_divisions(tracks, regions)
    tables = {
        "objects": steps,
        "tracklets": tracklets,
        "passing": passing,
        "failing": failing,
        "summary": summarize(passing, ["region", "generation"], list(TRACKLET_METRICS)),
        "divisions": divisions,
        "division_rates": rates,
    }
    named = {f"migration_{name}": table for name, table in tables.items()}
    write_tables(r, named | migration.measure_mean_squared_displacement(r, tracks, steps, tracklets))
    s = CompareConditions.checked({"run_dir": folder, "conditions": {"m": "all"}})
    conditions.write_comparisons(s, conditions.compare_conditions(s, conditions.open_cohort(s)))


def test_the_columns_that_are_written_are_those_of_the_page(run_dir: Path) -> None:
    written = {path.relative_to(run_dir).as_posix() for path in run_dir.rglob("*.csv")}
    known = {file: table for table in TABLES for file in written if Path(file).match(table.file)}
    assert written == set(known)
    assert len(known) >= 22
    for file, table in known.items():
        columns = set(pd.read_csv(run_dir / file, nrows=1))
        assert set(table.columns) <= columns, file
        assert columns <= {*table.columns, *table.sometimes}, file


def test_numbers_of_all_tables_have_six_significant_digits_at_most(run_dir: Path) -> None:
    assert_six_digits(run_dir)


def test_every_table_is_written_in_one_way() -> None:
    source = {
        path.relative_to(ROOT).as_posix(): path.read_text("utf-8")
        for path in (ROOT / "helpers").rglob("*.py")
    }
    assert {name for name, text in source.items() if ".to_csv(" in text} == {
        "helpers/data/tables.py",
        "helpers/tracking/formats/table.py",  # tracks, too, that are to be read again as they are
    }


def test_the_page_is_what_the_command_prints_and_explains_every_column(capsys) -> None:
    assert main(["columns"]) == 0
    assert capsys.readouterr().out == dictionary() == (ROOT / "TABLES.md").read_text(encoding="utf-8")
    for column in re.findall(r"^\| \*?`(\w+)`\*? \| (.*) \|$", dictionary(), re.MULTILINE):
        assert all(column)
