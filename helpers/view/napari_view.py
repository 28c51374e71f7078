"""A run in napari: image, labels, tracks with their graph and the boundary, at their true scale, and a track panel.

from helpers.view import napari_view
viewer = napari_view.open("runs/demo")
viewer.show(block=True)
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from helpers.data.movies import Movie
from helpers.tracking.formats.napari import to_napari
from helpers.tracking.tracks import Tracks, numeric_columns
from helpers.view.style import OKABE_ITO, gray_limits
from helpers.view.tracked_run import SampledTissue, TrackedRun, read_run

if TYPE_CHECKING:
    import napari


def open(run_folder: str | Path, movie: str | None = None, *, show: bool = True) -> napari.Viewer:
    """Open a movie of a run in napari.

    Parameters
    ----------
    run_folder : path-like
        Such as ``runs/demo``.
    movie : str, optional
        Its name in the run; needed where the run has several.
    show : bool
        Open the window.

    Returns
    -------
    napari.Viewer
        Layers ``image``, ``boundary``, ``labels`` and ``tracks``, as far as they are there, in µm; the panel is docked
        at the right, and is ``viewer.window.dock_widgets["Tracks"]``.

    Raises
    ------
    InputError
        If the run or its tracks are not there, or several movies are; if nothing says the size of a voxel.
    """
    if sys.platform == "linux" and "tensorflow" in sys.modules:
        warnings.warn(
            "TensorFlow is loaded here, and some OpenGL drivers crash beside it: if the window dies, restart Python and "
            "open napari before anything else",
            stacklevel=2,
        )
    from helpers.view.napari_panel import TrackPanel

    run = read_run(run_folder, movie)

    def start(viewer: napari.Viewer) -> Any:
        add_layers(viewer, run)
        return TrackPanel(viewer, run)

    return _window(run.name, "Tracks", start, show)


def curate(
    run_folder: str | Path, movie: str | None = None, author: str | None = None, *, show: bool = True
) -> napari.Viewer:
    """Open a movie of a run in napari, to be corrected.

    Parameters
    ----------
    run_folder, movie, show
        As `open`.
    author : str, optional
        Who edits; the name of who is logged in where left out.

    Returns
    -------
    napari.Viewer
        With the layers of `open`, of which ``labels`` and ``tracks`` follow the edits; the dock is
        ``viewer.window.dock_widgets["Curate"]``.

    Raises
    ------
    InputError
        As `open` and `helpers.curation.Curation`: someone else edits it, or a step ran anew since.
    """
    run = read_run(run_folder, movie)
    return _window(run.name, "Curate", lambda viewer: start_curation(viewer, run, author), show)


def start_curation(viewer: napari.Viewer, run: TrackedRun, author: str | None = None) -> Any:
    """Add the layers that are edited to a viewer, in place of the run's labels and tracks; return the dock."""
    from helpers.curation.session import Curation
    from helpers.view.napari_curation import CurationDock

    curation = Curation(run.folder, author)
    try:
        for name in ("labels", "tracks", "chosen"):
            if name in viewer.layers:
                viewer.layers.remove(viewer.layers[name])
        if "image" not in viewer.layers:
            _add(viewer, [part for part in layer_data(run) if part[1]["name"] in ("image", "boundary")])
        flat = curation.state.shape[1] == 1
        about = placed(run.voxel_size, flat)
        dock = CurationDock(viewer, curation, {**about, "metadata": _of(run)}, run.movie)
        _finish(viewer, about["axis_labels"])
    except BaseException:
        curation.close()
        raise
    return dock


