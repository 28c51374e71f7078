"""The client against a real server on the loopback: the cells it gets, and what it says when it gets none."""

from __future__ import annotations

import datetime
import ipaddress
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from helpers.errors import InputError
from helpers.serve.client import parts
from helpers.serve.client.connection import Address, Connection
from helpers.serve.client.messages import DetectionParameters
from helpers.serve.client.remote_segmenter import RemoteSegmenter
from tests.serve.blob_server import BlobServicer, blobs, find_blobs, score_of, start

SIZE = (2.0, 0.5, 0.5)
TOKEN = "secret-0123456789"


@pytest.fixture
def serve() -> Iterator:
    """Return a function that starts a server, and stop all of them in the end."""
    running = []

    def begin(servicer, **how) -> str:
        server, port = start(servicer, **how)
        running.append(server)
        return f"localhost:{port}"

    yield begin
    for server in running:
        server.stop(0)


def _segmenter(
    server: str, token: str = "", *, timeout_s=30.0, patience_s=0.0, tls="auto", certificate=None, **settings
):
    address = Address(server, tls, certificate, token)
    connection = Connection(address, timeout_s=timeout_s, patience_s=patience_s)
    return RemoteSegmenter(connection, DetectionParameters(**settings), SIZE)


def _same(found: np.ndarray, expected: np.ndarray) -> None:
    """Check that two labellings are the same up to the numbers."""
    pairs = np.unique(np.stack([found.ravel(), expected.ravel()]), axis=1)
    assert pairs.shape[1] == expected.max() + 1 == found.max() + 1
    assert len(np.unique(pairs[0])) == len(np.unique(pairs[1])) == pairs.shape[1]


@pytest.mark.parametrize("shape", [(1, 90, 100), (10, 60, 70)])
@pytest.mark.parametrize("kind", ["u1", ">u2", "f8", "i4"])
def test_the_cells_are_those_of_the_same_computation_here(serve, shape, kind) -> None:
    stack = blobs(shape, 20, seed=4)
    servicer = BlobServicer()
    segmenter = _segmenter(serve(servicer))
    found = segmenter(stack.astype(kind))
    expected = find_blobs(stack)
    assert expected.max() > 5
    _same(found.main, expected)
    assert found.cells is not None
    scores = [score_of(stack, expected, n) for n in range(1, expected.max() + 1)]
    assert sorted(found.cells["quality"]) == sorted(scores)
    assert ("watertight" in found.cells) == (shape[0] > 1)
    pixels, _ = servicer.requests[0]
    assert (pixels.physical_size_z, pixels.physical_size_y, pixels.physical_size_x) == (2.0, 0.5, 0.5)


def test_the_parameters_of_the_plugin_arrive_and_what_is_left_empty_is_not_set(serve) -> None:
    stack = blobs((1, 90, 100), 20, seed=5)
    servicer = BlobServicer()
    server = serve(servicer)
    everything = _segmenter(server)(stack).main
    large = _segmenter(server, min_cell_area=60, min_score=0.7, nms_iou=0.0, scaling_hint=2.0)(stack)
    _, sent = servicer.requests[-1]
    assert (sent.min_cell_area, sent.nms_iou, sent.scaling_hint) == (60, 0, 2)
    assert sent.HasField("nms_iou") and not sent.HasField("segmentation_threshold")
    assert not servicer.requests[0][1].HasField("min_score")
    assert large.cells is not None and 0 < len(large.cells) < everything.max()
    assert large.cells["quality"].min() >= 0.7 and np.bincount(large.main.ravel())[1:].min() >= 60


def test_the_outlines_of_lacss_lie_half_a_pixel_further(serve) -> None:
    stack = blobs((1, 90, 100), 20, seed=6)
    _same(_segmenter(serve(BlobServicer(shift=0.5)))(stack).main, find_blobs(stack))


def test_cells_outside_the_tissue_are_left_out(serve) -> None:
    stack = blobs((1, 90, 100), 20, seed=6)
    mask = np.zeros(stack.shape, bool)
    mask[:, :, :50] = True
    found = _segmenter(serve(BlobServicer()))(stack, mask=mask)
    expected = find_blobs(stack)
    inside = [n for n in range(1, expected.max() + 1) if mask[expected == n].mean() >= 0.5]
    assert 0 < len(inside) < expected.max()
    np.testing.assert_array_equal(found.main > 0, np.isin(expected, inside))
    assert found.cells is not None
    assert found.cells["label"].tolist() == sorted(set(np.unique(found.main)) - {0})


