"""The HTTP server: its port, certificate and thread."""

from __future__ import annotations

import ipaddress
import socket
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from helpers.errors import InputError
from helpers.serve.access import Certificate
from helpers.serve.service import Service


@dataclass
class HttpDoor:
    """A running HTTP server.

    Attributes
    ----------
    port : int
    """

    port: int
    _server: Any
    _thread: threading.Thread
    _models: Any
    _ending: threading.Event
    _store: tempfile.TemporaryDirectory[str]

    def stop(self, grace_s: float) -> None:
        """End it: trainings at once, what else is answered in `grace_s` seconds."""
        self._ending.set()
        self._server.should_exit = True
        self._thread.join(grace_s + 1)
        self._server.force_exit = True
        self._thread.join(10)
        self._models.close()
        self._store.cleanup()


def open_door(
    service: Service, *, host: str, port: int, models: Path, token: str | None, tls: Certificate | None
) -> HttpDoor:
    """Start an HTTP server in a thread.

    Parameters
    ----------
    service : Service
    host : str
    port : int
        0: any free one.
    models : Path
        Folder of the models that are trained.
    token : str or None
        None: no token is asked for.
    tls : Certificate or None

    Raises
    ------
    InputError
        If the port is taken, the folder or the certificate cannot be used, or packages are missing.
    """
    try:
        import uvicorn

        from helpers.serve.http_calls import application
    except ImportError as error:
        raise InputError("--http", port, f"the packages of the extra 'serve' ({error})") from None
    from helpers.serve.gate import Gate
    from helpers.serve.trained_models import TrainedModels

    if tls is not None:
        tls.read()
    listening = _listen(host, port)
    ending = threading.Event()
    try:
        trained = TrainedModels(models)
    except InputError:
        listening.close()
        raise
    store = tempfile.TemporaryDirectory(prefix="volltrack-jobs-", ignore_cleanup_errors=True)
    config = uvicorn.Config(
        Gate(application(service, trained, Path(store.name), ending), token, service.limits),
        http="h11", ws="none", lifespan="off", log_config=None, access_log=False, server_header=False,
        timeout_graceful_shutdown=2,
        ssl_certfile=None if tls is None else str(tls.certificate), ssl_keyfile=None if tls is None else str(tls.key),
    )  # fmt: skip
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listening],), name="http", daemon=True)
    thread.start()
    while not server.started and thread.is_alive():
        thread.join(0.02)
    return HttpDoor(listening.getsockname()[1], server, thread, trained, ending, store)


def _listen(host: str, port: int) -> socket.socket:
    try:
        six = ipaddress.ip_address(host).version == 6
    except ValueError:
        six = False
    listening = socket.socket(socket.AF_INET6 if six else socket.AF_INET)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise InputError(
            "--http", port, f"a port that is free at {host} ({error.strerror or error})"
        ) from None
    return listening
