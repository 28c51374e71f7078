"""VollSeg as a segmenter: StarDist, a U-Net, or both fused.

The networks run once a frame; from their outputs follow the labels of all three methods, for any thresholds::

    frame ─ denoise ─ normalise ─┬─ StarDist ─┬─ stars ──┬─ fuse ─ vollseg
                                 │            └──────────│───────── stardist
                                 ├─ U-Net ────── mask ───┴───────── unet
                                 └─ tissue U-Net ─ which cells are kept
           network_outputs       │     labels_from_outputs

`labels_from_outputs` makes the labels that are finally written, sizes and tissue mask included, so thresholds are
sought on just those (`helpers.segmentation.thresholds`), but without the image's word on borders.

Over 400 lines, for the parameters that a notebook passes on are described once, here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from helpers.bounds import Fraction, NotNegative, check_bounds
from helpers.data.calibration import spacing_of
from helpers.data.masks import instances_from_binary
from helpers.data.normalization import normalize, percentile_range
from helpers.errors import InputError
from helpers.models import denoising, inference, model_folder, stardist, unet
from helpers.models.stardist import StarPrediction
from helpers.models.stitching import stitch_slices
from helpers.segmentation.certainty import certainty
from helpers.segmentation.fusion import DIVIDE, Divide, Rules, close_gaps, fuse
from helpers.segmentation.image_borders import follow_image
from helpers.segmentation.kept_cells import kept_cells, renumbered, voxel_counts
from helpers.segmentation.segmenter import Segmentation
from helpers.segmentation.watershed import watershed

METHODS = ("vollseg", "stardist", "unet")
_THRESHOLDS = ("prob", "nms", "foreground", "outline")
#: How far cells grow back, in widths of what was eroded: a high cut widens the gaps that the U-Net learned.
REACH = 2.0


@dataclass
class Outputs:
    """What the networks say of one frame, before any threshold.

    Attributes
    ----------
    stars : tuple of StarPrediction
        One for the frame; slice-wise one for each slice. Empty where StarDist is not asked.
    foreground : ndarray of float32, (Z, Y, X), or None
        The U-Net's probability.
    mask : ndarray of bool, (Z, Y, X), or None
        Tissue.
    seconds : dict
        Time of each network and of what prepares it.
    image : ndarray of float32, (Z, Y, X), or None
        What the networks saw, in which VollSeg looks for borders.
    """

    stars: tuple[StarPrediction, ...]
    foreground: NDArray[np.float32] | None
    mask: NDArray[np.bool_] | None
    seconds: dict[str, float] = field(default_factory=dict)
    image: NDArray[np.float32] | None = None
    _last: dict[str, tuple[Any, list[NDArray]]] = field(default_factory=dict, repr=False)

    def planes(self, name: str, key: Any, make: Callable[[], list[NDArray]]) -> list[NDArray]:
        """Return what `make` gives for each plane; what the last `key` gave is kept, for a search varies one threshold at a time."""
        if name not in self._last or self._last[name][0] != key:
            self._last.pop(name, None)  # a search tries dozens, each as large as the frame
            self._last[name] = key, make()
        return self._last[name][1]


@dataclass(frozen=True)
class VollSegSegmenter:
    """Segments with StarDist, a U-Net, or both fused as VollSeg does.

    Parameters
    ----------
    star_model, unet_model : models or None
        From `helpers.models.stardist` and `helpers.models.unet`; each may be missing where `method` needs it not.
    denoiser, tissue_model : models, optional
        From `helpers.models.denoising`; and a U-Net that predicts the tissue.
    method : {"vollseg", "stardist", "unet"}
        Whose labels are wanted.
    compare : bool
        Give the labels of the other two methods as well.
    voxel_size : tuple of float
        (z, y, x) in µm.
    prob_thresh, nms_thresh : float, optional
        StarDist's thresholds; None: those in its folder.
    foreground_thresh : float
        The U-Net's cut.
    divide : {"always", "borders", "never"}
        Which stars divide a component of the U-Net's foreground (`helpers.segmentation.fusion`).
    outline : float
        The value of the U-Net's foreground at which cells end; a higher `foreground_thresh` only tells neighbours apart.
    thresholds : mapping, optional
        Method → its own ``prob``, ``nms``, ``foreground``, ``divide`` and ``outline``, which win over those above: what
        `helpers.segmentation.thresholds` found best for each method.
    use_probability : bool
        Flood StarDist's probability; False: the mean length of its rays.
    boundary_width : float
        µm by which touching cells were eroded in the U-Net's training masks; cells grow back over the gaps.
    min_size_um3, max_size_um3 : float, optional
        Remove smaller and larger cells; µm³, in 2D µm².
    n_tiles : tuple of int, optional
        Tiles (z, y, x); None: as few as fit the memory.
    percentiles : tuple of float
        Of the frame, that become 0 and 1.
    slice_wise : bool
        Segment a stack plane by plane with 2D models and join the planes by overlap.
    stitch_threshold : float
        Least overlap (IoU) of two planes' outlines of one cell.
    tissue_thresh : float
        The tissue U-Net's cut.
    candidate_floor : float, optional
        Lowest `prob_thresh` that can be tried on one set of outputs; None: `prob_thresh` itself, which takes
        least memory.
    rules : Rules
        The numbers of the fusion.
    scored : bool
        Give every cell of the chosen method its `score` (see there).

    Raises
    ------
    InputError
        If a model is missing, has other dimensions than the others, or a parameter is out of range.
    """

    star_model: Any = None
    unet_model: Any = None
    denoiser: Any = None
    tissue_model: Any = None
    method: str = "vollseg"
    compare: bool = False
    voxel_size: tuple[float, ...] | None = None
    prob_thresh: Fraction | None = None
    nms_thresh: Fraction | None = None
    foreground_thresh: Fraction = 0.5
    divide: Divide = "always"
    outline: Fraction = 0.5
    thresholds: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    use_probability: bool = True
    boundary_width: NotNegative = 0.0
    min_size_um3: NotNegative | None = None
    max_size_um3: NotNegative | None = None
    n_tiles: tuple[int, ...] | None = None
    percentiles: tuple[float, float] = (1.0, 99.8)
    slice_wise: bool = False
    stitch_threshold: float = 0.25
    tissue_thresh: Fraction = 0.5
    candidate_floor: Fraction | None = None
    rules: Rules = field(default_factory=Rules)
    scored: bool = False

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise InputError("method", self.method, f"one of {METHODS}")
        spacing_of(self.voxel_size, 2)
        for name in self.methods:
            for model, needed in ((self.star_model, "unet"), (self.unet_model, "stardist")):
                if model is None and name != needed:
                    which = "StarDist" if needed == "unet" else "U-Net"
                    raise InputError(
                        "method", name, f"a {which} model: train one, or choose method={needed!r}"
                    )
        dims = {m.name: m.config.n_dim for m in self.models}
        if len(set(dims.values())) > 1:
            raise InputError("models", dims, "models of the same dimensions")
        if self.slice_wise and self.n_dim != 2:
            raise InputError(
                "slice_wise", True, "2D models: these are 3D; slice_wise=False segments whole stacks"
            )
        check_bounds(self)
        for method, own in self.thresholds.items():
            for name, value in own.items():
                if name != "divide" and (name not in _THRESHOLDS or not 0 <= value <= 1):
                    expected = f"{', '.join(_THRESHOLDS)} between 0 and 1"
                    raise InputError(f"thresholds of {method}", {name: value}, expected)
        for way in (self.divide, *(own.get("divide", "always") for own in self.thresholds.values())):
            if way not in DIVIDE:
                raise InputError("divide", way, f"one of {', '.join(DIVIDE)}")
        if self.max_size_um3 is not None and self.max_size_um3 <= (self.min_size_um3 or 0):
            raise InputError("max_size_um3", self.max_size_um3, f"above min_size_um3 = {self.min_size_um3}")

    @classmethod
    def open(
        cls,
        *,
        stardist_dir: str | Path | None = None,
        unet_dir: str | Path | None = None,
        denoiser_dir: str | Path | None = None,
        tissue_dir: str | Path | None = None,
        precision: str = "float32",
        **settings: Any,
    ) -> VollSegSegmenter:
        """Load the models from their folders, and take from them what the caller does not say.

        Parameters
        ----------
        stardist_dir, unet_dir, denoiser_dir, tissue_dir : path, optional
            Model folders.
        precision : {"float32", "auto", "bfloat16", "float16"}
            What the networks compute in; ``"auto"``: what the processor is built for.
        **settings
            Parameters of the class. `percentiles` and `boundary_width` follow the training set of the models
            where they are not given.

        Raises
        ------
        InputError
            Naming the folder of a model that cannot be used.
        """
        for folder in filter(None, (unet_dir, stardist_dir)):
            made = model_folder.training_set_of(Path(folder))
            if {"pmin", "pmax"} <= made.keys():
                settings.setdefault("percentiles", (made["pmin"], made["pmax"]))
            if folder == unet_dir and "boundary_width" in made:
                settings.setdefault("boundary_width", made["boundary_width"])
        return cls(
            star_model=stardist.load(stardist_dir, precision=precision) if stardist_dir else None,
            unet_model=unet.load(unet_dir, precision=precision) if unet_dir else None,
            denoiser=denoising.load(denoiser_dir, precision=precision) if denoiser_dir else None,
            tissue_model=unet.load(tissue_dir, precision=precision) if tissue_dir else None,
            **settings,
        )

    @property
    def methods(self) -> tuple[str, ...]:
        """Whose labels a frame gets, the chosen method first."""
        others = tuple(m for m in METHODS if m != self.method) if self.compare else ()
        return (self.method, *others)

    @property
    def n_dim(self) -> int:
        """Dimensions of the models."""
        return int(self.models[0].config.n_dim)

    @property
    def models(self) -> list[Any]:
        """The networks."""
        models = (self.star_model, self.unet_model, self.denoiser, self.tissue_model)
        return [m for m in models if m is not None]

    def __call__(self, frame: NDArray, *, mask: NDArray[np.bool_] | None = None) -> Segmentation:
        """Segment one frame.

        Parameters
        ----------
        frame : ndarray, (Z, Y, X), or (Y, X)
            Raw intensities.
        mask : ndarray of bool, shape of `frame`, optional
            Tissue or region of interest: cells with less than half of their voxels in it are left out.

        Returns
        -------
        Segmentation

        Raises
        ------
        InputError
            If the frame does not suit the models, or has no contrast.
        """
        outputs = self.network_outputs(frame, mask=mask)
        labels = {
            m: self.labels_from_outputs(outputs, method=m, **self.thresholds.get(m, {})) for m in self.methods
        }
        cells = self.score(outputs, labels[self.method]) if self.scored else None
        return Segmentation(
            {m: found.reshape(np.shape(frame)) for m, found in labels.items()}, outputs.seconds, cells
        )

    def score(self, outputs: Outputs, labels: NDArray[np.int32]) -> pd.DataFrame:
        """Return how sure the networks are of each cell of the labels (Z, Y, X) that were made from their outputs."""
        words = {}
        if self.method != "unet":
            maps = [star.full_probability() for star in outputs.stars]
            words["probability"] = np.stack(maps) if len(maps) > 1 else maps[0]
        if self.method != "stardist":
            words["foreground"] = outputs.foreground
        return certainty(labels, **{name: word.reshape(labels.shape) for name, word in words.items()})

    def network_outputs(self, frame: NDArray, *, mask: NDArray[np.bool_] | None = None) -> Outputs:
        """Run every network that is needed, once, over one frame.

        Parameters and errors are those of a call of the segmenter.
        """
        frame = np.asarray(frame)
        stack = frame if frame.ndim == 3 else frame[np.newaxis]
        seconds: dict[str, float] = {}
        flat = len(stack) == 1
        if flat if self.n_dim == 3 else not (flat or self.slice_wise):
            inference.check_image_for(self.models[0], stack[0] if flat else stack)
        planes = list(stack) if self.n_dim == 2 else [stack]
        with _timed(seconds, "denoise"):
            if self.denoiser is not None:
                planes = [denoising.predict(self.denoiser, p, n_tiles=self.n_tiles) for p in planes]
                stack = np.stack(planes) if self.n_dim == 2 else planes[0]
        with _timed(seconds, "normalise"):
            stack = normalize(stack, *percentile_range(stack, *self.percentiles, name="frame"))
            planes = list(stack) if self.n_dim == 2 else [stack]
        tissue, foreground, stars = None, None, ()
        if self.tissue_model is not None:
            with _timed(seconds, "tissue"):
                tissue = self._unet(self.tissue_model, planes, stack.shape) > self.tissue_thresh
        if mask is not None:
            if np.shape(mask) != frame.shape:
                raise InputError("mask", np.shape(mask), f"the shape of the frame, {frame.shape}")
            given = np.asarray(mask, bool).reshape(stack.shape)
            tissue = given if tissue is None else tissue & given
        if self.unet_model is not None and any(m != "stardist" for m in self.methods):
            with _timed(seconds, "unet"):
                foreground = self._unet(self.unet_model, planes, stack.shape)
        if self.star_model is not None and any(m != "unet" for m in self.methods):
            with _timed(seconds, "stardist"):
                stars = tuple(
                    stardist.predict(
                        self.star_model,
                        p,
                        n_tiles=self.n_tiles,
                        floor=self.floor,
                        voxel_size=self.voxel_size,
                    )
                    for p in planes
                )
        return Outputs(stars, foreground, tissue, seconds, stack if "vollseg" in self.methods else None)

    @property
    def floor(self) -> float | None:
        """Below it, candidates are not kept: the lowest threshold that any method will ask for."""
        if self.candidate_floor is not None:
            return self.candidate_floor
        stars = [m for m in self.methods if m != "unet"]
        asked = [self.thresholds.get(m, {}).get("prob", self.prob_thresh) for m in stars]
        known = [prob for prob in asked if prob is not None]
        if not known:
            return None
        return min(known) if len(known) == len(asked) else min(*known, float(self.star_model.thresholds.prob))

    def _unet(self, model: Any, planes: list[NDArray], shape: tuple[int, ...]) -> NDArray[np.float32]:
        return np.stack([unet.predict(model, p, n_tiles=self.n_tiles) for p in planes]).reshape(shape)

    def labels_from_outputs(
        self,
        outputs: Outputs,
        *,
        method: str | None = None,
        prob: float | None = None,
        nms: float | None = None,
        foreground: float | None = None,
        outline: float | None = None,
        divide: Divide | None = None,
    ) -> NDArray[np.int32]:
        """Return the labels that are written, for any thresholds; no network runs.

        Parameters
        ----------
        outputs : Outputs
            From `network_outputs`.
        method : {"vollseg", "stardist", "unet"}, optional
            None: the segmenter's.
        prob, nms, foreground, outline : float, optional
            Thresholds instead of the segmenter's own.
        divide : {"always", "borders", "never"}, optional
            Instead of the segmenter's own; for VollSeg only.

        Returns
        -------
        ndarray of int32, (Z, Y, X)
            Labels 1…n.
        """
        method = method or self.method
        cut, outline = self.cuts(foreground, outline)
        if method == "stardist":
            planes = self._star_labels(outputs, prob, nms)
        elif method == "unet":
            with _timed(outputs.seconds, "components"):
                foreground_planes = self._planes(outputs.foreground)
                planes = [instances_from_binary(plane > cut) for plane in foreground_planes]
                if self.boundary_width:  # grown back by what was eroded between them, not into the background
                    territories = self._territories(outputs, outline)
                    planes = [
                        watershed(-plane, labels, territory)
                        for plane, labels, territory in zip(
                            foreground_planes, planes, territories, strict=True
                        )
                    ]
        else:
            stars = self._star_labels(outputs, prob, nms)
            with _timed(outputs.seconds, "fusion"):
                image = [None] * len(stars) if outputs.image is None else self._planes(outputs.image)
                planes = [
                    self._fused(star, labels, plane, territory, seen, cut, divide or self.divide)
                    for star, labels, plane, territory, seen in zip(
                        outputs.stars,
                        stars,
                        self._planes(outputs.foreground),
                        self._territories(outputs, outline),
                        image,
                        strict=True,
                    )
                ]
        with _timed(outputs.seconds, "filter"):
            if len(planes) > 1:
                labels = stitch_slices(planes, self.stitch_threshold)
            else:
                labels = planes[0] if planes[0].ndim == 3 else planes[0][np.newaxis]
            return self._filtered(labels, outputs.mask)

    def cuts(self, foreground: float | None, outline: float | None) -> tuple[float, float]:
        """Return where the U-Net's foreground is cut, and where cells end: as given, else the segmenter's own."""
        cut = self.foreground_thresh if foreground is None else foreground
        return cut, min(cut, self.outline if outline is None else outline)

    def _planes(self, image: NDArray | None) -> list[NDArray]:
        assert image is not None
        return list(image) if self.n_dim == 2 else [image]

    def star_thresholds(self, prob: float | None, nms: float | None) -> tuple[float, float]:
        """Return StarDist's thresholds: those given, else the segmenter's, else the model's."""
        own = self.star_model.thresholds
        return _given(prob, self.prob_thresh, own.prob), _given(nms, self.nms_thresh, own.nms)

    def _star_labels(
        self, outputs: Outputs, prob: float | None, nms: float | None
    ) -> list[NDArray[np.int32]]:
        """Instances of every plane."""
        key = self.star_thresholds(prob, nms)

        def draw() -> list[NDArray]:
            with _timed(outputs.seconds, "nms"):
                return [
                    stardist.instances(self.star_model, star, prob_thresh=key[0], nms_thresh=key[1])[0]
                    for star in outputs.stars
                ]

        return outputs.planes("stars", key, draw)

    def _territories(self, outputs: Outputs, outline: float) -> list[NDArray[np.bool_]]:
        """Where cells of every plane grow to."""
        foreground = self._planes(outputs.foreground)
        return outputs.planes(
            "territory", outline, lambda: [self.territory(plane, outline) for plane in foreground]
        )

    def _fused(
        self,
        star: StarPrediction,
        stars: NDArray[np.int32],
        foreground: NDArray[np.float32],
        territory: NDArray[np.bool_],
        image: NDArray[np.float32] | None,
        cut: float,
        divide: Divide,
    ) -> NDArray[np.int32]:
        """Fuse one image: the geometric mean of both networks' outputs is flooded, so that either can part cells.

        Where StarDist found nothing, it has no word in it.
        """
        elevation = foreground
        if stars.any():
            elevation = star.full_probability() if self.use_probability else star.full_distance()
            elevation = flooded(elevation, foreground)
        labels = fuse(
            elevation,
            stars,
            foreground > cut,
            voxel_size=self.voxel_size,
            territory=territory,
            divide=divide,
            rules=self.rules,
        )
        if image is not None:
            follow_image(labels, stars, image, spacing_of(self.voxel_size, self.n_dim), rules=self.rules)
        return labels

    def territory(self, foreground: NDArray[np.float32], outline: float) -> NDArray[np.bool_]:
        """Return where cells grow to: what lies above `outline`, and the gaps that erosion taught the U-Net to leave."""
        mask = foreground > outline
        if not self.boundary_width:
            return mask
        spacing = spacing_of(self.voxel_size, self.n_dim)
        if mask.ndim > self.n_dim:
            return np.stack([self.territory(plane, outline) for plane in foreground])
        return close_gaps(mask, REACH * self.boundary_width, spacing)

    def _filtered(self, labels: NDArray[np.int32], mask: NDArray[np.bool_] | None) -> NDArray[np.int32]:
        """Remove cells by size and tissue, and number the others 1…n."""
        counts, inside = voxel_counts(labels, mask)
        return renumbered(labels, self.kept(counts, inside, len(labels) == 1))

    def kept(self, counts: NDArray, inside: NDArray, planar: bool) -> NDArray[np.bool_]:
        """Return which cells are kept, by their voxels and those of them in the tissue; `planar`: of one slice."""
        sizes = {"smallest": self.min_size_um3, "largest": self.max_size_um3}
        return kept_cells(counts, inside, self.voxel_size, planar=planar, **sizes)


def flooded(elevation: NDArray[np.float32], foreground: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return, in place, what the fusion floods: the geometric mean of what both networks say."""
    np.multiply(elevation, foreground, out=elevation)
    return np.sqrt(np.maximum(elevation, 0, out=elevation), out=elevation)


def _given(*values: float | None) -> float:
    """Return the first value that is given."""
    return next(float(value) for value in values if value is not None)


@contextmanager
def _timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    started = time.perf_counter()
    try:
        yield
    finally:
        seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - started
