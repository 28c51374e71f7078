"""A network is trained and used as QuPath's extension asks for it, over HTTP and in its own process."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
from scipy import ndimage
from test_http_pictures import drawn

from helpers.models import stardist
from helpers.runs.parameters import CreateDataset, TrainSegmentation
from helpers.runs.steps import dataset
from helpers.runs.steps import training as step
from helpers.segmentation.matching import match_counts
from helpers.segmentation.vollseg_segmenter import VollSegSegmenter
from helpers.serve.server import start
from helpers.serve.service import Limits
from tests.segmentation.tiny_cells import discs
from tests.serve.qupath_extension import ask, label_png, png, post

RAW, TRUTH = discs((96, 96), 18, 11)


def annotation() -> np.ndarray:
    """Six of the cells and the background around them are drawn: -1 not annotated, 0 background, cells from 1."""
    cells = np.where(TRUTH <= 6, TRUTH, 0)
    around = ndimage.binary_dilation(cells > 0, iterations=3) & (TRUTH == 0)
    return np.where(cells > 0, cells, np.where(around, 0, -1))


def request(train: bool, **more: object) -> bytes:
    labels = annotation() + 1  # as QuPath numbers them
    fields = {
        "modelname": "default",
        "b64img": png(RAW),
        "b64lbl": label_png(labels),
        "train": train,
        "eval": True,
    }
    return json.dumps(fields | more).replace("=", "\\u003d").encode()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory):
    models = tmp_path_factory.mktemp("trained")
    with start(None, grpc_port=None, http_port=0, models=models, limits=Limits(minutes=10)) as server:
        few = {"epochs": 1, "steps": 200, "batchsize": 2, "trainpatch": 48}
        assert server.http_port is not None
        yield server.http_port, models, post(server.http_port, "/stardist/", request(True, **few))


def test_the_answer_is_what_the_trained_model_sees_and_it_has_learnt(trained):
    """The training is far shorter than a user's: cells are found where cells are, their outlines are still rough."""
    port, models, (status, answer) = trained
    assert status == 200, answer
    features = json.loads(answer)
    assert isinstance(features, list) and features[0]["properties"] == {"object_idx": 0, "label": "object"}
    folder = models / "stardist" / "default"
    own = VollSegSegmenter.open(stardist_dir=folder, method="stardist", voxel_size=(1.0, 1.0, 1.0))(RAW).main
    large = np.bincount(own.ravel())[own] >= 10  # `minarea`
    found = drawn(features, RAW.shape)
    np.testing.assert_array_equal(found > 0, (own > 0) & large)
    assert len(np.unique(np.stack([found, own * large], -1).reshape(-1, 2), axis=0)) == found.max() + 1
    row = match_counts(TRUTH, found, iou_thresholds=(0.3,)).iloc[0]
    # 0.95 here; without learning 0, and a processor of another kind trains another network.
    assert 2 * row["tp"] / (2 * row["tp"] + row["fp"] + row["fn"]) >= 0.5
    history = json.loads((folder / "training.json").read_text())["state"]["history"]
    assert history[-1]["loss"] < 0.7 * history[0]["loss"]
    assert [p.name for p in (models / "stardist").iterdir()] == ["default"]
    page = ask(port, "GET", "/")[1].decode()
    assert "default" in page and "stardist train and segment" in page


def test_segmenting_alone_answers_the_same_until_the_model_is_reset(trained):
    port, _, (_, answer) = trained
    assert post(port, "/stardist/", request(False)) == (200, answer)
    status, said = post(port, "/stardist/", request(False, minarea=1e6))
    assert status == 422 and b"no cell was found" in said
    assert post(port, "/stardist/reset/", b'{"modelname":"default"}') == (200, b'""')
    assert post(port, "/stardist/", request(False))[0] == 404


def weights(folder: Path) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    with h5py.File(folder / "weights_best.h5") as file:
        file.visititems(
            lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None
        )
    return found


def test_the_notebooks_train_the_same_model_on_the_same_annotation_with_the_same_settings(trained, tmp_path):
    port, models, _ = trained
    few = {"epochs": 1, "steps": 4, "batchsize": 2, "trainpatch": 48}
    status, answer = post(port, "/stardist/", request(True, modelname="twin", **few))
    # Four steps find no cell: the model is trained, and the answer says that nothing was found.
    assert status == 200 or b"no cell was found" in answer

    for name, image in (("raw", RAW), ("drawn", annotation().astype(np.int16))):
        (tmp_path / name).mkdir()
        tifffile.imwrite(tmp_path / name / "picture.tif", image)
    common = {"run_dir": tmp_path / "run", "patch_size": [48, 48]}
    made = CreateDataset.checked(
        common | {"raw_dir": tmp_path / "raw", "annotation_dir": tmp_path / "drawn", "voxel_size_um": [1, 1, 1],
        "patches_per_image": 32, "copies_per_image": 2, "min_foreground": 0.001}
    )  # fmt: skip
    trains = TrainSegmentation.checked(
        common | {"n_epochs": 4, "steps_per_epoch": 1, "batch_size": 2, "learning_rate": 0.001, "schedule": "cosine",
        "rays": 64, "start_filters": 32, "network_depth": 2}
    )  # fmt: skip
    patches = dataset.make(made, dataset.find_pairs(made))
    folder = trains.path("models", "stardist")
    stardist.train(patches, folder, step.stardist_settings(trains), augmentation=step.augmentation(trains))
    theirs, ours = weights(models / "stardist" / "twin"), weights(folder)
    assert theirs.keys() == ours.keys()
    for name in theirs:
        np.testing.assert_array_equal(theirs[name], ours[name], err_msg=name)
