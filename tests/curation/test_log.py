"""The log: written before it is seen, read after any death, refused where it is of something else."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helpers.curation import Cell, Curation, Stroke, confirming, log
from helpers.curation.files import read_state
from helpers.curation.voxels import VoxelChange, decode, voxels_index, voxels_text
from helpers.errors import InputError
from tests.curation.curated_movies import boxes, content, write_cells


@given(st.lists(st.integers(0, 500), unique=True))
def test_voxels_survive_as_text(index: list[int]) -> None:
    ascending = np.array(sorted(index), np.int64)
    assert np.array_equal(voxels_index(voxels_text(ascending)), ascending)


@given(st.integers(0, 2**32 - 1))
def test_a_change_leads_there_and_back(seed: int) -> None:
    rng = np.random.default_rng(seed)
    before = rng.integers(0, 3, (2, 5, 6)).astype(np.int32)
    after = np.where(rng.random(before.shape) < 0.3, rng.integers(0, 70_000, before.shape), before).astype(
        np.int32
    )
    change = VoxelChange.between(0, before, after)
    if change is None:
        assert np.array_equal(before, after)
        return
    labels = before.copy()
    change.apply(labels)
    assert np.array_equal(labels, after)
    with pytest.raises(InputError, match="the labels that the log's edit was made on"):
        change.apply(labels)
    change.apply(labels, backwards=True)
    assert np.array_equal(labels, before)


def test_damaged_voxels_are_named() -> None:
    with pytest.raises(InputError, match="runs as the log writes them"):
        decode("AAAA", 2)


def test_every_line_says_who_when_and_what(flat: Path) -> None:
    with Curation(flat, author="Änne") as curation:
        curation.do("remove", cell=Cell(0, 1))
        curation.undo()
        curation.redo()
    first, *lines = [json.loads(line) for line in (flat / "edits.jsonl").read_text("utf-8").splitlines()]
    assert first["movie"] == {"name": "movie", "shape": [4, 1, 40, 48], "voxel_size_um": [2.0, 0.5, 0.5]}
    assert [line["operation"] for line in lines] == ["remove", "undo", "redo"]
    assert all(line["author"] == "Änne" and line["time"].endswith("+00:00") for line in lines)
    assert lines[0]["arguments"]["cell"]["cell"] == [0, 1]
    assert lines[1]["of"] == lines[2]["of"] == lines[0]["edit"]


def test_who_only_looks_leaves_no_log(flat: Path) -> None:
    with Curation(flat) as curation:
        with pytest.raises(InputError, match="nothing to undo"):
            curation.undo()
        with pytest.raises(InputError, match="not there"):
            curation.do("remove", cell=Cell(0, 99))
    assert not (flat / "edits.jsonl").exists()


def test_undo_and_redo_reach_across_closings(folder: Path) -> None:
    with Curation(folder) as curation:
        start = content(curation.state)
        curation.do("remove", cell=Cell(0, 1))
        curation.do("cut", cell=Cell(2, 3))
        curation.do("merge", keep=Cell(2, 3), other=Cell(2, 4))
        end = content(curation.state)
    with Curation(folder) as curation:
        assert content(curation.state) == end
        for _ in range(3):
            curation.undo()
        assert content(curation.state) == start
        with pytest.raises(InputError, match="nothing to undo"):
            curation.undo()
    with Curation(folder) as curation:
        for _ in range(3):
            curation.redo()
        assert content(curation.state) == end
        with pytest.raises(InputError, match="nothing to redo"):
            curation.redo()
        curation.undo()
        curation.do("remove", cell=Cell(0, 2))
        with pytest.raises(InputError, match="nothing to redo"):
            curation.redo()


def test_half_a_line_is_cut_off_and_written_over(flat: Path) -> None:
    with Curation(flat) as curation:
        curation.do("remove", cell=Cell(0, 1))
        seen = content(curation.state)
        curation.do("confirm", **confirming.frame(curation.state, 2))
    path = flat / "edits.jsonl"
    path.write_bytes(path.read_bytes()[:-30])
    assert content(read_state(flat)) == seen
    with Curation(flat) as curation:
        assert content(curation.state) == seen
        curation.undo()  # a shorter line than the half one
        assert all(json.loads(line) for line in path.read_text().splitlines())
        curation.redo()
        curation.do("remove", cell=Cell(0, 3))
        after = content(curation.state)
    assert content(read_state(flat)) == after
    assert all(json.loads(line) for line in path.read_text().splitlines())


def test_damage_before_the_last_line_is_named(flat: Path) -> None:
    with Curation(flat) as curation:
        curation.do("remove", cell=Cell(0, 1))
        curation.do("remove", cell=Cell(0, 2))
    path = flat / "edits.jsonl"
    lines = path.read_text().split("\n")
    path.write_text("\n".join([lines[0], lines[1][:50], lines[2], ""]))
    with pytest.raises(InputError, match=r"edits.jsonl, line 2 = .*restore it from a copy"):
        Curation(flat)
    path.write_text(
        "\n".join([lines[0], lines[2].replace('"operation":"remove"', '"operation":"undo","of":"x"'), ""])
    )
    with pytest.raises(InputError, match="whose turn it is"):
        Curation(flat)
    path.write_text("{}\n")
    with pytest.raises(InputError, match="a log of edits of Volltrack"):
        Curation(flat)


def test_an_edit_that_does_not_fit_the_labels_is_refused(flat: Path) -> None:
    with Curation(flat) as curation:
        curation.do("remove", cell=Cell(0, 1))
        curation.do("paint", stroke=Stroke.of_points(0, [(0, 3, 3), (0, 3, 4)], (1, 40, 48)))
    path = flat / "edits.jsonl"
    lines = path.read_text().split("\n")
    path.write_text("\n".join([lines[0], lines[2], ""]))  # without the edit before
    with pytest.raises(InputError, match="the labels that the log's edit was made on"):
        read_state(flat).labels.frame(0)


def test_the_log_of_another_movie_is_refused(flat: Path, tmp_path: Path) -> None:
    with Curation(flat) as curation:
        curation.do("remove", cell=Cell(0, 1))
    other = write_cells(tmp_path / "other", labels=boxes(1))
    (other / "edits.jsonl").write_bytes((flat / "edits.jsonl").read_bytes())
    with pytest.raises(InputError, match=r"'name': 'movie'.*the log of this movie: {'name': 'other'}"):
        Curation(other)
    with Curation(flat):
        pass  # the refusal has left no lock behind


def test_another_segmentation_is_refused_with_the_way_on(flat: Path) -> None:
    from helpers.data.label_movies import LabelMovie

    with Curation(flat) as curation:
        curation.do("remove", cell=Cell(0, 1))
    labels = LabelMovie.open(flat / "labels.zarr")
    labels.write_frame(2, labels.frame(2) * 2)
    with pytest.raises(InputError, match=r"labels of frames 2 differ.*python -m helpers replay"):
        Curation(flat)
    (flat / "tracks.csv").write_text((flat / "tracks.csv").read_text() + "\n")
    with pytest.raises(InputError, match="labels of frames 2 and tracks differ"):
        read_state(flat)


def test_a_second_person_is_told_who_edits(flat: Path) -> None:
    with Curation(flat, author="ann") as curation:
        curation.do("remove", cell=Cell(0, 1))
        with pytest.raises(InputError, match=rf"ann edits it since .*process {os.getpid()} on"):
            Curation(flat, author="bob")
        read_state(flat)  # reading is free
    with Curation(flat, author="bob") as curation:
        assert curation.author == "bob"


def test_a_folder_that_cannot_be_written(flat: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Curation(flat) as curation:
        curation.do("remove", cell=Cell(0, 1))
        before = content(curation.state)
        size = (flat / "edits.jsonl").stat().st_size

        def full(fd: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)  # what a full disk says, after the bytes were taken
        with pytest.raises(InputError, match=r"No space left.*cannot be written"):
            curation.do("remove", cell=Cell(0, 2))
        assert content(curation.state) == before and (flat / "edits.jsonl").stat().st_size == size
        monkeypatch.undo()
        curation.do("remove", cell=Cell(0, 2))
    flat.chmod(0o500)
    try:
        if not os.access(flat, os.W_OK):
            with pytest.raises(InputError, match="cannot be written"):
                Curation(flat)
        assert len(read_state(flat).done) == 2
    finally:
        flat.chmod(0o700)


def _edit_until_killed(folder: Path, seen: str, seed: int) -> None:
    """Paint and undo as fast as it goes; note each edit once it is seen."""
    rng = random.Random(seed)
    with Curation(folder, author="ann") as curation, open(seen, "a", buffering=1) as noted:
        noted.write("open\n")
        while True:
            y, x = rng.randrange(38), rng.randrange(40)
            if curation.state.done and rng.random() < 0.2:
                edit = curation.undo()
                noted.write(f"undo {edit.id}\n")
            elif curation.state.undone and rng.random() < 0.3:
                edit = curation.redo()
                noted.write(f"redo {edit.id}\n")
            else:
                stroke = Stroke.of_points(rng.randrange(4), [(0, y, x + k) for k in range(3)], (1, 40, 48))
                noted.write(f"do {curation.do('paint', stroke=stroke).id}\n")


@pytest.mark.slow
def test_killed_twenty_times_nothing_that_was_seen_is_lost(flat: Path, tmp_path: Path) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["helpers.curation", "helpers.curation.files"])
    rng = random.Random(7)
    n_edits = 0
    for k in range(20):
        seen = tmp_path / f"seen-{k}"
        process = context.Process(target=_edit_until_killed, args=(flat, str(seen), k))
        process.start()
        while not seen.exists() or "do" not in seen.read_text():
            time.sleep(0.005)
            assert process.is_alive()
        time.sleep(rng.uniform(0, 0.05))
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        noted = [line.split() for line in seen.read_text().splitlines() if line.count(" ") == 1]
        lines = log.read_log(flat / "edits.jsonl").edits[n_edits:]
        found = [(e.operation, e.of) if e.of else ("do", e.id) for e in lines]
        # What was seen is in the log; at most one more edit was written and not yet seen.
        assert [tuple(line) for line in noted if len(line[1]) == 16] == found[: len(noted)]
        assert len(found) <= len(noted) + 1
        n_edits += len(lines)
    assert n_edits > 20
    state = read_state(flat)
    with Curation(flat) as curation:
        assert content(curation.state) == content(state)
        while curation.state.done:
            curation.undo()
        assert np.array_equal(curation.state.labels.frame(0), boxes(1)[0])


OPERATIONS = st.lists(
    st.tuples(st.sampled_from("plcmsdfruUR"), st.integers(0, 2**32 - 1)), min_size=1, max_size=12
)


def _random_edit(curation: Curation, kind: str, rng: np.random.Generator) -> None:
    """Try an edit of some kind on random cells."""
    state = curation.state
    cells = [Cell(t, int(v)) for t in range(4) for v in np.unique(state.labels.frame(t)) if v > 0]
    one, two = (cells[i] for i in rng.integers(0, len(cells), 2)) if cells else (Cell(0, 1), Cell(0, 2))
    stroke = Stroke(int(rng.integers(4)), np.unique(rng.integers(0, 40 * 48 * state.shape[1], 30)))
    arguments = {
        "p": ("paint", {"stroke": stroke, "cell": None}),
        "l": ("link", {"cells": [one, two], "replace": True}),
        "c": ("cut", {"cell": one}),
        "m": ("merge", {"keep": one, "other": two}),
        "s": ("split_by_plane", {"cell": one, "points": rng.integers(0, 40, (2, 3)).tolist()}),
        "d": ("set_division", {"mother": one, "daughters": [two, cells[0] if cells else two]}),
        "f": ("relabel_fragments", {"frame": int(rng.integers(4))}),
        "r": ("remove", {"cell": one}),
        "u": ("align_labels", {}),
    }
    if kind == "U":
        curation.undo()
    elif kind == "R":
        curation.redo()
    else:
        name, given_ = arguments[kind]
        curation.do(name, **given_)


@pytest.mark.slow
@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(OPERATIONS)
def test_any_edits_are_undone_and_redone_bit_for_bit(folder: Path, edits: list[tuple[str, int]]) -> None:
    (folder / "edits.jsonl").unlink(missing_ok=True)
    with Curation(folder) as curation:
        start = content(curation.state)
        for kind, seed in edits:
            before = content(curation.state)
            try:
                _random_edit(curation, kind, np.random.default_rng(seed))
            except InputError:
                assert content(curation.state) == before, "who refuses has changed nothing"
            _assert_whole(curation)
        end, n = content(curation.state), len(curation.state.done)
        for _ in range(n):
            curation.undo()
        assert content(curation.state) == start
        for _ in range(n):
            curation.redo()
        assert content(curation.state) == end
    # The log begins with the first edit that is not refused.
    if (folder / "edits.jsonl").exists():
        assert content(read_state(folder)) == end, "a replay gives the same"


def _assert_whole(curation: Curation) -> None:
    """Objects are cells of their frames, links lead forward in time between objects, marks are of what is there."""
    state, graph = curation.state, curation.state.graph
    present = {(t, int(v)) for t in range(4) for v in np.unique(state.labels.frame(t)) if v > 0}
    assert set(graph.id_at) == set(graph.cell_of.values()) <= present
    assert {key: i for i, key in graph.cell_of.items()} == graph.id_at
    for a, b in graph.links():
        assert graph.cell_of[a][0] < graph.cell_of[b][0]
        assert a in graph.sources[b]
