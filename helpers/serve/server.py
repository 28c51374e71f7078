"""A server inside this process."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from helpers.errors import InputError
from helpers.serve import grpc_door, http_door
from helpers.serve.access import LOCAL, Certificate
from helpers.serve.service import NO_MODEL, Limits, ServedModel, Service


@dataclass
class Server:
    """A running server; leave its ``with`` block, or call `stop`, to end it.

    Attributes
    ----------
    service : Service
    grpc_port, http_port : int or None
        None: that door is closed.
    ended : threading.Event
        Set to let `wait` return.
    """

    service: Service
    grpc_port: int | None = None
    http_port: int | None = None
    _grpc: Any = None
    _http: http_door.HttpDoor | None = None
    ended: threading.Event = field(default_factory=threading.Event)

    def stop(self, grace_s: float = 2.0) -> None:
        """End it; what is being answered has `grace_s` seconds left."""
        if self._grpc is not None:
            self._grpc.stop(grace_s).wait()
        if self._http is not None:
            self._http.stop(grace_s)
        self.ended.set()

    def wait(self) -> None:
        """Return once it was stopped, or `ended` was set."""
        self.ended.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop(0.0)


def start(
    model: ServedModel | None,
    *,
    grpc_port: int | None = 0,
    http_port: int | None = None,
    models: Path | None = None,
    host: str = LOCAL,
    token: str | None = None,
    tls: Certificate | None = None,
    limits: Limits | None = None,
) -> Server:
    """Start a server in this process, and return while it runs.

    Parameters
    ----------
    model : ServedModel or None
        What it segments with over gRPC.
    grpc_port : int, optional
        Port of the gRPC door; 0: any free one.
    http_port : int, optional
        Port of the HTTP door, where models are trained; 0: any free one.
    models : Path, optional
        Folder of the models that are trained; by default ``~/.volltrack/models``.
    host : str
        Address to listen at.
    token : str, optional
        What clients must send; None: nothing, on 127.0.0.1 only.
    tls : Certificate, optional
        None: not encrypted.
    limits : Limits, optional

    Raises
    ------
    InputError
        If a port is taken, or there is no token where others can reach the server.
    """
    if token is None and host not in (LOCAL, "localhost", "::1"):
        raise InputError(
            "--no-token", host, f"a token, where other machines reach the server; or host {LOCAL}"
        )
    if model is None and grpc_port is not None:
        raise InputError("--grpc", grpc_port, "a model to serve: --model RUN or --cellpose NAME")
    service = Service(model or NO_MODEL, limits or Limits())
    server = Server(service)
    if grpc_port is not None:
        server._grpc, server.grpc_port = grpc_door.open_door(
            service, host=host, port=grpc_port, token=token, tls=tls
        )
    if http_port is not None:
        folder = models or Path.home() / ".volltrack" / "models"
        try:
            server._http = http_door.open_door(
                service, host=host, port=http_port, models=folder, token=token, tls=tls
            )
        except InputError:
            server.stop(0.0)
            raise
        server.http_port = server._http.port
    return server
