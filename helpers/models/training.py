"""Train a network so that nothing is lost when it is killed.

The same loop trains U-Net, StarDist and Noise2Void. It is a plain loop over `train_on_batch` rather than
`fit`, because a resumed training has to equal an uninterrupted one: which patches an epoch sees, and how they
are augmented, follow from the seed, the epoch and the step alone. What is written where: `model_folder`.
"""

from __future__ import annotations

import math
import os
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from helpers.data.augment import Augmentation, augment
from helpers.data.tables import write_table
from helpers.data.training_set import TrainingSet
from helpers.errors import InputError
from helpers.models import model_folder
from helpers.models.devices import prepare_tensorflow, quiet
from helpers.models.model_folder import TrainingState, replace_file, write_json
from helpers.models.precision import keep_outputs_in_float32, layers_of, resolve
from helpers.models.settings import TrainingSettings
from helpers.models.watch import Step, Watch, nobody
from helpers.progress import progress

#: Makes one batch: indices of patches and a generator for crops and augmentation (None: neither) → (x, y).
MakeBatch = Callable[[NDArray[np.intp], "np.random.Generator | None"], tuple[Any, Any]]
#: Threads that make batches: a GPU is faster than one; on two cores more would be in the network's way.
_MAKERS = max(1, min(4, (os.cpu_count() or 1) // 2))


def build_in_folder(kind: type, config: Any, folder: Path, precision: str, state: TrainingState) -> Any:
    """Build a csbdeep-like model in its folder; its warning that the folder exists says nothing new here.

    A training goes on in the precision that it began in, on another machine too.
    """
    state.precision = state.precision or resolve(precision)
    with quiet(), layers_of(state.precision), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = kind(config, name=folder.name, basedir=str(folder.parent))
    keep_outputs_in_float32(model.keras_model)
    return model


def train_in(
    folder: Path,
    network: str,
    settings: TrainingSettings,
    build: Callable[[TrainingState], tuple[Any, MakeBatch]],
    *,
    train: NDArray[np.intp],
    validation: NDArray[np.intp],
    data: dict[str, Any],
    overwrite: bool,
    watch: Watch = nobody,
    start: str | Path | None = None,
) -> TrainingState:
    """Train a network in its folder: from its first weights, from where a training was interrupted, or not at all.

    Parameters
    ----------
    folder : Path
        Model folder.
    network : str
        Name of the network, in the progress bar and in ``training.json``.
    settings : TrainingSettings
    build : callable
        Returns a compiled csbdeep-like model, and what makes a batch from indices, in several threads at once. It is called
        only if there is something to train.
    train, validation : ndarray of int
        Indices of patches. Where none is held out, the loss on patches trained on decides what is best.
    data : dict
        What identifies the data (`helpers.models.model_folder.describe_set`).
    overwrite : bool
        Replace another model in the folder.
    watch : callable
        Is told every step; what it raises ends the training (`helpers.models.watch`).
    start : path, optional
        Model folder of the same kind of network whose weights to begin with.

    Returns
    -------
    TrainingState
        At the end.

    Raises
    ------
    InputError
        If the folder holds another model, `start` one of another architecture, or the loss stops being a number.
    """
    data = data | model_folder.describe_start(start)
    state = model_folder.open_folder(folder, network, settings, data, overwrite=overwrite)
    if state.status != "running":
        return state
    prepare_tensorflow()
    import keras

    keras.utils.set_random_seed(settings.seed)  # the first weights follow from it
    model, make_batch = build(state)
    _begin_with(model, start, state)
    return _fit(model, folder, make_batch, train, validation, network, settings, state, data, watch)


def batches(
    read: Callable[[int], Sequence[NDArray]],
    augmentation: Augmentation | None,
    voxel_size: Sequence[float] | None,
    target: Callable[[NDArray], NDArray] = np.asarray,
) -> MakeBatch:
    """Return what makes batches of whole patches: `read` gives image and labels of one, `target` what to say of the labels."""

    def make_batch(indices: NDArray[np.intp], rng: np.random.Generator | None) -> tuple[NDArray, NDArray]:
        pairs = []
        for i in indices:
            x, labels = read(int(i))
            if rng is not None and augmentation is not None:
                x, labels = augment(x, labels, augmentation, rng, voxel_size=voxel_size)
            pairs.append((x, target(labels)))
        x, y = (np.stack(side).astype(np.float32, copy=False) for side in zip(*pairs, strict=True))
        return x[..., np.newaxis], y[..., np.newaxis]

    return make_batch


def _begin_with(model: Any, start: str | Path | None, state: TrainingState) -> None:
    """Give a network that was not trained yet the best weights of the model in the folder `start`, if there is one."""
    if start is None or state.epoch:
        return
    weights = Path(start) / "weights_best.h5"
    try:
        model.keras_model.load_weights(str(weights))
    except Exception as error:
        raise InputError(
            "start", str(start), f"a model folder with a network of the same architecture ({error})"
        ) from error


def _fit(
    model: Any,
    folder: Path,
    make_batch: MakeBatch,
    train: NDArray[np.intp],
    validation: NDArray[np.intp],
    network: str,
    settings: TrainingSettings,
    state: TrainingState,
    data: dict[str, Any],
    watch: Watch,
) -> TrainingState:
    """Train a compiled csbdeep-like model to the end of its settings, in a folder that `open_folder` prepared."""
    net = model.keras_model
    record = {"network": network, "settings": asdict(settings), "data": data}
    if state.epoch:
        model_folder.restore_checkpoint(net, folder / "checkpoint.npz")
    if state.status == "running":
        write_json(folder / "training.json", {**record, "state": asdict(state)})
    n_steps = settings.steps_per_epoch or math.ceil(len(train) / settings.batch_size)
    validation = validation if len(validation) else train
    validation_batches = _split(_thin(validation, settings.validation_patches), settings.batch_size)
    with (
        progress(desc=network, unit="epoch", total=settings.epochs, initial=state.epoch) as bar,
        ThreadPoolExecutor(_MAKERS) as pool,
    ):
        while state.status == "running":
            started = time.monotonic()
            rate = state.rate(settings)
            net.optimizer.learning_rate = rate
            indices = _epoch_indices(train, settings, state.epoch, n_steps)
            rngs = [np.random.default_rng([settings.seed, state.epoch, step]) for step in range(n_steps)]
            net.reset_metrics()
            logs: dict[str, Any] = {}
            for done, (x, y) in enumerate(_ahead(pool, make_batch, zip(indices, rngs, strict=True)), start=1):
                logs = net.train_on_batch(x, y, return_dict=True)
                watch(Step(network, state.epoch + 1, settings.epochs, done, n_steps, float(logs["loss"])))
            row = {"loss": float(logs["loss"])}
            net.reset_metrics()
            checked = logs
            for x, y in _ahead(pool, make_batch, ((batch, None) for batch in validation_batches)):
                checked = net.test_on_batch(x, y, return_dict=True)
            row |= {"val_loss": float(checked["loss"]), "learning_rate": rate}
            row |= {name: float(value) for name, value in logs.items() if name != "loss"}
            row |= {f"val_{name}": float(value) for name, value in checked.items() if name != "loss"}
            if not (math.isfinite(row["loss"]) and math.isfinite(row["val_loss"])):
                raise InputError(
                    "learning_rate",
                    rate,
                    f"a smaller one: the loss of {network} is not a number in epoch {state.epoch + 1}",
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
    best = folder / "weights_best.h5"
    state.finish_epoch(
        row,
        settings,
        started,
        lambda: replace_file(best, lambda part: model.keras_model.save_weights(str(part))),
    )
    if state.status != "running":
        replace_file(folder / "weights_last.h5", lambda part: model.keras_model.save_weights(str(part)))
    write_table(state.table, folder / "history.csv")
    model_folder.save_checkpoint(model.keras_model, folder / "checkpoint.npz", state)


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


def _ahead(pool: ThreadPoolExecutor, make: Callable, arguments: Iterator) -> Iterator[Any]:
    """Yield ``make(*a)`` in order, made in other threads while the network works on the ones before."""
    waiting: list[Future] = []
    try:
        for a in arguments:
            waiting.append(pool.submit(make, *a))
            if len(waiting) > _MAKERS + 1:
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
