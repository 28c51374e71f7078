"""Jobs and kernels that need not begin at the beginning: they are forked from a process that has imported what they need.

To start Python and to import is most of what a notebook without networks takes::

    scheduler ── forkserver ── job, kernel, job, kernel …        this process imports once, and forks
        └─ … forkserver helpers.runs.job NAME                    what Snakemake starts: asks for the fork, and waits for it
               └─ … forkserver helpers.runs.kernel …             what the job starts, likewise

Who asks stands for what was forked: it ends with its parent, passes signals on, its death ends the fork, and it ends as the fork
did. Where there is no server (on a cluster, on macOS and Windows, or if it was ended) it does the work itself. Networks are not
run by forks: their libraries start threads, and look at the environment when they are imported. `multiprocessing.forkserver`
serves only the process that started it, and hands on neither environment, folder nor streams.
"""

from __future__ import annotations

import ast
import contextlib
import gc
import importlib
import json
import os
import secrets
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

from helpers.runs.endings import die_with_parent, end_children

#: Variables of the environment: where the server is found, and which process was forked from it.
_ADDRESS, _FORKED = "VOLLTRACK_FORKSERVER", "VOLLTRACK_FORKED"
#: What jobs import, their kernels, and functions of ours when they are called. Nothing that looks for IPython when it is imported.
_MODULES = (
    "helpers.runs.job",
    "papermill",
    "nbclient",
    "jupyter_client.manager",
    "ipykernel.kernelapp",
    "matplotlib.backends.backend_agg",
    "matplotlib.patheffects",
    "numba",
    "pandas",
    "pyarrow",
    "scipy.ndimage",
    "scipy.optimize",
    "scipy.sparse.csgraph",
    "scipy.spatial",
    "scipy.stats",
    "skimage.color",
    "skimage.measure",
    "geff",
    "imagecodecs._imcd",
    "imagecodecs._deflate",
    "tifffile",
    "zarr",
)
#: What the server says when it begins to serve; where it has ended before, nothing is lost.
_READY = b"?"
#: The server says nothing, and Arrow's memory starts no thread.
_CALM = {"PYTHONWARNINGS": "ignore", "JE_ARROW_MALLOC_CONF": "background_thread:false"}
#: What the libraries look at, most when they are imported, to learn how many threads they may start.
THREADS = (
    *(
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "MKL_NUM_THREADS",
        "NUMBA_NUM_THREADS",
        "NUMEXPR_NUM_THREADS",
    ),
    *("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"),
)


def is_forked() -> bool:
    """Whether this process was forked from the server, and so what it starts may be."""
    return os.environ.get(_FORKED) == str(os.getpid())


def settings(batch: Path) -> dict[str, str]:
    """Return the variables that name the folder of a batch in which libraries keep settings, else in the home folder."""
    return dict.fromkeys(("MPLCONFIGDIR", "KERAS_HOME"), str(batch / "settings"))


def start(steps: Iterable[str], batch: Path) -> subprocess.Popen[bytes] | None:
    """Start the server as a child of this process, with which it ends; the processes that this one starts find it.

    Parameters
    ----------
    steps : iterable of str
        Notebooks that will be executed, on one thread each; what their cells import is imported once.
    batch : Path
        Folder of the batch, in which matplotlib finds its fonts, unless the environment names another.

    Returns
    -------
    subprocess.Popen or None
        The server, which does not end by itself; None where a system has none of what it needs.
    """
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError):  # not Linux, or an old one
        return None
    name = f"volltrack-{secrets.token_hex(16)}"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"\0{name}")  # lies in no folder, and is gone with the server
        listening.listen(128)
        number = listening.fileno()
        server = subprocess.Popen(
            [sys.executable, "-m", __name__, "--serve", str(os.getpid()), str(number), *steps],
            env={**settings(batch), **os.environ, **dict.fromkeys(THREADS, "1"), **_CALM},
            pass_fds=[number],
            stdin=subprocess.DEVNULL,
        )
    os.environ[_ADDRESS] = name
    return server


def main(arguments: Sequence[str]) -> Any:
    """Have a module's ``main(arguments)`` run by a fork, or run it here where there is no server; return its exit status."""
    if arguments[0] == "--serve":
        parent, number, *steps = arguments[1:]
        module, *given = _serve(int(parent), socket.socket(fileno=int(number)), steps)
    else:
        module, *given = arguments
        name = os.environ.get(_ADDRESS)
        if name and (ended := _ask(name, module, given)) is not None:
            return ended
    return importlib.import_module(module).main(given)


