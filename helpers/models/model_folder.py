"""The folder of a model, and how a training starts, goes on or ends in it.

A model folder holds::

    config.json        the architecture, as csbdeep, StarDist and n2v read it
    weights_best.h5    the weights with the lowest validation loss, as they read them
    weights_last.h5    the weights at the end
    history.csv        epoch, loss, val_loss, learning_rate, seconds, …
    training.json      settings, data and state of the training
    checkpoint.npz     what going on needs: weights, optimizer, schedule
"""

from __future__ import annotations

import json
import math
import os
import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from helpers.data.atomic import writing_to
from helpers.data.augment import Augmentation
from helpers.data.training_set import TrainingSet
from helpers.errors import InputError, read_json, reading
from helpers.models.settings import TrainingSettings

_OWN_FILES = (
    "config.json",
    "weights_best.h5",
    "weights_last.h5",
    "history.csv",
    "training.json",
    "checkpoint.npz",
    "thresholds.json",
)
#: The weights with the lowest validation loss: of csbdeep's networks, and of Cellpose.
_BEST = ("weights_best.h5", "cellpose_model")
#: What to do where a file of a training is damaged.
_ANEW = "overwrite=True trains anew"
#: Settings that may differ when a training goes on: they say how long, not what.
_MAY_CHANGE = ("epochs", "max_minutes", "patience")


@dataclass
class TrainingState:
    """Where a training stands; what `training.json` says of it.

    Attributes
    ----------
    status : {"running", "finished", "stopped early", "out of time"}
        Anything but ``"running"`` is an end.
    epoch : int
        Finished epochs.
    best_loss : float
        Lowest validation loss, of epoch `best_epoch` (counted from 1).
    precision : str
        What the network computes in, such as ``"bfloat16"``; empty until it is built.
    history : list of dict
        One row per epoch, as in `history.csv`.
    """

    status: str = "running"
    epoch: int = 0
    best_loss: float = math.inf
    best_epoch: int = 0
    learning_rate: float = 0.0
    lr_wait: int = 0
    seconds: float = 0.0
    precision: str = ""
    history: list[dict[str, float]] = field(default_factory=list)

    @property
    def table(self) -> pd.DataFrame:
        """The history as a table: epoch, loss, val_loss, learning_rate, seconds and each part's loss."""
        return pd.DataFrame(self.history)

    def rate(self, settings: TrainingSettings) -> float:
        """Return the learning rate of the epoch that comes next."""
        if settings.schedule == "plateau":
            return self.learning_rate
        fraction = self.epoch / settings.epochs
        return settings.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * fraction)))

    def finish_epoch(
        self,
        row: dict[str, float],
        settings: TrainingSettings,
        started: float,
        save_best: Callable[[], object],
    ) -> None:
        """Take a finished epoch in: is it the best, does the rate fall, is it the last?

        Parameters
        ----------
        row : dict
            Of the history, but for ``epoch`` and ``seconds``.
        settings : TrainingSettings
        started : float
            When the epoch began, by `time.monotonic`.
        save_best : callable
            Writes the weights, which are the best so far.
        """
        self.epoch += 1
        if row["val_loss"] < self.best_loss:
            self.best_loss, self.best_epoch, self.lr_wait = row["val_loss"], self.epoch, 0
            save_best()
        else:
            self.lr_wait += 1
        if settings.schedule == "plateau" and self.lr_wait >= settings.lr_patience:
            self.learning_rate, self.lr_wait = self.learning_rate * settings.lr_factor, 0
        seconds = round(time.monotonic() - started, 3)
        self.seconds += seconds
        common = {name: row[name] for name in ("loss", "val_loss", "learning_rate")}
        self.history.append({"epoch": self.epoch} | common | {"seconds": seconds} | row)
        if self.epoch >= settings.epochs:
            self.status = "finished"
        elif stops_early(self, settings):
            self.status = "stopped early"
        elif out_of_time(self, settings):
            self.status = "out of time"


