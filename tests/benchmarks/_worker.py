"""Run one function on stored inputs and write down its times, its peak memory and its result.

Started by `_harness` in a process of its own, in the environment under measurement; therefore nothing but
the standard library and numpy is imported here.
"""

from __future__ import annotations

import importlib.util
import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]


def _status_mb(key: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) / 1024
    raise KeyError(key)


def _reset_peak() -> bool:
    """Make the kernel forget the peak so far (Linux); False where it cannot."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
        return _status_mb("VmHWM") <= _status_mb("VmRSS") * 1.05 + 1
    except (OSError, KeyError):
        return False


def _load(target: str) -> Callable[..., Any]:
    file, _, name = target.partition(":")
    path = Path(file).resolve()
    sys.path[:0] = [str(path.parent), str(ROOT)]
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return getattr(module, name)


def main() -> None:
    """Read the order from the first argument (JSON) and write what it asks for."""
    order = json.loads(sys.argv[1])
    function = _load(order["target"])
    folder = Path(order["folder"])
    inputs = {path.stem: np.load(path) for path in sorted(Path(order["inputs"]).glob("*.npy"))}
    inputs |= order["settings"]

    def fresh() -> dict[str, Any]:
        # A peer that edits its inputs in place must not change what the next run sees.
        return {k: v.copy() if isinstance(v, np.ndarray) and v.ndim else v for k, v in inputs.items()}

    result: Any = None
    for _ in range(order["warmups"]):
        result = function(**fresh())
    seconds, peaks = [], []
    for _ in range(order["repeats"]):
        result = None
        arguments = fresh()
        can_reset = _reset_peak()
        before = _status_mb("VmRSS") if can_reset else 0.0
        start = time.perf_counter()
        result = function(**arguments)
        seconds.append(time.perf_counter() - start)
        if can_reset:
            peaks.append(_status_mb("VmHWM") - before)
    if not peaks:
        peaks = [resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]
    if isinstance(result, np.ndarray):
        np.save(folder / "result.npy", result)
    elif isinstance(result, dict):
        for key, value in result.items():
            np.save(folder / f"result.{key}.npy", np.asarray(value))
    (folder / "measured.json").write_text(json.dumps({"seconds": seconds, "peak_mb": peaks}))


if __name__ == "__main__":
    main()
