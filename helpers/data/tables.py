"""Tables from CSV files, of which nothing is read as what it is not."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pandas as pd

from helpers.errors import InputError


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
