"""Real gRPC on the loopback address: what Fiji gets is what notebook 06_segment writes."""

from __future__ import annotations

from pathlib import Path

import grpc
import numpy as np
import pytest
import tifffile
from biopb.image import BinData, DetectionRequest, DetectionSettings, ImageData, ObjectDetectionStub

from helpers.runs.parameters import Segment
from helpers.runs.segment_movie import segment_movie
from helpers.runs.serving import run_model
from helpers.runs.steps import segmentation
from helpers.serve.server import start
from tests.segmentation.tiny_cells import VOXEL, discs
from tests.serve.fiji import ask, channel_to, code_of, drawn, least_iou, pixels_of, request_of, voxelised


@pytest.fixture(scope="module")
def frame():
    return discs((90, 80), 20, 77)[0]


@pytest.fixture(scope="module")
def stack():
    return np.stack([discs((60, 64), 10, 5)[0]] * 2 + [discs((60, 64), 10, 6)[0]] * 2)


@pytest.fixture(scope="module")
def server(run: Path):
    with start(run_model(run)) as running:
        yield running


@pytest.fixture(scope="module")
def slices(run: Path):
    """Serve stacks: the networks are 2D, and go through them plane by plane."""
    with start(run_model(run, "stardist", {"slice_wise": True})) as running:
        yield running


def by_notebook_05(run: Path, image: np.ndarray, folder: Path, **settings) -> np.ndarray:
    """Return the frame of labels.zarr that notebook 06_segment writes."""
    tifffile.imwrite(
        folder / "movie.tif",
        image[None, :, None] if image.ndim == 3 else image[None, None, None],
        imagej=True,
    )
    method = settings.pop("method", "vollseg")
    p = Segment(run_dir=run, movie=folder / "movie.tif", movie_id=folder.name, voxel_size_um=VOXEL, frame_interval_s=1.0, method=method, **settings)  # fmt: skip
    movie = segmentation.open_movie(p)
    return segment_movie(movie, lambda: segmentation.open_segmenter(p, VOXEL), p).labels.frame(0)


@pytest.mark.parametrize("method", ["vollseg", "stardist", "unet"])
def test_fiji_gets_the_cells_of_notebook_05(run, frame, tmp_path, method):
    labels = by_notebook_05(run, frame, tmp_path, method=method)[0]
    with start(run_model(run, method)) as one:
        answer = ask(one.grpc_port, request_of(frame, VOXEL))
    assert len(answer.detections) == labels.max() > 5
    assert least_iou(drawn(answer, frame.shape), labels) == 1.0
    assert all(0 < d.score <= 1 for d in answer.detections)
    assert len({round(d.score, 4) for d in answer.detections}) > 3


def test_stacks_become_closed_meshes(run, slices, stack, tmp_path):
    labels = by_notebook_05(run, stack, tmp_path, method="stardist", slice_wise=True)
    answer = ask(slices.grpc_port, request_of(stack, VOXEL, z=len(stack)))
    assert labels.max() > 8 and least_iou(voxelised(answer, stack.shape), labels) >= 0.95


def test_a_stack_of_one_plane_becomes_meshes_where_fiji_has_a_z_axis(server, frame):
    flat = ask(server.grpc_port, request_of(frame, VOXEL))
    thin = ask(server.grpc_port, request_of(frame, VOXEL, z=1))
    assert len(thin.detections) == len(flat.detections) > 8
    assert {d.roi.WhichOneof("shape") for d in thin.detections} == {"mesh"}
    assert {d.roi.WhichOneof("shape") for d in flat.detections} == {"polygon"}
    # biopb's own helper says size_z = 1 and size_c of every picture, and wants polygons.
    other = ask(server.grpc_port, request_of(frame, VOXEL, z=1, size_c=1, size_t=1))
    assert other == flat


def test_channels_as_fiji_sends_them(run, frame, stack):
    """Without a Z axis channel by channel; with one X, Y, C, Z, though XYZCT is announced."""
    noise = np.random.default_rng(0).integers(0, 5000, frame.shape).astype(np.uint16)
    with start(run_model(run, "stardist", {"channel": 1, "slice_wise": True})) as second:
        alone = ask(second.grpc_port, request_of(np.stack([frame, frame]), VOXEL))
        both = ask(second.grpc_port, request_of(np.stack([noise, frame]), VOXEL))
        assert both == alone and len(both.detections) > 8
        noises = np.random.default_rng(0).integers(0, 5000, stack.shape)
        deep = request_of(np.stack([noises, stack], axis=1), VOXEL, z=len(stack))
        same = request_of(np.stack([stack, stack], axis=1), VOXEL, z=len(stack))
        assert ask(second.grpc_port, deep) == ask(second.grpc_port, same)
        code, line = code_of(second.grpc_port, request_of(frame))
        assert code == "INVALID_ARGUMENT" and "Multi-Channel" in line


