"""One notebook, executed by papermill in a kernel of its own."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from helpers.errors import InputError
from helpers.runs.forkserver import is_forked
from helpers.runs.parameters import Parameters
from helpers.runs.sample import IN_EXPERIMENT

#: Where the notebooks lie: beside the package in a checkout.
NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"

#: Bytes that the folder of a socket may be long: its whole path has 103 on macOS, 107 on Linux.
_LONGEST = 90


class NotebookError(RuntimeError):
    """A notebook stopped with an error; the message is the notebook's own."""


def require_notebooks() -> None:
    """Refuse to run where the package was installed without its notebooks.

    Raises
    ------
    InputError
        Saying how to install it with them.
    """
    if not NOTEBOOKS.is_dir():
        raise InputError(
            "notebooks",
            NOTEBOOKS,
            "missing: clone the repository and install it with pip install --editable .",
        )


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
    with without_grammar_of_addresses():
        import papermill
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    log = output.with_name("kernel.log")
    with temporary_files() as own:
        env = {
            "MPLBACKEND": "module://matplotlib_inline.backend_inline",
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "PYTHONWARNINGS": "ignore",
            "IPYTHONDIR": str(own),  # kernels side by side must not share a history
            IN_EXPERIMENT: step,
        }
        if progress is not None:
            env["VOLLTRACK_PROGRESS"] = str(progress)
        before = {k: os.environ.get(k) for k in env}
        os.environ.update(env)
        try:
            papermill.execute_notebook(
                _verbatim(NOTEBOOKS / f"{step}.ipynb"),
                _verbatim(output),
                parameters=parameters.plain(),
                kernel_name="python3",
                kernel_manager_class=kernel_manager(log, own),
                progress_bar=False,
                cwd=str(Path.cwd()),
            )
        except PapermillExecutionError as error:
            raise NotebookError(_first_line(error.ename, error.evalue)) from None
        except DeadKernelError:
            raise NotebookError(
                "Python itself was ended, as happens when memory runs out: use smaller patches, batches or tiles "
                f"({log})"
            ) from None
        finally:
            for key, value in before.items():
                if value is None:
                    os.environ.pop(key, None)
                else:
                    os.environ[key] = value


@contextlib.contextmanager
def temporary_files() -> Iterator[Path]:
    """Give this process, and those it starts, a folder for temporary files that goes with the block.

    TensorFlow would leave some behind in that of the system.
    """
    before = tempfile.tempdir, os.environ.get("TMPDIR")
    # A short name: the sockets of kernels lie below it.
    with tempfile.TemporaryDirectory(prefix="vt-", ignore_cleanup_errors=True) as own:
        tempfile.tempdir = os.environ["TMPDIR"] = own
        try:
            yield Path(own)
        finally:
            tempfile.tempdir = before[0]
            os.environ.pop("TMPDIR")
            os.environ.update({} if before[1] is None else {"TMPDIR": before[1]})


@contextlib.contextmanager
def without_grammar_of_addresses() -> Iterator[None]:
    """Let jsonschema be imported without rfc3987_syntax, where that is installed.

    It compiles a grammar of internationalised web addresses, which no notebook's schema has: two thirds of the time in
    which a step starts.
    """
    known = "rfc3987_syntax" in sys.modules
    sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type] - an import of it fails
    try:
        yield
    finally:
        if not known:
            del sys.modules["rfc3987_syntax"]


def _verbatim(path: Path) -> str:
    """Return a path as papermill takes it, which would fill in what stands in braces."""
    return str(path).replace("{", "{{").replace("}", "}}")


def _first_line(name: str, value: str) -> str:
    return value if name == "InputError" else f"{name}: {value}"


def kernel_manager(log: Path, own: Path) -> type:
    """Return a kernel manager that talks over files, not ports, and keeps the kernel's own messages in `log`.

    The kernel ends with this process. Ports collide where many kernels start at once; TensorFlow's messages would fill the terminal.
    """
    from jupyter_client.manager import AsyncKernelManager
    from traitlets import default

    class Manager(AsyncKernelManager):
        @default("transport")
        def _files(self) -> str:
            long = len(os.fsencode(own)) > _LONGEST
            return "tcp" if long or sys.platform == "win32" else "ipc"

        @default("ip")
        def _place(self) -> str:
            return "127.0.0.1" if self.transport == "tcp" else str(own / "kernel")

        async def _async_launch_kernel(self, kernel_cmd: list[str], **kw: Any) -> None:
            if (start := "ipykernel_launcher") in kernel_cmd:
                place = kernel_cmd.index(start)
                by_server = ["helpers.runs.forkserver"] if is_forked() else []
                kernel_cmd = [
                    *kernel_cmd[:place],
                    *by_server,
                    "helpers.runs.kernel",
                    str(os.getpid()),
                    *kernel_cmd[place + 1 :],
                ]
            with log.open("wb") as stream:
                await super()._async_launch_kernel(kernel_cmd, **{**kw, "stderr": stream})

    return Manager
