"""The ELEPHANT network: what it learns, what is drawn from it, and training from sparse labels to a segmenter."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from helpers.data.few_cells import draw_few_cells
from helpers.errors import InputError
from helpers.models import elephant, elephant_shapes
from helpers.models.from_annotations import train_from_annotations
from helpers.models.watch import Step, TrainingStopped
from helpers.segmentation.elephant_segmenter import QUALITY, ElephantSegmenter
from helpers.segmentation.matching import match_counts
from tests.models.drawn_cells import draw_cells

SMALL = elephant.ElephantSettings(
    epochs=8, steps_per_epoch=12, batch_size=4, depth=2, n_first=8, learning_rate=3e-3, schedule="cosine",
    precision="float32",
)  # fmt: skip


def ellipses(is_3d: bool = False) -> np.ndarray:
    """Return labels of a few ellipses, two of them touching."""
    shape = (16, 64, 64) if is_3d else (1, 64, 64)
    z, y, x = np.indices(shape)
    labels = np.zeros(shape, np.int32)
    for i, (cy, cx) in enumerate([(14, 14), (14, 29), (40, 20), (44, 50)], start=1):
        away = ((z - shape[0] // 2) / 5) ** 2 + ((y - cy) / 9) ** 2 + ((x - cx) / 7) ** 2
        labels[(away < 1) & (labels == 0)] = i
    return labels if is_3d else labels[0]


@pytest.mark.parametrize("is_3d", [False, True])
def test_cells_are_drawn_from_their_centres_as_they_were(is_3d: bool) -> None:
    labels = ellipses(is_3d)
    wanted = elephant_shapes.targets(labels)
    assert set(np.unique(wanted)) == {0, 1, 2} and ((wanted > 0) == (labels > 0)).all()
    found = elephant_shapes.draw(wanted == 1, wanted == 2, 0.8)
    row = match_counts(labels, found, iou_thresholds=(0.75,)).iloc[0]
    assert (row["tp"], row["fp"], row["fn"]) == (4, 0, 0)


@pytest.mark.parametrize("is_3d", [False, True])
def test_what_has_not_the_size_of_drawn_cells_is_not_drawn(is_3d: bool) -> None:
    labels = ellipses(is_3d)
    voxel_volume = 0.5
    limits = elephant_shapes.size_limits([np.where(labels == 4, -1, labels)], voxel_volume)
    median = np.median(np.bincount(labels.ravel())[1:4])
    assert limits == pytest.approx((0.2 * median * voxel_volume, 3 * median * voxel_volume))
    centre = (elephant_shapes.targets(labels) == 2).astype(np.float32)
    speck, blob = np.zeros_like(centre), np.zeros_like(centre)
    speck[..., 30, 40] = 1
    blob[..., 54:63, 8:40] = 1
    in_voxels = limits[0] / voxel_volume, limits[1] / voxel_volume
    with_both = np.maximum(np.maximum(centre, speck), blob)
    everywhere = np.ones_like(centre)
    np.testing.assert_array_equal(
        elephant_shapes.draw(everywhere, with_both, 0.8, in_voxels) > 0,
        elephant_shapes.draw(everywhere, centre, 0.8) > 0,
    )
    assert len(np.unique(elephant_shapes.draw(everywhere, with_both, 0.8))) > 5, "without limits both are"


def test_a_centre_without_the_outer_part_of_a_cell_is_not_drawn() -> None:
    labels = ellipses()
    wanted = elephant_shapes.targets(labels)
    outer = np.where((wanted == 1) & (labels != 3), 0.9, 0.1)
    centre = np.where(wanted == 2, 0.9, 0.1)
    assert set(np.unique(elephant_shapes.draw(outer, centre, 0.8))) == {0, 1, 2, 4}
    outer[(labels == 1) & (wanted != 2)] = 0.7
    outer[(labels == 4) & (wanted != 2)] = 0.4
    assert set(np.unique(elephant_shapes.draw(outer, centre, 0.8))) == {0, 1, 2}


def test_a_stack_says_sizes_by_what_is_whole_in_z_where_anything_is() -> None:
    labels = np.zeros((6, 20, 20), np.int16)
    labels[2:4, 4:8, 4:8] = 1
    labels[:1, 12:16, 4:8] = 2
    labels[5:, 12:16, 10:14] = 3
    assert elephant_shapes.size_limits([labels], 1.0) == pytest.approx((0.2 * 32, 3 * 32))
    assert elephant_shapes.size_limits([labels[:3]], 1.0) == pytest.approx((0.2 * 16, 3 * 16)), "all are cut"


def test_cells_that_are_cut_say_no_size() -> None:
    labels = ellipses()
    labels[labels != 4] = 0
    labels[36:50, 60:] = 4
    assert elephant_shapes.size_limits([labels], 1.0) is None
    assert elephant_shapes.size_limits([np.full((8, 8), -1)], 1.0) is None


def test_cells_cut_by_the_sides_and_what_is_not_annotated_teach_nothing() -> None:
    labels = ellipses()
    labels[labels == 3] = -1
    labels[36:50, 60:] = 4  # reaches the side
    wanted = elephant_shapes.targets(labels)
    assert (wanted[labels == -1] == -1).all() and (wanted[labels == 4] == -1).all()
    assert (wanted[labels == 1] > 0).all() and (wanted[labels == 0] == 0).all()


@pytest.fixture(scope="module")
def drawn() -> tuple[list[np.ndarray], list[np.ndarray], np.ndarray]:
    """Return two images with three drawn cells each, and a third with all its cells."""
    rng = np.random.default_rng(2)
    images, labels = zip(*(draw_cells((96, 96), 9, rng) for _ in range(3)), strict=True)
    sparse = [draw_few_cells(own, 3, rng, voxel_size=(1, 1), rim_um=2, strokes=4) for own in labels]
    return [1000 + 300 * image for image in images], sparse, labels[2]


@pytest.fixture(scope="module")
def trained(drawn, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "elephant"
    steps: list[Step] = []
    state = train(drawn, folder, watch=steps.append)
    return folder, state, steps


def train(drawn, folder: Path, **settings):
    images, labels, _ = drawn
    return train_from_annotations(
        "elephant", images[:2], labels[:2], folder, voxel_size=(1, 1), settings=SMALL, patch_size=(48, 48),
        patches_per_image=12, validation_fraction=0, **settings,
    )  # fmt: skip


def test_a_few_cells_teach_it_to_find_the_others(drawn, trained) -> None:
    images, labels, truth = drawn
    folder, state, steps = trained
    assert max((own >= 0).mean() for own in labels) < 0.12
    assert state.status == "finished" and len(steps) == 8 * 12 and steps[-1].fraction == 1.0
    segmenter = ElephantSegmenter.open(folder, voxel_size=(1, 1), threshold=0.5, min_size_um3=20)
    found = segmenter(images[2])
    row = match_counts(truth, found.main, iou_thresholds=(0.5,)).iloc[0]
    assert 2 * row["tp"] / (2 * row["tp"] + row["fp"] + row["fn"]) >= 0.6
    assert (
        found.cells is not None
        and (found.cells[QUALITY] > 0.5).all()
        and len(found.cells) == found.main.max()
    )
    left = segmenter(images[2], mask=np.arange(96) < np.full((96, 1), 48)).main
    assert 0 < left.max() < found.main.max()
    coarse = ElephantSegmenter.open(folder, voxel_size=(20, 20), threshold=0.5)
    assert not coarse(images[2]).main.any(), "in µm, all are far larger than those drawn"


def first_epoch(drawn, folder: Path, **settings) -> list[float]:
    """Return the losses of the first epoch's steps, and stop there."""
    losses: list[float] = []

    def stop(step: Step) -> None:
        if step.epoch == 2:
            raise TrainingStopped
        losses.append(step.loss)

    with pytest.raises(TrainingStopped):
        train(drawn, folder, watch=stop, **settings)
    return losses


