from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from helpers.data.augment import (
    Augmentation,
    Geometry,
    augment,
    change_intensity,
    draw_geometry,
    margin,
    mirrored,
)
from helpers.errors import InputError

OFF = Augmentation.none()
#: Every kind, always.
ALL = replace(Augmentation(), probability=1.0)
GEOMETRY = replace(OFF, probability=1.0, flip=True, flip_z=True, rotate_90=True, rotate=True, elastic=True)


@pytest.fixture(scope="module")
def labels() -> np.ndarray:
    """Thirty cells that fill (8, 64, 64), with ids far apart."""
    rng = np.random.default_rng(0)
    points = rng.random((30, 3)) * (8, 64, 64)
    grid = np.moveaxis(np.indices((8, 64, 64)), 0, -1)[..., None, :]
    nearest = (((grid - points) * (3, 1, 1)) ** 2).sum(-1).argmin(-1)
    return (nearest * 1000 + 7).astype(np.uint16)


def test_ids_are_never_interpolated(labels: np.ndarray) -> None:
    known, rng = set(np.unique(labels)), np.random.default_rng(1)
    for _ in range(20):
        _, moved = augment(labels.astype(np.float32), labels, ALL, rng)
        assert moved.dtype == labels.dtype
        assert set(np.unique(moved)) <= known


def test_image_and_labels_move_alike(labels: np.ndarray) -> None:
    """An image that holds the ids: away from boundaries, where it is interpolated, it equals the labels."""
    rng = np.random.default_rng(2)
    for _ in range(10):
        raw, moved = augment(labels, labels, GEOMETRY, rng)
        inside = ndimage.minimum_filter(moved, (1, 3, 3)) == ndimage.maximum_filter(moved, (1, 3, 3))
        assert inside.mean() > 0.5
        # A cell's thinnest corner may vanish from the labels and still colour the image beside it.
        assert np.isclose(raw[inside], moved[inside], rtol=1e-5).mean() > 0.99


def test_geometry_changes_the_patch_and_keeps_slices_apart(labels: np.ndarray) -> None:
    stack = np.broadcast_to(np.arange(8)[:, None, None], (8, 64, 64))
    settings = replace(GEOMETRY, flip_z=False)
    raw, moved = augment(labels, stack, settings, np.random.default_rng(3))
    np.testing.assert_array_equal(moved, stack)  # never out of the plane
    assert (raw != labels).mean() > 0.5
    both = {tuple(augment(labels, stack, GEOMETRY, np.random.default_rng(s))[1][:, 0, 0]) for s in range(10)}
    assert both == {tuple(range(8)), tuple(range(7, -1, -1))}


@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize("flips", [(False, False, False), (True, False, True), (False, True, False)])
def test_quarter_turns_and_mirrors_are_exact(labels: np.ndarray, turns: int, flips) -> None:
    geometry = Geometry((8, 64, 64), flips, turns, None)
    expected = np.flip(np.rot90(labels, turns, (1, 2)), [axis for axis in range(3) if flips[axis]])
    np.testing.assert_array_equal(geometry.apply(labels, nearest=True), expected)


def test_patches_that_are_not_square_get_half_turns_only() -> None:
    rng, settings = np.random.default_rng(0), replace(OFF, rotate_90=True)
    oblong = {draw_geometry((4, 32, 48), settings, rng).quarter_turns for _ in range(40)}
    oblong_pixels = {
        draw_geometry((4, 32, 32), settings, rng, voxel_size=(3, 0.5, 0.4)).quarter_turns for _ in range(40)
    }
    square = {draw_geometry((4, 32, 32), settings, rng).quarter_turns for _ in range(40)}
    assert oblong == oblong_pixels == {0, 2} and square == {0, 1, 2, 3}


def test_a_rotation_turns_by_its_angle_in_micrometres() -> None:
    """A bar along x on pixels half as high as wide becomes, at 90°, a bar of the same µm along y."""
    bar = np.zeros((1, 81, 81), np.uint8)
    bar[:, 36:45, 30:51] = 1  # 9 × 0.5 µm by 21 × 1 µm

    class Right:  # the only random number drawn is the angle: rotate_degrees itself
        def integers(self, *_args, **_kw):
            return np.zeros(3, int)

        def random(self):
            return 0.0

        def uniform(self, *_):
            return 1.0

    settings = replace(OFF, probability=1.0, rotate=True, rotate_degrees=90)
    geometry = draw_geometry((1, 81, 81), settings, Right(), voxel_size=(3, 0.5, 1.0))  # type: ignore[arg-type]
    turned = geometry.apply(bar, nearest=True)
    rows, columns = np.nonzero(turned[0, :, 25:56])  # further out, the region ends and is mirrored
    assert (np.ptp(rows) + 1) * 0.5 == pytest.approx(21, abs=1)
    assert (np.ptp(columns) + 1) * 1.0 == pytest.approx(4.5, abs=1)


