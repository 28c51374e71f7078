"""Whatever is sent, the server answers with a code and a line, lives on, and the right clients get the right cells."""

from __future__ import annotations

import random
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import psutil
import pytest
from biopb.image import Pixels
from skimage.measure import label

from helpers.segmentation.segmenter import Segmentation
from helpers.serve.server import start
from helpers.serve.service import ServedModel
from tests.serve.fiji import BOXES, ask, channel_to, drawn, request_of

VOXEL = (1.0, 1.0, 1.0)
METHOD = "/biopb.image.ObjectDetection/RunDetection"
NUMBERS = [0, 1, 2, 3, 7, 255, 2**16, 2**31, 2**32 - 1]
FLOATS = [0.0, -1.0, 1e-30, 0.5, 2.0, 1e30, float("nan"), float("inf"), float("-inf")]
TEXTS = [
    "",
    "f4",
    ">u2",
    "U9",
    "O",
    "f8,f4",
    "(9999999,)f4",
    "é",
    "\x00",
    "XYZCT",
    "TCZYX",
    "XYZ",
    "x" * 100_000,
]


def threshold(frame: np.ndarray, *, mask: np.ndarray | None = None) -> Segmentation:
    """Segment by a threshold."""
    return Segmentation({"threshold": label(frame > 0.5).astype(np.int32)}, {})


@pytest.fixture(scope="module")
def server():
    with start(ServedModel("threshold", lambda _: threshold, voxel_size=VOXEL)) as running:
        yield running


def malformed(rng: random.Random) -> bytes:
    """Return a request with some fields, or some bytes, of another kind than they should be."""
    request = request_of(np.random.default_rng(0).random((rng.choice([1, 6]), 8)), z=rng.choice([0, 1, 2]))
    pixels = request.image_data.pixels
    for _ in range(rng.randint(1, 3)):
        field = rng.choice(Pixels.DESCRIPTOR.fields)
        if field.type == field.TYPE_MESSAGE:
            pixels.bindata.data = rng.randbytes(rng.choice([0, 1, 3, 191, 192]))
        elif field.type == field.TYPE_STRING:
            setattr(pixels, field.name, rng.choice(TEXTS))
        else:
            setattr(pixels, field.name, rng.choice(FLOATS if field.type == field.TYPE_FLOAT else NUMBERS))
    if rng.random() < 0.3:
        setattr(request.detection_settings, rng.choice(list(BOXES)), rng.choice(FLOATS))
    body = bytearray(request.SerializeToString())
    if rng.random() < 0.3:
        for _ in range(rng.randint(1, 5)):
            body[rng.randrange(len(body))] = rng.randrange(256)
    return bytes(body[: rng.randint(1, len(body))] if rng.random() < 0.2 else body)


def test_two_hundred_malformed_requests(server):
    rng = random.Random(7)
    process = psutil.Process()
    codes = []
    with channel_to(server.grpc_port) as channel:
        call = channel.unary_unary(METHOD)
        before = process.memory_info().rss
        for _ in range(200):
            try:
                call(malformed(rng), timeout=30)
                codes.append("OK")
            except grpc.RpcError as error:
                codes.append(error.code().name)  # type: ignore[attr-defined]
                line = error.details()  # type: ignore[attr-defined]
                assert line and "\n" not in line and len(line) < 600
        assert set(codes) <= {"OK", "INVALID_ARGUMENT"} and codes.count("INVALID_ARGUMENT") > 100
        assert process.memory_info().rss - before < 100 * 2**20
    picture = np.zeros((20, 30))
    picture[3:9, 4:11] = 1
    assert np.array_equal(drawn(ask(server.grpc_port, request_of(picture)), picture.shape), picture)


def test_eight_clients_with_twenty_frames_each(server):
    """Every answer is of the picture it was asked for, while others leave in the middle."""

    def frames(client: int) -> list[np.ndarray]:
        rng = np.random.default_rng(client)
        return [(rng.random((40, 40)) < 0.02).repeat(3, 0).repeat(3, 1).astype(float) for _ in range(20)]

    def leave() -> None:
        with channel_to(server.grpc_port) as channel:
            body = request_of(np.random.default_rng(1).random((600, 600))).SerializeToString()
            for _ in range(5):
                channel.unary_unary(METHOD).future(body, timeout=30).cancel()

    def work(client: int) -> int:
        wrong = 0
        for frame in frames(client):
            answer = drawn(ask(server.grpc_port, request_of(frame)), frame.shape)
            wrong += not np.array_equal(answer > 0, frame > 0)
        return wrong

    with ThreadPoolExecutor(10) as pool:
        leaving = [pool.submit(leave) for _ in range(2)]
        assert sum(pool.map(work, range(8))) == 0
        assert all(f.result() is None for f in leaving)
    assert server.service.device.inside == 0


def test_a_server_that_ends_during_an_answer_is_an_error_at_once():
    def slow(frame, *, mask=None):
        time.sleep(1.5)
        return threshold(frame)

    server = start(ServedModel("slow", lambda _: slow, voxel_size=VOXEL))
    with channel_to(server.grpc_port) as channel:
        body = request_of(np.eye(9)).SerializeToString()
        call = channel.unary_unary(METHOD).future(body, timeout=60)
        with ThreadPoolExecutor(1) as pool:
            ending = pool.submit(lambda: (time.sleep(0.4), server.stop(0.0)))
            assert call.exception(timeout=20).code().name in ("UNAVAILABLE", "CANCELLED")
            ending.result()
