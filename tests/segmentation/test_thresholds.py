"""Thresholds found on labels that a real watershed writes, with networks' outputs whose optimum is known."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.errors import InputError
from helpers.segmentation import thresholds as module
from helpers.segmentation.threshold_search import plateau_middle, search
from helpers.segmentation.thresholds import Thresholds, load, optimize, optimize_outline, save

GRID = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


def outputs_and_truth(seed: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Cells of radius 5 whose peaks rise above 0.6 and ghosts that stay below 0.4; foreground of soft edges."""
    rng = np.random.default_rng(seed)
    y, x = np.indices((64, 96))
    probability, foreground = np.zeros((64, 96)), np.zeros((64, 96))
    truth = np.zeros((64, 96), np.int32)
    for k, (cy, cx) in enumerate((r, c) for r in range(8, 64, 16) for c in range(8, 96, 16)):
        cy, cx = cy + rng.uniform(-1, 1), cx + rng.uniform(-1, 1)
        distance = np.hypot(y - cy, x - cx)
        ghost = k % 4 == 3
        height = rng.uniform(0.25, 0.4) if ghost else rng.uniform(0.6, 0.95)
        probability = np.maximum(probability, height * np.exp(-((distance / 4) ** 2)))
        # The soft edge crosses 0.3 at the true radius: a cut of 0.5 is too tight, one of 0.1 too wide.
        foreground = np.maximum(foreground, 1 / (1 + np.exp((distance - 5) / 0.8 + np.log(0.7 / 0.3))))
        if not ghost:
            truth[distance < 5] = k + 1
    return {"probability": probability, "foreground": foreground}, truth


