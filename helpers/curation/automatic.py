"""The automatic result that edits are made on: labels, tracks, and by what they are known again."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from helpers.data.label_movies import LabelMovie, labels_of_tracks
from helpers.errors import InputError
from helpers.tracking.formats import table
from helpers.tracking.tracks import Tracks


@dataclass(frozen=True)
class Automatic:
    """Labels and tracks of one movie in a run, as notebooks 06_segment to 10_track wrote them.

    Attributes
    ----------
    folder : Path
        ``<run>/movies/<id>``.
    labels : LabelMovie
    tracks : Tracks
        With ``label`` among the columns of their objects.
    """

    folder: Path
    labels: LabelMovie
    tracks: Tracks

    @classmethod
    def open(cls, folder: str | Path) -> Automatic:
        """Open the movie's folder.

        Raises
        ------
        InputError
            No labels or tracks there, frames that are not segmented yet, or tracks that are not of these labels.
        """
        folder = Path(folder)
        for name, maker in (("labels.zarr", "06_segment or 07_segment_cellpose"), ("tracks.csv", "10_track")):
            if not (folder / name).exists():
                raise InputError(str(folder / name), "not there", f"run notebook {maker} first")
        labels = LabelMovie.open(labels_of_tracks(folder))
        missing = sorted(set(range(labels.n_frames)) - labels.done_frames())
        if missing:
            raise InputError(
                str(labels.path),
                f"frames {missing} missing",
                "let notebook 06_segment or 07_segment_cellpose end first",
            )
        tracks = table.read(folder / "tracks.csv")
        frames = tracks.objects["frame"]
        if len(frames) and frames.max() >= labels.n_frames:
            raise InputError(
                str(folder / "tracks.csv"),
                f"objects in frame {frames.max()}",
                f"tracks of {labels.path}, which has {labels.n_frames} frames; run notebook 10_track again",
            )
        return cls(folder, labels, tracks)

    @property
    def voxel_size(self) -> tuple[float, float, float]:
        """(z, y, x) in µm.

        Raises
        ------
        InputError
            Neither tracks nor labels say it.
        """
        size = self.tracks.voxel_size or self.labels.voxel_size
        if size is None:
            raise InputError(
                "voxel_size_um", None, "neither tracks nor labels say it; give it to notebook 10_track"
            )
        return size

    def about(self) -> dict[str, Any]:
        """Return the movie that it is of: name, shape, voxel size (µm)."""
        return {
            "name": self.folder.resolve().name,
            "shape": list(self.labels.shape),
            "voxel_size_um": list(self.voxel_size),
        }

    @cached_property
    def fingerprint(self) -> dict[str, Any]:
        """Hashes of the label frames, and of the tracks."""
        content = (self.folder / "tracks.csv").read_bytes()
        return {
            "labels": [checksum(self.labels, t) for t in range(self.labels.n_frames)],
            "tracks": hashlib.blake2b(content, digest_size=8).hexdigest(),
        }

    def highest_label(self) -> int:
        """Return the highest label of the movie; all frames are read."""
        return max(int(frame.max(initial=0)) for frame in self.labels.frames())


def checksum(labels: LabelMovie, t: int) -> str:
    """Return a hash of one frame: of its files, or of the labels where another program wrote them."""
    content = [file.read_bytes() for file in labels.files(t)]
    content = content or [np.ascontiguousarray(labels.frame(t), "<i4").tobytes()]
    return hashlib.blake2b(b"\0".join(content), digest_size=8).hexdigest()


def difference(begun_on: dict[str, Any], now: dict[str, Any]) -> str | None:
    """Say what differs between two fingerprints, or return None."""
    frames = np.flatnonzero([a != b for a, b in zip(begun_on["labels"], now["labels"], strict=True)])
    parts = []
    if len(frames):
        shown = ", ".join(map(str, frames[:10])) + (" …" if len(frames) > 10 else "")
        parts.append(f"labels of frames {shown}")
    if begun_on["tracks"] != now["tracks"]:
        parts.append("tracks")
    return " and ".join(parts) or None
