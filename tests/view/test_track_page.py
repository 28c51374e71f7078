"""The page of tracks: what a browser reads from it are the tracks; and a browser shows them."""

from __future__ import annotations

import base64
import gzip
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from helpers.tracking.tracks import Tracks
from helpers.view.track_page import write_track_page
from tests.browser import Browser

VOXEL = (2.0, 0.5, 0.5)
_TYPES = {"u1": np.uint8, "u2": np.uint16, "i4": np.int32, "f4": np.float32}


@pytest.fixture
def tracks() -> Tracks:
    """A cell that is missed for two frames and divides, a lone one, and one cell that goes on; not in order of time."""
    rows = [
        (5, 4.0, 1.0, 9.0),
        (5, 0.0, 1.0, 8.0),
        (0, 1.0, 1.0, 1.0),
        (1, 2.0, 4.0, 5.0),
        (4, 3.0, 2.0, 9.0),
    ]
    rows += [(2, 0.0, 30.0, 2.0)] + [(t, 3.0, 20.0, 40.0 + t) for t in range(6)]
    objects = pd.DataFrame(rows, columns=["frame", "z", "y", "x"]).assign(
        id=np.arange(100, 112),
        volume_um3=np.arange(12) * 1.23456789,
        score=[np.nan, np.inf, *range(10)],
        empty=np.nan,
        flag=[True, False] * 6,
        count=pd.array([1, None] * 6, dtype="Int64"),
        name="text",
    )
    links = [(102, 103), (103, 104), (104, 100), (104, 101)] + [(i, i + 1) for i in range(106, 111)]
    return Tracks(objects, pd.DataFrame(links, columns=["source", "target"]), VOXEL, 60.0)


def _read(page: Path) -> tuple[dict, dict[str, np.ndarray]]:
    """Read the page as its script does."""
    text = page.read_text(encoding="utf-8")
    about = json.loads(re.findall(r'<script id="about"[^>]*>(.*?)</script>', text, re.DOTALL)[0])
    arrays = {}
    for key, packed in re.findall(r'<script type="text/plain" data-array="(.*?)">(.*?)</script>', text):
        dtype = np.dtype(_TYPES[about["kinds"][key]])
        shuffled = np.frombuffer(gzip.decompress(base64.b64decode(packed)), np.uint8)
        values = shuffled.reshape(dtype.itemsize, -1).T.copy().view(dtype).ravel()
        arrays[key] = np.cumsum(values, dtype=dtype) if dtype == np.int32 else values
    return about, arrays


def test_what_is_read_from_the_page_are_the_tracks(tracks: Tracks, tmp_path: Path) -> None:
    about, arrays = _read(write_track_page(tmp_path / "page.html", tracks, name="movie"))
    assert [about[name] for name in ("objects", "links", "frames", "tracks", "divisions")] == [12, 9, 6, 2, 1]
    table = tracks.annotated().set_index("id")
    rows = table.loc[arrays["column id"]]
    assert rows["frame"].is_monotonic_increasing
    places = arrays["position"].reshape(-1, 3) / 65535 * about["size"] + about["low"]
    np.testing.assert_allclose(places, rows[["x", "y", "z"]], atol=1e-3)
    for column in ("track_id", "tracklet_id", "generation", "lineage", "flag", "frame"):
        np.testing.assert_array_equal(arrays[f"column {column}"], rows[column], err_msg=column)
    np.testing.assert_allclose(arrays["column volume_um3"], rows["volume_um3"], rtol=1e-5)
    np.testing.assert_array_equal(arrays["column score"], rows["score"].replace(np.inf, np.nan))
    np.testing.assert_array_equal(arrays["column count"], rows["count"].to_numpy(float, na_value=np.nan))
    assert "column name" not in arrays and "column empty" in arrays
    ids = arrays["column id"]
    linked = set(zip(*ids[arrays["link"].reshape(2, -1)].tolist(), strict=True))
    assert linked == set(zip(tracks.links["source"], tracks.links["target"], strict=True))
    for t in range(6):  # what a frame shows is one part of the arrays
        shown = slice(*arrays["first_object"][t : t + 2])
        assert set(ids[shown]) == set(table.index[table["frame"] == t])
        arriving = arrays["link"].reshape(2, -1)[1, slice(*arrays["first_link"][t : t + 2])]
        assert set(rows["frame"].iloc[arriving]) <= {t}
    np.testing.assert_array_equal(arrays["tracklet_link"].reshape(2, -1).T, tracks.tracklet_links)


