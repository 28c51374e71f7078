"""The HTTP calls: those of QuPath's extension Cellsparse, and pages that say how the server is."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse
from starlette.exceptions import HTTPException

from helpers import __version__
from helpers.errors import InputError
from helpers.models.from_annotations import Network
from helpers.serve.gate import OPEN
from helpers.serve.jobs import Jobs
from helpers.serve.jobs_calls import add_jobs
from helpers.serve.pages import metrics, status_page
from helpers.serve.qupath import Call, Reset, features, read_annotations, read_image
from helpers.serve.refusals import NothingFound, in_words, line
from helpers.serve.service import Service, log
from helpers.serve.trained_models import TrainedModels
from helpers.serve.training_process import Plan
from helpers.serve.volumes import Volumes

#: Networks that the extension knows.
QUPATH: tuple[Network, ...] = ("stardist", "cellpose", "elephant")
#: How often a waiting client is looked for.
_LOOK_S = 0.3


def application(service: Service, models: TrainedModels, store: Path, ending: threading.Event) -> FastAPI:
    """Return the application.

    Parameters
    ----------
    service : Service
        Its queue is waited in.
    models : TrainedModels
    store : Path
        Folder for what jobs are given, and what they give.
    ending : threading.Event
        Set when the server ends: then trainings do too.
    """
    app = FastAPI(
        title="Volltrack", version=__version__, docs_url=None, redoc_url=None, redirect_slashes=False
    )
    desk = _Desk(service, models, ending)
    for network in QUPATH:
        _add(app, desk, network)
    volumes = Volumes(store / "volumes", service.limits)
    jobs = Jobs(service, models, volumes, store / "jobs", ending)
    add_jobs(app, service, models, jobs, volumes)
    app.add_exception_handler(RequestValidationError, _unfit)
    app.add_exception_handler(HTTPException, _refused)
    # A failure that nobody foresaw is told by uvicorn's 500 otherwise, without a word.
    app.add_exception_handler(Exception, _failed)

    @app.get(OPEN)
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/version")
    async def version() -> dict[str, str]:
        return {"volltrack": __version__, "model": service.model.name}

    @app.get("/metrics", response_class=PlainTextResponse)
    def counters() -> str:
        return metrics(service, models)

    @app.get("/", response_class=HTMLResponse)
    def status() -> str:
        return status_page(service, models, jobs)

    return app


def _add(app: FastAPI, desk: _Desk, network: Network) -> None:
    """Add a network's two calls. Users forget the last slash, and the extension only appends ``reset/`` to what they typed."""
    told: dict[int | str, dict[str, Any]] = {
        status: {"description": f"{why}, in one line", "content": {"text/plain": {}}}
        for status, why in ((404, "No such model"), (422, "What cannot be used"), (503, "Too many wait"))
    }

    async def call(body: Call, request: Request) -> Any:
        return await desk.answer(network, body, request)

    async def reset(body: Reset, request: Request) -> Any:
        return await desk.reset(network, body, request)

    features_told: dict[int | str, dict[str, Any]] = {200: {"description": "GeoJSON features, one per cell"}}
    summary = f"Train {network}, or segment with it, or both"
    app.add_api_route(f"/{network}/", call, methods=["POST"], responses=features_told | told, summary=summary)
    app.add_api_route(f"/{network}", call, methods=["POST"], include_in_schema=False)
    summary = f"Delete a model of {network}"
    app.add_api_route(f"/{network}/reset/", reset, methods=["POST"], responses=told, summary=summary)
    for path in (f"/{network}/reset", f"/{network}reset/"):
        app.add_api_route(path, reset, methods=["POST"], include_in_schema=False)