def annotate(
    movie: str | Path,
    run_folder: str | Path,
    *,
    voxel_size: Any = None,
    dataset: str | None = None,
    show: bool = True,
) -> napari.Viewer:
    """Open a movie in napari to draw a few cells, train on them, and draw on where the networks are in doubt.

    Parameters
    ----------
    movie : path-like
        Anything that `helpers.data.movies.Movie.open` takes.
    run_folder : path-like
        Where drawings (``annotations``) and networks (``models``) are kept.
    voxel_size : (z, y, x) in µm, optional
        Where the file does not say it.
    dataset : str, optional
        Name in an HDF5 file.
    show : bool
        Open the window.

    Returns
    -------
    napari.Viewer
        The dock is ``viewer.window.dock_widgets["Annotate"]``.

    Raises
    ------
    InputError
        If the movie cannot be opened, or nothing says the size of a voxel.
    """
    opened = Movie.open(movie, voxel_size=voxel_size, dataset=dataset)
    opened.require_voxel_size()

    def start(viewer: napari.Viewer) -> Any:
        return start_annotation(viewer, opened, Path(run_folder), dataset=dataset)

    return _window(opened.name, "Annotate", start, show)


def _window(title: str, name: str, start: Callable[[napari.Viewer], Any], show: bool) -> napari.Viewer:
    """Return a new window with the dock that `start` makes; where it cannot, the window closes again."""
    import napari
    from napari.qt import get_qapp

    viewer = napari.Viewer(title=f"{title} – Volltrack", show=show)
    try:
        dock = start(viewer)
    except BaseException:
        viewer.close()
        raise
    viewer.window.add_dock_widget(dock, name=name, area="right")
    get_qapp().processEvents()  # the dock takes its place from the picture, which then fits into the rest
    viewer.reset_view()
    return viewer


