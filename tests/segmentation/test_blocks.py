"""Frames in blocks: the same cells as of the whole frame, whatever stops the work in between.

The networks here say what an image of blurred spots shows, voxel by voxel: its value is the probability, and all stars have one
size. Everything else (tiles, suppression, fusion, store, writing, measuring) is what a run uses.
"""

from __future__ import annotations

import errno
import importlib
import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from helpers.data.lazy import LazyStack
from helpers.data.movies import LabelMovie, Movie, write_movie
from helpers.data.normalization import percentile_range
from helpers.errors import InputError
from helpers.models.inference import iterate_tiles
from helpers.runs.parameters import Segment
from helpers.runs.segment_movie import segment_movie
from helpers.segmentation.blocks import fits_memory, segment_by_blocks
from helpers.segmentation.blocks.networks import run_networks
from helpers.segmentation.blocks.store import Store
from helpers.segmentation.blocks.tiling import cut, size_of
from helpers.segmentation.fusion import Rules
from helpers.segmentation.vollseg_segmenter import METHODS, VollSegSegmenter

pytestmark = pytest.mark.slow

RADIUS = 4.0
VOXELS = {2: (1.0, 0.5, 0.5), 3: (1.0, 0.5, 0.5)}
SHAPES = {2: (1, 90, 110), 3: (14, 90, 100)}


def spots(shape: tuple[int, ...], *, seed: int = 0, bright: float = 0.8) -> np.ndarray:
    """Draw cells that touch here and there; StarDist sees those that are `bright` (a part of them), the U-Net all."""
    rng = np.random.default_rng(seed)
    scale = np.array([2.0 if shape[0] > 1 else 1.0, 1.0, 1.0])
    centres = rng.uniform(0, shape, (int(np.prod(shape) / (1600 if shape[0] > 1 else 220)), 3))
    centres[:, 0] = centres[:, 0] if shape[0] > 1 else 0
    image = np.zeros(shape, np.float32)
    zyx = np.indices(shape, np.float32)
    kept: list[np.ndarray] = []
    for centre in centres:
        if kept and (np.linalg.norm((np.array(kept) - centre) * scale, axis=1) < 1.6 * RADIUS).any():
            continue
        kept.append(centre)
        squared = sum(((axis - c) * s) ** 2 for axis, c, s in zip(zyx, centre, scale, strict=True))
        peak = 1.0 if rng.random() < bright else 0.62
        np.maximum(image, peak * np.exp(-squared / (1.1 * RADIUS**2)), out=image)
    # Real numbers: where two neighbours are equal, the watershed decides by the order of its queue.
    return (60000 * image + rng.uniform(0, 50, shape)).astype(np.float32)


@pytest.fixture(scope="module")
def segmenters():
    return {n_dim: make_segmenter(n_dim) for n_dim in (2, 3)}


def network(kind: str, config: Any) -> Any:
    """Return a network with random weights."""
    import csbdeep.models
    import stardist.models

    return getattr(csbdeep.models if kind == "CARE" else stardist.models, kind)(config, kind, basedir=None)


def make_segmenter(n_dim: int) -> VollSegSegmenter:
    from csbdeep.models import Config
    from stardist.models import Config2D, Config3D
    from stardist.rays3d import Rays_GoldenSpiral

    axes = "ZYX"[-n_dim:]
    care = network("CARE", Config(axes, unet_n_depth=1, unet_n_first=2, train_tensorboard=False))
    grid = (1, 2, 2)[-n_dim:]
    common = {"grid": grid, "unet_n_depth": 1, "unet_n_filter_base": 2, "train_tensorboard": False}
    if n_dim == 2:
        star = network("StarDist2D", Config2D(n_rays=16, **common))
    else:
        rays = Rays_GoldenSpiral(32, anisotropy=(2.0, 1.0, 1.0))
        config = Config3D(rays=rays, anisotropy=(2.0, 1.0, 1.0), **common)
        star = network("StarDist3D", config)
    keras: Any = importlib.import_module("keras")
    there = (slice(None), *(slice(None, None, g) for g in grid), slice(None))
    image = keras.Input((*(None,) * n_dim, 1))
    care.keras_model = keras.Model(image, keras.layers.Lambda(lambda x: x * 1.0)(image))
    rays_of = keras.layers.Lambda(lambda x: 0 * keras.ops.repeat(x[there], star.config.n_rays, -1) + RADIUS)
    star.keras_model = keras.Model(image, [keras.layers.Lambda(lambda x: x[there])(image), rays_of(image)])
    return VollSegSegmenter(
        star_model=star, unet_model=care, compare=True, voxel_size=VOXELS[n_dim], percentiles=(0.0, 100.0),
        prob_thresh=0.65, nms_thresh=0.2, foreground_thresh=0.35, outline=0.2, boundary_width=0.5,
    )  # fmt: skip


