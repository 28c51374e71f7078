"""What TensorFlow may use: its quiet start, the GPU's memory, and how much memory is free."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
from collections.abc import Iterator

import psutil


def prepare_tensorflow() -> None:
    """Import TensorFlow quietly and let it take GPU memory as it needs it, not all at once.

    Two trainings can then share a GPU. Without a GPU nothing changes.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with _silent_errors():
        import tensorflow as tf

        gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        # RuntimeError: TensorFlow has started already, and memory growth cannot be changed any more.
        with contextlib.suppress(RuntimeError):
            tf.config.experimental.set_memory_growth(gpu, True)


def free_memory() -> int:
    """Return the bytes free where the networks run: on the GPU if there is one, else in main memory."""
    import tensorflow as tf

    if tf.config.list_physical_devices("GPU"):
        query = ["nvidia-smi", "--query-gpu=memory.free", "--format=csv,noheader,nounits"]
        first = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0]
        query += [f"--id={first}"] if first else []
        try:
            shown = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True).stdout
            return int(shown.split()[0]) * 2**20
        except (OSError, subprocess.SubprocessError, ValueError, IndexError):
            return 4 * 2**30  # what the smallest GPUs in use have
    return psutil.virtual_memory().available


@contextlib.contextmanager
def _silent_errors() -> Iterator[None]:
    """Swallow what compiled code writes to standard error, as TensorFlow does before it looks at its log level."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Swallow what csbdeep and StarDist print to standard output."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield
