"""Networks as bioimage.io packages: valid, of the same predictions elsewhere, and something to begin with."""

from __future__ import annotations

import functools
import json
import threading
import zipfile
from collections.abc import Iterator
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from helpers.__main__ import main
from helpers.data.normalization import normalize, percentile_range
from helpers.errors import InputError
from helpers.models import packages, pretrained, stardist, unet
from helpers.runs.parameters import TrainSegmentation
from helpers.runs.plan import open_experiment
from helpers.runs.steps import training as step

PATCH = (24, 24)
COMMON = {"epochs": 1, "steps_per_epoch": 4, "batch_size": 2, "depth": 1, "precision": "float32"}
UNET = unet.UNetSettings(**COMMON, n_first=4)
STAR = stardist.StarDistSettings(**COMMON, rays=8, grid=(2, 2), n_filter_base=4, features=8)


@pytest.fixture(scope="module")
def models(make_set, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a U-Net and a StarDist of two dimensions."""
    folder = tmp_path_factory.mktemp("models")
    unet.train(make_set(PATCH), folder / "unet", UNET)
    stardist.train(make_set(PATCH), folder / "stardist", STAR)
    stardist.save_thresholds(folder / "stardist", prob=0.4, nms=0.3)
    return folder


def predicted(package: Path, image: np.ndarray) -> dict[str, np.ndarray]:
    """Return what bioimageio.core says of an image, given as it is."""
    from bioimageio.core import load_model_description, predict

    found = predict(model=load_model_description(package), inputs={"raw": image})
    return {str(name): np.asarray(tensor.data) for name, tensor in found.members.items()}


def image_of(shape: tuple[int, ...]) -> np.ndarray:
    """Return blobs of camera counts."""
    found = gaussian_filter(np.random.default_rng(3).random(shape), 3)
    return (500 + 4000 * found / found.max()).astype(np.float32)


def valid(package: Path) -> bool:
    from bioimageio.spec import load_description_and_validate_format_only

    summary = load_description_and_validate_format_only(package)
    assert summary.status == "valid-format", summary.format()
    return True


@pytest.mark.parametrize("name", ["unet", "stardist"])
def test_a_package_is_valid_and_predicts_the_same(models: Path, tmp_path: Path, name: str) -> None:
    package = packages.export(models / name, tmp_path / f"{name}.zip")
    assert valid(package)
    image = image_of((48, 32))
    found = predicted(package, image[None, ..., None])
    ours = normalize(image, *percentile_range(image, 1.0, 99.8))
    if name == "unet":
        np.testing.assert_allclose(
            found["foreground"][0, ..., 0], unet.predict(unet.load(models / name), ours), atol=1e-4
        )
    else:
        star = stardist.predict(stardist.load(models / name), ours, floor=0.0)
        np.testing.assert_allclose(found["probability"][0, ..., 0], star.probability, atol=1e-4)
        distances = np.maximum(found["distance"][0].reshape(-1, 8), 1e-3)  # as StarDist's renderer wants them
        np.testing.assert_allclose(distances, star.distances, atol=1e-3)


def test_a_cellpose_package_is_valid_and_predicts_the_same(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from cellpose import models as cellpose_models

    torch.manual_seed(0)
    net = cellpose_models.CellposeModel(gpu=False, pretrained_model=False, diam_mean=12.0).net
    folder = tmp_path / "cellpose"
    folder.mkdir()
    net.save_model(str(folder / "cellpose_model"))
    package = packages.export(folder, tmp_path / "cellpose.zip")
    assert valid(package)
    plane = image_of((32, 48))
    image = np.stack([plane, np.zeros_like(plane)])[None]
    found = predicted(package, image)["flows"]
    scaled = [normalize(c, *np.percentile(c, (1, 99))) if c.any() else c for c in image[0]]
    net.eval()
    with torch.no_grad():
        ours = net(torch.from_numpy(np.stack(scaled)[None].astype(np.float32)))[0].numpy()
    np.testing.assert_allclose(found, ours, atol=1e-4)
    opened = pretrained.open_package(package, tmp_path / "opened")
    assert pretrained.kind(opened) == "cellpose"


def test_training_begins_with_a_package_a_folder_or_another_network(
    models: Path, make_set, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    package = packages.export(models / "stardist", tmp_path / "star.zip")

    def begin(start: Path, name: str) -> Path | None:
        p = TrainSegmentation.checked({"run_dir": tmp_path / "run", "start_from": start})
        return step.begin_with(p, name, make_set(PATCH))

    found = begin(package, "stardist")
    assert found == tmp_path / "run" / "models" / "pretrained" / "star"
    other = stardist.StarDistSettings(**{**COMMON, "depth": 2}, rays=32, n_filter_base=8)
    model, _ = stardist.train(make_set(PATCH), tmp_path / "again", other, start=found)
    assert (model.config.n_rays, model.config.unet_n_depth) == (8, 1), "the architecture is the model's"
    assert stardist.load(found).thresholds.prob == pytest.approx(0.4)
    assert begin(models / "unet", "unet") == models / "unet"
    assert begin(package, "unet") is None and "another network" in capsys.readouterr().out
    with pytest.raises(InputError, match="2D_versatile_fluo"):
        begin(Path("no_such_model"), "stardist")


def test_what_stardist_exported_is_opened(models: Path, tmp_path: Path) -> None:
    folder = models / "stardist"
    about = {"config": json.loads((folder / "config.json").read_text()), "weights": "stardist_weights.h5"}
    described = {"config": {"stardist": {**about, "thresholds": {"prob": 0.5, "nms": 0.4}}}}
    with zipfile.ZipFile(tmp_path / "theirs.zip", "w") as file:
        file.writestr("rdf.yaml", json.dumps(described))
        file.write(folder / "weights_best.h5", "stardist_weights.h5")
    opened = pretrained.open_package(tmp_path / "theirs.zip", tmp_path / "opened")
    assert stardist.load(opened).thresholds == (0.5, 0.4)
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as file:
        file.writestr("rdf.yaml", "type: model")
    with pytest.raises(InputError, match="another network's cannot be trained"):
        pretrained.open_package(tmp_path / "other.zip", tmp_path / "not_opened")
    assert not (tmp_path / "not_opened").exists()


@pytest.fixture
def release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, HTTPServer]]:
    """Return a folder that is served in place of StarDist's releases, empty so far, and its server; Keras's cache is empty."""
    import keras
    from csbdeep.models import pretrained as theirs
    from stardist.models import StarDist2D

    folder = tmp_path / "release"
    folder.mkdir()
    (tmp_path / ".keras").mkdir()  # or Keras keeps what it fetches in /tmp
    monkeypatch.setattr(keras.src.backend.config, "_KERAS_DIR", str(tmp_path / ".keras"))
    server = HTTPServer(("127.0.0.1", 0), functools.partial(SimpleHTTPRequestHandler, directory=str(folder)))
    address = f"http://127.0.0.1:{server.server_port}/python_2D_demo.zip"
    monkeypatch.setitem(theirs._MODELS[StarDist2D]["2D_demo"], "url", address)
    monkeypatch.setitem(theirs._MODELS[StarDist2D]["2D_demo"], "hash", None)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield folder, server
    server.shutdown()
    server.server_close()


def test_a_model_of_stardist_is_fetched_by_name_once_and_trained_on(
    models: Path,
    make_set,
    tmp_path: Path,
    release: tuple[Path, HTTPServer],
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder, server = release
    own = models / "stardist"
    (tmp_path / "thresholds.json").write_text(json.dumps({"prob": 0.4, "nms": 0.3}))
    with zipfile.ZipFile(
        folder / "python_2D_demo.zip", "w"
    ) as file:  # as StarDist packs them: nothing of ours
        for path in (own / "config.json", own / "weights_best.h5", tmp_path / "thresholds.json"):
            file.write(path, path.name)
    p = TrainSegmentation.checked({"run_dir": tmp_path / "run", "start_from": "2D_demo"})
    found = step.begin_with(p, "stardist", make_set(PATCH))
    assert found is not None and found.is_relative_to(tmp_path / ".keras" / "models")
    assert "its weights state no licence" in capsys.readouterr().out
    server.shutdown()
    server.server_close()
    assert step.begin_with(p, "stardist", make_set(PATCH)) == found, "it is kept"
    assert step.begin_with(p, "unet", make_set(PATCH)) is None
    assert stardist.load(found).thresholds == (0.4, 0.3)
    first = stardist.predict(stardist.load(found), image_of((48, 32)), floor=0.0).probability
    np.testing.assert_array_equal(
        first, stardist.predict(stardist.load(own), image_of((48, 32)), floor=0.0).probability
    )
    other = stardist.StarDistSettings(**{**COMMON, "depth": 2}, rays=32, n_filter_base=8)
    model, _ = stardist.train(make_set(PATCH), tmp_path / "tuned", other, start=found)
    assert (model.config.n_rays, model.config.unet_n_depth) == (8, 1), "the architecture is the model's"
    assert not (found / "training.json").exists(), "what was fetched stays as it is"


def test_without_a_network_a_model_by_name_is_one_clear_error(
    tmp_path: Path, release: tuple[Path, HTTPServer]
) -> None:
    _, server = release
    for state in ("nothing is there", "no network"):
        with pytest.raises(
            InputError, match=r"start_from = '2D_demo': a network to fetch it from .*from_pretrained"
        ) as raised:
            pretrained.find("2D_demo", "stardist", tmp_path)
        assert raised.value.__cause__ is None and raised.value.__suppress_context__, state
        server.shutdown()
        server.server_close()


def test_licences_and_voxels_are_told() -> None:
    assert "BSD-3" in pretrained.licence("2D_versatile_fluo")
    assert "not commercial" in pretrained.licence("cpsam") and not pretrained.licence("runs/my/models/unet")
    assert "resample" in step.voxels((2.0, 0.5, 0.5), (1.0, 0.25, 0.25))
    assert step.voxels((2.0, 0.5, 0.5), (2.0, 0.5, 0.5)) == step.voxels(None, (1.0, 1.0, 1.0)) == ""


def test_an_experiment_names_a_model_by_its_name_or_where_it_lies(models: Path, tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "a.tif").touch()
    (tmp_path / "movies.csv").write_text("movie\na.tif\n")

    def begins(start: str) -> Path | None:
        content = (
            f"movies: movies.csv\nrun_dir: run\nsteps:\n  04_train_segmentation: {{start_from: {start}}}\n"
        )
        (tmp_path / "x.yaml").write_text(content)
        parameters = next(job.parameters for job in open_experiment(tmp_path / "x.yaml")[1])
        assert isinstance(parameters, TrainSegmentation)
        return parameters.start_from

    (tmp_path / "nets").symlink_to(models)
    assert begins("nets/unet") == tmp_path / "nets" / "unet"
    assert begins("2D_versatile_fluo") == Path("2D_versatile_fluo")


def test_the_command_exports(models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(tmp_path), str(tmp_path / "a.zip")]) == 2
    assert "error: " in capsys.readouterr().err and not (tmp_path / "a.zip").exists()
    assert main(["export", str(models / "unet"), str(tmp_path / "a.tar")]) == 2
    assert main(["export", str(models / "unet"), str(tmp_path / "u.zip"), "--author", "Ada"]) == 0
    with zipfile.ZipFile(tmp_path / "u.zip") as file:
        assert "Ada" in next(
            file.read(n).decode() for n in file.namelist() if n.endswith(("rdf.yaml", "bioimageio.yaml"))
        )
