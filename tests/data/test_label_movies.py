"""Label movies lose nothing: not to kill -9, not to other writers, not to labels past 65,535."""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import zarr

from helpers.data import label_movies
from helpers.data.label_export import export_tiff
from helpers.data.label_movies import LabelMovie
from helpers.data.movies import Movie, write_movie
from helpers.errors import InputError

SHAPE = (12, 4, 32, 33)
SIZE = (2.0, 0.5, 0.25)


def frame_of(t: int, top: int = 0) -> np.ndarray:
    """Labels that tell which frame they are; frame 0 is background only."""
    labels = np.random.default_rng(t).integers(0, 50, SHAPE[1:]) * (t > 0)
    labels[0, 0, 0] = top or 1000 * t
    return labels


def create(path: Path, **kwargs) -> LabelMovie:
    return LabelMovie.create(path, SHAPE, voxel_size=SIZE, frame_interval=30, **kwargs)


def test_frames_come_back(tmp_path):
    movie = create(tmp_path / "labels")
    assert movie.done_frames() == set() and movie.dtype == np.uint16
    for t in (3, 0):
        movie.write_frame(t, frame_of(t))
    for again in (
        movie,
        LabelMovie.open(tmp_path / "labels"),
        create(tmp_path / "labels"),
        pickle.loads(pickle.dumps(movie)),
    ):
        assert again.done_frames() == {0, 3}  # frame 0 is background and finished all the same
        assert again.shape == SHAPE and again.voxel_size == SIZE and again.frame_interval == 30
        assert again.frame(3).dtype == np.int32
        np.testing.assert_array_equal(again.frame(3), frame_of(3))
        np.testing.assert_array_equal(again.frame(0), 0)
    movie.write_frame(3, frame_of(4))
    np.testing.assert_array_equal(movie.frame(3), frame_of(4))


def test_a_frame_that_is_not_written_is_not_background(tmp_path):
    with pytest.raises(InputError, match="frame = 1: is not written yet"):
        create(tmp_path / "labels").frame(1)
    with pytest.raises(InputError, match="0 to 11"):
        create(tmp_path / "labels").frame(12)


def test_other_programs_read_it(tmp_path):
    bioio = pytest.importorskip("bioio")
    movie = create(tmp_path / "labels.zarr")
    for t in range(SHAPE[0]):
        movie.write_frame(t, frame_of(t))
    expected = np.stack([frame_of(t) for t in range(SHAPE[0])])
    attributes = json.loads((movie.path / ".zattrs").read_text())
    level = attributes["multiscales"][0]["datasets"][0]["path"]
    array = zarr.open_array(str(movie.path / level), mode="r")
    assert array.chunks == (1, *SHAPE[1:]) and array.dtype == np.uint16
    np.testing.assert_array_equal(array[:], expected)
    image = bioio.BioImage(movie.path)
    np.testing.assert_array_equal(image.data[:, 0], expected)
    assert tuple(image.physical_pixel_sizes) == SIZE
    assert image.scale.T == 30
    ours = Movie.open(movie.path)
    assert ours.voxel_size == SIZE and ours.frame_interval == 30
    np.testing.assert_array_equal(ours.frame(5), expected[5])


def test_2d(tmp_path):
    movie = LabelMovie.create(tmp_path / "labels", (2, 1, 8, 9), voxel_size=(0.5, 0.25))
    labels = np.arange(72).reshape(8, 9)
    movie.write_frame(1, labels)
    assert movie.is_2d and movie.frame(1).shape == (1, 8, 9)
    np.testing.assert_array_equal(movie.frame(1)[0], labels)


def test_a_large_label_widens_the_movie_and_loses_no_frame(tmp_path):
    movie = create(tmp_path / "labels")
    for t in range(4):
        movie.write_frame(t, frame_of(t))
    movie.write_frame(7, frame_of(7, top=65_535))
    assert movie.dtype == np.uint16
    movie.write_frame(6, frame_of(6, top=65_536))
    movie.write_frame(8, frame_of(8))
    assert movie.dtype == np.uint32
    assert movie.done_frames() == {0, 1, 2, 3, 6, 7, 8}
    for t in (0, 1, 2, 3, 8):
        np.testing.assert_array_equal(movie.frame(t), frame_of(t))
    assert movie.frame(6)[0, 0, 0] == 65_536
    # Others see the same, through the metadata, and the narrow array is gone.
    np.testing.assert_array_equal(Movie.open(movie.path).frame(6), frame_of(6, top=65_536))
    np.testing.assert_array_equal(Movie.open(movie.path).frame(3), frame_of(3))
    assert sorted(p.name for p in movie.path.iterdir()) == [".zattrs", ".zgroup", "1"]


