"""Scores against hand-made truths, StarDist's own pooling and, for SEG, a definition written out voxel by voxel."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from helpers.errors import InputError
from helpers.segmentation.scores import (
    IOU_THRESHOLDS,
    binary_ssim,
    frames_table,
    match_counts,
    match_table,
    pool,
    score_frame,
    score_movie,
    scores_table,
    summary,
)


def blocks(shape=(8, 32, 64), size=8, dtype=np.uint16) -> np.ndarray:
    """Cubes side by side, touching: one label per cube."""
    z, y, x = np.indices(shape) // size
    return (1 + x + y * (shape[2] // size)).astype(dtype) * (z == 0)


@pytest.fixture
def pair() -> tuple[np.ndarray, np.ndarray]:
    """Three true cells: one found exactly, one at IoU 0.6, one missed; one cell invented."""
    truth, predicted = np.zeros((2, 12, 40), np.int32), np.zeros((2, 12, 40), np.int32)
    truth[:, :10, 0:8], predicted[:, :10, 0:8] = 5, 900
    truth[:, :10, 10:20], predicted[:, :6, 10:20] = 6, 7
    truth[:, :10, 22:28] = 9
    predicted[:, :10, 30:36] = 3
    return truth, predicted


def noisy(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Blocks, and the same shifted, with a few joined, dropped and renumbered at random."""
    truth = blocks()
    predicted = np.roll(truth, 2, axis=2)
    predicted[predicted == 3] = 4
    predicted[predicted == 7] = 0
    order = np.r_[0, rng.permutation(np.arange(1, 60))[: truth.max()]]
    return truth, order[predicted]


def test_counts_precision_recall_and_f1_follow_their_definitions(pair):
    curve = score_movie([pair[0]], [pair[1]], method="vollseg").by_threshold().set_index("iou_threshold")
    assert tuple(curve.index) == IOU_THRESHOLDS
    low, high = curve.loc[0.5], curve.loc[0.7]
    assert (low.tp, low.fp, low.fn) == (2, 1, 1)
    assert (high.tp, high.fp, high.fn) == (1, 2, 2)
    assert low.f1 == pytest.approx(2 / 3)
    assert low.accuracy == pytest.approx(2 / 4)
    assert high.precision == pytest.approx(1 / 3) and high.recall == pytest.approx(1 / 3)
    assert low.mean_matched_iou == pytest.approx((1 + 0.6) / 2)
    assert high.mean_matched_iou == pytest.approx(1)


def test_an_iou_exactly_at_the_threshold_matches(pair):
    assert match_counts(*pair, iou_thresholds=(0.6,)).tp.tolist() == [2]


def test_precision_and_recall_are_not_exchanged(pair):
    truth, predicted = pair
    predicted = np.where(predicted == 3, 0, predicted)
    found = summary(score_movie([truth], [predicted], method="unet"))
    assert found["precision_50"] == 1 and found["recall_50"] == pytest.approx(2 / 3)


def test_frames_are_pooled_by_counts_as_stardist_pools_them():
    from stardist.matching import matching_dataset

    rng = np.random.default_rng(1)
    pairs = [noisy(rng), noisy(rng), (np.zeros((8, 32, 64), int), noisy(rng)[1])]
    truths, predictions = [p[0] for p in pairs], [p[1].astype(np.int64) for p in pairs]
    ours = score_movie(iter(truths), iter(predictions), method="m").by_threshold()
    theirs = matching_dataset(truths, predictions, thresh=list(IOU_THRESHOLDS), show_progress=False)
    for name, other in (
        ("tp", "tp"),
        ("fp", "fp"),
        ("fn", "fn"),
        ("f1", "f1"),
        ("accuracy", "accuracy"),
        ("precision", "precision"),
        ("recall", "recall"),
        ("mean_matched_iou", "mean_matched_score"),
    ):
        np.testing.assert_allclose(ours[name], [getattr(s, other) for s in theirs], rtol=1e-5, err_msg=name)
    assert 0 < ours.f1.iloc[4] < 1