@pytest.mark.parametrize("dtype, endianness", [("<u2", 0), (">u2", 1), ("uint16", 1), ("|f8", 0), ("i4", 1)])
def test_the_endianness_counts_and_not_the_prefix(server, frame, dtype, endianness):
    kind = np.dtype(dtype.lstrip("<>|")).newbyteorder("<" if endianness else ">")
    request = request_of(frame, VOXEL, dtype=dtype)
    request.image_data.pixels.bindata.CopyFrom(
        BinData(data=frame.astype(kind).tobytes(), endianness=endianness)
    )
    assert ask(server.grpc_port, request) == ask(server.grpc_port, request_of(frame, VOXEL))


def test_orders_of_axes(server, frame):
    request = request_of(frame, VOXEL, dimension_order="TYXCZ", size_c=1, z=1)
    request.image_data.pixels.bindata.data = np.ascontiguousarray(frame.T, ">f4").tobytes()
    assert ask(server.grpc_port, request) == ask(server.grpc_port, request_of(frame, VOXEL))


def test_every_box_of_the_plugin_is_obeyed(server, frame):
    everything = ask(server.grpc_port, request_of(frame, VOXEL))
    areas = np.bincount(drawn(everything, frame.shape).ravel())[1:]
    scores = np.array([d.score for d in everything.detections])
    least = float(np.median(areas))
    large = ask(server.grpc_port, request_of(frame, VOXEL, min_cell_area=least))
    assert len(large.detections) == (areas >= least).sum() < len(areas)
    sure = ask(server.grpc_port, request_of(frame, VOXEL, min_score=float(np.median(scores))))
    assert len(sure.detections) == (scores >= np.float32(np.median(scores))).sum() < len(scores)
    assert ask(server.grpc_port, request_of(frame, VOXEL, nms_iou=0.3)) == everything
    unset = request_of(frame, VOXEL)
    unset.ClearField("detection_settings")
    assert ask(server.grpc_port, unset) == everything


def test_scaling_is_undone_in_the_answer(server, frame):
    small = frame.repeat(2, axis=0).repeat(2, axis=1)
    plain = drawn(ask(server.grpc_port, request_of(frame, VOXEL)), frame.shape)
    answer = ask(server.grpc_port, request_of(small, (2.0, 0.25, 0.25), scaling_hint=0.5))
    found = drawn(answer, small.shape)[::2, ::2]
    both = (plain > 0) & (found > 0)
    assert both.sum() > 0.9 * ((plain > 0) | (found > 0)).sum()


def test_pictures_that_are_not_calibrated_have_the_voxels_of_the_training(server, frame):
    assert ask(server.grpc_port, request_of(frame)) == ask(server.grpc_port, request_of(frame, VOXEL))


@pytest.mark.parametrize("image", [np.zeros((64, 64)), np.full((1, 1), 3), np.eye(200) > 2, np.ones((1, 90))])
def test_empty_and_tiny_pictures_have_no_cells(server, image):
    assert len(ask(server.grpc_port, request_of(image)).detections) == 0


@pytest.mark.parametrize("image", [np.eye(3), np.eye(2) * 1e-20, np.arange(90.0)[None], -np.eye(7) * 1e20])
def test_pictures_that_networks_were_not_made_for_are_answered(server, image):
    assert len(ask(server.grpc_port, request_of(image)).detections) <= 3
    for scaling in (0.05, 20.0):
        assert code_of(server.grpc_port, request_of(image, scaling_hint=scaling))[0] == "OK"


def test_answers_to_other_machines_are_compressed_and_the_same(server, frame, monkeypatch):
    plain = ask(server.grpc_port, request_of(frame, VOXEL))
    monkeypatch.setattr("helpers.serve.detection._Call.here", False)
    assert ask(server.grpc_port, request_of(frame, VOXEL)) == plain