def test_the_same_seed_gives_the_same_training_and_another_another(drawn, trained, tmp_path: Path) -> None:
    assert first_epoch(drawn, tmp_path / "a") == [step.loss for step in trained[2][:12]]
    assert first_epoch(drawn, tmp_path / "a", seed=1)[0] != trained[2][0].loss
    assert not (tmp_path / "a").exists()


def test_training_goes_on_from_the_last_weights_and_leaves_them_when_it_is_stopped(drawn, trained) -> None:
    folder, _, steps = trained
    before = (folder / "weights_best.h5").read_bytes()
    further_losses = first_epoch(drawn, folder, go_on=True)
    assert (folder / "weights_best.h5").read_bytes() == before
    assert sorted(path.name for path in folder.parent.iterdir()) == [folder.name]
    # The first batches, the same in both, before the one that began anew has caught up.
    assert np.mean(further_losses[:3]) < 0.7 * np.mean([step.loss for step in steps[:3]])


def test_what_cannot_be_trained_or_opened_is_refused(drawn, trained, tmp_path: Path) -> None:
    images, labels, _ = drawn
    with pytest.raises(InputError, match="network"):
        train_from_annotations("lacss", images, labels, tmp_path / "x", voxel_size=(1, 1))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="shape"):
        train_from_annotations(
            "elephant", images, [own[:-1] for own in labels], tmp_path / "x", voxel_size=(1, 1)
        )
    assert not (tmp_path / "x").exists()


def test_depth_is_pooled_only_where_voxels_are_alike() -> None:
    settings = elephant.ElephantSettings(depth=3)
    assert elephant.network_config(settings, 3, (2.0, 0.5, 0.5)).pools == [[1, 2, 2], [1, 2, 2], [2, 2, 2]]
    assert elephant.network_config(settings, 2, None).pools == [[2, 2]] * 3
    net = elephant.build_network(elephant.network_config(settings, 3, (2.0, 0.5, 0.5)), "float32")
    assert net(np.zeros((1, 4, 16, 16, 1), np.float32)).shape == (1, 4, 16, 16, 3)