def test_seg_is_the_definition_of_the_cell_tracking_challenge():
    truth, predicted = np.zeros((1, 8, 60), int), np.zeros((1, 8, 60), int)
    truth[0, :, 0:10], predicted[0, :, 0:5] = 1, 1  # covered exactly half: not matched
    truth[0, :, 20:30], predicted[0, :, 20:26] = 2, 2  # covered 0.6, IoU 0.6
    truth[0, :, 40:44], truth[0, :, 44:50], predicted[0, :, 40:50] = 3, 4, 3  # one blob matches both
    found = score_movie([truth], [predicted], method="m")
    assert found.seg == pytest.approx((0 + 0.6 + 0.4 + 0.6) / 4)
    assert frames_table([found]).seg.tolist() == pytest.approx([found.seg])


def test_seg_against_voxel_sets():
    truth, predicted = noisy(np.random.default_rng(2))
    expected = []
    for i in set(np.unique(truth)) - {0}:
        best = 0.0
        for j in set(np.unique(predicted)) - {0}:
            both = np.sum((truth == i) & (predicted == j))
            if 2 * both > np.sum(truth == i):
                best = both / np.sum((truth == i) | (predicted == j))
        expected.append(best)
    assert score_movie([truth], [predicted], method="m").seg == pytest.approx(np.mean(expected))


def test_frames_empty_on_both_sides_count_nothing():
    empty = np.zeros((8, 32, 64), int)
    truth, predicted = noisy(np.random.default_rng(3))
    alone = score_movie([truth], [predicted], method="m")
    among = score_movie([empty, truth, empty], [empty, predicted, empty], method="m")
    assert among.by_threshold().equals(alone.by_threshold())
    assert among.seg == alone.seg
    assert among.mse == pytest.approx(alone.mse / 3)
    assert among.ssim == pytest.approx((alone.ssim + 2) / 3)


def test_nothing_there_and_nothing_found_is_perfect():
    empty = np.zeros((8, 32, 64), int)
    result = score_movie([empty], [empty], method="m")
    perfect = {
        "f1_50": 1,
        "f1_70": 1,
        "precision_50": 1,
        "recall_50": 1,
        "mean_matched_iou": 1,
        "mse": 0,
        "ssim": 1,
    }
    assert summary(result) == perfect
    assert result.seg == 1


@pytest.mark.parametrize("truth_is_empty", [True, False])
def test_one_empty_side_counts_only_errors(truth_is_empty):
    empty, full = np.zeros((8, 32, 64), int), blocks().astype(int)
    result = score_movie([empty if truth_is_empty else full], [full if truth_is_empty else empty], method="m")
    row = result.by_threshold().iloc[0]
    assert (row.tp, row.fp, row.fn) == ((0, 32, 0) if truth_is_empty else (0, 0, 32))
    assert row.f1 == 0 and result.seg == 0 and summary(result)["mean_matched_iou"] == 0


def test_mse_is_the_fraction_of_wrong_voxels_whatever_the_ids(pair):
    truth, predicted = pair
    wrong = 2 * (10 * 4 + 10 * 6 + 10 * 6)
    assert score_frame(truth, predicted).mse == pytest.approx(wrong / truth.size)


def test_ssim_is_skimages_on_stacks_and_in_2d():
    from skimage.metrics import structural_similarity

    truth, predicted = noisy(np.random.default_rng(4))
    a, b = (truth > 0).astype(float), (predicted > 0).astype(float)
    assert binary_ssim(truth, predicted) == pytest.approx(structural_similarity(a, b, data_range=1), abs=1e-5)
    flat = structural_similarity(a[0], b[0], data_range=1)
    assert binary_ssim(truth[0], predicted[0]) == pytest.approx(flat, abs=1e-5)
    assert binary_ssim(truth[:1], predicted[:1]) == pytest.approx(flat, abs=1e-5)