@pytest.mark.parametrize("step", ["before the pointer", "before the copy", "in the copy"])
def test_killed_while_widening(tmp_path, monkeypatch, step):
    movie = create(tmp_path / "labels")
    for t in range(4):
        movie.write_frame(t, frame_of(t))

    class Killed(BaseException):
        pass

    def kill(*_args, **_kwargs):
        raise Killed

    copy = LabelMovie._copy_frame
    with monkeypatch.context() as patch:
        if step == "before the pointer":
            patch.setattr(Path, "write_text", kill)
        elif step == "before the copy":
            patch.setattr(LabelMovie, "_complete_widening", kill)
        else:
            patch.setattr(
                LabelMovie, "_copy_frame", lambda self, t, part: kill() if t == 2 else copy(self, t, part)
            )
        with pytest.raises(Killed):
            movie.write_frame(6, frame_of(6, top=70_000))
    assert movie.done_frames() == {0, 1, 2, 3}
    for t in range(4):
        np.testing.assert_array_equal(movie.frame(t), frame_of(t))
    again = create(tmp_path / "labels")
    again.write_frame(6, frame_of(6, top=70_000))
    assert again.done_frames() == {0, 1, 2, 3, 6}
    for t in range(4):
        np.testing.assert_array_equal(Movie.open(again.path).frame(t), frame_of(t))
    assert not (again.path / "0").exists()


def test_several_files_for_a_frame(tmp_path, monkeypatch):
    """A stack too large for one chunk is finished only when all of its files are there."""
    monkeypatch.setattr("helpers.data.ome_zarr._LARGEST_CHUNK", 8 * 32 * 33)
    movie = create(tmp_path / "labels")
    movie.write_frame(2, frame_of(2))
    assert len(list((movie.path / "0/2").iterdir())) == 4
    np.testing.assert_array_equal(movie.frame(2), frame_of(2))
    (movie.path / "0/2/1/0/0").unlink()
    assert movie.done_frames() == set()
    with pytest.raises(InputError, match="not written yet"):
        movie.frame(2)


KILLED = """
import sys, numpy as np
from helpers.data.label_movies import LabelMovie
movie = LabelMovie.create(sys.argv[1], (400, 16, 128, 128), voxel_size=(1, 1, 1))
rng = np.random.default_rng(0)
noise = rng.integers(0, 60000, (16, 128, 128))
print("ready", flush=True)
for t in sorted(set(range(400)) - movie.done_frames()):
    movie.write_frame(t, noise * (t % 3 > 0) // (t + 1))
"""