def test_one_stray_value_does_not_take_all_colours(tmp_path: Path) -> None:
    objects = pd.DataFrame({"frame": 0, "y": np.arange(200.0), "x": 0.0, "score": [*range(199), 1e6]})
    about, _ = _read(write_track_page(tmp_path / "page.html", Tracks(objects)))
    column = next(c for c in about["columns"] if c["name"] == "score")
    assert column["ends"][1] < 200 and column["range"] == [0, 1e6]


def test_the_same_tracks_are_the_same_page_without_a_network(tracks: Tracks, tmp_path: Path) -> None:
    pages = [
        write_track_page(tmp_path / name, tracks, name="</script><b>").read_text() for name in ("a", "b")
    ]
    assert pages[0] == pages[1]
    assert "<b>" not in pages[0]
    assert not re.findall(
        r"""(?:src|href)=["'](?!data:)""", re.sub(r"<script>.*?</script>", "", pages[0], flags=re.DOTALL)
    )


@pytest.mark.parametrize("n", [0, 1])
def test_no_cell_and_a_single_one_are_a_page(n: int, tmp_path: Path) -> None:
    objects = pd.DataFrame({"frame": [0], "y": [2.0], "x": [3.0]}).head(n)
    about, arrays = _read(write_track_page(tmp_path / "page.html", Tracks(objects)))
    assert (about["objects"], about["flat"], about["tracks"]) == (n, True, 0)
    assert about["radius"] > 0 and len(arrays["position"]) == 3 * n


def _seen_at(tracks: Tracks, cell: int, radius: float, width: int, height: int) -> tuple[float, float]:
    """Return where a cell is seen from the front, by the page's camera: 35° high, the whole box in view."""
    points = tracks.objects[["x", "y", "z"]].to_numpy(float)
    size = np.ptp(points, axis=0)
    reach = np.hypot.reduce(size) / 2 + 2 * radius
    away = 1.02 * reach / np.sin(np.radians(17.5)) / min(1, width / height)
    at = points[tracks.objects["id"] == cell][0] - points.min(axis=0) - size / 2
    x, y = at[:2] / (away + at[2]) * height / 2 / np.tan(np.radians(17.5))
    return width / 2 + x, height / 2 + y


def test_a_click_on_a_cell_shows_its_track_lineage_and_curves(
    tracks: Tracks, tmp_path: Path, browser: Browser
) -> None:
    browser.open(write_track_page(tmp_path / "page.html", tracks, name="movie"))
    browser.wait("document.body?.dataset.ready")
    browser.run("""
        const set = (id, value, kind) => { const e = document.getElementById(id); e.value = value; e.dispatchEvent(new Event(kind)); };
        set("frame", 4, "input"); set("color", "volume_um3", "change"); set("curve", "y", "change");
        document.getElementById("home").click();""")
    assert browser.text("#clock") == "frame 4 of 5, 4 min" and "volume (µm³)" in browser.text("#color")
    about = json.loads(browser.run("return document.getElementById('about').textContent"))
    width, height = browser.run(
        "const v = document.getElementById('view'); return [v.clientWidth, v.clientHeight]"
    )
    x, y = _seen_at(tracks, 104, about["radius"], width, height)
    browser.click(x, y)
    browser.wait("document.querySelectorAll('#curves path').length")
    assert "track 0: 5 points, 1 division" in browser.text("#chosen")
    assert browser.run(
        "return [...document.querySelectorAll('#lineage text')].map((t) => t.textContent)"
    ) == ["0", "3", "4"]
    drawn = browser.run(
        "return [...document.querySelectorAll('#curves path')].map((p) => p.getAttribute('d').match(/[ML]/g).length)"
    )
    assert drawn == [3, 1, 1] * 2  # y and volume, of the mother and of either daughter
    # Four fifths of the way between the margins of a drawing that is 330 wide.
    now = browser.run("return [...document.querySelectorAll('.now')].map((n) => parseFloat(n.style.left))")
    np.testing.assert_allclose(now, 100 * (46 + 0.8 * (330 - 52)) / 330, rtol=1e-4)
    red, green, blue = browser.picture()[round(y), round(x)]
    assert max(red, green, blue) > 100  # the cell, not the dark ground
    browser.click(width - 5, height - 5)
    browser.wait("document.getElementById('track').hidden")


def test_the_page_is_no_wider_than_a_narrow_window(tracks: Tracks, tmp_path: Path, browser: Browser) -> None:
    browser.open(write_track_page(tmp_path / "page.html", tracks, name="movie" * 40), width=500)
    browser.wait("document.body?.dataset.ready")
    assert browser.run("return document.documentElement.scrollWidth") <= 500
