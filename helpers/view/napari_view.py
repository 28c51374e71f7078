"""A run in napari: image, labels, tracks with their graph and the boundary, at their true scale, and a track panel.

from helpers.view import napari_view
viewer = napari_view.open("runs/demo")
viewer.show(block=True)
"""

from __future__ import annotations

import builtins
import json
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from helpers.analysis.boundary import HullBoundary, RoiBoundary, is_planar
from helpers.data.label_movies import LabelMovie
from helpers.data.movies import Movie
from helpers.errors import InputError
from helpers.tracking.formats import table
from helpers.tracking.formats.napari import to_napari
from helpers.tracking.tracks import Tracks, numeric_columns
from helpers.view.style import OKABE_ITO, gray_limits

if TYPE_CHECKING:
    import napari

#: Tables of notebooks 10 and 12 whose columns tracks can be coloured by.
_OBJECT_TABLES = ("boundary_objects.csv", "migration_objects.csv")


#: Most voxels of a frame on which a drawn region or a hull is shown.
_FINEST = 1_000_000


@dataclass(frozen=True)
class TrackedRun:
    """What a run folder holds of one movie.

    Attributes
    ----------
    name : str
        The movie's.
    folder : Path
        ``<run>/movies/<name>``.
    tracks : Tracks
        With the measures of notebooks 10 and 12 among the columns of their objects, as far as these ran.
    voxel_size : tuple of float
        (z, y, x) in µm.
    movie : Movie or None
        The raw movie, where a notebook named it.
    labels : LabelMovie or None
        Of notebook 05 or 06.
    tissue : Movie, SampledTissue or None
        What notebook 10 measured distances to.
    """

    name: str
    folder: Path
    tracks: Tracks
    voxel_size: tuple[float, float, float]
    movie: Movie | None
    labels: LabelMovie | None
    tissue: Movie | SampledTissue | None

    @property
    def is_flat(self) -> bool:
        """Whether it is a movie of one plane."""
        for source in (self.movie, self.labels):
            if source is not None:
                return source.shape[-3] == 1
        return is_planar(self.tracks)


