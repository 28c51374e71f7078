"""StarDist: training, the folder, prediction once and thresholds afterwards."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from helpers.data.augment import Augmentation
from helpers.data.npz_stream import NpzWriter
from helpers.data.training_set import TrainingSet
from helpers.errors import InputError
from helpers.models import stardist
from helpers.models.stardist import targets as star_targets
from helpers.models.stardist import training

SOLID = stardist.StarDistSettings(
    epochs=40, batch_size=2, depth=1, n_filter_base=8, rays=24, features=16, grid=(1, 2, 2), learning_rate=2e-3, seed=3
)  # fmt: skip
PATCH = (8, 24, 24)


@pytest.fixture(scope="module")
def trained(make_set, tmp_path_factory):
    folder = tmp_path_factory.mktemp("stardist") / "solid"
    model, state = stardist.train(make_set(PATCH, 12), folder, SOLID)
    return folder, model, state


@pytest.fixture(scope="module")
def image(make_set):
    patches = make_set(PATCH, 12)
    return np.concatenate([patches.patch(i)[0] for i in range(4)], axis=-1)


@pytest.fixture(scope="module")
def prediction(trained, image):
    return stardist.predict(trained[1], image, floor=0.05, voxel_size=(2.0, 0.5, 0.5))


def test_training_learns_and_measures_the_cells(trained):
    _, model, state = trained
    assert state.epoch == 40 and state.history[-1]["val_loss"] < 0.75 * state.history[0]["val_loss"]
    assert model.config.grid == (1, 2, 2) and model.config.n_rays == 24
    z, y, x = model.config.anisotropy
    assert 1.1 < z < 2 and y < 1.3 and x < 1.3  # cells of 8 × 12 × 12 voxels, most cut by the patch
    assert {"prob_loss", "dist_loss", "val_prob_loss", "val_dist_loss"} <= set(state.table.columns)


def test_targets_are_stardists_own(trained, make_set):
    from stardist.models.model3d import StarDistData3D
    from stardist.rays3d import rays_from_json

    _, model, _ = trained
    x, _, labels = make_set(PATCH, 12).patch(0)
    rays = rays_from_json(model.config.rays_json)
    theirs = StarDistData3D(
        [x], [labels], batch_size=1, rays=rays, length=1, patch_size=PATCH, grid=(1, 2, 2),
        anisotropy=model.config.anisotropy,
    )[0][1]  # fmt: skip
    maker = star_targets.TargetMaker(make_set(PATCH, 12), model.config, None)
    _, ours = maker(np.array([0]), None)
    assert np.allclose(ours[0], theirs[0]) and np.allclose(ours[1], theirs[1])


def test_targets_of_large_and_of_ignored_labels(trained, make_set):
    _, model, _ = trained
    maker = star_targets.TargetMaker(make_set(PATCH, 12), model.config, None)
    labels = make_set(PATCH, 12).patch(0)[2]
    many = np.where(labels > 0, labels + 65_530, 0)  # 65,536 is 0 in 16 bits
    for a, b in zip(maker.targets(labels), maker.targets(many), strict=True):
        assert np.array_equal(a, b)
    unknown = labels.copy()
    unknown[:, :12] = -1
    probability, target = maker.targets(unknown)
    assert (probability[:, :6] == -1).all() and (target[:, :6, :, -1] == -1).all()
    full = maker.targets(np.full(PATCH, 3))[0]  # one cell fills the patch
    assert np.isfinite(full).all()


def test_losses_are_stardists_own(trained, make_set):
    import tensorflow as tf
    from stardist.models import StarDist3D

    _, model, _ = trained
    maker = star_targets.TargetMaker(make_set(PATCH, 12), model.config, None)
    x, y = maker(np.array([0, 1]), None)
    theirs = StarDist3D(model.config, basedir=None)
    theirs.keras_model.set_weights(model.keras_model.get_weights())
    theirs.prepare_for_training()
    training.compile_model(model, 1e-3)
    ours = model.keras_model.test_on_batch(x, y, return_dict=True)
    expected = theirs.keras_model.test_on_batch(x, y, return_dict=True)
    assert float(ours["loss"]) == pytest.approx(float(expected["loss"]), rel=1e-4)
    hidden = y[0].copy()
    hidden[:, :, :6] = -1
    prob = model.keras_model(x)[0]
    changed = tf.where(tf.constant(hidden) < 0, 0.9, prob)
    assert float(star_targets.probability_loss(hidden, prob)) == pytest.approx(
        float(star_targets.probability_loss(hidden, changed)), rel=1e-5
    )


def test_stardist_opens_the_folder_and_finds_the_same_cells(trained, image, prediction):
    from stardist.models import StarDist3D

    folder, model, _ = trained
    theirs = StarDist3D(None, name=folder.name, basedir=str(folder.parent))
    expected, details = theirs.predict_instances(image, prob_thresh=0.3, nms_thresh=0.3)
    labels, ours = stardist.instances(model, prediction, prob_thresh=0.3, nms_thresh=0.3)
    assert len(details["prob"]) > 5
    assert labels.dtype == np.int32 and labels.shape == image.shape
    assert np.mean((labels > 0) != (expected > 0)) < 1e-3  # rounding at the surface
    assert np.allclose(np.sort(ours["prob"]), np.sort(details["prob"]), atol=1e-5)
    for point, label in zip(ours["points"], range(1, len(ours["points"]) + 1), strict=True):
        assert labels[tuple(point)] in (0, label) or (labels == label).sum() > 0


def test_thresholds_reach_the_labels_without_the_network(trained, prediction):
    _, model, _ = trained
    counts = [stardist.instances(model, prediction, prob_thresh=p)[0].max() for p in (0.4, 0.6, 0.8)]
    assert counts[0] > counts[2]
    strict = stardist.instances(model, prediction, prob_thresh=0.4, nms_thresh=0.05)[0].max()
    loose = stardist.instances(model, prediction, prob_thresh=0.4, nms_thresh=0.6)[0].max()
    assert strict < loose
    with pytest.raises(InputError, match="floor"):
        stardist.instances(model, prediction, prob_thresh=0.01)


def test_a_suppression_for_a_low_threshold_serves_all_higher_ones(trained, prediction):
    _, model, _ = trained
    fresh = [replace(prediction, _survivors={}) for _ in range(2)]
    stardist.instances(model, fresh[0], prob_thresh=0.3, nms_thresh=0.3)
    after, details = stardist.instances(model, fresh[0], prob_thresh=0.6, nms_thresh=0.3)
    alone, expected = stardist.instances(model, fresh[1], prob_thresh=0.6, nms_thresh=0.3)
    assert 0 < alone.max() < stardist.instances(model, fresh[0], prob_thresh=0.3, nms_thresh=0.3)[0].max()
    np.testing.assert_array_equal(after, alone)
    np.testing.assert_array_equal(details["points"], expected["points"])


def test_batch_normalisation_is_in_the_model_that_stardist_opens(make_set, tmp_path):
    from stardist.models import StarDist3D

    settings = replace(SOLID, epochs=2, batch_norm=True)
    model, _ = stardist.train(make_set(PATCH, 12), tmp_path / "normed", settings)
    assert any("batch_norm" in layer.name for layer in model.keras_model.layers)
    theirs = StarDist3D(None, name="normed", basedir=str(tmp_path))
    x = make_set(PATCH, 12).patch(0)[0]
    ours = stardist.predict(model, x, floor=0.05).probability
    np.testing.assert_allclose(theirs.predict(x)[0], ours, atol=1e-5)


def test_tiles_cannot_be_seen(trained, image):
    odd = image[:7, :23, :93]
    prediction = stardist.predict(trained[1], odd, floor=0.05, n_tiles=(1, 1, 1))
    tiled = stardist.predict(trained[1], odd, floor=0.05, n_tiles=(1, 1, 3))
    assert prediction.probability.shape == (7, 12, 47)
    assert (prediction.points < odd.shape).all()
    assert np.abs(tiled.probability - prediction.probability).max() < 1e-5
    assert np.abs(tiled.distance - prediction.distance).max() < 1e-4
    assert {tuple(p) for p in tiled.points} == {tuple(p) for p in prediction.points}


def test_maps_at_full_resolution(prediction, image):
    full = prediction.full_probability()
    assert full.shape == image.shape and full.dtype == np.float32
    assert np.array_equal(full[:, ::2, ::2], prediction.probability)
    between = (prediction.probability[:, :, 0] + prediction.probability[:, :, 1]) / 2
    assert np.allclose(full[:, ::2, 1], between, atol=1e-6)
    # Cells of 8 × 12 × 12 voxels of 2 × 0.5 × 0.5 µm: the mean ray from their middle is about 5 µm.
    assert 2 < np.percentile(prediction.full_distance(), 99) < 9


def test_thresholds_are_saved_where_stardist_looks(trained, tmp_path):
    folder = Path(shutil.copytree(trained[0], tmp_path / "solid"))
    stardist.save_thresholds(folder, prob=0.61, nms=0.23)
    assert json.loads((folder / "thresholds.json").read_text()) == {"prob": 0.61, "nms": 0.23}
    model = stardist.load(folder)
    assert (model.thresholds.prob, model.thresholds.nms) == (0.61, 0.23)
    with pytest.raises(InputError, match="nms_thresh"):
        stardist.save_thresholds(folder, prob=0.5, nms=1.5)


def test_models_and_images_that_do_not_fit(trained, make_set, tmp_path):
    folder, model, _ = trained
    with pytest.raises(InputError, match="solid"):
        stardist.predict(model, np.zeros((24, 24), np.float32))
    broken = tmp_path / "broken"
    broken.mkdir()
    shutil.copy(folder / "config.json", broken)
    with pytest.raises(InputError, match="weights are missing"):
        stardist.load(broken)
    config = json.loads((folder / "config.json").read_text())
    config["n_channel_in"] = 2
    config["net_input_shape"] = [None, None, None, 2]
    (broken / "config.json").write_text(json.dumps(config))
    shutil.copy(folder / "weights_best.h5", broken)
    with pytest.raises(InputError, match="broken"):
        stardist.load(broken)
    with pytest.raises(InputError, match="grid"):
        stardist.train(make_set(PATCH, 12), tmp_path / "m", replace(SOLID, grid=(1, 2)))
    with pytest.raises(InputError, match="patch_size"):
        stardist.train(make_set(PATCH, 12), tmp_path / "m", replace(SOLID, patch_size=(16, 24, 24)))
    with pytest.raises(InputError, match="patch size"):
        stardist.train(make_set(PATCH, 12), tmp_path / "m", replace(SOLID, depth=3))


def test_two_dimensions_with_crops_and_augmentation(make_set, tmp_path):
    from stardist.models import StarDist2D

    patches = make_set((48, 48))
    settings = replace(SOLID, epochs=2, grid=None, rays=16, patch_size=(32, 32), learning_rate=1e-2)
    model, state = stardist.train(patches, tmp_path / "flat", settings, augmentation=Augmentation())
    assert isinstance(model, StarDist2D) and state.epoch == 2
    assert tuple(model.config.grid) == (1, 1)  # cells of about 12 pixels
    x = patches.patch(0)[0]
    prediction = stardist.predict(model, x[np.newaxis], floor=0.0)
    threshold = float(np.quantile(prediction.scores, 0.8))
    labels, details = stardist.instances(model, prediction, prob_thresh=threshold, nms_thresh=0.4)
    expected, theirs = model.predict_instances(x, prob_thresh=threshold, nms_thresh=0.4)
    assert labels.shape == x.shape and len(details["prob"]) == len(theirs["prob"]) > 0
    assert np.array_equal(labels > 0, expected > 0)


def test_grid_follows_the_cells():
    assert star_targets.choose_grid([8, 30, 100]) == (1, 2, 4)


@pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="reads the memory in use from Linux's /proc"
)
def test_memory_does_not_grow_with_the_patches_read(trained, tmp_path):
    shape, n = (16, 64, 64), 150  # 100 MB on disk
    members = {
        "X": ((n, 1, *shape), "float32"),
        "Y": ((n, 1, *shape), "float32"),
        "labels": ((n, *shape), "uint16"),
    }
    x = np.random.default_rng(0).normal(0, 1, (1, *shape)).astype(np.float32)
    labels = np.zeros(shape, np.uint16)
    labels[4:12, 10:30, 10:30] = 1
    with NpzWriter(tmp_path / "large.npz", members) as npz:
        for _ in range(n):
            npz.append("X", x)
            npz.append("Y", np.sign(labels).astype(np.float32))
            npz.append("labels", labels)
    maker = star_targets.TargetMaker(TrainingSet.open(tmp_path / "large.npz"), trained[1].config, None)

    def resident_mb() -> float:
        text = Path("/proc/self/status").read_text()
        return int(text.split("VmRSS:")[1].split()[0]) / 1024

    maker(np.arange(4), None)
    before = resident_mb()
    for i in range(4, n, 2):
        maker(np.array([i, i + 1]) % n, None)
    assert resident_mb() - before < 25


def test_extents_of_cut_cells_are_lower_bounds():
    values, known = np.array([3, 8, 8, 12, 12, 12]), np.array([True, False, False, True, True, True])
    assert star_targets.censored_median(values, known) == 12
    assert star_targets.censored_median(values, np.ones(6, bool)) == 8
    assert star_targets.censored_median(values, np.zeros(6, bool)) == 12


def test_a_map_at_full_resolution_is_a_copy_also_where_the_grid_is_1() -> None:
    """The fusion works on it in place: the same outputs must give the same labels and scores again."""
    for shape in ((3, 4), (2, 3)):
        coarse = np.ones((3, 4), np.float32)
        stardist.upsample(coarse, (1, 1), shape)[:] = 0
        assert coarse.all()
