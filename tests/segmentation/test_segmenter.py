"""The segmenter: networks once, labels of all methods, thresholds that reach the labels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from helpers.data.patches import create_training_set
from helpers.errors import InputError
from helpers.models import denoising, stardist, unet
from helpers.segmentation.fusion import close_gaps
from helpers.segmentation.vollseg_segmenter import Outputs, VollSegSegmenter
from tests.segmentation.tiny_cells import VOXEL, discs

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    pairs = [discs((64, 64), 14, seed) for seed in range(6)]
    patches = create_training_set(
        pairs, folder / "training.npz", patch_size=(48, 48), patches_per_image=4, voxel_size=VOXEL,
        pmin=2.0, pmax=99.0, boundary_width=0.5,
    )  # fmt: skip
    common = {
        "epochs": 30,
        "batch_size": 4,
        "depth": 2,
        "learning_rate": 3e-3,
        "seed": 1,
        "schedule": "cosine",
    }
    unet.train(patches, folder / "unet", unet.UNetSettings(n_first=8, **common))
    stardist.train(
        patches, folder / "stardist",
        # After 30 epochs it finds 30 to 34 of 20 cells, by the processor and its threads; after 60, 19 to 21.
        stardist.StarDistSettings(
            rays=16, n_filter_base=8, features=16, grid=(1, 1), **common | {"epochs": 60}
        ),
    )  # fmt: skip
    stardist.save_thresholds(folder / "stardist", prob=0.45, nms=0.35)
    return folder


@pytest.fixture(scope="module")
def segmenter(folders):
    return VollSegSegmenter.open(
        stardist_dir=folders / "stardist", unet_dir=folders / "unet", voxel_size=VOXEL, compare=True
    )


@pytest.fixture(scope="module")
def frame():
    return discs((90, 80), 20, 77)


def test_settings_follow_the_training_set(segmenter):
    assert segmenter.percentiles == (2.0, 99.0)
    assert segmenter.boundary_width == 0.5


def test_a_frame_gets_the_labels_of_all_methods_from_one_run_of_the_networks(segmenter, frame):
    raw, truth = frame
    result = segmenter(raw[np.newaxis])
    assert list(result.labels) == ["vollseg", "stardist", "unet"]
    assert result.main is result.labels["vollseg"]
    for method, labels in result.labels.items():
        assert labels.dtype == np.int32 and labels.shape == (1, 90, 80)
        assert set(np.unique(labels)) == set(range(labels.max() + 1))
        assert np.mean((labels[0] > 0) == (truth > 0)) > 0.9
        # The small U-Net does not part cells that touch, and leaves specks, which become cells.
        least, most = {"stardist": (0.6, 1.5), "vollseg": (0.6, 3.0), "unet": (0.2, 3.0)}[method]
        assert least * truth.max() < labels.max() < most * truth.max()
    assert {"unet", "stardist", "nms", "fusion"} <= set(result.seconds)
    assert np.array_equal(segmenter(raw).labels["vollseg"], result.main[0])
    alone = replace(segmenter, compare=False, method="stardist")(raw)
    assert list(alone.labels) == ["stardist"] and "unet" not in alone.seconds
    assert np.array_equal(alone.main, result.labels["stardist"][0])


def test_every_threshold_reaches_the_labels_without_a_network(segmenter, frame):
    outputs = replace(segmenter, candidate_floor=0.05).network_outputs(frame[0])
    before = dict(outputs.seconds)
    make = segmenter.labels_from_outputs
    few, many = (make(outputs, method="stardist", prob=p) for p in (0.9, 0.2))
    assert many.max() > few.max()
    strict, loose = (make(outputs, method="stardist", prob=0.2, nms=n) for n in (0.05, 0.8))
    assert loose.max() > strict.max()
    for method in ("unet", "vollseg"):
        narrow, wide = (make(outputs, method=method, foreground=f) for f in (0.95, 0.1))
        assert (wide > 0).sum() > (narrow > 0).sum()
    assert make(outputs, method="vollseg", prob=0.2).max() != make(outputs, method="vollseg", prob=0.9).max()
    assert outputs.seconds["stardist"] == before["stardist"] and outputs.seconds["unet"] == before["unet"]
    saved = segmenter.star_model.thresholds  # those of the folder are the default
    explicit = make(outputs, method="stardist", prob=saved.prob, nms=saved.nms)
    assert (saved.prob, saved.nms) == (0.45, 0.35)
    assert np.array_equal(make(outputs, method="stardist"), explicit)
    assert not np.array_equal(make(outputs, method="stardist", prob=0.9), explicit)


def test_distance_map_instead_of_probability(segmenter, frame):
    other = replace(segmenter, use_probability=False, compare=False)(frame[0])
    assert other.main.max() > 5
    assert not np.array_equal(other.main, segmenter(frame[0]).main)


def test_sizes_are_in_square_micrometres_in_2d(segmenter, frame):
    plain = segmenter(frame[0]).main
    areas = np.bincount(plain.ravel())[1:] * 0.25
    limit = float(np.median(areas))
    for settings, kept in (
        ({"min_size_um3": limit}, areas >= limit),
        ({"max_size_um3": limit}, areas <= limit),
    ):
        result = replace(segmenter, compare=False, **settings)(frame[0]).main
        assert result.max() == kept.sum() < plain.max()


def test_sizes_are_in_cubic_micrometres_in_3d():
    from csbdeep.models import CARE, Config

    model = CARE(
        Config("ZYX", unet_n_depth=1, unet_n_first=2, train_tensorboard=False), "solid", basedir=None
    )
    foreground = np.zeros((6, 20, 20), np.float32)
    foreground[1:3, 1:4, 1:4] = 1  # 18 voxels of 0.5 µm³
    foreground[1:5, 8:18, 8:18] = 1  # 400 voxels
    outputs = Outputs((), foreground, None)
    segmenter = VollSegSegmenter(unet_model=model, method="unet", voxel_size=VOXEL)
    assert segmenter.labels_from_outputs(outputs).max() == 2
    assert replace(segmenter, min_size_um3=9.1).labels_from_outputs(outputs).max() == 1
    assert replace(segmenter, min_size_um3=9.0).labels_from_outputs(outputs).max() == 2
    assert replace(segmenter, max_size_um3=199.0).labels_from_outputs(outputs).max() == 1
    with pytest.raises(InputError, match="solid"):
        segmenter(np.zeros((20, 20)))


def test_cells_outside_the_mask_are_left_out(segmenter, frame):
    raw, _ = frame
    plain = segmenter(raw[np.newaxis])
    mask = np.zeros((1, 90, 80), bool)
    mask[:, :45] = True
    masked = segmenter(raw[np.newaxis], mask=mask)
    for method, labels in masked.labels.items():
        assert 0 < labels.max() < plain.labels[method].max()
        inside = np.bincount(labels[mask], minlength=labels.max() + 1)
        assert (2 * inside[1:] >= np.bincount(labels.ravel())[1:]).all()
    with pytest.raises(InputError, match="mask"):
        segmenter(raw, mask=np.ones((3, 3), bool))


def test_a_tissue_network_masks_too(segmenter, frame):
    tissue = replace(segmenter, tissue_model=segmenter.unet_model, tissue_thresh=1.0)
    assert tissue(frame[0]).main.max() == 0
    assert replace(tissue, tissue_thresh=0.5)(frame[0]).main.max() > 5


def test_slice_wise_joins_the_slices(segmenter):
    raw, truth = discs((64, 64), 8, 5)
    rng = np.random.default_rng(0)
    stack = np.stack([raw + rng.normal(0, 20, raw.shape) for _ in range(3)])
    with pytest.raises(InputError, match="slice_wise"):
        segmenter(stack)
    sliced = replace(segmenter, slice_wise=True)
    for labels in sliced(stack).labels.values():
        assert labels.shape == stack.shape
        tops, bottoms = labels[0][truth > 0], labels[2][truth > 0]
        assert np.mean(tops == bottoms) > 0.8  # a column keeps its label
        assert labels.max() < 2 * truth.max()
    # Sizes are those of the joined cells.
    volume = 36 * np.pi * 3 * 0.5
    assert replace(sliced, compare=False, min_size_um3=0.5 * volume)(stack).main.max() >= 4


def test_denoising_comes_first(segmenter, frame, tmp_path):
    settings = denoising.DenoiserSettings(
        epochs=1, steps_per_epoch=2, patch_size=(32, 32), depth=1, n_first=4, patches_per_image=4
    )
    model, _ = denoising.train([frame[0]], tmp_path / "denoiser", settings)
    with_denoiser = replace(segmenter, denoiser=model, compare=False)
    outputs = with_denoiser.network_outputs(frame[0])
    assert not np.array_equal(outputs.foreground, segmenter.network_outputs(frame[0]).foreground)
    assert outputs.seconds["denoise"] > segmenter.network_outputs(frame[0]).seconds["denoise"]


def test_components_grow_back_between_cells_only():
    mask = np.zeros((9, 30), bool)
    mask[2:7, 2:10] = mask[2:7, 12:20] = True  # a gap of two pixels of 0.5 µm
    mask[2:7, 26:28] = True  # far away
    closed = close_gaps(mask, 0.5, (0.5, 0.5))
    assert closed[3:6, 10:12].all()
    assert not closed[:2].any() and not closed[2:7, 20:26].any()
    assert np.array_equal(close_gaps(mask, 0.5, (0.5, 1.5)), mask)  # wider pixels: the gap is 3 µm


def test_what_cannot_work_is_refused_at_once(segmenter, folders, frame):
    for change, name in [
        ({"method": "cellpose"}, "method"),
        ({"unet_model": None}, "method"),
        ({"star_model": None, "compare": False, "method": "stardist"}, "method"),
        ({"voxel_size": None}, "voxel_size"),
        ({"prob_thresh": 1.5}, "prob_thresh"),
        ({"min_size_um3": 5.0, "max_size_um3": 4.0}, "max_size_um3"),
        ({"boundary_width": -1.0}, "boundary_width"),
    ]:
        with pytest.raises(InputError, match=name):
            replace(segmenter, **change)
    with pytest.raises(InputError, match="contrast"):
        segmenter(np.full((32, 32), 7, np.uint16))
    with pytest.raises(InputError, match="nowhere"):
        VollSegSegmenter.open(unet_dir=folders / "nowhere", method="unet", voxel_size=VOXEL)
    only = VollSegSegmenter.open(unet_dir=folders / "unet", method="unet", voxel_size=VOXEL)
    assert only(frame[0]).main.max() > 3
