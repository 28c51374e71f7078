"""Annotations drawn in ImageJ and QuPath become sparse labels."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import roifile
import tifffile

from helpers.data.experiment import read_experiment
from helpers.data.outlines import is_outline_file, read_outlines
from helpers.data.patches import create_training_set
from helpers.errors import InputError
from helpers.runs.parameters import CreateDataset
from helpers.runs.plan import plan
from helpers.runs.steps.dataset import find_pairs

SHAPE = (6, 30, 40)


def square(y: int, x: int, size: int = 6) -> list[list[float]]:
    return [[x, y], [x + size, y], [x + size, y + size], [x, y + size]]


def region(points, name: str, z: int = 0, group: int = 0) -> roifile.ImagejRoi:
    """Return a polygon in slice `z`, from 1 as ImageJ counts; 0: in none."""
    roi = roifile.ImagejRoi.frompoints(np.array(points, np.float32), name=name)
    roi.position = z
    roi.roitype = roifile.ROI_TYPE.POLYGON
    roi.group = group
    return roi


def write_zip(path: Path, *regions: roifile.ImagejRoi) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for i, one in enumerate(regions):
            file.writestr(f"{i}.roi", one.tobytes())
    return path


def write_geojson(path: Path, *features: dict, collection: bool = True) -> Path:
    path.write_text(
        json.dumps({"type": "FeatureCollection", "features": features} if collection else features)
    )
    return path


def feature(rings, kind: str = "Polygon", classification: str | None = None, **geometry) -> dict:
    properties = {} if classification is None else {"classification": {"name": classification}}
    return {
        "type": "Feature",
        "geometry": {"type": kind, "coordinates": rings, **geometry},
        "properties": properties,
    }


def test_imagej_regions_are_filled_between_slices(tmp_path: Path) -> None:
    path = write_zip(
        tmp_path / "a.zip",
        region(square(2, 3), "one", 2, group=1),
        region(square(2, 7), "one later", 4, group=1),
        region(square(20, 30), "two", 3),
        region(square(0, 0, 12), "Background-1", 2),
    )
    labels = read_outlines(path, SHAPE)
    expected = np.full(SHAPE[1:], -1)
    expected[:12, :12] = 0
    expected[2:8, 3:9] = 1
    assert np.array_equal(labels[1], expected)
    assert (labels[3, 2:8, 7:13] == 1).all() and (labels[2, 20:26, 30:36] == 2).all()
    middle = np.argwhere(labels[2] == 1)
    assert len(middle) > 10 and np.allclose(middle.mean(axis=0), (4.5, 7.5), atol=0.5)
    assert not (labels[4:] >= 0).any() and (labels >= 0).mean() < 0.05


def test_qupath_objects(tmp_path: Path) -> None:
    ring, hole = [*square(4, 4, 12), [4, 4]], [*square(8, 8, 4), [8, 8]]
    path = write_geojson(
        tmp_path / "a.geojson",
        feature([ring, hole], classification="Foreground"),
        feature([[*square(20, 20), [20, 20]]]),
        feature([[[[0, 0], [40, 0], [40, 3], [0, 3], [0, 0]]]], "MultiPolygon", "Background"),
        feature([[*square(26, 0, 3), [0, 26]]], classification="Ignore*"),
        collection=False,
    )
    labels = read_outlines(path, (1, 30, 40))[0]
    assert (labels[:3] == 0).all() and labels[26, 1] == -1
    assert (labels == 1).sum() == 12 * 12 - 4 * 4 and labels[9, 9] == -1
    assert (labels[20:26, 20:26] == 2).all() and labels.max() == 2


@pytest.mark.parametrize(
    ("regions", "error"),
    [
        ([region(square(2, 3), "one")], "says no slice"),
        ([region(square(2, 3), "one", 9)], "slice 9.*1 to 6"),
        ([region(square(90, 3), "one", 2)], "no pixel of 40 × 30"),
        ([region(square(2, 3), "background", 2)], "only background"),
        ([region(square(2, 3), "one", 2, 1), region(square(20, 30), "two", 2, 1)], "2 pieces"),
        ([], "no outlines"),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path: Path, regions, error: str) -> None:
    with pytest.raises(InputError, match=error):
        read_outlines(write_zip(tmp_path / "a.zip", *regions), SHAPE)


def test_points_and_other_files_are_refused(tmp_path: Path) -> None:
    point = roifile.ImagejRoi.frompoints(np.array([[3, 3]], np.float32), name="p", position=1)
    point.roitype = roifile.ROI_TYPE.POINT
    with pytest.raises(InputError, match="p: point"):
        read_outlines(write_zip(tmp_path / "a.zip", point), SHAPE)
    with pytest.raises(InputError, match="1 of 1: point"):
        read_outlines(write_geojson(tmp_path / "a.geojson", feature([3, 3], "Point")), SHAPE)
    for name in ("b.zip", "b.roi", "b.geojson"):
        (tmp_path / name).write_bytes(b"no such thing")
        with pytest.raises(InputError):
            read_outlines(tmp_path / name, SHAPE)
    assert not is_outline_file("movie.zarr.zip") and not is_outline_file(np.zeros(3))


@pytest.fixture
def annotated(tmp_path: Path) -> Path:
    """Three raw stacks: one with drawn outlines, one with a label image in which 0 says nothing, one without."""
    rng = np.random.default_rng(0)
    (tmp_path / "raw").mkdir()
    (tmp_path / "drawn").mkdir()
    for name in "abc":
        tifffile.imwrite(tmp_path / "raw" / f"{name}.tif", rng.poisson(100, SHAPE).astype(np.uint16))
    write_zip(
        tmp_path / "drawn" / "a.zip",
        region(square(2, 3), "one", 3), region(square(2, 3), "one", 4), region(square(0, 0, 12), "background", 3),
    )  # fmt: skip
    labels = np.zeros(SHAPE, np.uint8)
    labels[1:4, 1:12, 1:12], labels[2:3, 3:9, 3:9] = 1, 7
    tifffile.imwrite(tmp_path / "drawn" / "b.tif", labels)
    (tmp_path / "annotated.yaml").write_text(
        "name: annotated\nvoxel_size_um: [2, 0.5, 0.5]\n"
        "annotations: {raw_dir: raw, annotation_dir: drawn, unannotated: 0, background_label: 1}\n"
        "steps:\n  03_create_dataset: {patch_size: [4, 16, 16], network_depth: 2, patches_per_image: 3}\n"
    )
    return tmp_path


def test_annotations_of_an_experiment_train(annotated: Path) -> None:
    experiment = read_experiment(annotated / "annotated.yaml", run_dir=annotated / "run")
    (job,) = plan(experiment)
    p = job.parameters
    assert isinstance(p, CreateDataset) and p.unannotated == 0 and p.background_label == 1
    pairs = find_pairs(p)
    assert [(pair.name, Path(str(pair.labels)).name) for pair in pairs] == [("a", "a.zip"), ("b", "b.tif")]
    patches = create_training_set(
        pairs, annotated / "x.npz", voxel_size=(2, 0.5, 0.5), patch_size=(4, 16, 16), patches_per_image=3,
        unannotated=p.unannotated, background_label=p.background_label, boundary_width=None,
    )  # fmt: skip
    assert patches.settings["sparse"]["cells"] == 2 and patches.settings["sparse"]["stacks"] == 2
    assert {int(n) for i in range(6) for n in np.unique(patches.patch(i)[2])} == {-1, 0, 1, 7}


def test_annotations_that_belong_to_no_stack(annotated: Path) -> None:
    (annotated / "drawn" / "a.zip").rename(annotated / "drawn" / "RoiSet.zip")
    with pytest.raises(InputError, match=r"RoiSet.zip.*named as a raw stack"):
        find_pairs(
            CreateDataset.checked({"raw_dir": annotated / "raw", "annotation_dir": annotated / "drawn"})
        )
    text = (annotated / "annotated.yaml").read_text().replace("annotation_dir", "annotation_folder")
    (annotated / "annotated.yaml").write_text(text)
    with pytest.raises(InputError, match=r"line 3.*annotation_dir"):
        read_experiment(annotated / "annotated.yaml")
