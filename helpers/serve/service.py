"""What both doors share: the model, the queue of its device, limits, counters, and one line of log a request."""

from __future__ import annotations

import logging
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from helpers.data.lazy import LazyStack, pieces
from helpers.errors import InputError
from helpers.models.stopping import stopped_by
from helpers.progress import hidden
from helpers.segmentation.blocks import fits_memory, segment_by_blocks
from helpers.segmentation.cellpose_segmenter import QUALITY, CellposeSegmenter
from helpers.segmentation.resampled import ResampledSegmenter
from helpers.segmentation.segmenter import Segmentation, Segmenter
from helpers.segmentation.vollseg_segmenter import VollSegSegmenter
from helpers.serve.line import Gone, Line
from helpers.serve.pixels import Picture
from helpers.serve.settings import Settings

log = logging.getLogger("helpers.serve")
#: Scores are above 0, as TrackMate divides nothing by them but shows them as a quality.
_LEAST_SCORE = 1e-6
#: Pictures with fewer pixels along x or y have no cells: Cellpose makes them smaller still, until nothing is left.
_TINY = 8


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
        Pictures that are in memory at once, waiting or being segmented; further ones are not read yet. Each takes three
        times its message while it is read, then its own size.
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
    stored_mb : int
        Of volumes and results of jobs that lie on the disk.
    jobs : int
        Jobs that are remembered, and volumes that are kept.
    """

    message_mb: int = 512
    voxels: int = 2**27
    pictures: int = 2
    waiting: int = 64
    receive_s: float = 170.0
    body_mb: int = 128
    held_mb: int = 512
    pixels: int = 2**25
    batches: int = 20_000
    minutes: float = 60.0
    stored_mb: int = 8192
    jobs: int = 200


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
    voxel_size : tuple of float, optional
        (z, y, x) in µm: what a picture that is not calibrated is taken to have. None: it is refused where that matters.
    sized : callable
        Number of planes → whether the cells of a picture depend on the size of its voxels.
    """

    name: str
    at: Callable[[tuple[float, ...]], Segmenter]
    channels: tuple[int, ...] = (0,)
    voxel_size: tuple[float, ...] | None = None
    sized: Callable[[int], bool] = lambda planes: True

    @property
    def uncalibrated(self) -> str:
        """What is done with pictures that are not calibrated, in words."""
        if self.voxel_size is not None:
            return f"taken for {' × '.join(f'{side:g}' for side in self.voxel_size)} µm (z, y, x)"
        if self.sized(1):
            return "refused"
        return "planes are segmented in pixels, stacks refused" if self.sized(2) else "segmented in pixels"


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
        keep = np.concatenate([[False], self.scores >= settings.min_score])
        n = len(keep)
        if settings.min_cell_area > 1:  # every cell has a voxel
            counts = sum(np.bincount(plane.ravel(), minlength=n) for plane in self.labels)
            keep &= counts >= settings.min_cell_area
        if keep[1:].all():
            return self.labels
        numbers = np.where(keep, np.arange(n, dtype=np.int32), 0)
        return np.stack([numbers[plane] for plane in self.labels])


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
        prepared = self._prepared(picture, settings)
        if prepared is None:
            return _nothing(picture)
        with self.device.turn(alive):
            return self._segmented(picture, *prepared, alive)

    def segment_now(self, picture: Picture, settings: Settings, alive: Callable[[], bool]) -> Cells:
        """Segment one picture, as `segment`, for a caller whose turn it is."""
        prepared = self._prepared(picture, settings)
        return _nothing(picture) if prepared is None else self._segmented(picture, *prepared, alive)

    def _prepared(self, picture: Picture, settings: Settings) -> tuple[NDArray, Segmenter] | None:
        """Return the frame and what segments it; None where there is nothing to be seen."""
        frame = self._channels(picture, settings)
        if min(picture.shape[1:]) < _TINY or frame.min() == frame.max():
            return None
        segmenter = self._segmenter(picture, settings)
        return frame, segmenter if fits_memory(picture.shape) else _by_blocks(segmenter, picture.shape)

    def _segmented(
        self, picture: Picture, frame: NDArray, segmenter: Segmenter, alive: Callable[[], bool]
    ) -> Cells:
        with stopped_by(lambda: _still(alive)), hidden():
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
        _still(alive)
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
            return frame
        with np.errstate(over="ignore"):
            frame = np.ascontiguousarray(frame, np.float32)
        if not (frame.min() >= -1e30 and frame.max() <= 1e30):
            raise InputError("pixels", "above 1e30", "intensities that a camera can have")
        return frame

    def _segmenter(self, picture: Picture, settings: Settings) -> Segmenter:
        size = self._voxel_size(picture, settings)
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

    def _voxel_size(self, picture: Picture, settings: Settings) -> tuple[float, ...]:
        known = picture.voxel_size or self.model.voxel_size
        if known is not None:
            return known
        if self.model.sized(picture.shape[0]) or settings.cell_diameter_um:
            raise InputError(
                "pixel size",
                "not set",
                "that of the picture: in Fiji under Image > Properties, with micron as the unit (1 × 1 × 1 counts as not "
                "set); or start the server with --set voxel_size_um=[z,y,x], for all pictures that say none",
            )
        return (1.0, 1.0, 1.0)

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


def _still(alive: Callable[[], bool]) -> None:
    if not alive():
        raise Gone


def _by_blocks(segmenter: Segmenter, shape: tuple[int, ...]) -> Segmenter:
    """Return what segments a picture that is larger than memory, as notebook 06_segment does, if this segmenter can."""
    if not isinstance(segmenter, VollSegSegmenter) or segmenter.slice_wise:
        raise InputError(
            "picture",
            " × ".join(map(str, shape)),
            "smaller: it does not fit this server's memory, and only StarDist, U-Net and VollSeg at a Scaling Factor of 1 "
            "work through larger ones in blocks: crop it",
        )

    def segment(frame: NDArray, *, mask: NDArray[np.bool_] | None = None) -> Segmentation:
        with tempfile.TemporaryDirectory(prefix="volltrack-") as folder:
            stack = LazyStack(frame.shape, frame.dtype, frame.__getitem__)
            found = segment_by_blocks(segmenter, stack, Path(folder))
            labels = np.empty(frame.shape, np.int32)
            for where in pieces(frame.shape):
                labels[where] = found.main[where]
            return replace(found, labels={segmenter.method: labels})

    return segment


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
