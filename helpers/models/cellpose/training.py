"""Train a Cellpose network on the training set of notebook 03_create_dataset, from scratch or from a given model; cellpose 3.1.

Cellpose learns planes. A patch (Z, Y, X) gives XY planes, and, stretched to cubic voxels, ZY and ZX planes, which are
what it will see in 3D. The loop is our own because a training that was killed has to go on where it was: which planes a
step sees, and how they are turned and scaled, follow from the seed, the epoch and the step alone. Targets, augmentation
and network are Cellpose's.

A model folder holds ``cellpose_model`` (the weights with the lowest validation loss, a file that Cellpose and its GUI
open), ``history.csv``, ``training.json`` and ``checkpoint.npz``, as in `helpers.models.model_folder`.

References
----------
Stringer et al., Cellpose, Nature Methods 2021 (flows and loss). Pachitariu & Stringer, Cellpose 2.0, Nature Methods 2022
(training of custom models).
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import math
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from helpers.bounds import CellPixels, Count
from helpers.data.tables import write_table
from helpers.data.training_set import TrainingSet
from helpers.errors import InputError
from helpers.models import cellpose, model_folder
from helpers.models.cellpose.slices import Slices, annotated_batch, crop_side, cut_slices, make_batch
from helpers.models.model_folder import TrainingState, replace_file
from helpers.models.precision import cpu_has_bfloat16
from helpers.models.settings import TrainingSettings
from helpers.models.watch import Step, Watch, nobody
from helpers.progress import progress

#: The weights' file in the model folder.
WEIGHTS = "cellpose_model"
#: Weight of the flows in the loss, as Cellpose has it.
_FLOW_SCALE = 5.0
#: Epochs over which the rate rises to its value: large first steps spoil the batch normalisation.
_WARM_UP = 5


@dataclass(frozen=True)
class CellposeTrainingSettings(TrainingSettings):
    """Settings of a Cellpose network.

    Parameters
    ----------
    base_model : str
        Built-in name or file to start from; empty: from scratch.
    cell_pixels : float
        Diameter to which cells are scaled for the network, in pixels, where it starts from scratch. 30 is Cellpose's
        own; smaller is faster, most of all in 3D.
    crop : int, optional
        Side of the squares that the network is trained on, a multiple of 16; None: what holds a patch, at most 224.
    side_planes : bool
        Learn ZY and ZX planes of 3D patches too, which the 3D mode needs; 2D+Z does not.
    max_planes : int
        Planes held in memory at most, evenly drawn from the set.

    See Also
    --------
    TrainingSettings : the other parameters.
    """

    base_model: str = ""
    cell_pixels: CellPixels = 30.0
    crop: int | None = None
    side_planes: bool = True
    max_planes: Count = 2000

    def __post_init__(self) -> None:
        super().__post_init__()
        fits = self.crop is None or (self.crop >= 32 and self.crop % 16 == 0)
        self._require("crop", fits, "a multiple of 16, at least 32; None chooses")


def require_trainable() -> None:
    """Refuse, before anything is read, what a training would fail on.

    Raises
    ------
    InputError
        If Cellpose is not installed, is cellpose 4, whose networks are not trained from scratch, or would crash beside a
        TensorFlow that was loaded before this package.
    """
    if "tensorflow" in sys.modules and "triton" not in sys.modules and importlib.util.find_spec("triton"):
        raise InputError(
            "train_cellpose",
            True,
            "a Python that has not loaded TensorFlow by itself: restart it, and run all cells",
        )
    version = cellpose.cellpose_version()
    if version >= (4,):
        raise InputError(
            "cellpose",
            ".".join(map(str, version)),
            "cellpose 3.1 (Python 3.11 or 3.12) to train a model here: cellpose 4 only fine-tunes cpsam; or set "
            "train_cellpose to False",
        )


def train(
    patches: TrainingSet,
    folder: str | Path,
    settings: CellposeTrainingSettings | None = None,
    *,
    gpu: bool = True,
    overwrite: bool = False,
    watch: Watch = nobody,
) -> tuple[Path, TrainingState]:
    """Train a Cellpose network, or go on where a training was interrupted.

    Parameters
    ----------
    patches : TrainingSet
        ``X`` and ``labels`` are read, one patch at a time.
    folder : path
        Model folder.
    settings : CellposeTrainingSettings, optional
    gpu : bool
        Train on a GPU where there is one.
    overwrite : bool
        Replace another model in the folder.
    watch : callable
        Is told every step; what it raises ends the training (`helpers.models.watch`).

    Returns
    -------
    weights : Path
        A file that `helpers.models.cellpose.load` and Cellpose itself open; it knows the cells' diameter.
    state : TrainingState
        With the loss curves.

    Raises
    ------
    InputError
        For patches without cells or voxel size, a base model that cannot be used, a folder that holds another model,
        or cellpose 4, whose networks are not trained from scratch.
    """
    settings = settings or CellposeTrainingSettings()
    folder = Path(folder)
    require_trainable()
    state = model_folder.open_folder(
        folder, "Cellpose", settings, model_folder.describe_set(patches, None), overwrite=overwrite
    )
    weights = folder / WEIGHTS
    if state.status != "running":
        return weights, state
    data = {
        "network": "Cellpose",
        "settings": asdict(settings),
        "data": model_folder.describe_set(patches, None),
    }
    planes = [
        cut_slices(patches, patches.train, side_planes=settings.side_planes, max_planes=settings.max_planes)
    ]
    planes += (
        [
            cut_slices(
                patches, patches.validation, side_planes=settings.side_planes, max_planes=settings.max_planes
            )
        ]
        if len(patches.validation)
        else [planes[0]]
    )
    if not planes[0].images:
        raise InputError(str(patches.path), "no plane with cells", "a training set whose labels hold cells")
    net, diameter = _network(settings, planes[0], gpu)
    _fit(net, diameter, planes[0], planes[1], folder, settings, state, data, watch)
    return weights, state


def add_to_gui(weights: str | Path, name: str) -> Path:
    """Copy trained weights to where Cellpose's GUI and command line list custom models.

    Parameters
    ----------
    weights : path
    name : str
        Under which they appear there; a model of that name is replaced.

    Returns
    -------
    Path
        The copy.
    """
    from cellpose import models

    folder = Path(models.MODEL_DIR)
    folder.mkdir(parents=True, exist_ok=True)
    replace_file(folder / name, lambda part: shutil.copyfile(weights, part))
    if name not in models.get_user_models():
        with open(models.MODEL_LIST_PATH, "a", encoding="utf-8") as listing:
            listing.write(name + "\n")
    return folder / name


def _network(settings: CellposeTrainingSettings, planes: Slices, gpu: bool) -> tuple[Any, float]:
    """Return the network and the diameter, in pixels, of the cells it will learn."""
    import torch
    from cellpose import models, utils

    torch.manual_seed(settings.seed)
    if settings.base_model:
        net = cellpose.load(settings.base_model, gpu=gpu).model.net
        net.mkldnn = False
        if net.nchan != 2:
            raise InputError(
                "base_model", settings.base_model, "a model of two inputs, as Cellpose's own are"
            )
    else:
        net = models.CellposeModel(
            gpu=gpu, pretrained_model=False, diam_mean=settings.cell_pixels, mkldnn=False
        ).net
    sizes = np.concatenate([utils.diameters(target[0].astype(int))[1] for target in planes.targets])
    # `diameters` counts pixels; a disc of that area is as wide as this.
    diameter = max(float(np.median(sizes)) * 2 / math.sqrt(math.pi) if sizes.size else 0.0, 5.0)
    net.diam_labels.data = torch.tensor([diameter], device=net.device)
    return net, diameter


def _fit(
    net: Any,
    diameter: float,
    training: Slices,
    validation: Slices,
    folder: Path,
    settings: CellposeTrainingSettings,
    state: TrainingState,
    data: dict[str, Any],
    watch: Watch,
) -> None:
    """Train to the end of the settings, writing after every epoch what going on needs."""
    import torch

    optimizer = torch.optim.AdamW(net.parameters(), lr=settings.learning_rate, weight_decay=1e-5)
    if state.epoch:
        _restore(net, optimizer, folder / "checkpoint.npz")
    scale = diameter / float(net.diam_mean.item())
    crop = settings.crop or crop_side(training, scale)
    autocast = _autocast(net, settings)
    n_steps = settings.steps_per_epoch or math.ceil(len(training.images) / settings.batch_size)
    held_out = np.linspace(
        0, len(validation.images) - 1, min(len(validation.images), settings.validation_patches or 10**9)
    )
    bar = progress(desc="Train Cellpose", unit="epoch", total=settings.epochs, initial=state.epoch)
    while state.status == "running":
        started = time.monotonic()
        for group in optimizer.param_groups:
            group["lr"] = _rate(state, settings)
        net.train()
        losses = []
        for step in range(n_steps):
            rng = np.random.default_rng([settings.seed, state.epoch, step])
            batch = annotated_batch(training, rng, settings.batch_size, scale, crop)
            with autocast():
                loss = _loss(net, batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
            watch(Step("Cellpose", state.epoch + 1, settings.epochs, step + 1, n_steps, losses[-1]))
        net.eval()
        with torch.no_grad():
            batches = np.array_split(
                held_out.round().astype(int), math.ceil(len(held_out) / settings.batch_size)
            )
            errors = [
                float(_loss(net, make_batch(validation, b, scale, crop, seed=None))) * len(b) for b in batches
            ]
        _end_of_epoch(
            net, optimizer, folder, settings, state, data, losses, sum(errors) / len(held_out), started
        )
        bar.set_postfix(
            loss=f"{losses[-1]:.3f}", val_loss=f"{state.history[-1]['val_loss']:.3f}", refresh=False
        )
        bar.update()
    bar.close()


def _end_of_epoch(
    net: Any,
    optimizer: Any,
    folder: Path,
    settings: CellposeTrainingSettings,
    state: TrainingState,
    data: dict[str, Any],
    losses: list[float],
    val_loss: float,
    started: float,
) -> None:
    if not math.isfinite(val_loss):
        raise InputError("learning_rate", settings.learning_rate, "smaller: the training diverged")
    row = {"loss": float(np.mean(losses)), "val_loss": val_loss, "learning_rate": _rate(state, settings)}
    weights = folder / WEIGHTS
    state.finish_epoch(
        row, settings, started, lambda: replace_file(weights, lambda part: net.save_model(str(part)))
    )
    write_table(state.table, folder / "history.csv")
    _save(net, optimizer, folder / "checkpoint.npz", state)
    model_folder.write_json(folder / "training.json", {**data, "state": asdict(state)})


def _rate(state: TrainingState, settings: CellposeTrainingSettings) -> float:
    warm = min(1.0, (state.epoch + 1) / _WARM_UP)
    return warm * state.rate(settings)


def _autocast(net: Any, settings: CellposeTrainingSettings) -> Callable[[], Any]:
    """Return the context of a training step: 16 bits where the machine is faster in them, weights in 32."""
    import torch

    kind = net.device.type
    fast = torch.cuda.is_bf16_supported() if kind == "cuda" else kind == "cpu" and cpu_has_bfloat16()
    if settings.precision == "float32" or (settings.precision == "auto" and not fast):
        return contextlib.nullcontext
    return lambda: torch.autocast(kind, dtype=torch.bfloat16)


def _loss(net: Any, batch: tuple[NDArray, NDArray]) -> Any:
    """Return the loss of the network's output for a batch."""
    import torch

    images, targets = (torch.from_numpy(a).to(net.device) for a in batch)
    return output_loss(net(images)[0].float(), targets)


