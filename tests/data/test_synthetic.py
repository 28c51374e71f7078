"""The synthetic movies: is what they call true really true of their arrays?"""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pandas as pd
import pytest
from scipy.ndimage import distance_transform_edt, find_objects
from skimage.measure import label as components

from helpers.data.movies import Movie
from helpers.data.synthetic.lineage import MIN_LIFE, grow_lineage
from helpers.data.synthetic.movie import (
    Generator,
    SyntheticMovie,
    SyntheticSettings,
    boundary_distance,
    make_movie,
    make_pairs,
    save_pairs,
)
from helpers.data.synthetic.shapes import keep_whole
from helpers.errors import InputError

SMALL = {
    "shape": (16, 72, 72),
    "voxel_size": (1.6, 0.7, 0.7),
    "n_cells": 16,
    "n_frames": 14,
    "division_rate": 0.03,
    "seed": 4,
}


@pytest.fixture(scope="module")
def movie() -> SyntheticMovie:
    return make_movie(SyntheticSettings(**SMALL))


@pytest.fixture(scope="module")
def plane() -> SyntheticMovie:
    return make_movie(
        SyntheticSettings(
            shape=(1, 120, 140), n_cells=25, n_frames=24, division_rate=0.01, rhythm_periods=(2.6, 6), seed=2
        )
    )


# ------------------------------------------------------------------------------------------- arrays


@pytest.mark.slow
def test_arrays_have_the_promised_shapes_and_types(movie: SyntheticMovie) -> None:
    expected = {"raw": np.uint16, "clean": np.float32, "labels": np.int32, "tissue": np.bool_}
    for name, dtype in expected.items():
        array = getattr(movie, name)
        assert array.shape == (14, 16, 72, 72)
        assert array.dtype == dtype
    assert movie.voxel_size == (1.6, 0.7, 0.7)
    assert movie.frame_interval == 60.0


@pytest.mark.slow
def test_the_same_seed_gives_identical_movies_and_another_seed_does_not(movie: SyntheticMovie) -> None:
    again = make_movie(SyntheticSettings(**SMALL))
    for name in ("raw", "clean", "labels", "tissue"):
        assert np.array_equal(getattr(movie, name), getattr(again, name))
    for name in ("cells", "objects", "links"):
        pd.testing.assert_frame_equal(getattr(movie, name), getattr(again, name))
    other = next(iter(Generator(SyntheticSettings(**{**SMALL, "seed": 5}))))
    assert not np.array_equal(movie.labels[0], other.labels)


def test_noise_settings_change_the_picture_but_not_the_cells(movie: SyntheticMovie) -> None:
    noisy = next(iter(Generator(SyntheticSettings(**SMALL, photons=10.0, read_noise=9.0))))
    assert np.array_equal(movie.labels[0], noisy.labels)
    assert not np.array_equal(movie.raw[0], noisy.raw)


def test_noise_is_that_of_photons_and_camera(movie: SyntheticMovie) -> None:
    residual = movie.raw.astype(float) - movie.clean
    bright = movie.clean > np.percentile(movie.clean, 90)
    # Gain 2 counts a photon: variance = 2 × signal + read noise².
    expected = 2 * (movie.clean[bright] - 20).mean() + movie.settings.read_noise**2
    assert residual[bright].var() == pytest.approx(expected, rel=0.05)
    assert abs(residual.mean()) < 0.1


# ------------------------------------------------------------------------------------------- cells


def test_every_cell_is_one_piece_in_every_frame(movie: SyntheticMovie) -> None:
    for labels in movie.labels:
        n_cells = len(np.unique(labels)) - 1
        assert components(labels, background=0, connectivity=1).max() == n_cells


def test_keep_whole_gives_fragments_to_their_neighbours() -> None:
    labels = np.array([[1, 1, 2, 2, 0], [1, 1, 2, 1, 0], [1, 1, 2, 2, 0]])
    whole, moved = keep_whole(labels)
    assert whole.tolist() == [[1, 1, 2, 2, 0], [1, 1, 2, 2, 0], [1, 1, 2, 2, 0]]
    assert np.argwhere(moved).tolist() == [[1, 3]]


def test_cells_fill_the_tissue_which_never_touches_the_image_border(movie: SyntheticMovie) -> None:
    assert np.array_equal(movie.labels > 0, movie.tissue)
    for axis in (1, 2, 3):
        assert not np.take(movie.tissue, [0, -1], axis=axis).any()
    for tissue in movie.tissue:
        assert components(tissue, connectivity=1).max() == 1


