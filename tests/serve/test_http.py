"""The HTTP server over real sockets: who may come in, what is refused, and its pages. Nothing is trained here."""

from __future__ import annotations

import json
import socket
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from helpers.errors import InputError
from helpers.serve.server import Server, start
from helpers.serve.service import Limits
from helpers.serve.trained_models import TrainedModels
from tests.serve.qupath_extension import ask, body, label_png, png, post

IMAGE = np.random.default_rng(1).integers(0, 255, (64, 64), np.uint8)
DRAWN = np.zeros((64, 64), np.uint8)
DRAWN[8:20, 8:20], DRAWN[40:60, 40:60] = 2, 1
PNG, LABELS = png(IMAGE), label_png(DRAWN)
LIMITS = Limits(body_mb=1, held_mb=2, pixels=100_000, batches=1000, receive_s=2.0)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory):
    models = tmp_path_factory.mktemp("served") / "models"
    with start(None, grpc_port=None, http_port=0, models=models, limits=LIMITS) as running:
        yield running


def port_of(server: Server) -> int:
    assert server.http_port is not None
    return server.http_port


def call(**changes: object) -> bytes:
    whole = {"modelname": "default", "b64img": PNG, "b64lbl": LABELS, "train": True, "eval": True}
    return json.dumps(
        {name: value for name, value in (whole | changes).items() if value != "left out"}
    ).encode()


