"""Tracks: measured objects, the links between them, and everything that follows from the two.

A *tracklet* runs between divisions and merges; a gap does not break it. A *track* is a whole connected tree::

    frame   0    1    2    3    4
            o────o────o         o          tracklet 0 (o─o─o), its division, …
                       ╲────────╱          … a daughter with a gap at frame 3
                        ╲  o────o          … the other daughter
                                           one track, three tracklets, one division, one gap

Only ``objects`` and ``links`` are stored. Ids of tracklets and tracks are derived, count from 0, and follow
the first frame (then the row order) of their members, so that equal tables always give equal ids.

Over 400 lines: one class, and the checks of the tables that it is made from.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from helpers.data.calibration import check_frame_interval, check_voxel_size
from helpers.errors import InputError

_POSITION = ["z", "y", "x"]
#: An id beyond it would come out of int64 as another number.
_LARGEST = np.iinfo(np.int64).max
#: More frames than any movie has; such numbers are times.
_MOST_FRAMES = 10**8


@dataclass(frozen=True, eq=False)
class Tracks:
    """Objects and the links that join them in time.

    Parameters
    ----------
    objects : DataFrame
        One row per cell and frame: ``frame`` (integer ≥ 0), ``z, y, x`` (µm; ``z`` may be missing in 2D and
        becomes 0) and ``id`` (unique integers; without the column the rows are numbered 0…n−1). Any other
        column passes through. Rows may come in any order and frames may be missing; the order is kept.
    links : DataFrame, optional
        ``source``, ``target`` (object ids; the source lies in the earlier frame) and ``cost`` (NaN if
        missing). Other columns pass through. Without it nothing is linked.
    voxel_size : sequence of float, optional
        (z, y, x) in µm, or (y, x) for a movie of one plane, whose ``z`` size is then recorded as 1.
    frame_interval : float, optional
        Seconds between two frames.

    Raises
    ------
    InputError
        Missing columns, duplicate ids, NaN positions, links to ids that are not there, links within a frame
        or backwards in time (hence cycles), the same link twice, sizes that are not positive.
    """

    objects: pd.DataFrame
    links: pd.DataFrame = field(default=None)  # type: ignore[assignment]
    voxel_size: tuple[float, float, float] | None = None
    frame_interval: float | None = None

    def __post_init__(self) -> None:
        objects = check_objects(self.objects)
        links = check_links(self.links, objects)
        object.__setattr__(self, "objects", objects)
        object.__setattr__(self, "links", links)
        if self.voxel_size is not None:
            object.__setattr__(self, "voxel_size", check_voxel_size(self.voxel_size, planar=True))
        if self.frame_interval is not None:
            object.__setattr__(self, "frame_interval", check_frame_interval(self.frame_interval))

    def __str__(self) -> str:
        return (
            f"{len(self.objects)} objects in {self.objects['frame'].nunique()} frames, "
            f"{len(self.links)} links, {self.n_tracks} tracks, {len(self.divisions)} divisions"
        )

    def __repr__(self) -> str:
        return f"Tracks({self})"

    # ---- the graph as arrays -------------------------------------------------------------------------

    @cached_property
    def link_rows(self) -> np.ndarray:
        """(n_links, 2) int: rows of ``objects`` that each link joins, source first."""
        index = pd.Index(self.objects["id"])
        return np.column_stack(
            [index.get_indexer(pd.Index(self.links[side])) for side in ("source", "target")]
        ).astype(np.int64)

    @cached_property
    def out_degree(self) -> np.ndarray:
        """(n_objects,) int: links that leave each object; two or more is a division."""
        return np.bincount(self.link_rows[:, 0], minlength=len(self.objects))

    @cached_property
    def in_degree(self) -> np.ndarray:
        """(n_objects,) int: links that enter each object; two or more is a merge."""
        return np.bincount(self.link_rows[:, 1], minlength=len(self.objects))

    @cached_property
    def _within_tracklet(self) -> np.ndarray:
        """(n_links,) bool: links that neither leave a division nor enter a merge."""
        source, target = self.link_rows.T
        return (self.out_degree[source] == 1) & (self.in_degree[target] == 1)

    # ---- tracklets and tracks ------------------------------------------------------------------------

    @cached_property
    def tracklet_ids(self) -> np.ndarray:
        """(n_objects,) int: tracklet of each object, 0…n_tracklets−1; a lone object is a tracklet of one."""
        return self._components(self.link_rows[self._within_tracklet])

    @cached_property
    def track_ids(self) -> np.ndarray:
        """(n_objects,) int: track (connected component) of each object; −1 for an object without any link.

        As in TrackMate, a lone spot belongs to no track.
        """
        component = self._components(self.link_rows)
        linked = (self.in_degree + self.out_degree) > 0
        # Components are numbered by their first member; leaving out lone ones must leave no holes.
        used = np.unique(component[linked])
        ids = np.full(len(component), -1, np.int64)
        ids[linked] = np.searchsorted(used, component[linked])
        return ids

    @property
    def n_tracklets(self) -> int:
        """Number of tracklets, lone objects included."""
        return int(self.tracklet_ids.max(initial=-1)) + 1

    @property
    def n_tracks(self) -> int:
        """Number of tracks; lone objects are in none."""
        return int(self.track_ids.max(initial=-1)) + 1

    def _components(self, rows: np.ndarray) -> np.ndarray:
        n = len(self.objects)
        graph = coo_array((np.ones(len(rows), np.int8), (rows[:, 0], rows[:, 1])), shape=(n, n))
        _, found = connected_components(graph, directed=False)
        order = np.argsort(self.objects["frame"].to_numpy(), kind="stable")
        _, first, inverse = np.unique(found[order], return_index=True, return_inverse=True)
        number = np.empty(len(first), np.int64)
        number[np.argsort(first)] = np.arange(len(first))
        ids = np.empty(n, np.int64)
        ids[order] = number[inverse]
        return ids

    # ---- ancestry ------------------------------------------------------------------------------------

    @cached_property
    def tracklet_links(self) -> np.ndarray:
        """(n, 2) int: (parent tracklet, child tracklet) of every link that leaves one, sorted by child."""
        between = self.tracklet_ids[self.link_rows[~self._within_tracklet]]
        return between[np.lexsort((between[:, 0], between[:, 1]))]

    @cached_property
    def parents(self) -> dict[int, list[int]]:
        """Parent tracklets of each tracklet that has any; more than one is a merge (napari's ``graph``)."""
        return _grouped(self.tracklet_links[:, 1], self.tracklet_links[:, 0])

    @cached_property
    def children(self) -> dict[int, list[int]]:
        """Child tracklets of each tracklet that has any."""
        return _grouped(self.tracklet_links[:, 0], self.tracklet_links[:, 1])

    @cached_property
    def generations(self) -> np.ndarray:
        """(n_tracklets,) int: divisions between each tracklet and its founder (the longest way, at merges)."""
        return self._generation_and_founder[0]

    @cached_property
    def lineages(self) -> np.ndarray:
        """(n_tracklets,) int: tracklet that founded each one's lineage (at merges: the earliest founder)."""
        return self._generation_and_founder[1]

    @cached_property
    def _generation_and_founder(self) -> tuple[np.ndarray, np.ndarray]:
        generation = np.zeros(self.n_tracklets, np.int64)
        founder = np.arange(self.n_tracklets)
        source, target = self.link_rows[~self._within_tracklet].T
        divides = (self.out_degree[source] > 1).astype(np.int64)
        # A parent begins earlier than its child, and tracklets are numbered by their first frame.
        order = np.argsort(self.tracklet_ids[target], kind="stable")
        parents = self.tracklet_ids[source][order]
        children = self.tracklet_ids[target][order]
        for parent, child, step in zip(
            parents.tolist(), children.tolist(), divides[order].tolist(), strict=True
        ):
            generation[child] = max(generation[child], generation[parent] + step)
            founder[child] = min(founder[child], founder[parent])
        return generation, founder

    # ---- events --------------------------------------------------------------------------------------

    @cached_property
    def divisions(self) -> pd.DataFrame:
        """One row per object with several targets: ``frame``, ``parent`` (id), ``daughters`` (tuple of ids)."""
        return self._events(self.out_degree, 0, "parent", "daughters")

    @cached_property
    def merges(self) -> pd.DataFrame:
        """One row per object with several sources: ``frame``, ``child`` (id), ``parents`` (tuple of ids)."""
        return self._events(self.in_degree, 1, "child", "parents")

    def _events(self, degree: np.ndarray, side: int, one: str, several: str) -> pd.DataFrame:
        ids = self.objects["id"].to_numpy()
        rows = self.link_rows[degree[self.link_rows[:, side]] > 1]
        groups = _grouped(rows[:, side], ids[rows[:, 1 - side]])
        at = np.fromiter(groups, np.int64, len(groups))
        table = pd.DataFrame(
            {
                "frame": self.objects["frame"].to_numpy()[at],
                one: ids[at],
                several: pd.Series([tuple(sorted(group)) for group in groups.values()], dtype=object),
            }
        )
        return table.sort_values(["frame", one], ignore_index=True)

    @cached_property
    def gaps(self) -> pd.DataFrame:
        """One row per link over missing frames: ``source, target, source_frame, target_frame, missing``."""
        frames = self.objects["frame"].to_numpy()[self.link_rows]
        missing = frames[:, 1] - frames[:, 0] - 1
        table = self.links[["source", "target"]].assign(
            source_frame=frames[:, 0], target_frame=frames[:, 1], missing=missing
        )
        return table[missing > 0].sort_values(["source_frame", "source"], ignore_index=True)

    # ---- tables --------------------------------------------------------------------------------------

    def annotated(self) -> pd.DataFrame:
        """Return ``objects`` with ``track_id``, ``tracklet_id``, ``generation``, ``lineage`` and ``divides``.

        ``divides`` is whether any cell of the object's track does.
        """
        tracklet = self.tracklet_ids
        dividing = np.unique(self.track_ids[self.out_degree > 1])
        return self.objects.assign(
            track_id=self.track_ids,
            tracklet_id=tracklet,
            generation=self.generations[tracklet],
            lineage=self.lineages[tracklet],
            divides=np.isin(self.track_ids, dividing),
        )

    def subset(self, keep: np.ndarray) -> Tracks:
        """Return the Tracks of the objects where `keep` ((n_objects,) bool) holds and the links among them."""
        keep = np.asarray(keep, bool)
        if keep.shape != (len(self.objects),):
            raise InputError("keep", keep.shape, f"give one boolean per object, shape ({len(self.objects)},)")
        source, target = self.link_rows.T
        return Tracks(
            self.objects[keep], self.links[keep[source] & keep[target]], self.voxel_size, self.frame_interval
        )


def check_objects(objects: pd.DataFrame, name: str = "objects") -> pd.DataFrame:
    """Return a checked copy of an object table: integer ``id`` and ``frame``, finite ``z, y, x``, a clean index.

    Parameters
    ----------
    objects : DataFrame
        See `Tracks`.
    name : str
        What the user calls the table, for the error.

    Raises
    ------
    InputError
        Naming the column and the first offending rows.
    """
    if not isinstance(objects, pd.DataFrame):
        raise InputError(name, type(objects).__name__, "give a pandas DataFrame with one row per object")
    missing = [column for column in ("frame", "y", "x") if column not in objects]
    if missing:
        apart = len(objects.columns) == 1 and re.search(r"[;\t]", str(objects.columns[0]))
        hint = "; separate columns by commas, and write decimal points" if apart else ""
        raise InputError(name, list(objects.columns), f"add the missing columns {missing}{hint}")
    table = objects.reset_index(drop=True)
    if table.empty:  # read from a file, no row says that columns hold numbers
        table = table.astype(float)
    if "z" not in table:
        table.insert(table.columns.get_loc("y"), "z", 0.0)  # type: ignore[arg-type]
    if "id" not in table:
        table.insert(0, "id", np.arange(len(table)))
    table["id"] = _integers(table["id"], f"{name}.id")
    table["frame"] = _integers(table["frame"], f"{name}.frame")
    if (table["frame"] < 0).any():
        raise InputError(f"{name}.frame", int(table["frame"].min()), "frames count from 0")
    if (table["frame"] > _MOST_FRAMES).any():
        raise InputError(
            f"{name}.frame",
            int(table["frame"].max()),
            "give the number of the frame, counted from 0, not a time",
        )
    repeated = table["id"].duplicated()
    if repeated.any():
        raise InputError(
            f"{name}.id",
            table.loc[repeated, "id"].unique()[:5].tolist(),
            "ids occur once; these are repeated",
        )
    for column in _POSITION:
        if not pd.api.types.is_numeric_dtype(table[column]):
            raise InputError(f"{name}.{column}", str(table[column].dtype), "give numbers, in µm")
        table[column] = table[column].astype(float)
    lost = ~np.isfinite(table[_POSITION].to_numpy()).all(axis=1)
    if lost.any():
        raise InputError(
            f"{name} z, y, x",
            f"{int(lost.sum())} not finite, ids {table.loc[lost, 'id'][:5].tolist()}",
            "every object needs a position; remove these rows",
        )
    return table


def numeric_columns(table: pd.DataFrame) -> list[str]:
    """Return the names of a table's columns that hold numbers, in their order."""
    return [str(name) for name in table if pd.api.types.is_numeric_dtype(table[name])]


def check_links(links: pd.DataFrame | None, objects: pd.DataFrame, name: str = "links") -> pd.DataFrame:
    """Return a checked copy of a table of links: integer ``source`` and ``target``, a float ``cost``.

    Parameters
    ----------
    links : DataFrame or None
        See `Tracks`; None for none.
    objects : DataFrame
        From `check_objects`.
    name : str
        What the user calls the table, for the error.

    Raises
    ------
    InputError
        Naming the column and the first offending rows.
    """
    if links is None:
        return check_links(pd.DataFrame({"source": [], "target": [], "cost": []}), objects, name)
    if not isinstance(links, pd.DataFrame):
        raise InputError(name, type(links).__name__, "give a DataFrame with the columns source and target")
    missing = [column for column in ("source", "target") if column not in links]
    if missing:
        raise InputError(name, list(links.columns), f"add the missing columns {missing}")
    table = links.reset_index(drop=True)
    for column in ("source", "target"):
        table[column] = _integers(table[column], f"{name}.{column}")
    table["cost"] = table["cost"].astype(float) if "cost" in table else np.full(len(table), np.nan)

    index = pd.Index(objects["id"])
    rows = {column: index.get_indexer(pd.Index(table[column])) for column in ("source", "target")}
    for column, found in rows.items():
        if (found < 0).any():
            unknown = table.loc[found < 0, column].unique()[:5].tolist()
            raise InputError(f"{name}.{column}", unknown, "these ids are not in the object table")
    frames = objects["frame"].to_numpy()
    step = frames[rows["target"]] - frames[rows["source"]]
    for wrong, what in ((step == 0, "joins two objects of one frame"), (step < 0, "goes backwards in time")):
        if wrong.any():
            pairs = table.loc[wrong, ["source", "target"]].to_numpy()[:3].tolist()
            raise InputError(name, pairs, f"the link {what}; a source lies in an earlier frame")
    repeated = table.duplicated(["source", "target"])
    if repeated.any():
        pairs = table.loc[repeated, ["source", "target"]].to_numpy()[:3].tolist()
        raise InputError(name, pairs, "each link occurs once; these are repeated")
    return table


def _integers(column: pd.Series, name: str) -> np.ndarray:
    if not pd.api.types.is_numeric_dtype(column):
        if len(column) == 0:
            return np.empty(0, np.int64)
        words = (
            column[pd.to_numeric(column, errors="coerce").isna()].head(5).tolist() or column.head(5).tolist()
        )
        raise InputError(name, words, f"give integers, up to {_LARGEST} (63 bits)")
    if pd.api.types.is_integer_dtype(column) and not column.isna().any():
        if (column > _LARGEST).any():
            raise InputError(name, int(column.max()), f"give integers, up to {_LARGEST} (63 bits)")
        return column.to_numpy(np.int64)
    values = column.to_numpy(float, na_value=np.nan)
    wrong = ~(np.isfinite(values) & (values == np.floor(values)) & (np.abs(values) < _LARGEST))
    if wrong.any():
        raise InputError(name, values[wrong][:5].tolist(), "give integers")
    return values.astype(np.int64)


def _grouped(keys: np.ndarray, values: np.ndarray) -> dict[int, list[int]]:
    """Return {key: its values, ascending}, keys ascending."""
    if len(keys) == 0:
        return {}
    order = np.lexsort((values, keys))
    keys, values = keys[order], values[order]
    starts = np.flatnonzero(np.diff(keys, prepend=keys[0] - 1))
    return {
        int(key): group.tolist()
        for key, group in zip(keys[starts], np.split(values, starts[1:]), strict=True)
    }
