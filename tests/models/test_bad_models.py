"""Model folders that are damaged are refused by name, with the remedy, before anything is computed with them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from helpers.errors import InputError
from helpers.models import model_folder, stardist, unet
from helpers.models.cellpose import weights as cellpose_weights
from helpers.models.model_folder import TrainingState, open_folder
from helpers.models.unet import UNetSettings
from helpers.segmentation import thresholds

SETTINGS = UNetSettings(epochs=2)
DATA = {"patches": [2, 8, 8]}
DAMAGED = ("", "{", "[]", "null", "3", "\0\xff", "[" * 100_000)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the folder of a finished training, without a network."""
    state = TrainingState("finished", epoch=2, best_loss=0.1, best_epoch=1)
    record = {"network": "U-Net", "settings": asdict(SETTINGS), "data": DATA, "state": asdict(state)}
    model_folder.write_json(tmp_path / "training.json", record)
    model_folder.write_json(tmp_path / "config.json", {"n_dim": 3})
    (tmp_path / "weights_best.h5").write_bytes(b"weights")
    np.savez(tmp_path / "checkpoint.npz", state=np.array(json.dumps(asdict(state))))
    return tmp_path


def _open(folder: Path, *, overwrite: bool = False) -> TrainingState:
    return open_folder(folder, "U-Net", SETTINGS, DATA, overwrite=overwrite)


def test_a_finished_training_is_over(folder: Path) -> None:
    assert _open(folder).status == "finished"


@pytest.mark.parametrize("text", [*DAMAGED, "{}", '{"state": 3}', '{"state": {"epoch": "x", "no": 1}}'])
def test_a_damaged_record_is_named_and_overwritten(folder: Path, text: str) -> None:
    (folder / "training.json").write_text(text, encoding="latin-1")
    for read in (
        _open,
        model_folder.training_set_of,
        lambda one: model_folder.settings_of(one, UNetSettings),
    ):
        with pytest.raises(InputError, match=r"training\.json.*overwrite=True trains anew"):
            read(folder)
    assert _open(folder, overwrite=True).epoch == 0


@pytest.mark.parametrize(
    "damage", [lambda path: path.write_bytes(b""), lambda path: path.write_bytes(path.read_bytes()[:99]),
               lambda path: np.savez(path, other=1), lambda path: np.savez(path, state=np.array("{"))],
    ids=["empty", "cut", "without a state", "noise"],
)  # fmt: skip
def test_a_damaged_checkpoint_is_named(folder: Path, damage: Callable[[Path], None]) -> None:
    damage(folder / "checkpoint.npz")
    with pytest.raises(InputError, match=r"checkpoint\.npz.*overwrite=True trains anew"):
        _open(folder)


def test_a_network_whose_best_weights_are_lost_is_trained_again(folder: Path) -> None:
    (folder / "weights_best.h5").unlink()
    assert _open(folder).epoch == 0
    assert not (folder / "checkpoint.npz").exists()


@pytest.mark.parametrize("text", DAMAGED)
def test_a_damaged_configuration_is_named(folder: Path, text: str) -> None:
    (folder / "config.json").write_text(text, encoding="latin-1")
    with pytest.raises(InputError, match=r"config\.json.*train the network again"):
        stardist.load(folder)


@pytest.mark.parametrize(
    "text",
    [*DAMAGED, '{"prob": 0.5, "nmss": 0.3}', '{"prob": "x"}', '{"prob": NaN}', '{"prob": 2}', '{"prob": true, "nms": []}',
     '{"prob": 0.5, "score": []}', '{"prob": 0.5, "iou_thresholds": 3}'],
)  # fmt: skip
def test_damaged_thresholds_are_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "thresholds.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(InputError, match=r"thresholds\.json"):
        thresholds.load(path)


def test_cut_weights_and_weights_that_are_no_numbers_are_named(tmp_path: Path) -> None:
    from helpers.models.devices import prepare_tensorflow

    prepare_tensorflow()
    from csbdeep.models import CARE, Config

    config = Config("YX", unet_n_depth=1, unet_n_first=2, train_tensorboard=False)
    model = CARE(config, name="unet", basedir=str(tmp_path))
    model.keras_model.save_weights(str(tmp_path / "unet" / "weights_best.h5"))
    unet.load(tmp_path / "unet")
    content = (tmp_path / "unet" / "weights_best.h5").read_bytes()
    weights = model.keras_model.get_weights()
    weights[0][0, 0] = np.nan
    model.keras_model.set_weights(weights)
    model.keras_model.save_weights(str(tmp_path / "unet" / "weights_best.h5"))
    with pytest.raises(InputError, match=r"unet'.*NaN or infinite"):
        unet.load(tmp_path / "unet")
    (tmp_path / "unet" / "weights_best.h5").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match="unet'"):
        unet.load(tmp_path / "unet")
    (tmp_path / "unet" / "weights_best.h5").write_bytes(content)
    (tmp_path / "unet" / "config.json").write_text("[]")
    with pytest.raises(InputError, match="unet'"):
        unet.load(tmp_path / "unet")


def test_cut_weights_of_cellpose_are_named(tmp_path: Path) -> None:
    (tmp_path / "cellpose_model").write_bytes(b"PK\x03\x04" + bytes(99))
    with pytest.raises(InputError, match="cellpose_model"):
        cellpose_weights.check(tmp_path / "cellpose_model", "cellpose_model", (3, 1))


def test_keras_on_another_backend_does_not_matter() -> None:
    """csbdeep refuses PyTorch as Keras's backend: who has set it for other programs must not notice."""
    code = (
        "from helpers.models.devices import prepare_tensorflow; prepare_tensorflow(); "
        "from csbdeep.models import CARE; print(CARE.__name__)"
    )
    env = {**os.environ, "KERAS_BACKEND": "torch"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert done.stdout.split() == ["CARE"], done.stderr