MALFORMED = {
    "empty": b"",
    "no JSON": b"hello",
    "half": call()[:-10],
    "array": b"[]",
    "null": b"null",
    "number": b"17",
    "text": b'"default"',
    "not UTF-8": b'{"modelname": "\xff\xfe"}',
    "deep": b"[" * 100_000,
    "deep object": b'{"a":' * 50_000,
    "long number": b'{"epochs": ' + b"9" * 5000 + b"}",
    "NaN": call().replace(b'"train": true', b'"train": true, "lr": NaN'),
    "no name": call(modelname="left out"),
    "no image": call(b64img="left out"),
    "empty image": call(b64img=""),
    "image null": call(b64img=None),
    "image a list": call(b64img=[1, 2]),
    "image no base64": call(b64img="§§§"),
    "image a half": call(b64img=PNG[: len(PNG) // 2 // 4 * 4]),
    "image of text": call(b64img="aGVsbG8="),
    "image of URL": call(b64img="data:image/png;base64," + PNG),
    "image too large": call(b64img=png(np.zeros((400, 400), np.uint8))),
    "image constant": call(b64img=png(np.full((64, 64), 7, np.uint8))),
    "no labels": call(b64lbl=None),
    "labels empty": call(b64lbl=""),
    "labels no image": call(b64lbl="aGVsbG8="),
    "labels of another size": call(b64lbl=label_png(DRAWN[:-1])),
    "labels in colour": call(b64lbl=png(np.dstack([DRAWN] * 3))),
    "labels without a cell": call(b64lbl=label_png(DRAWN == 1)),
    "labels all open": call(b64lbl=label_png(0 * DRAWN)),
    "epochs 0": call(epochs=0),
    "epochs -1": call(epochs=-1),
    "epochs a word": call(epochs="many"),
    "too many batches": call(epochs=100, steps=200),
    "steps 0": call(steps=0),
    "batch 0": call(batchsize=0),
    "batch large": call(batchsize=10**6),
    "patch 1": call(trainpatch=1),
    "rate 0": call(lr=0),
    "rate 7": call(lr=7),
    "area negative": call(minarea=-1),
    "tolerance negative": call(simplify_tol=-1),
    "train a word": call(train="perhaps"),
    "name empty": call(modelname=""),
    "name up": call(modelname="../outside"),
    "name with a slash": call(modelname="a/b"),
    "name with a backslash": call(modelname="a\\b"),
    "name a dot": call(modelname="."),
    "name absolute": call(modelname="/tmp/outside"),
    "name long": call(modelname="a" * 300),
    "name with NUL": call(modelname="a\0b"),
    "name half a pair": call(modelname="LEFT").replace(b"LEFT", b"\\ud800"),
    "name of a device": call(modelname="default "),
}


@pytest.mark.parametrize("network", ["stardist", "cellpose", "elephant"])
def test_what_is_malformed_gets_one_line_and_the_server_lives(server, network):
    for about, content in MALFORMED.items():
        status, answer = post(port_of(server), f"/{network}/", content)
        said = answer.decode()
        assert 400 <= status < 500, (about, status, said)
        assert said and "\n" not in said and "Traceback" not in said and len(said) < 400, (about, said)
    assert ask(port_of(server), "GET", "/health")[0] == 200
    assert [path for path in models_folder(server).glob("*/*")] == []


def models_folder(server: Server) -> Path:
    assert server._http is not None
    return server._http._models.folder


def test_lines_say_what_to_do(server):
    port = port_of(server)
    for content, said in [
        (MALFORMED["empty image"], "one channel or RGB"),
        (MALFORMED["labels without a cell"], "Foreground"),
        (MALFORMED["too many batches"], "1000 batches"),
        (MALFORMED["epochs 0"], "epochs: "),
        (MALFORMED["name up"], "plain name"),
    ]:
        assert said in post(port, "/elephant/", content)[1].decode()
    status, answer = post(port, "/elephant/", body(PNG, LABELS, train=False))
    assert status == 404 and "train elephant first" in answer.decode()
    status, answer = post(port, "/lacss/", body(PNG, LABELS, train=False))
    assert status == 404 and "/stardist/" in answer.decode()


def test_neither_training_nor_segmenting_is_an_empty_array(server):
    assert post(port_of(server), "/stardist/", call(train=False, eval=False)) == (200, b"[]")


def test_requests_that_are_no_calls_are_refused(server):
    port = port_of(server)
    assert ask(port, "GET", "/stardist/")[0] == 405
    assert post(port, "/stardist/", call(), {"Content-Type": "text/plain"})[0] == 415
    for size in (2**20 + 1, 20 * 2**20):  # the larger one is still being sent when it is refused
        assert post(port, "/stardist/", b" " * size)[0] == 413
    assert ask(port, "GET", "/", headers={"Host": "evil.example"})[0] == 403
    for raw in (
        b"\0\1\2\r\n\r\n",
        b"POST /stardist/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/9\r\n\r\n",
    ):
        with socket.create_connection(("127.0.0.1", port), 10) as connection:
            connection.sendall(raw)
            assert b" 4" in connection.recv(100)
    with socket.create_connection(("127.0.0.1", port), 10) as connection:  # sends half, and waits
        head = "POST /stardist/ HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{"
        connection.sendall(head.encode())
        assert b" 408" in connection.recv(100)
    assert ask(port, "GET", "/health")[0] == 200


def test_reset_deletes_one_model_and_forgives_a_missing_slash(server):
    folder = models_folder(server)
    for path in ("/stardist/reset/", "/stardist/reset", "/stardistreset/"):
        for name in ("default", "other"):
            (folder / "stardist" / name).mkdir(exist_ok=True)
            (folder / "stardist" / name / "training.json").write_text("{}")
        assert post(port_of(server), path, b'{"modelname":"default"}') == (200, b'""')
        assert [p.name for p in (folder / "stardist").iterdir()] == ["other"]
    assert post(port_of(server), "/elephant/reset/", b'{"modelname":"never"}') == (200, b'""')
    assert post(port_of(server), "/elephant/reset/", b'{"modelname":"../stardist/other"}')[0] == 422
    assert post(port_of(server), "/cellpose/reset/", b'{"modelname":"a","pretrained":"cyto3"}')[0] == 422
    assert (folder / "stardist" / "other").is_dir()
    assert post(port_of(server), "/stardist/reset/", b'{"modelname":"other"}')[0] == 200


def test_pages_say_how_it_is(server):
    port = port_of(server)
    post(port, "/stardist/", call(train=False, eval=False))
    folder = models_folder(server) / "cellpose" / "mine"
    folder.mkdir()
    losses = {"epoch": 3, "history": [{"loss": 0.5, "val_loss": 0.625}]}
    (folder / "training.json").write_text(json.dumps({"state": losses}))
    page = ask(port, "GET", "/")[1].decode()
    assert "mine" in page and "0.625" in page and "No training" in page and "stardist nothing" in page
    assert "src=" not in page and "http://" not in page
    told = ask(port, "GET", "/metrics")[1].decode()
    assert 'volltrack_requests_total{method="http stardist nothing",outcome="OK"}' in told
    assert "volltrack_models 1\n" in told and "volltrack_waiting 0\n" in told
    assert "volltrack" in json.loads(ask(port, "GET", "/version")[1])
    described = json.loads(ask(port, "GET", "/openapi.json")[1])
    assert {"/stardist/", "/cellpose/", "/elephant/", "/elephant/reset/"} <= set(described["paths"])


def test_who_has_no_token_stays_out(tmp_path):
    with start(None, grpc_port=None, http_port=0, models=tmp_path, token="sesame") as server:
        port, nothing = port_of(server), call(train=False, eval=False)
        assert ask(port, "GET", "/health")[0] == 200
        for path in ("/", "/metrics", "/openapi.json", "/version", "/nowhere", "/wrong/stardist/", "/sesame"):
            assert ask(port, "GET", path)[0] == 401, path
        assert post(port, "/stardist/", nothing)[0] == 401
        assert post(port, "/stardist/", nothing, {"Authorization": "Bearer sesam"})[0] == 401
        assert post(port, "/stardist/", nothing, {"Authorization": "Bearer sesame"}) == (200, b"[]")
        assert post(port, "/sesame/stardist/", nothing) == (200, b"[]")
        assert post(port, "/sesame/stardist/reset/", b'{"modelname":"a"}') == (200, b'""')
        assert ask(port, "GET", "/sesame/")[0] == 200
        assert "sesame" not in ask(port, "GET", "/sesame/metrics")[1].decode()
        with pytest.raises(InputError, match="no other server"):
            start(None, grpc_port=None, http_port=0, models=tmp_path, token="sesame")
        with pytest.raises(InputError, match="free"):
            start(None, grpc_port=None, http_port=port, models=tmp_path / "b", token="sesame")
    with pytest.raises(InputError, match="token"):
        start(None, grpc_port=None, http_port=0, models=tmp_path, host="0.0.0.0")
    with pytest.raises(InputError, match="--model"):
        start(None, grpc_port=0)


def test_the_queue_is_that_of_all_doors_and_says_when_it_is_full(tmp_path):
    limits = Limits(waiting=1)
    with start(None, grpc_port=None, http_port=0, models=tmp_path, limits=limits) as server:
        port, answers = port_of(server), []

        def reset() -> None:
            answers.append(post(port, "/stardist/reset/", b'{"modelname":"a"}')[0])

        with server.service.device.turn(lambda: True):  # as a gRPC call would
            waiting = threading.Thread(target=reset)
            waiting.start()
            until(lambda: server.service.device.waiting == 1)
            reset()
            assert answers == [503]
        waiting.join(30)
        assert answers == [503, 200]


def until(true, seconds: float = 300) -> None:
    """Wait; the machine may be busy."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_client_that_leaves_ends_its_training_and_keeps_the_last_model(tmp_path):
    kept = tmp_path / "elephant" / "default" / "training.json"
    kept.parent.mkdir(parents=True)
    kept.write_text('{"state": {"epoch": 4}}')
    with start(None, grpc_port=None, http_port=0, models=tmp_path) as server:
        content = body(PNG, LABELS, train=True)
        with socket.create_connection(("127.0.0.1", port_of(server)), 10) as connection:
            head = "POST /elephant/ HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: "
            connection.sendall(f"{head}{len(content)}\r\n\r\n".encode() + content)
            until(lambda: "Training elephant/default" in ask(port_of(server), "GET", "/")[1].decode())
            assert server.service.device.inside == 1
        until(lambda: server.service.device.inside == 0)
        assert "No training" in ask(port_of(server), "GET", "/")[1].decode()
        assert sorted(p.name for p in (tmp_path / "elephant").iterdir()) == [".versions", "default"]
        assert kept.read_text() == '{"state": {"epoch": 4}}'
        [version] = (tmp_path / "elephant" / ".versions" / "default").iterdir()
        assert (version / "training.json").read_bytes() == kept.read_bytes()


def test_what_a_kill_left_is_put_in_order_at_the_next_start(tmp_path):
    for name in (".mine.before", ".mine.training", "kept", ".kept.before"):
        (tmp_path / "stardist" / name).mkdir(parents=True)
    TrainedModels(tmp_path).close()
    assert sorted(p.name for p in (tmp_path / "stardist").iterdir()) == ["kept", "mine"]
