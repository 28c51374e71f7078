"""A step's place in the run folder: what it did, from what, and whether it must be done again.

    runs/<experiment>/
        dataset/  models/  movies/<id>/  thresholds.json        what the steps make
        steps/<step>[-<movie>]/                                  what the steps say of themselves
            done.json  notebook.ipynb  parameters.yaml  figures/

A step ends by writing ``done.json``. A later call with the same parameters, inputs and package versions finds it and
has nothing to do.
"""

from __future__ import annotations

import copy
import hashlib
import importlib.metadata
import json
import os
import platform
import subprocess
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helpers.data import atomic
from helpers.errors import InputError
from helpers.runs import doubts, outputs
from helpers.runs.parameters import Parameters

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Files up to this size are hashed whole; of larger ones, evenly spaced samples.
_HASH_WHOLE = 256 * 2**20
_SAMPLES = 64
#: Damaged files that are named; of more, how many.
_NAMED = 5

#: Packages whose version may change a result, by the step that uses them.
_PACKAGES = ("numpy", "scipy", "scikit-image", "pandas", "numba", "zarr", "tifffile")

#: What `Run.finish` writes that others read, and what stands for it where an older version wrote nothing.
_WRITTEN: dict[str, Any] = {
    **{name: {} for name in ("parameters", "inputs", "packages", "outputs", "results")},
    **{name: "" for name in ("started", "device")},
    "duration_s": 0.0,
}


