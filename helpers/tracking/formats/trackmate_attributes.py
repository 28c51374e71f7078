"""Columns of a table as attributes of XML elements, and what of them no attribute can hold."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

import numpy as np
import pandas as pd

from helpers.errors import InputError
from helpers.tracking.formats.storage import is_missing, numbers
from helpers.tracking.formats.trackmate_xml import CONTOUR, IDENTITY, POSITIONS

#: The largest integer of Java, hence of an ID and of a feature that is declared an integer.
INT32 = 2**31 - 1
_EXACT = 2**53  # integers that a float can hold


class Attributes:
    """The columns of a table as texts of XML attributes, and what of them no attribute can hold."""

    def __init__(self, columns: pd.DataFrame, table: pd.DataFrame, name: str) -> None:
        self.texts: dict[str, list[str]] = {}
        self.integer: dict[str, bool] = {}
        self.numbers: dict[str, np.ndarray] = {}
        self.renamed: dict[str, str] = {}
        self.kept: dict[str, list] = {}
        links = name == "links"
        for column in columns:
            series = columns[column]
            values = numbers(series)
            if values is None:
                if column != CONTOUR or links:
                    self.kept[str(column)] = _storable(series, f"{name}.{column}")
                continue
            attribute = {"cost": "LINK_COST"}.get(str(column), str(column)) if links else str(column)
            attribute = self._attribute(attribute)
            if attribute != column and column != "cost":
                self.renamed[attribute] = str(column)
            if (
                values.dtype.kind in "iu"
                and len(values)
                and max(abs(int(values.min())), int(values.max())) > _EXACT
            ):
                self.kept[str(column)] = values.tolist()
            self.numbers[attribute] = values
            self.texts[attribute] = java_numbers(values)
            self.integer[attribute] = bool(
                values.dtype.kind in "iu" and (np.abs(values.astype(float)) <= INT32).all()
            )

    def _attribute(self, column: str) -> str:
        name = {"label": "LABEL"}.get(column, column)
        name = re.sub(r"[^A-Za-z0-9_.-]", "_", name)
        if not re.match(r"[A-Za-z_]", name):
            name = f"_{name}"
        reserved = IDENTITY | set(POSITIONS) | {"FRAME", "SPOT_SOURCE_ID", "SPOT_TARGET_ID"}
        while name in self.texts or name in reserved or name.lower().startswith("xml"):
            name = f"_{name}"
        return name

    def declarations(self) -> Iterable[tuple[str, bool]]:
        return self.integer.items()


def java_numbers(values: np.ndarray) -> list[str]:
    """Return numbers as texts that Java and Python read back to the same value (NaN, Infinity)."""
    if values.dtype.kind in "iu":
        return list(map(str, values.tolist()))
    texts = list(map(repr, values.astype(np.float64).tolist()))
    for row in np.flatnonzero(~np.isfinite(values)).tolist():
        texts[row] = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}[texts[row]]
    return texts


def _storable(series: pd.Series, name: str) -> list:
    values = [None if is_missing(value) else value for value in series]
    try:
        json.dumps(values)
    except TypeError:
        raise InputError(name, str(series.dtype), "a column of numbers or of text can be written") from None
    return values
