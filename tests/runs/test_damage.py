"""What is done is there and whole: what is gone or damaged is found, and made again, alone."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from helpers.__main__ import main
from helpers.data.label_movies import LabelMovie
from helpers.data.movies import Movie
from helpers.errors import InputError
from helpers.runs import graph, outputs
from helpers.runs.parameters import Segment, Track
from helpers.runs.plan import Job
from helpers.runs.run import Run, read_done, step_folder, why_not_done
from helpers.runs.segment_movie import SegmentedMovie, segment_movie
from tests.runs.threshold_segmenter import Threshold

FRAME_2 = "labels.zarr/0/2/0/0/0"
LEVEL_OF_FRAME_2 = "labels.zarr/0_1/2/0/0/0"


@pytest.fixture
def p(cells: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Segment:
    """Return the parameters of a movie of five frames that is segmented to its end, with a coarser level."""
    monkeypatch.setattr("helpers.data.label_pyramid._SMALLEST", 32)
    (tmp_path / "models" / "unet").mkdir(parents=True)
    (tmp_path / "models" / "unet" / "weights_best.h5").touch()
    given = {"prob_thresh": 0.5, "nms_thresh": 0.5, "foreground_thresh": 0.5}
    p = Segment(run_dir=tmp_path, movie=cells / "raw.ome.tif", movie_id="m", method="unet", **given)
    _segment(p)
    return p


def _segment(p: Segment) -> tuple[list[int], SegmentedMovie]:
    """Do what notebook 06_segment does; return the frames that were segmented, by number."""
    movie, segmenter = Movie.open(str(p.movie)), Threshold()
    run = Run.start(p)
    result = segment_movie(movie, lambda: segmenter, p)
    run.finish(result.summary())
    sums = [int(movie.frame(t).sum()) for t in range(movie.n_frames)]
    return sorted(sums.index(one) for one in segmenter.sums), result


def _rot(path: Path, byte: int = -1) -> None:
    """Change a byte as a failing disk does: size and time stay."""
    stat, content = path.stat(), bytearray(path.read_bytes())
    content[byte] ^= 0xFF
    path.write_bytes(bytes(content))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def _remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


#: What happens to a file of the movie's folder → the frames that are segmented again; whether only `verify` sees it.
DAMAGE = {
    "a frame is gone": ("labels.zarr/0/2", _remove, [2], False),
    "a chunk is cut": (FRAME_2, lambda path: path.write_bytes(path.read_bytes()[:20]), [2], False),
    "a chunk is empty": (FRAME_2, lambda path: path.write_bytes(b""), [2], False),
    "a chunk is noise": (FRAME_2, lambda path: path.write_bytes(bytes(range(256))), [2], False),
    "a chunk rots": (FRAME_2, _rot, [2], True),
    "a coarser level rots": (LEVEL_OF_FRAME_2, _rot, [], True),
    "a coarser level is gone": ("labels.zarr/0_1", _remove, [], False),
    "the table is gone": ("objects.csv", _remove, [], False),
    "the table is cut": ("objects.csv", lambda path: path.write_bytes(path.read_bytes()[:50]), [], False),
    "the table rots": ("objects.csv", _rot, [], True),
    "the array's header is gone": ("labels.zarr/0/.zarray", _remove, [], False),
    "the array's header is noise": (
        "labels.zarr/0/.zarray",
        lambda path: path.write_bytes(b"\xff{"),
        [],
        False,
    ),
    "the movie's header is gone": ("labels.zarr/.zattrs", _remove, [], False),
    "the movie's header is noise": (
        "labels.zarr/.zattrs",
        lambda path: path.write_text("[" * 9999),
        [],
        False,
    ),
    "the group's header is gone": ("labels.zarr/.zgroup", _remove, [], False),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_what_is_damaged_is_found_and_made_again_alone(p: Segment, what: str) -> None:
    name, damage, again, hidden = DAMAGE[what]
    folder = p.movie_path()
    whole = _made(folder)
    damage(folder / name)
    assert (why_not_done(p) is None) == hidden
    assert str(folder / name) in str(why_not_done(p, verify=True))
    done = read_done(step_folder(p))
    assert done
    outputs.set_aside(p, done["outputs"])
    assert _segment(p)[0] == again
    assert why_not_done(p, verify=True) is None
    _assert_equal(_made(folder), whole)
    assert all(LabelMovie.open(folder / "labels.zarr").mend_levels(t) for t in range(5))


def test_all_that_is_damaged_is_named(p: Segment) -> None:
    folder = p.movie_path()
    _rot(folder / FRAME_2)
    _rot(folder / "objects.csv")
    said = str(why_not_done(p, verify=True))
    assert FRAME_2 in said and "objects.csv" in said
    for t in (0, 1, 3, 4):
        (folder / FRAME_2.replace("/2/", f"/{t}/")).unlink()
    assert str(why_not_done(p, verify=True)).endswith("; 1 more")


def _made(folder: Path) -> tuple[pd.DataFrame, np.ndarray]:
    labels = LabelMovie.open(folder / "labels.zarr")
    return pd.read_csv(folder / "objects.csv"), np.stack(list(labels.frames()))


def _assert_equal(a: tuple[pd.DataFrame, np.ndarray], b: tuple[pd.DataFrame, np.ndarray]) -> None:
    pd.testing.assert_frame_equal(a[0], b[0])
    np.testing.assert_array_equal(a[1], b[1])


def test_damaged_tables_of_frames_are_made_again(p: Segment) -> None:
    frames = p.movie_path("frames")
    (frames / "00001.csv").write_text("id,label\n1,1\n")
    (frames / "00003.json").write_text('{"frame": 3')
    whole = _made(p.movie_path())
    assert _segment(p)[0] == [1, 3]
    _assert_equal(_made(p.movie_path()), whole)


def test_labels_changed_by_hand_stay_and_are_measured_anew(p: Segment) -> None:
    labels = LabelMovie.open(p.movie_path("labels.zarr"))
    before = pd.read_csv(p.movie_path("objects.csv"))
    edited = labels.frame(2)
    edited[0, :10, :10] = 7
    labels.write_frame(2, edited)
    assert FRAME_2 in str(why_not_done(p))
    again, result = _segment(p)
    assert again == []
    np.testing.assert_array_equal(result.labels.frame(2), edited)
    table = result.objects
    changed = table[table.frame == 2].set_index("label")
    assert changed.loc[7, "n_voxels"] == 100
    assert changed.loc[1, "quality"] == 0.5 and np.isnan(changed.loc[7, "quality"])
    columns = ["frame", "label", "n_voxels"]
    others = [one.loc[one.frame != 2, columns].reset_index(drop=True) for one in (table, before)]
    pd.testing.assert_frame_equal(*others)
    assert why_not_done(p, verify=True) is None


def test_a_changed_table_is_kept_beside_the_new_one(p: Segment) -> None:
    path = p.movie_path("objects.csv")
    path.write_text("frame,y,x\n0,1,1\n")
    done = read_done(step_folder(p))
    assert done and outputs.set_aside(p, done["outputs"]) == [path.with_name("objects.csv.changed")]
    assert path.with_name("objects.csv.changed").read_text() == "frame,y,x\n0,1,1\n"


def test_a_step_refuses_damaged_input_and_names_what_mends_it(
    p: Segment, monkeypatch: pytest.MonkeyPatch
) -> None:
    track = Track(run_dir=p.run_dir, movie_id="m")
    Run.start(track)
    _rot(p.movie_path(FRAME_2))
    with pytest.raises(
        InputError, match=rf"{FRAME_2} = 'changed'.*06_segment.*run notebook 06_segment again"
    ):
        Run.start(track)
    monkeypatch.setenv(outputs.COMMAND, "python -m helpers run my.yaml")
    with pytest.raises(InputError, match=r"run python -m helpers run my\.yaml; what is whole is kept"):
        Run.start(track)


def test_a_run_verifies_what_its_jobs_will_read(p: Segment) -> None:
    jobs = [Job(p.step, p, "m"), Job(Track.step, Track(run_dir=p.run_dir, movie_id="m"), "m")]
    assert [node.job.step for node in graph.to_run(jobs)[0].values()] == [Track.step]
    _rot(p.movie_path(FRAME_2))
    nodes, _ = graph.to_run(jobs)
    assert [node.job.step for node in nodes.values()] == [p.step, Track.step]
    assert FRAME_2 in str(nodes["06_segment-m"].why)


def test_a_corrupt_record_of_the_labels_origin_is_named(p: Segment) -> None:
    for text in ("", "{", "[]", "{}", '{"sha256": 3}', "\x00"):
        p.movie_path("segmentation.json").write_text(text)
        with pytest.raises(InputError, match=r"segmentation\.json.*delete it and the labels"):
            _segment(p)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "null",
        "[]",
        "3",
        '{"parameters": []}',
        "[" * 100_000,
        "\x00\xff",
        '{"outputs": {"a": 1}}',
    ],
)
def test_a_corrupt_done_is_a_step_to_do(p: Segment, text: str) -> None:
    path = step_folder(p) / "done.json"
    path.write_text(text, encoding="latin-1")
    assert read_done(path.parent) is None
    assert why_not_done(p) == f"{path} is damaged"


@pytest.mark.slow
def test_a_run_mends_what_is_damaged(
    experiment_of: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = experiment_of("a", **{"10_track": {"tracker": "nearest"}})
    run_dir = tmp_path / "run {1} {name}"  # papermill would fill in what stands in braces
    path.write_text(path.read_text().replace(str(tmp_path / "run"), str(run_dir)))
    assert main(["run", str(path)]) == 0
    tracks = run_dir / "movies" / "a" / "tracks.csv"
    whole = tracks.read_bytes()
    _rot(tracks, 100)
    capsys.readouterr()
    assert main(["status", str(path)]) == 0
    assert "10_track [a]: done\n" in capsys.readouterr().out
    assert main(["status", str(path), "--verify"]) == 0
    assert f"10_track [a]: {tracks} has changed" in capsys.readouterr().out
    tracks.write_bytes(b"mine")
    assert main(["run", str(path)]) == 0
    assert f"what had been changed is kept as {tracks}.changed" in capsys.readouterr().out
    assert tracks.read_bytes() == whole and Path(f"{tracks}.changed").read_bytes() == b"mine"
    tracks.unlink()
    assert main(["status", str(path)]) == 0
    assert f"10_track [a]: {tracks} is missing" in capsys.readouterr().out
    done = json.loads((run_dir / "steps" / "10_track-a" / "done.json").read_text())
    assert "movies/a/tracks.csv" in done["outputs"]