def output_loss(found: Any, targets: Any) -> Any:
    """Return Cellpose's loss: squared error of the flows, and cross-entropy of the cell probability.

    Parameters
    ----------
    found : tensor, (N, 3, Y, X)
        Flows y and x, and the logit of the cell probability.
    targets : tensor, (N, 3, Y, X)
        1 in cells, 0 in the background and negative where nothing is annotated, which does not count; flows y and x.
    """
    from torch.nn import functional

    known = (targets[:, 0] >= 0).float()
    share = known.mean().clamp(min=1e-7)
    flows = functional.mse_loss(known[:, None] * found[:, :2], known[:, None] * _FLOW_SCALE * targets[:, 1:])
    cells = functional.binary_cross_entropy_with_logits(
        found[:, -1], (targets[:, 0] > 0.5).float(), weight=known
    )
    return (flows / 2 + cells) / share


def _save(net: Any, optimizer: Any, path: Path, state: TrainingState) -> None:
    arrays = {f"w:{name}": value.cpu().numpy() for name, value in net.state_dict().items()}
    for i, values in optimizer.state_dict()["state"].items():
        arrays |= {f"o:{i}:{name}": value.cpu().numpy() for name, value in values.items()}

    def write(part: Path) -> None:
        with open(part, "wb") as file:
            np.savez(file, allow_pickle=False, state=np.array(json.dumps(asdict(state))), **arrays)

    replace_file(path, write)


def _restore(net: Any, optimizer: Any, path: Path) -> None:
    import torch

    with np.load(path) as file:
        arrays = {name: torch.from_numpy(file[name]) for name in file.files if name != "state"}
    net.load_state_dict({name[2:]: value for name, value in arrays.items() if name.startswith("w:")})
    saved: dict[int, dict[str, Any]] = {}
    for name, value in arrays.items():
        if name.startswith("o:"):
            _, i, key = name.split(":")
            saved.setdefault(int(i), {})[key] = value
    optimizer.load_state_dict({"state": saved, "param_groups": optimizer.state_dict()["param_groups"]})