def test_no_cell_is_tiny_and_sizes_stay_plausible(movie: SyntheticMovie) -> None:
    volumes = movie.objects["volume_um3"]
    assert volumes.min() > 0.45 * volumes.mean()
    assert volumes.max() < 2.2 * volumes.mean()


@pytest.mark.slow
def test_a_good_share_of_the_cells_is_not_star_convex() -> None:
    bent, plain = (
        np.mean(
            [
                share > 0.02
                for frame in make_pairs(SyntheticSettings(irregularity=irregularity), 2)
                for share in _hidden_shares(frame.labels, (1.5, 0.5, 0.5))
            ]
        )
        for irregularity in (1.0, 0.0)
    )
    assert bent >= 0.33  # even seen from each cell's innermost voxel
    assert plain <= 0.05


def _hidden_shares(labels: np.ndarray, voxel_size: tuple[float, float, float]) -> list[float]:
    """Of each cell: the share of its voxels that its innermost voxel sees only through another cell.

    A line of sight may leave the cell by one voxel in the plane, or every staircase would hide something.
    """
    shares = []
    for i, box in enumerate(find_objects(labels), 1):
        if box is None:
            continue
        mask = np.pad(labels[box] == i, 3)
        depth = np.asarray(distance_transform_edt(mask, sampling=voxel_size))
        outside = np.asarray(distance_transform_edt(~mask, sampling=voxel_size))
        centre = np.array(np.unravel_index(depth.argmax(), depth.shape))
        voxels = np.argwhere(mask)[::3]
        sights = centre + (voxels - centre) * np.linspace(0, 1, 48)[:, None, None]
        passed = outside[tuple(np.rint(sights).astype(int).transpose(2, 0, 1))]
        shares.append(float((passed > 1.01 * voxel_size[-1]).any(axis=0).mean()))
    return shares


def test_cells_are_equally_wide_in_um_along_all_axes() -> None:
    """In voxels they are flatter along z: the anisotropy is that of the voxels, not of the cells."""
    settings = SyntheticSettings(
        shape=(20, 100, 100), voxel_size=(2.0, 0.5, 0.5), n_cells=30, n_frames=1, division_rate=0
    )
    labels = make_movie(settings).labels[0]
    extents = np.array([[s.stop - s.start for s in box] for box in find_objects(labels) if box])
    wide = (extents * settings.voxel_size).mean(axis=0)
    assert wide[0] == pytest.approx(wide[1:].mean(), rel=0.2)
    assert extents[:, 0].mean() < 0.35 * extents[:, 2].mean()


# ----------------------------------------------------------------------------------------- lineage


def test_labels_are_the_cells_alive_for_all_their_life(movie: SyntheticMovie) -> None:
    for t, labels in enumerate(movie.labels):
        alive = movie.cells[movie.cells["first_frame"].le(t) & movie.cells["last_frame"].ge(t)]["id"]
        assert set(np.unique(labels)) - {0} == set(alive)
    for cell in movie.cells.itertuples():
        for t in range(cell.first_frame, cell.last_frame):
            now, then = movie.labels[t] == cell.id, movie.labels[t + 1] == cell.id
            assert (now & then).sum() / (now | then).sum() > 0.3


def test_divisions_are_as_many_as_asked_and_daughters_replace_their_mother(movie: SyntheticMovie) -> None:
    cells = movie.cells.set_index("id")
    mothers = cells[cells["divides"]]
    assert len(mothers) == round(0.03 * 16 * 13)
    assert (cells.query("parent == 0")["first_frame"] == 0).all()
    for mother, row in mothers.iterrows():
        daughters = cells[cells["parent"] == mother]
        assert len(daughters) == 2
        born = row["last_frame"] + 1
        assert (daughters["first_frame"] == born).all()
        assert (daughters["generation"] == row["generation"] + 1).all()
        both = np.isin(movie.labels[born], daughters.index)
        before = movie.labels[row["last_frame"]] == mother
        assert (both & before).sum() / (both | before).sum() > 0.5
        sizes = [(movie.labels[born] == d).sum() for d in daughters.index]
        assert min(sizes) > 0.5 * max(sizes)
    assert set(cells["parent"]) - {0} == set(mothers.index)
    assert (cells.loc[~cells["divides"], "last_frame"] == 13).all()


