"""What a step leaves behind: noted when it ends, looked for before it is believed, and read whole before it is used.

``done.json`` holds each file's size, the time of its last change and a checksum, by its path in the run folder. That a file
is there, and has not been touched, is seen without reading it; a checksum tells whether it has changed all the same.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from helpers.data.atomic import is_unfinished
from helpers.errors import InputError
from helpers.runs.parameters import STEPS, Parameters

#: Variable of the environment that holds the command of the run that a notebook belongs to.
COMMAND = "VOLLTRACK_COMMAND"
#: Files that people may edit, and that say themselves what is wrong with them: they need only be there.
_EDITABLE = ("config.json", "training.json", "thresholds*.json")
#: Ending of the name under which a changed file is kept before its step makes it again.
CHANGED = ".changed"


class Difference(NamedTuple):
    """A file that is not as a step left it.

    Attributes
    ----------
    path : Path
    what : {"missing", "changed"}
    """

    path: Path
    what: str

    def __str__(self) -> str:
        return (
            f"{self.path} is missing"
            if self.what == "missing"
            else f"{self.path} has changed since it was written"
        )


def checksum(content: bytes | memoryview) -> str:
    """Return a short checksum (BLAKE2b, 64 bits): it finds damage, and is no defence against malice."""
    return hashlib.blake2b(content, digest_size=8).hexdigest()


def file_checksum(path: Path) -> str:
    """Return the `checksum` of a file's content, a megabyte in memory at a time."""
    digest = hashlib.blake2b(digest_size=8)
    with path.open("rb") as stream:
        while block := stream.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def record(parameters: Parameters) -> dict[str, list[Any] | None]:
    """Return what ``done.json`` keeps of each file that a step has made.

    Parameters
    ----------
    parameters : Parameters
        Of the step; its `outputs` name the files and folders.

    Returns
    -------
    dict
        Path in the run folder → size in bytes, time of the last change in ns, checksum; None for what may be edited.
    """
    found: dict[str, list[Any] | None] = {}
    for file in _files(parameters):
        name = file.relative_to(parameters.run_dir).as_posix()
        stat = file.stat()
        editable = any(map(file.match, _EDITABLE))
        found[name] = None if editable else [stat.st_size, stat.st_mtime_ns, file_checksum(file)]
    return found


def differences(run_dir: Path, outputs: Mapping[str, Any], *, verify: bool = False) -> Iterator[Difference]:
    """Yield the files that are gone, or not as a step left them.

    Parameters
    ----------
    run_dir : Path
        The run folder.
    outputs : mapping
        What `record` returned.
    verify : bool
        Compare the checksum of every file; by default of those only that were written to since.
    """
    for name, known in outputs.items():
        path = run_dir / name
        try:
            stat = path.stat()
        except OSError:
            yield Difference(path, "missing")
            continue
        if known is None:
            continue
        size, changed, digest = known
        untouched = (stat.st_size, stat.st_mtime_ns) == (size, changed)
        if stat.st_size != size or ((verify or not untouched) and file_checksum(path) != digest):
            yield Difference(path, "changed")


def check_inputs(parameters: Parameters) -> None:
    """Refuse to read what an earlier step has written and is damaged.

    Raises
    ------
    InputError
        Naming the file, and the command that makes it again.
    """
    run_dir = parameters.run_dir
    for path in parameters.inputs():
        if not path.is_relative_to(run_dir):
            continue
        for step, outputs in _makers(run_dir, path):
            inside = {name: known for name, known in outputs.items() if (run_dir / name).is_relative_to(path)}
            for wrong in differences(run_dir, inside, verify=True):
                raise InputError(str(wrong.path), wrong.what, f"is not what {step} wrote: {mending(step)}")


def mending(step: str) -> str:
    """Say how to have a step make again what is damaged."""
    command = os.environ.get(COMMAND)
    how = f"run {command}" if command else f"run notebook {step} again, or the experiment it belongs to"
    return f"{how}; what is whole is kept"


def set_aside(parameters: Parameters, outputs: Mapping[str, Any]) -> list[Path]:
    """Keep the files that were changed by hand or damaged beside those that the step makes again.

    What lies in a folder of a format, such as the chunks of a movie, stays where it is.

    Returns
    -------
    list of Path
        Their new names.
    """
    single = {path for path in _matches(parameters) if path.is_file()}
    kept = []
    for path, what in differences(parameters.run_dir, outputs, verify=True):
        if what == "changed" and path in single:
            kept.append(path.with_name(path.name + CHANGED))
            os.replace(path, kept[-1])
    return kept


def _makers(run_dir: Path, path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the steps that may have made a file, with all that they made."""
    from helpers.runs.run import read_done

    parts = path.relative_to(run_dir).parts
    movie = f"-{parts[1]}" if len(parts) > 1 and parts[0] == "movies" else ""
    for step in STEPS:
        if done := read_done(run_dir / "steps" / f"{step}{movie}"):
            yield step, done["outputs"]


def _matches(parameters: Parameters) -> Iterator[Path]:
    for path in parameters.outputs():
        found = path.parent.glob(path.name) if "*" in path.name else [path]
        yield from (one for one in sorted(found) if one.exists() and not one.name.endswith(CHANGED))


def _files(parameters: Parameters) -> Iterator[Path]:
    for path in _matches(parameters):
        if path.is_file():
            yield path
            continue
        for folder, below, names in os.walk(path):
            below[:] = sorted(name for name in below if not is_unfinished(name))
            yield from (Path(folder, name) for name in sorted(names) if not is_unfinished(name))