def _ask(name: str, module: str, arguments: Sequence[str]) -> int | None:
    """Have a module run by a fork, and return its exit status; None where there is no server."""
    with socket.socket(socket.AF_UNIX) as server:
        try:
            server.connect(f"\0{name}")
            if not (_of_this_user(server) and server.recv(1) == _READY):
                return None
        except OSError:
            return None
        die_with_parent(os.getppid())
        asked = {
            "module": module,
            "arguments": [*arguments],
            "folder": os.getcwd(),
            "environment": {**os.environ},
        }
        text = json.dumps(asked).encode()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda number, _: server.sendall(bytes([number])))
        try:
            socket.send_fds(server, [struct.pack("!Q", len(text))], [0, 1, 2])
            server.sendall(text)
            answer = server.recv(4)
        except OSError:
            answer = b""
    if not answer:  # the server has ended, and with it the fork
        return 128 + signal.SIGKILL
    (status,) = struct.unpack("!i", answer)
    return status if status >= 0 else 128 - status


def _serve(parent: int, listening: socket.socket, steps: Sequence[str]) -> list[str]:
    """Fork for whoever asks; returns only in a fork, with the module and arguments that it has to run."""
    die_with_parent(parent)
    _import(steps)
    gc.collect()
    gc.freeze()  # so that collections in forks do not touch, and thereby copy, what they share
    if len(os.listdir("/proc/self/task")) > 1:
        sys.exit("a library has started a thread, which a fork would lose: jobs start by themselves")
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    server = os.getpid()
    while True:
        connection, _ = listening.accept()
        if os.fork() == 0:
            listening.close()
            return _fork(connection, server)
        connection.close()


def _fork(connection: socket.socket, server: int) -> list[str]:
    """Fork what is asked for, and become that; this process itself watches it and who asked, and never returns."""
    die_with_parent(server)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if not _of_this_user(connection):
        os._exit(1)
    connection.sendall(_READY)
    length, streams, _, _ = socket.recv_fds(connection, 8, 3)
    if not length:  # who asked has ended already
        os._exit(0)
    asked = json.loads(_received(connection, *struct.unpack("!Q", length)))
    keeper = os.getpid()
    if pid := os.fork():
        _keep(connection, pid)
    die_with_parent(keeper)
    connection.close()
    os.setsid()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update({**asked["environment"], _FORKED: str(os.getpid())})
    tempfile.tempdir = None
    sys.argv[:] = [asked["module"], *asked["arguments"]]
    importlib.import_module("numpy").random.seed()  # or all forks would draw the same numbers
    return [asked["module"], *asked["arguments"]]


def _of_this_user(connection: socket.socket) -> bool:
    """Whether the process at the other end is this user's: names of sockets are no secret on a machine."""
    who = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return struct.unpack("3i", who)[1] == os.getuid()


def _received(connection: socket.socket, size: int) -> bytes:
    """Return so many bytes; fewer only where who sends them has ended."""
    parts = bytearray()
    while len(parts) < size and (part := connection.recv(size - len(parts))):
        parts += part
    return bytes(parts)


def _keep(connection: socket.socket, pid: int) -> NoReturn:
    """Pass signals on to a fork until it ends, and tell how; end it with who asked for it."""
    ends = os.pidfd_open(pid)
    while ends not in (ready := select.select([connection, ends], [], [])[0]):
        if ready and (number := connection.recv(1)):
            os.kill(pid, number[0])
        else:
            end_children()
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    with contextlib.suppress(OSError):  # nobody asks any more
        connection.sendall(struct.pack("!i", status))
    os._exit(0)


def _import(steps: Sequence[str]) -> None:
    """Import what notebooks and those that execute them do; what is missing, they will say themselves."""
    from helpers.runs.execute import NOTEBOOKS, without_grammar_of_addresses

    with without_grammar_of_addresses():
        for module in (
            *_MODULES,
            *(name for step in steps for name in _imported(NOTEBOOKS / f"{step}.ipynb")),
        ):
            with contextlib.suppress(Exception):
                importlib.import_module(module)


def _imported(notebook: Path) -> Iterator[str]:
    """Yield the modules that a notebook's cells import."""
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        try:
            lines = ast.parse("".join(cell["source"])).body if cell["cell_type"] == "code" else []
        except SyntaxError:  # a command of IPython's
            continue
        for line in lines:
            if isinstance(line, ast.ImportFrom) and line.module:
                yield line.module
                yield from (f"{line.module}.{alias.name}" for alias in line.names)  # where it is a module
            elif isinstance(line, ast.Import):
                yield from (alias.name for alias in line.names)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
