"""A small server that finds bright blobs, over real gRPC: ``python blob_server.py PORT`` runs it in a process of its own."""

from __future__ import annotations

import re
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import biopb.image as proto
import grpc
import numpy as np
import shapely
from biopb.image.utils import deserialize_to_numpy
from scipy import ndimage

from helpers.tracking.formats.trackmate_shapes import meshes_from_labels

BRIGHT = 100


def find_blobs(stack: np.ndarray) -> np.ndarray:
    """Return the labels of a stack (Z, Y, X): what is bright and hangs together."""
    return ndimage.label(np.stack([ndimage.binary_fill_holes(plane > BRIGHT) for plane in stack]))[0]


def score_of(stack: np.ndarray, labels: np.ndarray, label: int) -> float:
    """Return a cell's score: its mean intensity over 255, in the precision of the message."""
    return float(np.float32(stack[labels == label].mean() / 255))


def blobs(shape: tuple[int, ...], n: int, seed: int, radius: float = 6) -> np.ndarray:
    """Return a stack (Z, Y, X) of uint8 with ellipsoids, some of which touch, on a dark background."""
    rng = np.random.default_rng(seed)
    stack = np.full(shape, 20, np.uint8)
    grid = np.indices(shape)
    for _ in range(n):
        middle = [rng.uniform(0, size) for size in shape]
        radii = [max(1.0, radius * 0.4), *(radius * rng.uniform(0.6, 1.4, 2))]
        squares = ((grid[i] - middle[i]) ** 2 / radii[i] ** 2 for i in range(3))
        stack[sum(squares) < 1] = rng.integers(130, 250)
    return stack


def outline(mask: np.ndarray, inset: float = 0.0) -> list[tuple[float, float]]:
    """Return the outline (y, x) of a mask (Y, X) along the edges of its pixels, whose centres are at whole numbers.

    `inset` moves it so far inwards.
    """
    squares = [shapely.box(x - 0.5, y - 0.5, x + 0.5, y + 0.5) for y, x in np.argwhere(mask).tolist()]
    shape = (
        shapely.union_all(squares).buffer(-inset, join_style="mitre") if inset else shapely.union_all(squares)
    )
    return [(y, x) for x, y in shape.exterior.coords[:-1]]


class BlobServicer(proto.ObjectDetectionServicer):
    """Answers as a server of TrackMate-Lacss; counts what it is asked.

    Parameters
    ----------
    shift : float
        Added to all corners of outlines, as Lacss does.
    delay_s : float
        Before every answer.
    """

    def __init__(self, shift: float = 0.0, delay_s: float = 0.0) -> None:
        self.shift, self.delay_s = shift, delay_s
        self.asked, self.at_once, self.most_at_once = 0, 0, 0
        self.requests: list[tuple[proto.Pixels, proto.DetectionSettings]] = []
        #: Errors to answer with, before anything else.
        self.errors: list[tuple[grpc.StatusCode, str]] = []
        #: Pictures, as they are sent, that are refused.
        self.refuses: list[bytes] = []
        self._counting = threading.Lock()

    def RunDetection(self, request: Any, context: Any) -> Any:
        with self._counting:
            self.asked += 1
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            error = self.errors.pop(0) if self.errors else None
        try:
            if error:
                context.abort(*error)
            if request.image_data.pixels.bindata.data in self.refuses:
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, "too dark")
            time.sleep(self.delay_s)
            return self._answer(request.image_data.pixels, request.detection_settings)
        finally:
            with self._counting:
                self.at_once -= 1

    def RunDetectionOnGrid(self, request_iterator: Any, context: Any) -> Any:
        parts = list(request_iterator)
        self.asked += 1
        arrays = [_stack(part.image_data.pixels) for part in parts]
        starts = [(p.offset_z, p.offset_y, p.offset_x) for p in (part.image_data.pixels for part in parts)]
        size = np.max([np.add(start, a.shape) for start, a in zip(starts, arrays, strict=True)], axis=0)
        whole = np.zeros(size, arrays[0].dtype)
        for start, array in zip(starts, arrays, strict=True):
            whole[tuple(slice(s, s + n) for s, n in zip(start, array.shape, strict=True))] = array
        return self._cells(whole, parts[0].detection_settings, flat=not parts[0].image_data.pixels.size_z)

    def _answer(self, pixels: Any, settings: Any) -> Any:
        self.requests.append((pixels, settings))
        return self._cells(_stack(pixels), settings, flat=pixels.size_z == 0)

    def _cells(self, stack: np.ndarray, settings: Any, *, flat: bool) -> Any:
        labels = find_blobs(stack)
        response = proto.DetectionResponse()
        meshes = {} if flat else meshes_from_labels(labels, voxel_size=(1, 1, 1))
        for label in range(1, labels.max() + 1):
            mask, score = labels == label, score_of(stack, labels, label)
            if mask.sum() < settings.min_cell_area or score < settings.min_score:
                continue
            roi = proto.ROI()
            if flat:
                corners = outline(mask[0], 0.1 if self.shift else 0.0)
                roi.polygon.points.extend(proto.Point(x=x + self.shift, y=y + self.shift) for y, x in corners)
            else:
                vertices, faces = meshes[label]
                roi.mesh.verts.extend(proto.Point(z=z, y=y, x=x) for z, y, x in vertices.tolist())
                roi.mesh.faces.extend(proto.Mesh.Face(p1=a, p2=b, p3=c) for a, b, c in faces.tolist())
            response.detections.append(proto.ScoredROI(roi=roi, score=score))
        return response


