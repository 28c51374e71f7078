"""Samples come from the local folder, the cache or the network, and only with the right hash."""

from __future__ import annotations

import functools
import http.server
import threading

import numpy as np
import pytest

from helpers.data import samples as room
from helpers.data.movies import Movie
from helpers.data.pairs import match_pairs
from helpers.data.samples import (
    ENVIRONMENT_VARIABLE,
    SAMPLES,
    fetch,
    prepare_cells,
    prepare_embryo,
    prepare_nuclei,
    prepare_ovule,
)
from helpers.errors import InputError

OVULE = "plantseg/sample_ovule.h5"


@pytest.fixture
def local(samples, monkeypatch):
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, str(samples))
    return samples


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A host on this machine that publishes what is put into the folder; nothing else can be reached."""
    folder = tmp_path / "host"
    folder.mkdir()
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    handler.func.log_message = lambda *_: None  # type: ignore[attr-defined]
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        monkeypatch.setattr(room, "_HOST", f"http://127.0.0.1:{httpd.server_port}")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.delenv(ENVIRONMENT_VARIABLE, raising=False)
        yield folder
        httpd.shutdown()


def test_every_sample_is_what_its_hash_says(local):
    for name in SAMPLES:
        assert fetch(name) == local / name


def test_addresses_are_pinned_to_a_commit():
    for name, sample in SAMPLES.items():
        assert len(sample.sha256) == 64 and int(sample.sha256, 16)
        if sample.source:
            assert len(sample.source.split("/")[2]) == 40 and sample.licence != "not stated"
        else:
            assert name.startswith("embryo/") or name == "plantseg/ovule_network_outputs.npz"


def test_fetched_once_and_kept(samples, server, tmp_path):
    published = server / SAMPLES[OVULE].source
    published.parent.mkdir(parents=True)
    published.write_bytes((samples / OVULE).read_bytes())
    path = fetch(OVULE, cache=tmp_path / "cache")
    assert path.read_bytes() == (samples / OVULE).read_bytes()
    published.unlink()
    assert fetch(OVULE, cache=tmp_path / "cache") == path


def test_another_file_under_the_name_is_not_taken(server, tmp_path, monkeypatch):
    published = server / SAMPLES[OVULE].source
    published.parent.mkdir(parents=True)
    published.write_bytes(b"something else")
    wrong = tmp_path / "local" / OVULE
    wrong.parent.mkdir(parents=True)
    wrong.write_bytes(b"something else")
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, str(tmp_path / "local"))
    with pytest.raises(InputError, match="another file"):
        fetch(OVULE, cache=tmp_path / "cache")
    assert not list((tmp_path / "cache").rglob("*.h5"))


def test_without_network_the_error_says_what_to_do(server, tmp_path):
    with pytest.raises(InputError, match=f"download .*sample_ovule.h5 and put it at.*{ENVIRONMENT_VARIABLE}"):
        fetch(OVULE, cache=tmp_path)


def test_what_states_no_licence_is_not_fetched(server, tmp_path):
    with pytest.raises(InputError, match=f"not fetched.*{ENVIRONMENT_VARIABLE}"):
        prepare_embryo(tmp_path / "embryo")
    with pytest.raises(InputError, match="must be one of"):
        fetch("nothing")


def test_the_ovule_is_cut_where_the_reference_cuts_it(local, tmp_path, load_pair):
    folder = prepare_ovule(tmp_path)
    whole = {kind: Movie.open(local / OVULE, dataset=kind).frame(0) for kind in ("raw", "label")}
    train = match_pairs(folder / "train/raw", folder / "train/label")
    ((test_raw, test_label),) = match_pairs(folder / "test/raw", folder / "test/label")
    assert [raw.name for raw, _ in train] == ["ovule_train.ome.tif", "ovule_validation.ome.tif"]
    for k, (raw, label) in enumerate(train):
        part = (slice(None), slice(0, 72), slice(96 * k, 96 if k == 0 else 128))
        stack, labels, size = load_pair(raw, label)
        np.testing.assert_array_equal(stack, whole["raw"][part])
        np.testing.assert_array_equal(labels, whole["label"][part])
        assert size == pytest.approx((0.235, 0.15, 0.15))
    stack, labels, _ = load_pair(test_raw, test_label)
    np.testing.assert_array_equal(stack, whole["raw"][:, 72:])
    np.testing.assert_array_equal(labels, whole["label"][:, 72:])
    # Cells that no cut touches, on both sides.
    counts = [np.bincount(load_pair(*pair)[1].ravel(), minlength=1000)[1:] for pair in train]
    assert [int(np.sum((a > 0) & (b == 0))) for a, b in (counts, counts[::-1])] == [25, 10]


def test_prepared_again_only_what_is_missing(local, tmp_path):
    prepare_ovule(tmp_path)
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.tif")}
    broken = tmp_path / "test/raw/ovule_test.ome.tif"
    broken.write_bytes(broken.read_bytes()[:5000])
    prepare_ovule(tmp_path)
    again = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.tif")}
    assert {path for path in times if times[path] != again[path]} == {broken}
    assert Movie.open(broken).shape == (1, 1, 32, 56, 128)
    with pytest.raises(InputError, match="validation_from_x"):
        prepare_ovule(tmp_path, validation_from_x=128)


def test_the_embryo(local, tmp_path, load_pair):
    folder = prepare_embryo(tmp_path)
    train = match_pairs(folder / "train/raw", folder / "train/label")
    test = match_pairs(folder / "test/raw", folder / "test/label")
    assert len(train) == 11 and len(test) == 10
    embryos = [{raw.name.split("_")[0] for raw, _ in part} for part in (train, test)]
    assert embryos == [{"Emb01", "Emb02", "Emb03", "Emb04", "Emb05"}, {"Emb1", "Emb4"}]
    nuclei = []
    for raw, label in train + test:
        stack, labels, size = load_pair(raw, label)
        assert size == pytest.approx((1.75, 0.8, 0.8)) and stack.dtype == np.uint16
        nuclei.append(np.unique(labels).size - 1)
    assert sorted(nuclei[:11]) == [4, 4, 5, 7, 8, 16, 17, 20, 25, 26, 49]
    assert sorted(nuclei[11:]) == [2, 2, 2, 2, 4, 6, 12, 18, 28, 43]


def test_the_nuclei_are_cut_in_half(tmp_path, load_pair):
    from stardist.data import test_image_nuclei_2d

    image, truth = test_image_nuclei_2d(return_mask=True)
    folder = prepare_nuclei(tmp_path)
    trained = match_pairs(folder / "train/raw", folder / "train/label")
    [(raw, label)] = match_pairs(folder / "test/raw", folder / "test/label")
    stack, labels, size = load_pair(raw, label)
    assert size == pytest.approx((1.0, 0.5, 0.5))
    np.testing.assert_array_equal(stack[0], image[:, 256:])
    np.testing.assert_array_equal(labels[0], truth[:, 256:])
    seen = [load_pair(*pair)[0][0] for pair in sorted(trained)]
    np.testing.assert_array_equal(np.vstack(seen), image[:, :256])


def test_the_cells_are_frames_of_one_half_and_a_movie_of_the_other(local, tmp_path, load_pair):
    with np.load(local / "tracks/cells_2d_small.npz") as file:
        image, truth = file["images"], file["labels"]
    folder = prepare_cells(tmp_path)
    trained = match_pairs(folder / "train/raw", folder / "train/label")
    assert len(trained) == 10
    for frame, pair in enumerate(trained):
        stack, labels, _ = load_pair(*pair)
        np.testing.assert_array_equal(stack[0], image[frame, :, :117])
        np.testing.assert_array_equal(labels[0], truth[frame, :, :117])
    movie = Movie.open(folder / "test/raw/cells.ome.tif")
    assert movie.shape == (10, 1, 1, 234, 117) and movie.voxel_size == pytest.approx((1.0, 1.0, 1.0))
    np.testing.assert_array_equal(movie.frame(7)[0], image[7, :, 117:])
