"""Who comes in, in which order, and what becomes of those who leave: with a segmenter that can be held up."""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
from biopb.image import ObjectDetectionStub
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from skimage.measure import label

from helpers.errors import InputError
from helpers.segmentation.segmenter import Segmentation
from helpers.serve.access import Certificate, refusal
from helpers.serve.server import start
from helpers.serve.service import Limits, ServedModel
from tests.serve.fiji import LARGE, ask, channel_to, code_of, drawn, request_of

VOXEL = (1.0, 1.0, 1.0)
FRAME = np.zeros((40, 50))
FRAME[5:12, 6:20], FRAME[20:30, 30:41] = 1, 2


class Held:
    """Components above 0.5, once all are let go, or `one` is."""

    def __init__(self) -> None:
        self.go, self.one, self.order = threading.Event(), threading.Event(), []
        self.go.set()

    def __call__(self, frame, *, mask=None) -> Segmentation:
        end = time.monotonic() + 120
        while not (self.go.is_set() or self.one.is_set()):
            assert time.monotonic() < end
            time.sleep(0.01)
        self.one.clear()
        self.order.append(float(frame.max()))
        return Segmentation({"threshold": label(frame > 0.5).astype(np.int32)}, {})


@pytest.fixture
def held():
    return Held()


@pytest.fixture
def serving(held):
    model = ServedModel("threshold", lambda _: held, voxel_size=VOXEL)
    with start(
        model, token="sesame", limits=Limits(pictures=2, waiting=3, message_mb=8, receive_s=2.0)
    ) as server:
        yield server
        held.go.set()


