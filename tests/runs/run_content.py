"""What a run has made, for comparing one run with another."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from helpers.data.label_movies import LabelMovie


def content(run_dir: Path) -> dict[str, object]:
    """Return what a run has made, without dates and durations."""
    found: dict[str, object] = {}
    for path in sorted(run_dir.rglob("*")):
        name = str(path.relative_to(run_dir))
        if name.startswith((".batch", "data", "steps")) or path.name.startswith("."):
            continue
        if path.name.endswith(".zarr") and name.startswith("movies"):
            found[name] = np.stack(list(LabelMovie.open(path).frames()))
        elif path.suffix == ".npz" and path.parent.name == "dataset":
            with np.load(path, allow_pickle=False) as arrays:
                found |= {f"{name}:{key}": arrays[key] for key in arrays.files}
        elif path.suffix == ".h5":
            found |= {f"{name}:{key}": value for key, value in _weights(path)}
        elif path.suffix == ".csv" and "frames" not in name:
            table = pd.read_csv(path)
            found[name] = table.drop(columns=[c for c in table if "second" in c and not c.endswith("_s")])
    for path in sorted(run_dir.glob("steps/*/done.json")):
        done = json.loads(path.read_text())
        found[f"{path.parent.name}:inputs"] = sorted(p.replace(str(run_dir), "") for p in done["inputs"])
    return found


def _weights(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the weights in the order of the layers, whose own names count what a process has built before."""
    import h5py

    with h5py.File(path) as file:
        for number, layer in enumerate(file.attrs["layer_names"]):
            for name in file[layer].attrs["weight_names"]:
                yield f"{number}:{str(name).rsplit('/')[-1]}", np.asarray(file[layer][name])


def assert_equal(a: dict[str, object], b: dict[str, object]) -> None:
    assert sorted(a) == sorted(b)
    for name, value in a.items():
        other = b[name]
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(value, other, err_msg=name)
        elif isinstance(value, pd.DataFrame):
            assert isinstance(other, pd.DataFrame)
            pd.testing.assert_frame_equal(value, other, obj=name)
        else:
            assert value == other, name
