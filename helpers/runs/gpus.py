"""The GPUs of this machine, one for each job that runs networks.

Snakemake counts how many such jobs run at once, but does not say which device is whose. A job takes the first one that
no other holds, by a lock that the operating system frees when the job ends, however it ends.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from filelock import FileLock, Timeout

from helpers.errors import InputError

#: Seconds between two looks for a free GPU.
_LOOK = 0.2


def gpus_to_use(number: int | None = None) -> tuple[str, ...]:
    """Return the GPUs that jobs may use, by the names that ``CUDA_VISIBLE_DEVICES`` takes.

    Parameters
    ----------
    number : int, optional
        How many; by default all that are present, or that ``CUDA_VISIBLE_DEVICES`` leaves of them.

    Raises
    ------
    InputError
        If there are not so many.
    """
    found = _present()
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if found and chosen is not None:
        found = tuple(name.strip() for name in chosen.split(",") if name.strip() not in ("", "-1"))
    if number is not None and number > len(found):
        raise InputError("gpus", number, f"at most the {len(found)} that are present (nvidia-smi -L)")
    return found[:number]


def _present() -> tuple[str, ...]:
    try:
        shown = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=20).stdout
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(str(k) for k in range(sum(line.startswith("GPU ") for line in shown.splitlines())))


@contextlib.contextmanager
def gpu_of_its_own(gpus: Sequence[str], batch: Path) -> Iterator[str | None]:
    """Let this process, and those it starts, see one of the GPUs that no other job of the run has.

    Parameters
    ----------
    gpus : sequence of str
        To choose from. Empty: nothing is changed.
    batch : Path
        ``<run_dir>/.batch``.

    Yields
    ------
    str or None
        The GPU.
    """
    if not gpus:
        yield None
        return
    folder = batch / "gpus"
    folder.mkdir(exist_ok=True)
    lock = None
    while lock is None:
        # One that is not free yet belongs to a job that is about to end.
        lock = next(filter(None, (_take(folder, gpu) for gpu in gpus)), None)
        if lock is None:
            time.sleep(_LOOK)
    # nvidia-smi counts by PCI bus, CUDA otherwise from the fastest.
    gpu = Path(lock.lock_file).stem
    os.environ.update(CUDA_DEVICE_ORDER="PCI_BUS_ID", CUDA_VISIBLE_DEVICES=gpu)
    try:
        yield gpu
    finally:
        lock.release()


def _take(folder: Path, gpu: str) -> FileLock | None:
    lock = FileLock(folder / f"{gpu}.lock")
    with contextlib.suppress(Timeout):
        lock.acquire(timeout=0)
        return lock
    return None
