"""Curves and bars hold the tables' numbers, in the paper's colours, with their units."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from helpers.errors import InputError
from helpers.segmentation.scores import frames_table, score_movie, scores_table
from helpers.segmentation.thresholds import Thresholds
from helpers.view.score_plots import loss_curves, mse_ssim_bars, score_curves, threshold_curve


@pytest.fixture(scope="module")
def results():
    truth = np.kron(np.arange(1, 13).reshape(1, 3, 4), np.ones((8, 8, 8), int))
    frames = [truth, truth[:, ::-1]]
    found = {"vollseg": 1, "stardist": 3, "unet": 4}
    return [
        score_movie(frames, [np.roll(frame, shift, 2) for frame in frames], method=method)
        for method, shift in found.items()
    ]


def curve(axes, label: str):
    (line,) = [line for line in axes.lines if line.get_label() == label]
    return line


def test_the_papers_curves_hold_the_scores_in_the_papers_colours(results):
    table = scores_table(results)
    figure = score_curves(table)
    figure.canvas.draw()
    assert len(figure.axes) == 3
    for axes, column in zip(figure.axes, ("accuracy", "f1", "tp"), strict=True):
        assert axes.get_xlabel() == "IoU threshold τ"
        for method, label, color in (
            ("vollseg", "VollSeg", "#0072b2"),
            ("stardist", "StarDist", "#e69f00"),
            ("unet", "U-Net", "#009e73"),
        ):
            line = curve(axes, label)
            np.testing.assert_allclose(line.get_ydata(), table.loc[table.method == method, column])
            assert to_hex(line.get_color()) == color
        assert len({line.get_marker() for line in axes.lines if not line.get_label().startswith("_")}) == 3
    assert "24 true cells" in [text.get_text() for text in figure.axes[2].texts]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["VollSeg", "StarDist", "U-Net"]


def test_bars_are_means_and_every_frame_is_a_point(results):
    table = frames_table(results)
    figure = mse_ssim_bars(table)
    figure.canvas.draw()
    for axes, column in zip(figure.axes, ("mse", "ssim"), strict=True):
        means = [table.loc[table.method == m.method, column].mean() for m in results]
        np.testing.assert_allclose([bar.get_height() for bar in axes.patches], means)
        assert [label.get_text() for label in axes.get_xticklabels()] == [
            f"{name}\nn = 2" for name in ("VollSeg", "StarDist", "U-Net")
        ]
        points = [line for line in axes.lines if line.get_gid() == "frames"]
        np.testing.assert_allclose(
            np.concatenate([line.get_ydata() for line in points]), table[column].to_numpy()
        )


def test_one_frame_one_method_and_unknown_methods(results):
    one = frames_table(results[:1]).iloc[:1].assign(method="new network")
    figure = mse_ssim_bars(one)
    figure.canvas.draw()
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["new network\nn = 1"]
    colors = {
        to_hex(curve(score_curves(scores_table(results[:1]).assign(method=m)).axes[0], name).get_color())
        for m, name in (("new network", "new network"), ("U-Net", "U-Net"), ("cellpose", "Cellpose"))
    }
    assert len(colors) == 3
    for function, table in ((score_curves, pd.DataFrame({"method": []})), (mse_ssim_bars, one.iloc[:0])):
        with pytest.raises(InputError, match="table"):
            function(table)


def test_losses_are_drawn_and_the_best_epoch_is_that_of_validation():
    history = pd.DataFrame(
        {"epoch": [5, 6, 7, 8], "loss": [10, 3, 1, 0.5], "val_loss": [11, 4, 2, 2.5], "mae": [1, 1.1, 1, 1.2]}
    )
    figure = loss_curves({"U-Net": history, "StarDist": history.drop(columns="val_loss")})
    figure.canvas.draw()
    left, right = figure.axes
    np.testing.assert_allclose(curve(left, "training").get_ydata(), history["loss"])
    np.testing.assert_allclose(curve(left, "validation").get_xdata(), history["epoch"])
    assert curve(left, "best: 2 in epoch 7").get_xdata() == 7
    assert curve(right, "best: 0.5 in epoch 8").get_xdata() == 8
    assert left.get_yscale() == "log" and left.get_xlabel() == "epoch" and left.get_title() == "U-Net"
    assert loss_curves(history.assign(loss=history["mae"], val_loss=1.0)).axes[0].get_yscale() == "linear"
    assert loss_curves(history.assign(loss=-history["loss"])).axes[0].get_yscale() == "linear"


def test_histories_of_one_epoch_or_with_nan_are_drawn():
    loss_curves(pd.DataFrame({"loss": [2.0], "val_loss": [3.0]})).canvas.draw()
    figure = loss_curves(pd.DataFrame({"loss": [2.0, 1.0, 1.0], "val_loss": [np.nan, 4.0, 3.0]}))
    figure.canvas.draw()
    assert curve(figure.axes[0], "best: 3 in epoch 3")
    loss_curves(pd.DataFrame({"loss": [np.nan, np.nan]})).canvas.draw()
    for broken in (pd.DataFrame({"mae": [1]}), pd.DataFrame({"loss": []})):
        with pytest.raises(InputError, match="history"):
            loss_curves(broken)


def test_threshold_curves_show_the_envelope_and_the_choice():
    table = pd.DataFrame(
        {
            "prob": [0.3, 0.5, 0.7, 0.5, 0.5],
            "nms": [0.3] * 5,
            "foreground": [0.5, 0.5, 0.5, 0.2, 0.8],
            "score": [0.2, 0.6, 0.4, 0.9, 0.1],
        }
    )
    chosen = Thresholds(0.5, 0.3, 0.2, 0.9, "f1", (0.5,), table)
    figure = threshold_curve(table, chosen)
    figure.canvas.draw()
    assert [axes.get_xlabel() for axes in figure.axes] == ["probability threshold", "foreground threshold"]
    prob, foreground = figure.axes
    np.testing.assert_allclose(
        curve(prob, "best at this value").get_xydata(), [[0.3, 0.2], [0.5, 0.9], [0.7, 0.4]]
    )
    np.testing.assert_allclose(curve(foreground, "best at this value").get_ydata(), [0.9, 0.6, 0.1])
    assert curve(prob, "chosen together: 0.900").get_xydata().tolist() == [[0.5, 0.9]]
    assert curve(foreground, "chosen together: 0.900").get_xydata().tolist() == [[0.2, 0.9]]
    assert len(curve(prob, "tried").get_xdata()) == 5
    assert prob.get_ylabel() == "F1, mean over IoU 0.5"


def test_the_choice_stands_at_the_score_that_it_reaches_not_on_the_envelope():
    """A plateau's middle was taken on both axes: each value has a better score, with another value of the other."""
    table = pd.DataFrame(
        {"prob": [0.4, 0.5, 0.5, 0.6], "foreground": [0.5, 0.5, 0.6, 0.6], "score": [0.95, 0.94, 0.96, 0.96]}
    )
    figure = threshold_curve(table, Thresholds(0.5, None, 0.5, 0.94, "f1", (0.5,), table))
    for axes, value in zip(figure.axes, (0.5, 0.5), strict=True):
        assert curve(axes, "chosen together: 0.940").get_xydata().tolist() == [[value, 0.94]]
        (dashed,) = [line for line in axes.lines if line.get_linestyle() == "--"]
        assert dashed.get_xydata()[-1].tolist() == [value, 0.94]
    by_mapping = threshold_curve(table, {"prob": 0.5, "foreground": 0.5})
    assert curve(by_mapping.axes[0], "chosen together: 0.940").get_xydata().tolist() == [[0.5, 0.94]]
    assert [text.get_text() for text in figure.legends[0].get_texts()][-1] == "chosen together: 0.940"


def test_threshold_curves_of_a_mapping_a_single_value_and_nothing():
    table = pd.DataFrame({"foreground": [0.5], "score": [0.7]})
    figure = threshold_curve(table, {"foreground": 0.5})
    figure.canvas.draw()
    assert len(figure.axes) == 1 and figure.axes[0].get_title() == "chosen: 0.5"
    threshold_curve(table).canvas.draw()
    with pytest.raises(InputError, match="score"):
        threshold_curve(pd.DataFrame({"prob": [1]}))
