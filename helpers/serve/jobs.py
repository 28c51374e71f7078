"""Jobs: segmentations and trainings of whole volumes, in the queue of the device, while their clients do something else.

::

    volumes ── order ── waiting (position) ── running (fraction) ── done ── labels as TIFF or OME-Zarr, or a model
                            └──────── cancel ─────┴── cancelled          └─ failed: one line that says why
"""

from __future__ import annotations

import secrets
import shutil
import threading
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from helpers.data.label_movies import LabelMovie
from helpers.data.movies import write_movie
from helpers.data.sparse_labels import read_labels
from helpers.errors import InputError
from helpers.models.from_annotations import Network
from helpers.models.stopping import stopped_by
from helpers.progress import hidden
from helpers.serve.line import Gone, LineFull
from helpers.serve.pixels import Picture
from helpers.serve.refusals import NothingThere, in_words
from helpers.serve.service import NO_MODEL, Service
from helpers.serve.settings import Settings
from helpers.serve.trained_models import TrainedModels
from helpers.serve.training_process import Plan
from helpers.serve.volumes import Volumes, finite

#: The network name under which the model of ``--model`` or ``--cellpose`` is asked for.
SERVED = "served"
State = Literal["waiting", "running", "done", "failed", "cancelled"]
_ENDED = ("done", "failed", "cancelled")


class Order(BaseModel):
    """What a client asks for."""

    model_config = ConfigDict(extra="forbid")

    kind: Literal["segment", "train"]
    network: Literal["served", Network] = Field(
        "served", description="served: the model this server was started with, which is not trained here."
    )
    model: str = Field("default", description="Name of the trained model.")
    version: str | None = Field(
        None, pattern="^[0-9a-f]{12}$", description="To segment: of the trained model; left out: the last."
    )
    volume: str = Field(description="Id of the raw volume.")
    labels: str | None = Field(
        None, description="To train: id of the labels; -1 not annotated, 0 background, cells from 1."
    )
    unannotated: int | None = Field(
        None, ge=-(2**31), lt=2**31, description="Another value of the labels that means: not annotated."
    )
    channel: int = Field(0, ge=0, le=63, description="Of the raw volume, from 0; not for the served model.")
    voxel_size_um: tuple[float, float, float] | None = Field(
        None, description="z, y, x in µm; left out: as the raw volume's file says."
    )
    batches: int = Field(400, ge=1, le=10**6, description="To train, in all.")
    batch_size: int = Field(2, ge=1, le=64)
    patch: int | None = Field(
        None, ge=16, le=1024, description="Side of what is learnt at once, in pixels; left out: what suits."
    )
    learning_rate: float | None = Field(None, gt=0, lt=1)
    seed: int = Field(42, ge=0, lt=2**31)


@dataclass
class Job:
    """One job.

    Attributes
    ----------
    id : str
    order : Order
    state : str
    position : int
        How many are before it.
    fraction : float
        How much is done, 0 to 1.
    loss : float or None
    cells : int or None
        Found.
    version : str or None
        Of the model that was trained, or segmented with.
    error : str
        Why it failed.
    made, started, ended : float or None
        Seconds since 1970.
    """

    id: str
    order: Order
    state: State = "waiting"
    position: int = 0
    fraction: float = 0.0
    loss: float | None = None
    cells: int | None = None
    version: str | None = None
    error: str = ""
    made: float = field(default_factory=time.time)
    started: float | None = None
    ended: float | None = None
    cancelled: threading.Event = field(default_factory=threading.Event, repr=False)
    in_line: threading.Event = field(default_factory=threading.Event, repr=False)
    full: LineFull | None = None

    def told(self, before: int) -> None:
        """Note how many are before it."""
        self.position = before
        self.in_line.set()


