"""Mutated files are read as something sound, or refused by an `InputError`: never another exception, never a hang.

``VOLLTRACK_FUZZ=5000`` tries so many of each kind; the default takes seconds.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helpers.data.label_movies import LabelMovie
from helpers.data.movies import Movie, write_movie
from helpers.errors import InputError
from helpers.models import model_folder
from helpers.models.unet import UNetSettings
from helpers.runs import finished_frames
from helpers.runs.parameters import Segment
from helpers.runs.plan import open_experiment
from helpers.runs.run import read_done, why_not_done, write_json
from helpers.segmentation import thresholds
from helpers.tracking.formats import any_format, btrackmate, ctc, geff, table, trackmate
from helpers.tracking.tracks import Tracks

EXAMPLES = int(os.environ.get("VOLLTRACK_FUZZ", "25"))
SETTINGS = settings(
    max_examples=EXAMPLES,
    deadline=None,  # the machine may be busy; a hang is told by pytest's own limit
    derandomize="VOLLTRACK_FUZZ" not in os.environ,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

#: What a careless program, a careless hand or an attacker puts in the place of a value.
NASTY = [
    "", "null", "nan", "NaN", "inf", "-1", "1e999", "1.5", "0x10", "no", "true", "[]", "{}", '""', "[[", "{{", "&a [*a]",
    "*a", "<<: *a", "!!python/object:os.system x", "9" * 5000, "-" + "9" * 30, "9223372036854775808", "[" * 2000,
    "\x00", "\ufeff", "\u2028", "é", "²", "\r", "\t", "\n", ",", ";", '"', "'", "<", "&", "&lt;", "%", "{x}", "{0}",
    "../..", "/dev/zero", "a" * 20_000,
]  # fmt: skip

#: What TrackMate exports: keys, two lines of names, units, and a track that divides.
SPOTS = """LABEL,ID,TRACK_ID,QUALITY,POSITION_X,POSITION_Y,POSITION_Z,POSITION_T,FRAME,RADIUS
Label,Spot ID,Track ID,Quality,X,Y,Z,T,Frame,Radius
Label,Spot ID,Track ID,Quality,X,Y,Z,T,Frame,R
,,,(quality),(micron),(micron),(micron),(min),,(micron)
ID10,10,1,5,10,8,0,0,0,2.5
ID30,30,1,5.5,11,9,0,0.5,1,2.5
ID40,40,1,5,12,10,0,1,2,2.5
ID41,41,1,5,1,1,0,1,2,2.5
ID12,12,,5,40,4,0,0,0,2.5
"""


@st.composite
def mutations(draw: st.DrawFn) -> Callable[[bytes], bytes]:
    """Return a function that changes a file's bytes in one to three places."""
    steps = draw(
        st.lists(
            st.tuples(
                st.sampled_from(["cut", "drop", "double", "replace", "insert", "byte", "word"]),
                st.floats(0, 1),
                st.floats(0, 1),
                st.sampled_from(NASTY),
            ),
            min_size=1,
            max_size=3,
        )
    )

    def mutate(content: bytes) -> bytes:
        for kind, where, much, text in steps:
            start = int(where * len(content))
            end = min(len(content), start + 1 + int(much**3 * 200))
            new = text.encode("utf-8", "surrogatepass")
            if kind == "cut":
                content = content[:start]
            elif kind == "drop":
                content = content[:start] + content[end:]
            elif kind == "double":
                content = content[:end] + content[start:]
            elif kind == "replace":
                content = content[:start] + new + content[end:]
            elif kind == "insert":
                content = content[:start] + new + content[start:]
            elif kind == "byte" and content:
                start = min(start, len(content) - 1)
                content = content[:start] + bytes([int(much * 255)]) + content[start + 1 :]
            elif kind == "word":
                content = _replace_word(content, where, new)
        return content

    return mutate


def _replace_word(content: bytes, where: float, new: bytes) -> bytes:
    """Put something in the place of a whole number or word."""
    import re

    words = list(re.finditer(rb"[\w.+-]+", content))
    if not words:
        return content
    word = words[min(int(where * len(words)), len(words) - 1)]
    return content[: word.start()] + new + content[word.end() :]