@dataclass
class Run:
    """One step of one run, from its start to its ``done.json``.

    Attributes
    ----------
    parameters : Parameters
        The step's parameters.
    folder : Path
        ``<run_dir>/steps/<step>[-<movie>]``.
    started : float
        Seconds since the epoch.
    """

    parameters: Parameters
    folder: Path
    started: float = field(default_factory=time.time)

    @classmethod
    def start(cls, parameters: Parameters) -> Run:
        """Open the step's folder, and make sure that it can be written to and that its inputs exist.

        Raises
        ------
        InputError
            If the run folder cannot be written, or an input is missing or not as an earlier step wrote it; the
            message names the parameter or file.
        """
        folder = step_folder(parameters)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            probe = folder / f".probe-{os.getpid()}"
            probe.write_bytes(b"volltrack")
            probe.unlink()
        except OSError as error:
            raise InputError(
                "run_dir",
                str(parameters.run_dir),
                f"this folder cannot be written ({error.strerror}); choose another one or free some space",
            ) from None
        for path in parameters.inputs():
            if "*" not in str(path) and not path.exists():
                raise InputError(
                    _owner(parameters, path), str(path), "there is no such file or folder" + hint(path)
                )
        outputs.check_inputs(parameters)
        return cls(parameters, folder)

    @property
    def figures(self) -> Path:
        """Folder for this step's figures."""
        (self.folder / "figures").mkdir(exist_ok=True)
        return self.folder / "figures"

    def save(self, figure: Figure, name: str) -> list[Path]:
        """Save a figure under a name into `figures`, in the formats that the parameters name."""
        from helpers.view.figure_files import save_figure

        return save_figure(figure, self.figures / name, formats=self.parameters.figure_formats)

    def finish(self, results: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Write ``done.json``, the step's last act, say what to doubt of the results, and return what it says.

        Parameters
        ----------
        results : mapping, optional
            What the step found, as plain numbers, texts, lists and mappings.
        """
        kept = _plain(results or {})
        checks = doubts.checks_of(self.parameters.name, kept, self.parameters.plain())
        done = {
            "step": self.parameters.step,
            "results": kept,
            "checks": [check.plain() for check in checks],
            "parameters": self.parameters.plain(),
            "inputs": hashes(self.parameters),
            "provenance": self.parameters.provenance(),
            "packages": versions(type(self.parameters)),
            "git_commit": _git_commit(),
            "seed": getattr(self.parameters, "seed", None),
            "device": device(),
            "precision": precision(self.parameters),
            "started": time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(self.started)),
            "duration_s": round(time.time() - self.started, 2),
            "outputs": outputs.record(self.parameters),
        }
        write_json(self.folder / "done.json", done)
        if said := doubts.in_words(checks):
            print(said)
        return done


def step_folder(parameters: Parameters) -> Path:
    """Return the folder of a step: steps that work on one movie have one folder per movie."""
    movie = getattr(parameters, "movie_path", None)
    suffix = f"-{movie().name}" if movie else ""
    return parameters.path("steps", parameters.step + suffix)


def read_done(folder: Path) -> dict[str, Any] | None:
    """Return the content of ``done.json``, or None where a step has not ended, or the file is damaged."""
    try:
        done = json.loads((folder / "done.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return _sound(done)


def _sound(done: Any) -> dict[str, Any] | None:
    """Return what was read with all that others read of it, or None where it is something else."""
    if not isinstance(done, dict):
        return None
    done = copy.deepcopy(_WRITTEN) | done
    kinds = {name: (int, float) if name == "duration_s" else type(value) for name, value in _WRITTEN.items()}
    noted = all(isinstance(done[name], kind) for name, kind in kinds.items()) and all(
        known is None or (isinstance(known, list) and list(map(type, known)) == [int, int, str])
        for known in done["outputs"].values()
    )
    return done if noted else None


def why_not_done(parameters: Parameters, *, verify: bool = False) -> str | None:
    """Say why a step must run, or return None where its results stand.

    Parameters
    ----------
    parameters : Parameters
        The parameters it would run with.
    verify : bool
        Read all that it has made, and compare checksums; by default only see that it is there and was not written to.

    Returns
    -------
    str or None
        All that changed, such as ``"n_epochs changed from 10 to 20; seed changed from 1 to 2"``.
    """
    folder = step_folder(parameters)
    done = read_done(folder)
    if done is None:
        return f"{folder / 'done.json'} is damaged" if (folder / "done.json").exists() else "not run yet"
    changed = [
        f"{name} changed from {before!r} to {value!r}"
        for name, value in parameters.plain().items()
        if name != "overwrite" and (before := done["parameters"].get(name, "nothing")) != value
    ]
    changed += [
        f"{name} changed from {done['packages'].get(name)} to {version}"
        for name, version in versions(type(parameters)).items()
        if done["packages"].get(name) != version
    ]
    differences = outputs.differences(parameters.run_dir, done["outputs"], verify=verify)
    files = list(map(str, differences if verify else islice(differences, 1)))
    changed += files[:_NAMED] + [f"{len(files) - _NAMED} more"] * (len(files) > _NAMED)
    before, now = done["inputs"], hashes(parameters)
    changed += [f"{path} changed" for path in sorted({*before, *now}) if before.get(path) != now.get(path)]
    return "; ".join(changed) or None


def hashes(parameters: Parameters) -> dict[str, str]:
    """Return the content hash of each input of a step, by its path."""
    found: dict[str, str] = {}
    for path in parameters.inputs():
        if "*" in str(path):
            for match in sorted(Path(path.anchor or ".").glob(str(path).removeprefix(path.anchor))):
                found[str(match)] = content_hash(match)
        elif path.exists():
            found[str(path)] = content_hash(path)
    return found


def identity(parameters: Parameters, *, without: Iterable[str] = ()) -> dict[str, Any]:
    """Return what a result follows from: the parameters and the contents of the inputs, and a hash of both.

    Parameters
    ----------
    parameters : Parameters
        The step's parameters.
    without : iterable of str
        Parameters that do not change the result.
    """
    leave = {"run_dir", "overwrite", "figure_formats", *without}
    made_with = {name: value for name, value in parameters.plain().items() if name not in leave}
    text = json.dumps([made_with, sorted(hashes(parameters).values())], sort_keys=True)
    return {"sha256": hashlib.sha256(text.encode()).hexdigest(), "parameters": made_with}


def content_hash(path: Path) -> str:
    """Return the SHA-256 of a file, or of a folder's file names and contents.

    Files over 256 MiB are represented by their size and 64 evenly spaced megabytes: a long movie must not be read
    whole to learn that nothing has changed.
    """
    digest = hashlib.sha256()
    if not (path.is_dir() or path.is_file()):
        raise InputError(str(path), "a pipe or device", "cannot be read as an input; give a file or folder")
    if path.is_dir():
        for file in sorted(p for p in path.rglob("*") if p.is_file()):
            digest.update(f"{file.relative_to(path)}\0{content_hash(file)}\0".encode())
        return digest.hexdigest()
    size = path.stat().st_size
    with path.open("rb") as stream:
        if size <= _HASH_WHOLE:
            while block := stream.read(2**20):
                digest.update(block)
        else:
            digest.update(str(size).encode())
            for i in range(_SAMPLES):
                stream.seek(i * (size - 2**20) // (_SAMPLES - 1))
                digest.update(stream.read(2**20))
    return digest.hexdigest()


def versions(step: type[Parameters]) -> dict[str, str]:
    """Return the versions of the packages whose change may change a step's result."""
    names = _PACKAGES + step.packages
    found = {"volltrack": importlib.import_module("helpers").__version__}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def device() -> str:
    """Return in words what the step computed on."""
    import sys

    tensorflow = sys.modules.get("tensorflow")
    gpus = tensorflow.config.list_physical_devices("GPU") if tensorflow is not None else []
    cpu = f"{os.cpu_count()} CPU cores ({platform.machine()})"
    return f"{len(gpus)} GPU, {cpu}" if gpus else cpu


def precision(parameters: Parameters) -> str | None:
    """Return what the step's networks computed in, such as ``"bfloat16"``; None where none ran."""
    import sys

    asked = getattr(parameters, "precision", None)
    if asked is None or "tensorflow" not in sys.modules:
        return None
    from helpers.models.precision import resolve

    return resolve(asked)


def write_json(path: Path, content: Any) -> None:
    """Write JSON so that a reader finds either the old file or the whole new one."""
    atomic.write_json(path, _plain(content), indent=2)


def _plain(value: Any) -> Any:
    """Make numpy scalars, paths and tuples plain, and NaN null, as JSON wants them."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [_plain(v) for v in value]
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float) and value != value:
        return None
    return value


def _owner(parameters: Parameters, path: Path) -> str:
    for name, value in parameters:
        if value == path or (isinstance(value, list) and path in value):
            return name
    return "run_dir"


def hint(path: Path) -> str:
    """Say which notebook makes a file of the run folder; nothing where that is not known."""
    makers = {
        "training.npz": "; notebook 03_create_dataset makes it",
        "dataset.json": "; notebook 03_create_dataset makes it",
        "thresholds.json": "; notebook 05_optimize_thresholds makes it",
        "labels.zarr": "; notebook 06_segment, 07_segment_cellpose or 08_segment_remote makes it",
        "objects.csv": "; notebook 06_segment, 07_segment_cellpose or 08_segment_remote makes it",
        "tracks.csv": "; notebook 10_track makes it",
        "cellpose_model": "; train it with notebook 04_train_segmentation (train_cellpose), or name a model",
        "weights_best.h5": "; train the network first (02_train_denoiser or 04_train_segmentation)",
    }
    return makers.get(path.name, "")


def _git_commit() -> str | None:
    root = Path(__file__).resolve().parents[2]
    try:
        out = subprocess.run(
            ["git", "-C", str(root), "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return out.stdout.strip()
