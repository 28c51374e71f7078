"""Cellpose behind the server: the cells that notebook 07_segment_cellpose writes."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import numpy as np
import pytest

from helpers.data.movies import Movie, write_movie
from helpers.models.stopping import stopped_by
from helpers.runs.parameters import SegmentCellpose
from helpers.runs.segment_movie import SegmentedMovie, segment_movie
from helpers.runs.serving import served_model
from helpers.runs.steps import cellpose as step
from helpers.segmentation.cellpose_segmenter import QUALITY
from helpers.serve.line import Gone
from helpers.serve.options import add_arguments
from helpers.serve.server import start
from helpers.serve.service import ServedModel
from tests.models.drawn_cells import draw_cells
from tests.serve.fiji import ask, code_of, drawn, least_iou, request_of, voxelised

pytest.importorskip("cellpose")

VOXEL = (1.5, 1.0, 1.0)
#: Pictures that a network was not made for.
ODD = (np.eye(2), np.eye(3) * 1e-20, np.arange(90.0)[None], np.arange(90.0)[:, None], -np.eye(7) * 1e20)


@pytest.fixture(scope="module")
def folder(cellpose_run: Path) -> Path:
    return cellpose_run


@pytest.fixture(scope="module")
def stack() -> np.ndarray:
    image, _ = draw_cells((6, 40, 44), 8, np.random.default_rng(5))
    return (image * 100 + 200).astype(np.uint16)


def served(name: str | Path, *options: str) -> ServedModel:
    """Return what ``serve --cellpose NAME`` serves."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return served_model(parser.parse_args(["--grpc", "0", "--cellpose", str(name), *options]))


def by_notebook_06(stack: np.ndarray, run: Path, place: Path, **settings) -> SegmentedMovie:
    axes = "ZYX" if stack.ndim == 3 else "YX"
    path = write_movie(place / "raw.tif", stack, voxel_size=VOXEL[3 - stack.ndim :], axes=axes)
    weights = run / "models" / "cellpose" / "cellpose_model"
    p = SegmentCellpose(run_dir=place, movie=path, movie_id="m", voxel_size_um=VOXEL, model=str(weights), frame_interval_s=1.0, **settings)  # fmt: skip
    movie = Movie.open(path, voxel_size=VOXEL, frame_interval=1.0)
    return segment_movie(movie, lambda: step.open_segmenter(p, VOXEL), p)


def test_planes_are_those_of_notebook_06_with_its_quality(folder, stack, tmp_path):
    plane = stack[3]
    written = by_notebook_06(plane, folder, tmp_path, min_size_um3=20)
    with start(served(folder, "--set", "min_size_um3=20")) as server:
        answer = ask(server.grpc_port, request_of(plane, VOXEL))
        code, line = code_of(server.grpc_port, request_of(plane))
        odd = [code_of(server.grpc_port, request_of(image, VOXEL))[0] for image in ODD]
    labels = written.labels.frame(0)[0]
    assert len(answer.detections) == labels.max() > 3
    assert least_iou(drawn(answer, plane.shape), labels) == 1.0
    logits = written.objects.sort_values("label")[QUALITY].to_numpy()
    assert [d.score for d in answer.detections] == pytest.approx(1 / (1 + np.exp(-logits)), rel=1e-5)
    assert code == "INVALID_ARGUMENT" and "Image > Properties" in line, "µm² of a picture without µm"
    assert odd == ["OK"] * len(ODD)


@pytest.mark.parametrize("stitch", [True, False])
def test_stacks_are_those_of_notebook_06(folder, stack, tmp_path, stitch):
    written = by_notebook_06(stack, folder, tmp_path, stitch_planes=stitch)
    with start(served(folder, "--set", f"stitch_planes={str(stitch).lower()}")) as server:
        answer = ask(server.grpc_port, request_of(stack, VOXEL, z=len(stack)))
        code, line = code_of(server.grpc_port, request_of(stack, z=len(stack)))
    labels = written.labels.frame(0)
    assert len(answer.detections) == labels.max() > 3
    assert least_iou(voxelised(answer, stack.shape), labels) >= 0.95
    # Only 3D wants to know how much longer voxels are along z.
    assert code == ("OK" if stitch else "INVALID_ARGUMENT") and (stitch or "voxel_size_um" in line)


def test_a_built_in_model_by_name_where_its_weights_are_at_hand(folder, stack, tmp_path, monkeypatch):
    """As the seed's server: a name; without a diameter in µm planes are segmented in pixels."""
    shutil.copy(folder / "models" / "cellpose" / "cellpose_model", tmp_path / "cyto3")
    sizes = {"A": np.zeros(256), "smean": np.zeros(256), "ymean": np.log(12.0), "diam_mean": 30.0}
    np.save(tmp_path / "size_cyto3.npy", sizes, allow_pickle=True)  # type: ignore[arg-type]
    monkeypatch.setattr("cellpose.models.MODEL_DIR", tmp_path)
    named = served("cyto3")
    assert named.uncalibrated == "planes are segmented in pixels, stacks refused"
    size = ("--set", "diameter_um=12")
    with start(served("cyto3", *size)) as server, start(served(folder, *size)) as other:
        answer = ask(server.grpc_port, request_of(stack[3], VOXEL))
        assert answer == ask(other.grpc_port, request_of(stack[3], VOXEL))
    assert len(answer.detections) > 3


def test_a_network_pass_that_nobody_waits_for_ends_before_its_next_batch(folder, stack):
    segmenter, asked = served(folder).at(VOXEL), []

    def left() -> None:
        asked.append(1)
        if len(asked) == 3:
            raise Gone

    with stopped_by(left), pytest.raises(Gone):
        segmenter(stack)
    assert len(asked) == 3
