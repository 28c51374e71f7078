"""Sixteen bits where the processor is built for them: the same labels, float32 on disk, a training that stays in them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from helpers.data.patches import create_training_set
from helpers.models import inference, precision, stardist, training, unet
from helpers.segmentation.matching import match_counts
from helpers.segmentation.vollseg_segmenter import VollSegSegmenter
from tests.models.drawn_cells import draw_cells

PATCH = (32, 32)
SHORT = unet.UNetSettings(epochs=2, batch_size=2, depth=1, n_first=4, learning_rate=3e-3, seed=7)


def round_cells(size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a noisy image of round cells on a shaken lattice, and its labels."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((size, size), np.int32)
    yy, xx = np.indices(labels.shape)
    centres = np.stack(np.meshgrid(*[np.arange(8, size, 15)] * 2), -1).reshape(-1, 2)
    for i, (y, x) in enumerate(centres + rng.uniform(-2, 2, centres.shape), start=1):
        labels[(yy - y) ** 2 + (xx - x) ** 2 < rng.uniform(4.5, 7.5) ** 2] = i
    return (labels > 0) + rng.normal(0, 0.2, labels.shape), labels


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a U-Net and a StarDist that know the drawn cells."""
    folder = tmp_path_factory.mktemp("precision")
    pairs = [round_cells(96, seed) for seed in range(6)]
    patches = create_training_set(
        pairs, folder / "training.npz", patch_size=(48, 48), patches_per_image=8, copies=0, voxel_size=(1, 1, 1)
    )  # fmt: skip
    common: Any = {
        "batch_size": 4, "depth": 2, "learning_rate": 3e-3, "schedule": "cosine", "precision": "float32",
    }  # fmt: skip
    unet.train(patches, folder / "unet", unet.UNetSettings(epochs=6, n_first=8, **common))
    stars = stardist.StarDistSettings(
        epochs=20, rays=16, n_filter_base=16, features=32, grid=(2, 2), **common
    )
    stardist.train(patches, folder / "stardist", stars)
    return folder


def test_labels_are_those_of_float32(folders: Path) -> None:
    frame, truth = round_cells(256, 9)
    found = {
        kind: VollSegSegmenter.open(
            stardist_dir=folders / "stardist", unet_dir=folders / "unet", voxel_size=(1, 1, 1), compare=True,
            prob_thresh=0.4, precision=kind,
        )(frame).labels
        for kind in ("float32", "bfloat16")
    }  # fmt: skip
    for method, labels in found["float32"].items():
        assert f1(labels, found["bfloat16"][method], 0.7) >= 0.995, method
    assert f1(truth, found["bfloat16"]["vollseg"], 0.5) > 0.9, "the networks know cells"


def f1(truth: np.ndarray, found: np.ndarray, iou_threshold: float) -> float:
    counts = match_counts(np.squeeze(truth), np.squeeze(found), iou_thresholds=(iou_threshold,))
    tp, wrong = counts["tp"].sum(), counts[["fp", "fn"]].to_numpy().sum()
    return 2 * tp / (2 * tp + wrong)


@pytest.mark.parametrize("network", ["unet", "stardist"])
def test_layers_compute_in_16_bits_and_the_last_in_float32(folders: Path, network: str) -> None:
    load = {"unet": unet.load, "stardist": stardist.load}[network]
    image = draw_cells((64, 64), 8, np.random.default_rng(1))[0]
    exact, fast = (load(folders / network, precision=kind).keras_model for kind in ("float32", "bfloat16"))
    assert exact.layers[1].compute_dtype == "float32" and fast.layers[1].compute_dtype == "bfloat16"
    for a, b in zip(*(inference.forward_function(net)(image) for net in (exact, fast)), strict=True):
        assert b.dtype == np.float32
        assert 0 < np.abs(a - b).max() < 0.05 * np.abs(a).max()
        # The last 16 bits of a float32 that was bfloat16 are zero.
        assert (b.view(np.uint32) & 0xFFFF).any()


def test_the_weights_on_disk_are_float32_and_anybodys(make_set, tmp_path: Path) -> None:
    from csbdeep.models import CARE

    unet.train(make_set(PATCH), tmp_path / "m", replace(SHORT, epochs=1, precision="bfloat16"))
    kinds = set()
    with h5py.File(tmp_path / "m" / "weights_best.h5") as file:
        file.visititems(
            lambda _, item: kinds.add(str(item.dtype)) if isinstance(item, h5py.Dataset) else None
        )
    assert kinds == {"float32"}
    theirs: Any = CARE(None, name="m", basedir=str(tmp_path)).keras_model
    ours = unet.load(tmp_path / "m", precision="bfloat16").keras_model
    for a, b in zip(theirs.get_weights(), ours.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert theirs.layers[1].compute_dtype == "float32"


@pytest.mark.parametrize("kind", ["bfloat16", "float16"])
def test_a_training_goes_on_in_the_precision_it_began_in(
    make_set, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    patches, built = make_set(PATCH), []
    real = training.build_in_folder

    def build(*arguments: Any) -> Any:
        built.append((model := real(*arguments)).keras_model)
        return model

    monkeypatch.setattr(training, "build_in_folder", build)
    monkeypatch.setattr(precision, "_of_this_machine", lambda: (kind, "as it is here"))
    unet.train(patches, tmp_path / "whole", SHORT)
    unet.train(patches, tmp_path / "parts", replace(SHORT, epochs=1))
    monkeypatch.setattr(precision, "_of_this_machine", lambda: ("float32", "another machine"))
    _, state = unet.train(patches, tmp_path / "parts", SHORT)
    assert [net.layers[1].compute_dtype for net in built] == [kind] * 3
    # Loss scaling keeps small gradients from becoming zero where numbers have few exponents.
    assert {type(net.optimizer).__name__ for net in built} == {
        "LossScaleOptimizer" if kind == "float16" else "Adam"
    }
    assert np.isfinite(state.best_loss)
    whole, parts = (
        json.loads((tmp_path / name / "training.json").read_text())["state"] for name in ("whole", "parts")
    )
    assert whole["precision"] == parts["precision"] == kind
    for a, b in zip(
        *(unet.load(tmp_path / name).keras_model.get_weights() for name in ("whole", "parts")), strict=True
    ):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("flags", "gpu", "expected"),
    [
        ("fpu amx_bf16 avx512_bf16", None, "bfloat16"),
        ("fpu avx512_bf16", None, "bfloat16"),
        ("fpu avx512f", None, "float32"),
        ("fpu", (9, 0), "bfloat16"),
        ("fpu", (7, 5), "float16"),
        ("fpu avx512_bf16", (6, 1), "float32"),
    ],
)
def test_auto_is_what_the_processor_is_built_for(
    flags: str, gpu: tuple[int, int] | None, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tensorflow as tf

    (tmp_path / "cpuinfo").write_text(f"processor : 0\nflags\t\t: {flags}\n\nprocessor : 1\n")
    monkeypatch.setattr(precision, "_CPU_INFO", tmp_path / "cpuinfo")
    monkeypatch.delenv("TF_ENABLE_ONEDNN_OPTS", raising=False)
    if gpu is not None:  # there is none on the machines that test this
        monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["GPU:0"])
        details = {"compute_capability": gpu, "device_name": "some GPU"}
        monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda _: details)
    assert precision.resolve("auto") == expected
    assert precision.resolve("float32") == "float32"
    assert precision.describe().startswith(expected)
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    assert precision.resolve("auto") == (expected if gpu else "float32")
