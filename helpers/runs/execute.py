"""One notebook, executed by papermill in a kernel of its own, and its progress followed from outside."""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from helpers.runs.parameters import Parameters

#: Where the notebooks lie: beside the package in a checkout.
NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"

#: Seconds between two lines of progress where the output is not a terminal.
_QUIET_INTERVAL = 20.0


class NotebookError(RuntimeError):
    """A notebook stopped with an error; the message is the notebook's own."""


def execute_notebook(
    step: str, parameters: Parameters, output: Path, *, progress: Path | None = None
) -> None:
    """Execute a notebook with papermill, in a fresh kernel.

    Parameters
    ----------
    step : str
        Notebook name without its ending.
    parameters : Parameters
        Injected after the parameters cell.
    output : Path
        Where the executed notebook is written, also when it fails.
    progress : Path, optional
        File that the notebook's progress bars write their state to.

    Raises
    ------
    NotebookError
        With the error of the cell that failed.
    """
    import papermill
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    log = output.with_name("kernel.log")

    source = NOTEBOOKS / f"{step}.ipynb"
    env = {
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "PYTHONWARNINGS": "ignore",
    }
    if progress is not None:
        env["VOLLTRACK_PROGRESS"] = str(progress)
    before = {k: os.environ.get(k) for k in env}
    os.environ.update(env)
    try:
        papermill.execute_notebook(
            str(source),
            str(output),
            parameters=parameters.plain(),
            kernel_name="python3",
            kernel_manager_class=_kernel_manager(log),
            progress_bar=False,
            cwd=str(Path.cwd()),
        )
    except PapermillExecutionError as error:
        raise NotebookError(_first_line(error.ename, error.evalue)) from None
    except DeadKernelError:
        raise NotebookError(
            f"Python itself was ended, as happens when memory runs out: use smaller patches, batches or tiles ({log})"
        ) from None
    finally:
        for key, value in before.items():
            if value is None:
                os.environ.pop(key, None)
            else:
                os.environ[key] = value


def _first_line(name: str, value: str) -> str:
    return value if name == "InputError" else f"{name}: {value}"


def _kernel_manager(log: Path) -> type:
    """Return a kernel manager that talks over files, not ports, and keeps the kernel's own messages in `log`.

    Ports collide where many kernels start at once; TensorFlow's messages would fill the terminal.
    """
    from jupyter_client.manager import AsyncKernelManager
    from traitlets import default

    class Manager(AsyncKernelManager):
        @default("transport")
        def _files(self) -> str:
            return "tcp" if sys.platform == "win32" else "ipc"

        async def _async_launch_kernel(self, kernel_cmd: list[str], **kw: Any) -> None:
            with log.open("wb") as stream:
                await super()._async_launch_kernel(kernel_cmd, **{**kw, "stderr": stream})

    return Manager


def follow(thread: threading.Thread, state: Path, label: str, say: Callable[[str], None]) -> None:
    """Show the progress that a notebook writes to `state`, until `thread`, which executes it, ends."""
    terminal = sys.stdout.isatty()
    shown, last = "", time.monotonic()
    while thread.is_alive():
        thread.join(timeout=0.5)
        text = _progress_text(state)
        if not text or text == shown:
            continue
        if terminal:
            width = shutil.get_terminal_size().columns - 1
            print(f"\r{f'{label}: {text}'[:width]:<{width}}", end="", flush=True)
            shown = text
        elif time.monotonic() - last > _QUIET_INTERVAL:
            say(f"{label}: {text}")
            shown, last = text, time.monotonic()
    if terminal and shown:
        print("\r" + " " * (shutil.get_terminal_size().columns - 1) + "\r", end="", flush=True)


def _progress_text(state: Path) -> str:
    try:
        now = json.loads(state.read_text())
    except (OSError, json.JSONDecodeError):
        return ""
    text = f"{now['desc']}: {now['unit']} {now['n']:g}"
    if now.get("total"):
        text += f" of {now['total']:g}"
        if now["n"]:
            left = now["elapsed_s"] / now["n"] * (now["total"] - now["n"])
            text += f", about {duration(left)} left"
    return text


def duration(seconds: float) -> str:
    """Return seconds in words."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{int(seconds // 60)} min {int(seconds % 60):02d} s"
