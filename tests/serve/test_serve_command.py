"""The options of ``python -m helpers serve``."""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import shutil
import ssl
import subprocess
import sys
import threading
import tomllib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import grpc
import numpy as np
import pytest
from biopb.image import ObjectDetectionStub

from helpers.__main__ import main
from helpers.serve import server as servers
from helpers.serve.options import add_arguments
from tests.segmentation.tiny_cells import VOXEL, discs
from tests.serve.fiji import request_of
from tests.serve.qupath_extension import post

DEPLOY = Path(__file__).parents[2] / "deploy"


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
    assert "taken for 2 × 0.5 × 0.5 µm (z, y, x)" in shown


def test_http_alone_needs_no_model_and_says_what_to_type_in_qupath(tmp_path, served, capsys, monkeypatch):
    monkeypatch.delenv("VOLLTRACK_TOKEN", raising=False)
    with served("--http", "0", "--models", str(tmp_path), "--token", "sesame") as server:
        port = server.http_port
        assert post(port, "/sesame/elephant/reset/", b'{"modelname":"default"}') == (200, b'""')
    shown = capsys.readouterr().out
    assert f"http://127.0.0.1:{port}/TOKEN/stardist/" in shown and "access token: sesame" in shown


def test_the_fingerprint_of_a_self_made_certificate_is_printed(tmp_path, served, capsys, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("VOLLTRACK_TOKEN", raising=False)
    with served("--http", "0", "--models", str(tmp_path / "models"), "--tls") as server:
        there = ssl.get_server_certificate(("127.0.0.1", server.http_port or 0))
    digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(there)).hexdigest().upper()
    shown = capsys.readouterr().out
    assert ":".join(digest[i : i + 2] for i in range(0, 64, 2)) in shown
    assert len(re.findall("access token: ", shown)) == 1


def _arguments(text: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(text.split("helpers serve ", 1)[1].split())


def test_the_unit_is_one_that_systemd_takes(tmp_path):
    unit = (DEPLOY / "volltrack.service").read_text()
    command = next(line for line in unit.splitlines() if line.startswith("ExecStart="))
    assert _arguments(command).model.endswith("runs/demo")
    if not shutil.which("systemd-analyze"):
        pytest.skip("there is no systemd-analyze")
    here = tmp_path / "volltrack.service"
    here.write_text(unit.replace("/opt/volltrack/.venv/bin/python", sys.executable))
    done = subprocess.run(["systemd-analyze", "verify", str(here)], capture_output=True, text=True)
    assert "volltrack" not in done.stderr, done.stderr


def test_the_dockerfile_copies_and_installs_what_is_there():
    """No image is built here: this is read, not run."""
    lines = (DEPLOY / "Dockerfile").read_text().splitlines()
    for line in lines:
        if line.startswith("COPY "):
            assert all((DEPLOY.parent / name).exists() for name in line.split()[1:-1])
    extras = set(re.findall(r"\.\[([a-z,]+)\]", "\n".join(lines))[0].split(","))
    known = tomllib.loads((DEPLOY.parent / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert extras <= known.keys() and "remote" in extras
    entry, given = (
        json.loads(next(line for line in lines if line.startswith(name)).removeprefix(name))
        for name in ("ENTRYPOINT ", "CMD ")
    )
    asked = _arguments(" ".join([*entry, *given]))
    assert (asked.grpc, asked.host, asked.model) == (50051, "0.0.0.0", "/run-folder")
