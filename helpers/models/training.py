"""Train a network so that nothing is lost when it is killed: epochs, checkpoints, schedule, history.

The same loop trains U-Net, StarDist and Noise2Void. It is a plain loop over `train_on_batch` rather than
`fit`, because a resumed training has to equal an uninterrupted one: which patches an epoch sees, and how they
are augmented, follow from the seed, the epoch and the step alone.

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
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from helpers.data.atomic import writing_to
from helpers.data.augment import Augmentation
from helpers.data.training_set import TrainingSet
from helpers.errors import InputError
from helpers.models.devices import layers_of, quiet
from helpers.progress import progress

#: Makes one batch: indices of patches and a generator for crops and augmentation (None: neither) → (x, y).
MakeBatch = Callable[[NDArray[np.intp], "np.random.Generator | None"], tuple[Any, Any]]

_OWN_FILES = (
    "config.json",
    "weights_best.h5",
    "weights_last.h5",
    "history.csv",
    "training.json",
    "checkpoint.npz",
    "thresholds.json",
)
#: Settings that may differ when a training goes on: they say how long, not what.
_MAY_CHANGE = ("epochs", "max_minutes", "patience")


@dataclass(frozen=True)
class TrainingSettings:
    """How long and how fast to train; every network's settings add their architecture to these.

    Parameters
    ----------
    epochs : int
        Epochs in all, those of an interrupted training included.
    steps_per_epoch : int, optional
        Batches in an epoch; None: as many as it takes to see each patch once.
    batch_size : int
        Patches in a batch.
    learning_rate : float
        Of the Adam optimizer, at the start.
    schedule : {"plateau", "cosine"}
        ``"plateau"`` multiplies the rate by `lr_factor` after `lr_patience` epochs without a lower
        validation loss; ``"cosine"`` lets it fall to a hundredth over `epochs`, which gets most out of a
        short training.
    patience : int, optional
        Stop after so many epochs without a lower validation loss; None: never.
    validation_patches : int, optional
        Validate on so many patches, evenly drawn; None: on all.
    max_minutes : float, optional
        End at the end of the first epoch after so many minutes of training, all runs together.
    seed : int
        Seed of weights, order, crops and augmentation.
    precision : {"auto", "float32", "bfloat16"}
        What the network is trained in; ``"auto"``: bfloat16 where the machine computes faster in it, with the
        weights kept in float32. It is applied in float32 always.
    """

    epochs: int = 100
    steps_per_epoch: int | None = None
    batch_size: int = 4
    learning_rate: float = 3e-4
    schedule: Literal["plateau", "cosine"] = "plateau"
    lr_factor: float = 0.5
    lr_patience: int = 10
    patience: int | None = None
    validation_patches: int | None = 32
    max_minutes: float | None = None
    seed: int = 42
    precision: Literal["auto", "float32", "bfloat16"] = "auto"

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "lr_patience"):
            _require(name, getattr(self, name), getattr(self, name) >= 1, "a whole number ≥ 1")
        for name in ("steps_per_epoch", "patience", "validation_patches"):
            value = getattr(self, name)
            _require(name, value, value is None or value >= 1, "a whole number ≥ 1, or None")
        _require(
            "learning_rate", self.learning_rate, 0 < self.learning_rate < 1, "between 0 and 1, such as 3e-4"
        )
        _require("lr_factor", self.lr_factor, 0 < self.lr_factor <= 1, "above 0 and at most 1")
        precisions = ("auto", "float32", "bfloat16")
        _require("precision", self.precision, self.precision in precisions, f"one of {precisions}")
        _require("schedule", self.schedule, self.schedule in ("plateau", "cosine"), "'plateau' or 'cosine'")
        _require(
            "max_minutes",
            self.max_minutes,
            self.max_minutes is None or self.max_minutes > 0,
            "above 0, or None",
        )


def _require(name: str, value: object, right: bool, expected: str) -> None:
    if not right:
        raise InputError(name, value, expected)


@dataclass
class TrainingState:
    """Where a training stands; what `training.json` tells of it.

    Attributes
    ----------
    status : {"running", "finished", "stopped early", "out of time"}
        Anything but ``"running"`` is an end.
    epoch : int
        Finished epochs.
    best_loss : float
        Lowest validation loss, of epoch `best_epoch` (counted from 1).
    history : list of dict
        One row an epoch, as in `history.csv`.
    """

    status: str = "running"
    epoch: int = 0
    best_loss: float = math.inf
    best_epoch: int = 0
    learning_rate: float = 0.0
    lr_wait: int = 0
    seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)

    @property
    def table(self) -> pd.DataFrame:
        """The history as a table: epoch, loss, val_loss, learning_rate, seconds and each part's loss."""
        return pd.DataFrame(self.history)


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
        ``epoch`` 0 for a new training.

    Raises
    ------
    InputError
        If the folder holds something else and `overwrite` is False.
    """
    wanted = json.loads(json.dumps({"network": network, "settings": asdict(settings), "data": data}))
    record = folder / "training.json"
    for part in folder.glob(".*.part"):  # what a killed training left
        part.unlink(missing_ok=True)
    if overwrite or not folder.exists() or not any(folder.iterdir()):
        found = _read_json(record) if record.exists() else None
        if found is None or found["state"]["status"] != "running" or _difference(found, wanted):
            _clear(folder)
            return TrainingState(learning_rate=settings.learning_rate)
    elif not record.exists():
        raise InputError(
            "model folder",
            str(folder),
            "empty or new (it holds other files); overwrite=True replaces the model in it",
        )
    found = _read_json(record)
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
        with np.load(checkpoint) as file:
            state = TrainingState(**json.loads(str(file["state"])))
    elif state.epoch:
        raise InputError(
            "model folder", str(folder), "one with checkpoint.npz in it; overwrite=True trains anew"
        )
    if state.epoch < settings.epochs and state.status == "finished":
        state.status = "running"  # more epochs are asked for than last time
    if state.status == "out of time" and not _out_of_time(state, settings):
        state.status = "running"
    if state.status == "stopped early" and not _stops(state, settings):
        state.status = "running"
    return state


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, UnicodeDecodeError) as error:
        raise InputError(str(path), str(error), "a readable JSON file; overwrite=True trains anew") from None


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


def _out_of_time(state: TrainingState, settings: TrainingSettings) -> bool:
    return settings.max_minutes is not None and state.seconds >= 60 * settings.max_minutes


def _stops(state: TrainingState, settings: TrainingSettings) -> bool:
    return settings.patience is not None and state.epoch - state.best_epoch >= settings.patience


def seed_everything(seed: int) -> None:
    """Seed Python, numpy and TensorFlow, so that a network's first weights follow from the seed."""
    import keras

    keras.utils.set_random_seed(seed)