def replace_file(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file beside `path`, then put it in place at once.

    The temporary name does not end in ``.h5``: csbdeep would take what a killed training left for weights.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with writing_to(path):
            write(part)
            os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def write_json(path: Path, content: object) -> None:
    """Write `content` as JSON, atomically."""
    replace_file(path, lambda part: part.write_text(json.dumps(content, indent=1), encoding="utf-8"))


def describe_set(patches: TrainingSet, augmentation: Augmentation | None) -> dict[str, Any]:
    """Return what identifies the data of a training, without reading more of it than two patches."""
    ends = [patches.read("X", i) for i in (0, len(patches) - 1)]
    return {
        "patches": [len(patches), *patches.patch_size],
        "train": len(patches.train),
        "validation": len(patches.validation),
        "checksum": zlib.crc32(ends[1].tobytes(), zlib.crc32(ends[0].tobytes())),
        "augmentation": None if augmentation is None else asdict(augmentation),
        "training_set": patches.settings,
    }


def describe_start(start: str | Path | None) -> dict[str, Any]:
    """Return what identifies the weights that a training begins with; nothing for random ones."""
    if start is None:
        return {}
    weights = [path for name in _BEST if (path := Path(start) / name).is_file()]
    if not weights:
        raise InputError("start", str(start), "a model folder with trained weights")
    return {"start": zlib.crc32(weights[0].read_bytes())}


def open_folder(
    folder: Path, network: str, settings: TrainingSettings, data: dict[str, Any], *, overwrite: bool
) -> TrainingState:
    """Decide whether a training starts, goes on or is over, and prepare its model folder.

    Parameters
    ----------
    folder : Path
        The model folder.
    network : str
        Which network, such as ``"StarDist3D"``.
    settings : TrainingSettings
        Settings asked for.
    data : dict
        What identifies the data (`describe_set`).
    overwrite : bool
        Discard another or a finished training; one with the same settings that was interrupted still goes on.

    Returns
    -------
    TrainingState
        ``epoch`` 0 for a new training, and for one whose best weights are lost.

    Raises
    ------
    InputError
        If the folder holds something else, or a damaged record or checkpoint, and `overwrite` is False.
    """
    wanted = json.loads(json.dumps({"network": network, "settings": asdict(settings), "data": data}))
    record = folder / "training.json"
    for part in folder.glob(".*.part"):  # what a killed training left
        part.unlink(missing_ok=True)
    if overwrite or not folder.exists() or not any(folder.iterdir()):
        found = None
        with suppress(InputError):  # a damaged record is none
            found = _read_record(folder) if record.exists() else None
        if found is None or found["state"]["status"] != "running" or _difference(found, wanted):
            _clear(folder)
            return TrainingState(learning_rate=settings.learning_rate)
    elif not record.exists():
        raise InputError(
            "model folder",
            str(folder),
            "empty or new (it holds other files); overwrite=True replaces the model in it",
        )
    found = _read_record(folder)
    different = _difference(found, wanted)
    if different:
        raise InputError(
            "model folder",
            str(folder),
            f"a new one, since it was trained with other settings ({different}); overwrite=True replaces it",
        )
    state = TrainingState(**found["state"])
    checkpoint = folder / "checkpoint.npz"
    if checkpoint.exists():
        with reading(checkpoint, "the checkpoint of a training", _ANEW), np.load(checkpoint) as file:
            state = TrainingState(**json.loads(str(file["state"])))
    elif state.epoch:
        raise InputError(
            "model folder", str(folder), "one with checkpoint.npz in it; overwrite=True trains anew"
        )
    if state.best_epoch and not any((folder / name).exists() for name in _BEST):
        _clear(folder)  # the best weights are lost, and only a training brings them back
        return TrainingState(learning_rate=settings.learning_rate)
    if state.epoch < settings.epochs and state.status == "finished":
        state.status = "running"  # more epochs are asked for than last time
    if state.status == "out of time" and not out_of_time(state, settings):
        state.status = "running"
    if state.status == "stopped early" and not stops_early(state, settings):
        state.status = "running"
    return state


def _read_record(folder: Path) -> dict[str, Any]:
    """Return what ``training.json`` says."""
    path = folder / "training.json"
    found = read_json(path, _ANEW)
    with reading(path, "the record of a training", _ANEW):
        TrainingState(**found["state"])
        if not all(isinstance(found[part], dict) for part in ("settings", "data")) or "network" not in found:
            raise ValueError("it lacks network, settings or data")
    return found


def _clear(folder: Path) -> None:
    with writing_to(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for name in _OWN_FILES:
            (folder / name).unlink(missing_ok=True)


def _difference(found: dict[str, Any], wanted: dict[str, Any]) -> str:
    if found["network"] != wanted["network"]:
        return f"{found['network']} instead of {wanted['network']}"
    may_change = () if wanted["settings"]["schedule"] == "cosine" else ("epochs",)
    may_change += tuple(name for name in _MAY_CHANGE if name != "epochs")
    for part in ("settings", "data"):
        for name, value in wanted[part].items():
            old = found[part].get(name)
            if old != value and not (part == "settings" and name in may_change):
                return f"{name} {old!r} instead of {value!r}"
    return ""


def out_of_time(state: TrainingState, settings: TrainingSettings) -> bool:
    return settings.max_minutes is not None and state.seconds >= 60 * settings.max_minutes


def stops_early(state: TrainingState, settings: TrainingSettings) -> bool:
    return settings.patience is not None and state.epoch - state.best_epoch >= settings.patience


def save_checkpoint(net: Any, path: Path, state: TrainingState) -> None:
    arrays = {f"w{i}": np.asarray(v) for i, v in enumerate(net.variables)}
    arrays |= {f"o{i}": np.asarray(v) for i, v in enumerate(net.optimizer.variables)}

    def write(part: Path) -> None:
        with open(part, "wb") as file:
            np.savez(file, allow_pickle=False, state=np.array(json.dumps(asdict(state))), **arrays)

    replace_file(path, write)


def restore_checkpoint(net: Any, path: Path) -> None:
    net.optimizer.build(net.trainable_variables)
    with reading(path, "the checkpoint of this network", _ANEW), np.load(path) as file:
        for prefix, variables in (("w", net.variables), ("o", net.optimizer.variables)):
            for i, variable in enumerate(variables):
                variable.assign(file[f"{prefix}{i}"])


def settings_of(folder: Path, kind: type[TrainingSettings]) -> dict[str, Any]:
    """Return the settings a model was trained with, as far as `kind` knows them; empty for a foreign model."""
    record = Path(folder) / "training.json"
    if not record.exists():
        return {}
    names = {f.name for f in fields(kind)}
    return {k: v for k, v in _read_record(Path(folder))["settings"].items() if k in names}


def training_set_of(folder: Path) -> dict[str, Any]:
    """Return how the training set of a model was made, such as its percentiles; empty for a foreign model."""
    record = Path(folder) / "training.json"
    return _read_record(Path(folder))["data"].get("training_set", {}) if record.exists() else {}