#: The image neither divides nor joins cells.
WITHOUT_IMAGE = Rules(divides=1.0, joins=0.0)


def lazy(array: np.ndarray) -> LazyStack:
    return LazyStack(array.shape, array.dtype, lambda where: array[where])


def in_blocks(segmenter, frame, folder, monkeypatch, mb=1.0, mask=None) -> dict[str, np.ndarray]:
    monkeypatch.setenv("VOLLTRACK_MEMORY_MB", str(mb))
    found = segment_by_blocks(segmenter, lazy(frame), folder, mask=None if mask is None else lazy(mask))
    return {method: np.asarray(labels[:], np.int32) for method, labels in found.labels.items()}


def same_cells(a: np.ndarray, b: np.ndarray) -> bool:
    """Say whether all cells of two label images are the same, whatever their numbers, but for voxels at their borders.

    The watershed settles equally high passes in small blocks by its queue, in large stacks by descent.
    """
    from stardist.matching import matching

    found: Any = matching(a, b, thresh=0.9)
    return found.fp == found.fn == 0 and bool(np.mean((a > 0) != (b > 0)) < 1e-4)


@pytest.mark.parametrize(("n_dim", "divide"), [(2, "always"), (3, "always"), (3, "borders"), (3, "never")])
def test_the_cells_of_blocks_are_those_of_the_whole_frame(segmenters, tmp_path, monkeypatch, n_dim, divide):
    segmenter = replace(segmenters[n_dim], divide=divide)
    # Where stars divide nothing, a frame that is large enough for the image to do so.
    shape = (10, 110, 160) if divide == "never" else SHAPES[n_dim]
    frame = spots(shape, seed=n_dim)
    whole = segmenter(frame).labels
    if divide == "never":
        assert whole["vollseg"].max() > replace(segmenter, rules=WITHOUT_IMAGE)(frame).main.max()
    parts = in_blocks(segmenter, frame, tmp_path / "store", monkeypatch, mb=1.0 if n_dim == 3 else 0.6)
    store = Store(tmp_path / "store")
    assert len(store.tiles("fusion", list)) > 3 and len(store.tiles("foreground", list)) > 3
    assert list(parts) == list(METHODS)
    for method, labels in parts.items():
        assert labels.shape == frame.shape
        assert set(np.unique(labels)) == set(range(labels.max() + 1)), method
        assert labels.max() == whole[method].max() > 10, method
        assert same_cells(labels, whole[method]), method
    assert whole["vollseg"].max() > whole["stardist"].max() or divide == "never"


def test_sizes_and_tissue_choose_the_same_cells(segmenters, tmp_path, monkeypatch):
    frame = spots(SHAPES[3], seed=5)
    mask = np.zeros(frame.shape, bool)
    mask[:, :, 20:80] = True
    plain = segmenters[3](frame).main
    sizes = np.bincount(plain.ravel())[1:] * 0.25
    limits = {"min_size_um3": np.quantile(sizes, 0.2), "max_size_um3": np.quantile(sizes, 0.9)}
    segmenter = replace(segmenters[3], compare=False, **limits)
    whole = segmenter(frame, mask=mask).main
    labels = in_blocks(segmenter, frame, tmp_path / "store", monkeypatch, mask=mask)["vollseg"]
    assert 0 < whole.max() < plain.max()
    assert same_cells(labels, whole)


