"""The service `biopb.image.ObjectDetection` as TrackMate-Lacss calls it, over a `Service`.

Every method is taken as a stream of bytes. A message is then read only once its turn has come (gRPC would read one of
512 MB for each of those who wait), and one that is no message is answered as bad input.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import grpc
from biopb.image import DetectionRequest, OpNames  # pyright: ignore[reportAttributeAccessIssue]
from google.protobuf.message import DecodeError

from helpers import __version__
from helpers.errors import InputError
from helpers.serve.grid import put_together
from helpers.serve.line import Gone, LineFull
from helpers.serve.pixels import Picture, decode
from helpers.serve.service import Cells, Service, log
from helpers.serve.settings import Settings, read_settings
from helpers.serve.shapes import answer, masks, meshes, polygons
from helpers.serve.wire import PIXELS, without

SERVICE = "biopb.image.ObjectDetection"
#: Metadata by which our own client asks for masks.
MASKS = ("volltrack-shapes", "masks")


class AnswerTooLarge(Exception):
    """The cells were found, but their outlines are more than a message holds."""


@dataclass
class _Call:
    """One call on its way: what the log will say of it."""

    context: Any
    name: str
    started: float = field(default_factory=time.perf_counter)
    about: str = ""

    @property
    def peer(self) -> str:
        return self.context.peer()

    @property
    def here(self) -> bool:
        """Whether the client is on this machine."""
        return self.peer.startswith(("ipv4:127.", "ipv6:[::1]", "ipv6:%5B::1%5D", "unix:"))

    @property
    def masks(self) -> bool:
        """Whether masks are asked for instead of polygons and meshes."""
        return any(tuple(pair) == MASKS for pair in self.context.invocation_metadata())

    def alive(self) -> bool:
        left = self.context.time_remaining()
        return self.context.is_active() and (left is None or left > 0)


class Detection:
    """The methods of the service.

    Parameters
    ----------
    service : Service
    """

    def __init__(self, service: Service) -> None:
        self._service = service

    def handler(self) -> grpc.GenericRpcHandler:
        """Return what a gRPC server is given."""
        unary, stream = grpc.stream_unary_rpc_method_handler, grpc.stream_stream_rpc_method_handler
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "RunDetection": unary(self.run_detection),
                "RunDetectionStream": stream(self.run_detection_stream),
                "RunDetectionOnGrid": unary(self.run_detection_on_grid),
                "GetOpNames": unary(self.get_op_names),
            },
        )

    def get_op_names(self, messages: Iterator[bytes], context: Any) -> bytes:
        """Answer the name of the model, and in the metadata who answers, which our client keeps with its results."""
        context.send_initial_metadata((("volltrack-version", __version__),))
        return OpNames(names=[self._service.model.name]).SerializeToString()

    def run_detection(self, messages: Iterator[bytes], context: Any) -> bytes:
        """Answer one picture."""
        call = _Call(context, "RunDetection")

        def work() -> bytes:
            with self._service.memory.turn(call.alive, _telling(context)):
                picture, settings = self._only_one(messages, call)
                return self._answer(picture, settings, self._segment(picture, settings, call), call)

        return self._guarded(call, work)

    def run_detection_on_grid(self, messages: Iterator[bytes], context: Any) -> bytes:
        """Answer one picture that comes in patches; the settings are those of the first message that has any."""
        call = _Call(context, "RunDetectionOnGrid")

        def work() -> bytes:
            with self._service.memory.turn(call.alive, _telling(context)):
                whole, settings = self._put_together(messages, call)
                return self._answer(whole, settings, self._segment(whole, settings, call), call)

        return self._guarded(call, work)

    def run_detection_stream(self, messages: Iterator[bytes], context: Any) -> Iterator[bytes]:
        """Answer request by request; one without pixels asks for the last picture again, with other settings.

        Only another scaling or diameter makes the networks run again.
        """
        call = _Call(context, "RunDetectionStream")
        last: tuple[Picture, tuple, Cells] | None = None

        def work() -> bytes | None:
            nonlocal last
            received = self._next(messages, call)
            if received is None:
                return None
            request, data = received
            settings = read_settings(request.detection_settings)
            seen = settings.scaling, settings.cell_diameter_um, settings.model
            if len(data) or last is None:
                picture, before = self._picture(request, data), None
            else:
                picture, before = last[0], last[1]
            cells = last[2] if last and before == seen else self._segment(picture, settings, call)
            last = picture, seen, cells
            return self._answer(picture, settings, cells, call)

        def in_turn() -> Iterator[bytes]:
            with self._service.memory.turn(call.alive, _telling(context)):
                while (answer := self._guarded(call, work)) is not None:
                    yield answer

        try:
            yield from in_turn()
        except (Gone, LineFull) as error:
            self._refuse(call, *_code(error, call))

    def _only_one(self, messages: Iterator[bytes], call: _Call) -> tuple[Picture, Settings]:
        received = self._next(messages, call)
        if received is None:
            raise InputError("request", "empty", "a picture and its settings")
        request, data = received
        return self._picture(request, data), read_settings(request.detection_settings)

    def _put_together(self, messages: Iterator[bytes], call: _Call) -> tuple[Picture, Settings]:
        patches, sent = [], None
        most = self._service.limits.voxels
        while (received := self._next(messages, call)) is not None:
            request, data = received
            if sent is None and request.HasField("detection_settings"):
                sent = request.detection_settings
            patches.append(self._picture(request, data))
            if sum(patch.channels.size for patch in patches) > 2 * most:
                raise InputError("patches", len(patches), f"patches of at most {2 * most} voxels")
        whole = put_together(patches, most_voxels=most)
        return whole, Settings() if sent is None else read_settings(sent)

    def _next(self, messages: Iterator[bytes], call: _Call) -> tuple[Any, memoryview] | None:
        """Read a message, within the time for it, and its voxels; None where the client has sent all."""
        clock = threading.Timer(self._service.limits.receive_s, call.context.cancel)
        clock.daemon = True
        clock.start()
        try:
            message = next(messages, None)
        except grpc.RpcError as error:
            raise Gone from error
        finally:
            clock.cancel()
        if message is None:
            return None
        try:
            rest, data = without(memoryview(message), PIXELS)
            return DetectionRequest.FromString(rest), data
        except DecodeError:
            expected = "a DetectionRequest of biopb.image, as TrackMate-Lacss 0.5.1 to 0.6.1 sends it"
            raise InputError("request", f"{len(message)} bytes", expected) from None

    def _picture(self, request: Any, data: memoryview) -> Picture:
        return decode(request.image_data.pixels, data, most_voxels=self._service.limits.voxels)

    def _segment(self, picture: Picture, settings: Settings, call: _Call) -> Cells:
        call.about = " × ".join(map(str, picture.channels.shape))
        if picture.voxel_size is None:
            call.about += f", not calibrated ({self._service.model.uncalibrated})"
        return self._service.segment(picture, settings, call.alive)

    def _answer(self, picture: Picture, settings: Settings, cells: Cells, call: _Call) -> bytes:
        labels = cells.kept(settings)
        if call.masks:
            shapes = masks(labels, picture.offset)
        else:
            shapes = polygons(labels[0], picture.offset) if picture.flat else meshes(labels, picture.offset)
        response, n = answer(shapes, cells.scores)
        call.about += f", {n} cells"
        most = self._service.limits.message_mb
        if len(response) > most * 2**20:
            raise AnswerTooLarge(
                f"the outlines of {n} cells take {len(response) / 2**20:.0f} MB, and an answer holds {most}: send the picture "
                "in parts, or segment it where the networks are (notebook 06_segment)"
            )
        return response

    def _guarded(self, call: _Call, work: Callable[[], bytes | None]) -> Any:
        """Do the work, and turn whatever goes wrong into a code and one line."""
        try:
            answer = work()
        except Exception as error:
            self._refuse(call, *_code(error, call))
        if answer is not None:
            self._service.note(call.name, call.peer, "OK", call.started, call.about)
            call.started = time.perf_counter()
            if call.here:  # a machine copies faster than it compresses
                call.context.disable_next_message_compression()
        return answer

    def _refuse(self, call: _Call, code: grpc.StatusCode, line: str) -> None:
        self._service.note(call.name, call.peer, code.name, call.started, line)
        call.context.abort(code, line)


def _telling(context: Any) -> Callable[[int], None]:
    """Return what tells a client once, before its picture is read, how many were before it."""
    told = threading.Event()

    def tell(before: int) -> None:
        if before and not told.is_set():
            told.set()
            context.send_initial_metadata((("queue-position", str(before)),))

    return tell


def _code(error: Exception, call: _Call) -> tuple[grpc.StatusCode, str]:
    if isinstance(error, InputError):
        return grpc.StatusCode.INVALID_ARGUMENT, " ".join(str(error).split())
    if isinstance(error, (LineFull, AnswerTooLarge)):
        return grpc.StatusCode.RESOURCE_EXHAUSTED, str(error)
    if isinstance(error, Gone):
        if call.context.is_active():
            return grpc.StatusCode.DEADLINE_EXCEEDED, "the time that the client allowed has passed"
        return grpc.StatusCode.CANCELLED, "the client has left, or sent too slowly"
    if isinstance(error, MemoryError):
        return grpc.StatusCode.RESOURCE_EXHAUSTED, "the picture does not fit this server's memory: crop it"
    log.exception("%s failed", call.name, exc_info=error)
    return grpc.StatusCode.INTERNAL, "the server failed at this picture; its log says where"