@pytest.mark.parametrize("voxel_size", [None, (3, 0.5, 0.5), (3, 0.5, 0.3)])
@pytest.mark.parametrize("size", [(4, 32, 32), (4, 20, 44)])
def test_no_border_is_invented_within_the_margin(size, voxel_size) -> None:
    settings = replace(GEOMETRY, rotate_degrees=180)
    _, my, mx = margin(size, settings, voxel_size=voxel_size)
    far = -np.inf
    for seed in range(200):
        geometry = draw_geometry(size, settings, np.random.default_rng(seed), voxel_size=voxel_size)
        assert geometry.coordinates is not None
        over = np.abs(geometry.coordinates).max((1, 2)) - ((size[1] - 1) / 2 + my, (size[2] - 1) / 2 + mx)
        far = max(far, float(over.max()))
    assert far <= 0
    assert far > -8  # and the margin is no larger than it must be
    assert margin(size, replace(OFF, flip=True, rotate_90=True)) == (0, 0, 0)


def test_mirrored_indices() -> None:
    np.testing.assert_array_equal(mirrored(np.arange(-4, 9), 4), np.pad(np.arange(4), (4, 5), mode="reflect"))
    np.testing.assert_array_equal(mirrored(np.arange(-2, 3), 1), 0)


def test_all_off_changes_nothing(labels: np.ndarray) -> None:
    raw = labels.astype(np.float32)
    moved_raw, moved = augment(raw, labels, OFF, np.random.default_rng(0))
    np.testing.assert_array_equal(moved_raw, raw)
    np.testing.assert_array_equal(moved, labels)


def augmenter(settings: Augmentation, seed: int):
    """Return a function that draws anew at each call, from one seeded stream."""
    rng = np.random.default_rng(seed)
    return lambda x, y: augment(x, y, settings, rng)


def test_deterministic_and_different_from_call_to_call(labels: np.ndarray) -> None:
    raw = labels / np.float32(30_000)
    first, again, other = augmenter(ALL, 5), augmenter(ALL, 5), augmenter(ALL, 6)
    results = [first(raw, labels) for _ in range(3)]
    for x, y in results:
        x2, y2 = again(raw, labels)
        np.testing.assert_array_equal(x, x2)
        np.testing.assert_array_equal(y, y2)
    assert not np.array_equal(results[0][0], results[1][0])
    assert not np.array_equal(results[0][0], other(raw, labels)[0])


def test_noise_has_the_strength_asked_for() -> None:
    flat, rng = np.full((8, 128, 128), 0.5, np.float32), np.random.default_rng(0)
    settings = replace(OFF, probability=1.0, gaussian=True, gaussian_sd=(0.05, 0.05))
    assert change_intensity(flat, settings, rng).std() == pytest.approx(0.05, rel=0.02)
    settings = replace(OFF, probability=1.0, poisson=True, poisson_photons=(50, 50))
    noisy = change_intensity(flat, settings, rng)
    assert noisy.mean() == pytest.approx(0.5, rel=0.01)
    assert noisy.std() == pytest.approx(np.sqrt(0.5 / 50), rel=0.02)
    np.testing.assert_allclose(change_intensity(-flat, settings, rng), -flat)  # no shot noise below 0


def test_intensity_scale_gamma_and_offset() -> None:
    raw, rng = np.linspace(-0.5, 2, 640, dtype=np.float32).reshape(10, 8, 8), np.random.default_rng(0)
    settings = replace(
        OFF, probability=1.0, intensity=True, intensity_scale=(2, 2), intensity_gamma=(1, 1), intensity_offset=(-0.25, -0.25)
    )  # fmt: skip
    np.testing.assert_allclose(change_intensity(raw, settings, rng), 2 * raw - 0.25, atol=1e-5)
    bent = change_intensity(
        raw, replace(settings, intensity_scale=(1, 1), intensity_gamma=(2, 2), intensity_offset=(0, 0)), rng
    )
    assert np.isfinite(bent).all() and (np.diff(bent.ravel()) >= 0).all()
    assert bent.min() == pytest.approx(-0.5) and bent.max() == pytest.approx(2)
    assert bent.mean() < raw.mean()


def test_a_plane_is_a_stack_of_one(labels: np.ndarray) -> None:
    x, y = augmenter(GEOMETRY, 4)(labels[0], labels[0])
    stack_x, stack_y = augmenter(GEOMETRY, 4)(labels[:1], labels[:1])
    assert x.shape == y.shape == (64, 64)
    np.testing.assert_array_equal(x, stack_x[0])
    np.testing.assert_array_equal(y, stack_y[0])


def test_a_strength_of_zero_is_allowed_and_nonsense_is_not(labels: np.ndarray) -> None:
    Augmentation(rotate_degrees=0, elastic_sd=0, gaussian_sd=(0, 0), probability=0)
    assert Augmentation(gaussian_sd=[0, 0.1]).gaussian_sd == (0, 0.1)  # type: ignore[arg-type] - from YAML
    for wrong in (
        {"probability": 1.5},
        {"denoised_fraction": -0.1},
        {"rotate_degrees": -5},
        {"elastic_spacing": 0},
        {"gaussian_sd": (0.2, 0.1)},
        {"poisson_photons": (0, 10)},
        {"intensity_scale": (1, float("inf"))},
        {"intensity_gamma": (1,)},
    ):
        with pytest.raises(InputError, match=next(iter(wrong))):
            Augmentation(**wrong)
    rng = np.random.default_rng(0)
    with pytest.raises(InputError, match="labels"):
        augment(labels, labels[1:], ALL, rng)
