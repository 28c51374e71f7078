"""Random tracks for the round trips: divisions, merges, gaps, lone objects, 2D and 3D, all kinds of columns."""

from __future__ import annotations

import numpy as np
import pandas as pd
from hypothesis import strategies as st

from helpers.tracking.tracks import Tracks

finite = st.floats(-1e6, 1e6, allow_nan=False)
any_float = st.floats(allow_nan=True, allow_infinity=True)
#: Text without control characters or surrogates, which XML and CSV cannot hold as such.
texts = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), max_size=8)


@st.composite
def tracks(draw, *, merges: bool = True, columns: bool = True, shuffled: bool = True) -> Tracks:
    """Draw Tracks of up to 14 objects in 6 frames."""
    n = draw(st.integers(0, 14))
    frames = np.array(draw(st.lists(st.integers(0, 5), min_size=n, max_size=n)), int)
    if not shuffled:
        frames = np.sort(frames)
    ids = draw(st.lists(st.integers(0, 2**31 - 1), min_size=n, max_size=n, unique=True))
    flat = draw(st.booleans())
    position = st.lists(finite, min_size=n, max_size=n)
    objects = pd.DataFrame({"id": ids, "frame": frames}, dtype=np.int64)
    objects["label"] = np.arange(1, n + 1)
    objects["z"] = 0.0 if flat else draw(position)
    objects["y"], objects["x"] = draw(position), draw(position)
    if columns:
        kinds = {
            "volume_um3": (any_float, float),
            "intensity_sum": (st.integers(-(2**63), 2**63 - 1), np.int64),
            "counted": (st.integers(0, 255), np.uint8),
            "is dim": (st.booleans(), bool),
            "cell_type": (texts, "str"),
            "measured": (st.one_of(st.none(), st.integers(-9, 9)), "Int64"),
            "single": (st.floats(width=32), np.float32),
        }
        for name in draw(st.sets(st.sampled_from(sorted(kinds)))):
            values, kind = kinds[name]
            objects[name] = pd.array(draw(st.lists(values, min_size=n, max_size=n)), dtype=kind)
    links = _links(draw, frames, merges)
    table = pd.DataFrame(
        {
            "source": objects["id"].to_numpy()[[s for s, _ in links]],
            "target": objects["id"].to_numpy()[[t for _, t in links]],
            "cost": np.array(draw(st.lists(any_float, min_size=len(links), max_size=len(links))), float),
        }
    )
    if columns and draw(st.booleans()):
        table["SPEED"] = np.array(draw(st.lists(finite, min_size=len(links), max_size=len(links))), float)
    size = st.floats(1e-3, 1e3)
    voxel = draw(st.one_of(st.none(), st.tuples(size, size, size)))
    return Tracks(objects, table, voxel, draw(st.one_of(st.none(), size)))


def _links(draw, frames: np.ndarray, merges: bool) -> list[tuple[int, int]]:
    pairs = [(s, t) for s in range(len(frames)) for t in range(len(frames)) if frames[s] < frames[t]]
    chosen = draw(st.lists(st.sampled_from(pairs), unique=True, max_size=12)) if pairs else []
    if merges:
        return chosen
    seen: set[int] = set()
    return [(s, t) for s, t in chosen if not (t in seen or seen.add(t))]


def assert_same(found: Tracks, expected: Tracks, *, ordered: bool = True) -> None:
    """Assert that two Tracks agree in every value, type and size (and row order)."""
    for name, keys in (("objects", ["id"]), ("links", ["source", "target"])):
        a, b = getattr(found, name), getattr(expected, name)
        if not ordered:
            a, b = (table.sort_values(keys, ignore_index=True)[list(b.columns)] for table in (a, b))
        pd.testing.assert_frame_equal(a, b, check_exact=True)
    assert found.voxel_size == expected.voxel_size
    assert found.frame_interval == expected.frame_interval


def family() -> Tracks:
    """Return a 3D family of ids 10…20: a division at 1, a gap, a merge at frame 5, and a lone object."""
    rows = [
        (10, 0), (11, 1), (12, 2), (13, 2), (14, 3), (15, 4), (16, 4), (17, 5), (18, 6), (20, 3),
    ]  # fmt: skip
    rng = np.random.default_rng(3)
    objects = pd.DataFrame(rows, columns=["id", "frame"])
    objects["label"] = np.array([1, 1, 1, 2, 1, 1, 2, 1, 1, 2])
    objects[["z", "y", "x"]] = rng.uniform(0, 30, (len(rows), 3))
    objects["volume_um3"] = rng.uniform(20, 90, len(rows))
    links = [(10, 11), (11, 12), (11, 13), (12, 14), (14, 15), (13, 16), (15, 17), (16, 17), (17, 18)]
    table = pd.DataFrame(links, columns=["source", "target"]).assign(cost=rng.uniform(0, 9, len(links)))
    return Tracks(objects, table, (2.0, 0.5, 0.25), 30.0)


def mesh_volume(mesh: tuple[np.ndarray, np.ndarray]) -> float:
    """Return the volume that a mesh encloses (µm³); negative if its faces look inwards."""
    vertices, faces = mesh
    a, b, c = np.moveaxis(vertices[:, ::-1][faces], 1, 0)
    return float(np.einsum("ij,ij->", a, np.cross(b, c)) / 6)
