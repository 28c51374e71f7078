"""Clients that leave, or whose time is over, while the networks work; and pictures larger than memory."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from biopb.image import ObjectDetectionStub
from stardist.matching import matching

from helpers.models.inference import forward_function
from helpers.models.stopping import go_on
from helpers.runs.serving import run_model
from helpers.runs.steps import segmentation
from helpers.serve.line import Gone
from helpers.serve.server import start
from tests.segmentation.tiny_cells import VOXEL, discs
from tests.serve.fiji import ask, channel_to, code_of, drawn, request_of


@pytest.fixture(scope="module")
def frame() -> np.ndarray:
    return discs((90, 80), 20, 77)[0]


def until(condition) -> None:
    end = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.parametrize("leaves", [True, False])
def test_the_networks_stop_at_the_next_tile(run: Path, frame, leaves, monkeypatch):
    """The first tile is held up until the server knows; no second one follows, and the next client is served."""
    served = run_model(run, settings={"n_tiles": [1, 3, 3]})
    keras_model = served.at(VOXEL).unet_model.keras_model  # type: ignore[attr-defined]
    real, tiles, begun = forward_function(keras_model), [], threading.Event()

    def held_up(tile):
        tiles.append(tile.shape)
        begun.set()
        end = time.monotonic() + 300
        while time.monotonic() < end:
            try:
                go_on()
            except Gone:
                break
            time.sleep(0.02)
        return real(tile)

    with start(served) as server, channel_to(server.grpc_port) as channel:
        whole = ask(server.grpc_port, request_of(frame, VOXEL))
        monkeypatch.setattr(keras_model, "_volltrack_forward", held_up)
        call = ObjectDetectionStub(channel).RunDetection.future(
            request_of(frame, VOXEL), timeout=None if leaves else 3.0, wait_for_ready=True
        )
        if leaves:
            assert begun.wait(300)
            call.cancel()
        else:
            assert call.exception(timeout=300).code() is grpc.StatusCode.DEADLINE_EXCEEDED
        until(lambda: not (server.service.memory.inside or server.service.device.inside))
        assert len(tiles) <= 1  # none where the three seconds were over before
        monkeypatch.setattr(keras_model, "_volltrack_forward", real)
        assert ask(server.grpc_port, request_of(frame, VOXEL)) == whole
        outcome = "CANCELLED" if leaves else "DEADLINE_EXCEEDED"
        until(
            lambda: (
                server.service.counts["RunDetection", outcome]
                + server.service.counts["RunDetection", "CANCELLED"]
            )
        )


@pytest.mark.parametrize("use_probability", [True, False])
def test_a_picture_larger_than_memory_is_segmented_in_blocks(run: Path, monkeypatch, capfd, use_probability):
    frame = discs((280, 280), 180, 7)[0]
    with start(run_model(run, settings={"use_probability": use_probability})) as server:
        whole = ask(server.grpc_port, request_of(frame, VOXEL))
        monkeypatch.setenv("VOLLTRACK_MEMORY_MB", "6")
        blocks = ask(server.grpc_port, request_of(frame, VOXEL))
        code, line = code_of(server.grpc_port, request_of(frame, VOXEL, scaling_hint=0.9))
    assert "stardist" not in capfd.readouterr().err, "no progress bars among the lines of the log"
    again, before = drawn(blocks, frame.shape), drawn(whole, frame.shape)
    found: Any = matching(before, again, thresh=0.9, report_matches=True)
    assert found.f1 > 0.98 and found.n_true > 100
    scores = [[d.score for d in answer.detections] for answer in (whole, blocks)]
    matched = zip(found.matched_pairs, found.matched_scores, strict=True)
    pairs = np.array([pair for pair, iou in matched if iou > 0.9]) - 1
    np.testing.assert_allclose(np.array(scores[0])[pairs[:, 0]], np.array(scores[1])[pairs[:, 1]], atol=0.01)
    assert len({round(score, 3) for score in scores[1]}) > 10
    assert code == "INVALID_ARGUMENT" and "crop it" in line and "Scaling Factor" in line


def test_without_a_known_size_of_voxels_pictures_that_have_none_are_refused(run: Path, frame, monkeypatch):
    calibrated = request_of(frame, VOXEL)
    assert run_model(run).uncalibrated == "taken for 2 × 0.5 × 0.5 µm (z, y, x)"
    monkeypatch.setattr(segmentation, "trained_voxels", lambda p: None)
    unknown = run_model(run)
    assert unknown.uncalibrated == "refused"
    with start(unknown) as server:
        expected = ask(server.grpc_port, calibrated)
        code, line = code_of(server.grpc_port, request_of(frame))
        assert code == "INVALID_ARGUMENT" and "Image > Properties" in line and "\n" not in line
    with start(run_model(run, settings={"voxel_size_um": list(VOXEL)})) as server:
        assert ask(server.grpc_port, request_of(frame)) == expected
