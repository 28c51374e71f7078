"""Cellpose: the parameters' mapping, labels equal to Cellpose's own, training that goes on, and bad input."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stardist.matching import matching

from helpers.data.movies import Movie, write_movie
from helpers.errors import InputError
from helpers.models import cellpose as cp
from helpers.models.cellpose import CellposeNetwork, CellposeSettings
from helpers.models.cellpose import network as networks
from helpers.models.cellpose import tiles as cellpose_tiles
from helpers.models.cellpose import training as cellpose_training
from helpers.models.cellpose.training import CellposeTrainingSettings
from helpers.runs.parameters import SegmentCellpose, TrainSegmentation
from helpers.runs.segment_movie import segment_movie
from helpers.runs.steps import cellpose as step
from helpers.runs.steps import training
from helpers.segmentation.cellpose_segmenter import QUALITY, CellposeSegmenter
from tests.models.drawn_cells import draw_cells, write_set

pytest.importorskip("cellpose")

TINY = CellposeTrainingSettings(
    epochs=8, steps_per_epoch=4, batch_size=2, learning_rate=3e-3, crop=48, cell_pixels=10, schedule="cosine",
    validation_patches=2, side_planes=False, precision="float32",
)  # fmt: skip
VOXEL = (1.5, 1.0, 1.0)


@pytest.fixture(scope="module")
def weights(cellpose_run: Path) -> Path:
    return cellpose_run / "models" / "cellpose" / "cellpose_model"


@pytest.fixture(scope="module")
def network(weights: Path) -> CellposeNetwork:
    return cp.load(weights, gpu=False)


@pytest.fixture(scope="module")
def stack() -> np.ndarray:
    image, _ = draw_cells((8, 40, 44), 8, np.random.default_rng(5))
    return (image * 100 + 200).astype(np.uint16)


def _own(network: CellposeNetwork, image: np.ndarray, **arguments: Any) -> np.ndarray:
    """What Cellpose itself finds."""
    return network.model.eval(image, **arguments)[0]


# Equal to Cellpose's own ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("resample", [True, False])
def test_a_plane_is_segmented_as_by_cellpose(
    network: CellposeNetwork, stack: np.ndarray, resample: bool
) -> None:
    settings = CellposeSettings(
        diameter_um=6.0, cellprob_threshold=-0.5, flow_threshold=0.8, resample=resample
    )
    found = cp.predict(network, stack[4], settings, voxel_size=(0.5, 0.5))
    expected = _own(
        network, stack[4], channels=[0, 0], diameter=12.0, cellprob_threshold=-0.5, flow_threshold=0.8,
        resample=resample,
    )  # fmt: skip
    assert expected.max() > 1, "a network that finds nothing proves nothing"
    assert np.array_equal(found.labels[0], expected)
    assert found.cell_probability.shape == (1, *expected.shape)
    assert found.cell_probability[0][expected > 0].mean() > found.cell_probability[0][expected == 0].mean()


def test_2d_plus_z_is_stitched_as_by_cellpose(network: CellposeNetwork, stack: np.ndarray) -> None:
    settings = CellposeSettings(stitch_planes=True, iou_threshold=0.4, min_size_voxels=30)
    found = cellpose_tiles.predict(network, stack, settings, voxel_size=VOXEL)
    expected = _own(network, stack, channels=[0, 0], z_axis=0, stitch_threshold=0.4, min_size=30)
    assert expected.max() > 1
    assert np.array_equal(found.labels, expected)


def test_3d_is_segmented_as_by_cellpose(network: CellposeNetwork, stack: np.ndarray) -> None:
    settings = CellposeSettings(min_size_voxels=40, smooth=1.0, cellprob_threshold=-0.5)
    found = cellpose_tiles.predict(network, stack, settings, voxel_size=VOXEL)
    expected = _own(
        network, stack, channels=[0, 0], z_axis=0, do_3D=True, anisotropy=1.5, min_size=40, flow3D_smooth=1.0,
        cellprob_threshold=-0.5,
    )  # fmt: skip
    assert expected.max() > 1
    assert np.array_equal(found.labels, expected)


def test_a_second_channel_is_given_to_cellpose(network: CellposeNetwork, stack: np.ndarray) -> None:
    both = np.stack([stack[4], stack[4].max() - stack[4]])
    found = cp.predict(network, both[:, np.newaxis], CellposeSettings(), voxel_size=VOXEL)
    expected = _own(network, np.moveaxis(both, 0, -1), channels=[1, 2], channel_axis=2)
    alone = cp.predict(network, both[:1], CellposeSettings(), voxel_size=VOXEL)
    assert np.array_equal(found.labels[0], expected)
    assert not np.array_equal(found.cell_probability, alone.cell_probability), "the network sees it"


def test_one_plane_is_2d_whatever_mode_is_asked_for(network: CellposeNetwork, stack: np.ndarray) -> None:
    plane = stack[4:5]
    flat = cp.predict(network, plane[0], CellposeSettings(), voxel_size=VOXEL)
    for settings in (CellposeSettings(), CellposeSettings(stitch_planes=True)):
        found = cellpose_tiles.predict(network, plane, settings, voxel_size=VOXEL)
        assert np.array_equal(found.labels, flat.labels)


def test_arguments_are_those_of_the_table() -> None:
    settings = CellposeSettings(diameter_um=8.0, min_size_voxels=20, stitch_planes=True, iou_threshold=0.3)
    assert cp.eval_arguments(settings, 9, (2.0, 0.5, 0.5)) == {
        "diameter": 16.0, "cellprob_threshold": 0.0, "resample": True, "flow_threshold": 0.4,
        "stitch_threshold": 0.3, "min_size": 20,
    }  # fmt: skip
    assert cp.eval_arguments(CellposeSettings(smooth=2.0), 9, (2.0, 0.5, 0.5)) == {
        "diameter": None, "cellprob_threshold": 0.0, "resample": True, "do_3D": True, "anisotropy": 4.0,
        "min_size": 15, "flow3D_smooth": 2.0,
    }  # fmt: skip


def test_cellpose_keeps_its_own_defaults(network: CellposeNetwork, stack: np.ndarray) -> None:
    from cellpose import models

    before = dict(models.normalize_default)
    cp.predict(network, stack, CellposeSettings(stitch_planes=True), voxel_size=VOXEL)
    assert models.normalize_default == before


def test_more_cells_than_16_bits_hold_are_stitched_right(network: CellposeNetwork) -> None:
    """Cellpose 3.1 alone would number them modulo 65,536; planes are replaced by what a huge stack would give."""
    n_planes, size = 70, 46
    odd = np.indices((size, size)).sum(0) % 2 == 1
    # Every cell is one pixel, and those of one plane lie beside those of the next, so that nothing is joined.
    masks = [
        np.where(odd == bool(z % 2), (np.cumsum(odd == bool(z % 2)).reshape(size, size)), 0)
        for z in range(n_planes)
    ]
    planes = iter([mask.astype(np.uint16) for mask in masks])

    class Model:
        def eval(self, image: np.ndarray, **_: Any) -> tuple:
            return next(planes), [None, None, np.zeros(image.shape[:2], np.float32)], None

    many = CellposeNetwork(Model(), "many", 2)
    settings = CellposeSettings(stitch_planes=True, min_size_voxels=0)
    frame = np.random.default_rng(0).integers(0, 99, (n_planes, size, size))
    labels = cp.predict(many, frame, settings, voxel_size=VOXEL).labels
    assert len(np.unique(labels)) - 1 == n_planes * size * size // 2 > 65_535


# Memory and tiles ----------------------------------------------------------------------------------------------------


def test_tiles_give_the_cells_of_the_whole(network: CellposeNetwork) -> None:
    image, _ = draw_cells((8, 40, 90), 14, np.random.default_rng(8))
    settings = CellposeSettings(min_size_voxels=60)
    whole = cellpose_tiles.predict(network, image, settings, voxel_size=VOXEL).labels
    tiled = cellpose_tiles.predict(network, image, settings, voxel_size=VOXEL, n_tiles=(1, 1, 2)).labels
    assert sorted(np.unique(tiled)) == list(range(tiled.max() + 1))
    assert whole.max() > 2 and matching(whole, tiled, thresh=0.5).f1 > 0.75  # type: ignore[union-attr]
    one_cell = (whole[..., 44] == whole[..., 45]) & (whole[..., 44] > 0)  # at the border of the tiles
    assert one_cell.sum() > 50
    assert np.mean((tiled[..., 44] == tiled[..., 45])[one_cell]) > 0.9
    both = (whole > 0) & (tiled > 0)
    assert 2 * both.sum() / ((whole > 0).sum() + (tiled > 0).sum()) > 0.95


def test_less_memory_means_more_tiles(network: CellposeNetwork) -> None:
    settings, shape = CellposeSettings(), (86, 1024, 1024)
    needed = cellpose_tiles.bytes_needed(network, shape, settings, VOXEL)
    assert needed > 86 * 1024 * 1024 * 100
    assert cellpose_tiles.choose_tiles(network, shape, settings, VOXEL, memory=2 * needed) == (1, 1, 1)
    tiles = cellpose_tiles.choose_tiles(network, shape, settings, VOXEL, memory=needed // 6)
    assert np.prod(tiles) >= 6
    flat = CellposeSettings(stitch_planes=True)
    assert cellpose_tiles.bytes_needed(network, shape, flat, VOXEL) < needed / 4


# Training ------------------------------------------------------------------------------------------------------------


def test_a_killed_training_goes_on_as_if_nothing_had_happened(tmp_path: Path) -> None:
    patches = write_set(tmp_path / "training.npz", (32, 32), 4)
    brief = CellposeTrainingSettings(
        **{**TINY.__dict__, "crop": 32, "steps_per_epoch": 1, "schedule": "plateau", "epochs": 3}
    )
    _, whole = cellpose_training.train(patches, tmp_path / "whole", brief, gpu=False)
    first = CellposeTrainingSettings(**{**brief.__dict__, "epochs": 1})
    cellpose_training.train(patches, tmp_path / "parts", first, gpu=False)
    weights, parts = cellpose_training.train(patches, tmp_path / "parts", brief, gpu=False)
    assert np.allclose(parts.table["loss"], whole.table["loss"], rtol=1e-4)
    assert parts.epoch == 3 and weights.is_file()
    assert json.loads((tmp_path / "parts" / "training.json").read_text())["state"]["status"] == "finished"


def test_the_network_learns(weights: Path) -> None:
    import pandas as pd

    history = pd.read_csv(weights.parent / "history.csv")
    assert history["val_loss"].iloc[-1] < 0.8 * history["val_loss"].iloc[0]


def test_the_weights_know_the_diameter_of_their_cells(network: CellposeNetwork) -> None:
    assert network.model.diam_mean == pytest.approx(10)
    assert 8 < network.trained_diameter < 14, "the cells of draw_cells are 12 wide"


def test_a_trained_model_is_listed_in_the_gui(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cellpose import models

    monkeypatch.setattr(models, "MODEL_DIR", tmp_path / "models")
    monkeypatch.setattr(models, "MODEL_LIST_PATH", str(tmp_path / "models" / "gui_models.txt"))
    for _ in range(2):
        cellpose_training.add_to_gui(weights, "volltrack_demo")
    assert models.get_user_models() == ["volltrack_demo"]
    assert cp.load("volltrack_demo", gpu=False).n_channels == 2, "and by its name here"


# Bad input -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("diameter_um", -1.0),
        ("cellprob_threshold", 6.5),
        ("cellprob_threshold", -7.0),
        ("flow_threshold", -0.1),
        ("min_size_voxels", -1),
        ("iou_threshold", 0.0),
        ("iou_threshold", 1.5),
        ("smooth", -1.0),
    ],
)
def test_ranges_are_checked(name: str, value: float) -> None:
    with pytest.raises(InputError, match=rf"^{name} = "):
        CellposeSettings(**{name: value})  # type: ignore[arg-type]
    with pytest.raises(InputError, match=rf"^{name} = "):
        SegmentCellpose.checked({name: value})


def test_a_missing_voxel_size_is_named(network: CellposeNetwork, stack: np.ndarray) -> None:
    with pytest.raises(InputError, match=r"^voxel_size = None"):
        cellpose_tiles.predict(network, stack, CellposeSettings(), voxel_size=None)
    with pytest.raises(InputError, match=r"^voxel_size = .*same size along y and x"):
        cp.predict(network, stack, CellposeSettings(), voxel_size=(1.0, 0.5, 0.4))


def test_an_empty_crop_is_named(network: CellposeNetwork, stack: np.ndarray) -> None:
    with pytest.raises(InputError, match=r"^crop = .*empty"):
        cp.predict(network, stack[:, :0], CellposeSettings(), voxel_size=VOXEL)
    with pytest.raises(InputError, match=r"preview_crop.*empty along y"):
        SegmentCellpose.checked({"preview_crop": [[0, 1], [5, 5], [0, 9]]})


def test_a_truncated_file_is_named(weights: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])
    with pytest.raises(InputError, match=r"^model = .*broken.*truncated"):
        cp.load(broken)
    broken.write_text("not weights")
    with pytest.raises(InputError, match=r"^model = .*broken.*another kind"):
        cp.load(broken)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    import torch

    torch.save({"layer": torch.zeros(3)}, tmp_path / "other")
    with pytest.raises(InputError, match="another network"):
        cp.load(tmp_path / "other")
    torch.save({"W2": torch.zeros(3)}, tmp_path / "sam")
    with pytest.raises(InputError, match="cellpose 4"):
        cp.load(tmp_path / "sam")


@pytest.mark.parametrize(("channels", "second"), [(3, False), (1, True)])
def test_a_model_for_other_channels_is_refused(tmp_path: Path, channels: int, second: bool) -> None:
    from cellpose import models

    models.CellposeModel(gpu=False, pretrained_model=False, nchan=channels).net.save_model(tmp_path / "other")
    with pytest.raises(InputError, match=rf"^model = .*this one takes {channels}"):
        cp.load(tmp_path / "other", second_channel=second, gpu=False)
    if channels == 1:
        assert cp.load(tmp_path / "other", gpu=False).n_channels == 1


def test_models_of_the_other_version_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"^model = 'cpsam'.*one of cellpose 4"):
        cp.load("cpsam")
    for module in (cp, networks):
        monkeypatch.setattr(module, "cellpose_version", lambda: (4, 2, 1))
    with pytest.raises(InputError, match=r"^model = 'cyto3'.*one of cellpose 3\.1"):
        cp.load("cyto3")
    with pytest.raises(InputError, match=r"^cellpose = '4\.2\.1'"):
        cellpose_training.train(None, "nowhere")  # type: ignore[arg-type]
    training.check(TrainSegmentation())
    with pytest.raises(InputError, match="or set train_cellpose to False"):
        training.check(TrainSegmentation(train_cellpose=True))


@pytest.mark.parametrize(
    ("gpu", "fast", "given"), [(True, False, {}), (False, True, {}), (False, False, {"use_bfloat16": False})]
)
def test_cellpose_4_computes_in_16_bits_where_that_is_fast(
    weights: Path, monkeypatch: pytest.MonkeyPatch, gpu: bool, fast: bool, given: dict
) -> None:
    """Cellpose 4 is not installed beside Cellpose 3: its network is not built here, only asked for."""
    import torch
    from cellpose import core, models

    asked: dict[str, Any] = {}

    class Network:
        net = torch.nn.Identity()

        def __init__(self, **arguments: Any) -> None:
            asked.update(arguments)

    monkeypatch.setattr(networks, "cellpose_version", lambda: (4, 2, 1))
    monkeypatch.setattr(networks.cellpose_weights, "check", lambda *_: None)
    monkeypatch.setattr(networks, "cpu_has_bfloat16", lambda: fast)
    monkeypatch.setattr(core, "use_gpu", lambda: gpu)
    monkeypatch.setattr(models, "CellposeModel", Network)
    cp.load(weights)
    assert asked == {"gpu": True, "pretrained_model": str(weights), **given}


def test_cellpose_4_has_one_model_for_those_of_cellpose_3(
    weights: Path, stack: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = SegmentCellpose(model=str(weights))
    asked = SegmentCellpose(model="nuclei")
    assert (step.model_used(own), step.model_used(asked)) == (str(weights), "nuclei")
    movie = Movie.open(write_movie(tmp_path / "raw.tif", stack, voxel_size=VOXEL, axes="ZYX"))
    segmenter = step.open_segmenter(own, VOXEL)
    for module in (cp, networks):
        monkeypatch.setattr(module, "cellpose_version", lambda: (4, 2, 1))
    assert (step.model_used(own), step.model_used(asked)) == (str(weights), "cpsam")
    told = step.describe(asked, segmenter, movie)
    assert told.startswith("Cellpose 4.2.1, model cpsam instead of nuclei: that is one of Cellpose 3")


@pytest.mark.parametrize("first", [False, True])
def test_triton_is_loaded_before_tensorflow_or_no_more(first: bool, tmp_path: Path) -> None:
    """Loaded after it, it ends the process; a stand-in, for it comes with the PyTorch for NVIDIA GPUs alone."""
    (tmp_path / "triton.py").write_text("import sys\nassert 'tensorflow' not in sys.modules, 'crash'\n")
    (tmp_path / "tensorflow.py").write_text("")
    lines = ["import tensorflow"] * first + [
        "from helpers.models.cellpose import training as cellpose_training",
        "import tensorflow",
        "cellpose_training.require_trainable()",
        "import triton",
    ]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])},
        capture_output=True,
        text=True,
    )
    assert bool(done.returncode) == first, done.stderr
    if first:
        assert "train_cellpose = True: a Python that has not loaded TensorFlow" in done.stderr


def test_an_unknown_model_is_named() -> None:
    with pytest.raises(InputError, match=r"^model = 'cito3'.*cyto, cyto2, cyto3, nuclei"):
        cp.load("cito3")


def test_missing_weights_say_where_the_file_belongs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cellpose import models, utils

    def no_network(*_: Any, **__: Any) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(models, "MODEL_DIR", tmp_path)
    monkeypatch.setattr(utils, "download_url_to_file", no_network)
    with pytest.raises(InputError, match=r"^model = 'cyto2'.*'cyto2torch_0'.*" + str(tmp_path)):
        cp.load("cyto2", gpu=False)
    assert not list(tmp_path.iterdir())


# As a segmenter ------------------------------------------------------------------------------------------------------


def test_quality_and_size_remove_cells(network: CellposeNetwork, stack: np.ndarray) -> None:
    segmenter = CellposeSegmenter(network, CellposeSettings(stitch_planes=True), VOXEL)
    everything = segmenter(stack)
    assert everything.cells is not None
    quality = everything.cells[QUALITY].to_numpy()
    assert list(everything.cells["label"]) == list(range(1, int(everything.main.max()) + 1))
    best = CellposeSegmenter(
        network, CellposeSettings(stitch_planes=True), VOXEL, min_quality=float(np.median(quality))
    )(stack)
    assert best.main.max() == np.count_nonzero(quality >= np.median(quality)) < len(quality)
    nowhere = segmenter(stack, mask=np.zeros(stack.shape, bool))
    assert nowhere.main.max() == 0 and len(nowhere.cells) == 0  # type: ignore[arg-type]


def test_a_movie_gives_what_notebook_05_gives_and_goes_on(
    weights: Path, stack: np.ndarray, tmp_path: Path
) -> None:
    path = write_movie(
        tmp_path / "raw.ome.tif", np.stack([stack, stack[:, ::-1]]), voxel_size=VOXEL, axes="TZYX"
    )
    p = SegmentCellpose(
        run_dir=tmp_path / "run", movie=path, model=str(weights), stitch_planes=True, use_gpu=False,
        preview_crop=[[2, 6], [0, 30], [0, 30]], preview_values={"cellprob_threshold": [-1.0, 3.0]},
        export_meshes="taubin",
    )  # fmt: skip
    movie = step.open_movie(p)
    segmenter = step.open_segmenter(p, movie.require_voxel_size())
    told = step.describe(p, segmenter, movie)
    assert told.startswith("Cellpose 3.1") and f"model {weights}\n2D+Z" in told
    result = segment_movie(movie, lambda: segmenter, p)
    folder = tmp_path / "run" / "movies" / "raw"
    assert {"labels.zarr", "objects.csv", "segmentation.json", "frames"} <= {f.name for f in folder.iterdir()}
    assert {"id", "frame", "label", "z", "y", "x", "volume_um3", QUALITY} <= set(result.objects)
    assert result.objects[QUALITY].notna().all() and set(result.objects["frame"]) == {0, 1}
    # The second frame is lost: it alone is made again.
    before = (folder / "frames" / "00000.csv").stat().st_mtime_ns
    (folder / "frames" / "00001.csv").unlink()
    again = segment_movie(movie, lambda: segmenter, p)
    assert (folder / "frames" / "00000.csv").stat().st_mtime_ns == before
    assert again.objects.equals(result.objects)
    # The crop is segmented with the brightness of the whole frame.
    (preview,) = step.previews(p, movie, segmenter)
    assert preview.labels.shape == (4, 30, 30)
    low, high = step.preview_values(p, movie, segmenter)
    assert np.count_nonzero(low.labels) > np.count_nonzero(high.labels)
    assert step.export_meshes(p, result).is_file()
    with pytest.raises(InputError, match=r"preview_crop.*empty along z"):
        step.previews(p.model_copy(update={"preview_crop": [[50, 60], [0, 9], [0, 9]]}), movie, segmenter)


def test_labels_of_notebook_05_are_not_overwritten(weights: Path, stack: np.ndarray, tmp_path: Path) -> None:
    path = write_movie(tmp_path / "raw.ome.tif", stack[:1], voxel_size=VOXEL, axes="ZYX")
    folder = tmp_path / "run" / "movies" / "raw"
    folder.mkdir(parents=True)
    (folder / "segmentation.json").write_text(json.dumps({"sha256": "0", "parameters": {"method": "unet"}}))
    p = SegmentCellpose(run_dir=tmp_path / "run", movie=path, model=str(weights), use_gpu=False)
    movie = Movie.open(path)
    segmenter = step.open_segmenter(p, VOXEL)
    with pytest.raises(InputError, match=r"notebook 06_segment.*beside_segment"):
        segment_movie(movie, lambda: segmenter, p)
    segment_movie(movie, lambda: segmenter, p.model_copy(update={"beside_segment": True}))
    assert (folder / "labels_cellpose.zarr").is_dir() and (folder / "objects_cellpose.csv").is_file()
    assert not (folder / "labels.zarr").exists()
