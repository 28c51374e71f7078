"""The gRPC server: its port, token, certificate, health and reflection."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from helpers.errors import InputError
from helpers.serve.access import Certificate, refusal
from helpers.serve.detection import SERVICE, Detection
from helpers.serve.service import Service

_OPEN = f"/{health.SERVICE_NAME}/"


def open_door(
    service: Service, *, host: str, port: int, token: str | None, tls: Certificate | None
) -> tuple[grpc.Server, int]:
    """Start a gRPC server.

    Parameters
    ----------
    service : Service
    host : str
    port : int
        0: any free one.
    token : str or None
        None: no token is asked for.
    tls : Certificate or None

    Returns
    -------
    grpc.Server
    int
        Its port.

    Raises
    ------
    InputError
        If the port is taken, or the certificate cannot be used.
    """
    limits = service.limits
    # A thread waits in the queue, where its place is known, and is idle until its turn; some are left for those who are
    # told that it is full, and for health.
    threads = limits.waiting + limits.pictures + 8
    server = grpc.server(
        ThreadPoolExecutor(threads, thread_name_prefix="grpc"),
        interceptors=[_Token(service, token)],
        options=_options(limits.message_mb),
        maximum_concurrent_rpcs=threads,
        compression=grpc.Compression.Gzip,
    )
    server.add_generic_rpc_handlers((Detection(service).handler(),))
    alive = health.HealthServicer()
    for name in ("", SERVICE):
        alive.set(name, health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(alive, server)
    reflection.enable_server_reflection((SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        if tls:
            bound = server.add_secure_port(address, grpc.ssl_server_credentials([tls.read()]))
        else:
            bound = server.add_insecure_port(address)
    except RuntimeError:
        bound = 0
    if not bound:
        raise InputError("--grpc", address, "a free port of this machine: another program listens there")
    server.start()
    return server, bound


def _options(message_mb: int) -> list[tuple[str, Any]]:
    size = message_mb * 2**20
    return [
        ("grpc.max_receive_message_length", size),
        ("grpc.max_send_message_length", size),
        ("grpc.so_reuseport", 0),  # two servers on one port would take turns
        ("grpc.keepalive_time_ms", 20_000),  # finds clients that vanished without a word
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
        ("grpc.keepalive_permit_without_calls", 1),
    ]


class _Token(grpc.ServerInterceptor):
    """Refuses who has not the token, before anything of the message is read."""

    def __init__(self, service: Service, token: str | None) -> None:
        self._service, self._token = service, token

    def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        sent = dict(handler_call_details.invocation_metadata).get("authorization")
        sent = sent.decode("latin-1") if isinstance(sent, bytes) else sent
        method = handler_call_details.method
        why = None if method.startswith(_OPEN) else refusal(sent, self._token)
        if why is None:
            return continuation(handler_call_details)

        def refuse(_: Any, context: Any) -> Any:
            self._service.note(
                method.rpartition("/")[2][:40], context.peer(), "UNAUTHENTICATED", time.perf_counter()
            )
            context.abort(grpc.StatusCode.UNAUTHENTICATED, why)

        return grpc.stream_stream_rpc_method_handler(refuse)
