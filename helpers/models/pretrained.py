"""Networks to begin with, in place of random weights: a run's, a model folder, a bioimage.io package, or StarDist's by name."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

from helpers.data.atomic import atomic_path
from helpers.errors import InputError, read_json
from helpers.models.packages import FOLDER

#: StarDist's own models of one channel, fetched once by StarDist itself, with what is known of their licence.
STARDIST = ("2D_versatile_fluo", "2D_paper_dsb2018", "2D_demo", "3D_demo")
_OF_STARDIST = "StarDist is under BSD-3-Clause; its weights state no licence of their own"
_OF_CELLPOSE = (
    "Cellpose is under BSD-3-Clause; the images its models learnt from are under CC-BY-NC (not commercial)"
)


def licence(start: str) -> str:
    """Return what is known of the licence of a model by name; nothing for one's own.

    Parameters
    ----------
    start : str
        Such as ``"2D_versatile_fluo"``, ``"cyto3"`` or ``"cpsam"``.
    """
    if start in STARDIST:
        return _OF_STARDIST
    named = start.startswith(("cyto", "nuclei", "cpsam", "cpdino")) and not Path(start).exists()
    return _OF_CELLPOSE if named else ""


def find(start: str | Path, network: str, cache: Path) -> Path | None:
    """Return the model folder of one network in what a training is to begin with.

    Parameters
    ----------
    start : str or Path
        A model folder, a bioimage.io package, or the name of one of StarDist's models.
    network : {"unet", "stardist", "cellpose"}
        Which network is to be trained.
    cache : Path
        Folder in which packages are unpacked.

    Returns
    -------
    Path or None
        None where the model is of another network, which then begins anew.

    Raises
    ------
    InputError
        If there is no such file, folder or model, or it cannot be fetched.
    """
    start = Path(start)
    if not start.exists():
        if start.name not in STARDIST:
            raise InputError(
                "start_from",
                str(start),
                f"a run folder, a model folder, a bioimage.io package (.zip), or one of StarDist's models: {', '.join(STARDIST)}",
            )
        return _fetched(start.name) if network == "stardist" else None
    folder = open_package(start, cache / start.stem) if zipfile.is_zipfile(start) else start
    return folder if kind(folder) == network else None


def kind(folder: Path) -> str:
    """Return which network a model folder holds.

    Raises
    ------
    InputError
        If it is no model folder.
    """
    if (folder / "cellpose_model").is_file():
        return "cellpose"
    if not (folder / "config.json").is_file():
        raise InputError("start_from", str(folder), "a run folder, a model folder or a bioimage.io package")
    return "stardist" if "n_rays" in read_json(folder / "config.json", "name a model folder") else "unet"


def _fetched(name: str) -> Path:
    """Return the folder of one of StarDist's models, which StarDist keeps in Keras's cache once it was fetched."""
    from helpers.models.devices import prepare_tensorflow

    prepare_tensorflow()
    from csbdeep.models.pretrained import get_model_folder
    from stardist.models import StarDist2D, StarDist3D

    try:
        return Path(get_model_folder(StarDist2D if name.startswith("2D") else StarDist3D, name))
    except Exception as error:
        raise InputError(
            "start_from",
            name,
            f"a network to fetch it from ({error}): on a computer with a network run StarDist's from_pretrained('{name}'), and "
            "name the folder it makes here",
        ) from None


def open_package(package: str | Path, folder: str | Path) -> Path:
    """Make a model folder of a bioimage.io package: ours, or one that StarDist exported.

    Parameters
    ----------
    package : str or Path
        The zip.
    folder : str or Path
        The model folder to write; one that is there is returned as it is.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    InputError
        For a file that is no package, or one whose network is none of StarDist, csbdeep or Cellpose.
    """
    package, folder = Path(package), Path(folder)
    if folder.is_dir():
        return folder
    try:
        with zipfile.ZipFile(package) as file:
            names = file.namelist()
            found = {name: file.read(name) for name in FOLDER if name in names}
            if "cellpose_model" not in found and not {"config.json", "weights_best.h5"} <= found.keys():
                found = _of_stardist(file, names)
    except (zipfile.BadZipFile, OSError) as error:
        raise InputError("package", str(package), f"a zip that can be read ({error})") from None
    if not found:
        raise InputError(
            "package",
            str(package),
            "a bioimage.io package of Volltrack or StarDist; another network's cannot be trained on here",
        )
    with atomic_path(folder) as part:
        part.mkdir()
        for name, content in found.items():
            (part / name).write_bytes(content)
    return folder


def _of_stardist(file: zipfile.ZipFile, names: list[str]) -> dict[str, bytes]:
    """Return the files of a model folder from a package that StarDist's ``export_bioimageio`` wrote."""
    import yaml

    described = next((n for n in names if n in ("rdf.yaml", "bioimageio.yaml")), None)
    content = yaml.safe_load(file.read(described)) if described else {}
    star = (content.get("config") or {}).get("stardist") or {}
    if not {"config", "thresholds", "weights"} <= star.keys() or star["weights"] not in names:
        return {}
    return {
        "config.json": json.dumps(star["config"]).encode(),
        "thresholds.json": json.dumps(star["thresholds"]).encode(),
        "weights_best.h5": file.read(star["weights"]),
    }
