"""The files of Cellpose's models: which there are in version 3.1 and 4, where they lie, and whether they are sound."""

from __future__ import annotations

import socket
from pathlib import Path

from helpers.errors import InputError

#: The models that only cellpose 3 has, and what the names of those of cellpose 4 begin with.
CELLPOSE_3_MODELS = ("cyto", "cyto2", "cyto3", "nuclei")
_SAM_PREFIXES = ("cpsam", "cpdino")
#: Seconds after which a download that does not answer is given up.
_TIMEOUT = 20.0


def find(name: str, version: tuple[int, ...]) -> Path:
    """Return the file of a model: the custom one, or that of a built-in model, fetched by Cellpose if need be."""
    if Path(name).is_file():
        return Path(name)
    check_name(name, version)
    # Cellpose 3 calls the older models' files otherwise than the models.
    file = f"{name}torch_0" if version < (4,) and name in ("cyto", "cyto2", "nuclei") else name
    return fetched(file, name)


def check_name(name: str, version: tuple[int, ...]) -> None:
    """Refuse what is neither a file nor a model that this version of Cellpose has.

    Raises
    ------
    InputError
        Naming the version that has it, or the known names.
    """
    major = version[0]
    if Path(name).is_file() or (major < 4 and name in CELLPOSE_3_MODELS):
        return
    if name in CELLPOSE_3_MODELS and major >= 4:
        raise InputError(
            "model", name, f"a model of cellpose {major}, such as 'cpsam': {name} is one of cellpose 3.1"
        )
    if name.startswith(_SAM_PREFIXES) and major < 4 and "/" not in name:
        raise InputError(
            "model", name, f"a model of cellpose {major}, such as 'cyto3': {name} is one of cellpose 4"
        )
    from cellpose import models

    if name not in (*models.MODEL_NAMES, *models.get_user_models()):
        expected = "an existing file" if "/" in name or "." in name else "a file or a known name"
        known = CELLPOSE_3_MODELS if major < 4 else tuple(models.MODEL_NAMES)
        raise InputError("model", name, f"{expected}; built in are {', '.join(known)}")


def fetched(file: str, name: str) -> Path:
    """Return one of Cellpose's own files, which Cellpose downloads if need be; `name` is the model that errors name."""
    from cellpose import models

    folder = Path(models.MODEL_DIR)
    if (folder / file).is_file():
        return folder / file
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_TIMEOUT)
    try:
        return Path(models.cache_model_path(file))
    except Exception as error:
        (folder / file).unlink(missing_ok=True)
        raise InputError(
            "model",
            name,
            f"weights that are there, or a network to fetch them from ({error}): on a computer with a network let "
            f"Cellpose download '{file}', then put that file into {folder}",
        ) from None
    finally:
        socket.setdefaulttimeout(before)


def check(path: Path, name: str, version: tuple[int, ...]) -> int | None:
    """Return how many channels the network of a file takes (None: any), or refuse the file."""
    import torch

    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        keys = set(state)
    except Exception as error:
        reason = str(error).splitlines()[0][:120]
        raise InputError(
            "model", name, f"a file of Cellpose weights: this one is truncated or of another kind ({reason})"
        ) from None
    if "W2" in keys:
        if version < (4,):
            raise InputError(
                "model", name, "weights of cellpose 3: these are of cellpose 4; install that to use them"
            )
        return None
    first = next((k for k in state if k.startswith("downsample.") and state[k].ndim == 4), None)
    if first is None or "output.2.weight" not in keys:
        raise InputError("model", name, "a file of Cellpose weights: this one holds those of another network")
    if version >= (4,):
        raise InputError(
            "model", name, "weights of cellpose 4: these are of cellpose 3.1; install that to use them"
        )
    return int(state[first].shape[1])
