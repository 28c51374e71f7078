"""A step of training against csbdeep's and StarDist's own `train`: the same patches, batch size and architecture.

Each side trains in processes of its own, by turns; what counts is its fastest epoch, everything that an epoch does
included (validation on four patches; ours writes its checkpoint as well), the first left out for compiling. `equal`
gives the ratio of processor time too, which depends less on what else the machine does.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from _harness import entry, measure_side

PATCHES, VALIDATION, STEPS, EPOCHS, ROUNDS = 32, 4, 8, 4, 2
#: Patch, filters of the first level and rays: of the demo, and nearer to the paper's.
SIZES = ((16, 64, 64), 16, 64), ((16, 128, 128), 32, 96)
BATCH, DEPTH, GRID = 2, 2, (1, 4, 4)
PEERS = {"unet": "csbdeep's CARE.train", "stardist": "StarDist3D.train"}


def cases() -> Iterator[dict[str, Any]]:
    """Yield the entries of the table."""
    from helpers.models.precision import describe

    for patch, filters, rays in SIZES:
        for network, peer in PEERS.items():
            settings: dict[str, Any] = {"patch": patch, "filters": filters, "rays": rays}
            sides: dict[str, list[Any]] = {name: [] for name in ("auto", "float32", "peer")}
            for _ in range(ROUNDS):
                for name, found in sides.items():
                    target = f"bench_training_steps.py:{'peer' if name == 'peer' else 'ours'}_{network}"
                    more: dict[str, Any] = {} if name == "peer" else {"precision": name}
                    found.append(measure_side(target, {}, repeats=1, warmups=0, **settings, **more))
            step = {name: np.min([m.result for m in found], axis=0) for name, found in sides.items()}
            for name in ("auto", "float32"):
                made = entry(
                    f"training, seconds a step, {network}",
                    f"{'×'.join(map(str, patch))}, batch {BATCH}, {filters} filters, "
                    + (describe() if name == "auto" else "float32"),
                    sides[name][0],
                    peer,
                    sides["peer"][0],
                    equal=f"{step['peer'][1] / step[name][1]:.2f} times less processor time",
                )
                yield made | {
                    "ours_s": round(float(step[name][0]), 3),
                    "peer_s": round(float(step["peer"][0]), 3),
                    "ratio": round(float(step["peer"][0] / step[name][0]), 2),
                }


def drawn(patch: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Return patches of boxes for cells, (S, Z, Y, X), and their labels."""
    rng = np.random.default_rng(0)
    z, y, x = np.indices(patch)
    labels = (1 + (z // 8) * 10_000 + (y // 16) * 100 + x // 16) * ((z % 8 > 0) & (y % 16 > 1) & (x % 16 > 1))
    labels = np.unique(labels, return_inverse=True)[1].reshape(labels.shape).astype(np.uint16)
    stack = np.broadcast_to(labels, (PATCHES, *patch))
    return ((stack > 0) + rng.normal(0, 0.2, stack.shape)).astype(np.float32), stack


def _seconds_a_step(clocks: list[tuple[float, float]]) -> np.ndarray:
    """Return wall and processor seconds a step of the fastest epoch, the first left out."""
    return np.diff(np.array(clocks), axis=0)[1:].min(axis=0) / STEPS


def _clock() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def _ours(network: str, patch: list[int], settings: dict[str, Any]) -> np.ndarray:
    import tempfile
    from importlib import import_module

    from helpers.data.npz_stream import NpzWriter
    from helpers.data.training_set import TrainingSet
    from helpers.models import training

    images, labels = drawn(patch)
    module = import_module(f"helpers.models.{network}")
    kind = module.UNetSettings if network == "unet" else module.StarDistSettings
    clocks = [_clock()]
    real = training._advance

    def advance(*args: Any) -> None:
        real(*args)
        clocks.append(_clock())

    training._advance = advance
    with tempfile.TemporaryDirectory() as folder:
        members = {
            "X": ((PATCHES, 1, *patch), "float32"),
            "Y": ((PATCHES, 1, *patch), "float32"),
            "axes": ((), "U5"),
            "labels": ((PATCHES, *patch), "uint16"),
            "validation": ((PATCHES,), "bool"),
            "settings": ((), "U200"),
        }
        with NpzWriter(Path(folder) / "set.npz", members) as npz:
            npz.append("axes", np.array("SCZYX", "U5"))
            npz.append("settings", np.array('{"voxel_size": [2.0, 0.5, 0.5]}', "U200"))
            npz.append("validation", np.arange(PATCHES) < VALIDATION)
            for image, label in zip(images, labels, strict=True):
                npz.append("X", image)
                npz.append("Y", (label > 0).astype(np.float32))
                npz.append("labels", label)
        common = {
            "epochs": EPOCHS,
            "steps_per_epoch": STEPS,
            "batch_size": BATCH,
            "depth": DEPTH,
            "validation_patches": VALIDATION,
        }
        module.train(
            TrainingSet.open(Path(folder) / "set.npz"), Path(folder) / network, kind(**common, **settings)
        )
    return _seconds_a_step(clocks)


def ours_unet(patch: list[int], filters: int, rays: int, precision: str) -> np.ndarray:
    """Train a U-Net here."""
    return _ours("unet", patch, {"n_first": filters, "precision": precision})


def ours_stardist(patch: list[int], filters: int, rays: int, precision: str) -> np.ndarray:
    """Train StarDist here."""
    own = {"n_filter_base": filters, "rays": rays, "grid": GRID, "precision": precision}
    return _ours("stardist", patch, own)


def _listen(model: Any) -> list[tuple[float, float]]:
    """Note the clocks at the start and at each epoch's end of a csbdeep-like model."""
    import keras

    clocks = [_clock()]

    class Listener(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            clocks.append(_clock())

    model.prepare_for_training()
    model.callbacks.append(Listener())
    return clocks


def peer_unet(patch: list[int], filters: int, rays: int) -> np.ndarray:
    """Train a U-Net with csbdeep."""
    from csbdeep.models import CARE, Config

    images, labels = drawn(patch)
    x, y = images[..., np.newaxis], (labels > 0).astype(np.float32)[..., np.newaxis]
    config = Config(
        "ZYX", 1, 1, unet_residual=False, unet_n_depth=DEPTH, unet_kern_size=3, unet_n_first=filters,
        train_loss="mse", train_epochs=EPOCHS, train_steps_per_epoch=STEPS, train_batch_size=BATCH,
        train_tensorboard=False,
    )  # fmt: skip
    model = CARE(config, name="peer", basedir=None)  # pyright: ignore[reportArgumentType]
    clocks = _listen(model)
    model.train(x[VALIDATION:], y[VALIDATION:], validation_data=(x[:VALIDATION], y[:VALIDATION]))
    return _seconds_a_step(clocks)


def peer_stardist(patch: list[int], filters: int, rays: int) -> np.ndarray:
    """Train StarDist with StarDist."""
    from stardist.models import Config3D, StarDist3D
    from stardist.rays3d import Rays_GoldenSpiral

    images, labels = drawn(patch)
    anisotropy = (2.0, 1.0, 1.0)
    config = Config3D(
        rays=Rays_GoldenSpiral(rays, anisotropy=anisotropy), anisotropy=anisotropy, grid=GRID, n_channel_in=1,
        unet_n_depth=DEPTH, unet_n_filter_base=filters, train_patch_size=tuple(patch), train_epochs=EPOCHS,
        train_steps_per_epoch=STEPS, train_batch_size=BATCH, train_tensorboard=False, train_sample_cache=False,
    )  # fmt: skip
    model = StarDist3D(config, name="peer", basedir=None)  # pyright: ignore[reportArgumentType]
    clocks = _listen(model)
    model.train(
        list(images[VALIDATION:]),
        list(labels[VALIDATION:]),
        validation_data=(list(images[:VALIDATION]), list(labels[:VALIDATION])),
    )
    return _seconds_a_step(clocks)
