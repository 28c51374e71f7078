"""Through every pair of formats: what both can hold comes out as it went in, whatever stood between."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
import tifffile

from helpers.errors import InputError
from helpers.tracking.formats import any_format, btrackmate, ctc, geff, mmv_h4tracks, table, trackmate
from helpers.tracking.tracks import Tracks

VOXEL = (2.0, 0.5, 0.25)
Frames = list[np.ndarray]


class Format(NamedTuple):
    """How a format is written, and where the labels that its tracks refer to are found afterwards."""

    name: str
    write: Callable[[Tracks, Path, Frames], object]
    masks: bool = False


def _masks(path: Path) -> Frames:
    return [tifffile.imread(mask) for mask in sorted(path.glob("mask*.tif"))]


FORMATS = {
    "csv": Format("t.csv", lambda tracks, path, frames: table.write(tracks, path)),
    "tables": Format("tables", lambda tracks, path, frames: table.write(tracks, path)),
    "xml": Format("t.xml", lambda tracks, path, frames: trackmate.write(tracks, path, labels=frames)),
    "geff": Format("t.geff", lambda tracks, path, frames: geff.write(tracks, path)),
    "ctc": Format("ctc", lambda tracks, path, frames: ctc.write(tracks, path, frames), masks=True),
    "mmv": Format("t.zarr", lambda tracks, path, frames: mmv_h4tracks.write(tracks, path, frames)),
}
#: Those that hold any movie; mmv_h4tracks knows one plane only, and no track of one object.
ANY = [name for name in FORMATS if name != "mmv"]


def drawn(
    cells: dict[int, tuple[int, ...]], links: list, *, planes: int = 1, offset: int = 0
) -> tuple[Tracks, Frames]:
    """Draw cells {id: (frame, label, y, x)} as blocks of 3 × 3 (× 3) voxels around these places, and link them."""
    last = max((frame for frame, *_ in cells.values()), default=0) + offset
    frames = [np.zeros((planes, 24, 40), np.int32) for _ in range(last + 1)]
    middle = planes // 2
    rows = []
    for i, (frame, label, y, x) in cells.items():
        frames[frame + offset][max(middle - 1, 0) : middle + 2, y - 1 : y + 2, x - 1 : x + 2] = label
        rows.append((i, frame + offset, label, *np.multiply(VOXEL, (middle, y, x))))
    objects = pd.DataFrame(rows, columns=["id", "frame", "label", "z", "y", "x"])
    return Tracks(objects, pd.DataFrame(links, columns=["source", "target"]), VOXEL, 30.0), frames


#: A cell divides at frame 1; a daughter is not seen in frame 3; another cell begins late. Rows are in no order.
FAMILY = {
    7: (4, 3, 4, 20), 0: (0, 1, 8, 8), 1: (1, 1, 8, 10), 3: (2, 70_000, 14, 12), 2: (2, 3, 4, 12), 5: (3, 70_000, 15, 12),
    11: (3, 5, 20, 30), 12: (4, 5, 20, 32), 8: (5, 3, 4, 22),
}  # fmt: skip
LINKS = [(0, 1), (1, 2), (1, 3), (2, 7), (7, 8), (3, 5), (11, 12)]


def content(tracks: Tracks) -> tuple[list, set]:
    """Return the objects and the links by frame and place, which no renumbering changes."""
    places = tracks.objects[["frame", "z", "y", "x"]].to_numpy().round(6).tolist()
    objects = [tuple(place) for place in places]
    return sorted(objects), {(objects[a], objects[b]) for a, b in tracks.link_rows.tolist()}


def passed(tracks: Tracks, frames: Frames, name: str, folder: Path) -> tuple[Tracks, Frames]:
    """Write tracks in a format; return what is read of it, and the frames that its labels lie in."""
    kind = FORMATS[name]
    path = folder / kind.name
    kind.write(tracks, path, frames)
    found = any_format.read(path, voxel_size=VOXEL, frame_interval=30.0)
    return found, _masks(path) if kind.masks else frames


@pytest.fixture(scope="module", params=FORMATS)
def between(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Tracks, Frames]:
    """Return the family as the first of two formats gives it back."""
    tracks, frames = drawn(FAMILY, LINKS)
    return passed(tracks, frames, request.param, tmp_path_factory.mktemp(request.param))


@pytest.mark.parametrize("second", FORMATS)
def test_a_division_and_a_gap_pass_through_two_formats(between, tmp_path: Path, second: str) -> None:
    expected, _ = drawn(FAMILY, LINKS)
    found, _ = passed(between[0], between[1], second, tmp_path)
    assert content(found) == content(expected)
    assert (found.voxel_size, found.frame_interval) == (VOXEL, 30.0)
    assert found.divisions["frame"].tolist() == [1] and found.gaps["missing"].tolist() == [1]


@pytest.mark.parametrize(("first", "second"), [*pairwise([*ANY, ANY[0]])])
def test_slices_and_a_late_beginning_pass_through_two_formats(
    tmp_path: Path, first: str, second: str
) -> None:
    """The first cell comes in frame 4, in the middle of five slices: neither time nor depth begins at 0."""
    expected, frames = drawn(FAMILY, LINKS, planes=5, offset=4)
    assert expected.objects["z"].unique().tolist() == [4.0] and expected.objects["frame"].min() == 4
    found, _ = passed(*passed(expected, frames, first, tmp_path / "1"), second, tmp_path / "2")
    assert content(found) == content(expected)


@pytest.mark.parametrize(
    ("cells", "links"),
    [
        ({}, []),
        ({3: (0, 1, 5, 5)}, []),
        ({3: (0, 1, 5, 5), 4: (0, 2, 5, 15)}, []),
        ({3: (0, 1, 5, 5), 9: (6, 1, 7, 5)}, [(3, 9)]),
        ({2**31 - 1: (0, 9, 5, 5), 0: (1, 9, 7, 5)}, [(2**31 - 1, 0)]),
    ],
    ids=["nothing", "one cell", "one frame", "one long gap", "largest id"],
)
def test_the_smallest_movies(tmp_path: Path, cells: dict, links: list) -> None:
    expected, frames = drawn(cells, links)
    for name in ANY:
        found, _ = passed(expected, frames, name, tmp_path)
        assert content(found) == content(expected), name
        if name != "ctc":
            assert found.objects["id"].tolist() == expected.objects["id"].tolist(), name


def test_a_merge_is_kept_or_refused_by_name(tmp_path: Path) -> None:
    cells = {0: (0, 1, 4, 4), 1: (0, 2, 12, 4), 2: (1, 1, 8, 4), 3: (2, 1, 8, 6)}
    expected, frames = drawn(cells, [(0, 2), (1, 2), (2, 3)])
    for name in ("csv", "tables", "xml", "geff"):
        found, _ = passed(expected, frames, name, tmp_path)
        assert found.merges["parents"].tolist() == [(0, 1)], name
    with pytest.warns(UserWarning, match="1 links are left out"):
        lost = ctc.write(expected, tmp_path / "ctc", frames)
    assert lost[["source", "target"]].to_numpy().tolist() == [[1, 2]]
    found = any_format.read(tmp_path / "ctc", voxel_size=VOXEL)
    assert len(found.objects) == 4 and len(found.merges) == 0 and len(found.links) == 2
    # Tracklets: 0 the first parent, 1 the second, 2 the merged cell.
    assert mmv_h4tracks.lineage_lines(expected) == ["2 1 2 [0,1]"]


NOTES = ["Zelle α", "", 'a "b", c;d', "細胞\nzwei", "<x> & 'y'"]


@pytest.mark.parametrize("name", ["csv", "tables", "xml", "geff"])
def test_columns_with_texts_and_gaps_come_back(tmp_path: Path, name: str) -> None:
    expected, frames = drawn({i: (i, 1, 5, 5 + 2 * i) for i in range(5)}, [(0, 1), (1, 2)])
    more = expected.objects.assign(
        **{"größe (µm)": [1.5, np.nan, np.inf, -0.0, 1e-300]},  # names as others write them
        note=NOTES,
        kind=pd.Series(["a", None, "b", None, ""], dtype=object),
        count=np.array([2**62 + 1, -1, 0, 7, 2**31], np.int64),
        seen=[True, False, True, True, False],
    )
    expected = Tracks(more, expected.links.assign(cost=[np.nan, 0.1]), VOXEL, 30.0)
    found, _ = passed(expected, frames, name, tmp_path / "größe")
    drop = found.objects.drop(columns="contour", errors="ignore")
    pd.testing.assert_frame_equal(drop, expected.objects, check_exact=True)
    pd.testing.assert_frame_equal(found.links, expected.links, check_exact=True)


@pytest.mark.parametrize("name", FORMATS)
def test_the_order_of_rows_changes_nothing(tmp_path: Path, name: str) -> None:
    expected, frames = drawn(FAMILY, LINKS)
    order = np.random.default_rng(0).permutation(len(expected.objects))
    shuffled = Tracks(
        expected.objects.iloc[order], expected.links.iloc[::-1], expected.voxel_size, expected.frame_interval
    )
    found, _ = passed(shuffled, frames, name, tmp_path)
    assert content(found) == content(expected)


@pytest.mark.parametrize("name", ["ctc", "mmv", "btrackmate"])
def test_formats_in_pixels_scale_with_the_voxel(tmp_path: Path, name: str) -> None:
    """The same file, read with voxels of twice the size along x, is twice as wide and no higher."""
    tracks, frames = drawn(FAMILY, LINKS)
    path = tmp_path / "t.csv"
    if name == "btrackmate":
        btrackmate.write(tracks, path)
    else:
        path = tmp_path / FORMATS[name].name
        FORMATS[name].write(tracks, path, frames)
    with pytest.raises(InputError, match="voxel_size_um"):
        any_format.read(path)
    one, other = (any_format.read(path, voxel_size=(0.5, x)) for x in (0.25, 0.5))
    np.testing.assert_allclose(other.objects["x"], one.objects["x"] * 2)
    pd.testing.assert_series_equal(other.objects["y"], one.objects["y"])
    ratio = 2 * np.ones(len(one.objects))
    if name == "btrackmate":
        np.testing.assert_allclose(other.objects["extent_x_um"] / one.objects["extent_x_um"], ratio)
        pd.testing.assert_series_equal(other.objects["extent_y_um"], one.objects["extent_y_um"])


def test_masks_in_3d_ask_for_all_three_sizes(tmp_path: Path) -> None:
    tracks, frames = drawn(FAMILY, LINKS, planes=5)
    ctc.write(tracks, tmp_path / "ctc", frames)
    with pytest.raises(InputError, match=r"masks are 3D; give \(z, y, x\)"):
        any_format.read(tmp_path / "ctc", voxel_size=(0.5, 0.25))
    table.write(Tracks(tracks.objects.assign(z=range(9)), voxel_size=VOXEL), tmp_path / "t.csv")
    with pytest.raises(InputError, match=r"voxel_size_um = \(0.5, 0.25\).*t.csv is 3D"):
        any_format.read(tmp_path / "t.csv", voxel_size=(0.5, 0.25))
