"""What TrackMate-Lacss sends, and what can be drawn from the answer."""

from __future__ import annotations

from typing import Any

import grpc
import numpy as np
from biopb.image import (
    BinData,
    DetectionRequest,
    DetectionResponse,
    DetectionSettings,
    ImageData,
    ObjectDetectionStub,
    Pixels,
)
from skimage.draw import polygon

LARGE = [("grpc.max_receive_message_length", 2**29), ("grpc.max_send_message_length", 2**29)]
#: Every box of the plugin as it is at first, but for the score.
BOXES = {
    "min_cell_area": 0.0,
    "min_score": 0.0,
    "segmentation_threshold": 0.5,
    "nms_iou": 0.0,
    "scaling_hint": 1.0,
}


def pixels_of(frame: np.ndarray, voxel_size: tuple[float, ...] = (1.0, 1.0, 1.0)) -> Pixels:
    """Return a frame (Y, X), (C, Y, X) with `flat`, (Z, Y, X) or (Z, C, Y, X) in the bytes that Fiji sends."""
    data = BinData(data=np.ascontiguousarray(frame, ">f4").tobytes(), endianness=BinData.BIG)
    z, y, x = voxel_size
    return Pixels(
        bindata=data, dimension_order="XYZCT", dtype="f4", size_x=frame.shape[-1], size_y=frame.shape[-2],
        physical_size_x=x, physical_size_y=y, physical_size_z=z,
    )  # fmt: skip


def request_of(
    frame: np.ndarray, voxel_size: tuple[float, ...] = (1.0, 1.0, 1.0), **boxes: Any
) -> DetectionRequest:
    """Return a whole request; ``z`` says how many planes are announced, 0 without a Z axis."""
    pixels = pixels_of(frame, voxel_size)
    pixels.size_z = boxes.pop("z", 0)
    for name in [name for name in boxes if name in Pixels.DESCRIPTOR.fields_by_name]:
        setattr(pixels, name, boxes.pop(name))
    settings = DetectionSettings(**(BOXES | boxes))
    return DetectionRequest(image_data=ImageData(pixels=pixels), detection_settings=settings)


def channel_to(port: int) -> grpc.Channel:
    return grpc.insecure_channel(f"127.0.0.1:{port}", options=LARGE, compression=grpc.Compression.Gzip)


def ask(
    port: int, request: DetectionRequest, token: str | None = None, timeout: float = 180
) -> DetectionResponse:
    """Send a request as the plugin does: a new channel each, gzip, a deadline."""
    with channel_to(port) as channel:
        metadata = [("authorization", f"Bearer {token}")] if token else []
        return ObjectDetectionStub(channel).RunDetection(
            request, timeout=timeout, metadata=metadata, wait_for_ready=True
        )


def code_of(port: int, request: DetectionRequest, **more: Any) -> tuple[str, str]:
    """Return the code and the line that a request is refused with."""
    try:
        ask(port, request, **more)
    except grpc.RpcError as error:
        return error.code().name, error.details()  # type: ignore[attr-defined]
    return "OK", ""


def drawn(answer: DetectionResponse, shape: tuple[int, int]) -> np.ndarray:
    """Draw polygons again, in the order of the answer: 1…n."""
    labels = np.zeros(shape, np.int32)
    for i, detection in enumerate(answer.detections, 1):
        points = np.array([(p.y, p.x) for p in detection.roi.polygon.points])
        labels[polygon(points[:, 0], points[:, 1], shape)] = i
    return labels


def voxelised(answer: DetectionResponse, shape: tuple[int, int, int]) -> np.ndarray:
    """Fill meshes again: voxels whose centres they wind around (van Oosterom and Strackee's solid angle)."""
    labels = np.zeros(shape, np.int32)
    for i, detection in enumerate(answer.detections, 1):
        mesh = detection.roi.mesh
        vertices = np.array([(v.z, v.y, v.x) for v in mesh.verts])
        faces = np.array([(f.p1, f.p2, f.p3) for f in mesh.faces])
        low, high = np.floor(vertices.min(axis=0)).astype(int), np.ceil(vertices.max(axis=0)).astype(int) + 1
        low, high = np.maximum(low, 0), np.minimum(high, shape)
        centres = np.stack(np.meshgrid(*map(np.arange, low, high), indexing="ij"), -1).reshape(-1, 3)
        for centre in centres:
            a, b, c = np.moveaxis(vertices[faces] - centre, 1, 0)
            la, lb, lc = (np.linalg.norm(v, axis=1) for v in (a, b, c))
            over = np.einsum("ij,ij->i", a, np.cross(b, c))
            dot = lambda u, v: np.einsum("ij,ij->i", u, v)  # noqa: E731
            under = la * lb * lc + dot(a, b) * lc + dot(b, c) * la + dot(c, a) * lb
            if abs(np.arctan2(over, under).sum() / (2 * np.pi)) > 0.5:
                labels[tuple(centre)] = i
    return labels


def least_iou(found: np.ndarray, truth: np.ndarray) -> float:
    """Return the IoU of the worst matched cell, 0 where their numbers differ."""
    if found.max() != len(np.unique(truth)) - 1:
        return 0.0
    worst = 1.0
    for label in np.unique(truth)[1:]:
        own = truth == label
        other = found == np.bincount(found[own]).argmax()
        worst = min(worst, float((own & other).sum() / (own | other).sum()))
    return worst