def test_links_are_the_lineage(movie: SyntheticMovie) -> None:
    objects = movie.objects.set_index("id")
    parent = dict(zip(movie.cells["id"], movie.cells["parent"], strict=True))
    source, target = objects.loc[movie.links["source"]], objects.loc[movie.links["target"]]
    assert (target["frame"].to_numpy() - source["frame"].to_numpy() == 1).all()
    for before, after in zip(source["label"], target["label"], strict=True):
        assert before in (after, parent[after])
    founders = (movie.cells["parent"] == 0).sum()
    assert len(movie.links) == len(movie.objects) - founders
    assert movie.links["target"].is_unique
    assert movie.links["source"].value_counts().max() == 2


def test_daughters_may_divide_again_but_not_at_once() -> None:
    lineage = grow_lineage(2, 40, 0.15, np.random.default_rng(0))
    assert max(cell.generation for cell in lineage.values()) >= 2
    for cell in lineage.values():
        if cell.parent and cell.daughters:
            assert cell.last_frame + 1 - cell.first_frame >= MIN_LIFE


def test_objects_are_measured_on_the_labels(movie: SyntheticMovie) -> None:
    row = movie.objects[movie.objects["frame"] == 9].iloc[3]
    voxels = np.argwhere(movie.labels[9] == row["label"])
    assert row[["z", "y", "x"]].to_numpy(float) == pytest.approx(voxels.mean(axis=0) * movie.voxel_size)
    assert row["volume_um3"] == pytest.approx(len(voxels) * 1.6 * 0.7 * 0.7)
    values = movie.clean[9][tuple(voxels.T)].astype(float)
    assert row["intensity_sum"] == pytest.approx(values.sum())
    assert row["intensity_mean"] == pytest.approx(values.mean())
    assert movie.objects["id"].tolist() == list(range(len(movie.objects)))


def test_cells_move_when_asked_and_can_be_followed(movie: SyntheticMovie) -> None:
    assert _steps(movie).max() < 0.5
    # Convex cells that do not divide: what is left is the motion.
    plain = {**SMALL, "n_frames": 4, "division_rate": 0.0, "irregularity": 0.0}
    rest, fast = (
        np.sqrt((_steps(make_movie(SyntheticSettings(**plain, speed=speed))) ** 2).mean())
        for speed in (0.0, 0.25)
    )
    assert rest < 0.03
    assert fast > max(0.06, 2 * rest)


def _steps(movie: SyntheticMovie) -> np.ndarray:
    """Steps of the cells (divisions left out) in mean cell diameters."""
    objects = movie.objects.set_index("id")
    source, target = objects.loc[movie.links["source"]], objects.loc[movie.links["target"]]
    same = source["label"].to_numpy() == target["label"].to_numpy()
    step = target[["z", "y", "x"]].to_numpy() - source[["z", "y", "x"]].to_numpy()
    diameter = (objects["volume_um3"].mean() * 6 / np.pi) ** (1 / 3)
    return np.linalg.norm(step[same], axis=1) / diameter


# ---------------------------------------------------------------------------------------- distance


def test_distance_equals_brute_force(movie: SyntheticMovie) -> None:
    size = np.array(movie.voxel_size)
    background = np.argwhere(~movie.tissue[6]) * size
    rows = movie.objects[movie.objects["frame"] == 6]
    for row in rows.itertuples():
        nearest = np.linalg.norm(background - [row.z, row.y, row.x], axis=1).min()
        assert row.distance_um == pytest.approx(nearest, abs=0.25)  # the field is interpolated linearly


def test_distance_is_signed_and_in_um() -> None:
    tissue = np.zeros((9, 20, 20), bool)
    tissue[3:6, 5:15, 5:15] = True
    points = np.array([[4, 10, 10], [4, 6, 10], [4, 18, 10], [0, 10, 10]], float)
    # five rows, two rows (of 0.5 µm), then outside: four rows, three slices (of 2 µm)
    assert boundary_distance(tissue, points, (2.0, 0.5, 0.5)) == pytest.approx([2.5, 1.0, -2.0, -6.0])


def test_distance_agrees_with_the_smooth_surface(movie: SyntheticMovie) -> None:
    """The mask is the sampled picture of a smooth body; what is called true must be true of the body too."""
    body = Generator(movie.settings)._tissue
    rows = movie.objects[movie.objects["frame"] == 13]  # the tissue has its full size
    directions = np.random.default_rng(0).normal(size=(60000, 3))
    inner, outer = np.zeros(len(directions)), np.full(len(directions), 60.0)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    for _ in range(25):
        middle = (inner + outer) / 2
        inside = body.level(body.centre + middle[:, None] * directions) > 0
        inner, outer = np.where(inside, middle, inner), np.where(inside, outer, middle)
    surface = body.centre + inner[:, None] * directions
    true = [np.linalg.norm(surface - row, axis=1).min() for row in rows[["z", "y", "x"]].to_numpy()]
    assert np.median(np.abs(rows["distance_um"] - true)) < 0.35  # half a voxel in the plane