class _Desk:
    """Answers the calls of the extension, each in a thread that waits for its turn."""

    def __init__(self, service: Service, models: TrainedModels, ending: threading.Event) -> None:
        self._service, self._models, self._ending = service, models, ending
        self._threads: anyio.CapacityLimiter | None = None

    async def answer(self, network: Network, call: Call, request: Request) -> Any:
        """Train, segment, or both."""
        kind = " and ".join(["train"] * call.train + ["segment"] * call.eval) or "nothing"
        return await self._in_thread(
            f"{network} {kind}", request, functools.partial(self._work, network, call)
        )

    async def reset(self, network: Network, call: Reset, request: Request) -> Any:
        """Delete a model."""

        def work(alive: Callable[[], bool]) -> str:
            if call.pretrained:
                expected = (
                    "nothing: this server has no ready-made weights, and models begin from the annotations"
                )
                raise InputError("pretrained", call.pretrained, expected)
            self._models.path(network, call.modelname)
            with self._service.device.turn(alive):
                self._models.reset(network, call.modelname)
            return ""

        return await self._in_thread(f"{network} reset", request, work)

    def _work(self, network: Network, call: Call, alive: Callable[[], bool]) -> list[dict[str, Any]]:
        limits = self._service.limits
        folder = self._models.path(network, call.modelname)
        channel = call.chan1 if network == "cellpose" else 0
        image = read_image(call.b64img, channel=channel, most_pixels=limits.pixels)
        plan = labels = None
        if call.train:
            labels = read_annotations(call.b64lbl, image.shape, most_pixels=limits.pixels)
            if image.min() == image.max():
                raise InputError("image", f"{image.min()} everywhere", "an image with cells to be seen")
            plan = self._plan(network, call, str(folder))
        with self._service.device.turn(alive):
            if plan is not None:
                self._models.train(plan, image, labels, alive)  # pyright: ignore[reportArgumentType]
            if not call.eval:
                return []
            segment = self._models.segmenter(network, call.modelname)
            started = time.perf_counter()
            try:
                found = segment(image)
            except InputError as error:
                if error.name != "frame":
                    raise
                raise NothingFound from error  # nearly constant
            finally:
                self._service.count(seconds=time.perf_counter() - started, voxels=image.size)
        outlines = features(found.main, min_area=call.minarea, tolerance=call.simplify_tol)
        self._service.count(cells=len(outlines))
        if not outlines:
            raise NothingFound
        return outlines

    def _plan(self, network: Network, call: Call, folder: str) -> Plan:
        limits = self._service.limits
        wanted = call.epochs * call.steps
        # For Cellpose the extension counts crops, for the others batches.
        batches = -(-wanted // call.batchsize) if network == "cellpose" else wanted
        if batches > limits.batches:
            raise InputError(
                "epochs × steps", wanted, f"fewer: this server trains {limits.batches} batches at most"
            )
        return Plan(
            network, folder, batches, call.batchsize, call.trainpatch, limits.minutes, learning_rate=call.lr
        )

    async def _in_thread(self, name: str, request: Request, work: Callable[[Callable[[], bool]], Any]) -> Any:
        """Work in a thread, until it is done or the client has left; whatever goes wrong becomes one line."""
        started, gone = time.perf_counter(), threading.Event()
        peer = request.client.host if request.client else "-"

        def alive() -> bool:
            return not (gone.is_set() or self._ending.is_set())

        async def look() -> None:
            while not await request.is_disconnected():
                await anyio.sleep(_LOOK_S)
            gone.set()

        if self._threads is None:  # a thread for each of those who wait, so that the full queue says so
            self._threads = anyio.CapacityLimiter(self._service.limits.waiting + 8)
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(look)
                try:
                    answer: Any = JSONResponse(
                        await anyio.to_thread.run_sync(work, alive, limiter=self._threads)
                    )
                    outcome, said = "OK", ""
                except Exception as error:
                    status, said = in_words(name, error)
                    answer, outcome = line(status, said), str(status)
                tasks.cancel_scope.cancel()
        finally:
            gone.set()
        self._service.note(f"http {name}", peer, outcome, started, said)
        return answer


async def _unfit(_: Request, error: Exception) -> PlainTextResponse:
    """Say the first thing that is wrong with a body, without quoting it."""
    first = error.errors()[0] if isinstance(error, RequestValidationError) else {}
    place = [str(part) for part in first.get("loc", ()) if part != "body" and not isinstance(part, int)]
    where = ".".join(place).encode("ascii", "replace").decode()[:60]
    said = "not JSON" if first.get("type") == "json_invalid" else first.get("msg", "not understood")
    return line(422, f"{where or 'the request'}: {said}")


async def _refused(_: Request, error: Exception) -> PlainTextResponse:
    status = error.status_code if isinstance(error, HTTPException) else 400
    if status == 404:
        known = ", ".join(f"/{network}/" for network in QUPATH)
        return line(
            404, f"there is nothing at this address: it should end in one of {known}; jobs are under /api/"
        )
    return line(status, str(getattr(error, "detail", "not understood")))


async def _failed(_: Request, error: Exception) -> PlainTextResponse:
    log.exception("a request failed", exc_info=error)
    return line(500, "the server failed; its log says where")
