"""The line to a server: address, token, TLS, trying again, and its errors as one line that names the parameter to change."""

from __future__ import annotations

import random
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import grpc
from biopb.image import ObjectDetectionStub
from grpc import StatusCode
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from helpers.errors import InputError

#: Where a server that is asked who it is must answer within so many seconds.
_GREETING_S = 20.0
#: Seconds before the second try, doubled for each further one up to the second number; each ± a half by chance.
_WAIT_S = 0.5, 20.0
#: Messages up to what protobuf can read; a connection over which nothing comes is given up after some minutes.
_OPTIONS = (
    ("grpc.max_send_message_length", 2**31 - 1),
    ("grpc.max_receive_message_length", 2**31 - 1),
    ("grpc.initial_reconnect_backoff_ms", 500),
    ("grpc.min_reconnect_backoff_ms", 500),
    ("grpc.max_reconnect_backoff_ms", 5000),
    (
        "grpc.keepalive_time_ms",
        310_000,
    ),  # a server takes pings more often than every five minutes for an attack
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.use_local_subchannel_pool", 1),
)
#: How a server says that a message was too large, and mostly how large it may be.
_TOO_LARGE = re.compile(r"larger than max(?:imum)?(?: \(\d+ vs\. (\d+)\))?|exceeds maximum size (\d+)")
#: What else a connection that broke is called.
_BROKEN = ("RST_STREAM", "Stream removed", "Connection reset", "Broken pipe", "Socket closed", "GOAWAY")


class MessageTooLarge(Exception):
    """The server takes messages of at most `limit` bytes only; None: it does not say."""

    def __init__(self, limit: int | None) -> None:
        super().__init__(limit)
        self.limit = limit


@dataclass(frozen=True)
class Address:
    """Where a server is, and how it is spoken to.

    Parameters
    ----------
    server : str
        ``host:port``; without a port 443.
    tls : {"auto", "yes", "no"}
        "auto", as in Fiji: where the port is 443, and where `certificate` is named.
    certificate : Path, optional
        PEM file of the server's own certificate, or of who signed it; None: those that the system trusts.
    token : str
        Sent with every request; empty: none.
    token_from : tuple of str
        Name and value of the parameter it came from, for errors.

    Raises
    ------
    InputError
        If the address is empty or has another form, or the certificate cannot be read.
    """

    server: str
    tls: Literal["auto", "yes", "no"] = "auto"
    certificate: Path | None = None
    token: str = field(default="", repr=False)
    token_from: tuple[str, str] = ("token_variable", "VOLLTRACK_TOKEN")

    def __post_init__(self) -> None:
        if not re.fullmatch(r"(\[[0-9a-fA-F:]+\]|[^\s:/]+)(:\d{1,5})?", self.server):
            raise InputError("server", self.server, "give host:port, such as 'gpu.mylab.org:50051'")
        if not (self.token.isascii() and (self.token.isprintable())):
            raise InputError(
                *self.token_from, "what it holds is not a token: copy the one the server printed"
            )

    @property
    def target(self) -> str:
        """The address with its port."""
        return self.server if re.search(r":\d+$", self.server) else f"{self.server}:443"

    @property
    def encrypted(self) -> bool:
        """Whether TLS is spoken."""
        chosen = self.tls == "yes" or self.certificate is not None or self.target.endswith(":443")
        return self.tls != "no" and chosen

    @property
    def here(self) -> bool:
        """Whether the server is on this machine, by its address."""
        return self.target.rpartition(":")[0] in ("localhost", "127.0.0.1", "[::1]")

    def channel(self, compress: bool) -> grpc.Channel:
        """Return a channel; nothing is sent yet."""
        compress &= not self.here  # to itself, a machine copies faster than it compresses
        compression = grpc.Compression.Gzip if compress else grpc.Compression.NoCompression
        if not self.encrypted:
            return grpc.insecure_channel(self.target, _OPTIONS, compression)
        roots = None
        if self.certificate is not None:
            try:
                roots = self.certificate.read_bytes()
            except OSError as error:
                raise InputError(
                    "certificate", str(self.certificate), f"cannot be read: {error.strerror}"
                ) from None
            if b"BEGIN CERTIFICATE" not in roots:
                raise InputError("certificate", str(self.certificate), "is not a certificate in PEM form")
        return grpc.secure_channel(self.target, grpc.ssl_channel_credentials(roots), _OPTIONS, compression)