# ----------------------------------------------------------------------------------------- rhythms


def test_frequencies_are_recovered_from_the_intensity(plane: SyntheticMovie) -> None:
    found = long_enough = 0
    for cell in plane.cells.itertuples():
        rows = plane.objects[plane.objects["label"] == cell.id]
        duration = len(rows) * plane.frame_interval
        if duration * cell.frequency_hz < 3:
            continue
        long_enough += 1
        found += abs(_peak(rows["intensity_mean"].to_numpy(), 60.0) - cell.frequency_hz) <= 1 / duration
    assert long_enough >= 15
    assert found >= 0.95 * long_enough


def _peak(values: np.ndarray, interval: float) -> float:
    time = np.arange(len(values))
    values = values - np.polyval(np.polyfit(time, values, 1), time)
    power = np.abs(np.fft.rfft(values * np.hanning(len(values) + 2)[1:-1], 8 * len(values)))
    return np.fft.rfftfreq(8 * len(values), interval)[power.argmax()]


def test_the_rhythm_is_the_sinusoid_of_the_table(plane: SyntheticMovie) -> None:
    cell = plane.cells.iloc[0]
    rows = plane.objects[plane.objects["label"] == cell["id"]]
    angle = 2 * np.pi * cell["frequency_hz"] * rows["frame"] * 60.0 + cell["phase_rad"]
    assert rows["modulation"].to_numpy() == pytest.approx(1 + cell["amplitude"] * np.sin(angle).to_numpy())
    assert np.corrcoef(rows["modulation"], rows["intensity_mean"])[0, 1] > 0.9


def test_rhythms_switched_off_leave_the_intensity_steady(plane: SyntheticMovie) -> None:
    off = make_movie(SyntheticSettings(**{**_given(plane.settings), "rhythm_amplitude": 0.0}))
    assert (off.objects["modulation"] == 1).all()
    assert not off.cells["rhythmic"].any()
    assert off.cells["frequency_hz"].isna().all()
    spread = [
        (rows["intensity_mean"].std() / rows["intensity_mean"].mean())
        for movie in (plane, off)
        for _, rows in movie.objects[movie.objects["label"] == 1].groupby("label")
    ]
    assert spread[1] < 0.4 * spread[0]


def test_cells_without_rhythm_have_white_noise(plane: SyntheticMovie) -> None:
    white = make_movie(SyntheticSettings(**{**_given(plane.settings), "rhythmic_fraction": 0.0}))
    assert not white.cells["rhythmic"].any()
    table = white.objects.pivot(index="frame", columns="label", values="modulation").dropna(axis=1)
    assert table.to_numpy().std() == pytest.approx(0.5 / np.sqrt(2), rel=0.1)
    series = table.to_numpy() - table.to_numpy().mean(axis=0)
    assert abs((series[1:] * series[:-1]).sum() / (series**2).sum()) < 0.12
    half = Generator(SyntheticSettings(**{**_given(plane.settings), "rhythmic_fraction": 0.5}))
    assert half.cells["rhythmic"].sum() == round(len(half.cells) / 2)


def _given(settings: SyntheticSettings) -> dict[str, object]:
    return {f.name: getattr(settings, f.name) for f in fields(settings)}


# ------------------------------------------------------------------------------- 2D, small, on disk


def test_2d_is_one_plane_of_whole_cells(plane: SyntheticMovie) -> None:
    assert plane.raw.shape == (24, 1, 120, 140)
    assert (plane.objects["z"] == 0).all()
    assert "area_um2" in plane.objects
    assert "volume_um3" not in plane.objects
    for labels in plane.labels:
        assert components(labels, background=0, connectivity=1).max() == len(np.unique(labels)) - 1
    row = plane.objects.iloc[0]
    rim = np.argwhere(~plane.tissue[0, 0]) * 0.5
    nearest = np.linalg.norm(rim - [row["y"], row["x"]], axis=1).min()
    assert row["distance_um"] == pytest.approx(nearest, abs=0.1)


