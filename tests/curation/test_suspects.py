"""Suspects: each kind of error is found and named, what is right is not listed first, and what was confirmed stays away."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from helpers.curation import Cell, Curation, confirming
from helpers.curation.suspects import find_suspects
from helpers.curation.suspects.signs import oddness, together
from helpers.tracking.formats import table
from tests.curation.curated_movies import LINKS, boxes, write_cells

#: A field of like cells that hardly move, in which errors stand out.
SHAPE, SIDE, STEP, N_FRAMES = (1, 96, 96), 9, 16, 8


def field() -> tuple[np.ndarray, list]:
    """Labels (T, Z, Y, X) and links of 25 cells that drift by a pixel a frame."""
    rng = np.random.default_rng(3)
    labels = np.zeros((N_FRAMES, *SHAPE), np.int32)
    for k in range(25):
        y, x = 6 + STEP * (k // 5), 6 + STEP * (k % 5)
        for t in range(N_FRAMES):
            dy, dx = rng.integers(0, 2, 2)
            labels[t, 0, y + dy : y + dy + SIDE, x + dx : x + dx + SIDE] = k + 1
    return labels, [((t, k), (t + 1, k)) for t in range(N_FRAMES - 1) for k in range(1, 26)]


def suspects_of(folder: Path, labels: np.ndarray, links: list) -> pd.DataFrame:
    with Curation(write_cells(folder, labels=labels, links=links)) as curation:
        return find_suspects(curation.state)


def test_nothing_is_suspicious_where_nothing_is_wrong(tmp_path: Path) -> None:
    assert suspects_of(tmp_path / "m", *field()).empty


def _missed(labels, links):
    labels[3][labels[3] == 13] = 0
    return [pair for pair in links if (3, 13) not in pair], "vanishes", "appears near by: the same one"


def _gap(labels, links):
    labels[3][labels[3] == 13] = 0
    return [*[p for p in links if (3, 13) not in p], ((2, 13), (4, 13))], "gap", "was missed for a frame"


def _swapped(labels, links):
    cut = [p for p in links if p not in {((2, 13), (3, 13)), ((2, 14), (3, 14))}]
    return [*cut, ((2, 13), (3, 14)), ((2, 14), (3, 13))], "speed", "typical are"


def _two_in_one(labels, links):
    labels[3][labels[3] == 14] = 13
    labels[3, 0, 38:48, 46:58][labels[3, 0, 38:48, 46:58] == 0] = 13
    return [p for p in links if (3, 14) not in p], "size jump", "times as large as one frame before"


def _false_division(labels, links):
    labels[5, 0, 40:43, 49:53] = 40
    return [*links, ((4, 13), (5, 40))], "division", "a daughter ends after 1 frame"


def _crumb(labels, links):
    labels[5, 0, 1:3, 1:3] = 40
    return links, "very small", "is tracked in 1 frame only"


def _pieces(labels, links):
    labels[:, 0, 51:53, 38:47] = 13
    return links, "pieces", "is in several pieces; the second has 18 % of its voxels"


def _appears(labels, links):
    labels[:3][labels[:3] == 13] = 0
    return [p for p in links if p[0][1] != 13 or p[0][0] > 2], "appears", "appears after the movie began"


def _long(labels, links):
    labels[4][labels[4] == 13] = 0
    labels[4, 0, 40:45, 35:50] = 13
    return links, "shape jump", "changes its elongation by"


def _large(labels, links):
    labels[:, 0, 38:53, 38:53] = 13
    return links, "very large", "times as large as the others of its frame"


def _brief(labels, links):
    labels[4, 0, 87:96, 20:29] = 40  # at the border, where cells come and go
    return links, "short track", "is tracked in 1 frame only"


def _divides_at_once(labels, links):
    labels[1:][labels[1:] == 13] = 0
    labels[1:, 0, 38:47, 38:42], labels[1:, 0, 38:47, 43:47] = 13, 40
    new = [((0, 13), (1, 40)), *[((t, 40), (t + 1, 40)) for t in range(1, 7)]]
    return [*links, *new], "division", "divides: rare, so worth a look$"


def _three_daughters(labels, links):
    labels[5:, 0, 39:47, 49:53], labels[5:, 0, 49:53, 39:47] = 40, 41
    new = [((4, 13), (5, k)) for k in (40, 41)] + [((t, k), (t + 1, k)) for t in (5, 6) for k in (40, 41)]
    return [*links, *new], "division", "divides: .*into 3"


def _unlike_daughters(labels, links):
    labels[5:, 0, 40:43, 49:52] = 40
    new = [((4, 13), (5, 40)), *[((t, 40), (t + 1, 40)) for t in (5, 6)]]
    return [*links, *new], "division", "one daughter is 0.11 times as large as the other"


def _merge(labels, links):
    labels[3][labels[3] == 14] = 0
    return (
        [*[p for p in links if (3, 14) not in p], ((2, 14), (3, 13))],
        "tracks merge",
        "2 tracks run into it",
    )


@pytest.mark.parametrize(
    "spoil",
    [
        *[_missed, _gap, _swapped, _two_in_one, _false_division, _crumb, _pieces, _merge],
        *[_appears, _long, _large, _brief, _divides_at_once, _three_daughters, _unlike_daughters],
    ],
    ids=lambda f: f.__name__,
)
def test_an_error_is_found_first_and_named(tmp_path: Path, spoil) -> None:
    labels, links = field()
    links, kind, words = spoil(labels, links)
    found = suspects_of(tmp_path / "m", labels, links)
    first = found.head(3)
    assert kind in set(first["kind"]), found[["score", "kind", "reason"]].to_string()
    assert first["reason"].str.contains(words).any()
    assert len(found) <= 8, "the rest of the field is in order"
    assert found["score"].is_monotonic_decreasing and found["score"].between(0, 1).all()


def test_a_cell_that_becomes_brighter_is_listed(tmp_path: Path) -> None:
    folder = write_cells(tmp_path / "m", 1, *field())
    tracks = table.read(folder / "tracks.csv")
    odd = (tracks.objects["frame"] == 4) & (tracks.objects["label"] == 13)
    tracks.objects["intensity_mean"] = 100 + 2.0 * tracks.objects["frame"] + 200.0 * odd
    table.write(tracks, folder / "tracks.csv")
    with Curation(folder) as curation:
        found = find_suspects(curation.state)
    assert set(found["kind"]) == {"intensity jump"} and set(found["label"]) == {13}
    assert found["frame"].tolist() == [4, 5] and "changes its mean intensity by +191 %" in found["reason"][0]


@pytest.mark.parametrize("depth", [1, 3])
def test_a_second_partner_that_fits_as_well_is_listed(tmp_path: Path, depth: int) -> None:
    labels = np.zeros((3, depth, 40, 96), np.int32)
    for t in range(3):
        for k in range(5):  # halfway to where the next one was
            labels[t, :, 15:24, 6 + 16 * k + 8 * t : 15 + 16 * k + 8 * t] = k + 1
    links = [((t, k), (t + 1, k)) for t in (0, 1) for k in range(1, 6)]
    found = suspects_of(tmp_path / "m", labels, links)
    assert set(found["kind"]) == {"close second"} and len(found) == 8, "all but the last of each frame"
    assert (
        found["reason"]
        .str.contains("overlaps cell . in frame . 100 % as well as the cell it is linked to")
        .all()
    )


def test_cells_in_no_track_are_listed(tmp_path: Path) -> None:
    labels, links = field()
    with Curation(write_cells(tmp_path / "m", labels=labels, links=links)) as curation:
        curation.do("delete_tracks", cells=[Cell(0, 7)])
        found = find_suspects(curation.state)
        assert set(found["kind"]) == {"untracked"} and len(found) == N_FRAMES and (found["label"] == 7).all()


def test_what_was_corrected_or_confirmed_never_comes_back(tmp_path: Path) -> None:
    labels, links = field()
    links, _, _ = _missed(labels, links)
    for t in range(4, N_FRAMES):  # a daughter much smaller than her sister, who stays
        labels[t, 0, 38:41, 62:65] = 40
    links += [((3, 14), (4, 40)), *[((t, 40), (t + 1, 40)) for t in range(4, N_FRAMES - 1)]]
    with Curation(write_cells(tmp_path / "m", labels=labels, links=links)) as curation:
        state = curation.state
        assert {"vanishes", "division"} <= set(find_suspects(state)["kind"])
        curation.do("interpolate", first=Cell(2, 13), last=Cell(4, 13))
        assert "vanishes" not in set(find_suspects(state)["kind"])
        for label in (13, 14):
            curation.do("confirm", **confirming.track(state, Cell(0, label)))
        left = find_suspects(state)
        assert set(left["kind"]) == {"division"}
        curation.do("confirm", **confirming.division(state, Cell(3, 14)))
        assert find_suspects(state).empty
        curation.undo()
        pd.testing.assert_frame_equal(find_suspects(state), left)


def test_a_border_excuses_who_leaves(tmp_path: Path) -> None:
    labels, links = field()
    for t in range(4, N_FRAMES):
        labels[t][np.isin(labels[t], (13, 3))] = 0  # in the middle, and at the border
    found = suspects_of(
        tmp_path / "m",
        labels,
        [p for p in links if (p[1] not in {(t, k) for t in range(4, 8) for k in (13, 3)})],
    )
    scores = found[found["kind"] == "vanishes"].set_index("label")["score"]
    assert scores[13] > scores[3] + 0.1


def test_few_cells_and_one_frame_are_no_trouble(tmp_path: Path) -> None:
    assert len(suspects_of(tmp_path / "a", boxes(3), list(LINKS)))
    one = np.zeros((1, 1, 8, 8), np.int32)
    one[0, 0, 2:5, 2:5] = 1
    found = suspects_of(tmp_path / "b", one, [])
    assert found.empty and list(found.columns)[:3] == ["score", "kind", "reason"]
    assert suspects_of(tmp_path / "c", np.zeros_like(one), []).empty


def test_yardsticks() -> None:
    assert oddness(np.array([1.0, 2.0])).tolist() == [0, 0], "two values have no spread"
    scores = oddness(np.array([*np.linspace(-1, 1, 21), 30.0, np.nan]))
    assert scores[21] > 0.99 and scores[:21].max() == 0 and scores[22] == 0
    assert together([0.5, 0.5]) == 0.75 and together([]) == 0
