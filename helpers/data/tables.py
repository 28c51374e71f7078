"""Tables in CSV files: nothing is read as what it is not, and numbers are written as people read them."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from helpers.data.atomic import atomic_path
from helpers.errors import InputError

#: How a number is written: with six significant digits at most, more than any microscope measures.
SIX_DIGITS = "%.6g"
#: From here on not every whole number is a float.
_EXACT = 2.0**53


def read_table(path: str | Path, name: str | None = None, **options: Any) -> pd.DataFrame:
    """Read a CSV table.

    Parameters
    ----------
    path : path-like
        The file.
    name : str, optional
        What the user calls it, such as the parameter that names it; the path by default.
    **options
        For `pandas.read_csv`.

    Raises
    ------
    InputError
        No such file, no CSV (a quote that never closes is none), or a column that stands twice: pandas would rename it.
    """
    path = Path(path)
    name = name or str(path)
    if not path.is_file():
        raise InputError(name, str(path), "there is no such file; give a CSV table")
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            header = next(csv.reader(stream), [])
        table = pd.read_csv(path, **options)
    except (ValueError, UnicodeDecodeError, csv.Error, OverflowError) as error:
        reason = str(error).strip().removeprefix("Error tokenizing data. C error: ")
        remedy = "; save it as 'CSV UTF-8'" if isinstance(error, UnicodeDecodeError) else ""
        remedy = "; look for a quote that does not close" if "inside string" in reason else remedy
        raise InputError(name, str(path), f"a CSV table with a header line ({reason}){remedy}") from error
    twice = sorted({column for column in header if column and header.count(column) > 1})
    if twice:
        raise InputError(f"{name} {path.name}", twice, "these columns stand twice; keep one of each")
    return table


def write_table(table: pd.DataFrame, path: str | Path, *, na_rep: str = "") -> None:
    """Write a CSV table, wholly or not at all: numbers as `as_csv`, and `na_rep` where there is none.

    Raises
    ------
    InputError
        The folder is read-only, the disk is full, or the like.
    """
    with atomic_path(path) as temporary:
        _as_written(table).to_csv(
            temporary, index=False, float_format=SIX_DIGITS, na_rep=na_rep, lineterminator="\n"
        )


def as_csv(table: pd.DataFrame) -> str:
    """Return a table as CSV: numbers with six significant digits at most, whole numbers with all of theirs.

    A column is whole where all its values are, also where it has gaps or comes as float: an id that is joined to a
    table stays that id, however large.
    """
    return _as_written(table).to_csv(index=False, float_format=SIX_DIGITS, lineterminator="\n")


def _as_written(table: pd.DataFrame) -> pd.DataFrame:
    shown = table.copy(deep=False)
    for name in shown:
        column = shown[name]
        if pd.api.types.is_float_dtype(column):
            values = column.to_numpy(float, na_value=np.nan)
            there = values[~np.isnan(values)]
            if (np.abs(there) < _EXACT).all() and (there == np.rint(there)).all():
                shown[name] = column.astype("Int64")
        elif column.dtype == object:
            shown[name] = [
                SIX_DIGITS % value if isinstance(value, float) and value == value else value
                for value in column
            ]
    return shown
