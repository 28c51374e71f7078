"""What both doors share: the model, the queue of its device, limits, counters, and one line of log a request."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from helpers.errors import InputError
from helpers.segmentation.blocks import fits_memory
from helpers.segmentation.cellpose_segmenter import QUALITY, CellposeSegmenter
from helpers.segmentation.resampled import ResampledSegmenter
from helpers.segmentation.segmenter import Segmentation, Segmenter
from helpers.serve.line import Gone, Line
from helpers.serve.pixels import Picture
from helpers.serve.settings import Settings

log = logging.getLogger("helpers.serve")
#: Scores are above 0, as TrackMate divides nothing by them but shows them as a quality.
_LEAST_SCORE = 1e-6


@dataclass(frozen=True)
class Limits:
    """What one request may cost.

    Attributes
    ----------
    message_mb : int
        Largest message, both ways.
    voxels : int
        Most voxels of a picture, all channels together.
    pictures : int
        Pictures that are in memory at once, waiting or being segmented; further ones are not read yet.
    waiting : int
        Requests that may wait.
    receive_s : float
        Longest time for sending one picture.
    body_mb : int
        Largest request over HTTP.
    held_mb : int
        Of requests over HTTP that are in memory at once.
    pixels : int
        Most pixels of an image to be trained on.
    batches : int
        Most batches of a training.
    minutes : float
        Longest training.
    """

    message_mb: int = 512
    voxels: int = 2**27
    pictures: int = 4
    waiting: int = 64
    receive_s: float = 170.0
    body_mb: int = 128
    held_mb: int = 512
    pixels: int = 2**25
    batches: int = 20_000
    minutes: float = 60.0


@dataclass(frozen=True)
class ServedModel:
    """What segments.

    Attributes
    ----------
    name : str
        For the log, the status page, and clients that ask for a model.
    at : callable
        Voxel size (z, y, x) in µm → Segmenter. The networks are loaded once.
    channels : tuple of int
        Of the client's channels, those that are segmented.
    voxel_size : tuple of float
        (z, y, x) in µm: what a picture that is not calibrated is taken to have.
    """

    name: str
    at: Callable[[tuple[float, ...]], Segmenter]
    channels: tuple[int, ...] = (0,)
    voxel_size: tuple[float, ...] = (1.0, 1.0, 1.0)


def _nobody(size: tuple[float, ...]) -> Segmenter:
    raise InputError("--model", None, "a model: this server was started without one")


#: Of a server that only trains.
NO_MODEL = ServedModel("none", _nobody)


@dataclass(frozen=True)
class Cells:
    """What was found in a picture.

    Attributes
    ----------
    labels : ndarray of int32, (Z, Y, X)
    scores : ndarray of float64, (n,)
        In (0, 1], of labels 1…n.
    """

    labels: NDArray[np.int32]
    scores: NDArray[np.float64]

    def kept(self, settings: Settings) -> NDArray[np.int32]:
        """Return the labels without the cells that are too small or too unsure for a client; they keep their numbers."""
        counts = np.bincount(self.labels.ravel(), minlength=len(self.scores) + 1)
        keep = np.concatenate([[False], self.scores >= settings.min_score])
        keep &= counts >= settings.min_cell_area
        return np.where(keep, np.arange(len(keep), dtype=np.int32), 0)[self.labels]


@dataclass
class Service:
    """One set of models, one queue.

    Attributes
    ----------
    model : ServedModel
    limits : Limits
    device : Line
        Those who wait for the networks.
    memory : Line
        Those whose picture is, or wants to be, in memory.
    counts : Counter
        Requests by (method, outcome), and ``cells``, ``voxels``, ``seconds``.
    """

    model: ServedModel
    limits: Limits = field(default_factory=Limits)
    counts: Counter[Any] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.device = Line(1, self.limits.waiting)
        self.memory = Line(self.limits.pictures, self.limits.waiting)
        self.started = time.time()
        self._counting = threading.Lock()

    def segment(self, picture: Picture, settings: Settings, alive: Callable[[], bool]) -> Cells:
        """Segment one picture when it is its turn.

        Parameters
        ----------
        picture : Picture
        settings : Settings
        alive : callable
            Says whether the answer is still wanted.

        Raises
        ------
        InputError
            If the picture does not suit the model.
        Gone, LineFull
            From the queue.
        """
        frame = self._channels(picture, settings)
        if frame.min() == frame.max():
            return _nothing(picture)
        if not fits_memory(picture.shape):
            raise InputError(
                "picture",
                " × ".join(map(str, picture.shape)),
                "smaller: it does not fit this server's memory",
            )
        segmenter = self._segmenter(picture, settings)
        with self.device.turn(alive):
            started = time.perf_counter()
            try:
                found = segmenter(frame)
            except InputError as error:
                if error.name != "frame":
                    raise
                # Nearly constant: an empty field of view in a movie must not end Fiji's detection.
                return _nothing(picture)
            finally:
                self.count(seconds=time.perf_counter() - started, voxels=frame.size)
        if not alive():
            raise Gone
        scores = _scores(found)
        self.count(cells=len(scores))
        return Cells(np.asarray(found.main).reshape(picture.shape), scores)

    def _channels(self, picture: Picture, settings: Settings) -> NDArray:
        if settings.model not in ("", self.model.name):
            raise InputError("model_name", settings.model, f"{self.model.name!r}, the model of this server")
        there, wanted = len(picture.channels), self.model.channels
        if max(wanted) >= there:
            raise InputError(
                "channels",
                there,
                f"at least {max(wanted) + 1} channels, as this server was started for: tick Multi-Channel in Fiji",
            )
        frame = picture.channels[wanted[0]] if len(wanted) == 1 else picture.channels[list(wanted)]
        if frame.dtype.kind in "iu" and frame.dtype.itemsize <= 2:
            return np.ascontiguousarray(frame, frame.dtype.newbyteorder("="))
        with np.errstate(over="ignore"):
            frame = np.ascontiguousarray(frame, np.float32)
        if not np.isfinite(float(frame.max()) - float(frame.min())) or abs(frame).max() > 1e30:
            raise InputError("pixels", "above 1e30", "intensities that a camera can have")
        return frame

    def _segmenter(self, picture: Picture, settings: Settings) -> Segmenter:
        size = picture.voxel_size or self.model.voxel_size
        if settings.scaling == 1.0:
            return _with_diameter(self.model.at(size), settings)
        seen = tuple(s / settings.scaling for s in size)
        larger = np.prod(picture.channels.shape) * settings.scaling ** (2 if picture.shape[0] == 1 else 3)
        if larger > self.limits.voxels:
            raise InputError(
                "Scaling Factor",
                settings.scaling,
                f"so that the picture has at most {self.limits.voxels} voxels",
            )
        return ResampledSegmenter(_with_diameter(self.model.at(seen), settings), size, seen)

    def count(self, **more: float) -> None:
        """Add to the counters."""
        with self._counting:
            self.counts.update(more)

    def note(self, method: str, peer: str, outcome: str, started: float, about: str = "") -> None:
        """Count a request and write its line: neither pixels nor tokens."""
        with self._counting:
            self.counts[method, outcome] += 1
        took = time.perf_counter() - started
        log.info("%s %s %s %.2f s%s", peer, method, outcome, took, f" {about}" if about else "")


def _nothing(picture: Picture) -> Cells:
    return Cells(np.zeros(picture.shape, np.int32), np.zeros(0))


def _with_diameter(segmenter: Segmenter, settings: Settings) -> Segmenter:
    if settings.cell_diameter_um is None:
        return segmenter
    if not isinstance(segmenter, CellposeSegmenter):
        raise InputError(
            "cell_diameter_hint",
            settings.cell_diameter_um,
            "nothing: only Cellpose takes it; send scaling_hint",
        )
    return replace(segmenter, settings=replace(segmenter.settings, diameter_um=settings.cell_diameter_um))


def _scores(found: Segmentation) -> NDArray[np.float64]:
    n = int(np.max(found.main, initial=0))
    cells = found.cells
    if cells is None:
        return np.ones(n)
    if "score" in cells:
        scores = cells["score"].to_numpy(float)
    else:  # Cellpose's mean cell probability is a logit
        scores = 1 / (1 + np.exp(-np.clip(cells[QUALITY].to_numpy(float), -50, 50)))
    result = np.ones(max(n, len(scores)))
    result[cells["label"].to_numpy(int) - 1] = scores
    return np.clip(result, _LEAST_SCORE, 1.0)
