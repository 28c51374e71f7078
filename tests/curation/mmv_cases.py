"""Movies whose scores mmv_h4tracks 1.3.0 itself has computed (`mmv_h4tracks_scores.json`), and how it was asked.

In an environment with mmv_h4tracks (``pip install --no-deps`` of it is enough beside napari, numba and scipy)::

    python tests/curation/mmv_cases.py > tests/curation/mmv_h4tracks_scores.json
    python tests/curation/mmv_cases.py csv > tests/curation/mmv_h4tracks_csv.json
"""

from __future__ import annotations

import numpy as np

SEEDS = range(12)
N_FRAMES = 4


def movie(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return truth and result: labels (T, Y, X), and tracks (N, 4) of id, frame, y, x as mmv_h4tracks has them.

    Cells are touching boxes, so that each centroid lies in its cell. In the result cells are missed, merged with the one
    beside, invented, shifted, and change their identity.
    """
    rng = np.random.default_rng(seed)
    grid = np.arange(1, 21).reshape(4, 5) * (rng.random((4, 5)) < 0.8)
    truth = np.stack([np.kron(grid, np.ones((8, 8), int))] * N_FRAMES)
    found = truth.copy()
    for frame in found:
        for label in np.unique(grid[grid > 0]):
            if rng.random() < 0.1:
                frame[frame == label] = 0
            elif rng.random() < 0.1 and label % 5 and (frame == label + 1).any():
                frame[frame == label] = label + 1
        by = int(rng.integers(-3, 4))
        frame[:] = np.pad(frame, ((0, 0), (3, 3)))[:, 3 - by : 43 - by]
        if rng.random() < 0.5:
            frame[:4, :3] = 30
    names = np.stack(
        [rng.permutation(31) + 1 if rng.random() < 0.3 else np.arange(1, 32) for _ in range(N_FRAMES)]
    )
    return truth, found, _tracks(truth, None), _tracks(found, names)


def _tracks(labels: np.ndarray, names: np.ndarray | None) -> np.ndarray:
    rows = []
    for t, frame in enumerate(labels):
        for label in np.unique(frame[frame > 0]):
            y, x = np.rint(np.argwhere(frame == label).mean(axis=0)).astype(int)
            rows.append((label if names is None else names[t, label - 1], t, y, x))
    return np.array(sorted(rows))


def _as_mmv(seed: int) -> dict[str, float]:
    from mmv_h4tracks import _evaluation as mmv  # type: ignore[import-not-found]

    truth, found, true_tracks, tracks = movie(seed)
    window = mmv.EvaluationWindow
    names = {"false_positives": mmv.get_false_positives, "false_negatives": mmv.get_false_negatives}
    names["split_cells"] = mmv.get_split_cells
    scores = {k: float(sum(map(f, truth, found))) for k, f in names.items()}
    last = N_FRAMES - 1  # as evaluate_curated_tracking leaves the last frame out
    de, ae = window.get_track_fault(
        None, truth, true_tracks[true_tracks[:, 1] < last], found, tracks[tracks[:, 1] < last]
    )
    scores |= {"deleted_edges": float(de), "added_edges": float(ae)}
    scores |= {"iou": float(window._calculate_iou(None, truth, found))}
    scores |= {"dice": float(window._calculate_dice(None, truth, found))}
    ours = type("Window", (), {n: getattr(window, n) for n in ("_true_positive", "_intersection_over_union")})
    return scores | {"ap50": float(window._calculate_ap50(ours(), truth, found))}


#: Least path (pixels) and duration (frames) of what its CSV calls valid.
FILTERS = (3, 4)


def csv_movie(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return labels (T, Y, X), and tracks as it keeps them: two rows or more, no gaps."""
    labels, tracks = movie(seed)[1::2]
    frames = {i: tracks[tracks[:, 0] == i, 1] for i in np.unique(tracks[:, 0])}
    whole = [i for i, t in frames.items() if len(t) > 1 and np.ptp(t) + 1 == len(t)]
    return labels, tracks[np.isin(tracks[:, 0], whole)]


def _csv_as_mmv(seed: int) -> list[list[object]]:
    from types import SimpleNamespace

    from mmv_h4tracks import _analysis as mmv  # type: ignore[import-not-found]

    labels, tracks = csv_movie(seed)
    window = mmv.AnalysisWindow
    combo = SimpleNamespace(currentText=lambda: "")
    own = SimpleNamespace(viewer=None, parent=SimpleNamespace(combobox_segmentation=combo, combobox_tracks=combo, get_process_limit=lambda: 1))  # fmt: skip
    for name in dir(window):
        if "calc" in name or name in ("_extend_metrics", "_individual_metric_values"):
            setattr(own, name, getattr(window, name).__get__(own))
    mmv.grab_layer = lambda *_: SimpleNamespace(data=labels)
    own.direction = own._calculate_direction(tracks)
    ids, duration = np.unique(tracks[:, 0], return_counts=True)
    path = own._calculate_accumulated_distance(tracks)[:, 1]
    valid = ids[(path >= FILTERS[0]) & (duration >= FILTERS[1])]
    metrics = ["Speed", "Size", "Direction", "Euclidean distance", "Velocity", "Accumulated distance"]
    rows = window._compose_csv_data(own, tracks, np.column_stack([ids, duration]), valid, *FILTERS, [*metrics, "Perimeter", "Eccentricity"])  # fmt: skip
    return [[x.item() if isinstance(x, np.generic) else x for x in row if x is not None] for row in rows]


if __name__ == "__main__":
    import json
    import sys

    if sys.argv[1:] == ["csv"]:
        print(json.dumps({seed: _csv_as_mmv(seed) for seed in (0, 3)}, indent=0))
        raise SystemExit
    found = {}
    for seed in SEEDS:
        try:
            found[seed] = _as_mmv(seed)
        except ValueError as error:  # it refuses halves that do not sum up within a frame
            print(f"seed {seed}: {error}", file=__import__("sys").stderr)
    print(json.dumps(found, indent=1))