def until(condition, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_the_token_is_asked_for(serving, caplog):
    caplog.set_level(logging.INFO, "helpers.serve")
    port = serving.grpc_port
    assert len(ask(port, request_of(FRAME), token="sesame").detections) == 2
    for wrong in (None, "", "sesam", "sesame!", "s" * 5000):
        code, line = code_of(port, request_of(FRAME), token=wrong)
        assert code == "UNAUTHENTICATED" and "token" in line and "printed" in line
    with channel_to(port) as channel, pytest.raises(grpc.RpcError) as error:
        ObjectDetectionStub(channel).RunDetection(
            request_of(FRAME), metadata=[("authorization", "sesame")], timeout=60
        )
    assert error.value.code().name == "UNAUTHENTICATED"
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 7 and "RunDetection OK" in lines[0] and "2 cells" in lines[0]
    assert not any("sesame" in line for line in lines)
    assert serving.service.counts["RunDetection", "UNAUTHENTICATED"] == 6


def test_outlines_that_no_message_holds_are_told_as_such(held):
    """The cells take little as pixels, and more than the message as meshes."""
    frame = np.zeros((16, 120, 120), np.float32)
    frame[1::3, 1::3, 1::3] = 1
    model = ServedModel("threshold", lambda _: held, voxel_size=VOXEL)
    with start(model, limits=Limits(message_mb=1)) as server:
        code, line = code_of(server.grpc_port, request_of(frame, z=16))
        assert code == "RESOURCE_EXHAUSTED" and "outlines of 8000 cells" in line and "in parts" in line
        assert server.service.counts["RunDetection", "RESOURCE_EXHAUSTED"] == 1


def test_what_is_compared_does_not_depend_on_how_much_is_right(monkeypatch):
    """Digests of one length are compared, by the function whose time says nothing."""
    seen = []
    monkeypatch.setattr("hmac.compare_digest", lambda a, b: seen.append((len(a), len(b))) or a == b)
    assert refusal("Bearer right", "right") is None
    assert refusal("Bearer r", "right") and refusal(None, "right") and refusal("Basic right", "right")
    assert refusal(None, None) is None
    assert set(seen) == {(32, 32)}


def test_without_a_token_only_this_machine_is_served(held):
    with pytest.raises(InputError, match="token"):
        start(ServedModel("threshold", lambda _: held, voxel_size=VOXEL), host="0.0.0.0")


def test_a_port_in_use_is_said(serving, held):
    with pytest.raises(InputError, match="free port"):
        start(ServedModel("threshold", lambda _: held, voxel_size=VOXEL), grpc_port=serving.grpc_port)


def test_health_and_reflection(serving):
    with channel_to(serving.grpc_port) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for name in ("", "biopb.image.ObjectDetection"):
            state = health.Check(health_pb2.HealthCheckRequest(service=name), timeout=30).status
            assert state == health_pb2.HealthCheckResponse.SERVING
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        asked = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
        with pytest.raises(grpc.RpcError):
            list(stub.ServerReflectionInfo(asked, timeout=30))
        asked = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
        (answer,) = stub.ServerReflectionInfo(
            asked, timeout=30, metadata=[("authorization", "Bearer sesame")]
        )
        assert "biopb.image.ObjectDetection" in {s.name for s in answer.list_services_response.service}


def test_a_self_made_certificate(held, tmp_path):
    own = Certificate.self_made(tmp_path / "a", "127.0.0.1")
    other = Certificate.self_made(tmp_path / "b", "127.0.0.1")
    assert (
        Certificate.self_made(tmp_path / "a", "127.0.0.1").fingerprint == own.fingerprint != other.fingerprint
    )
    assert (tmp_path / "a" / "key.pem").stat().st_mode & 0o077 == 0
    with start(ServedModel("threshold", lambda _: held, voxel_size=VOXEL), tls=own) as server:
        address = f"127.0.0.1:{server.grpc_port}"
        for trusted, code in ((own, "OK"), (other, "UNAVAILABLE")):
            trust = grpc.ssl_channel_credentials(trusted.certificate.read_bytes())
            with grpc.secure_channel(address, trust, options=LARGE) as channel:
                stub = ObjectDetectionStub(channel)
                if code == "OK":
                    assert len(stub.RunDetection(request_of(FRAME), timeout=30).detections) == 2
                    continue
                with pytest.raises(grpc.RpcError) as error:
                    stub.RunDetection(request_of(FRAME), timeout=30)
                assert error.value.code().name == code
        with grpc.insecure_channel(address) as channel, pytest.raises(grpc.RpcError) as error:
            ObjectDetectionStub(channel).RunDetection(request_of(FRAME), timeout=30)
        assert error.value.code().name == "UNAVAILABLE"
    mixed = Certificate(own.certificate, other.key)
    with pytest.raises(InputError, match="certificate"):
        start(ServedModel("threshold", lambda _: held, voxel_size=VOXEL), tls=mixed)
    with pytest.raises(InputError, match="PEM"):
        Certificate(tmp_path / "none.pem", own.key)


def test_a_deadline_that_has_passed_frees_the_place(serving, held):
    held.go.clear()
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(ask, serving.grpc_port, request_of(FRAME), "sesame")
        until(lambda: serving.service.device.inside == 1)
        late = pool.submit(code_of, serving.grpc_port, request_of(FRAME * 9), token="sesame", timeout=0.7)
        assert late.result()[0] == "DEADLINE_EXCEEDED"
        until(lambda: serving.service.device.waiting == 0)
        held.go.set()
        assert len(first.result().detections) == 2
    assert held.order == [2.0]  # the late one was never segmented


def test_a_full_queue_says_so_and_the_order_is_kept(serving, held):
    held.go.clear()
    with ThreadPoolExecutor(6) as pool:
        going = []
        for i in range(5):  # two pictures in memory, three wait
            going.append(pool.submit(ask, serving.grpc_port, request_of(FRAME * (i + 1)), "sesame"))
            until(lambda i=i: serving.service.memory.inside + serving.service.memory.waiting == i + 1)
            until(lambda i=i: serving.service.device.inside + serving.service.device.waiting == min(i + 1, 2))
        code, line = code_of(serving.grpc_port, request_of(FRAME), token="sesame")
        assert code == "RESOURCE_EXHAUSTED" and "3 requests wait" in line
        # One after the other: when all may go, the one whose picture is read faster can overtake.
        for done in range(1, 6):
            held.one.set()
            until(lambda done=done: len(held.order) == done)
            left = 5 - done
            until(lambda left=left: serving.service.device.waiting == max(0, min(left, 2) - 1))
            until(lambda left=left: serving.service.device.inside == min(left, 1))
        assert [len(f.result().detections) for f in going] == [2] * 5
    assert held.order == [2, 4, 6, 8, 10]


def test_those_who_wait_are_told_their_place(serving, held):
    held.go.clear()
    with ThreadPoolExecutor(2) as pool, channel_to(serving.grpc_port) as channel:
        going = [pool.submit(ask, serving.grpc_port, request_of(FRAME), "sesame") for _ in range(2)]
        until(lambda: serving.service.memory.inside == 2)
        # Python's unary calls show what comes first together with the answer; streams show it when it comes.
        bytes_of = channel.unary_stream("/biopb.image.ObjectDetection/RunDetection")
        body = request_of(FRAME).SerializeToString()
        call = bytes_of(body, metadata=[("authorization", "Bearer sesame")], timeout=60)
        assert dict(call.initial_metadata())["queue-position"] == "2"
        held.go.set()
        assert len(list(call)) == 1 and all(f.result() for f in going)


def test_a_client_that_vanishes_leaves_no_trace(serving, held):
    held.go.clear()
    with channel_to(serving.grpc_port) as channel:
        stub = ObjectDetectionStub(channel)
        calls = [
            stub.RunDetection.future(request_of(FRAME), metadata=[("authorization", "Bearer sesame")])
            for _ in range(4)
        ]
        until(lambda: serving.service.memory.inside == 2 and serving.service.memory.waiting == 2)
        for call in calls:
            call.cancel()
    held.go.set()
    until(lambda: serving.service.memory.inside == serving.service.memory.waiting == 0)
    answer = ask(serving.grpc_port, request_of(FRAME), token="sesame")
    assert np.array_equal(drawn(answer, FRAME.shape), label(FRAME > 0.5))


def test_half_sent_messages_do_not_hold_a_place_for_ever(serving):
    def nothing_comes():
        time.sleep(6)
        yield b""

    with channel_to(serving.grpc_port) as channel:
        call = channel.stream_unary("/biopb.image.ObjectDetection/RunDetection")
        waiting = [
            call.future(nothing_comes(), metadata=[("authorization", "Bearer sesame")]) for _ in range(2)
        ]
        until(lambda: serving.service.memory.inside == 2)
        assert len(ask(serving.grpc_port, request_of(FRAME), token="sesame", timeout=30).detections) == 2
        assert {w.code().name for w in waiting} == {"CANCELLED"}


@pytest.mark.parametrize("noise", [True, False])
def test_messages_above_the_limit_are_refused_also_when_they_are_small_on_the_wire(serving, noise):
    frame = np.random.default_rng(0).random((1500, 1500)) if noise else np.zeros((1500, 1500))
    assert code_of(serving.grpc_port, request_of(frame), token="sesame")[0] == "RESOURCE_EXHAUSTED"


def test_a_failure_of_the_server_is_one_line_and_it_lives_on(held, caplog):
    def broken(frame, *, mask=None):
        raise ZeroDivisionError("in here")

    with start(ServedModel("broken", lambda _: broken, voxel_size=VOXEL)) as server:
        code, line = code_of(server.grpc_port, request_of(FRAME))
        assert code == "INTERNAL" and "in here" not in line and "ZeroDivisionError" in caplog.text
        assert code_of(server.grpc_port, request_of(FRAME))[0] == "INTERNAL"