def test_an_empty_frame_has_no_cells(serve) -> None:
    found = _segmenter(serve(BlobServicer()))(np.zeros((1, 30, 30), np.uint8))
    assert not found.main.any() and found.cells is not None and list(found.cells) == ["label", "quality"]


@pytest.mark.parametrize("shape", [(1, 300, 260), (12, 100, 90)])
@pytest.mark.parametrize(("name", "compress"), [("", True), ("", False), ("volltrack/0.1", True)])
def test_a_frame_larger_than_a_message_goes_in_parts(serve, monkeypatch, shape, name, compress) -> None:
    monkeypatch.setattr(parts, "OVERLAP", (3, 12, 12))
    stack = blobs(shape, 18, seed=7, radius=4)
    servicer = BlobServicer()
    server = serve(servicer, name=name, most_bytes=50_000)
    segmenter = RemoteSegmenter(Connection(Address(server), compress=compress), voxel_size=SIZE)
    segmenter.connection.greet()
    found = segmenter(stack)
    _same(found.main, find_blobs(stack))
    assert compress or segmenter.message_limit == 50_000, "which the server said"
    assert (servicer.asked > 1) == (name == ""), "only Volltrack's server is given a grid"


def test_a_server_that_was_killed_during_an_answer_and_started_again_costs_no_frame(capfd) -> None:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}

    def begin(delay_s: float) -> subprocess.Popen:
        command = [sys.executable, str(Path(__file__).with_name("blob_server.py")), str(port), str(delay_s)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)
        assert process.stdout is not None and process.stdout.readline() == b"ready\n"
        return process

    stack = blobs((1, 60, 60), 9, seed=8)
    first = begin(600)
    segmenter = _segmenter(f"localhost:{port}", patience_s=120.0)
    found = []
    at_work = threading.Thread(target=lambda: found.append(segmenter(stack)))
    at_work.start()
    try:
        time.sleep(1.0)
        first.kill()
        first.wait()
        second = begin(0)
        at_work.join(60)
        assert not at_work.is_alive()
        second.kill()
        second.wait()
    finally:
        first.kill()
        segmenter.close()
    _same(found[0].main, find_blobs(stack))
    assert f"localhost:{port}: " in capfd.readouterr().out, "that it tries again is said"


def test_a_server_without_room_is_asked_again(serve) -> None:
    servicer = BlobServicer()
    servicer.errors = [
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "64 requests wait"),
        (grpc.StatusCode.UNAVAILABLE, "later"),
    ]
    stack = blobs((1, 60, 60), 9, seed=8)
    _same(_segmenter(serve(servicer), patience_s=60.0)(stack).main, find_blobs(stack))
    assert servicer.asked == 3


def test_who_answers_is_told(serve) -> None:
    segmenter = _segmenter(serve(BlobServicer(), name="volltrack/9.9"))
    answer = segmenter.connection.greet()
    assert answer["server-name"] == "volltrack/9.9" and answer["tls"] is False
    assert segmenter.connection.joins_parts
    assert segmenter.connection.answered == [answer]


ERRORS = {
    grpc.StatusCode.INVALID_ARGUMENT: r"server = .*refuses.*too dark",
    grpc.StatusCode.RESOURCE_EXHAUSTED: r"patience_s = 0.0.*no room \(too dark\)",
    grpc.StatusCode.UNKNOWN: r"server = .*failed \(UNKNOWN: too dark\).*log",
    grpc.StatusCode.PERMISSION_DENIED: r"token_variable = 'VOLLTRACK_TOKEN'",
    grpc.StatusCode.UNAVAILABLE: r"server = .*does not answer",
    grpc.StatusCode.UNIMPLEMENTED: r"server = .*not a server of this kind",
}


@pytest.mark.parametrize("code", ERRORS, ids=lambda code: code.name)
def test_an_error_is_one_line_that_names_what_to_change(serve, code) -> None:
    servicer = BlobServicer()
    servicer.errors = [(code, "too dark")]
    with pytest.raises(InputError, match=ERRORS[code]) as error:
        _segmenter(serve(servicer))(np.zeros((1, 9, 9), np.uint8))
    assert "\n" not in str(error.value)