@pytest.mark.slow
def test_kill_9_costs_at_most_one_frame(tmp_path):
    """Killed at four random moments: what counts as finished is right, and the run goes on from there."""
    path = tmp_path / "labels"
    rng = np.random.default_rng(1)
    noise = np.random.default_rng(0).integers(0, 60000, (16, 128, 128))
    done: set[int] = set()
    for _ in range(4):
        process = subprocess.Popen([sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE)
        assert process.stdout is not None and process.stdout.readline() == b"ready\n"
        while not any(path.glob(f"0/{len(done)}/*/0/0")):  # however slow the machine is
            time.sleep(0.01)
        time.sleep(rng.uniform(0.05, 0.3))
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
        movie = LabelMovie.open(path)
        before, done = done, movie.done_frames()
        assert before <= done and done == set(range(len(done)))
        for t in done - before:
            np.testing.assert_array_equal(movie.frame(t), noise * (t % 3 > 0) // (t + 1))
    assert len(done) > 0


def _write_some(path: Path, frames: list[int]) -> None:
    movie = create(path)
    for t in frames:
        # One of the writers meets a label that does not fit while the others are writing.
        movie.write_frame(t, frame_of(t, top=70_000 if t == 5 else 0))


@pytest.mark.slow
def test_processes_write_different_frames_at_once(tmp_path):
    context = multiprocessing.get_context("spawn")
    path = tmp_path / "labels"
    writers = [context.Process(target=_write_some, args=(path, list(range(k, 12, 3)))) for k in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(120)
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    movie = create(path)
    assert movie.done_frames() == set(range(12)) and movie.dtype == np.uint32
    others = Movie.open(path)
    for t in range(12):
        expected = frame_of(t, top=70_000 if t == 5 else 0)
        np.testing.assert_array_equal(movie.frame(t), expected)
        np.testing.assert_array_equal(others.frame(t), expected)


@pytest.mark.parametrize("moment", ["array is open", "array is not open"])
def test_a_write_that_overlaps_a_widening_is_not_lost(tmp_path, monkeypatch, moment):
    """The other writer widens between our look at the pointer and our write: the frame is written again."""
    movie = create(tmp_path / "labels")
    movie.write_frame(0, frame_of(0))
    original = label_movies.open_array
    widened = []

    def widen_meanwhile(path, *, writable=False):
        first = not widened
        opened = original(path, writable=writable) if first and moment == "array is open" else None
        if first:
            widened.append(path.name)
            LabelMovie.open(movie.path).write_frame(6, frame_of(6, top=70_000))
        return original(path, writable=writable) if opened is None else opened

    monkeypatch.setattr(label_movies, "open_array", widen_meanwhile)
    movie.write_frame(2, frame_of(2))
    monkeypatch.undo()
    assert widened == ["0"]
    np.testing.assert_array_equal(Movie.open(movie.path).frame(2), frame_of(2))
    assert movie.done_frames() == {0, 2, 6}


@pytest.mark.parametrize("moment", ["array is open", "array is not open"])
def test_two_copies_of_a_widened_movie_lose_nothing(tmp_path, monkeypatch, moment):
    """While one process copies a frame, another ends the copy and removes what the first reads."""
    movie = create(tmp_path / "labels")
    for t in (1, 2):
        movie.write_frame(t, frame_of(t))
    with monkeypatch.context() as killed:
        killed.setattr(LabelMovie, "_complete_widening", lambda self: None)
        movie.write_frame(5, frame_of(5, top=70_000))
    original, ended = label_movies.open_array, []

    def end_meanwhile(path, *, writable=False):
        first = path.name == "0" and not ended
        opened = original(path, writable=writable) if first and moment == "array is open" else None
        if first:
            ended.append(path)
            create(movie.path)
            assert not path.exists()
        return original(path, writable=writable) if opened is None else opened

    monkeypatch.setattr(label_movies, "open_array", end_meanwhile)
    create(movie.path)
    monkeypatch.undo()
    assert ended and create(movie.path).done_frames() == {1, 2, 5}
    for t in (1, 2):
        np.testing.assert_array_equal(movie.frame(t), frame_of(t))


def _widened_but_not_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LabelMovie:
    """Return a movie of frames of four files each, of which 1 and 2 lie in the narrow array and 5 in the wide one."""
    monkeypatch.setattr("helpers.data.ome_zarr._LARGEST_CHUNK", 8 * 32 * 33)
    movie = create(tmp_path / "labels")
    for t in (1, 2):
        movie.write_frame(t, frame_of(t))
    with monkeypatch.context() as killed:
        killed.setattr(LabelMovie, "_complete_widening", lambda self: None)
        movie.write_frame(5, frame_of(5, top=70_000))
    return movie


def test_an_interval_that_is_set_while_another_process_widens_loses_nothing(tmp_path, monkeypatch):
    movie = create(tmp_path / "labels")
    movie.write_frame(1, frame_of(1))
    read = label_movies.attributes_of

    def read_before_the_other_widens(path):
        found = read(path)
        monkeypatch.setattr(label_movies, "attributes_of", read)
        LabelMovie.open(path).write_frame(2, frame_of(2, top=70_000))
        return found

    monkeypatch.setattr(label_movies, "attributes_of", read_before_the_other_widens)
    movie._set_interval(7)
    again = LabelMovie.open(movie.path)
    assert again.frame_interval == 7 and again.dtype == np.uint32 and again.done_frames() == {1, 2}
    np.testing.assert_array_equal(again.frame(1), frame_of(1))
    np.testing.assert_array_equal(again.frame(2), frame_of(2, top=70_000))


@pytest.mark.parametrize("array", ["0", "1"])
def test_a_frame_that_is_written_anew_while_it_is_copied_is_the_new_one(tmp_path, monkeypatch, array):
    """The other writer has looked at the pointer before the widening, or after it."""
    movie = _widened_but_not_copied(tmp_path, monkeypatch)
    original, rewritten = label_movies.put, []

    def rewrite_meanwhile(part, goal):
        if not rewritten:
            rewritten.append(goal)
            movie._write(array, 1, frame_of(7))
            movie.write_frame(1, frame_of(7))  # as who finds another pointer does
        original(part, goal)

    monkeypatch.setattr(label_movies, "put", rewrite_meanwhile)
    create(movie.path)
    assert rewritten and movie.done_frames() == {1, 2, 5}
    np.testing.assert_array_equal(movie.frame(1), frame_of(7))
    np.testing.assert_array_equal(movie.frame(2), frame_of(2))


def test_what_a_killed_writer_has_begun_is_not_filled_up_with_what_was_there_before(tmp_path, monkeypatch):
    movie = _widened_but_not_copied(tmp_path, monkeypatch)
    movie._write("1", 1, frame_of(7))
    (movie.path / "1/1/0/0/0").unlink()  # the last file of a frame that is written
    again = create(movie.path)
    assert again.done_frames() == {2, 5}
    again.write_frame(1, frame_of(7))
    np.testing.assert_array_equal(again.frame(1), frame_of(7))


def test_a_damaged_frame_is_missing_once_the_movie_is_widened(tmp_path, monkeypatch):
    movie = _widened_but_not_copied(tmp_path, monkeypatch)
    (movie.path / "0/1/2/0/0").write_bytes(b"\x02\x01 noise")
    assert create(movie.path).done_frames() == {2, 5}
    np.testing.assert_array_equal(movie.frame(2), frame_of(2))


def test_files_without_an_array_are_no_frame(tmp_path):
    """A writer that was killed while the array was removed under its hands leaves them."""
    movie = create(tmp_path / "labels")
    movie.write_frame(1, frame_of(1, top=70_000))
    stray = movie.path / "0/2/0/0/0"
    stray.parent.mkdir(parents=True)
    stray.write_bytes((movie.path / "1/1/0/0/0").read_bytes())
    assert movie.done_frames() == {1}
    movie.write_frame(2, frame_of(2))
    np.testing.assert_array_equal(create(movie.path).frame(2), frame_of(2))
    assert not (movie.path / "0").exists()


def test_creating_twice(tmp_path):
    movie = create(tmp_path / "labels")
    movie.write_frame(1, frame_of(1))
    with pytest.raises(InputError, match="another movie"):
        LabelMovie.create(tmp_path / "labels", (3, *SHAPE[1:]), voxel_size=SIZE, frame_interval=30)
    with pytest.raises(InputError, match="another movie"):
        LabelMovie.create(tmp_path / "labels", SHAPE, voxel_size=(1, 1, 1), frame_interval=30)
    assert movie.done_frames() == {1}
    assert create(tmp_path / "labels", overwrite=True).done_frames() == set()


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros((4, 32, 32), int), "shape"),
        (np.zeros((32, 33), int), "shape"),
        (np.zeros(SHAPE[1:]), "float64"),
        (np.full(SHAPE[1:], -1), "below 0"),
        (np.full(SHAPE[1:], 2**31), "larger"),
    ],
)
def test_what_is_no_frame(tmp_path, labels, message):
    movie = create(tmp_path / "labels")
    with pytest.raises(InputError, match=f"frame 1 = .*{message}"):
        movie.write_frame(1, labels)
    assert movie.done_frames() == set()


