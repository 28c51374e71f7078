"""What one large message costs a server: ``python -m tests.serve.memory_of_a_server MB`` prints the peak of its memory, in messages.

The server runs in a process of its own, with a segmenter that needs next to nothing; the message is float32, big endian, as
Fiji sends it, and is sent as it is.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from biopb.image import DetectionResponse

from tests.serve.fiji import LARGE, request_of

SERVER = """
import sys, numpy as np
from helpers.segmentation.segmenter import Segmentation
from helpers.serve.server import start
from helpers.serve.service import ServedModel

def segment(frame, *, mask=None):
    labels = np.zeros(frame.shape, np.int32)
    labels[:, 3:9, 4:11] = 1
    return Segmentation({"corner": labels}, {})

with start(ServedModel("corner", lambda _: segment, voxel_size=(1.0, 1.0, 1.0))) as server:
    print(server.grpc_port, flush=True)
    sys.stdin.read()
"""


def peak_of(megabytes: int) -> tuple[float, int]:
    """Return the server's memory above what it had, over the message's size; and the cells it answered."""
    side = 1024
    planes = megabytes * 2**20 // (4 * side * side) - 1  # the message is larger than its pixels
    voxels = np.zeros((planes, side, side), ">f4")
    voxels[:, 3:9, 4:11] = 1
    empty = request_of(np.zeros((1, 1)), z=planes, size_x=side, size_y=side)
    empty.image_data.pixels.bindata.data = voxels.tobytes()
    del voxels
    body = empty.SerializeToString()
    del empty
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root), "VOLLTRACK_MEMORY_MB": "100000"}
    command = [sys.executable, "-c", SERVER]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None and process.stdin is not None
        port = int(process.stdout.readline())
        with grpc.insecure_channel(
            f"127.0.0.1:{port}"
        ) as channel:  # loads what is loaded at the first picture
            small = request_of(np.eye(20)[None], z=1).SerializeToString()
            call: Any = channel.unary_unary("/biopb.image.ObjectDetection/RunDetection")
            call(small, timeout=600)
        Path(f"/proc/{process.pid}/clear_refs").write_text("5")  # forget the peak of its start
        before = _peak(process.pid)
        with grpc.insecure_channel(f"127.0.0.1:{port}", options=LARGE) as channel:
            call = channel.unary_unary("/biopb.image.ObjectDetection/RunDetection")
            answer = DetectionResponse.FromString(call(body, timeout=600))
        grown = _peak(process.pid) - before
        process.stdin.close()
    return grown / len(body), len(answer.detections)


def _peak(process: int) -> int:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


if __name__ == "__main__":
    times, cells = peak_of(int(sys.argv[1]))
    print(f"{sys.argv[1]} MB: peak {times:.2f} times the message, {cells} cells")
