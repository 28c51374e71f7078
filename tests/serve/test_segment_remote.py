"""Notebook 08_segment_remote and its step: a movie segmented by a server, resumed, in an experiment, and without a trace of the token."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
import yaml

from helpers.errors import InputError
from helpers.runs.execute import execute_notebook
from helpers.runs.job import segment_part
from helpers.runs.parameters import SegmentRemote
from helpers.runs.plan import Job, open_experiment
from helpers.runs.run import Run
from helpers.runs.segment_movie import SegmentedMovie, segment_movie
from helpers.runs.steps import remote
from tests.serve.blob_server import BlobServicer, blobs, find_blobs, start

TOKEN = "secret-0123456789"
N_FRAMES = 5


@pytest.fixture(scope="module")
def frames() -> np.ndarray:
    """Return a movie (T, Y, X) of which each frame has other cells."""
    return np.stack([blobs((1, 60, 70), 9, seed=t)[0] for t in range(N_FRAMES)])


@pytest.fixture
def p(frames, tmp_path, monkeypatch) -> SegmentRemote:
    """Return parameters for a server on port 0, of which the test sets the right one."""
    monkeypatch.setenv("VOLLTRACK_TOKEN", TOKEN)
    path = tmp_path / "movie.ome.tif"
    tifffile.imwrite(path, frames, metadata={"axes": "TYX"}, photometric="minisblack")
    return SegmentRemote(
        run_dir=tmp_path / "run", movie=path, voxel_size_um=(0.5, 0.5), frame_interval_s=60, patience_s=0
    )


@pytest.fixture
def served(p):
    """Return a servicer, and the parameters with its address."""
    servicer = BlobServicer()
    server, port = start(servicer, token=TOKEN, name="volltrack/0.1.0")
    yield servicer, p.model_copy(update={"server": f"localhost:{port}"})
    server.stop(0)


def _segment(p: SegmentRemote) -> SegmentedMovie:
    movie = remote.open_movie(p)
    return segment_movie(movie, lambda: remote.open_segmenter(p, movie.require_voxel_size()), p)


def _check(result: SegmentedMovie, frames: np.ndarray) -> None:
    for t, frame in enumerate(frames):
        np.testing.assert_array_equal(result.labels.frame(t) > 0, find_blobs(frame[None]) > 0)
        assert (result.objects["frame"] == t).sum() == find_blobs(frame[None]).max()


def _leaks(folder: Path) -> list[Path]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    return [path for path in files if TOKEN.encode() in path.read_bytes()]


def test_a_movie_gives_what_notebook_05_gives(served, frames) -> None:
    servicer, p = served
    run = Run.start(p)
    result = _segment(p)
    _check(result, frames)
    assert {"label", "frame", "area_um2", "quality"} <= set(result.objects)
    assert result.objects["quality"].between(0, 1, inclusive="right").all()
    done = run.finish(remote.summary(result, p))
    (answered,) = done["results"]["servers"]
    assert answered["server"] == p.server and answered["server-name"] == "volltrack/0.1.0"
    assert done["packages"]["biopb"] == "0.3.1"
    assert not _leaks(p.run_dir)
    before = servicer.asked
    _check(_segment(p), frames)
    assert servicer.asked == before, "nothing is sent anew"


def test_finished_frames_are_kept_and_those_on_their_way_too(served, frames) -> None:
    servicer, p = served
    p = p.model_copy(update={"frames_in_flight": 2})
    servicer.refuses = [frames[2].tobytes()]
    with pytest.raises(InputError, match=r"server = .*too dark.*finished frames are kept"):
        _segment(p)
    kept = {path.stem for path in p.movie_path("frames").glob("*.csv")}
    assert {"00000", "00001"} <= kept and "00002" not in kept
    servicer.refuses, servicer.asked = [], 0
    _check(_segment(p), frames)
    assert servicer.asked == N_FRAMES - len(kept)


def test_so_many_frames_are_at_the_server_as_are_allowed(served, frames) -> None:
    servicer, p = served
    servicer.delay_s = 0.2
    _check(_segment(p.model_copy(update={"frames_in_flight": 3})), frames)
    assert servicer.most_at_once == 3


def test_all_channels_are_sent_and_the_chosen_one_is_measured(served, frames, tmp_path) -> None:
    servicer, p = served
    path = tmp_path / "two.ome.tif"
    tifffile.imwrite(
        path, np.stack([frames, frames // 2], 1), metadata={"axes": "TCYX"}, photometric="minisblack"
    )
    p = p.model_copy(update={"movie": path, "all_channels": True, "channel": 1})
    result = _segment(p)
    _check(result, frames)
    pixels, _ = servicer.requests[0]
    assert pixels.size_c == 2
    assert result.objects["intensity_mean"].max() < 130, "the second channel"


def test_the_token_comes_from_a_file_and_goes_nowhere(served, frames, monkeypatch, tmp_path) -> None:
    _, p = served
    monkeypatch.delenv("VOLLTRACK_TOKEN")
    with pytest.raises(InputError, match=r"token_variable = 'VOLLTRACK_TOKEN'.*asks for a token"):
        _segment(p)
    file = tmp_path / "token"
    p = p.model_copy(update={"token_file": file})
    with pytest.raises(InputError, match=r"token_file = .*cannot be read"):
        _segment(p)
    file.write_text("\n")
    with pytest.raises(InputError, match=r"token_file = .*is empty"):
        _segment(p)
    file.write_text(f"{TOKEN}\n")
    run = Run.start(p)
    result = _segment(p)
    _check(result, frames)
    run.finish(remote.summary(result, p))
    assert not _leaks(p.run_dir)


def test_no_server_is_asked_that_nobody_named(p) -> None:
    with pytest.raises(InputError, match=r"server = None: name the server, host:port"):
        _segment(p)
    assert SegmentRemote.model_fields["server"].default is None


def test_what_goes_where_is_said_before_anything_is_sent(p) -> None:
    movie = remote.open_movie(p)
    said = remote.describe(p.model_copy(update={"server": "gpu.lab.org:50051"}), movie)
    assert "gpu.lab.org:50051: 5 frames of 0.0042 MB" in said
    assert "not encrypted" in said and "token goes unencrypted" in said and TOKEN not in said
    said = remote.describe(p.model_copy(update={"server": "gpu.lab.org"}), movie)
    assert "gpu.lab.org:443" in said and "encrypted (TLS)" in said and "not encrypted" not in said


def test_labels_of_notebook_05_are_not_overwritten(served) -> None:
    _, p = served
    p.movie_path().mkdir(parents=True)
    p.movie_path("segmentation.json").write_text(json.dumps({"step": "06_segment", "sha256": "0"}))
    with pytest.raises(InputError, match=r"notebook 06_segment.*beside_segment"):
        _segment(p)
    p = p.model_copy(update={"beside_segment": True})
    _segment(p)
    assert p.movie_path("labels_remote.zarr").exists() and p.movie_path("objects_remote.csv").exists()


def test_a_job_of_a_batch_sends_its_own_frames(served, frames, tmp_path, monkeypatch) -> None:
    servicer, p = served
    monkeypatch.setenv("VOLLTRACK_PROGRESS", "")  # which the job sets
    segment_part(Job(p.step, p, "movie", frames=(1, 3)), tmp_path / "progress")
    assert servicer.asked == 2
    assert sorted(path.stem for path in p.movie_path("frames").glob("*.csv")) == ["00001", "00002"]
    _check(_segment(p), frames)
    assert servicer.asked == N_FRAMES


def test_tracking_waits_for_the_server(p, tmp_path) -> None:
    steps = {
        "08_segment_remote": {"server": "gpu.lab.org:50051", "frames_per_job": 2},
        "10_track": {"tracker": "lap"},
    }
    (tmp_path / "movies.csv").write_text(
        f'movie_id,movie,voxel_size_um,frame_interval_s\na,{p.movie},"[0.5, 0.5]",60\n'
    )
    path = tmp_path / "e.yaml"
    path.write_text(
        yaml.safe_dump({"name": "e", "run_dir": str(tmp_path / "e"), "movies": "movies.csv", "steps": steps})
    )
    _, jobs = open_experiment(path)
    assert [job.name for job in jobs] == ["08_segment_remote [a]", "10_track [a]"]
    assert jobs[1].reads(jobs[0])


def test_the_notebook_runs_and_keeps_no_token(served, frames) -> None:
    _, p = served
    notebook = p.path("steps", "notebook.ipynb")
    notebook.parent.mkdir(parents=True)
    execute_notebook(p.step, p, notebook)
    done = json.loads(p.path("steps", "08_segment_remote-movie", "done.json").read_text())
    assert done["results"]["cells"] == sum(find_blobs(frame[None]).max() for frame in frames)
    assert "volltrack/0.1.0" in notebook.read_text()
    assert not _leaks(p.run_dir)