def build_in_folder(kind: type, config: Any, folder: Path, precision: str) -> Any:
    """Build a csbdeep-like model in its folder; its warning that the folder exists says nothing new here."""
    with quiet(), layers_of(precision), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return kind(config, name=folder.name, basedir=str(folder.parent))


def fit(
    model: Any,
    folder: Path,
    make_batch: MakeBatch,
    *,
    train: NDArray[np.intp],
    validation: NDArray[np.intp],
    network: str,
    settings: TrainingSettings,
    state: TrainingState,
    data: dict[str, Any],
) -> TrainingState:
    """Train a compiled csbdeep-like model to the end of its settings.

    Parameters
    ----------
    model : csbdeep.models.BaseModel
        With a compiled ``keras_model``.
    folder : Path
        Model folder, prepared by `open_folder`.
    make_batch : callable
        Makes a batch from indices.
    train, validation : ndarray of int
        Indices of patches. Where none is held out, the loss on patches trained on decides what is best.
    network : str
        Name of the network, in the progress bar and in ``training.json``.
    settings, state, data
        As given to and returned by `open_folder`.

    Returns
    -------
    TrainingState
        At the end.

    Raises
    ------
    InputError
        If the loss stops being a number.
    """
    net = model.keras_model
    record = {"network": network, "settings": asdict(settings), "data": data}
    if state.epoch:
        _restore(net, folder / "checkpoint.npz")
    if state.status == "running":
        write_json(folder / "training.json", {**record, "state": asdict(state)})
    n_steps = settings.steps_per_epoch or math.ceil(len(train) / settings.batch_size)
    validation = validation if len(validation) else train
    validation_batches = _split(_thin(validation, settings.validation_patches), settings.batch_size)
    with (
        progress(desc=network, unit="epoch", total=settings.epochs, initial=state.epoch) as bar,
        ThreadPoolExecutor(1) as pool,
    ):
        while state.status == "running":
            started = time.monotonic()
            rate = _scheduled_rate(state, settings)
            net.optimizer.learning_rate = rate
            indices = _epoch_indices(train, settings, state.epoch, n_steps)
            rngs = [np.random.default_rng([settings.seed, state.epoch, step]) for step in range(n_steps)]
            net.reset_metrics()
            logs: dict[str, Any] = {}
            for x, y in _ahead(pool, make_batch, zip(indices, rngs, strict=True)):
                logs = net.train_on_batch(x, y, return_dict=True)
            row = {"epoch": state.epoch + 1, "loss": float(logs["loss"])}
            net.reset_metrics()
            checked = logs
            for x, y in _ahead(pool, make_batch, ((batch, None) for batch in validation_batches)):
                checked = net.test_on_batch(x, y, return_dict=True)
            row |= {"val_loss": float(checked["loss"]), "learning_rate": rate, "seconds": 0.0}
            row |= {name: float(value) for name, value in logs.items() if name != "loss"}
            row |= {f"val_{name}": float(value) for name, value in checked.items() if name != "loss"}
            if not (math.isfinite(row["loss"]) and math.isfinite(row["val_loss"])):
                raise InputError(
                    "learning_rate",
                    rate,
                    f"a smaller one: the loss of {network} is no number in epoch {row['epoch']}",
                )
            _advance(model, folder, state, settings, row, started)
            write_json(folder / "training.json", {**record, "state": asdict(state)})
            bar.set_postfix(loss=f"{row['loss']:.4g}", val_loss=f"{row['val_loss']:.4g}", refresh=False)
            bar.update()
    return state