def segment(output: dict[str, np.ndarray], *, prob: float, nms: float, foreground: float) -> np.ndarray:
    """Seeds at peaks above `prob`, farther apart the smaller `nms`; watershed inside the foreground."""
    from skimage.feature import peak_local_max
    from skimage.segmentation import watershed

    peaks = peak_local_max(
        output["probability"],
        threshold_abs=prob,
        min_distance=max(1, round(12 * (0.6 - nms))),
        exclude_border=False,
    )
    markers = np.zeros(output["probability"].shape, np.int32)
    markers[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    return watershed(-output["probability"], markers, mask=output["foreground"] > foreground)


@pytest.fixture(scope="module")
def frames():
    pairs = [outputs_and_truth(seed) for seed in range(2)]
    return [p[0] for p in pairs], [p[1] for p in pairs]


@pytest.fixture(scope="module")
def found(frames) -> Thresholds:
    return optimize(
        *frames, segment, prob_thresholds=GRID, foreground_thresholds=GRID, nms_thresholds=(0.0, 0.3, 0.5)
    )


def test_every_threshold_tried_reaches_the_prediction(frames):
    """The published optimisation predicted with the model's own thresholds, whatever it was trying."""
    seen: list[tuple[float, float, float]] = []

    def recording(output, *, prob, nms, foreground):
        seen.append((prob, nms, foreground))
        return segment(output, prob=prob, nms=nms, foreground=foreground)

    result = optimize(
        *frames, recording, prob_thresholds=GRID, nms_thresholds=(0.3, 0.5), foreground_thresholds=(0.3, 0.5)
    )
    tried = [tuple(row) for row in result.table[["prob", "nms", "foreground"]].to_numpy()]
    assert [once for once in tried for _ in frames[0]] == seen
    assert {prob for prob, _, _ in seen} >= set(GRID)
    for _, row in result.table.iterrows():
        labels = [segment(o, prob=row.prob, nms=row.nms, foreground=row.foreground) for o in frames[0]]
        assert row.n_predicted == sum(len(np.unique(frame)) - 1 for frame in labels)
    assert result.table.n_predicted.nunique() > 3


def test_the_known_optimum_is_found(found):
    assert 0.4 <= found.prob <= 0.6
    assert 0.2 <= found.foreground <= 0.4
    assert found.score > 0.98
    assert found.score == pytest.approx(found.table.score.max())


def test_the_score_is_that_of_the_labels_finally_written(frames, found):
    from helpers.segmentation.scores import score_movie

    labels = [segment(output, **found.values) for output in frames[0]]
    curve = score_movie(frames[1], labels, method="vollseg").by_threshold().set_index("iou_threshold")
    assert found.score == pytest.approx(curve.f1[[0.3, 0.5, 0.7]].mean())
    row = found.table[(found.table[["prob", "nms", "foreground"]] == list(found.values.values())).all(axis=1)]
    assert row.f1_50.item() == pytest.approx(curve.f1[0.5])
    assert row.n_true.item() == sum(len(np.unique(truth)) - 1 for truth in frames[1])


def test_accuracy_can_be_the_measure(frames):
    from stardist.matching import matching_dataset

    result = optimize(
        *frames,
        segment,
        prob_thresholds=(0.1,),
        nms_thresholds=(0.3,),
        foreground_thresholds=(0.3,),
        iou_thresholds=(0.5,),
        measure="accuracy",
    )
    labels = [segment(output, prob=0.1, nms=0.3, foreground=0.3) for output in frames[0]]
    expected = matching_dataset(frames[1], labels, thresh=0.5, show_progress=False)
    assert result.score == pytest.approx(expected.accuracy) and 0.3 < result.score < 0.95
    assert "accuracy_50" in result.table


def test_a_coordinate_search_needs_far_fewer_fusions_than_the_full_grid(found):
    assert len(found.table) < 45 < 9 * 9 * 3
    assert not found.table.duplicated(["prob", "nms", "foreground"]).any()


def test_the_search_is_deterministic(frames, found):
    again = optimize(
        *frames, segment, prob_thresholds=GRID, foreground_thresholds=GRID, nms_thresholds=(0.0, 0.3, 0.5)
    )
    assert again.values == found.values and again.table.equals(found.table)


def test_refinement_finds_an_optimum_between_the_grid_points(frames):
    settings = {"prob_thresholds": (0.05, 0.95), "nms_thresholds": (0.3,), "foreground_thresholds": (0.3,)}
    coarse = optimize(*frames, segment, refinements=0, **settings)
    fine = optimize(*frames, segment, refinements=2, **settings)
    assert coarse.score < 0.9
    assert fine.score > 0.98 and fine.prob not in (0.05, 0.95)


def test_a_start_is_tried_even_off_the_grid(frames):
    result = optimize(
        *frames,
        segment,
        prob_thresholds=(0.1, 0.9),
        nms_thresholds=(0.3,),
        foreground_thresholds=(0.3,),
        refinements=0,
        start={"prob": 0.5},
    )
    assert result.prob == 0.5 and result.score > 0.98


def test_an_axis_left_out_is_not_handed_on(frames):
    def stardist_alone(output, *, prob, nms):
        return segment(output, prob=prob, nms=nms, foreground=0.3)

    result = optimize(*frames, stardist_alone, prob_thresholds=GRID, foreground_thresholds=None)
    assert result.foreground is None and set(result.values) == {"prob", "nms"}
    assert "foreground" not in result.table


@settings(max_examples=60, deadline=None)
@given(
    heights=st.lists(st.integers(0, 4), min_size=1, max_size=9),
    others=st.lists(st.integers(0, 4), min_size=1, max_size=5),
)
def test_the_search_never_returns_less_than_it_saw(heights, others):
    grids = {"prob": tuple(range(len(heights))), "nms": tuple(range(len(others)))}
    seen = []

    def score(values):
        k, m = (
            np.interp(values["prob"], grids["prob"], heights),
            np.interp(values["nms"], grids["nms"], others),
        )
        seen.append(float(k * m))
        return seen[-1]

    best = search(grids, {}, score, 2)
    assert score(best) >= max(seen) - 1e-9


@pytest.mark.parametrize(
    ("scores", "index"),
    [
        ([0, 1, 1, 1, 0], 2),
        ([1, 0, 1, 1], 2),
        ([1, 0, 1], 0),
        ([3], 0),
        ([0, 0, 0, 0], 1),
        ([1, 1 - 1e-12], 0),
    ],
)
def test_the_middle_of_the_longest_plateau_is_taken(scores, index):
    assert plateau_middle(np.array(scores, float)) == index


def test_where_cells_end_is_found_voxel_by_voxel(frames):
    foregrounds = [output["foreground"] for output in frames[0]]
    # The ghosts are foreground as well: what is sought is where the soft edge meets the true radius.
    truths = [np.maximum(truth > 0, fg > 0.3) for truth, fg in zip(frames[1], foregrounds, strict=True)]
    assert optimize_outline(foregrounds, truths, np.greater) == pytest.approx(0.3)
    # Cells that grow farther than the outline end at a higher one.
    grown = optimize_outline(foregrounds, truths, lambda fg, outline: fg > outline - 0.4)
    assert grown == pytest.approx(0.7)


def test_what_is_saved_is_read_back(found, tmp_path):
    path = save(found, tmp_path / "models" / "thresholds.json")
    again = load(path)
    assert (again.values, again.score, again.measure) == (found.values, found.score, found.measure)
    assert again.iou_thresholds == found.iou_thresholds
    np.testing.assert_array_equal(again.table.to_numpy(), found.table.to_numpy())
    assert list(path.parent.iterdir()) == [path]


def test_stardists_own_file_can_be_read(tmp_path):
    path = tmp_path / "thresholds.json"
    path.write_text(json.dumps({"prob": 0.76, "nms": 0.3}))
    assert load(path).values == {"prob": 0.76, "nms": 0.3}


def test_a_failed_save_leaves_the_old_file(found, tmp_path, monkeypatch):
    path = save(found, tmp_path / "thresholds.json")
    before = path.read_bytes()
    monkeypatch.setattr(
        module.json, "dumps", lambda *a, **k: (_ for _ in ()).throw(OSError(28, "No space left"))
    )
    with pytest.raises(InputError, match="No space left"):
        save(found, path)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("content", "message"),
    [("{", "JSON"), ("[1]", "JSON"), ('{"prob": 1.5}', "prob"), ('{"nms": "high"}', "nms")],
)
def test_a_broken_file_is_named(tmp_path, content, message):
    path = tmp_path / "thresholds.json"
    path.write_text(content)
    with pytest.raises(InputError, match=message) as caught:
        load(path)
    assert str(path) in str(caught.value)
    with pytest.raises(InputError, match="no such file"):
        load(tmp_path / "other.json")


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"prob_thresholds": (0.5, 1.2)}, "prob_thresholds"),
        ({"nms_thresholds": (-0.1,)}, "nms_thresholds"),
        ({"foreground_thresholds": ()}, "foreground_thresholds"),
        ({"foreground_thresholds": (float("nan"),)}, "foreground_thresholds"),
        ({"prob_thresholds": ("a",)}, "prob_thresholds"),
        ({"prob_thresholds": None, "nms_thresholds": None, "foreground_thresholds": None}, "prob_thresholds"),
        ({"measure": "f2"}, "measure"),
        ({"refinements": -1}, "refinements"),
        ({"iou_thresholds": (0,)}, "iou_thresholds"),
        ({"start": {"probability": 0.5}}, "start"),
        ({"start": {"prob": 2}}, "start"),
    ],
)
def test_bad_settings_are_refused_before_anything_is_computed(frames, change, name):
    def never(*args, **kwargs):
        raise AssertionError("computed something first")

    with pytest.raises(InputError) as caught:
        optimize(*frames, never, **change)
    assert caught.value.name.startswith(name)


