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
    import tensorflow as tf

    for gpu in tf.config.list_physical_devices("GPU"):
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
def quiet() -> Iterator[None]:
    """Swallow what csbdeep and StarDist print to standard output."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield


def has_fast_bfloat16() -> bool:
    """Return whether the GPU, or the CPU where there is none, computes with bfloat16 faster than with float32.

    Where it does not, bfloat16 is emulated and several times slower.
    """
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
        return all(d.get("compute_capability", (0, 0)) >= (8, 0) for d in details)
    return cpu_has_bfloat16()


def cpu_has_bfloat16() -> bool:
    """Return whether this CPU has instructions for bfloat16."""
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as file:
        flags = next((line for line in file if line.startswith("flags")), "")
        return not {"avx512_bf16", "amx_bf16"}.isdisjoint(flags.split())
    return False


@contextlib.contextmanager
def layers_of(precision: str) -> Iterator[None]:
    """Build the layers of a network for a precision: ``"float32"``, ``"bfloat16"``, or ``"auto"``.

    With bfloat16 the weights stay in float32; only what is computed from them has 16 bits. ``"auto"`` is
    bfloat16 where that is faster (`has_fast_bfloat16`).
    """
    import keras

    before = keras.config.dtype_policy()
    fast = precision == "bfloat16" or (precision == "auto" and has_fast_bfloat16())
    keras.config.set_dtype_policy("mixed_bfloat16" if fast else "float32")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
