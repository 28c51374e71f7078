"""Noise2Void in numpy 2 and Keras 3: it trains on all images, resumes, is opened by n2v, and denoises."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from helpers.errors import InputError
from helpers.models import denoising

FLAT = denoising.DenoiserSettings(
    epochs=6, steps_per_epoch=12, batch_size=4, patch_size=(32, 32), patches_per_image=12, depth=1, n_first=8,
    learning_rate=4e-3, perc_pix=1.0, seed=5,
)  # fmt: skip


def scene(seed: int, shape: tuple[int, ...] = (64, 64)) -> tuple[np.ndarray, np.ndarray]:
    """Return a smooth raw image with noise, and the truth."""
    rng = np.random.default_rng(seed)
    clean = ndimage.gaussian_filter(rng.normal(0, 1, shape), 4)
    clean = 200 + 100 * clean / clean.std()
    return (clean + rng.normal(0, 60, shape)).astype(np.float32), clean


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("n2v") / "flat"
    model, state = denoising.train([scene(i)[0] for i in range(4)], folder, FLAT)
    return folder, model, state


def test_it_denoises_images_it_has_not_seen(trained):
    _, model, state = trained
    noisy, clean = scene(9)
    denoised = denoising.predict(model, noisy)
    assert denoised.shape == noisy.shape and denoised.dtype == np.float32
    assert denoising.psnr(denoised, clean) > denoising.psnr(noisy, clean) + 2
    assert abs(denoised.mean() - noisy.mean()) < 30  # in the units of the image
    assert state.epoch == 6


def test_saved_loaded_and_opened_by_n2v(trained):
    from n2v.models import N2V

    folder, model, _ = trained
    noisy, _ = scene(10)
    expected = denoising.predict(model, noisy)
    assert np.array_equal(denoising.predict(denoising.load(folder), noisy), expected)
    theirs = N2V(None, name=folder.name, basedir=str(folder.parent))
    assert np.allclose(theirs.predict(noisy, "YX"), expected, atol=1e-2)
    tiled = denoising.predict(model, noisy, n_tiles=(2, 2))
    assert np.abs(tiled - expected).max() < 1e-2


def test_an_interrupted_training_goes_on(trained, tmp_path):
    images = [scene(i)[0] for i in range(4)]
    denoising.train(images, tmp_path / "m", replace(FLAT, epochs=2))
    _, state = denoising.train(images, tmp_path / "m", FLAT)
    assert np.allclose(state.table["val_loss"], trained[2].table["val_loss"], rtol=1e-4)
    with pytest.raises(InputError, match="checksum"):
        denoising.train([i + 1 for i in images], tmp_path / "m", FLAT)


def test_patches_come_from_all_images():
    images = [np.full((40, 40), i, np.float32) + np.arange(40) / 1000 for i in range(10)]
    patches, n_validation = denoising.sample_patches(images, FLAT)
    assert len(patches) == 120 and n_validation == 12
    of_image = patches.mean(axis=(1, 2)).astype(int)
    assert set(of_image) == set(range(10))
    assert not set(of_image[:n_validation]) & set(of_image[n_validation:])  # split by image
    few, _ = denoising.sample_patches(images, replace(FLAT, max_patches=20))
    assert len(few) == 20 and set(few.mean(axis=(1, 2)).astype(int)) == set(range(10))


def test_blind_spots_hide_the_share_asked_for_in_2d_and_3d():
    rng = np.random.default_rng(0)
    for shape in ((64, 64), (16, 64, 64)):
        patch = rng.normal(0, 1, shape).astype(np.float32)
        x, y = denoising.blind_spots(patch, rng, perc_pix=0.198, radius=4)
        hidden = y[..., 1] > 0
        assert 0.1 < 100 * hidden.mean() < 0.4, shape
        assert np.array_equal(y[..., 0][hidden], patch[hidden])
        assert np.array_equal(x[~hidden], patch[~hidden])
        for spot in np.argwhere(hidden):
            box = tuple(slice(max(0, s - 4), s + 5) for s in spot)
            assert x[tuple(spot)] in patch[box]
        assert (x[hidden] != patch[hidden]).mean() > 0.8


def test_three_dimensions(tmp_path):
    settings = replace(FLAT, epochs=1, steps_per_epoch=2, patch_size=(8, 16, 16), depth=2, n_first=4)
    model, _ = denoising.train([scene(1, (12, 40, 40))[0]], tmp_path / "m", settings)
    assert model.config.n_dim == 3
    assert denoising.predict(model, scene(2, (9, 30, 31))[0]).shape == (9, 30, 31)
    with pytest.raises(InputError, match="3D"):
        denoising.predict(model, scene(2)[0])


def test_images_that_do_not_suit(tmp_path):
    flat = scene(0)[0]
    with pytest.raises(InputError, match="at least one image"):
        denoising.train([], tmp_path / "m", FLAT)
    with pytest.raises(InputError, match="patch_size"):
        denoising.train([flat[:20]], tmp_path / "m", FLAT)
    with pytest.raises(InputError, match=r"images\[1\]"):
        denoising.train([flat, np.zeros((4, 64, 64))], tmp_path / "m", FLAT)
    with pytest.raises(InputError, match="contrast"):
        denoising.train([np.ones((64, 64))], tmp_path / "m", FLAT)
    with pytest.raises(InputError, match="NaN"):
        denoising.train([np.full((64, 64), np.nan)], tmp_path / "m", FLAT)
    with pytest.raises(InputError, match="patch_size"):
        replace(FLAT, depth=6)
    with pytest.raises(InputError, match="precision"):
        replace(FLAT, precision="bfloat16")
    assert not (tmp_path / "m").exists()


def test_psnr_ignores_scale_and_offset():
    rng = np.random.default_rng(0)
    truth = rng.uniform(0, 10, (20, 20))
    noisy = truth + rng.normal(0, 1, truth.shape)
    assert denoising.psnr(truth * 3 - 7, truth) > 150
    value = denoising.psnr(noisy, truth)
    assert denoising.psnr(noisy * -0.5 + 3, truth) == pytest.approx(value)
    assert value == pytest.approx(10 * np.log10(np.ptp(truth) ** 2 / 1.0), abs=1.0)
    with pytest.raises(InputError, match="truth"):
        denoising.psnr(truth, truth[1:])
    with pytest.raises(InputError, match="contrast"):
        denoising.psnr(truth, np.ones_like(truth))
