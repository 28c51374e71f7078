"""The models that clients train: a folder of model folders, ``<network>/<name>``, as notebooks 06_segment and 07_segment_cellpose open them.

Everything here is called while the device's queue lets its caller in, so that a model is never read while it is
replaced. A model is replaced at once and only by a finished one (`helpers.models.from_annotations`); the versions before it
are kept beside it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

import helpers
from helpers.data.atomic import restore_folder
from helpers.errors import InputError
from helpers.models.from_annotations import NETWORKS, Network
from helpers.segmentation.segmenter import Segmenter
from helpers.serve.line import Gone
from helpers.serve.refusals import NothingThere, TrainingRefused
from helpers.serve.service import log
from helpers.serve.training_process import Plan

_NAME = re.compile(r"\w[\w .-]{0,39}")
#: Between two looks at whether the client is still there.
_LOOK_S = 0.2
#: A training ends by itself once its time is over, but only at the end of an epoch: then it is ended.
_PATIENCE = 1.5
#: Folder beside the models of a network: ``<name>/<version>``, and how many of a model are kept there.
_VERSIONS, _KEPT = ".versions", 9


@dataclass
class Progress:
    """The training that is going on.

    Attributes
    ----------
    model : str
        Network and name.
    fraction : float
        How much is done, 0 to 1.
    loss : float
        The last.
    """

    model: str
    fraction: float = 0.0
    loss: float = float("nan")


@dataclass(frozen=True)
class Trained:
    """A model on disk.

    Attributes
    ----------
    network, name : str
    version : str
        Another one after each training: the beginning of the SHA-256 of its ``training.json``.
    epochs : int
    loss, validation_loss : float or None
        Of the last epoch.
    made : float
        Seconds since 1970.
    """

    network: str
    name: str
    version: str
    epochs: int
    loss: float | None
    validation_loss: float | None
    made: float


class TrainedModels:
    """Trains, opens, lists and deletes models.

    Parameters
    ----------
    folder : Path
        Made if it is not there.

    Raises
    ------
    InputError
        If another server uses the folder, or it cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            for network in NETWORKS:
                (folder / network).mkdir(parents=True, exist_ok=True)
            self._lock = FileLock(folder / ".lock", thread_local=False)
            self._lock.acquire(timeout=0)
        except Timeout:
            raise InputError("--models", str(folder), "a folder that no other server uses") from None
        except OSError as error:
            raise InputError("--models", str(folder), f"a folder that can be written ({error})") from None
        self.progress: Progress | None = None
        self._open: tuple[Any, Segmenter] | None = None
        self._opening = threading.Lock()
        for network in NETWORKS:
            _restore(folder / network)

    def close(self) -> None:
        """Let another server use the folder."""
        self._lock.release()

    def path(self, network: Network, name: str, version: str | None = None) -> Path:
        """Return where a model is, or would be; or an earlier version of it.

        Raises
        ------
        InputError
            If the name could lead out of the folder, or be no folder's.
        NothingThere
            If the version is not, or no longer, kept.
        """
        plain = unicodedata.normalize("NFC", name)
        if not _NAME.fullmatch(plain) or ".." in plain or plain[-1] in " .":
            expected = "a plain name such as default: up to 40 letters, digits, spaces, '_', '-' or '.'"
            raise InputError("modelname", name.encode("ascii", "replace").decode(), expected)
        folder = self.folder / network / plain
        if version is None or version == _version(folder):
            return folder
        kept = _kept(folder) / version
        if not kept.is_dir():
            expected = f"one that is kept: GET /api/models/{network}/{plain}/versions lists them"
            raise NothingThere("version", version, expected)
        return kept

    def train(self, plan: Plan, image: NDArray, labels: NDArray, alive: Callable[[], bool]) -> None:
        """Train in a process of its own; whatever ends it early, the model on disk stays what it was, and is kept as a version.

        Parameters
        ----------
        plan : Plan
        image : ndarray, (Y, X) or (Z, Y, X)
        labels : ndarray of int32, likewise
        alive : callable
            Says whether the model is still wanted; else the training is ended.

        Raises
        ------
        TrainingRefused
            Saying why, or that it failed.
        InputError
            It took too long.
        Gone
            It is no longer wanted.
        """
        folder = Path(plan.folder)
        _keep(folder)
        self.progress = progress = Progress(f"{folder.parent.name}/{folder.name}")
        try:
            with tempfile.TemporaryDirectory(prefix="volltrack-") as job:
                np.save(Path(job, "image.npy"), image)
                np.save(Path(job, "labels.npy"), labels)
                Path(job, "job.json").write_text(json.dumps(asdict(plan)))
                status, said = _run(Path(job), plan, progress, alive)
        finally:
            self.progress = None
        if status == 0:
            return
        if "error" in said:
            raise TrainingRefused(said["error"])
        log.error("training of %s ended with status %s", progress.model, status)
        raise TrainingRefused(
            "the training failed, perhaps for want of memory: try a smaller batchsize or image; the model is as it was"
        )

    def segmenter(self, network: Network, name: str, version: str | None = None) -> Segmenter:
        """Return the segmenter of a model, or of an earlier version; the last that was asked for stays loaded.

        Raises
        ------
        NothingThere
            It was not trained yet.
        """
        folder = self.path(network, name, version)
        if not (folder / "training.json").is_file():
            raise NothingThere("modelname", name, f"a trained model: train {network} first, then segment")
        with self._opening:
            key = folder, (folder / "training.json").stat().st_mtime_ns, folder.stat().st_ino
            if self._open is None or self._open[0] != key:
                self._open = None
                self._open = key, segmenter_of(network, folder)
            return self._open[1]

    def reset(self, network: Network, name: str) -> None:
        """Delete a model with its versions, if there is one."""
        folder = self.path(network, name)
        for gone in (folder, folder.with_name(f".{folder.name}.before")):
            if gone.is_dir():
                away = folder.with_name(f".{folder.name}.deleted")
                shutil.rmtree(away, ignore_errors=True)
                os.replace(gone, away)
                shutil.rmtree(away, ignore_errors=True)
        shutil.rmtree(_kept(folder), ignore_errors=True)
        self._open = None

    def __iter__(self) -> Iterator[Trained]:
        """List the models as they are now."""
        for network in NETWORKS:
            for folder in sorted((self.folder / network).glob("[!.]*")):
                if found := _read(folder, network, folder.name):
                    yield found

    def versions(self, network: Network, name: str) -> list[Trained]:
        """List the versions of a model that are there, the newest first.

        Raises
        ------
        NothingThere
            There is no such model.
        """
        folder = self.path(network, name)
        read = (_read(one, network, folder.name) for one in [folder, *_kept(folder).glob("[!.]*")])
        found = {one.version: one for one in read if one}
        if not found:
            self.provenance(network, name)
        return sorted(found.values(), key=lambda one: one.made, reverse=True)

    def provenance(self, network: Network, name: str) -> dict[str, Any]:
        """Return what a model was trained with, and how it went: its ``training.json``.

        Raises
        ------
        NothingThere
            There is no such model.
        """
        try:
            return json.loads((self.path(network, name) / "training.json").read_text())
        except OSError:
            raise NothingThere(
                "model", name, f"a trained model of {network}: GET /api/models lists them"
            ) from None


