"""Networks to begin with, in place of random weights: a run's, a model folder, a bioimage.io package, or StarDist's by name."""

from __future__ import annotations

import zipfile
from pathlib import Path

from helpers.errors import InputError, read_json
from helpers.models.packages import open_package

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
    """Return the model folder of one network in what a training is told to begin with.

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
