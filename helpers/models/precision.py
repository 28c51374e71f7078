"""What the networks compute in: 16 bits where the processor is built for them, float32 elsewhere.

Weights stay in float32, and so does each network's last layer, which has few weights and says what is
thresholded: sixteen bits tell probabilities near 1 apart in steps of 0.004 only. What a model is made for is
the model's alone; models of both precisions live side by side in one process.

    processor                                  "auto" is
    CPU with AMX or AVX512-BF16                bfloat16
    GPU of compute capability 8.0 and above    bfloat16
    GPU of 7.0 and above (tensor cores)        float16, with loss scaling in training
    any other                                  float32: 16 bits are emulated, several times slower

References
----------
Micikevicius et al., Mixed precision training, ICLR 2018. Kalamkar et al., A study of BFLOAT16 for deep learning
training, arXiv:1905.12322.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

#: Flags in /proc/cpuinfo → what the instructions are called.
_CPU_FLAGS = {"amx_bf16": "AMX", "avx512_bf16": "AVX512-BF16"}
_CPU_INFO = Path("/proc/cpuinfo")
_POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}


def resolve(precision: str) -> str:
    """Return what ``"auto"`` means on this machine: ``"float32"``, ``"bfloat16"`` or ``"float16"``.

    Any other `precision` is returned as it is.
    """
    return _of_this_machine()[0] if precision == "auto" else precision


def describe() -> str:
    """Return in words what ``"auto"`` means on this machine, and why."""
    chosen, why = _of_this_machine()
    return f"{chosen} ({why})"


def cpu_has_bfloat16() -> bool:
    """Return whether this CPU has instructions for bfloat16, and TensorFlow may use them."""
    return bool(_bfloat16_instructions()) and os.environ.get("TF_ENABLE_ONEDNN_OPTS") != "0"


@contextlib.contextmanager
def layers_of(precision: str) -> Iterator[None]:
    """Build the layers of a network for a precision: ``"float32"``, ``"bfloat16"``, ``"float16"`` or ``"auto"``."""
    import keras

    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(_POLICIES[resolve(precision)])
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def keep_outputs_in_float32(net: Any) -> None:
    """Let the last layers of a network compute in float32: those with weights, and what follows them.

    Parameters
    ----------
    net : keras.Model
        A functional model, changed in place.
    """
    waiting = [output._keras_history.operation for output in net.outputs]
    while waiting:
        layer = waiting.pop()
        layer.dtype_policy = "float32"
        if not layer.weights:
            inputs = [tensor for node in layer._inbound_nodes for tensor in node.input_tensors]
            waiting += [tensor._keras_history.operation for tensor in inputs]


def _of_this_machine() -> tuple[str, str]:
    import tensorflow as tf

    details = [
        tf.config.experimental.get_device_details(gpu) for gpu in tf.config.list_physical_devices("GPU")
    ]
    if details:
        weakest = min(details, key=lambda d: d.get("compute_capability", (0, 0)))
        capability = weakest.get("compute_capability", (0, 0))
        kind = "bfloat16" if capability >= (8, 0) else "float16" if capability >= (7, 0) else "float32"
        number = ".".join(map(str, capability))
        return kind, f"{weakest.get('device_name', 'GPU')}, compute capability {number}"
    if cpu_has_bfloat16():
        return "bfloat16", f"this CPU has {' and '.join(_bfloat16_instructions())}"
    return "float32", "this CPU has neither AMX nor AVX512-BF16, or oneDNN is off"


def _bfloat16_instructions() -> list[str]:
    with contextlib.suppress(OSError):
        lines = _CPU_INFO.read_text(encoding="utf-8").splitlines()
        flags = next((line for line in lines if line.startswith("flags")), "").split()
        return [name for flag, name in _CPU_FLAGS.items() if flag in flags]
    return []
