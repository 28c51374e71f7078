"""The U-Net, and with it the training loop that all networks share."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from helpers.data.augment import Augmentation
from helpers.errors import InputError
from helpers.models import inference, model_folder, training, unet

FLAT = unet.UNetSettings(epochs=4, batch_size=2, depth=1, n_first=4, learning_rate=3e-3, seed=7)
PATCH = (32, 32)


@pytest.fixture(scope="module")
def trained(make_set, tmp_path_factory):
    folder = tmp_path_factory.mktemp("unet") / "flat"
    model, state = unet.train(make_set(PATCH), folder, FLAT, augmentation=Augmentation(rotate=False))
    return folder, model, state


def weights(folder: Path) -> list[np.ndarray]:
    return unet.load(folder).keras_model.get_weights()


def test_training_lowers_the_loss_and_writes_the_model_folder(trained):
    folder, _, state = trained
    history = pd.read_csv(folder / "history.csv")
    assert list(history["epoch"]) == [1, 2, 3, 4]
    assert {"loss", "val_loss", "learning_rate", "seconds"} <= set(history.columns)
    assert history["val_loss"].iloc[-1] < 0.98 * history["val_loss"].iloc[0]
    assert state.status == "finished" and float(f"{state.best_loss:.6g}") == history["val_loss"].min()
    record = json.loads((folder / "training.json").read_text())
    assert record["state"]["epoch"] == 4 and record["settings"]["n_first"] == 4
    assert {p.name for p in folder.iterdir()} == {
        "config.json",
        "weights_best.h5",
        "weights_last.h5",
        "history.csv",
        "training.json",
        "checkpoint.npz",
    }


def test_prediction_is_a_probability_that_knows_cells(trained, make_set):
    folder, model, _ = trained
    patches = make_set(PATCH)
    x, y, _ = patches.patch(int(patches.validation[0]))
    probability = unet.predict(model, x)
    assert probability.shape == x.shape and probability.dtype == np.float32
    assert probability.min() >= 0 and probability.max() <= 1
    assert probability[y].mean() > probability[~y].mean() + 0.05
    assert np.array_equal(unet.predict(unet.load(folder), x), probability)
    assert np.array_equal(unet.predict(model, x[np.newaxis])[0], probability)  # one plane


def test_an_untrained_network_expects_the_share_of_the_foreground(make_set, tmp_path):
    """Where no feature answers, a short training would otherwise leave the background at a half."""
    patches = make_set(PATCH)
    model, _ = unet.train(patches, tmp_path / "flat", replace(FLAT, epochs=1, learning_rate=1e-9))
    share = np.mean([patches.read("Y", i)[0] > 0 for i in patches.train])
    assert abs(share - 0.5) > 0.05
    assert unet.predict(model, np.zeros(PATCH, np.float32)) == pytest.approx(share, rel=1e-3)


def test_tiles_cannot_be_seen(trained):
    _, model, _ = trained
    image = np.random.default_rng(3).normal(0.5, 0.4, (70, 53)).astype(np.float32)
    whole = unet.predict(model, image, n_tiles=(1, 1))
    assert np.abs(unet.predict(model, image, n_tiles=(3, 2)) - whole).max() < 1e-5


def test_csbdeep_opens_the_folder_and_predicts_the_same(trained):
    from csbdeep.models import CARE
    from scipy.special import expit

    folder, model, _ = trained
    theirs = CARE(None, name=folder.name, basedir=str(folder.parent))
    image = np.random.default_rng(4).normal(0.5, 0.4, (32, 32)).astype(np.float32)
    logits = theirs.predict(image, "YX", normalizer=None)
    assert np.allclose(expit(logits), unet.predict(model, image), atol=1e-5)


def test_a_killed_training_goes_on_as_if_it_had_not_been_killed(trained, make_set, tmp_path):
    folder, _, state = trained
    killed = tmp_path / "killed"
    real, calls = model_folder.replace_file, {"checkpoint.npz": 0}

    def kill_in_epoch_3(path, write):
        if path.name == "checkpoint.npz":
            calls["checkpoint.npz"] += 1
            if calls["checkpoint.npz"] == 3:
                (killed / ".weights_best.h5.1.part").write_bytes(b"half")
                raise KeyboardInterrupt
        real(path, write)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(model_folder, "replace_file", kill_in_epoch_3)
        unet.train(make_set(PATCH), killed, FLAT, augmentation=Augmentation(rotate=False))
    _, resumed = unet.train(make_set(PATCH), killed, FLAT, augmentation=Augmentation(rotate=False))
    assert [row["epoch"] for row in resumed.history] == [1, 2, 3, 4]
    for column in ("loss", "val_loss"):
        assert np.allclose(resumed.table[column], state.table[column], rtol=1e-5)
    for a, b in zip(weights(killed), weights(folder), strict=True):
        assert np.allclose(a, b, atol=1e-5)
    assert not list(killed.glob("*.part"))


def test_a_finished_training_returns_at_once_and_more_epochs_go_on(trained, make_set, tmp_path):
    folder = Path(shutil.copytree(trained[0], tmp_path / "flat"))
    before = (folder / "checkpoint.npz").stat().st_mtime_ns
    arguments = {"augmentation": Augmentation(rotate=False)}
    _, state = unet.train(make_set(PATCH), folder, FLAT, **arguments)
    assert state.epoch == 4 and (folder / "checkpoint.npz").stat().st_mtime_ns == before
    _, state = unet.train(make_set(PATCH), folder, replace(FLAT, epochs=5), **arguments)
    assert state.epoch == 5 and len(pd.read_csv(folder / "history.csv")) == 5


def test_another_training_is_refused_unless_overwritten(trained, make_set, tmp_path):
    folder = Path(shutil.copytree(trained[0], tmp_path / "flat"))
    other = replace(FLAT, n_first=5, epochs=1)
    with pytest.raises(InputError, match="n_first 4 instead of 5"):
        unet.train(make_set(PATCH), folder, other, augmentation=Augmentation(rotate=False))
    with pytest.raises(InputError, match="checksum"):
        unet.train(make_set(PATCH, seed=1), folder, FLAT, augmentation=Augmentation(rotate=False))
    assert model_folder.settings_of(folder, unet.UNetSettings)["n_first"] == 4
    unet.train(make_set(PATCH), folder, other, overwrite=True)
    assert model_folder.settings_of(folder, unet.UNetSettings)["n_first"] == 5


def test_a_folder_with_other_files_is_refused(make_set, tmp_path):
    (tmp_path / "results.txt").write_text("mine")
    with pytest.raises(InputError, match="it holds other files"):
        unet.train(make_set(PATCH), tmp_path, FLAT)


def test_early_stop_and_falling_rate(make_set, tmp_path):
    # At a rate of nearly nothing the validation loss does not fall any more in float32.
    settings = replace(FLAT, epochs=30, learning_rate=1e-12, patience=3, lr_patience=1, lr_factor=0.1)
    _, state = unet.train(make_set(PATCH), tmp_path / "m", settings)
    assert state.status == "stopped early" and state.epoch < 30
    assert state.epoch - state.best_epoch == 3
    rates = state.table["learning_rate"].to_numpy()
    assert rates[0] == 1e-12 and rates[-1] < 1.1e-13


def test_time_limit_ends_after_an_epoch_and_counts_all_runs(make_set, tmp_path):
    settings = replace(FLAT, epochs=500, max_minutes=1e-6)
    _, state = unet.train(make_set(PATCH), tmp_path / "m", settings)
    assert state.status == "out of time" and state.epoch == 1
    _, state = unet.train(make_set(PATCH), tmp_path / "m", settings)
    assert state.epoch == 1
    assert (tmp_path / "m" / "weights_last.h5").exists()


def test_a_loss_that_is_no_number_names_the_learning_rate(make_set, tmp_path):
    with pytest.raises(InputError, match="learning_rate"):
        unet.train(make_set(PATCH, scale=1e30), tmp_path / "m", replace(FLAT, loss="mse"))


def test_models_that_cannot_be_used_are_named(trained, tmp_path):
    folder, model, _ = trained
    with pytest.raises(InputError, match="nowhere"):
        unet.load(tmp_path / "nowhere")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InputError, match=r"config\.json"):
        unet.load(empty)
    shutil.copy(folder / "config.json", empty)
    with pytest.raises(InputError, match="weights are missing"):
        unet.load(empty)
    (empty / "weights_best.h5").write_bytes(b"not weights")
    with pytest.raises(InputError, match="empty"):
        unet.load(empty)
    with pytest.raises(InputError, match="slice_wise"):
        unet.predict(model, np.zeros((4, 32, 32), np.float32))
    with pytest.raises(InputError, match="n_tiles"):
        unet.predict(model, np.zeros((32, 32), np.float32), n_tiles=(0, 2))


def test_settings_and_patches_that_do_not_fit(make_set, tmp_path):
    with pytest.raises(InputError, match="patch size"):
        unet.train(make_set(PATCH), tmp_path / "m", replace(FLAT, depth=6))
    for wrong in ({"epochs": 0}, {"kernel": 4}, {"learning_rate": -1.0}, {"loss": "l2"}, {"schedule": "x"}):
        with pytest.raises(InputError, match=next(iter(wrong))):
            replace(FLAT, **wrong)


def test_precision_is_the_trainings_alone(make_set, tmp_path):
    import keras

    before = keras.config.dtype_policy().name
    seen = []
    real = training.build_in_folder

    def look(*args):
        model = real(*args)
        seen.append(model.keras_model.layers[1].compute_dtype)
        return model

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "build_in_folder", look)
        model, state = unet.train(
            make_set(PATCH), tmp_path / "m", replace(FLAT, epochs=1, precision="bfloat16")
        )
    assert seen == ["bfloat16"] and np.isfinite(state.best_loss)
    assert model.keras_model.layers[1].compute_dtype == "float32"
    assert keras.config.dtype_policy().name == before


def test_three_dimensions(make_set, tmp_path):
    patches = make_set((8, 16, 16), 4)
    model, _ = unet.train(
        patches, tmp_path / "m", replace(FLAT, epochs=1, loss="mse", schedule="cosine"),
        augmentation=Augmentation(),
    )  # fmt: skip
    assert unet.predict(model, np.zeros((9, 20, 21), np.float32)).shape == (9, 20, 21)


def test_loss_ignores_negative_targets():
    import tensorflow as tf

    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, (1, 8, 8, 1)).astype(np.float32)
    output = rng.normal(0, 1, truth.shape).astype(np.float32)
    hidden, changed = truth.copy(), output.copy()
    hidden[:, :4] = -1
    changed[:, :4] = 9
    for kind in ("bce_dice", "bce", "mse", "mae"):
        loss = unet.mask_loss(kind)
        a, b = (float(loss(tf.constant(hidden), tf.constant(o))) for o in (output, changed))
        assert a == pytest.approx(b, rel=1e-6), kind
        assert float(loss(tf.constant(truth), tf.constant(changed))) != pytest.approx(a, rel=1e-3)


def test_tiles_cover_every_voxel_once_with_its_halo():
    for shape, n_tiles, radius, block in [
        ((40, 64), (3, 2), (5, 9), (4, 8)),
        ((8, 8), (1, 1), (9, 9), (8, 8)),
    ]:
        seen = np.zeros(shape, int)
        sizes = set()
        for tile in inference.iterate_tiles(shape, n_tiles, radius, block):
            seen[tile.write] += 1
            sizes.add(tuple(r.stop - r.start for r in tile.read))
            for read, write, n, r in zip(tile.read, tile.write, shape, radius, strict=True):
                assert read.start <= max(0, write.start - r) and read.stop >= min(n, write.stop + r)
        assert (seen == 1).all() and len(sizes) == 1


def test_tiles_are_chosen_to_fit():
    choose = inference.choose_n_tiles
    common = {"bytes_per_voxel": 1000.0, "radius": (10, 10, 10), "block": (8, 8, 8)}
    assert choose((32, 256, 256), memory=10**10, **common) == (1, 1, 1)
    tiles = choose((32, 256, 256), memory=10**9, **common)
    tile = next(inference.iterate_tiles((32, 256, 256), tiles, (10,) * 3, (8,) * 3))
    assert np.prod([r.stop - r.start for r in tile.read]) * 1000 < 1.3e9
    assert tiles[0] == 1