def _version(folder: Path) -> str | None:
    try:
        return hashlib.sha256((folder / "training.json").read_bytes()).hexdigest()[:12]
    except OSError:
        return None


def _kept(folder: Path) -> Path:
    """Return where the versions of a model are."""
    return folder.parent / _VERSIONS / folder.name


def _keep(folder: Path) -> None:
    """Copy a model, if there is one, to its versions, of which the oldest go."""
    version, kept = _version(folder), _kept(folder)
    if version is None or (kept / version).is_dir():
        return
    copied = kept / ".copied"
    shutil.rmtree(copied, ignore_errors=True)
    shutil.copytree(folder, copied)
    os.replace(copied, kept / version)
    made = sorted(kept.glob("[!.]*/training.json"), key=lambda file: file.stat().st_mtime)
    for oldest in made[:-_KEPT]:
        shutil.rmtree(oldest.parent)


def _read(folder: Path, network: Network, name: str) -> Trained | None:
    """Return what a model folder says of its training; None where there is none, or it is being replaced."""
    file = folder / "training.json"
    try:
        content, made = file.read_bytes(), file.stat().st_mtime
        state = json.loads(content).get("state") or {}
    except (OSError, ValueError):
        return None
    last = (state.get("history") or [{}])[-1]
    version = hashlib.sha256(content).hexdigest()[:12]
    return Trained(
        network, name, version, state.get("epoch", 0), last.get("loss"), last.get("val_loss"), made
    )


def _run(job: Path, plan: Plan, progress: Progress, alive: Callable[[], bool]) -> tuple[int, dict[str, Any]]:
    """Run the process of a training, and return its status and the last thing it said."""
    root = str(Path(helpers.__file__).parent.parent)
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    command = [sys.executable, "-m", "helpers.serve.training_process", str(job)]
    with (job / "log").open("wb") as written:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=written,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        )  # fmt: skip
    said: dict[str, Any] = {}

    def listen() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            said.clear()
            said.update(json.loads(line))
            progress.fraction = said.get("fraction", progress.fraction)
            progress.loss = said.get("loss", progress.loss)

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    end = time.monotonic() + _PATIENCE * 60 * plan.minutes
    try:
        while True:
            try:
                status = process.wait(_LOOK_S)
                break
            except subprocess.TimeoutExpired:
                pass
            if not alive():
                raise Gone
            if time.monotonic() > end:
                raise InputError("steps", plan.batches, f"fewer: {plan.minutes:g} minutes are not enough")
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
            shutil.rmtree(
                Path(plan.folder).with_name(f".{Path(plan.folder).name}.training"), ignore_errors=True
            )
            _restore(Path(plan.folder).parent)
        listener.join(5)
    if status and "error" not in said:
        log.error("%s", (job / "log").read_bytes()[-4000:].decode("utf-8", "replace"))
    return status, dict(said)


def _restore(folder: Path) -> None:
    """Put back the models of a folder that a killed training had moved aside, and remove what it left."""
    for before in folder.glob(".*.before"):
        restore_folder(folder / before.name[1 : -len(".before")])
    for left in [*folder.glob(".*.training"), *folder.glob(".*.deleted")]:
        shutil.rmtree(left, ignore_errors=True)


def segmenter_of(network: Network, folder: Path) -> Segmenter:
    """Return a network trained on annotations as a segmenter of pictures without calibration: all sizes are in pixels."""
    size = (1.0, 1.0, 1.0)
    if network == "cellpose":
        from helpers.segmentation.cellpose_segmenter import CellposeSegmenter

        return CellposeSegmenter.open(folder / "cellpose_model", voxel_size=size)
    if network == "elephant":
        from helpers.segmentation.elephant_segmenter import ElephantSegmenter

        return ElephantSegmenter.open(folder, voxel_size=size)
    from helpers.segmentation.vollseg_segmenter import VollSegSegmenter

    if network == "unet":
        return VollSegSegmenter.open(unet_dir=folder, method="unet", voxel_size=size)
    return VollSegSegmenter.open(stardist_dir=folder, method="stardist", voxel_size=size)