class Connection:
    """A channel to a server, used by several threads at once.

    Parameters
    ----------
    address : Address
    timeout_s : float
        Seconds a server may take for one request.
    patience_s : float
        Seconds to keep trying while the server does not answer, or has no room.
    compress : bool
        Send gzip, unless the server is on this machine.
    noted : callable, optional
        Told of each server that answers for the first time: another one may come back after a restart.
    """

    def __init__(
        self,
        address: Address,
        *,
        timeout_s: float = 600.0,
        patience_s: float = 300.0,
        compress: bool = True,
        noted: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        self.address, self.timeout_s, self.patience_s = address, timeout_s, patience_s
        #: Who answered so far: one mapping for each that differs (see `greet`).
        self.answered: list[dict[str, Any]] = []
        self._channel = address.channel(compress)
        self._metadata = [("authorization", f"Bearer {address.token}")] if address.token else []
        self._noted = noted
        self._closed = threading.Event()
        self._greeting = threading.Lock()

    def close(self) -> None:
        """Hang up; requests on their way end."""
        self._closed.set()
        self._channel.close()

    @property
    def joins_parts(self) -> bool:
        """Whether this is Volltrack's server, which puts the parts of a frame together, and sends masks where asked."""
        return any(
            "volltrack" in f"{key}={said}".lower()
            for key, said in (self.answered or [{}])[-1].items()
            if key != "server"
        )

    def greet(self) -> dict[str, Any]:
        """Ask the server who it is: its state, services and models, and what it says in its metadata, as far as it tells.

        Raises
        ------
        InputError
            If it does not answer at all, or does not take the token.
        """
        found: dict[str, Any] = {"server": self.address.target, "tls": self.address.encrypted}
        health: Any = health_pb2_grpc.HealthStub(self._channel)
        answer, said = self._ask(health.Check, health_pb2.HealthCheckRequest())
        if answer is not None:
            found["status"] = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
        found |= said
        reflection: Any = reflection_pb2_grpc.ServerReflectionStub(self._channel).ServerReflectionInfo
        services, said = self._ask(
            lambda request, **how: _first(reflection(iter([request]), **how)),
            reflection_pb2.ServerReflectionRequest(list_services=""),
        )
        if services is not None:
            found["services"] = sorted(one.name for one in services.list_services_response.service)
        models, said = self._ask(ObjectDetectionStub(self._channel).GetOpNames, _empty())
        if models is not None and models.names:
            found["models"] = sorted(models.names)
        found |= said
        if found not in self.answered:
            self.answered.append(found)
            if self._noted is not None:
                self._noted(found)
        return found

    def _ask(self, method: Any, message: Any) -> tuple[Any, dict[str, str]]:
        """Return an answer, None where there is no such service, and the metadata that came along."""
        try:
            ask = getattr(method, "with_call", None)
            how: dict[str, Any] = {"timeout": _GREETING_S, "metadata": self._metadata}
            answer, call = ask(message, **how) if ask else (method(message, **how), None)
        except grpc.RpcError as error:
            call, answer = error, None
            if _code(error) in (
                StatusCode.UNAVAILABLE,
                StatusCode.DEADLINE_EXCEEDED,
                StatusCode.UNAUTHENTICATED,
            ):
                raise self.in_words(error) from None
        return answer, _told(call)

    def detect(self, requests: Any) -> Any:
        """Send one request, or an iterator's maker of the parts of a grid, and return the answer.

        Parameters
        ----------
        requests : DetectionRequest or callable
            One request; or what returns an iterator over the parts of one frame, once for each try.

        Raises
        ------
        InputError
            What the server refused, or that it could not be reached for `patience_s`, and the parameter to change.
        MessageTooLarge
            If the server takes only smaller messages.
        """
        stub = ObjectDetectionStub(self._channel)
        # Volltrack's server also sends masks: exact, and a fiftieth of meshes.
        asked = [*self._metadata, ("volltrack-shapes", "masks")] if self.joins_parts else self._metadata
        how: dict[str, Any] = {"timeout": self.timeout_s, "metadata": asked}
        if callable(requests):
            return self._patiently(lambda: stub.RunDetectionOnGrid(requests(), **how))
        return self._patiently(lambda: stub.RunDetection(requests, **how))

    def _patiently(self, call: Callable[[], Any]) -> Any:
        started, wait, failures = time.monotonic(), _WAIT_S[0], 0
        while True:
            try:
                answer = call()
            except grpc.RpcError as error:
                if too_large := _too_large(error):
                    raise too_large from None
                waited = time.monotonic() - started
                if self._closed.is_set() or not _passing(error) or waited > self.patience_s:
                    raise self.in_words(error) from None
                if failures == 0:
                    print(f"{self.address.target}: {_short(error)}; trying again for {self.patience_s:g} s")
                failures += 1
            else:
                if failures:
                    self._greet_again()
                return answer
            self._closed.wait(
                wait * random.uniform(0.5, 1.5)
            )  # by chance: clients must not all come back at once
            wait = min(2 * wait, _WAIT_S[1])

    def _greet_again(self) -> None:
        """Note who came back; the frame is there, so nothing depends on it."""
        if self._greeting.acquire(blocking=False):
            try:
                self.greet()
            except InputError:
                pass
            finally:
                self._greeting.release()

    def in_words(self, error: grpc.RpcError) -> InputError:
        """Return an error of gRPC as one that names the parameter to change."""
        code, said, where = _code(error), _details(error), self.address
        kept = "; finished frames are kept, run again to go on"
        if "CERTIFICATE_VERIFY_FAILED" in said or "peer name" in said.lower() or "hostname" in said.lower():
            given = str(where.certificate) if where.certificate else None
            why = "the server's certificate is another one, or made out to another name than that in server"
            return InputError(
                "certificate", given, f"{why}: name the file of the server's own ({_short(error)})"
            )
        if "WRONG_VERSION_NUMBER" in said:
            return InputError(
                "tls", where.tls, f"{where.target} does not encrypt: set tls to 'no', or ask who runs it"
            )
        if code in (StatusCode.UNAUTHENTICATED, StatusCode.PERMISSION_DENIED):
            what = "refuses this token" if where.token else "asks for a token"
            return InputError(*where.token_from, f"{where.target} {what}: {self._token_advice()}")
        if code == StatusCode.UNAVAILABLE or any(word in said for word in _BROKEN):
            hint = "" if where.encrypted else " (or it encrypts: set tls to 'yes')"
            why = f"does not answer{hint}: is it running, is host:port right, does a firewall stand between? {_short(error)}"
            return InputError("server", where.server, why + kept)
        if code == StatusCode.DEADLINE_EXCEEDED:
            return InputError(
                "timeout_s",
                self.timeout_s,
                f"{where.target} took longer: raise it, or lower frames_in_flight{kept}",
            )
        if code == StatusCode.RESOURCE_EXHAUSTED:
            return InputError(
                "patience_s",
                self.patience_s,
                f"{where.target} has no room ({said}): raise it, or lower frames_in_flight{kept}",
            )
        if code == StatusCode.UNIMPLEMENTED:
            return InputError(
                "server",
                where.server,
                f"answers, but is not a server of this kind (biopb's ObjectDetection): {said}",
            )
        if code == StatusCode.INVALID_ARGUMENT:
            return InputError("server", where.server, f"refuses the frame or a parameter: {said}{kept}")
        name = code.name if code else "error"
        return InputError(
            "server", where.server, f"failed ({name}: {said}): look at its log, or ask who runs it{kept}"
        )

    def _token_advice(self) -> str:
        name, value = self.address.token_from
        if name == "token_file":
            return "the file must hold the token that the server printed"
        return f"set the environment variable {value} to the token that the server printed, or name a file with it in token_file"


def _first(stream: Any) -> Any:
    return next(iter(stream))


def _empty() -> Any:
    from google.protobuf.empty_pb2 import Empty

    return Empty()


def _code(error: Any) -> StatusCode | None:
    return error.code() if hasattr(error, "code") else None


def _details(error: Any) -> str:
    return (error.details() if hasattr(error, "details") else str(error)) or ""


def _short(error: Any) -> str:
    """Return what an error says in few words of one line, without the addresses that gRPC tried."""
    text = re.sub(r"\s+", " ", _details(error))
    return text if len(text) <= 160 else text[:80] + " … " + text[-80:]


def _too_large(error: Any) -> MessageTooLarge | None:
    found = _TOO_LARGE.search(_details(error))
    if found is None or _code(error) != StatusCode.RESOURCE_EXHAUSTED:
        return None
    limit = found[1] or found[2]
    return MessageTooLarge(int(limit) if limit else None)


def _passing(error: Any) -> bool:
    """Say whether what went wrong may pass: the server is away, stops, or has no room."""
    said = _details(error)
    if "SSL" in said or "CERTIFICATE" in said:
        return False
    away = (StatusCode.UNAVAILABLE, StatusCode.ABORTED, StatusCode.CANCELLED, StatusCode.RESOURCE_EXHAUSTED)
    return _code(error) in away or any(word in said for word in _BROKEN)


def _told(call: Any) -> dict[str, str]:
    """Return what a server says of itself in its metadata."""
    found: dict[str, str] = {}
    for part in ("initial_metadata", "trailing_metadata"):
        for key, value in (getattr(call, part)() or ()) if hasattr(call, part) else ():
            if isinstance(value, str) and not key.startswith(
                ("grpc-", "accept-", "content-", "user-agent", "authorization")
            ):
                found[key] = value
    return found
