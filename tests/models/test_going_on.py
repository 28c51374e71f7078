"""More cells were drawn: training goes on from the weights that are there, or anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.errors import InputError
from helpers.models import unet
from helpers.runs.parameters import TrainSegmentation
from helpers.runs.steps import training as step

PATCH = (24, 24)
SMALL = unet.UNetSettings(epochs=6, batch_size=2, depth=1, n_first=4, learning_rate=5e-3, precision="float32")


def test_training_goes_on_with_a_larger_training_set(make_set, tmp_path: Path) -> None:
    def begin(training_set, **changes):
        p = TrainSegmentation.checked({"run_dir": tmp_path, "continue_training": True, **changes})
        return step.begin_with(p, "unet", training_set)

    first, second = make_set(PATCH, 8, 1), make_set(PATCH, 12, 2)
    folder, before = tmp_path / "models" / "unet", tmp_path / "models" / "unet.before"
    assert begin(first) is None
    unet.train(first, folder, SMALL)
    assert begin(first) is None and folder.exists()  # the same set: nothing to go on with
    assert begin(second, continue_training=False) is None and folder.exists()
    assert begin(second) == before and not folder.exists()
    _, further = unet.train(second, folder, SMALL, start=begin(second))
    _, anew = unet.train(second, tmp_path / "anew", SMALL)
    assert further.history[0]["val_loss"] < 0.8 * anew.history[0]["val_loss"]
    assert begin(second) == before and folder.exists()  # run again: the finished network is loaded
    assert unet.train(second, folder, SMALL, start=begin(second))[1].history == further.history


def test_a_network_of_another_kind_is_no_beginning(make_set, tmp_path: Path) -> None:
    first = make_set(PATCH, 8, 1)
    with pytest.raises(InputError, match="trained weights"):
        unet.train(first, tmp_path / "a", SMALL, start=tmp_path)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "weights_best.h5").write_bytes(b"none")
    with pytest.raises(InputError, match="same architecture"):
        unet.train(first, tmp_path / "a", SMALL, start=tmp_path / "b")