def test_ssim_of_thin_stacks_is_taken_slice_by_slice():
    truth, predicted = noisy(np.random.default_rng(4))
    thin = [binary_ssim(t, p) for t, p in zip(truth[:5], predicted[:5], strict=True)]
    predicted = predicted.copy()
    predicted[2, :10] = 0
    thin[2] = binary_ssim(truth[2], predicted[2])
    assert len(set(np.round(thin, 6))) > 1
    assert binary_ssim(truth[:5], predicted[:5]) == pytest.approx(np.mean(thin))


def test_ssim_window_shrinks_on_narrow_images_only():
    truth = np.zeros((9, 6, 30), int)
    truth[:, 1:4, 3:9] = 1
    assert binary_ssim(truth, truth) == pytest.approx(1)
    with pytest.raises(InputError, match="3 pixels"):
        binary_ssim(truth[:, :2], truth[:, :2])


def test_match_table_names_every_label_once(pair):
    table = match_table(*pair)
    assert table.to_dict("list") == {
        "truth": [5, 6, 0, 9],
        "predicted": [900, 7, 3, 0],
        "iou": pytest.approx([1, 0.6, 0, 0]),
        "outcome": ["TP", "TP", "FP", "FN"],
    }
    strict = match_table(*pair, iou_threshold=0.7)
    assert strict.outcome.tolist() == ["TP", "FP", "FP", "FN", "FN"]
    assert strict.loc[strict.truth == 6, "iou"].item() == pytest.approx(0.6)


@pytest.mark.parametrize("empty", [0, 1])
def test_match_table_with_an_empty_side(pair, empty):
    sides = list(pair)
    sides[empty] = np.zeros_like(sides[empty])
    table = match_table(*sides)
    assert set(table.outcome) == {"FP" if empty == 0 else "FN"} and len(table) == 3


def test_pooling_movies_equals_scoring_them_as_one():
    rng = np.random.default_rng(5)
    a, b = noisy(rng), noisy(rng)
    whole = score_movie([a[0], b[0]], [a[1], b[1]], method="m")
    parts = [score_movie([t], [p], method="m") for t, p in (a, b)]
    pooled = pool(parts)
    assert pooled.counts.equals(whole.counts) and pooled.frames.equals(whole.frames)
    with pytest.raises(InputError, match="method"):
        pool([parts[0], score_movie([a[0]], [a[1]], method="other")])
    with pytest.raises(InputError, match="iou_thresholds"):
        pool([parts[0], score_movie([a[0]], [a[1]], method="m", iou_thresholds=(0.5,))])


def test_summary_has_the_designs_names_and_plain_floats(pair):
    found = summary(score_movie([pair[0]], [pair[1]], method="m"))
    assert list(found) == ["f1_50", "f1_70", "precision_50", "recall_50", "mean_matched_iou", "mse", "ssim"]
    curve = score_movie([pair[0]], [pair[1]], method="m").by_threshold().set_index("iou_threshold")
    assert found["f1_50"] == curve.f1[0.5] > found["f1_70"] == curve.f1[0.7]
    assert "f1_70" not in summary(score_movie([pair[0]], [pair[1]], method="m", iou_thresholds=(0.5,)))
    assert all(type(value) is float for value in found.values())
    with pytest.raises(InputError, match=r"0\.5"):
        summary(score_movie([pair[0]], [pair[1]], method="m", iou_thresholds=(0.3,)))


def test_long_table_keeps_the_order_of_methods(pair):
    results = [score_movie([pair[0]], [pair[1]], method=name) for name in ("vollseg", "stardist", "unet")]
    table = scores_table(results)
    assert table.method.unique().tolist() == ["vollseg", "stardist", "unet"]
    assert len(table) == 3 * len(IOU_THRESHOLDS)


# Published label stacks were float16, which merges ids above 2048: such a stack is refused, never rounded.
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, bool])
@pytest.mark.parametrize("side", [0, 1])
def test_labels_that_are_not_integers_are_refused(pair, dtype, side):
    sides = list(pair)
    sides[side] = sides[side].astype(dtype)
    for function in (score_frame, match_table, match_counts):
        with pytest.raises(InputError, match=["truth", "predicted"][side] + ".*integer"):
            function(*sides)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32, np.int32, np.int64, np.uint64])
