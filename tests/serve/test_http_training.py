"""A network is trained and used as QuPath's extension asks for it, over HTTP and in its own process."""

from __future__ import annotations

import json

import numpy as np
import pytest
from test_http_pictures import drawn

from helpers.segmentation.matching import match_counts
from helpers.segmentation.vollseg_segmenter import VollSegSegmenter
from helpers.serve.server import start
from helpers.serve.service import Limits
from tests.segmentation.tiny_cells import discs
from tests.serve.qupath_extension import ask, label_png, png, post

RAW, TRUTH = discs((96, 96), 18, 11)


def request(train: bool, **more: object) -> bytes:
    """Six of the cells and the background around them are drawn."""
    from scipy import ndimage

    drawn_cells = np.where(TRUTH <= 6, TRUTH + 1, 0) * (TRUTH > 0)
    around = ndimage.binary_dilation(drawn_cells > 0, iterations=3) & (TRUTH == 0)
    labels = np.where(around, 1, drawn_cells)
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
