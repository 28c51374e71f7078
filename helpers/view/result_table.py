"""What a step found, as a small table instead of a dict: names with their units, four digits, and the same as plain text.

Tables of rows are shown likewise (`small_table`), and of large ones the range of each column (`ranges`).
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from html import escape
from typing import Any

import pandas as pd

from helpers.data.units import with_unit
from helpers.segmentation.method_names import METHOD_NAMES

#: Names that are abbreviations, in words.
_NAMES = {
    "tra": "TRA", "det": "DET", "lnk": "LNK", "seg": "SEG", "tra_ctc": "TRA (py-ctcmetrics)", "chota": "CHOTA",
    "iou": "IoU", "dice": "Dice", "ap50": "AP50", "n_true": "true cells", "n_found": "cells found", "n_frames": "frames",
    "f1_50": "F1 (IoU 0.5)", "f1_70": "F1 (IoU 0.7)", "precision_50": "precision (IoU 0.5)",
    "recall_50": "recall (IoU 0.5)", "mse": "MSE", "ssim": "SSIM", "division_f1": "F1 of divisions",
    **METHOD_NAMES,
    "iou_threshold": "IoU from", "tp": "found", "fp": "false", "fn": "missed", "mean_matched_iou": "mean IoU of cells found",
    "prob": "probability", "nms": "overlap (NMS)", "divide": "stars divide",
    "val_loss": "validation loss", "still_falling": "fall of the loss over the last fifth of the epochs (share)",
    "train_patches": "training patches", "highest": "highest score tried", "volume_error": "volume error (median, share)",
    "frequency_recovered": "true rhythms found (share)", "false_rhythms": "noise called rhythmic (share)",
    "frequency_error_bins": "frequency error (bins)", "common_motion": "motion common to all cells (share)",
    "msd_fit": "fit of the mean squared displacement", "alpha_se": "standard error of alpha", "r2": "R²", "n_lags": "lags",
    "one_frame_tracks": "tracks of one frame", "true_labels": "from true labels", "predicted_labels": "from found labels", "psnr_raw_db": "PSNR, raw (dB)", "psnr_denoised_db": "PSNR, denoised (dB)",
}  # fmt: skip

#: Columns of numbers that only name something.
_IDS = ("id", "label", "track_id", "tracklet_id")
#: Characters of a line of text.
_WIDTH = 110


_LEFT = 'style="text-align: left; vertical-align: top; white-space: pre-line; max-width: 60em"'


class ResultTable:
    """A table that Jupyter shows as HTML and a terminal as text.

    Attributes
    ----------
    frame : DataFrame of str
        One column of values, or one for each of the groups, such as methods, that the results are of.
    """

    def __init__(self, frame: pd.DataFrame) -> None:
        self.frame = frame

    def __repr__(self) -> str:
        if self._has_header():
            return self.frame.to_string(index=self._has_names())
        wide = max(map(len, self.frame.index), default=0) + 2
        rows = zip(self.frame.index, self.frame[""], strict=True)
        return "\n".join(name.ljust(wide) + _wrapped(value, " " * wide) for name, value in rows)

    def html(self) -> str:
        """Return it as an HTML table that needs no style sheet."""
        first = 0 if self._has_names() else 1
        header = [["", *self.frame.columns]] if self._has_header() else []
        body = [[name, *values] for name, values in zip(self.frame.index, self.frame.values, strict=True)]
        lines = [_line(row[first:], "th", "th") for row in header]
        lines += [_line(row[first:], "td" if first else "th", "td") for row in body]
        return f"<table>{''.join(lines)}</table>"

    _repr_html_ = html

    def _has_header(self) -> bool:
        return list(self.frame.columns) != [""]

    def _has_names(self) -> bool:
        return not self._has_header() or any(name != "" for name in self.frame.index)


def result_table(results: Mapping[str, Any]) -> ResultTable:
    """Return the results of a step, as `helpers.runs.run.Run.finish` keeps them, as a table.

    Parameters
    ----------
    results : mapping
        Plain numbers, texts, lists and mappings. Where every value is a mapping, each is a column.
    """
    groups = list(results.values())
    if len(groups) > 1 and all(isinstance(group, Mapping) for group in groups):
        columns: dict[str, Mapping[str, Any]] = {_name(name): group for name, group in results.items()}
    else:
        columns = {"": results}
    names = dict.fromkeys(name for column in columns.values() for name in column)
    said = {
        title: [in_words(column[name]) if name in column else "–" for name in names]
        for title, column in columns.items()
    }
    return ResultTable(pd.DataFrame(said, index=[_name(name) for name in names], dtype=str))


def small_table(table: pd.DataFrame, *, named: bool = False) -> ResultTable:
    """Return a table of a few rows as people read it: whole texts, names of columns and methods in words, four digits.

    Parameters
    ----------
    table : DataFrame
        Any.
    named : bool
        Whether the index names the rows; else it is not shown.
    """
    shown = {
        _name(str(column)): [_name(value) if column == "method" else in_words(value) for value in table[column].tolist()]
        for column in table
    }  # fmt: skip
    names = [_name(str(name)) for name in table.index] if named else [""] * len(table)
    return ResultTable(pd.DataFrame(shown, index=names, dtype=str))


def ranges(table: pd.DataFrame) -> ResultTable:
    """Return how many values each measure of a table has, and its least, median and largest."""
    measures = table.select_dtypes("number").drop(columns=[*_IDS], errors="ignore")
    found = measures.agg(["count", "min", "median", "max"]).T
    return small_table(found.astype({"count": int}).rename(columns={"count": "n"}), named=True)


def _line(texts: list[str], first: str, rest: str) -> str:
    tags = [first, *[rest] * len(texts)][: len(texts)]  # an empty table has no text at all
    cells = (f"<{tag} {_LEFT}>{escape(str(text))}</{tag}>" for tag, text in zip(tags, texts, strict=True))
    return f"<tr>{''.join(cells)}</tr>"


def _wrapped(text: str, indent: str) -> str:
    lines = [part for line in text.split("\n") for part in textwrap.wrap(line, max(40, _WIDTH - len(indent)))]
    return f"\n{indent}".join(lines)


def _name(name: str) -> str:
    return _NAMES.get(name) or with_unit(name)


def in_words(value: Any) -> str:
    """Return a value as people write it: four significant digits, lists and mappings without brackets."""
    if value is None or value == "":
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        if value != value:
            return "–"
        return f"{value:.0f}" if 1000 <= abs(value) < 1e15 else f"{value:.4g}"
    if isinstance(value, Mapping):
        names = {key: str(key) if "." in str(key) else _name(str(key)) for key in value}
        return "; ".join(f"{names[key]}: {in_words(one)}" for key, one in value.items()) or "none"
    if isinstance(value, (list, tuple)):
        parts = [in_words(one) for one in value]
        sentences = any(len(part) > 40 for part in parts)
        return ("\n" if sentences else ", ").join(parts) or "none"
    return str(value)
