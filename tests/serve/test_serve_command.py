"""The options of ``python -m helpers serve``."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import grpc
import numpy as np
import pytest
from biopb.image import ObjectDetectionStub
from fiji import request_of
from qupath_extension import post
from tiny_cells import VOXEL, discs

from helpers.__main__ import main
from helpers.serve import server as servers


@pytest.mark.parametrize(
    "options, said",
    [
        ([], "--grpc"),
        (["--grpc", "0"], "--cellpose NAME"),
        (["--http", "0", "--no-token", "--host", "0.0.0.0"], "token"),
        (["--http", "0", "--models", "/dev/null/models"], "--models"),
        (["--grpc", "0", "--model", "a", "--cellpose", "b"], "--cellpose NAME"),
        (["--grpc", "0", "--model", "none/there"], "models/stardist"),
        (["--grpc", "0", "--model", "{run}", "--set", "movie=a.tif"], "NAME=VALUE"),
        (["--grpc", "0", "--model", "{run}", "--set", "min_size_um3=much"], "min_size_um3"),
        (["--grpc", "0", "--model", "{run}", "--no-token", "--host", "0.0.0.0"], "token"),
        (["--grpc", "0", "--model", "{run}", "--tls-certificate", "a.pem"], "PEM"),
    ],
)
def test_a_wrong_option_is_one_line(run, capsys, monkeypatch, options, said):
    monkeypatch.delenv("VOLLTRACK_TOKEN", raising=False)
    assert main(["serve", *(text.format(run=run) for text in options)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and said in error and error.count("\n") == 1


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Callable[..., AbstractContextManager[servers.Server]]:
    """Return what runs the command with options, gives the server, and ends it.

    Signals reach the main thread only, so its end is set here as a signal would.
    """
    ready, started = threading.Event(), []
    start = servers.start

    def starting(*args, **kwargs):
        started.append(start(*args, **kwargs))
        ready.set()
        return started[0]

    monkeypatch.setattr(servers, "start", starting)
    monkeypatch.setattr("signal.signal", lambda *_: None)

    @contextmanager
    def running(*options: str) -> Iterator[servers.Server]:
        ended = []
        thread = threading.Thread(target=lambda: ended.append(main(["serve", *options])))
        thread.start()
        assert ready.wait(120)
        yield started[0]
        started[0].ended.set()
        thread.join(30)
        assert ended == [0]

    return running


def test_it_serves_with_the_token_of_the_environment_and_ends(run, served, capsys, monkeypatch):
    monkeypatch.setenv("VOLLTRACK_TOKEN", "sesame")
    options = ["--grpc", "0", "--model", str(run), "--set", "min_size_um3=2", "--method", "stardist"]
    with served(*options) as server, grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        frame = discs((60, 64), 10, 5)[0].astype(np.float32)
        answer = ObjectDetectionStub(channel).RunDetection(
            request_of(frame, VOXEL), timeout=60, metadata=[("authorization", "Bearer sesame")]
        )
        assert len(answer.detections) > 3
    shown = capsys.readouterr().out
    assert "run/stardist" in shown and "sesame" not in shown


def test_http_alone_needs_no_model_and_says_what_to_type_in_qupath(tmp_path, served, capsys, monkeypatch):
    monkeypatch.delenv("VOLLTRACK_TOKEN", raising=False)
    with served("--http", "0", "--models", str(tmp_path), "--token", "sesame") as server:
        port = server.http_port
        assert post(port, "/sesame/elephant/reset/", b'{"modelname":"default"}') == (200, b'""')
    shown = capsys.readouterr().out
    assert f"http://127.0.0.1:{port}/TOKEN/stardist/" in shown and "access token: sesame" in shown
