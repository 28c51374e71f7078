"""``python -m helpers serve``: what notebooks 06_segment and 07_segment_cellpose segment with, for other programs."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helpers.errors import InputError
from helpers.runs.parameters import Segment, SegmentCellpose
from helpers.runs.steps import cellpose as cellpose_step
from helpers.runs.steps import segmentation
from helpers.segmentation.resampled import ResampledSegmenter
from helpers.segmentation.segmenter import Segmenter

if TYPE_CHECKING:
    from helpers.serve.server import Server
    from helpers.serve.service import ServedModel

#: What is said of a movie on the disk has no meaning for pictures that come over the network.
_OF_MOVIES = (
    *("movie", "movie_id", "labels", "labels_key", "dataset_key", "tissue_mask", "save_tiff"),
    *(
        "frame_interval_s",
        "missing_frames",
        "compare_methods",
        "beside_segment",
        "run_dir",
        "method",
        "model",
    ),
)

#: Environment variable that names the token, so that a service's command line does not show it.
TOKEN = "VOLLTRACK_TOKEN"


def serve(given: argparse.Namespace) -> int:
    """Serve until interrupted, and return the exit status.

    Raises
    ------
    InputError
        If there is nothing to serve, or an option is wrong.
    """
    from helpers.serve.access import Certificate, new_token
    from helpers.serve.server import start

    if given.grpc is None and given.http is None:
        raise InputError("--grpc", None, "a port to listen at, such as --grpc 50051 or --http 8000")
    trains_only = given.grpc is None and not (given.model or given.cellpose)
    model = None if trains_only else served_model(given)
    token = None if given.no_token else given.token or os.environ.get(TOKEN) or new_token()
    tls = None
    if given.tls_certificate or given.tls_key:
        tls = Certificate(Path(given.tls_certificate or ""), Path(given.tls_key or ""))
    elif given.tls:
        tls = Certificate.self_made(Path.home() / ".volltrack" / "tls", given.host)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s", stream=sys.stderr)
    logging.getLogger("helpers.serve").setLevel(logging.INFO)
    models = Path(given.models) if given.models else None
    server = start(
        model,
        grpc_port=given.grpc,
        http_port=given.http,
        models=models,
        host=given.host,
        token=token,
        tls=tls,
    )
    for line in _greeting(given, model, server, token, tls):
        print(line, flush=True)
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda *_: server.ended.set())
    server.wait()
    server.stop()
    return 0


def served_model(given: argparse.Namespace) -> ServedModel:
    """Return what the options ask to be served."""
    settings = _settings(given.set)
    if bool(given.model) == bool(given.cellpose):
        raise InputError("--model", given.model, "either --model RUN or --cellpose NAME")
    if given.cellpose:
        return cellpose_model(given.cellpose, settings)
    return run_model(Path(given.model), given.method, settings)


def run_model(run: Path, method: str | None = None, settings: Mapping[str, Any] | None = None) -> ServedModel:
    """Return the networks of a run as notebook 06_segment uses them.

    Parameters
    ----------
    run : Path
        Run folder.
    method : {"vollseg", "stardist", "unet"}, optional
        None: VollSeg where both networks are there, else the one that is.
    settings : mapping, optional
        Parameters of notebook 06_segment. `voxel_size_um` is that of pictures that are not calibrated.

    Raises
    ------
    InputError
        If there are no networks, or a parameter is wrong.
    """
    from helpers.serve.service import ServedModel

    there = [name for name in ("stardist", "unet") if (run / "models" / name).is_dir()]
    if not there:
        raise InputError(
            "--model",
            str(run),
            "a run folder with models/stardist or models/unet (notebook 04_train_segmentation)",
        )
    method = method or ("vollseg" if len(there) == 2 else there[0])
    p = Segment.checked({"run_dir": run, "method": method, **(settings or {})}, source="--set")
    trained = segmentation.trained_voxels(p)
    usual = p.voxel_size_um or trained
    usual = _three(usual) if usual else None
    base: Any = segmentation.open_segmenter(
        p.model_copy(update={"resample_to_training": False}), usual or (1.0, 1.0, 1.0)
    )
    base = replace(base, scored=True)

    def at(size: tuple[float, ...]) -> Segmenter:
        seen = segmentation.trained_size(p, size) if p.resample_to_training else size
        own = replace(base, voxel_size=seen)
        return own if seen == size else ResampledSegmenter(own, tuple(size), seen)

    return ServedModel(f"{run.resolve().name}/{method}", at, (p.channel,), usual)


def cellpose_model(name: str, settings: Mapping[str, Any] | None = None) -> ServedModel:
    """Return a model of Cellpose as notebook 07_segment_cellpose uses it; the parameters are those of `run_model`.

    Parameters
    ----------
    name : str
        Built-in name, file, or a folder that holds ``cellpose_model`` (as notebook 04_train_segmentation writes it).
    settings : mapping, optional
        Parameters of notebook 07_segment_cellpose.
    """
    from helpers.serve.service import ServedModel

    inside = [Path(name, *parts, "cellpose_model") for parts in ((), ("cellpose",), ("models", "cellpose"))]
    weights = next((str(path) for path in inside if path.is_file()), name)
    p = SegmentCellpose.checked({"model": weights, **(settings or {})}, source="--set")
    usual = _three(p.voxel_size_um) if p.voxel_size_um else None
    base = cellpose_step.open_segmenter(p, usual or (1.0, 1.0, 1.0))
    in_um = bool(p.diameter_um or p.min_size_um3)
    channels = (p.channel,) if p.second_channel is None else (p.channel, p.second_channel)
    return ServedModel(
        f"cellpose/{Path(name).name}",
        lambda size: replace(base, voxel_size=size),
        channels,
        usual,
        # Cellpose itself counts in pixels; only its 3D wants to know how much longer they are along z.
        lambda planes: in_um or base.settings.mode(planes) == "3d",
    )


def _settings(given: Sequence[str]) -> dict[str, Any]:
    import yaml

    settings = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or name in _OF_MOVIES:
            raise InputError("--set", text, "NAME=VALUE, a parameter that says how to segment")
        try:
            settings[name] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise InputError("--set", text, "a value such as 20, true or [2, 0.5, 0.5]") from None
    return settings


def _three(size: Sequence[float]) -> tuple[float, ...]:
    return (*(1.0,) * (3 - len(size)), *map(float, size))


def _greeting(
    given: argparse.Namespace, model: ServedModel | None, server: Server, token: str | None, tls: Any
):
    encrypted = ", encrypted" if tls else ""
    if model is not None and server.grpc_port is not None:
        yield f"serving {model.name}"
        yield f"gRPC (Fiji: TrackMate-Lacss) at {given.host}:{server.grpc_port}{encrypted}"
        yield f"pictures without a pixel size in µm: {model.uncalibrated}; --set voxel_size_um=[z,y,x] gives them one"
    if server.http_port is not None:
        own = f"http{'s' if tls else ''}://{given.host}:{server.http_port}/{'TOKEN/' if token else ''}"
        yield f"HTTP (status page) at {own}, for QuPath: {own}stardist/, {own}cellpose/, {own}elephant/"
    if tls:
        yield f"certificate {tls.certificate}, SHA-256 {tls.fingerprint}"
    if token and token == os.environ.get(TOKEN):
        yield f"access token: that of {TOKEN}"
        return
    yield f"access token: {token}" if token else "no access token: whoever is on this machine may use it"