def _tracks(flat: bool = True) -> Tracks:
    rng = np.random.default_rng(3)
    objects = pd.DataFrame({"id": range(12), "frame": np.repeat(range(4), 3), "label": np.tile([1, 2, 3], 4)})
    for axis in "zyx":
        objects[axis] = 0.0 if flat and axis == "z" else rng.uniform(0, 9, 12).round(2)
    objects["intensity_mean"], objects["note"] = rng.uniform(0, 9, 12), ["a", "b", None] * 4
    links = pd.DataFrame({"source": range(9), "target": range(3, 12), "cost": 0.5})
    return Tracks(objects, links, (1.0, 0.5, 0.5), 60.0)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with one good file of each kind."""
    folder = tmp_path_factory.mktemp("good")
    tracks = _tracks()
    trackmate.write(tracks, folder / "tracks.xml")
    table.write(tracks, folder / "tracks.csv")
    table.write(tracks, folder / "tracks")
    geff.write(tracks, folder / "tracks.geff")
    btrackmate.write(tracks, folder / "btrackmate.csv")
    (folder / "spots.csv").write_text(SPOTS)
    (folder / "edges.csv").write_text(
        "SPOT_SOURCE_ID,SPOT_TARGET_ID,LINK_COST\n10,30,0.5\n30,40,1\n30,41,1\n"
    )
    labels = LabelMovie.create(folder / "labels.zarr", (4, 1, 16, 16), voxel_size=(1, 0.5, 0.5))
    for t in range(4):
        frame = np.zeros((1, 16, 16), int)
        for label in (1, 2, 3):
            frame[0, 4 * label : 4 * label + 3, t : t + 3] = label
        labels.write_frame(t, frame)
    ctc.write(tracks, folder / "ctc", labels)
    movie = np.random.default_rng(0).integers(0, 99, (2, 2, 8, 8)).astype(np.uint16)
    write_movie(folder / "movie.tif", movie, voxel_size=(1, 1, 1), axes="TZYX")
    write_movie(folder / "movie.zarr", movie, voxel_size=(1, 1, 1), axes="TZYX")
    (folder / "thresholds.json").write_text(
        '{"prob": 0.5, "nms": 0.3, "foreground": 0.4, "score": 0.9, "tried": []}'
    )
    _experiment(folder)
    _step(folder)
    return folder


def _experiment(folder: Path) -> None:
    content = {
        "name": "fuzz",
        "run_dir": str(folder / "run"),
        "pairs": {"raw_dir": "train/raw", "label_dir": "train/label"},
        "movies": "movies.csv",
        "prepare": {"synthetic": {"seed": 3, "shape": [4, 16, 16], "n_stacks": 2}},
        "steps": {
            "03_create_dataset": {"patch_size": [4, 16, 16], "validation_stacks": ["a"]},
            "06_segment": {"prob_thresh": 0.5, "frames_per_job": 2},
            "10_track": {"tracker": "lap", "penalties": {"area_um2": 1.0}, "max_distance_um": 5},
            "16_compare_conditions": {},
        },
    }
    (folder / "experiment.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    rows = [
        "movie_id,movie,truth,condition,voxel_size_um,note",
        'a,a.tif,t.tif,wild type,"[1, 0.5, 0.5]",x',
        "b,b.tif,,0,,",
    ]
    (folder / "movies.csv").write_text("\n".join(rows) + "\n")


def _step(folder: Path) -> None:
    done = {
        "step": "06_segment", "results": {"cells": 3}, "parameters": _parameters(folder).plain(), "inputs": {"a": "b"},
        "packages": {"numpy": "2"}, "started": "2026-01-01T00:00:00+0000", "duration_s": 1.0, "device": "cpu",
        "outputs": {"movies/m/objects.csv": [3, 4, "ab"], "models/unet/config.json": None},
    }  # fmt: skip
    (folder / "steps" / "06_segment-m").mkdir(parents=True)
    write_json(folder / "steps" / "06_segment-m" / "done.json", done)
    frames = folder / "frames"
    frames.mkdir()
    labels = LabelMovie.open(folder / "labels.zarr")
    cells = pd.DataFrame({"label": [1], "frame": [0]})
    finished_frames.finish(frames, 0, {"unet": labels}, {"unet": labels.frame(0)}, cells, {"network": 1.0})
    model = folder / "models" / "unet"
    model.mkdir(parents=True)
    state = {
        "status": "finished",
        "epoch": 1,
        "best_loss": 0.1,
        "best_epoch": 1,
        "history": [{"epoch": 1, "loss": 1}],
    }
    record = {
        "network": "U-Net",
        "settings": {"epochs": 1, "schedule": "plateau"},
        "data": {},
        "state": state,
    }
    write_json(model / "training.json", record)


def _parameters(folder: Path) -> Segment:
    return Segment(run_dir=folder, movie=folder / "movie.tif", movie_id="m")


def _read_done(path: Path) -> None:
    done = read_done(path.parent)
    assert done is None or (isinstance(done["parameters"], dict) and isinstance(done["outputs"], dict))
    why_not_done(_parameters(path.parents[2]), verify=True)


def _read_frames(path: Path) -> None:
    labels = LabelMovie.open(path.parent.parent / "labels.zarr")
    assert finished_frames.states(path.parent, [0], {"unet": labels})[0] in ("finished", "missing")


def _read_training(path: Path) -> None:
    model_folder.settings_of(path.parent, UNetSettings)
    model_folder.training_set_of(path.parent)
    data = {"patches": [1]}
    model_folder.open_folder(path.parent, "U-Net", UNetSettings(epochs=1), data, overwrite=False)


#: File to mutate → what reads it.  Files of a folder format are read through their folder.
READERS: dict[str, Callable[[Path], object]] = {
    "experiment.yaml": open_experiment,
    "movies.csv": lambda path: open_experiment(path.with_name("experiment.yaml")),
    "tracks.xml": trackmate.read,
    "tracks.csv": table.read,
    "tracks.csv.json": lambda path: table.read(path.with_name("tracks.csv")),
    "tracks/objects.csv": lambda path: table.read(path.parent),
    "tracks/links.csv": lambda path: table.read(path.parent),
    "tracks/tracks.json": lambda path: table.read(path.parent),
    "tracks.geff/.zattrs": lambda path: geff.read(path.parent),
    "tracks.geff/nodes/ids/.zarray": lambda path: geff.read(path.parents[2]),
    "tracks.geff/nodes/ids/0": lambda path: geff.read(path.parents[2]),
    "tracks.geff/edges/ids/0.0": lambda path: geff.read(path.parents[2]),
    "spots.csv": any_format.read,
    "edges.csv": lambda path: any_format.read(path.with_name("spots.csv")),
    "btrackmate.csv": lambda path: btrackmate.read(path, voxel_size=(1, 1, 1)),
    "ctc/res_track.txt": lambda path: ctc.read(path.parent, voxel_size=(1, 1, 1)),
    "ctc/mask001.tif": lambda path: ctc.read(path.parent, voxel_size=(1, 1, 1)),
    "movie.tif": lambda path: [Movie.open(path).frame(t) for t in range(Movie.open(path).n_frames)],
    "movie.zarr/.zattrs": lambda path: Movie.open(path.parent).frame(0),
    "movie.zarr/0/.zarray": lambda path: Movie.open(path.parents[1]).frame(0),
    "labels.zarr/.zattrs": lambda path: LabelMovie.open(path.parent).frame(0),
    "labels.zarr/0/.zarray": lambda path: LabelMovie.open(path.parents[1]).frame(0),
    "thresholds.json": thresholds.load,
    "steps/06_segment-m/done.json": _read_done,
    "frames/00000.json": _read_frames,
    "frames/00000.csv": _read_frames,
    "models/unet/training.json": _read_training,
}


@pytest.mark.timeout(300 if EXAMPLES <= 25 else 3600)
@pytest.mark.parametrize("name", READERS)
@SETTINGS
@given(mutate=mutations())
def test_a_mutated_file_is_read_or_refused(name: str, good: Path, mutate: Callable[[bytes], bytes]) -> None:
    path = good / name
    whole = path.read_bytes()
    path.write_bytes(mutate(whole))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            READERS[name](path)
        except InputError as error:
            assert len(str(error)) < 20_000
        finally:
            path.write_bytes(whole)
