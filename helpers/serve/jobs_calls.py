"""The jobs API under ``/api``: volumes up, jobs, labels down, models. Described by ``/openapi.json``."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Annotated, Any, Literal

import anyio.to_thread
from fastapi import APIRouter, FastAPI, Path, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel

from helpers.errors import InputError
from helpers.models.from_annotations import Network
from helpers.serve.jobs import Job, Jobs, Order, State
from helpers.serve.line import Gone, LineFull
from helpers.serve.refusals import in_words, line
from helpers.serve.service import Service
from helpers.serve.trained_models import Trained, TrainedModels
from helpers.serve.volumes import TIFF, ZIP, Volume, Volumes, zipped

Id = Annotated[str, Path(pattern="^[0-9a-f]{16}$")]
#: So long the deletion of a model waits for its turn.
_AT_WORK_S = 5.0
_ONE_LINE: dict[int | str, dict[str, Any]] = {
    status: {"description": f"{why}, in one line", "content": {"text/plain": {"schema": {"type": "string"}}}}
    for status, why in (
        *(
            (400, "Not understood"),
            (401, "No token"),
            (404, "Not there"),
            (411, "No length"),
            (413, "Too large"),
        ),
        *((415, "Another type"), (422, "What cannot be used"), (503, "Too many wait")),
    )
}
_UPLOAD = {
    "requestBody": {
        "required": True,
        "content": {kind: {"schema": {"type": "string", "format": "binary"}} for kind in (TIFF, ZIP)},
    }
}


class VolumeSaid(BaseModel):
    """A volume on the server."""

    id: str
    shape: tuple[int, int, int, int]
    dtype: str
    voxel_size_um: tuple[float, float, float] | None


class JobSaid(BaseModel):
    """How a job is."""

    id: str
    state: State
    position: int
    fraction: float
    loss: float | None
    cells: int | None
    version: str | None
    error: str
    made: float
    started: float | None
    ended: float | None
    order: Order


def add_jobs(app: FastAPI, service: Service, models: TrainedModels, jobs: Jobs, volumes: Volumes) -> None:
    """Add the calls to an application."""

    class Noted(APIRoute):
        """Turns what goes wrong into one line, and writes one to the log."""

        def get_route_handler(self) -> Callable:
            answer_of = super().get_route_handler()
            name = f"http {sorted(self.methods or ())[0]} {self.path_format}"

            async def noted(request: Request) -> Response:
                started, said = time.perf_counter(), ""
                peer = request.client.host if request.client else "-"
                try:
                    answer = await answer_of(request)
                except RequestValidationError:
                    service.note(name, peer, "422", started)
                    raise
                except (InputError, LineFull, MemoryError) as error:
                    status, said = in_words(name, error)
                    answer = line(status, said)
                outcome = "OK" if answer.status_code < 400 else str(answer.status_code)
                service.note(name, peer, outcome, started, said)
                return answer

            return noted

    router = APIRouter(prefix="/api", route_class=Noted, responses=_ONE_LINE)

    @router.post("/volumes", status_code=201, openapi_extra=_UPLOAD)
    async def send_volume(request: Request) -> VolumeSaid:
        """Send a raw volume or labels: a TIFF of axes C, Z, Y, X, or an OME-Zarr in a zip."""
        content = await request.body()
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind not in (TIFF, ZIP):
            raise InputError("Content-Type", kind[:40], f"{TIFF}, or {ZIP} of an OME-Zarr")
        return _volume(await anyio.to_thread.run_sync(volumes.add, content, kind))

    @router.get("/volumes")
    def list_volumes() -> list[VolumeSaid]:
        """List the volumes that were sent."""
        return [_volume(one) for one in volumes]

    @router.delete("/volumes/{id}", status_code=204)
    def delete_volume(id: Id) -> None:
        """Delete a volume."""
        volumes.delete(id)

    @router.post("/jobs", status_code=202)
    def order_job(order: Order) -> JobSaid:
        """Segment a volume, or train a network on volumes with labels; all wait in one queue, in the order of coming."""
        return _job(jobs.add(order))

    @router.get("/jobs")
    def list_jobs() -> list[JobSaid]:
        """List the jobs, the last one first."""
        return [_job(one) for one in jobs]

    @router.get("/jobs/{id}")
    def see_job(id: Id) -> JobSaid:
        """Tell how a job is: its place in the queue, how much is done, and why it failed."""
        return _job(jobs[id])

    @router.delete("/jobs/{id}")
    def end_job(id: Id) -> JobSaid:
        """Cancel a job that waits or runs; forget one that has ended, with its labels."""
        return _job(jobs.end(id))

    labels_told: dict[int | str, dict[str, Any]] = {
        200: {"description": "Labels, 32 bit", "content": {TIFF: {}, ZIP: {}}}
    }

    @router.get("/jobs/{id}/labels", response_class=Response, responses=labels_told)
    def download_labels(id: Id, format: Literal["tiff", "zarr"] = "tiff") -> Response:
        """Download the labels of a segmentation: a TIFF of axes Z, Y, X, or an OME-Zarr in a zip."""
        folder = jobs.labels(id)
        if format == "tiff":
            return Response((folder / "labels.tif").read_bytes(), media_type=TIFF)
        return Response(zipped(folder / "labels.zarr"), media_type=ZIP)

    @router.get("/models")
    def list_models() -> list[Trained]:
        """List the trained models; losses are those of the last epoch."""
        return list(models)

    @router.get("/models/{network}/{name}")
    def see_model(network: Network, name: str) -> dict[str, Any]:
        """Tell what a model was trained with, and how it went."""
        return models.provenance(network, name)

    @router.get("/models/{network}/{name}/versions")
    def list_versions(network: Network, name: str) -> list[Trained]:
        """List the versions of a model that can be segmented with, the newest first."""
        return models.versions(network, name)

    @router.delete("/models/{network}/{name}", status_code=204)
    def delete_model(network: Network, name: str) -> None:
        """Delete a model with all its versions; refused while others are at work, whose model it may be."""
        models.provenance(network, name)
        end = time.monotonic() + _AT_WORK_S
        try:
            with service.device.turn(lambda: time.monotonic() < end):
                models.reset(network, name)
        except Gone:
            raise InputError("model", name, "deleted once no job is running: ask again then") from None

    app.include_router(router)


def _volume(one: Volume) -> VolumeSaid:
    return VolumeSaid(id=one.id, shape=one.shape, dtype=one.dtype, voxel_size_um=one.voxel_size_um)


def _job(one: Job) -> JobSaid:
    return JobSaid(**{name: getattr(one, name) for name in JobSaid.model_fields})