def start_annotation(viewer: Any, movie: Movie, run: Path, *, dataset: str | None = None) -> Any:
    """Add a movie's channels and the layers that are drawn in to a viewer; return the dock."""
    from helpers.view.napari_annotation import AnnotationDock

    flat = movie.shape[2] == 1
    about = placed(movie.require_voxel_size(), flat)
    for channel in reversed(range(movie.n_channels)):
        viewer.add_image(
            lazy(movie, flat, channel), name=f"channel {channel}", visible=channel == 0,
            contrast_limits=gray_limits(movie.frame(0, channel)), **about,
        )  # fmt: skip
    dock = AnnotationDock(viewer, movie, run, about, dataset=dataset)
    _finish(viewer, about["axis_labels"])
    if not flat:
        viewer.dims.set_current_step(1, movie.shape[2] // 2)
    return dock


def add_layers(viewer: Any, run: TrackedRun) -> None:
    """Add the layers of a run to a viewer, at their true scale in µm."""
    _add(viewer, layer_data(run))
    _finish(viewer, placed(run.voxel_size, run.is_flat)["axis_labels"])


def _add(viewer: Any, layers: list[tuple[Any, dict[str, Any], str]]) -> None:
    for data, about, kind in layers:
        layer = getattr(viewer, f"add_{kind}")(data, **about)
        if about["name"] == "labels":
            layer.contour = 1


def _finish(viewer: Any, axes: list[str]) -> None:
    viewer.dims.axis_labels = axes
    viewer.canvas.overlays.scale_bar.visible = True
    viewer.dims.set_current_step(0, 0)


def placed(voxel_size: Any, flat: bool) -> dict[str, Any]:
    """Return scale, units and axis labels of a layer with voxels (z, y, x) of this size in µm."""
    axes = ["time", "y", "x"] if flat else ["time", "z", "y", "x"]
    scale = (1.0, *voxel_size[1 if flat else 0 :])
    return {"scale": scale, "units": ["pixel", *["um"] * (len(axes) - 1)], "axis_labels": axes}


def _of(run: TrackedRun) -> dict[str, Any]:
    """What a layer notes of the run that it shows."""
    return {"volltrack": (str(run.folder.parent.parent), run.name)}


def layer_data(run: TrackedRun) -> list[tuple[Any, dict[str, Any], str]]:
    """Return the layers of a run, each as napari's readers give it: data, what they are added with, and their kind."""
    flat = run.is_flat
    common = {**placed(run.voxel_size, flat), "metadata": _of(run)}
    layers: list[tuple[Any, dict[str, Any], str]] = []
    if run.movie is not None:
        limits = gray_limits(run.movie.frame(0))
        layers.append(
            (lazy(run.movie, flat), {"name": "image", "contrast_limits": limits, **common}, "image")
        )
    if run.tissue is not None:
        about = {"name": "boundary", "opacity": 0.4, "colormap": _one_color(OKABE_ITO["sky"]), **common}
        about |= placed(run.tissue.voxel_size or run.voxel_size, flat)
        layers.append((_edges(run.tissue, run.tracks, flat), about, "labels"))
    if run.labels is not None:
        layers.append((lazy(run.labels, flat), {"name": "labels", "opacity": 0.4, **common}, "labels"))
    data, graph = _track_data(run)
    if len(data):
        about = {
            "graph": graph,
            "features": _colours(run),
            "name": "tracks",
            "tail_length": 12,
            "head_length": 0,
        }
        layers.append((data, about | common, "tracks"))
    return layers


def track_rows(tracks: Tracks) -> np.ndarray:
    """Return the objects' positions in the table in the order of the rows of the layer ``tracks``."""
    return np.lexsort((tracks.objects["frame"], tracks.tracklet_ids))


def _track_data(run: TrackedRun) -> tuple[np.ndarray, dict[int, list[int]]]:
    tracks = Tracks(run.tracks.objects, run.tracks.links, run.voxel_size, run.tracks.frame_interval)
    data, graph, _, _ = to_napari(tracks)
    places = tracks.objects[["z", "y", "x"]].to_numpy(float)[track_rows(tracks)] / np.array(run.voxel_size)
    # napari's format drops z where it is 0 everywhere; the layer has the axes of the movie.
    return np.column_stack([data[:, :2], places[:, 1:] if run.is_flat else places]), graph


def _colours(run: TrackedRun) -> pd.DataFrame:
    """The columns of numbers that tracks can be coloured by; missing ones get the lowest colour, as napari needs."""
    objects = run.tracks.annotated().iloc[track_rows(run.tracks)]
    columns = [name for name in numeric_columns(objects) if name != "id" and objects[name].notna().any()]
    first = [name for name in ("track_id", "tracklet_id", "generation") if name in columns]
    chosen = objects[[*first, *(name for name in columns if name not in first)]].astype(float)
    chosen = chosen.replace([np.inf, -np.inf], np.nan)
    return chosen.fillna(chosen.min()).reset_index(drop=True)


def lazy(source: Any, flat: bool, *channel: int) -> Any:
    """An array of all frames (of a channel) that reads a frame only when it is looked at."""
    import dask.array as da
    from dask.delayed import delayed

    kind = np.asarray(source.frame(0, *channel)).dtype
    read = delayed(lambda t: np.asarray(source.frame(t, *channel)))
    stack = da.stack([da.from_delayed(read(t), source.shape[-3:], kind) for t in range(source.shape[0])])
    return stack[:, 0] if flat else stack


def _edges(tissue: Movie | SampledTissue, tracks: Tracks, flat: bool) -> Any:
    """The outermost voxels of the tissue in every frame of the tracks; a static mask is repeated."""
    import dask.array as da
    from dask.delayed import delayed
    from scipy.ndimage import binary_erosion

    def edge(t: int) -> np.ndarray:
        inside = np.asarray(tissue.frame(t)) != 0
        within = inside[0] if inside.shape[0] == 1 else inside
        return (within & ~binary_erosion(within)).reshape(inside.shape).astype(np.uint8)

    n = tissue.shape[0]
    wanted = max(int(tracks.objects["frame"].to_numpy().max(initial=0)) + 1, n)
    own = [da.from_delayed(delayed(edge)(t), tissue.shape[-3:], np.uint8) for t in range(n)]
    stack = da.stack([own[min(t, n - 1)] for t in range(wanted)])
    return stack[:, 0] if flat else stack


def _one_color(color: str) -> Any:
    from napari.utils.colormaps import DirectLabelColormap

    return DirectLabelColormap(color_dict={None: "transparent", 0: "transparent", 1: color})
