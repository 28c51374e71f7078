"""Tables and tracks are read as what they are, or refused by one clear error; never as something near it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile

from helpers.analysis.boundary import HullBoundary, measure_distances
from helpers.errors import InputError
from helpers.tracking.formats import any_format, ctc, geff
from helpers.tracking.kalman import AdvancedKalmanParameters, KalmanParameters, link_kalman
from helpers.tracking.tracks import Tracks

HEAD = "id,frame,y,x"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f'{HEAD},note\n0,0,1,1,"lost\n1,1,1,1,fine\n', ["EOF inside string"]),
        (f"{HEAD},x\n0,0,1,1,2\n", ["'x'", "stand twice"]),
        (f"{HEAD}\n9223372036854775808,0,1,1\n", ["objects.id", "63 bits"]),
        (f"{HEAD}\n1e19,0,1,1\n", ["objects.id", "integers"]),
        (f"{HEAD}\n1.5,0,1,1\n", ["objects.id", "1.5"]),
        (f"{HEAD}\n0,1.5,1,1\n", ["objects.frame", "1.5"]),
        (f"{HEAD},sources\n0,0,1,1,\n1,1,1,1,0.5\n", ["sources", "0.5"]),
        (f"{HEAD}\n0,0x10,1,1\n", ["objects.frame"]),
        ("T,X,Y,Z,Label,a,b,c,d,e,f\n0,1,1,0,1.5,1,1,1,1,1,1\n", ["Label", "1.5"]),
        ("T,X,Y,Z,Label,a,b,c,d,e,f\n0.5,1,1,0,1,1,1,1,1,1,1\n", ["frame", "0.5"]),
    ],
)
def test_tables(tmp_path: Path, text: str, words: list[str]) -> None:
    path = tmp_path / "tracks.csv"
    path.write_text(text)
    with pytest.raises(InputError) as error:
        any_format.read(path, voxel_size=(1, 1, 1))
    for word in words:
        assert word in str(error.value)


def test_ids_that_a_spreadsheet_wrote_with_a_point(tmp_path: Path) -> None:
    path = tmp_path / "tracks.csv"
    path.write_text(f"{HEAD},sources\n0.0,0,1,1,\n1.0,1.0,1,1,0.0\n")
    assert any_format.read(path).links[["source", "target"]].to_numpy().tolist() == [[0, 1]]


def _square(frames: int = 3) -> Tracks:
    rows = [(t, 10 * k, 10.0 * k) for t in range(frames) for k in range(4)]
    objects = pd.DataFrame(rows, columns=["frame", "y", "x"]).assign(size=1.5)
    links = pd.DataFrame({"source": range(4 * (frames - 1)), "target": range(4, 4 * frames)})
    return Tracks(objects, links, (1, 1, 1), 60)


def test_lost_chunks_of_a_geff(tmp_path: Path) -> None:
    whole = tmp_path / "whole.geff"
    geff.write(_square(), whole)
    assert len(geff.read(whole).objects) == 12
    chunks = [
        p for p in whole.rglob("*") if p.is_file() and not p.name.startswith(".") and "zarr" not in p.name
    ]
    assert len(chunks) > 5
    for chunk in chunks:
        copy = tmp_path / "cut.geff"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(whole, copy)
        (copy / chunk.relative_to(whole)).unlink()
        with pytest.raises(InputError):
            geff.read(copy)


def test_a_foreign_geff_may_leave_out_what_is_0(tmp_path: Path) -> None:
    import zarr

    path = tmp_path / "other.geff"
    geff.write(_square(), path)
    group = zarr.open_group(str(path))
    group.attrs["geff"] = {**group.attrs["geff"], "extra": {}}  # type: ignore[dict-item]
    (path / "nodes/props/size/values/0").unlink()
    assert (geff.read(path).objects["size"] == 0).all()
    (path / "nodes/props/x/values/0").unlink()
    with pytest.raises(InputError, match=r"nodes/props/x/values"):
        geff.read(path)


def test_colour_pictures_are_no_stacks(tmp_path: Path) -> None:
    (tmp_path / "res_track.txt").write_text("1 0 0 0\n")
    tifffile.imwrite(tmp_path / "mask000.tif", np.ones((32, 32, 3), np.uint8), photometric="rgb")
    with pytest.raises(InputError, match=r"mask000\.tif.*colour"):
        ctc.read(tmp_path, voxel_size=(1, 1, 1))


@pytest.mark.parametrize("parameters", [KalmanParameters, AdvancedKalmanParameters])
@pytest.mark.parametrize(("gap", "linked"), [(1, True), (2, True), (3, False), (10, False)])
def test_kalman_does_not_link_over_a_longer_gap(parameters: type, gap: int, linked: bool) -> None:
    """Cells of the first frame wait for the second that has any, but not for ever."""
    objects = pd.DataFrame({"frame": [0, gap], "y": [5.0, 5.0], "x": [5.0, 6.0], "area_um2": 9.0})
    assert len(link_kalman(objects, parameters(max_frame_gap=2)).links) == linked


@pytest.mark.slow
def test_more_labels_than_16_bits_hold(tmp_path: Path) -> None:
    n = 70_000
    plane = np.arange(1, n + 1, dtype=np.int32).reshape(1, 700, 100)
    y, x = np.divmod(np.arange(n), 100)
    tracks = Tracks(pd.DataFrame({"frame": 0, "label": np.arange(1, n + 1), "y": y, "x": x}))
    with pytest.warns(UserWarning, match="70,000 labels do not fit"):
        ctc.write(tracks, tmp_path, [plane])
    mask = tifffile.imread(tmp_path / "mask000.tif")
    assert mask.dtype == np.uint32
    assert len(np.unique(mask)) == n
    again = ctc.read(tmp_path, voxel_size=(1, 1))
    assert len(again.objects) == n


def test_cells_on_the_hull_are_outer_not_outside() -> None:
    rng = np.random.default_rng(3)
    for dimension in (2, 3):
        points = rng.normal(size=(400, 3)) * 30 + 500
        points[:, : 3 - dimension] = 0
        tracks = Tracks(pd.DataFrame(points, columns=["z", "y", "x"]).assign(frame=0))
        hull = HullBoundary(np.zeros(400, int), points, dimension == 2)
        found = measure_distances(tracks, hull, inner_from=5.0)
        assert set(found["region"]) == {"outer", "inner"}
        assert (found["distance_um"] == 0).sum() > 8
        far = hull.field(0).at(np.array([[0.0, 0, 0]]))
        assert far[0] < -100
