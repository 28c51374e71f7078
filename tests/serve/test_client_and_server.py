"""Our client and our server: the cells are those of the segmenter that is served."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from helpers import __version__
from helpers.segmentation.segmenter import Segmentation
from helpers.serve.client.connection import Address, Connection
from helpers.serve.client.remote_segmenter import RemoteSegmenter
from helpers.serve.server import start
from helpers.serve.service import ServedModel
from tests.serve.blob_server import blobs, find_blobs
from tests.serve.fiji import least_iou

VOXEL = (2.0, 0.5, 0.5)


class _Blobs:
    """Segments bright blobs."""

    def __call__(self, frame: np.ndarray, *, mask: np.ndarray | None = None) -> Segmentation:
        labels = find_blobs(frame)
        numbers = np.arange(1, labels.max() + 1)
        return Segmentation({"blobs": labels}, {}, pd.DataFrame({"label": numbers, "score": 1 / numbers}))


@pytest.mark.parametrize("shape", [(1, 120, 110), (9, 60, 70)])
@pytest.mark.parametrize("whole", [True, False])
def test_the_cells_are_those_of_the_local_segmenter(shape: tuple[int, ...], whole: bool) -> None:
    frame = blobs(shape, 18, seed=11)
    with start(ServedModel("blobs", lambda size: _Blobs()), token="secret") as server:
        connection = Connection(Address(f"127.0.0.1:{server.grpc_port}", token="secret"))
        answer = connection.greet()
        segmenter = RemoteSegmenter(connection, voxel_size=VOXEL)
        if not whole:
            segmenter.message_limit = frame.nbytes // 2
        found = segmenter(frame)
    expected = find_blobs(frame)
    assert expected.max() == found.main.max() > 5
    assert least_iou(found.main, expected) == 1.0
    assert found.cells is not None
    np.testing.assert_allclose(
        sorted(found.cells["quality"]), sorted(1 / np.arange(1, expected.max() + 1)), rtol=1e-6
    )
    if shape[0] > 1:
        assert (found.cells["watertight"] == 1).all()
    assert answer["volltrack-version"] == __version__ and answer["models"] == ["blobs"]
    assert answer["status"] == "SERVING" and "biopb.image.ObjectDetection" in answer["services"]
    assert connection.joins_parts
