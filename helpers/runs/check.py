"""What is installed, what it can compute on, and what is missing: in words one can act on."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys

#: Package → what it is for. All but those marked optional must be there.
_NEEDED = {
    "numpy": "arrays",
    "tensorflow": "networks (02–06)",
    "csbdeep": "the U-Net (04–06)",
    "stardist": "StarDist (04–06)",
    "n2v": "the denoiser (02)",
    "papermill": "running notebooks in batches",
    "ipywidgets": "progress bars in notebooks",
    "zarr": "label movies",
}
_OPTIONAL = {
    "torch": "Cellpose",
    "cellpose": "Cellpose",
    "napari": "viewing in 3D",
    "traccuracy": "scores of tracks (11)",
    "geff": "track files",
    "jupyterlab": "opening notebooks",
}
#: Least free memory and disk (GiB) for a movie of ordinary size.
_LEAST_MEMORY = 8
_LEAST_DISK = 10

# In a process of its own: a TensorFlow that cannot be loaded must not take the check with it.
# The GPUs' names, and below them what the networks compute in.
_TENSORFLOW = (
    "import tensorflow as tf; print(','.join(d.name for d in tf.config.list_physical_devices('GPU')));"
    "from helpers.models.precision import describe; print(describe())"
)
_TORCH = (
    "import torch; print(','.join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())))"
)


def check() -> tuple[str, bool]:
    """Look at this machine and environment.

    Returns
    -------
    text : str
        What was found, a line each.
    complete : bool
        Whether everything needed is there.
    """
    import psutil

    lines = [
        f"Python {platform.python_version()} on {platform.system()} {platform.machine()}, {os.cpu_count()} CPU cores"
    ]
    missing: list[str] = []
    for package, purpose in {**_NEEDED, **_OPTIONAL}.items():
        try:
            lines.append(f"  {package} {importlib.metadata.version(package)} – {purpose}")
        except importlib.metadata.PackageNotFoundError:
            optional = package in _OPTIONAL
            lines.append(
                f"  {package} is {'not installed (optional)' if optional else 'MISSING'} – {purpose}"
            )
            if not optional:
                missing.append(
                    f"{package} is missing ({purpose}): run 'make install' in the folder of Volltrack"
                )
    for name, code in (("TensorFlow", _TENSORFLOW), ("PyTorch", _TORCH)):
        found, error = _ask(code)
        found, _, precision = found.partition("\n")
        if error:
            lines.append(f"{name} cannot be loaded: {error}")
            if name == "TensorFlow":
                missing.append("TensorFlow cannot be loaded: run 'make install' again in a new folder")
        elif found:
            lines.append(f"{name} sees the GPU {found}")
        else:
            lines.append(f"{name} sees no GPU: training works, but takes many times longer than with one")
        if precision:
            lines.append(f"  networks compute in {precision}")
    if shutil.which("nvidia-smi") and "TensorFlow sees the GPU" not in "\n".join(lines):
        missing.append("there is an NVIDIA GPU that TensorFlow does not see: run 'make install GPU=1'")
    memory = psutil.virtual_memory().available / 2**30
    disk = shutil.disk_usage(".").free / 2**30
    lines.append(f"free memory {memory:.1f} GiB, free disk here {disk:.1f} GiB")
    if memory < _LEAST_MEMORY:
        missing.append(
            f"only {memory:.1f} GiB of memory are free: close other programs, or use smaller patches and batches"
        )
    if disk < _LEAST_DISK:
        missing.append(f"only {disk:.1f} GiB of disk are free: training sets and label movies need more")
    lines += [f"TO DO: {line}" for line in missing] or ["Everything needed is there."]
    return "\n".join(lines), not missing


def _ask(code: str) -> tuple[str, str]:
    env = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    try:
        out = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=180, env=env
        )
    except subprocess.TimeoutExpired:
        return "", "it does not answer within three minutes"
    if out.returncode:
        return "", (out.stderr.strip().splitlines() or [f"it crashed with status {out.returncode}"])[-1]
    return out.stdout.rstrip(), ""