def test_a_component_longer_than_any_block_is_one_cell_where_stars_divide_nothing(
    segmenters, tmp_path, monkeypatch
):
    frame = spots(SHAPES[3], seed=6)
    frame[7, 40:43] = np.maximum(frame[7, 40:43], 30000)  # a bar across the frame, which only the U-Net sees
    segmenter = replace(segmenters[3], divide="never", rules=WITHOUT_IMAGE, compare=False)
    labels = in_blocks(segmenter, frame, tmp_path / "store", monkeypatch)["vollseg"]
    for found in (segmenter(frame).main, labels):
        numbers, counts = np.unique(found[7, 41], return_counts=True)
        assert numbers[counts.argmax()] > 0 and counts.max() > 0.9 * frame.shape[2]


@pytest.mark.parametrize("bright", [0.0, 1.0])
def test_frames_without_stars_and_without_foreground(segmenters, tmp_path, monkeypatch, bright):
    frame = spots(SHAPES[3], seed=7, bright=bright)
    segmenter = replace(segmenters[3], foreground_thresh=1.0 if bright else 0.35)
    if not bright:
        segmenter = replace(segmenter, prob_thresh=1.0)
    whole = segmenter(frame).labels
    parts = in_blocks(segmenter, frame, tmp_path / "store", monkeypatch)
    for method, labels in parts.items():
        assert same_cells(labels, whole[method]), method
    assert (whole["stardist"].max() == 0) == (bright == 0)


def test_a_frame_without_contrast_is_refused_as_a_whole_one_is(segmenters, tmp_path, monkeypatch):
    frame = np.full(SHAPES[3], 7, np.uint16)
    with pytest.raises(InputError, match="contrast"):
        segmenters[3](frame)
    with pytest.raises(InputError, match="contrast"):
        in_blocks(segmenters[3], frame, tmp_path / "store", monkeypatch)


def test_blocks_cannot_be_seen_in_what_networks_say(tmp_path, monkeypatch):
    """With real layers, whose margin is what they look at; weights are random, so all of it is used."""
    import keras

    keras.utils.set_random_seed(0)
    segmenter = make_segmenter(3)
    from csbdeep.models import Config

    care = network("CARE", Config("ZYX", unet_n_depth=1, unet_n_first=2, train_tensorboard=False))
    star = network("StarDist3D", segmenter.star_model.config)
    segmenter = replace(segmenter, unet_model=care, star_model=star, candidate_floor=0.4)
    frame = spots((9, 75, 140), seed=8)
    outputs = segmenter.network_outputs(frame)
    # As little as leaves room for a block with the whole margin.
    stores = {}
    for name, method, megabytes in (("stardist", "stardist", "70"), ("foreground", "unet", "8")):
        monkeypatch.setenv("VOLLTRACK_MEMORY_MB", megabytes)
        alone = replace(segmenter, method=method, compare=False)
        stores[name] = run_networks(alone, lazy(frame), Store(tmp_path / name))
        assert len(Store(tmp_path / name).tiles(name, list)) > 1
    foreground, stars = stores["foreground"].foreground, stores["stardist"]
    assert foreground is not None and outputs.foreground is not None
    np.testing.assert_allclose(foreground[:], outputs.foreground, atol=1e-5)
    assert stars.elevation is not None and stars.candidates is not None
    np.testing.assert_allclose(stars.elevation[:], outputs.stars[0].probability, atol=1e-5)
    points, scores, _ = stars.candidates.within(tuple(slice(0, n) for n in frame.shape))
    expected = outputs.stars[0]
    order = np.lexsort(expected.points.T[::-1])
    np.testing.assert_array_equal(points, expected.points[order])
    np.testing.assert_allclose(scores, expected.scores[order], atol=1e-5)