def test_frames_without_partner_or_objects_are_refused(frames):
    outputs, truths = frames
    with pytest.raises(InputError, match="2 outputs, 1 truths"):
        optimize(outputs, truths[:1], segment)
    with pytest.raises(InputError, match="no objects"):
        optimize(outputs, [np.zeros_like(t) for t in truths], segment)
    with pytest.raises(InputError, match="1 foregrounds, 2 truths"):
        optimize_outline([np.zeros((3, 4))], [np.ones((3, 4))] * 2, np.greater)
    with pytest.raises(InputError, match="labelled objects"):
        optimize_outline([np.zeros((3, 4))], [np.zeros((3, 4))], np.greater)
    with pytest.raises(InputError, match="outlines"):
        optimize_outline([np.zeros((3, 4))], [np.ones((3, 4))], np.greater, outlines=(0.5, 2.0))


def test_a_start_is_not_left_for_less_than_one_cell() -> None:
    scores = {0.2: 0.974, 0.3: 0.974, 0.9: 0.95, 0.98: 0.968}

    def score(values):
        return scores[values["foreground"]]

    grids = {"foreground": tuple(scores)}
    kept = search(grids, {"foreground": 0.98}, score, 0, tolerance=1 / 64)
    assert kept == {"foreground": 0.98}
    assert search(grids, {"foreground": 0.98}, score, 0)["foreground"] < 0.5
    assert search(grids, {"foreground": 0.9}, score, 0, tolerance=1 / 64)["foreground"] < 0.5


def test_scores_within_one_cell_are_a_plateau() -> None:
    scores = {0.4: 0.89, 0.5: 0.95, 0.6: 0.955, 0.7: 0.96, 0.8: 0.9}
    grids = {"prob": tuple(scores)}
    assert search(grids, {}, lambda values: scores[values["prob"]], 0, tolerance=1 / 64)["prob"] == 0.6
    assert search(grids, {}, lambda values: scores[values["prob"]], 0)["prob"] == 0.7
