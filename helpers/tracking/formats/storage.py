"""What the formats share: paths that must exist, label frames, and columns that keep their type."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from helpers.errors import InputError


def existing(path: str | Path, what: str) -> Path:
    """Return `path` as a Path, or raise `InputError` saying that `what` was expected there."""
    path = Path(path)
    if not path.exists():
        raise InputError("path", str(path), f"there is nothing there; give {what}")
    if not (path.is_file() or path.is_dir()):
        raise InputError("path", str(path), f"a pipe or device cannot be read; give {what}")
    return path


def dtypes(table: pd.DataFrame) -> dict[str, str]:
    """Return the name of each column's dtype, in column order."""
    return {str(column): str(dtype) for column, dtype in table.dtypes.items()}


def with_dtypes(table: pd.DataFrame, wanted: dict[str, str]) -> pd.DataFrame:
    """Return `table` with the columns of `wanted` first, in that order and of those dtypes, then the others.

    A column that cannot have its dtype again (a value was lost on the way) keeps what it has.
    """
    columns = [column for column in wanted if column in table]
    rest = [column for column in table.columns if column not in wanted]
    result = table[columns + rest].copy()
    for column in columns:
        if str(result[column].dtype) != wanted[column]:
            try:
                result[column] = result[column].astype(wanted[column])  # type: ignore[call-overload]
            except (TypeError, ValueError):
                continue
    return result


def numbers(series: pd.Series) -> np.ndarray | None:
    """Return a column's values as int64 or float64 (missing as NaN), or None if it does not hold numbers."""
    if not (pd.api.types.is_bool_dtype(series) or pd.api.types.is_numeric_dtype(series)):
        return None
    if pd.api.types.is_complex_dtype(series):
        return None
    if not pd.api.types.is_float_dtype(series) and not series.isna().any():
        return series.to_numpy(np.uint64 if str(series.dtype).lower() == "uint64" else np.int64)
    return series.to_numpy(np.float64, na_value=np.nan)


def frames_of(labels: Any, name: str = "labels") -> Iterator[np.ndarray]:
    """Yield the frames, all of one shape, of an iterable of arrays, or of a movie, one at a time; `name` is for errors."""
    movie = hasattr(labels, "frame") and hasattr(labels, "shape")
    first: tuple[int, ...] | None = None
    for t, frame in enumerate(map(labels.frame, range(labels.shape[0])) if movie else labels):
        array = np.asarray(frame)
        first = first or array.shape
        if array.shape != first:
            raise InputError(f"{name}[{t}]", array.shape, f"all frames have the shape of the first, {first}")
        yield array


def is_missing(value: object) -> bool:
    """Whether a cell of a table holds nothing: None, NA or NaN."""
    return value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value))
