"""What napari knows of Volltrack (``helpers/napari.yaml``): readers for run folders and their files, and the docks.

Dropping a run folder, or a movie's folder in it, on napari shows the movie with labels, tracks and the tissue's boundary; the
docks *Tracks*, *Curate* and *Annotate* of the Plugins menu then work on what is shown.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from qtpy.QtWidgets import QVBoxLayout, QWidget

from helpers.data.label_header import MARK
from helpers.data.label_movies import LabelMovie
from helpers.data.movies import Movie
from helpers.errors import InputError
from helpers.view.tracked_run import TrackedRun, read_run

LayerData = tuple[Any, dict[str, Any], str]
#: Where a layer notes of which movie it is.
KEY = "volltrack"


def prefer() -> None:
    """Let napari open folders and tables of tracks by this plugin without asking, unless it was told otherwise.

    napari keeps it in the settings of this Python environment. Folders that are none of ours are read as before.
    """
    from napari.settings import get_settings

    plugins = get_settings().plugins
    plugins.extension2reader = {"*/": "volltrack", "*/tracks.csv": "volltrack"} | plugins.extension2reader


def get_reader(path: str | list[str]) -> Callable[[Any], list[LayerData]] | None:
    """Return what reads a path; folders that are none of ours are left to napari's own reader."""
    if isinstance(path, list):
        return None
    found = Path(path)
    if run_of(found) is not None:
        return read_folder
    if is_label_image(found):
        return read_labels
    if found.name == "tracks.csv":
        return read_tracks
    if found.is_dir():
        from napari_builtins.io import napari_get_reader

        return napari_get_reader(path)  # type: ignore[return-value]
    return None


def run_of(path: Path) -> tuple[Path, str | None] | None:
    """Return the run's folder and the movie's name (None: the only one) where a path is a run, or a movie of one."""
    if any(path.glob("movies/*/tracks.csv")):
        return path, None
    if path.parent.name == "movies" and (path / "tracks.csv").is_file():
        return path.parent.parent, path.name
    return None


def is_label_image(path: Path) -> bool:
    """Whether a folder is an OME-Zarr image of labels, ours or another program's, by its metadata."""
    for name in (".zattrs", "zarr.json"):
        try:
            found = json.loads((path / name).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            continue
        attributes = found.get("attributes", found) if isinstance(found, dict) else {}
        return "image-label" in attributes or "image-label" in attributes.get("ome", {}) or MARK in attributes
    return False


def read_folder(path: str) -> list[LayerData]:
    """Return image, boundary, labels and tracks of a run, at their true scale."""
    from helpers.view.napari_view import layer_data

    run = run_of(Path(path))
    assert run is not None
    folder, name = run
    names = sorted(found.parent.name for found in folder.glob("movies/*/tracks.csv"))
    several = name is None and len(names) > 1
    layers = []
    for each in names if several else [name]:
        opened = read_run(folder, each)
        for data, about, kind in layer_data(opened):
            if several:
                about["name"] = f"{opened.name} {about['name']}"
            layers.append((data, about, kind))
    return layers


def read_labels(path: str) -> list[LayerData]:
    """Return a label movie as a layer of labels, at its true scale."""
    from helpers.view.napari_view import lazy, placed

    labels = LabelMovie.open(path)
    flat = labels.shape[1] == 1
    about = {"name": Path(path).name.split(".")[0], **placed(labels.voxel_size or (1.0,) * 3, flat)}
    return [(lazy(labels, flat), about, "labels")]


def read_tracks(path: str) -> list[LayerData]:
    """Return a table of tracks of the suite as a layer of tracks, in µm."""
    from helpers.tracking.formats import table
    from helpers.tracking.formats.napari import to_napari

    tracks = table.read(Path(path))
    data, graph, _, _ = to_napari(tracks)
    size = tracks.voxel_size or (1.0,) * 3
    scale = [1.0, *size[5 - data.shape[1] :]]
    return [(data, {"name": "tracks", "graph": graph, "scale": scale}, "tracks")]


def shown_movie(viewer: Any) -> tuple[Path, str]:
    """Return the run folder and the movie of the layers that are shown; the active one's, where there are several.

    Raises
    ------
    InputError
        No layer is of a run.
    """
    active = viewer.layers.selection.active
    for layer in [active, *reversed(viewer.layers)]:
        if layer is not None and KEY in layer.metadata:
            folder, name = layer.metadata[KEY]
            return Path(folder), name
    raise InputError("layers", [layer.name for layer in viewer.layers], "drop a run folder on napari first")


class _Plugin(QWidget):
    """A dock as napari makes it: with the viewer as its only argument.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        What napari gives is a stand-in that hides what the docks need; the current viewer is meant.
    """

    def __init__(self, napari_viewer: Any) -> None:
        import napari

        super().__init__()
        self.viewer = napari.current_viewer() or napari_viewer
        folder, name = shown_movie(self.viewer)
        self.dock = self._make(read_run(folder, name))
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.dock)

    def _make(self, run: TrackedRun) -> Any:
        raise NotImplementedError


class Tracks(_Plugin):
    """The dock of tracks for the run that is shown."""

    def _make(self, run: TrackedRun) -> Any:
        from helpers.view.napari_panel import TrackPanel

        return TrackPanel(self.viewer, run)


class Curate(_Plugin):
    """The dock of curation for the run that is shown; its labels and tracks give way to those that are edited."""

    def _make(self, run: TrackedRun) -> Any:
        from helpers.view.napari_view import start_curation

        return start_curation(self.viewer, run)


class Annotate(QWidget):
    """The dock to draw a few cells in: in the movie of the run that is shown, else in the file of the image that is chosen.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        As for the other docks.
    """

    def __init__(self, napari_viewer: Any) -> None:
        import napari

        from helpers.view.napari_view import start_annotation

        super().__init__()
        self.viewer = napari.current_viewer() or napari_viewer
        movie, run = drawn_movie(self.viewer)
        for layer in self.viewer.layers:
            layer.visible = False
        self.dock = start_annotation(self.viewer, movie, run)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.dock)


def drawn_movie(viewer: Any) -> tuple[Movie, Path]:
    """Return the movie to draw in, and the run folder: the run's, or ``<file>_volltrack`` beside an image's file.

    Raises
    ------
    InputError
        No layer is of a run or a file, or nothing says the size of a voxel.
    """
    active = viewer.layers.selection.active
    for layer in [active, *reversed(viewer.layers)]:
        if layer is None:
            continue
        if KEY in layer.metadata:
            folder, name = layer.metadata[KEY]
            run = read_run(Path(folder), name)
            if run.movie is not None:
                return run.movie, Path(folder)
        elif type(layer).__name__ == "Image" and layer.source.path:
            path = Path(layer.source.path)
            movie = Movie.open(path)
            if movie.voxel_size is None and any(size != 1 for size in layer.scale):
                movie = Movie.open(path, voxel_size=[float(size) for size in layer.scale[-3:]])
            movie.require_voxel_size()
            return movie, path.with_name(f"{movie.name}_volltrack")
    raise InputError(
        "layers", [layer.name for layer in viewer.layers], "drop a movie or a run folder on napari first"
    )


if __name__ == "__main__":  # as make install does
    prefer()
