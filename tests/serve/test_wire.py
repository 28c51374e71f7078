"""Pixels are taken out of a request before protobuf reads it: what is left, and they, are what it would have read."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from biopb.image import DetectionRequest
from google.protobuf.message import DecodeError

from helpers.serve.wire import PIXELS, without
from tests.serve.fiji import request_of
from tests.serve.memory_of_a_server import peak_of


def test_the_pixels_stay_where_they_are():
    message = request_of(np.random.default_rng(0).random((30, 40)), z=3).SerializeToString()
    rest, data = without(memoryview(message), PIXELS)
    assert data.obj is message and len(rest) < 200
    request = DetectionRequest.FromString(message)
    assert data == request.image_data.pixels.bindata.data
    request.image_data.pixels.bindata.ClearField("data")
    assert DetectionRequest.FromString(rest) == request


def test_what_is_sent_twice_is_read_as_protobuf_reads_it():
    message = b"".join(request_of(np.full((2, 3), n), z=n).SerializeToString() for n in (1, 2))
    rest, data = without(memoryview(message), PIXELS)
    both = DetectionRequest.FromString(message)
    assert data == both.image_data.pixels.bindata.data
    both.image_data.pixels.bindata.ClearField("data")
    assert DetectionRequest.FromString(rest) == both


def test_broken_messages_are_refused_where_protobuf_refuses_them():
    rng = random.Random(3)
    whole = request_of(np.random.default_rng(0).random((3, 4)), z=1).SerializeToString()
    refused = 0
    for _ in range(500):
        body = bytearray(whole[: rng.randint(1, len(whole))] if rng.random() < 0.5 else whole)
        for _ in range(rng.randint(0, 3)):
            body[rng.randrange(len(body))] = rng.randrange(256)
        try:
            rest, data = without(memoryview(bytes(body)), PIXELS)
            request = DetectionRequest.FromString(rest)
        except DecodeError:
            refused += 1
            continue
        expected = DetectionRequest.FromString(bytes(body))
        assert data == expected.image_data.pixels.bindata.data
        expected.image_data.pixels.bindata.ClearField("data")
        assert request.image_data.pixels.SerializeToString() == expected.image_data.pixels.SerializeToString()
    assert refused > 100


def test_noise_of_a_million_fields_is_refused_early():
    with pytest.raises(DecodeError):
        without(memoryview(b"\x08\x01" * 1_000_000), PIXELS)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peaks are read as Linux tells them")
def test_a_message_takes_three_times_its_size_at_most():
    """Once as gRPC received it, once as bytes, once as the picture: `python -m tests.serve.memory_of_a_server 512` for the largest."""
    times, cells = peak_of(64)
    assert cells == 1 and times < 3.5