WRONG = {
    "no pixels": ({}, {"data": b""}, "no pixels"),
    "no width": ({"size_x": 0}, {}, "size_x"),
    "sizes that do not fit": ({"size_x": 79}, {}, "bytes"),
    "channels that do not fit": ({"size_c": 3}, {}, "bytes"),
    "2 to the 31 pixels": ({"size_x": 2**31, "size_y": 2**31, "size_z": 9}, {}, "bytes"),
    "two frames": ({"size_t": 2}, {}, "one by one"),
    "unknown type": ({"dtype": "float"}, {}, "bytes"),
    "no type": ({"dtype": ""}, {}, "dtype"),
    "text": ({"dtype": "U4"}, {}, "dtype"),
    "objects": ({"dtype": "O"}, {}, "dtype"),
    "complex": ({"dtype": "c8"}, {}, "dtype"),
    "a record": ({"dtype": "f4,f4"}, {}, "dtype"),
    "huge type": ({"dtype": "f99999999999"}, {}, "dtype"),
    "order": ({"dimension_order": "XYZ"}, {}, "XYZCT"),
    "order twice": ({"dimension_order": "XXYZC"}, {}, "XYZCT"),
    "no pixel size": ({"physical_size_x": 0.0}, {}, "physical_size_x"),
    "NaN pixel size": ({"physical_size_y": float("nan")}, {}, "physical_size_y"),
    "NaN": ({}, {"data": np.full((90, 80), np.nan, ">f4").tobytes()}, "NaN"),
    "infinite": ({}, {"data": np.full((90, 80), -np.inf, ">f4").tobytes()}, "infinite"),
    "too bright": ({}, {"data": np.linspace(0, 3e38, 7200, dtype=">f4").tobytes()}, "camera"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_wrong_pixels_are_refused_with_one_line(server, frame, name):
    fields, data, said = WRONG[name]
    request = request_of(frame, VOXEL)
    pixels = request.image_data.pixels
    for field, value in fields.items():
        setattr(pixels, field, value)
    for field, value in data.items():
        setattr(pixels.bindata, field, value)
    code, line = code_of(server.grpc_port, request)
    assert code == "INVALID_ARGUMENT" and said in line and "\n" not in line and len(line) < 400


@pytest.mark.parametrize(
    "box, value",
    [("min_score", 1.5), ("min_score", float("nan")), ("nms_iou", -1), ("min_cell_area", -3), ("scaling_hint", 0.0),
     ("scaling_hint", 1e9), ("segmentation_threshold", 2), ("cell_diameter_hint", 12), ("model_name", "other")],
)  # fmt: skip
def test_wrong_settings_are_refused_with_one_line(server, frame, box, value):
    code, line = code_of(server.grpc_port, request_of(frame, VOXEL, **{box: value}))
    assert code == "INVALID_ARGUMENT" and "\n" not in line


def test_a_stack_for_networks_of_planes_is_refused(server, stack):
    code, line = code_of(server.grpc_port, request_of(stack, VOXEL, z=len(stack)))
    assert code == "INVALID_ARGUMENT" and "2D" in line and "slice_wise" in line


def test_bytes_that_are_no_message(server):
    with channel_to(server.grpc_port) as channel:
        call = channel.unary_unary("/biopb.image.ObjectDetection/RunDetection")
        for body in (b"\xff\xff\xff", b"", b"GET / HTTP/1.1"):
            with pytest.raises(grpc.RpcError) as error:
                call(body, timeout=60)
            assert error.value.code().name == "INVALID_ARGUMENT"
        with pytest.raises(grpc.RpcError) as error:
            channel.unary_unary("/biopb.image.ObjectDetection/RunModelAdaptation")(b"", timeout=60)
        assert error.value.code().name == "UNIMPLEMENTED"


def test_new_settings_for_the_same_picture(server, frame):
    every = request_of(frame, VOXEL)
    plain = ask(server.grpc_port, every)
    strict = request_of(frame, VOXEL, min_score=0.9)
    alone = DetectionRequest(detection_settings=DetectionSettings(min_score=0.9))
    before = server.service.counts["voxels"]
    with channel_to(server.grpc_port) as channel:
        stub = ObjectDetectionStub(channel)
        first, second = stub.RunDetectionStream(iter([every, alone]), timeout=120)
        assert server.service.counts["voxels"] == before + frame.size  # the networks ran once
        assert first == plain
        assert second == ask(server.grpc_port, strict) and len(second.detections) < len(first.detections)
        with pytest.raises(grpc.RpcError) as error:
            list(stub.RunDetectionStream(iter([alone]), timeout=120))
        assert error.value.code().name == "INVALID_ARGUMENT"


def test_patches_are_put_where_they_belong(server, frame):
    whole = ask(server.grpc_port, request_of(frame, VOXEL))
    patches = []
    for y, x in [(0, 0), (0, 30), (40, 30), (40, 0)]:
        pixels = pixels_of(frame[y : y + 50, x : x + 50], VOXEL)
        pixels.offset_y, pixels.offset_x = y, x
        patches.append(DetectionRequest(image_data=ImageData(pixels=pixels)))
    moved = [DetectionRequest.FromString(p.SerializeToString()) for p in patches]
    for patch in moved:
        patch.image_data.pixels.offset_x += 100
    with channel_to(server.grpc_port) as channel:
        stub = ObjectDetectionStub(channel)
        assert stub.RunDetectionOnGrid(iter(patches), timeout=120) == whole
        far = stub.RunDetectionOnGrid(iter(moved), timeout=120)
        left = [min(p.x for p in d.roi.polygon.points) for d in whole.detections]
        assert [min(p.x for p in d.roi.polygon.points) - 100 for d in far.detections] == left
        for wrong in (
            [],
            [patches[0], request_of(frame, VOXEL, offset_x=4_000_000_000, offset_y=4_000_000_000)],
        ):
            with pytest.raises(grpc.RpcError) as error:
                stub.RunDetectionOnGrid(iter(wrong), timeout=120)
            assert error.value.code().name == "INVALID_ARGUMENT"