@pytest.mark.parametrize("kind", ["uint8", "uint16", "int32", "float32"])
def test_percentiles_of_pieces_are_those_of_the_whole(kind):
    values = np.random.default_rng(0).normal(100, 60, (7, 40, 33))
    values = np.clip(values, 0, 255).astype(kind) if kind[0] == "u" else values.astype(kind)
    for pair in ((1.0, 99.8), (0.0, 100.0), (33.3, 50.0)):
        assert percentile_range(lazy(values), *pair) == pytest.approx(
            percentile_range(values, *pair), rel=1e-6
        )


# A run of the notebook's step.


#: MB that make many blocks of the movie's frames.
MEMORY = "1"


@pytest.fixture(scope="module")
def movie(tmp_path_factory):
    path = tmp_path_factory.mktemp("movie") / "movie.zarr"
    frames = np.stack([spots((12, 60, 80), seed=s) for s in (1, 2)])
    write_movie(path, frames, voxel_size=VOXELS[3], frame_interval=60.0, axes="TZYX")
    return Movie.open(path)


def parameters(folder, movie):
    return Segment.checked({"run_dir": folder, "movie": movie.path, "movie_id": "m", "compare_methods": True})


def contents(result) -> tuple[list[np.ndarray], pd.DataFrame]:
    folder = result.folder
    movies = [result.labels, *(LabelMovie.open(folder / f"labels_{m}.zarr") for m in ("stardist", "unet"))]
    return [frame for one in movies for frame in one.frames()], pd.read_csv(folder / "objects.csv")


@pytest.fixture(scope="module")
def reference(segmenters, movie, tmp_path_factory):
    """Return what a run in blocks makes of the movie that nothing stops."""
    folder = tmp_path_factory.mktemp("reference")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VOLLTRACK_MEMORY_MB", MEMORY)
        assert not fits_memory(movie.shape[2:])
        found = contents(segment_movie(movie, lambda: segmenters[3], parameters(folder, movie)))
    assert not list(folder.rglob("*.blocks"))
    return found


def test_a_movie_of_large_frames_is_segmented_measured_and_written(segmenters, movie, tmp_path, reference):
    assert fits_memory(movie.shape[2:])
    labels, objects = contents(segment_movie(movie, lambda: segmenters[3], parameters(tmp_path, movie)))
    assert all(same_cells(a, b) for a, b in zip(labels, reference[0], strict=True))
    for column in ("volume_um3", "surface_um2", "intensity_mean", "intensity_sd", "axis_major_um"):
        found, expected = (np.sort(table[column]) for table in (reference[1], objects))
        np.testing.assert_allclose(found, expected, rtol=0.02, err_msg=column)
    assert len(objects) > 20


class Killed(BaseException):
    """As a kill ends a process: nothing catches it."""


@pytest.fixture
def stop(monkeypatch):
    """Return a function that says where the work stops, and how; and the blocks that were worked on so far."""
    worked: list[tuple[str, str, int]] = []
    at: dict = {}
    each = Store.each

    def watched(store, name, tiles, work):
        def watch(number, tile):
            if at.get("block") == (store.folder.name, name, number):
                raise at["error"]
            table = work(number, tile)
            worked.append((store.folder.name, name, number))
            return table

        each(store, name, tiles, watch)

    monkeypatch.setattr(Store, "each", watched)
    return at, worked


@pytest.mark.parametrize("step", ["copy", "samples", "labels_vollseg"])
def test_killed_in_the_middle_it_goes_on_at_the_block(
    segmenters, movie, tmp_path, monkeypatch, reference, stop, step
):
    at, worked = stop
    at.update(block=("00000.blocks", step, 0 if step == "copy" else 2), error=Killed())
    monkeypatch.setenv("VOLLTRACK_MEMORY_MB", MEMORY)
    p = parameters(tmp_path / "killed", movie)
    with pytest.raises(Killed):
        segment_movie(movie, lambda: segmenters[3], p)
    first = list(worked)
    assert step == "copy" or ("00000.blocks", step, 1) in first
    at.clear()
    # More memory now: what was begun in blocks goes on in the same blocks.
    monkeypatch.setenv("VOLLTRACK_MEMORY_MB", "50")
    labels, objects = contents(segment_movie(movie, lambda: segmenters[3], p))
    assert len(set(worked)) == len(worked) > len(first)
    for before, after in zip(
        reference[0][::2], labels[::2], strict=True
    ):  # of the frame that was begun before
        assert np.array_equal(before, after)
    assert all(same_cells(a, b) for a, b in zip(labels, reference[0], strict=True))
    assert len(objects) == len(reference[1])