def _stack(pixels: Any) -> np.ndarray:
    return deserialize_to_numpy(pixels, np_index_order="CZYX")[0]


class TokenCheck(grpc.ServerInterceptor):
    """Refuses whoever has another token, as Lacss does."""

    def __init__(self, token: str) -> None:
        self._token = token

    def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        if ("authorization", f"Bearer {self._token}") in handler_call_details.invocation_metadata:
            return continuation(handler_call_details)

        def refuse(_: Any, context: Any) -> None:
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "Invalid token signature")

        return grpc.unary_unary_rpc_method_handler(refuse)


class Named(grpc.ServerInterceptor):
    """Says in the metadata of every answer which server it is."""

    def __init__(self, name: str) -> None:
        self._name = name

    def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        handler = continuation(handler_call_details)
        name = self._name

        def unimplemented(_: Any, context: Any) -> None:
            context.set_trailing_metadata([("server-name", name)])
            context.abort(grpc.StatusCode.UNIMPLEMENTED, "no such method")

        return handler or grpc.unary_unary_rpc_method_handler(unimplemented)


def start(
    servicer: Any, port: int = 0, *, token: str = "", name: str = "", certificate: tuple[bytes, bytes] | None = None,
    most_bytes: int = 512 * 2**20,
) -> tuple[grpc.Server, int]:  # fmt: skip
    """Start a server on the loopback; the port is the system's choice unless it is given."""
    checks = [*([TokenCheck(token)] if token else []), *([Named(name)] if name else [])]
    limits = [("grpc.max_receive_message_length", most_bytes), ("grpc.so_reuseport", 0)]
    server = grpc.server(ThreadPoolExecutor(8), interceptors=checks, options=limits)
    proto.add_ObjectDetectionServicer_to_server(servicer, server)
    where = f"localhost:{port}"
    if certificate:
        port = server.add_secure_port(where, grpc.ssl_server_credentials([certificate]))
    else:
        port = server.add_insecure_port(where)
    server.start()
    return server, port


if __name__ == "__main__":
    assert re.fullmatch(r"\d+", sys.argv[1])
    running, _ = start(BlobServicer(delay_s=float(sys.argv[2])), int(sys.argv[1]))
    print("ready", flush=True)
    running.wait_for_termination()