def _advance(
    model: Any, folder: Path, state: TrainingState, settings: TrainingSettings, row: dict, started: float
) -> None:
    """Take one finished epoch into the state and onto the disk; the checkpoint last, since it decides."""
    state.epoch += 1
    if row["val_loss"] < state.best_loss:
        state.best_loss, state.best_epoch, state.lr_wait = row["val_loss"], state.epoch, 0
        replace_file(folder / "weights_best.h5", lambda part: model.keras_model.save_weights(str(part)))
    else:
        state.lr_wait += 1
    if settings.schedule == "plateau" and state.lr_wait >= settings.lr_patience:
        state.learning_rate, state.lr_wait = state.learning_rate * settings.lr_factor, 0
    row["seconds"] = round(time.monotonic() - started, 3)
    state.seconds += row["seconds"]
    state.history.append(row)
    if state.epoch >= settings.epochs:
        state.status = "finished"
    elif _stops(state, settings):
        state.status = "stopped early"
    elif _out_of_time(state, settings):
        state.status = "out of time"
    if state.status != "running":
        replace_file(folder / "weights_last.h5", lambda part: model.keras_model.save_weights(str(part)))
    replace_file(folder / "history.csv", lambda part: state.table.to_csv(part, index=False))
    _save(model.keras_model, folder / "checkpoint.npz", state)


def _scheduled_rate(state: TrainingState, settings: TrainingSettings) -> float:
    if settings.schedule == "plateau":
        return state.learning_rate
    fraction = state.epoch / settings.epochs
    return settings.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * fraction)))