def test_a_full_disk_is_one_clear_error_and_loses_nothing(
    segmenters, movie, tmp_path, monkeypatch, reference, stop
):
    at, worked = stop
    monkeypatch.setenv("VOLLTRACK_MEMORY_MB", MEMORY)
    at.update(
        block=("00001.blocks", "labels_vollseg", 2), error=OSError(errno.ENOSPC, "No space left on device")
    )
    p = parameters(tmp_path / "full", movie)
    with pytest.raises(
        InputError, match=r"No space left on device.*What was finished before is kept"
    ) as error:
        segment_movie(movie, lambda: segmenters[3], p)
    assert "00001.blocks" in str(error.value)
    assert LabelMovie.open(p.movie_path() / "labels.zarr").done_frames() == {0}
    at.clear()
    labels, objects = contents(segment_movie(movie, lambda: segmenters[3], p))
    assert len(set(worked)) == len(worked)
    assert all(np.array_equal(a, b) for a, b in zip(labels, reference[0], strict=True))
    pd.testing.assert_frame_equal(objects, reference[1])


def test_a_box_of_a_stack_is_that_of_the_whole(tmp_path):
    frame = spots((12, 60, 70), seed=3)
    where = (slice(3, 7), slice(10, 31), slice(5, 70))
    for name in ("a.zarr", "a.ome.tif"):
        write_movie(tmp_path / name, frame, voxel_size=VOXELS[3], axes="ZYX")
        stack = Movie.open(tmp_path / name).lazy_frame(0)
        assert np.array_equal(stack[where], frame[where]) and np.array_equal(stack[4, 10:31], frame[4, 10:31])
    (tmp_path / "stacks").mkdir()
    write_movie(tmp_path / "stacks" / "t0.ome.tif", frame, voxel_size=VOXELS[3], axes="ZYX")
    assert np.array_equal(Movie.open(tmp_path / "stacks").lazy_frame(0)[where], frame[where])


@pytest.mark.parametrize("voxels", [40, 300, 1000, 5000, 10**6])
def test_blocks_read_as_little_twice_as_fits(voxels):
    shape, margin, multiple = (11, 40, 30), (1, 3, 4), (1, 2, 4)

    def read(number: tuple[int, ...]) -> tuple[float, float]:
        tiles = list(iterate_tiles((11, 40, 32), number, (1, 4, 4), multiple))
        sizes = [np.prod(size_of(tile.read)) for tile in tiles]
        return max(sizes), sum(sizes)

    thick = [range(1, 12), range(1, 11), range(1, 9)]
    every = [read(number) for number in itertools.product(*thick)]
    tiles = cut(shape, margin, multiple, voxels)
    padded = [[slice(r.start, -(-r.stop // 4) * 4) for r in tile.read[2:]] for tile in tiles]
    sizes = [np.prod(size_of((*tile.read[:2], *last))) for tile, last in zip(tiles, padded, strict=True)]
    fitting = [total for largest, total in every if largest <= voxels]
    assert (sum(sizes), max(sizes)) == (min(fitting), max(sizes)) if fitting else max(sizes) == min(every)[0]
    covered = np.zeros(shape, int)
    for tile in tiles:
        covered[tile.write] += 1
    assert (covered == 1).all()


def test_memory_that_is_no_number_is_refused(monkeypatch):
    monkeypatch.setenv("VOLLTRACK_MEMORY_MB", "much")
    with pytest.raises(InputError, match="VOLLTRACK_MEMORY_MB = 'much'"):
        fits_memory((1, 2, 3))