class Jobs:
    """The jobs of a server.

    Parameters
    ----------
    service : Service
    models : TrainedModels
    volumes : Volumes
    folder : Path
        For results.
    ending : threading.Event
        Set when the server ends.
    """

    def __init__(
        self, service: Service, models: TrainedModels, volumes: Volumes, folder: Path, ending: threading.Event
    ) -> None:
        self._service, self._models, self._volumes = service, models, volumes
        self._folder, self._ending = folder, ending
        self._jobs: dict[str, Job] = {}
        self._ordering = threading.Lock()

    def add(self, order: Order) -> Job:
        """Put a job into the queue, behind all that were there before.

        Raises
        ------
        InputError, NothingThere
            If it could never be done.
        LineFull
        """
        self._check(order)
        job = Job(secrets.token_hex(8), order)
        with self._ordering:
            self._forget_oldest()
            threading.Thread(target=self._run, args=(job,), name=f"job {job.id}", daemon=True).start()
            job.in_line.wait()  # so that the next one stands behind it
            if job.full is not None:
                raise job.full
            self._jobs[job.id] = job
        return job

    def __getitem__(self, name: str) -> Job:
        """Return a job, with its progress.

        Raises
        ------
        NothingThere
        """
        job = self._jobs.get(name)
        if job is None:
            raise NothingThere("job", name, "the id of a job that was ordered, and not deleted")
        progress = self._models.progress
        if job.state == "running" and job.order.kind == "train" and progress is not None:
            job.fraction, job.loss = (
                progress.fraction,
                progress.loss if progress.loss == progress.loss else None,
            )
        return job

    def __iter__(self):
        """List them, the last one first."""
        return iter([self[name] for name in reversed(list(self._jobs))])

    def end(self, name: str) -> Job:
        """Cancel a job that waits or runs; forget one that has ended, and its labels."""
        job = self[name]
        if job.state in _ENDED:
            self._jobs.pop(name, None)
            shutil.rmtree(self._folder / name, ignore_errors=True)
        job.cancelled.set()
        return job

    def labels(self, name: str) -> Path:
        """Return the folder with ``labels.tif`` and ``labels.zarr`` of a segmentation.

        Raises
        ------
        NothingThere
            If it is not done, or there is no such job.
        """
        job = self[name]
        if job.state != "done" or job.order.kind != "segment":
            raise NothingThere(
                "labels", job.state, "a segmentation that is done: ask for the job's state first"
            )
        return self._folder / name

    def _check(self, order: Order) -> None:
        limits, raw = self._service.limits, self._volumes[order.volume]
        if order.voxel_size_um is None and raw.voxel_size_um is None:
            raise InputError("voxel_size_um", None, "z, y, x in µm: the volume's file does not say them")
        if order.voxel_size_um and not all(0 < size < 1e6 for size in order.voxel_size_um):
            raise InputError("voxel_size_um", order.voxel_size_um, "sizes in µm, above 0")
        if order.network == SERVED:
            if order.kind == "train":
                raise InputError("network", SERVED, "stardist, unet, cellpose or elephant, to train")
            if self._service.model is NO_MODEL:
                raise InputError("network", SERVED, "a trained one: this server was started without --model")
            if order.version:
                raise InputError(
                    "version", order.version, "left out, or a trained network: served has but one"
                )
            return
        folder = self._models.path(order.network, order.model, order.version)
        if not 0 <= order.channel < raw.shape[0]:
            raise InputError("channel", order.channel, f"0 to {raw.shape[0] - 1}: the volume has no other")
        if order.kind == "segment":
            if not (folder / "training.json").is_file():
                raise NothingThere(
                    "model", order.model, f"a trained model of {order.network}: train it first"
                )
            return
        if order.version:
            raise InputError("version", order.version, "left out: a training goes on from the last version")
        if order.labels is None:
            raise InputError("labels", None, "the id of the labels, to train")
        drawn = self._volumes[order.labels]
        if drawn.shape != (1, *raw.shape[1:]):
            raise InputError("labels", drawn.shape, f"one channel of the raw volume's size, {raw.shape[1:]}")
        if order.batches > limits.batches:
            raise InputError("batches", order.batches, f"at most {limits.batches} on this server")

    def _run(self, job: Job) -> None:
        started = time.perf_counter()

        def alive() -> bool:
            return not (job.cancelled.is_set() or self._ending.is_set())

        try:
            with self._service.device.turn(alive, job.told):
                job.state, job.position, job.started = "running", 0, time.time()
                job.in_line.set()
                self._train(job, alive) if job.order.kind == "train" else self._segment(job, alive)
            job.fraction, state = 1.0, "done"
        except Gone:
            state = "cancelled"
        except LineFull as error:
            job.full, state = error, "failed"
        except Exception as error:
            state, job.error = "failed", in_words("job", error)[1]
        job.ended, job.state = time.time(), state  # type: ignore[assignment]
        job.in_line.set()
        self._service.note(f"job {job.order.kind}", "-", state, started, job.error)

    def _train(self, job: Job, alive: Any) -> None:
        order, limits = job.order, self._service.limits
        network: Any = order.network
        raw = self._volumes[order.volume]
        size = order.voxel_size_um or raw.voxel_size_um or ()
        drawn = self._volumes[order.labels or ""].stack(0)
        if drawn.dtype.kind == "f" and (drawn == np.round(drawn)).all():
            drawn = drawn.astype(np.int64)
        labels = read_labels(drawn, "labels", unannotated=order.unannotated)
        stack = finite(raw.stack(order.channel))
        if stack.shape[0] == 1:
            stack, labels, size = stack[0], labels[0], size[1:]
        if stack.min() == stack.max():
            raise InputError("volume", f"{stack.min()} everywhere", "a volume with cells to be seen")
        plan = Plan(
            network, str(self._models.path(network, order.model)), order.batches, order.batch_size, order.patch,
            limits.minutes, learning_rate=order.learning_rate, seed=order.seed, voxel_size=size,
        )  # fmt: skip
        self._models.train(plan, stack, labels, alive)
        job.version = self._version(order)

    def _segment(self, job: Job, alive: Any) -> None:
        order, raw = job.order, self._volumes[job.order.volume]
        size: Any = order.voxel_size_um or raw.voxel_size_um
        if order.network == SERVED:
            stacks = np.stack([finite(raw.stack(c)) for c in range(raw.shape[0])])
            picture = Picture(stacks, raw.shape[1] == 1, size)
            labels = self._service.segment_now(picture, Settings(), alive).labels
            job.version = self._service.model.name
        else:
            labels = self._by_trained(order, finite(raw.stack(order.channel)), size, alive)
            job.version = order.version or self._version(order)
        job.cells = int(labels.max(initial=0))
        folder = self._folder / job.id
        folder.mkdir(parents=True)
        write_movie(folder / "labels.tif", labels, voxel_size=size, axes="ZYX")
        kept = LabelMovie.create(folder / "labels.zarr", (1, *labels.shape), voxel_size=size, dtype="uint32")  # type: ignore[arg-type]
        kept.write_frame(0, labels)

    def _by_trained(self, order: Order, stack: NDArray, size: Any, alive: Any) -> NDArray:
        segmenter: Any = self._models.segmenter(order.network, order.model, order.version)  # type: ignore[arg-type]
        segmenter = replace(segmenter, voxel_size=size)

        def still() -> None:
            if not alive():
                raise Gone

        try:
            with stopped_by(still), hidden():
                found = segmenter(stack)
        except InputError as error:
            if error.name != "frame":
                raise
            return np.zeros(stack.shape, np.int32)  # nearly constant
        return np.asarray(found.main).reshape(stack.shape)

    def _version(self, order: Order) -> str | None:
        same = (m.version for m in self._models if (m.network, m.name) == (order.network, order.model))
        return next(same, None)

    def _forget_oldest(self) -> None:
        ended = [name for name, job in self._jobs.items() if job.state in _ENDED]
        for name in ended[: max(0, len(self._jobs) - self._service.limits.jobs + 1)]:
            self._jobs.pop(name, None)
            shutil.rmtree(self._folder / name, ignore_errors=True)