def test_a_server_that_takes_too_long(serve) -> None:
    with pytest.raises(InputError, match=r"timeout_s = 0.3: localhost:\d+ took longer"):
        _segmenter(serve(BlobServicer(delay_s=2)), timeout_s=0.3)(np.zeros((1, 9, 9), np.uint8))


def test_nobody_answers() -> None:
    segmenter = _segmenter("localhost:1")
    for ask in (segmenter.connection.greet, lambda: segmenter(np.zeros((1, 9, 9), np.uint8))):
        with pytest.raises(InputError, match=r"server = 'localhost:1': does not answer"):
            ask()


@pytest.mark.parametrize("token", ["", "secret-0123456780"])
def test_a_wrong_token_is_refused_at_the_door_and_not_repeated_to_anyone(serve, token) -> None:
    server = serve(BlobServicer(), token=TOKEN)
    expected = "refuses this token" if token else "asks for a token"
    for ask in (lambda s: s.connection.greet(), lambda s: s(np.zeros((1, 9, 9), np.uint8))):
        with pytest.raises(InputError, match=rf"token_variable = 'VOLLTRACK_TOKEN'.*{expected}") as error:
            ask(_segmenter(server, token))
        assert not token or token not in f"{error.value!r} {error.value.__context__!r}"
    assert TOKEN not in repr(Address(server, token=TOKEN))
    assert _segmenter(server, TOKEN)(np.zeros((1, 9, 9), np.uint8)).main.max() == 0


def _certificate(name: str) -> tuple[bytes, bytes]:
    """Return key and certificate, self-signed for a name."""
    key = ec.generate_private_key(ec.SECP256R1())
    who = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    names = [x509.DNSName(name), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    made = (
        x509.CertificateBuilder()
        .subject_name(who)
        .issuer_name(who)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return private, made.public_bytes(serialization.Encoding.PEM)


def test_tls_with_the_server_s_own_certificate_and_with_another(serve, tmp_path) -> None:
    own, other = _certificate("localhost"), _certificate("localhost")
    paths = [tmp_path / "own.pem", tmp_path / "other.pem"]
    for path, (_, public) in zip(paths, (own, other), strict=True):
        path.write_bytes(public)
    server = serve(BlobServicer(), token=TOKEN, certificate=own)
    stack = blobs((1, 60, 60), 9, seed=8)
    _same(_segmenter(server, TOKEN, certificate=paths[0])(stack).main, find_blobs(stack))
    for certificate, given in ((paths[1], "other.pem"), (None, "None")):
        with pytest.raises(InputError, match=rf"certificate = .*{given}.*another one"):
            _segmenter(server, TOKEN, tls="yes", certificate=certificate, patience_s=60.0)(stack)
    with pytest.raises(InputError, match=r"server = .*it encrypts: set tls to 'yes'"):
        _segmenter(server, TOKEN)(stack)
    with pytest.raises(InputError, match=r"tls = 'yes': .* does not encrypt"):
        _segmenter(serve(BlobServicer()), tls="yes", patience_s=60.0)(stack)


@pytest.mark.parametrize(
    ("server", "tls", "certificate", "encrypted"),
    [
        ("gpu.lab.org", "auto", None, True),
        ("gpu.lab.org:443", "auto", None, True),
        ("gpu.lab.org:50051", "auto", None, False),
        ("gpu.lab.org:50051", "auto", Path("x.pem"), True),
        ("[::1]:50051", "yes", None, True),
        ("gpu.lab.org:443", "no", None, False),
    ],
)
def test_what_is_encrypted(server, tls, certificate, encrypted) -> None:
    assert Address(server, tls, certificate).encrypted == encrypted


@pytest.mark.parametrize("server", ["", "http://gpu:50051", "gpu:port", "gpu 1:50051", "gpu:50051/x"])
def test_an_address_that_is_none(server) -> None:
    with pytest.raises(InputError, match="host:port"):
        Address(server)


def test_a_certificate_that_is_none(tmp_path) -> None:
    (tmp_path / "not.pem").write_text("hello")
    for path, why in ((tmp_path / "not.pem", "not a certificate"), (tmp_path / "gone.pem", "cannot be read")):
        with pytest.raises(InputError, match=rf"certificate = .*{why}"):
            Connection(Address("localhost:1", certificate=path))


def test_a_token_that_is_none() -> None:
    with pytest.raises(InputError, match="token_variable = 'VOLLTRACK_TOKEN'") as error:
        Address("localhost:1", token="two\nlines")
    assert "lines" not in str(error.value)
