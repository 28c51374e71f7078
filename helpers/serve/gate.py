"""What every HTTP request passes before it is read: the token, and limits on size and time."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from starlette.responses import PlainTextResponse

from helpers.serve.access import LOCAL, refusal
from helpers.serve.service import Limits

#: Answered to everybody: says only that the server is there.
OPEN = "/health"
_WITHOUT_BODY = ("GET", "HEAD", "DELETE", "OPTIONS")
_TYPES = ("application/json", "image/tiff", "application/zip")
#: So long the body of a request that is refused may take.
_DISCARD_S = 10.0
#: Without a token, pages of other names that point to this machine must not reach the server through a browser.
_LOCAL_NAMES = (LOCAL, "localhost", "[::1]")


class Gate:
    """An ASGI application around another.

    The token comes as ``Authorization: Bearer …``, or, for programs that send no headers such as QuPath's extension, as
    the first part of the path: ``http://host:8000/TOKEN/stardist/``. The body is read whole before the application sees it.

    Parameters
    ----------
    app : ASGI application
    token : str or None
        None: no token is asked for, and only requests to this machine's own names are answered.
    limits : Limits
    """

    def __init__(self, app: Any, token: str | None, limits: Limits) -> None:
        self._app, self._token, self._limits = app, token, limits
        self._held = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        headers = {key: value.decode("latin-1") for key, value in scope["headers"]}
        scope = self._without_token(scope, headers)
        if isinstance(scope, PlainTextResponse):
            await self._refuse(scope, receive, send)
            return
        try:
            size = self._size(scope, headers)
        except _Refused as error:
            await self._refuse(error.response, receive, send)
            return
        self._held += size
        try:
            content = await asyncio.wait_for(_body(receive), self._limits.receive_s) if size else b""
        except TimeoutError:
            self._held -= size
            await _line(408, "the request was sent too slowly")(scope, receive, send)
            return
        except BaseException:
            self._held -= size
            raise
        try:
            if content is not None:
                await self._app(scope, _replayed(content, receive), send)
        finally:
            self._held -= size

    async def _refuse(self, answer: PlainTextResponse, receive: Any, send: Any) -> None:
        """Answer once the body has come, which is thrown away: closed earlier, a client that still sends never sees why."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(_DISCARD_S, self._limits.receive_s)):
                while (await receive()).get("more_body"):
                    pass
        await answer({"type": "http"}, receive, send)

    def _without_token(self, scope: Any, headers: dict[bytes, str]) -> Any:
        """Return the scope with the token taken out of the path, or the refusal."""
        if self._token is None:
            host = headers.get(b"host", "")
            name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
            if name not in _LOCAL_NAMES:
                return _line(403, "without a token only this machine is served, as localhost or 127.0.0.1")
            return scope
        if scope["path"] == OPEN:
            return scope
        first, slash, rest = scope["path"].removeprefix("/").partition("/")
        if slash and refusal(f"Bearer {first}", self._token) is None:
            return dict(scope, path=f"/{rest}", raw_path=f"/{rest}".encode("utf-8", "replace"))
        why = refusal(headers.get(b"authorization"), self._token)
        if why is None:
            return scope
        return _line(401, f"{why}, as in http://host:port/TOKEN/stardist/", {"WWW-Authenticate": "Bearer"})

    def _size(self, scope: Any, headers: dict[bytes, str]) -> int:
        if scope["method"] in _WITHOUT_BODY:
            if headers.get(b"content-length", "0") != "0" or b"transfer-encoding" in headers:
                raise _Refused(400, f"nothing is read from the body of a {scope['method']}")
            return 0
        if not headers.get(b"content-length", "").isdigit():
            raise _Refused(411, "the length of the request is missing (Content-Length)")
        size = int(headers[b"content-length"])
        if size > self._limits.body_mb * 2**20:
            raise _Refused(413, f"the request is larger than {self._limits.body_mb} MB: crop the image")
        # A form of another page could send text, but not JSON, without asking the browser first.
        kind = headers.get(b"content-type", "").partition(";")[0].strip().lower()
        if size and kind not in _TYPES:
            raise _Refused(
                415,
                "the request must be JSON (Content-Type: application/json), a volume image/tiff or application/zip",
            )
        if self._held + size > self._limits.held_mb * 2**20:
            raise _Refused(503, "too many large images wait already: try again later")
        return size


class _Refused(Exception):
    def __init__(self, status: int, line: str) -> None:
        self.response = _line(status, line)


def _line(status: int, line: str, headers: dict[str, str] | None = None) -> PlainTextResponse:
    return PlainTextResponse(line, status, {"Connection": "close", **(headers or {})})


async def _body(receive: Any) -> bytes | None:
    """Read a body; None where the client left."""
    parts = []
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)


def _replayed(content: bytes, receive: Any) -> Any:
    """Return a `receive` that gives a body that was read, and then what else comes."""
    given = False

    async def again() -> Any:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": content, "more_body": False}

    return again
