"""A network is trained and used as QuPath's extension asks for it, over HTTP and in its own process."""

from __future__ import annotations

import json

import numpy as np
import pytest
from qupath_extension import ask, label_png, png, post
from test_http_pictures import drawn
from tiny_cells import discs

from helpers.segmentation.matching import match_counts
from helpers.serve.server import start
from helpers.serve.service import Limits

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
        few = {"epochs": 1, "steps": 80, "batchsize": 4, "trainpatch": 48, "lr": 3e-3}
        assert server.http_port is not None
        yield server.http_port, models, post(server.http_port, "/stardist/", request(True, **few))


def test_a_few_cells_drawn_in_qupath_find_the_others(trained):
    port, models, (status, answer) = trained
    assert status == 200, answer
    features = json.loads(answer)
    assert isinstance(features, list) and features[0]["properties"] == {"object_idx": 0, "label": "object"}
    row = match_counts(TRUTH, drawn(features, RAW.shape), iou_thresholds=(0.5,)).iloc[0]
    assert 2 * row["tp"] / (2 * row["tp"] + row["fp"] + row["fn"]) >= 0.7
    assert sorted(p.name for p in (models / "stardist").iterdir()) == ["default"]
    assert (models / "stardist" / "default" / "training.json").is_file()
    page = ask(port, "GET", "/")[1].decode()
    assert "default" in page and "stardist train and segment" in page


def test_segmenting_alone_answers_the_same_until_the_model_is_reset(trained):
    port, _, (_, answer) = trained
    assert post(port, "/stardist/", request(False)) == (200, answer)
    status, said = post(port, "/stardist/", request(False, minarea=1e6))
    assert status == 422 and b"no cell was found" in said
    assert post(port, "/stardist/reset/", b'{"modelname":"default"}') == (200, b'""')
    assert post(port, "/stardist/", request(False))[0] == 404