def test_ids_are_exact_in_every_integer_type_and_however_large(dtype):
    top = min(int(np.iinfo(dtype).max), 2**31 - 1)
    truth = np.zeros((1, 9, 30), dtype)
    for k in range(3):
        truth[:, :8, 10 * k : 10 * k + 8] = top - k
    assert score_frame(truth, truth).counts.tp.tolist() == [3] * 9
    assert sorted(match_table(truth, truth).predicted) == [top - 2, top - 1, top]
    assert score_frame(truth, truth).seg_sum == 3


def test_thousands_of_ids_that_float16_would_merge_are_told_apart():
    labels = np.arange(1, 3001, dtype=np.int32).reshape(50, 60)
    assert len(np.unique(labels.astype(np.float16))) < 3000
    assert match_counts(labels, labels, iou_thresholds=(0.5,)).tp.tolist() == [3000]


@pytest.mark.parametrize(
    ("truth", "predicted", "message"),
    [
        (np.zeros((4, 8, 8), int), np.zeros((4, 8, 9), int), "shape"),
        (np.full((4, 8, 8), -1), np.zeros((4, 8, 8), int), "-1"),
        (np.zeros((1, 4, 8, 8), int), np.zeros((1, 4, 8, 8), int), "Z, Y, X"),
        (np.zeros((0, 8, 8), int), np.zeros((0, 8, 8), int), "empty"),
    ],
)
def test_frames_that_cannot_be_scored_are_refused(truth, predicted, message):
    with pytest.raises(InputError, match=message):
        score_frame(truth, predicted)


def test_a_movies_error_names_the_frame():
    good, bad = np.zeros((4, 8, 8), int), np.zeros((4, 8, 9), int)
    with pytest.raises(InputError, match="frame 1, predicted"):
        score_movie([good, good], [good, bad], method="m")
    with pytest.raises(InputError, match="predicted_frames"):
        score_movie([good, good], [good], method="m")
    with pytest.raises(InputError, match="truth_frames"):
        score_movie(iter([good]), iter([good, good]), method="m")
    with pytest.raises(InputError, match="no frames"):
        score_movie([], [], method="m")


@pytest.mark.parametrize("thresholds", [(), (0,), (1.1,), (0.5, 0.5), (float("nan"),)])
def test_thresholds_out_of_range_are_refused(pair, thresholds):
    with pytest.raises(InputError, match="iou_thresholds"):
        score_frame(*pair, iou_thresholds=thresholds)


def test_frames_are_streamed():
    """However long the movie, only a few of its frames are in memory."""
    import weakref

    alive: list[weakref.ref] = []

    def frames():
        for _ in range(12):
            frame = np.zeros((2, 16, 16), np.int64)
            frame[:, 2:9, 2:9] = 1
            alive.append(weakref.ref(frame))
            yield frame
            del frame
            # The frames just scored and those that Python's own zip keeps until it is asked again.
            assert sum(ref() is not None for ref in alive) <= 6

    score_movie(frames(), frames(), method="m")
    assert len(alive) == 24


def test_real_labels_score_perfectly_against_themselves_and_not_when_eroded(samples):
    import h5py
    from scipy.ndimage import minimum_filter

    with h5py.File(samples / "plantseg" / "sample_ovule.h5") as file:
        truth = np.asarray(file["label"])[:12]  # type: ignore[index]
    assert summary(score_movie([truth], [truth], method="m"))["f1_50"] == 1
    eroded = np.where(minimum_filter(truth, (3, 5, 5)) == truth, truth, 0)
    worse = summary(score_movie([truth], [eroded], method="m"))
    assert worse["mean_matched_iou"] < 0.9 and worse["mse"] > 0.05 and worse["ssim"] < 0.9


def test_import_is_cheap():
    code = "import sys, helpers.segmentation.scores; print([m for m in ('stardist','csbdeep','tensorflow','matplotlib') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