@dataclass(frozen=True)
class SampledTissue:
    """A drawn region, or the hull of the cells, as a mask: what lies inside, on a grid of voxels.

    Attributes
    ----------
    boundary : RoiBoundary or HullBoundary
        Where the tissue ends.
    shape : tuple of int
        (T, Z, Y, X).
    voxel_size : tuple of float
        (z, y, x) in µm.
    """

    boundary: RoiBoundary | HullBoundary
    shape: tuple[int, int, int, int]
    voxel_size: tuple[float, float, float]

    @classmethod
    def like(
        cls, boundary: RoiBoundary | HullBoundary, shape: Any, voxel_size: tuple[float, float, float]
    ) -> SampledTissue:
        """Return it on the grid of a movie (…, Z, Y, X), or, where that is too fine to wait for, on a coarser one."""
        voxels = np.array(shape[-3:])
        steps = np.ones(3, int)
        while np.prod(-(-voxels // steps)) > _FINEST:
            steps = np.minimum(steps + 1, voxels)
        sampled = tuple(int(n) for n in -(-voxels // steps))
        size = tuple(float(s) for s in np.array(voxel_size) * steps)
        return cls(boundary, (shape[0], *sampled), size)  # type: ignore[arg-type]

    def frame(self, t: int) -> np.ndarray:
        """Return whether each voxel's centre lies inside in frame `t`, (Z, Y, X)."""
        points = np.indices(self.shape[1:]).reshape(3, -1).T * np.array(self.voxel_size)
        try:
            inside = self.boundary.field(t).at(points) > 0
        except InputError:  # too few cells for a hull in this frame
            inside = np.zeros(len(points), bool)
        return inside.reshape(self.shape[1:])


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
    import napari
    from napari.qt import get_qapp

    from helpers.view.napari_panel import TrackPanel

    run = read_run(run_folder, movie)
    viewer = napari.Viewer(title=f"{run.name} – Volltrack", show=show)
    add_layers(viewer, run)
    viewer.window.add_dock_widget(TrackPanel(viewer, run), name="Tracks", area="right")
    get_qapp().processEvents()  # the panel takes its place from the picture, which then fits into the rest
    viewer.reset_view()
    return viewer


def read_run(run_folder: str | Path, movie: str | None = None) -> TrackedRun:
    """Read what a run holds of one movie; see `open`."""
    folder = Path(run_folder)
    tracked = sorted(path.parent.name for path in folder.glob("movies/*/tracks.csv"))
    if not tracked:
        raise InputError("run_folder", str(folder), "there are no tracks in this run; run notebook 08 first")
    if movie is None and len(tracked) > 1:
        raise InputError("movie", None, f"this run has several movies; name one of {', '.join(tracked)}")
    name = movie or tracked[0]
    if name not in tracked:
        raise InputError("movie", name, f"one of {', '.join(tracked)}")
    own = folder / "movies" / name
    tracks = _with_measures(table.read(own / "tracks.csv"), own / "analysis")
    named = _named_files(folder, name)
    raw = Movie.open(path) if (path := named.get("raw")) is not None else None
    labels = LabelMovie.open(own / "labels.zarr") if (own / "labels.zarr").exists() else None
    # The tracks know the size that a person gave where a file says none, or a wrong one.
    sizes = [source.voxel_size for source in (tracks, labels, raw) if source is not None]
    size = next((size for size in sizes if size is not None), None)
    if size is None and sizes[1:]:
        raise InputError(
            "voxel_size_um", None, "neither tracks nor movie say the size of a voxel; give it to notebook 08"
        )
    size = size or (1.0, 1.0, 1.0)  # tracks without a movie are in µm already
    tissue = _tissue(folder, named, tracks, labels, raw, size, name)
    return TrackedRun(name, own, tracks, size, raw, labels, tissue)


def add_layers(viewer: Any, run: TrackedRun) -> None:
    """Add the layers of a run to a viewer, at their true scale in µm."""
    flat = run.is_flat
    axes = ["time", "y", "x"] if flat else ["time", "z", "y", "x"]

    def placed(voxel_size: Any = None) -> dict[str, Any]:
        scale = (1.0, *(voxel_size or run.voxel_size)[1 if flat else 0 :])
        return {"scale": scale, "units": ["pixel", *["um"] * (len(axes) - 1)], "axis_labels": axes}

    if run.movie is not None:
        limits = gray_limits(run.movie.frame(0))
        viewer.add_image(_lazy(run.movie, flat), name="image", contrast_limits=limits, **placed())
    if run.tissue is not None:
        viewer.add_labels(
            _edges(run.tissue, run.tracks, flat), name="boundary", opacity=0.4, colormap=_one_color(OKABE_ITO["sky"]),
            **placed(run.tissue.voxel_size),
        )  # fmt: skip
    if run.labels is not None:
        layer = viewer.add_labels(_lazy(run.labels, flat), name="labels", opacity=0.4, **placed())
        layer.contour = 1
    data, graph = _track_data(run)
    if len(data):
        viewer.add_tracks(
            data, graph=graph, features=_colours(run), name="tracks", tail_length=12, head_length=0, **placed()
        )  # fmt: skip
    viewer.dims.axis_labels = axes
    viewer.canvas.overlays.scale_bar.visible = True
    viewer.dims.set_current_step(0, 0)


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


def _lazy(source: Any, flat: bool) -> Any:
    """An array of all frames that reads a frame only when it is looked at."""
    import dask.array as da
    from dask.delayed import delayed

    kind = np.asarray(source.frame(0)).dtype
    read = delayed(lambda t: np.asarray(source.frame(t)))
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


def _with_measures(tracks: Tracks, analysis: Path) -> Tracks:
    """The tracks with what notebooks 10 and 12 measured of the same objects."""
    objects = tracks.objects
    for file in _OBJECT_TABLES:
        if (analysis / file).is_file():
            measured = pd.read_csv(analysis / file)
            if measured["id"].tolist() == objects["id"].tolist():
                known = {*objects, "track_id", "tracklet_id", "generation"}
                objects = objects.assign(
                    **{str(c): measured[c].to_numpy() for c in measured if c not in known}
                )
    return Tracks(objects, tracks.links, tracks.voxel_size, tracks.frame_interval)


def _named_files(run: Path, name: str) -> dict[str, Path | None]:
    """The raw movie that a notebook of this movie names, and the mask or region of notebook 10; None for what is gone."""
    found: dict[str, Path | None] = {}
    for path in sorted(run.glob(f"steps/*-{name}/done.json")):
        with builtins.open(path, encoding="utf-8") as stream:
            given = json.load(stream)["parameters"]
        kinds = [("raw", "raw"), ("movie", "raw")]
        if path.parent.name.startswith("10_"):
            kinds += [("tissue_mask", "tissue_mask"), ("roi", "roi")]
        for parameter, kind in kinds:
            if given.get(parameter) and found.get(kind) is None:
                path = Path(given[parameter])
                found[kind] = path if path.exists() else None
                if found[kind] is None:
                    warnings.warn(f"{path} is no longer there and not shown ({parameter})", stacklevel=3)
    return found


def _tissue(
    folder: Path,
    named: dict[str, Path | None],
    tracks: Tracks,
    labels: LabelMovie | None,
    movie: Movie | None,
    size: tuple[float, float, float],
    name: str,
) -> Movie | SampledTissue | None:
    """What notebook 10 measured distances to: a mask, a drawn region, or the hull of the cells."""
    mask, roi = named.get("tissue_mask"), named.get("roi")
    if mask is not None:
        return Movie.open(mask)
    grid = labels or movie
    lost = (mask is None and "tissue_mask" in named) or (roi is None and "roi" in named)
    if lost or grid is None or not any(folder.glob(f"steps/10_*-{name}/done.json")):
        return None
    if roi is not None:
        boundary: RoiBoundary | HullBoundary = RoiBoundary.read(roi, size)
    else:
        points = tracks.objects[["z", "y", "x"]].to_numpy(float)
        boundary = HullBoundary(tracks.objects["frame"].to_numpy(), points, is_planar(tracks), labels)
    return SampledTissue.like(boundary, grid.shape, size)
