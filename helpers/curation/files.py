"""The curated result on the disk: what follows from the log, for notebooks and for other programs.

``curated/labels.zarr`` is a whole label movie, but frames that no edit touched are the automatic ones' own files (hard
links), so that only changed frames take space; ``curated/tracks.csv`` is a whole table. Both can be made again from the
log at any time. ``curated/state.json`` says which edits they hold::

    {"key": …, "frames": {"3": "…"}, "checksums": {"3": "…"}, "writing": [], …}

Frames in ``writing`` are being written, perhaps by someone who was killed; for all others a checksum that does not fit means
that someone changed the labels beside the log.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from helpers.curation.automatic import Automatic, checksum
from helpers.curation.log import Edit, active
from helpers.curation.session import LOG, open_log
from helpers.curation.state import State
from helpers.curation.tables import curated_tracks
from helpers.data.atomic import atomic_path, writing_to
from helpers.data.label_movies import LabelMovie
from helpers.data.movies import Movie
from helpers.errors import InputError
from helpers.tracking.formats import table


@dataclass(frozen=True)
class Curated:
    """A curated result on the disk.

    Attributes
    ----------
    labels, tracks : Path
        ``curated/labels.zarr`` and ``curated/tracks.csv``.
    edits : int
        Edits in force.
    authors : list of str
        Who made them.
    last : str or None
        When the last one was made, UTC.
    """

    labels: Path
    tracks: Path
    edits: int
    authors: list[str]
    last: str | None

    def plain(self) -> dict[str, Any]:
        """Return what the provenance of a step says of it."""
        return {"edits": self.edits, "authors": self.authors, "last_edit": self.last}


def read_state(folder: str | Path) -> State:
    """Read the curated state of a movie without changing or locking anything.

    Raises
    ------
    InputError
        As `Curation`, and where there is no log.
    """
    automatic = Automatic.open(folder)
    content = open_log(Path(folder), automatic)
    return State(automatic, content.edits, content.header["highest_label"])


def state_on_disk(folder: str | Path) -> State:
    """Read the state of a movie as it is on the disk, also where nobody has edited it yet; nothing is locked or changed.

    Raises
    ------
    InputError
        As `Curation`.
    """
    automatic = Automatic.open(folder)
    content = open_log(Path(folder), automatic, begin=True)
    return State(automatic, content.edits, content.header["highest_label"])


def is_curated(folder: str | Path) -> bool:
    """Whether a movie's folder holds a log of edits."""
    return (Path(folder) / LOG).is_file()


def bring_up_to_date(folder: str | Path, raw: Movie | None = None) -> Curated:
    """Write the curated labels and tracks that follow from the log, as far as they are not there.

    Parameters
    ----------
    folder : path-like
        ``<run>/movies/<id>``.
    raw : Movie, optional
        The raw movie, to measure intensities of changed cells.

    Raises
    ------
    InputError
        No log, or not of this movie and result; curated labels that someone changed beside the log; a folder that cannot
        be written.
    """
    folder = Path(folder)
    automatic = Automatic.open(folder)
    content = open_log(folder, automatic)
    done, _ = active(content.edits)
    target = folder / "curated"
    authors = sorted({edit.author for edit in done})
    result = Curated(
        target / "labels.zarr", target / "tracks.csv", len(done), authors, done[-1].time if done else None
    )
    key = _hash([automatic.fingerprint, [edit.id for edit in done], str(raw.path) if raw else None])
    before = _read(target / "state.json")
    _refuse_changes(result, before, automatic.labels.shape)
    if before.get("key") != key or before.get("writing") or not result.tracks.is_file():
        with writing_to(target):
            target.mkdir(exist_ok=True)
            _write(result, State(automatic, content.edits, content.header["highest_label"]), raw, key, before)
    return result


def _write(result: Curated, state: State, raw: Movie | None, key: str, before: dict[str, Any]) -> None:
    """Write the frames that differ from what is there, then the tracks."""
    automatic = state.automatic
    labels = LabelMovie.create(
        result.labels,
        automatic.labels.shape,
        voxel_size=automatic.voxel_size,
        frame_interval=automatic.labels.frame_interval,
        dtype="uint32" if automatic.labels.dtype.itemsize > 2 else "uint16",
        overwrite=before.get("voxel_size_um", list(automatic.voxel_size)) != list(automatic.voxel_size),
    )
    frames = _frame_keys(state.done, automatic)
    known, there = before.get("frames", {}), labels.done_frames()
    wrong = set(before.get("writing", ()))
    todo = [t for t in frames if known.get(t) != frames[t] or int(t) not in there or int(t) in wrong]
    content = {
        **before,
        "key": None,
        "writing": [int(t) for t in todo],
        "voxel_size_um": automatic.voxel_size,
    }
    _write_json(result.labels.parent / "state.json", content)
    changed = set(state.labels.changed_frames)
    checksums = {t: c for t, c in before.get("checksums", {}).items() if t not in todo}
    for t in todo:
        if int(t) in changed or not _link(automatic.labels, labels, int(t)):
            labels.write_frame(int(t), state.labels.frame(int(t)))
        checksums[t] = checksum(labels, int(t))
    table.write(curated_tracks(state, raw), result.tracks, six_digits=True)
    content |= {"key": key, "writing": [], "frames": frames, "checksums": checksums, **result.plain()}
    _write_json(result.labels.parent / "state.json", content)


def _link(source: LabelMovie, target: LabelMovie, t: int) -> bool:
    """Let a frame be the automatic one's own file; say whether that was possible."""
    files = source.files(t)
    if len(files) != 1 or source.dtype != target.dtype or source.frame(t).shape != target.shape[1:]:
        return False
    goal = target.path / files[0].relative_to(source.path)
    goal.parent.mkdir(parents=True, exist_ok=True)
    if goal.exists() and goal.samefile(files[0]):
        return True
    temporary = goal.with_name(f".{goal.name}.{os.getpid()}.part")
    with suppress(FileNotFoundError):
        temporary.unlink()
    try:
        os.link(files[0], temporary)
    except OSError:  # another disk, or one without links
        shutil.copyfile(files[0], temporary)
    os.replace(temporary, goal)
    target.mend_levels(t)
    return True


def _frame_keys(done: list[Edit], automatic: Automatic) -> dict[str, str]:
    """Return, for each frame, what its labels follow from."""
    touched: dict[int, list[str]] = {t: [c] for t, c in enumerate(automatic.fingerprint["labels"])}
    for edit in done:
        for t in edit.changes.frames:
            touched[t].append(edit.id)
    return {str(t): _hash(parts) for t, parts in touched.items()}


def _refuse_changes(result: Curated, before: dict[str, Any], shape: tuple[int, ...]) -> None:
    if not before.get("checksums") or not result.labels.exists():
        return
    labels = LabelMovie.open(result.labels)
    if labels.shape != shape:
        raise InputError(str(result.labels), labels.shape, f"labels of the shape {shape}; remove this folder")
    there, writing = labels.done_frames(), set(before["writing"])
    changed = [
        int(t)
        for t, known in before["checksums"].items()
        if int(t) in there - writing and checksum(labels, int(t)) != known
    ]
    if changed:
        raise InputError(
            str(result.labels),
            f"frames {changed[:10]} were changed beside the log",
            "make edits through Curation, so that they can be undone and repeated. Move this folder elsewhere to keep "
            "what was changed; it is then written anew from the log",
        )


def _hash(content: Any) -> str:
    return hashlib.blake2b(json.dumps(content).encode(), digest_size=12).hexdigest()


def _read(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return {}


def _write_json(path: Path, content: dict[str, Any]) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content))