def test_fijis_label_images_of_real_numbers_are_read(tmp_path):
    """MorphoLibJ and TrackMate write labels as 32-bit real numbers."""
    path = tmp_path / "labels.tif"
    image = np.zeros((2, 1, 4, 5, 6), np.float32)
    image[:, :, 1:3, 1:4, 2:5] = 70_000
    write_movie(path, image, voxel_size=SIZE)
    labels = LabelMovie.open(path)
    assert labels.dtype.kind == "i" and labels.frame(1).dtype == np.int32
    np.testing.assert_array_equal(labels.frame(1), image[1, 0])
    for broken, message in ((0.5, "1 of 120 voxels are not whole"), (2.0**25, "save the labels as uint32")):
        image[1, 0, 0, 0, 0] = broken
        write_movie(path, image, voxel_size=SIZE)
        with pytest.raises(InputError, match=f"frame 1.*{message}"):
            LabelMovie.open(path).frame(1)


def test_what_is_no_label_movie(tmp_path):
    with pytest.raises(InputError, match="voxel_size"):
        LabelMovie.create(tmp_path / "a", SHAPE, voxel_size=None)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="shape"):
        LabelMovie.create(tmp_path / "a", (4, 32, 33), voxel_size=SIZE)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="dtype"):
        create(tmp_path / "a", dtype="uint8")
    write_movie(tmp_path / "float.tif", np.full((1, 1, 4, 5, 6), 0.5, np.float32), voxel_size=SIZE)
    with pytest.raises(InputError, match=r"float\.tif.*float32.*not whole"):
        LabelMovie.open(tmp_path / "float.tif")
    write_movie(tmp_path / "two.tif", np.zeros((1, 2, 4, 5, 6), np.uint16), voxel_size=SIZE)
    with pytest.raises(InputError, match=r"two\.tif.*2 channels"):
        LabelMovie.open(tmp_path / "two.tif")


