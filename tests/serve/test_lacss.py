"""The client against a real Lacss server (see `lacss_server`), where ``VOLLTRACK_LACSS`` names the Python of its environment."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from helpers.errors import InputError
from helpers.serve.client.connection import Address, Connection
from helpers.serve.client.messages import DetectionParameters
from helpers.serve.client.remote_segmenter import RemoteSegmenter
from tests.serve.blob_server import blobs

PYTHON, PORT, TOKEN = os.environ.get("VOLLTRACK_LACSS"), 50977, "secret-0123456789"
pytestmark = pytest.mark.skipif(not PYTHON, reason="set VOLLTRACK_LACSS to the Python of Lacss's environment")


@pytest.fixture(scope="module")
def server():
    command = [str(PYTHON), str(Path(__file__).with_name("lacss_server.py")), str(PORT), TOKEN]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "JAX_PLATFORMS": "cpu"})
    assert process.stdout is not None and process.stdout.readline() == b"ready\n"
    yield f"127.0.0.1:{PORT}"
    process.kill()
    process.wait()


def test_lacss_answers_with_outlines(server: str) -> None:
    settings = DetectionParameters(min_score=0.01, nms_iou=0.9)
    connection = Connection(Address(server, token=TOKEN))
    assert connection.greet() == {"server": server, "tls": False}, "it says nothing of itself"
    found = RemoteSegmenter(connection, settings, (1.0, 0.5, 0.5))(blobs((1, 96, 96), 12, seed=1))
    assert found.cells is not None and len(found.cells) == found.main.max() > 0
    assert found.cells["quality"].between(0, 1, inclusive="right").all()


def test_lacss_refuses_a_token_and_pixels_that_are_not_square(server: str) -> None:
    with pytest.raises(InputError, match="token_variable"):
        Connection(Address(server, token="another")).greet()
    connection = Connection(Address(server, token=TOKEN))
    with pytest.raises(InputError, match=r"server = .*refuses.*isometric"):
        RemoteSegmenter(connection, DetectionParameters(), (1.0, 0.5, 0.6))(np.zeros((1, 64, 64), np.uint8))


def test_lacss_answers_with_surfaces(server: str) -> None:
    connection = Connection(Address(server, token=TOKEN), timeout_s=1800)
    # The cells of random weights lie over one another, and Lacss converts each surface face by face: a few will do.
    settings = DetectionParameters(min_score=0.01, nms_iou=0.05)
    found = RemoteSegmenter(connection, settings, (0.5, 0.5, 0.5))(blobs((24, 30, 28), 6, seed=1))
    assert found.main.shape == (24, 30, 28)
    assert found.cells is not None and len(found.cells) == found.main.max() > 0
    assert found.cells["quality"].between(0, 1, inclusive="right").all()
    assert "watertight" in found.cells
