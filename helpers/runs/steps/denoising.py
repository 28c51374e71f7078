"""Notebook 02_train_denoiser: movies, settings and results of the denoiser."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from helpers.data.movies import Movie
from helpers.data.source import is_image, natural_key
from helpers.errors import InputError
from helpers.models import denoising
from helpers.models.denoising import DenoiserSettings
from helpers.models.training import TrainingState
from helpers.runs.parameters import TrainDenoiser

#: Frames on which the PSNR is measured: enough for a mean, few enough for a CPU.
_MEASURED_FRAMES = 4


def open_movies(paths: Sequence[Path], p: TrainDenoiser) -> list[Movie]:
    """Open files, the images of folders, and what patterns match.

    Raises
    ------
    InputError
        If a name matches nothing, or `raw_paths` is empty.
    """
    if not p.raw_paths:
        raise InputError("raw_paths", [], 'name the movies to learn from, such as ["data/movie.tif"]')
    found: list[Path] = []
    for path in paths:
        matches = [Path(match) for match in glob.glob(str(path))]
        if not matches:
            raise InputError("raw_paths", str(path), "matches no file")
        for match in sorted(matches, key=natural_key):
            folder = match.is_dir() and not is_image(match)
            found += sorted(filter(is_image, match.iterdir()), key=natural_key) if folder else [match]
    movies = [Movie.open(path, voxel_size=p.voxel_size_um, dataset=p.dataset_key) for path in found]
    for movie in movies:
        movie.require_intensities()
    return movies


class Frames(Sequence[np.ndarray]):
    """All frames of all movies as one sequence; a frame is read when it is asked for."""

    def __init__(self, movies: Sequence[Movie], channel: int) -> None:
        self._where = [(movie, t) for movie in movies for t in range(movie.n_frames)]
        self._channel = channel

    def __len__(self) -> int:
        return len(self._where)

    def __getitem__(self, index: int) -> np.ndarray:  # type: ignore[override]
        movie, t = self._where[index]
        frame = movie.frame(t, self._channel)
        return frame[0] if movie.is_2d else frame


def settings(p: TrainDenoiser) -> DenoiserSettings:
    """Return the settings of the network and its training."""
    return DenoiserSettings(
        **p.common_settings(),
        patch_size=p.patch_size,
        patches_per_image=p.patches_per_image,
        validation_fraction=p.validation_fraction,
        depth=p.network_depth,
        kernel=p.kernel,
        n_first=p.start_filters,
        perc_pix=p.masked_percent,
        radius=p.mask_radius,
    )


def example(
    model: Any, movies: Sequence[Movie], clean: Sequence[Movie], channel: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Denoise the first frame; return it before, after, and its truth where known."""
    raw = movies[0].frame(0, channel)
    return raw, denoising.predict(model, raw), clean[0].frame(0) if clean else None


def results(
    model: Any, movies: Sequence[Movie], clean: Sequence[Movie], state: TrainingState, channel: int
) -> dict[str, Any]:
    """Return the losses and, where the truth is known, the PSNR before and after, in dB."""
    found: dict[str, Any] = {"epochs": len(state.table), "val_loss": float(state.table["val_loss"].min())}
    if clean:
        raws, truths = Frames(movies, channel), Frames(clean, 0)
        if len(raws) != len(truths):
            raise InputError(
                "clean_paths", f"{len(truths)} frames", f"must have the {len(raws)} frames of raw_paths"
            )
        chosen = np.unique(np.linspace(0, len(raws) - 1, _MEASURED_FRAMES).astype(int))
        found["psnr_raw_db"] = float(np.mean([denoising.psnr(raws[i], truths[i]) for i in chosen]))
        found["psnr_denoised_db"] = float(
            np.mean([denoising.psnr(denoising.predict(model, raws[i]), truths[i]) for i in chosen])
        )
    return found