def _save(net: Any, path: Path, state: TrainingState) -> None:
    arrays = {f"w{i}": np.asarray(v) for i, v in enumerate(net.variables)}
    arrays |= {f"o{i}": np.asarray(v) for i, v in enumerate(net.optimizer.variables)}

    def write(part: Path) -> None:
        with open(part, "wb") as file:
            np.savez(file, allow_pickle=False, state=np.array(json.dumps(asdict(state))), **arrays)

    replace_file(path, write)


def _restore(net: Any, path: Path) -> None:
    net.optimizer.build(net.trainable_variables)
    with np.load(path) as file:
        for prefix, variables in (("w", net.variables), ("o", net.optimizer.variables)):
            for i, variable in enumerate(variables):
                variable.assign(file[f"{prefix}{i}"])


def _epoch_indices(
    train: NDArray[np.intp], settings: TrainingSettings, epoch: int, n_steps: int
) -> list[NDArray[np.intp]]:
    """Batches of one epoch: the next stretch of an endless row of permutations, so that all are seen alike."""
    n = len(train)
    first = epoch * n_steps * settings.batch_size
    last = first + n_steps * settings.batch_size
    rounds = range(first // n, -(-last // n))
    row = np.concatenate([np.random.default_rng([settings.seed, r]).permutation(train) for r in rounds])
    return _split(row[first - rounds.start * n : last - rounds.start * n], settings.batch_size)


def _split(indices: NDArray[np.intp], size: int) -> list[NDArray[np.intp]]:
    return [indices[i : i + size] for i in range(0, len(indices), size)]


def _thin(indices: NDArray[np.intp], n: int | None) -> NDArray[np.intp]:
    if n is None or len(indices) <= n:
        return indices
    return indices[np.linspace(0, len(indices) - 1, n).round().astype(int)]


def _ahead(pool: ThreadPoolExecutor, make: Callable, arguments: Iterator, depth: int = 2) -> Iterator[Any]:
    """Yield ``make(*a)`` in order, made in another thread while the network works on the one before."""
    waiting: list[Future] = []
    try:
        for a in arguments:
            waiting.append(pool.submit(make, *a))
            if len(waiting) > depth:
                yield waiting.pop(0).result()
        while waiting:
            yield waiting.pop(0).result()
    finally:
        for future in waiting:
            future.cancel()


def check_patches(patches: TrainingSet) -> int:
    """Check that a training set can train a network, and return its number of spatial dimensions.

    Raises
    ------
    InputError
        If there is no patch to train on, or more than one channel.
    """
    channels = patches.members["X"].shape[1]
    if channels != 1:
        raise InputError(str(patches.path), f"{channels} channels", "a training set of one channel")
    if len(patches.train) == 0:
        raise InputError(str(patches.path), "no patches to train on", "at least one that is not held out")
    return len(patches.patch_size)


def check_divisible(name: str, size: Sequence[int], divisors: Sequence[int]) -> None:
    """Refuse a patch size that the poolings of a network do not divide."""
    if any(s % d for s, d in zip(size, divisors, strict=True)):
        raise InputError(
            name,
            tuple(size),
            f"divisible by {tuple(divisors)}: choose another patch size, a smaller depth or grid",
        )


def settings_of(folder: Path, kind: type[TrainingSettings]) -> dict[str, Any]:
    """Return the settings a model was trained with, as far as `kind` knows them; empty for a foreign model."""
    record = Path(folder) / "training.json"
    if not record.exists():
        return {}
    names = {f.name for f in fields(kind)}
    return {k: v for k, v in _read_json(record)["settings"].items() if k in names}


def training_set_of(folder: Path) -> dict[str, Any]:
    """Return how the training set of a model was made, such as its percentiles; empty for a foreign model."""
    record = Path(folder) / "training.json"
    return _read_json(record)["data"].get("training_set", {}) if record.exists() else {}
