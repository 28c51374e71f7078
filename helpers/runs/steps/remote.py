"""Notebook 08_segment_remote: a server as segmenter, what is sent to it, and who answered."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from filelock import FileLock

from helpers.data.movies import Movie
from helpers.errors import InputError
from helpers.runs.parameters import SegmentRemote
from helpers.runs.run import write_json
from helpers.runs.segment_movie import SegmentedMovie
from helpers.runs.steps.segmentation import open_movie
from helpers.serve.client.connection import Address, Connection
from helpers.serve.client.messages import DetectionParameters
from helpers.serve.client.remote_segmenter import RemoteSegmenter
from helpers.view.result_table import result_table

__all__ = ["address", "describe", "open_movie", "open_segmenter", "summary"]


def address(p: SegmentRemote) -> Address:
    """Return where the server is.

    Raises
    ------
    InputError
        If no server is named, its address has another form, or the token's file or the certificate cannot be read.
    """
    if p.server is None:
        raise InputError("server", None, "name the server, host:port, such as 'gpu.mylab.org:50051'")
    token, source = p.token()
    return Address(p.server, p.tls, p.certificate, token, source)


def describe(p: SegmentRemote, movie: Movie) -> str:
    """Return, before anything is sent, what goes where and whether others can read it on the way."""
    to = address(p)
    channels = movie.n_channels if p.all_channels else 1
    frame = movie.lazy_frame(0, p.channel)
    megabytes = channels * frame.dtype.itemsize * frame.size / 1e6
    lines = [
        f"to {to.target}: {movie.n_frames} frames of {megabytes:.3g} MB before compression, {p.frames_in_flight} at once",
        "encrypted (TLS)" if to.encrypted else "not encrypted: whoever is on the way can read the pixels",
    ]
    if to.token and not to.encrypted:
        lines.append("the token goes unencrypted, too: in a network that you do not trust, use TLS")
    return "\n".join(lines)


def open_segmenter(p: SegmentRemote, voxel_size: tuple[float, ...]) -> RemoteSegmenter:
    """Greet the server, and note who answered in the movie's folder.

    Raises
    ------
    InputError
        If it does not answer or does not take the token.
    """
    connection = Connection(
        address(p), timeout_s=p.timeout_s, patience_s=p.patience_s, compress=p.compress, noted=_note(p)
    )
    try:
        answer = connection.greet()
    except InputError:
        connection.close()
        raise
    print("Answered:", result_table(answer), sep="\n")
    settings = DetectionParameters(**{n: getattr(p, n) for n in DetectionParameters.__dataclass_fields__})
    return RemoteSegmenter(connection, settings, voxel_size, p.frames_in_flight)


def summary(result: SegmentedMovie, p: SegmentRemote) -> dict[str, Any]:
    """Return what ``done.json`` keeps: the counts, the times, and who answered."""
    found = {**result.summary(), "servers": _read(_file(p))}
    if "watertight" in result.objects:
        found["closed_here"] = int((result.objects["watertight"] == 0).sum())
    return found


def _file(p: SegmentRemote) -> Path:
    return p.movie_path("servers.json")


def _note(p: SegmentRemote):
    def note(answer: dict[str, Any]) -> None:
        path = _file(p)
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):  # jobs may share a movie's frames
            known = _read(path)
            if answer not in known:
                write_json(path, {"servers": [*known, answer]})

    return note


def _read(path: Path) -> list[dict[str, Any]]:
    try:
        return list(json.loads(path.read_text(encoding="utf-8"))["servers"])
    except (OSError, ValueError, KeyError, TypeError):
        return []