@pytest.mark.parametrize("shape", [(12, 48, 48), (1, 48, 48)])
def test_one_cell_in_one_frame(shape: tuple[int, int, int]) -> None:
    movie = make_movie(SyntheticSettings(shape=shape, n_cells=1, n_frames=1, voxel_size=(2, 1, 1)))
    assert np.unique(movie.labels).tolist() == [0, 1]
    assert len(movie.objects) == 1
    assert movie.links.columns.tolist() == ["source", "target", "cost"]
    assert movie.links.empty


def test_membranes_are_brighter_than_cytoplasm_and_background_is_dark(movie: SyntheticMovie) -> None:
    middle, labels = movie.clean[0, 8] - 20, movie.labels[0, 8]
    edge = np.zeros_like(labels, bool)
    edge[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    edge[1:] |= labels[1:] != labels[:-1]
    inside = np.asarray(distance_transform_edt(~edge)) > 3
    assert middle[edge].mean() > 2 * middle[inside & (labels > 0)].mean()
    assert middle[inside & (labels > 0)].mean() > 1.5 * middle[inside & (labels == 0)].mean()


def test_saved_movies_read_back(movie: SyntheticMovie, tmp_path) -> None:
    movie.save(tmp_path / "made")
    for name, array in {"raw": movie.raw, "labels": movie.labels, "tissue": movie.tissue}.items():
        read = Movie.open(tmp_path / "made" / f"{name}.ome.tif")
        assert read.shape == (14, 1, 16, 72, 72)
        assert read.voxel_size == pytest.approx(movie.voxel_size)
        assert read.frame_interval == pytest.approx(60.0)
        assert np.array_equal(read.frame(5), array[5])
    cells = pd.read_csv(tmp_path / "made" / "cells.csv")
    assert cells["frequency_hz"].to_numpy() == pytest.approx(movie.cells["frequency_hz"].to_numpy())
    assert len(pd.read_csv(tmp_path / "made" / "objects.csv")) == len(movie.objects)
    assert len(pd.read_csv(tmp_path / "made" / "links.csv")) == len(movie.links)


def test_pairs_are_independent_stacks_and_have_partners(tmp_path) -> None:
    settings = SyntheticSettings(**SMALL)
    save_pairs(tmp_path, settings, 2)
    for k, frame in enumerate(make_pairs(settings, 2)):
        raw = Movie.open(tmp_path / "raw" / f"stack_{k:02d}.tif")
        labels = Movie.open(tmp_path / "label" / f"stack_{k:02d}.tif")
        assert raw.voxel_size == pytest.approx(settings.voxel_size)
        assert np.array_equal(raw.frame(0), frame.raw)
        assert np.array_equal(labels.frame(0), frame.labels)
    first, second = (frame.labels for frame in make_pairs(settings, 2))
    assert not np.array_equal(first, second)


# ------------------------------------------------------------------------------------------ errors


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("shape", (128, 128)),
        ("shape", (3, 128, 128)),
        ("shape", (16, 4, 64)),
        ("shape", (16.5, 64, 64)),
        ("shape", "small"),
        ("n_frames", 0),
        ("n_frames", 2.5),
        ("n_cells", 0),
        ("n_cells", True),
        ("seed", -1),
        ("voxel_size", None),
        ("voxel_size", (2.0, 0.0, 0.5)),
        ("voxel_size", (2.0, float("nan"), 0.5)),
        ("frame_interval", 0.0),
        ("speed", 0.9),
        ("photons", -1.0),
        ("rhythmic_fraction", 1.5),
        ("rhythm_amplitude", 1.0),
        ("rhythm_periods", (1.0, 4.0)),
        ("rhythm_periods", (6.0, 4.0)),
        ("haze", "much"),
    ],
)
def test_impossible_settings_are_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(InputError) as error:
        SyntheticSettings(**{name: value})
    assert error.value.name == name


def test_more_cells_than_fit_are_refused() -> None:
    with pytest.raises(InputError, match=r"n_cells = 5000: .* across"):
        make_movie(SyntheticSettings(shape=(8, 64, 64), n_cells=5000, n_frames=1))


def test_more_divisions_than_fit_are_refused() -> None:
    with pytest.raises(InputError, match=r"division_rate = 1\.0: .* do not fit into 4 frames"):
        grow_lineage(1, 4, 1.0, np.random.default_rng(0))


def test_no_stacks_are_refused() -> None:
    with pytest.raises(InputError, match="n_stacks = 0"):
        next(make_pairs(SyntheticSettings(), 0))