@pytest.mark.parametrize("top", [1, 70_000])
def test_tiff_on_request(tmp_path, top):
    movie = create(tmp_path / "labels")
    for t in range(SHAPE[0]):
        if t == 5:
            with pytest.raises(InputError, match="5, 6, 7"):
                export_tiff(movie, tmp_path / "labels.tif")
        movie.write_frame(t, frame_of(t, top=top))
    export_tiff(movie, tmp_path / "labels.tif")
    tiff = LabelMovie.open(tmp_path / "labels.tif")
    assert tiff.shape == SHAPE and tiff.voxel_size == pytest.approx(SIZE) and tiff.frame_interval == 30
    assert tiff.dtype == ("uint32" if top > 65_535 else "uint16")
    assert tiff.done_frames() == set(range(SHAPE[0]))
    for t in range(SHAPE[0]):
        np.testing.assert_array_equal(tiff.frame(t), frame_of(t, top=top))
    with pytest.raises(InputError, match="another program"):
        tiff.write_frame(0, frame_of(0))


FULL = """
import resource, signal, sys, numpy as np
from helpers.data.label_movies import LabelMovie
from helpers.errors import InputError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
movie = LabelMovie.create(sys.argv[1], (3, 16, 128, 128), voxel_size=(1, 1, 1))
movie.write_frame(0, np.ones((16, 128, 128), int))
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
noise = np.random.default_rng(0).integers(0, 60000, (16, 128, 128))
for write in (lambda: movie.write_frame(1, noise), lambda: movie.write_frame(0, noise)):
    try:
        write()
    except InputError as error:
        assert error.name == sys.argv[1], error
    else:
        raise SystemExit("was written")
assert movie.done_frames() == {0} and movie.frame(0).max() == 1
"""


def test_a_full_disk_keeps_what_was_finished(tmp_path):
    result = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path / "labels")], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    assert not list(tmp_path.rglob("*.part*"))


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        create(tmp_path / "file" / "labels")
    folder = tmp_path / "read only"
    folder.mkdir()
    folder.chmod(0o500)
    if os.access(folder, os.W_OK):
        folder = Path("/proc")  # nobody, not even root, makes files there
    if not folder.is_dir():
        pytest.skip("this user may write everywhere, and the system has no /proc")
    with pytest.raises(InputError, match="cannot be written"):
        create(folder / "labels")
    with pytest.raises(InputError, match="cannot be written"):
        write_movie(folder / "a.tif", np.zeros((1, 1, 2, 3, 4), np.uint16), voxel_size=SIZE)
