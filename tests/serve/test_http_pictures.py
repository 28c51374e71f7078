"""The extension's pictures become arrays, and labels the outlines that QuPath draws again pixel by pixel."""

from __future__ import annotations

import base64

import numpy as np
import pytest

from helpers.errors import InputError
from helpers.serve.qupath import features, read_annotations, read_image
from tests.serve.qupath_extension import label_png, png

MOST = 10_000
GREY = np.arange(48, dtype=np.uint8).reshape(6, 8) * 5
COLOURS = np.dstack([GREY, GREY // 2, 255 - GREY])


@pytest.mark.parametrize(
    "text, expected",
    [
        (png(GREY), GREY),
        (png(GREY.astype(np.uint16) * 200 + 7), GREY.astype(np.uint16) * 200 + 7),
        (png(np.dstack([GREY] * 3)), GREY),
        (png(np.dstack([GREY, GREY, GREY, 255 - GREY])), GREY),
        (png(COLOURS), COLOURS.mean(-1)),
        (png(np.dstack([COLOURS, GREY])), COLOURS.mean(-1)),
        (png(np.dstack([GREY, 255 - GREY]), "LA"), GREY),
        (png(GREY > 60), np.where(GREY > 60, 255, 0) // 255),
    ],
    ids=["8 bit", "16 bit", "RGB grey", "RGBA grey", "RGB", "RGBA", "grey with alpha", "1 bit"],
)
def test_every_kind_of_png_is_one_channel_without_transparency(text, expected):
    found = read_image(text, most_pixels=MOST)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert found.shape == (6, 8)


def test_the_colours_of_a_picture_with_a_palette_count_and_one_can_be_chosen():
    indices = np.tile(np.array([0, 1, 2, 3], np.uint8), (6, 2))
    picture = read_image(label_png(indices), most_pixels=MOST)
    assert len(np.unique(picture)) == 4 and picture[0, 0] == 255
    np.testing.assert_array_equal(read_image(png(COLOURS), channel=2, most_pixels=MOST), COLOURS[..., 1])


def test_indices_of_a_palette_are_the_labels_less_one():
    indices = np.zeros((6, 8), np.uint8)
    indices[0], indices[2:4, 1:4], indices[5, 7] = 1, 2, 3
    expected = indices.astype(int) - 1
    expected[5, 7] = -1  # a point, drawn as one pixel, has no outline
    for text in (label_png(indices), png(indices), png(indices.astype(np.uint16))):
        np.testing.assert_array_equal(read_annotations(text, (6, 8), most_pixels=MOST), expected)


@pytest.mark.parametrize(
    "text, said",
    [
        (None, "Foreground"),
        (label_png(np.ones((6, 8))), "Foreground"),
        (label_png(np.full((8, 6), 2)), "8 × 6 pixels"),
        (png(COLOURS), "one number per pixel"),
    ],
)
def test_annotations_that_teach_nothing_are_refused(text, said):
    with pytest.raises(InputError, match=said):
        read_annotations(text, (6, 8), most_pixels=MOST)


def test_a_picture_is_refused_by_its_size_before_it_is_unpacked():
    whole = base64.b64decode(png(np.zeros((200, 200), np.uint8)))
    header_only = base64.b64encode(whole[:60]).decode()
    with pytest.raises(InputError, match="200 × 200 pixels"):
        read_image(header_only, most_pixels=MOST)
    with pytest.raises(InputError, match="PNG"):
        read_image(header_only, most_pixels=10**6)


def drawn(found: list[dict], shape: tuple[int, int]) -> np.ndarray:
    """Draw features as QuPath does: the pixels whose centres, at x + ½, lie inside."""
    import shapely
    from shapely.geometry import shape as shape_of

    yy, xx = np.indices(shape)
    labels = np.zeros(shape, int)
    for i, feature in enumerate(found):
        labels[shapely.contains_xy(shape_of(feature["geometry"]), xx + 0.5, yy + 0.5)] = i + 1
    return labels


def test_outlines_with_holes_and_parts_give_the_labels_again():
    labels = np.zeros((40, 40), np.int32)
    labels[1:9, 1:9], labels[3:5, 3:5] = 1, 0  # a hole
    labels[20:24, 20:24] = labels[30:33, 5:9] = 2  # two parts
    labels[12:18, 30:36], labels[13:15, 31:33], labels[12, 30] = (
        3,
        0,
        0,
    )  # a hole that touches the outside at a corner
    labels[35, 39] = 4
    labels[30:34, 30:34] = labels[34:38, 34:38] = 5  # parts that touch at a corner
    found = features(labels)
    np.testing.assert_array_equal(drawn(found, labels.shape), labels)
    assert [f["geometry"]["type"] for f in found[:2]] == ["Polygon", "MultiPolygon"]
    assert len(found[0]["geometry"]["coordinates"]) == 2
    assert set(found[3]["geometry"]["coordinates"][0]) == {(39, 35), (40, 35), (40, 36), (39, 36)}


def test_every_ring_is_closed_valid_and_may_be_made_simpler():
    from shapely.geometry import shape as shape_of

    rng = np.random.default_rng(3)
    labels = rng.integers(0, 4, (30, 30)).astype(np.int32)
    yy, xx = np.indices((30, 30))
    labels[(yy - 15) ** 2 + (xx - 15) ** 2 < 64] = 4
    exact, simple = features(labels), features(labels, min_area=200 - 30, tolerance=1.5)
    np.testing.assert_array_equal(drawn(exact, labels.shape), labels)
    for feature in exact + simple:
        assert shape_of(feature["geometry"]).is_valid
        assert set(feature) == {"type", "geometry", "properties"} and set(feature["properties"]) == {
            "object_idx",
            "label",
        }
        parts = feature["geometry"]["coordinates"]
        for ring in (
            parts if feature["geometry"]["type"] == "Polygon" else [r for part in parts for r in part]
        ):
            assert ring[0] == ring[-1] and len(ring) >= 4 and np.isfinite(ring).all()
    disc = simple[-1]["geometry"]["coordinates"][0]
    assert len(disc) < 20 < len(exact[-1]["geometry"]["coordinates"][0])
