"""Requests as QuPath's extension Cellsparse 0.2.0 writes them: Java's PNGs, and Gson's JSON byte for byte."""

from __future__ import annotations

import base64
import http.client
import io
import json
from typing import Any

import numpy as np
from PIL import Image


def png(array: np.ndarray, mode: str | None = None) -> str:
    """Return base64 of a PNG of an array, as the mode of Pillow that is named."""
    image = Image.fromarray(array)
    if mode is not None and mode != image.mode:
        image = image.convert(mode)
    return _encoded(image)


def label_png(indices: np.ndarray) -> str:
    """Return base64 of a PNG with a palette in which 0 is white, as QuPath's label server makes it."""
    image = Image.fromarray(indices.astype(np.uint8), "P")
    colours = np.random.default_rng(0).integers(0, 255, (256, 3), np.uint8)
    colours[0] = 255
    image.putpalette(colours.ravel().tolist())
    return _encoded(image)


def body(
    image: str, labels: str | None, *, train: bool, epochs: int = 1, steps: int = 200, batch: int = 8
) -> bytes:
    """Return a body in the extension's order: no nulls, and ``=`` as Gson writes it."""
    fields: dict[str, Any] = {
        "modelname": "default", "b64img": image, "b64lbl": labels, "train": train, "eval": True, "epochs": epochs,
        "batchsize": batch, "steps": steps,
    }  # fmt: skip
    kept = {name: value for name, value in fields.items() if value is not None}
    return json.dumps(kept, separators=(",", ":")).replace("=", "\\u003d").encode()


def post(port: int, path: str, content: bytes, headers: dict[str, str] | None = None) -> tuple[int, bytes]:
    """Send a request as the extension does, and return status and answer."""
    told = {"Content-Type": "application/json; charset=utf-8", "User-Agent": "Java-http-client/17"}
    return ask(port, "POST", path, content, told | (headers or {}))


def ask(
    port: int, method: str, path: str, content: bytes | None = None, headers: dict[str, str] | None = None
) -> tuple[int, bytes]:
    """Send any request."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    try:
        connection.request(method, path, content, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def _encoded(image: Image.Image) -> str:
    file = io.BytesIO()
    image.save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()
