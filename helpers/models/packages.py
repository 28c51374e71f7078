"""Networks as bioimage.io packages: one zip that other programs read, and that `helpers.models.pretrained.open_package` turns into a model folder again.

A package holds the network with its weights in a format that ``bioimageio.core`` runs (Keras, or PyTorch for Cellpose),
how its input is normalised and what its outputs are, a test image with what the network says of it, and the files of the
model folder as attachments.

References
----------
Ouyang et al., BioImage Model Zoo, bioRxiv 2022.06.07.495102; specification 0.5 (``bioimageio.spec``).
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from helpers.data.atomic import writing_to
from helpers.errors import InputError, read_json
from helpers.models import model_folder

#: Files of a model folder that make it one again.
FOLDER = ("config.json", "weights_best.h5", "thresholds.json", "training.json", "cellpose_model")
#: Under which models are published in most cases.
LICENSE = "CC-BY-4.0"
#: bioimageio.core takes arrays only, and Cellpose's network returns a list among them.
_ARCHITECTURE = '''"""Cellpose's network: flows along y and x, and the logit of the cell probability."""

from cellpose.resnet_torch import CPnet


class Flows(CPnet):
    def forward(self, data):
        return super().forward(data)[0]
'''
_PLACES = {
    "StarDist": ("Schmidt et al. 2018", "10.1007/978-3-030-00934-2_30"),
    "U-Net": ("Weigert et al. 2018 (CSBDeep)", "10.1038/s41592-018-0216-7"),
    "Cellpose": ("Stringer et al. 2021", "10.1038/s41592-020-01018-x"),
}


@dataclass(frozen=True)
class _Network:
    """What a package says of a network: outputs are (name, channels, grid, scipy-like ending)."""

    kind: str
    weights: Any
    n_dim: int
    channels: int
    first: bool
    block: tuple[int, ...]
    percentiles: tuple[float, float]
    outputs: list[NDArray[np.float32]]
    names: tuple[str, ...]
    grids: tuple[tuple[int, ...], ...]
    endings: list[Any] = field(default_factory=list)


def export(
    folder: str | Path,
    package: str | Path,
    *,
    name: str = "",
    author: str = "Volltrack",
    licence: str = LICENSE,
) -> Path:
    """Write the network of a model folder as a bioimage.io package, and check it by the specification's validator.

    Parameters
    ----------
    folder : str or Path
        Model folder of a StarDist, a U-Net or a Cellpose (3.1) network.
    package : str or Path
        The zip to write.
    name : str
        Title of the package; empty: kind and folder.
    author : str
        Who made it.
    licence : str
        Under which it may be used, by SPDX's short name.

    Returns
    -------
    Path
        The zip.

    Raises
    ------
    InputError
        For a folder that holds no such network.
    RuntimeError
        If the validator finds fault.
    """
    folder, package = Path(folder), Path(package)
    if package.suffix != ".zip":
        raise InputError("package", str(package), "a name that ends in .zip")
    from bioimageio.spec import save_bioimageio_package

    with tempfile.TemporaryDirectory(prefix="volltrack-package-") as made, writing_to(package):
        described = _describe(folder, Path(made), name, author, licence)
        package.parent.mkdir(parents=True, exist_ok=True)
        save_bioimageio_package(described, output_path=package, allow_invalid=False)
    return package


def _describe(folder: Path, work: Path, name: str, author: str, licence: str) -> Any:
    from bioimageio.spec.generic.v0_3 import Author, CiteEntry, Doi, FileDescr, LicenseId
    from bioimageio.spec.model import v0_5

    image = _test_image(folder)
    network = _cellpose(folder, work, image) if _is_cellpose(folder) else _keras(folder, work, image)
    (work / "README.md").write_text(_words(network, folder), encoding="utf-8")
    attached = []
    for file in FOLDER:
        if (folder / file).is_file():
            (work / file).write_bytes((folder / file).read_bytes())
            attached.append(FileDescr(source=work / file))
    scale = model_folder.training_set_of(folder).get("voxel_size")
    text, doi = _PLACES[network.kind]
    return v0_5.ModelDescr(
        name=(name or f"{network.kind} {folder.resolve().parent.parent.name} {folder.name}")[:128],
        description=f"A {network.kind} network that finds cells in {network.n_dim}D images, trained with Volltrack",
        authors=[Author(name=author)],
        cite=[CiteEntry(text=text, doi=Doi(doi))],
        license=LicenseId(licence),
        documentation=FileDescr(source=work / "README.md"),
        attachments=attached,
        inputs=[_input(network, image, work, scale)],
        outputs=_outputs(network, work, scale),
        weights=network.weights,
        config=v0_5.Config.model_validate(
            {"volltrack": {"kind": network.kind, "voxel_size_um": scale and list(scale)}}
        ),
        tags=["cells", "segmentation", network.kind.lower(), f"{network.n_dim}d"],
    )


def _is_cellpose(folder: Path) -> bool:
    return (folder / "cellpose_model").is_file()


def _keras(folder: Path, work: Path, image: NDArray[np.float32]) -> _Network:
    """Describe a network of csbdeep or StarDist, and write it as Keras does."""
    import keras
    import tensorflow as tf
    from bioimageio.spec._internal.version_type import Version
    from bioimageio.spec.model import v0_5

    from helpers.models import stardist, unet

    star = "n_rays" in read_json(folder / "config.json", "name a model folder")
    model = (stardist if star else unet).load(folder)
    n_dim = model.config.n_dim
    model.keras_model.save(work / "weights.keras")
    weights = v0_5.KerasV3WeightsDescr(
        source=work / "weights.keras",
        keras_version=Version(keras.__version__),
        backend=("tensorflow", Version(tf.__version__)),
    )
    made = model_folder.training_set_of(folder)
    low, high = float(made.get("pmin", 1.0)), float(made.get("pmax", 99.8))
    found = model.keras_model.predict(_scaled(image, low, high), verbose=0)
    outputs = [np.asarray(o, np.float32) for o in (found if isinstance(found, list) else [found])]
    common = {
        "weights": v0_5.WeightsDescr(keras_v3=weights),
        "n_dim": n_dim,
        "channels": 1,
        "first": False,
        "percentiles": (low, high),
    }
    if star:
        grid = tuple(model.config.grid)
        block = tuple(int(b) for b in model._axes_div_by("ZYX"[-n_dim:]))
        return _Network(
            "StarDist",
            outputs=outputs,
            names=("probability", "distance"),
            grids=(grid, grid),
            block=block,
            **common,
        )
    logit = getattr(model, "volltrack_output", "") == "logit"
    ending = v0_5.SigmoidDescr() if logit else v0_5.ClipDescr(kwargs=v0_5.ClipKwargs(min=0.0, max=1.0))
    outputs = [1 / (1 + np.exp(-outputs[0])) if logit else np.clip(outputs[0], 0, 1)]
    return _Network(
        "U-Net",
        outputs=outputs,
        names=("foreground",),
        grids=((1,) * n_dim,),
        block=(2**model.config.unet_n_depth,) * n_dim,
        endings=[ending],
        **common,
    )


def _cellpose(folder: Path, work: Path, image: NDArray[np.float32]) -> _Network:
    """Describe a network of Cellpose 3.1: planes with two channels, of which the second is empty."""
    import torch
    from bioimageio.spec._internal.version_type import Version
    from bioimageio.spec.model import v0_5

    from helpers.models import cellpose

    net = cellpose.load(str(folder / "cellpose_model"), gpu=False).model.net
    state = {key: value.cpu() for key, value in net.state_dict().items()}
    torch.save(state, work / "weights.pt")
    (work / "flows.py").write_text(_ARCHITECTURE, encoding="utf-8")
    shape = {"nbase": list(net.nbase), "nout": int(net.nout), "sz": 3, "diam_mean": float(net.diam_mean)}
    weights = v0_5.PytorchStateDictWeightsDescr(
        source=work / "weights.pt",
        pytorch_version=Version(torch.__version__.partition("+")[0]),
        architecture=v0_5.ArchitectureFromFileDescr(
            source=work / "flows.py", callable=v0_5.Identifier("Flows"), kwargs=shape
        ),
    )
    net.eval()
    with torch.no_grad():
        flows = net(torch.from_numpy(_scaled(image, 1.0, 99.0)).to(net.device))[0].cpu().numpy()
    return _Network(
        "Cellpose",
        weights=v0_5.WeightsDescr(pytorch_state_dict=weights),
        n_dim=2,
        channels=2,
        first=True,
        block=(16, 16),
        percentiles=(1.0, 99.0),
        outputs=[flows],
        names=("flows",),
        grids=((1, 1),),
    )


def _test_image(folder: Path) -> NDArray[np.float32]:
    """Return bright blobs on a dim ground, as the network takes them: batch, then channels first or last."""
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(0)
    if _is_cellpose(folder):
        plane = gaussian_filter(rng.random((64, 64)), 4)
        return np.stack([plane, np.zeros_like(plane)])[None].astype(np.float32)
    n_dim = int(read_json(folder / "config.json", "name a model folder")["n_dim"])
    found: Any = gaussian_filter(rng.random((32, 64, 64)[-n_dim:]), 3)
    return found[None, ..., None].astype(np.float32)


def _scaled(image: NDArray[np.float32], low: float, high: float) -> NDArray[np.float32]:
    bottom, top = np.percentile(image, (low, high))
    return ((image - bottom) / (top - bottom + 1e-6)).astype(np.float32)


def _axes(network: _Network, names: Sequence[str], spatial: list[Any]) -> list[Any]:
    from bioimageio.spec.model import v0_5

    batch = v0_5.BatchAxis()
    channel = v0_5.ChannelAxis(channel_names=[v0_5.Identifier(n) for n in names])
    return [batch, channel, *spatial] if network.first else [batch, *spatial, channel]


def _unit(network: _Network, scale: Sequence[float] | None, grid: Sequence[int]) -> list[dict[str, Any]]:
    """Return the step from voxel to voxel along each axis: in µm where known, else in voxels of the input."""
    known = [float(s) for s in scale][-network.n_dim :] if scale else [1.0] * network.n_dim
    unit = {"unit": "micrometer"} if scale else {}
    return [{"scale": s * g, **unit} for s, g in zip(known, grid, strict=True)]


def _input(network: _Network, image: NDArray[np.float32], work: Path, scale: Sequence[float] | None) -> Any:
    from bioimageio.spec.generic.v0_3 import FileDescr
    from bioimageio.spec.model import v0_5

    np.save(work / "test_input.npy", image)
    axes = [
        v0_5.SpaceInputAxis(id=v0_5.AxisId(axis), size=v0_5.ParameterizedSize(min=block, step=block), **unit)
        for axis, block, unit in zip(
            "zyx"[-network.n_dim :],
            network.block,
            _unit(network, scale, (1,) * network.n_dim),
            strict=True,
        )
    ]
    low, high = network.percentiles
    reduced = (*(["channel"] if network.channels == 1 else []), *"zyx"[-network.n_dim :])
    normalise = v0_5.ScaleRangeDescr(
        kwargs=v0_5.ScaleRangeKwargs(
            axes=[v0_5.AxisId(a) for a in reduced], min_percentile=low, max_percentile=high, eps=1e-6
        )
    )
    return v0_5.InputTensorDescr(
        id=v0_5.TensorId("raw"),
        axes=_axes(network, ["raw", "nuclei"][: network.channels], axes),
        data=v0_5.IntervalOrRatioDataDescr(type="float32"),
        preprocessing=[normalise],
        test_tensor=FileDescr(source=work / "test_input.npy"),
    )


def _outputs(network: _Network, work: Path, scale: Sequence[float] | None) -> list[Any]:
    from bioimageio.spec.generic.v0_3 import FileDescr
    from bioimageio.spec.model import v0_5

    described = []
    for name, grid, values in zip(network.names, network.grids, network.outputs, strict=True):
        np.save(work / f"test_{name}.npy", values)
        axes = [
            v0_5.SpaceOutputAxis(
                id=v0_5.AxisId(axis),
                size=v0_5.SizeReference(tensor_id=v0_5.TensorId("raw"), axis_id=v0_5.AxisId(axis)),
                **unit,
            )
            for axis, unit in zip("zyx"[-network.n_dim :], _unit(network, scale, grid), strict=True)
        ]
        n = values.shape[1 if network.first else -1]
        words = [f"{name}_{i}" for i in range(n)] if n > 1 else [name]
        described.append(
            v0_5.OutputTensorDescr(
                id=v0_5.TensorId(name),
                axes=_axes(network, words, axes),
                data=v0_5.IntervalOrRatioDataDescr(type="float32"),
                postprocessing=network.endings,
                test_tensor=FileDescr(source=work / f"test_{name}.npy"),
            )
        )
    return described


def _words(network: _Network, folder: Path) -> str:
    what = {
        "StarDist": "Outputs are the object probability and the distances along the rays, on the network's grid; StarDist's "
        "non-maximum suppression, with the thresholds in `thresholds.json`, makes cells of them.",
        "U-Net": "The output is the probability of foreground.",
        "Cellpose": "Outputs are the flows along y and x and the logit of the cell probability; Cellpose's dynamics make cells "
        "of them. Scale images so that cells are as wide as those it was trained on.",
    }[network.kind]
    return (
        f"# {network.kind}, trained with Volltrack\n\nInput: {network.n_dim}D images, normalised by the percentiles "
        f"{network.percentiles[0]:g} and {network.percentiles[1]:g} of each.\n\n{what}\n\n"
        "The attachments are the model folder as Volltrack, StarDist and csbdeep open it.\n\n## Validation\n\n"
        f"{_record(folder)}\n"
    )


def _record(folder: Path) -> str:
    path = folder / "training.json"
    state = read_json(path, "train it again").get("state", {}) if path.is_file() else {}
    loss = state.get("best_loss")
    return (
        f"Least loss on the validation patches while it was trained: {loss:.4g}, in epoch {state.get('best_epoch')}."
        if loss is not None
        else "Not known: the network was not trained here."
    )
