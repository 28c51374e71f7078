"""Curves and bars: how training went, which thresholds were chosen, how good the segmentation is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from helpers.errors import InputError
from helpers.segmentation.thresholds import Thresholds
from helpers.view.style import OKABE_ITO, logarithmic, method_style, new_figure, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_AXIS_NAMES = {
    "prob": "probability threshold",
    "nms": "overlap (NMS) threshold",
    "foreground": "foreground threshold",
}


@styled
def loss_curves(history: pd.DataFrame | Mapping[str, pd.DataFrame]) -> Figure:
    """Draw training and validation loss over the epochs, the best epoch marked.

    Parameters
    ----------
    history : DataFrame, or mapping of name → DataFrame
        ``loss`` and, if there was validation, ``val_loss``, one row per epoch; ``epoch`` if the rows are not
        numbered from 1. Several histories, such as U-Net's and StarDist's, become panels side by side.

    Returns
    -------
    Figure
        The loss axis is logarithmic where the values are positive and span more than a factor of five.

    Raises
    ------
    InputError
        If a history is empty or lacks the column.
    """
    histories = dict(history) if isinstance(history, Mapping) else {"": history}
    figure = new_figure(3.6 * len(histories), 2.8)
    for axes, (name, table) in zip(
        figure.subplots(1, len(histories), squeeze=False)[0], histories.items(), strict=True
    ):
        if "loss" not in table or len(table) == 0:
            raise InputError(
                "history", list(table.columns), "a table with the column loss and a row per epoch"
            )
        _loss_panel(axes, table, name)
    return figure


def _loss_panel(axes: Axes, table: pd.DataFrame, name: str) -> None:
    from matplotlib.ticker import MaxNLocator

    epochs = table["epoch"].to_numpy() if "epoch" in table else np.arange(1, len(table) + 1)
    curves = {"training": table["loss"].to_numpy(float)}
    if "val_loss" in table:
        curves["validation"] = table["val_loss"].to_numpy(float)
    for (label, values), color in zip(curves.items(), ("blue", "orange"), strict=False):
        axes.plot(epochs, values, color=OKABE_ITO[color], label=label, marker="o" if len(values) == 1 else "")
    label, judged = list(curves.items())[-1]
    if np.isfinite(judged).any():
        best = int(np.nanargmin(judged))
        axes.axvline(epochs[best], color="#777777", linewidth=0.8, linestyle=":")
        axes.plot(
            epochs[best],
            judged[best],
            marker="*",
            markersize=10,
            linestyle="",
            color=OKABE_ITO["vermillion"],
            label=f"best: {judged[best]:.3g} in epoch {epochs[best]}",
        )
    every = np.concatenate(list(curves.values()))
    every = every[np.isfinite(every)]
    if every.size and every.min() > 0 and every.max() > 5 * every.min():
        logarithmic(axes.yaxis)
    axes.set_xlabel("epoch")
    axes.set_ylabel("loss")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_title(name)
    axes.legend()


@styled
def threshold_curve(table: pd.DataFrame, chosen: Thresholds | Mapping[str, float] | None = None) -> Figure:
    """Draw the score over each threshold that was sought.

    Parameters
    ----------
    table : DataFrame
        Everything tried: ``Thresholds.table``.
    chosen : Thresholds or mapping, optional
        The values to mark, by axis.

    Returns
    -------
    Figure
        One panel per threshold that was varied. A point is one evaluation; the line joins the best score that each
        value reached with any values of the other thresholds. A star stands at the chosen value and the score that all
        chosen values reach together: below the line where the middle of a plateau was taken.

    Raises
    ------
    InputError
        If the table lacks ``score`` or every threshold.
    """
    axes_found = [name for name in _AXIS_NAMES if name in table]
    if "score" not in table or not axes_found or len(table) == 0:
        raise InputError("table", list(table.columns), "score and at least one of prob, nms, foreground")
    varied = [name for name in axes_found if len(np.unique(table[name].to_numpy())) > 1] or axes_found[:1]
    values: Mapping[str, float] = chosen.values if isinstance(chosen, Thresholds) else dict(chosen or {})
    score = chosen.score if isinstance(chosen, Thresholds) else _score_of(table, values)
    figure = new_figure(2.7 * len(varied) + 0.4, 2.9)
    panels = figure.subplots(1, len(varied), squeeze=False, sharey=True)[0]
    low, high = table["score"].to_numpy().min(), table["score"].to_numpy().max()
    margin = max(0.08 * (high - low), 0.01)
    for panel, name in zip(panels, varied, strict=True):
        tried, scores = table[name].to_numpy(float), table["score"].to_numpy(float)
        best = {value: scores[tried == value].max() for value in np.unique(tried)}
        panel.plot(tried, scores, "o", color="#bbbbbb", markersize=3.5, label="tried")
        panel.plot(
            list(best), list(best.values()), color=OKABE_ITO["blue"], marker="o", label="best at this value"
        )
        if (value := values.get(name)) is not None:
            _mark_chosen(panel, value, score, low - margin)
        panel.set_xlabel(_AXIS_NAMES[name])
        panel.set_title(f"chosen: {value:g}" if value is not None else "")
    measure = getattr(chosen, "measure", None)
    ious = getattr(chosen, "iou_thresholds", ())
    label = "score" if measure is None else {"f1": "F1", "iou": "IoU of pixels"}.get(measure, measure)
    panels[0].set_ylabel(f"{label}, mean over IoU {', '.join(f'{iou:g}' for iou in ious)}" if ious else label)
    panels[0].set_ylim(low - margin, high + margin)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    return figure


def _mark_chosen(panel: Axes, value: float, score: float | None, bottom: float) -> None:
    """Draw the chosen value up to the score that it reaches together with the other chosen values."""
    color = OKABE_ITO["vermillion"]
    if score is None:
        panel.axvline(value, color=color, linestyle="--", linewidth=1.2, label="chosen")
        return
    panel.plot([value, value], [bottom, score], color=color, linestyle="--", linewidth=1.2)
    panel.plot(
        value, score, "*", color=color, markersize=11, linestyle="", zorder=5,
        label=f"chosen together: {score:.3f}",
    )  # fmt: skip


def _score_of(table: pd.DataFrame, values: Mapping[str, float]) -> float | None:
    """Return the score of one set of thresholds, or None where it was not tried."""
    known = {name: value for name, value in values.items() if name in table}
    same = np.logical_and.reduce([np.isclose(table[name], value) for name, value in known.items()])
    return float(table["score"][same].max()) if known and same.any() else None


@styled
def score_curves(table: pd.DataFrame) -> Figure:
    """Draw accuracy, F1 and the number of true positives over the IoU threshold: the VollSeg paper's figure.

    Parameters
    ----------
    table : DataFrame
        Of `helpers.segmentation.scores.scores_table`: ``method, iou_threshold, accuracy, f1, tp, fn``.

    Returns
    -------
    Figure
        Three panels with a curve per method: VollSeg blue, StarDist orange, U-Net green.

    Raises
    ------
    InputError
        If columns are missing or there is nothing to draw.
    """
    _require(table, "method", "iou_threshold", "accuracy", "f1", "tp", "fn")
    figure = new_figure(8.0, 2.9)
    panels = figure.subplots(1, 3)
    methods = list(dict.fromkeys(table["method"]))
    for k, method in enumerate(methods):
        rows = pd.DataFrame(table[table["method"] == method]).sort_values(by="iou_threshold")
        name, color, marker = method_style(method, k)
        for panel, column in zip(panels, ("accuracy", "f1", "tp"), strict=True):
            # Later ones smaller: of curves that lie on top of each other all are seen.
            panel.plot(
                rows["iou_threshold"],
                rows[column],
                color=color,
                marker=marker,
                markersize=max(3, 9 - 2 * k),
                label=name,
            )
    n_true = int((table["tp"] + table["fn"]).to_numpy().max())
    panels[2].axhline(n_true, color="#777777", linestyle=":", linewidth=1)
    panels[2].annotate(
        f"{n_true} true cells",
        (1, n_true),
        xycoords=("axes fraction", "data"),
        xytext=(0, 2),
        textcoords="offset points",
        ha="right",
        va="bottom",
        fontsize=8,
        color="#555555",
    )
    low, high = _where_it_changes(table)
    for panel, title in zip(panels, ("accuracy  TP / (TP + FP + FN)", "F1", "true positives"), strict=True):
        panel.set_title(title)
        panel.set_xlabel("IoU threshold τ")
        panel.set_xlim(low, high)
        panel.grid(axis="y")
        panel.set_ylim(0, 1.05)
    panels[0].set_ylabel("accuracy")
    panels[1].set_ylabel("F1")
    panels[2].set_ylabel("cells")
    panels[2].set_ylim(0, max(1.12 * n_true, 1))
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=max(len(methods), 1))
    return figure


def _where_it_changes(table: pd.DataFrame) -> tuple[float, float]:
    """Return the range of IoU in which any curve rises or falls by more than a hundredth, one threshold wider."""
    curves = table.pivot_table(index="iou_threshold", columns="method", values="accuracy").sort_index()
    tried = curves.index.to_numpy(float)
    changes = np.flatnonzero((curves.diff().abs() > 0.01).any(axis=1).to_numpy())
    first, last = (changes[0] - 1, changes[-1]) if len(changes) else (0, len(tried) - 1)
    return max(0.0, tried[first] - 0.05), min(1.0, tried[last] + 0.05)


@styled
def mse_ssim_bars(frames: pd.DataFrame) -> Figure:
    """Draw mean squared error and structural similarity of the binarised results.

    Parameters
    ----------
    frames : DataFrame
        Of `helpers.segmentation.scores.frames_table`: ``method, frame, mse, ssim``.

    Returns
    -------
    Figure
        A bar per method (the mean over the frames, its value above it) and a point per frame.

    Raises
    ------
    InputError
        If columns are missing or there is nothing to draw.
    """
    _require(frames, "method", "frame", "mse", "ssim")
    methods = list(dict.fromkeys(frames["method"]))
    figure = new_figure(1.1 + 1.3 * max(len(methods), 2) + 1.6, 3.0)
    panels = figure.subplots(1, 2)
    for panel, column, title in zip(
        panels, ("mse", "ssim"), ("MSE (lower is better)", "SSIM (higher is better)"), strict=True
    ):
        names, highest = [], 0.0
        for k, method in enumerate(methods):
            values = frames.loc[frames["method"] == method, column].to_numpy(float)
            name, color, marker = method_style(method, k)
            names.append(f"{name}\nn = {len(values)}")
            panel.bar(k, values.mean(), width=0.62, color=color, alpha=0.75)
            # Points of one frame stand in one place in every bar: side by side in the order of the frames.
            spread = np.linspace(-0.2, 0.2, len(values)) if len(values) > 1 else np.zeros(1)
            panel.plot(k + spread, values, marker, color="#222222", markersize=2.8, alpha=0.7, gid="frames")
            top = max(values.max(), 0.0)
            highest = max(highest, top)
            panel.annotate(
                f"{values.mean():.3f}",
                (k, top),
                xytext=(0, 4),
                textcoords="offset points",
                ha="center",
                va="bottom",
                fontsize=8,
            )
        panel.set_xticks(range(len(methods)), names)
        panel.set_ylim(min(0.0, float(frames[column].to_numpy().min()) * 1.1), max(highest * 1.15, 1e-3))
        panel.set_xlim(-0.6, len(methods) - 0.4)
        panel.set_title(title)
        panel.set_ylabel(f"{column.upper()} of a frame")
    return figure


def _require(table: pd.DataFrame, *columns: str) -> None:
    if missing := [name for name in columns if name not in table]:
        raise InputError("table", missing, "these columns too")
    if len(table) == 0:
        raise InputError("table", "no rows", "scores of at least one method")
