"""What a cell, a link and a division cost; the smaller, the likelier.

All costs are logarithms of odds, by order of magnitude: 1 makes something about three times less likely. So they
can be added, and none needs a unit::

    cell       −cover × (cells of the segmentation that it is worth)      all there is shall be explained
               + edit, if the segmentation has it otherwise                its word counts …
               − vote × (share of the sets that agree − usual share)       … and that of the others
               − border × (contrast − NEUTRAL), of parts of a cell         what the image says of the border between them;
                                                                           of a union of cells the other way round
    link       − overlap × (IoU − usual IoU) + motion × (distance / max_distance)² + growth × |ln(size after / size before)|
               − lasting, if the segmentation has neither end              its errors last: the first frame is dear, others cheap
    division   + division − overlap × (IoU of the mother with both daughters together − usual IoU)
               + unlike × |ln(size of one daughter / size of the other)| + odd (of each daughter)
    past       + appear, but in the first frame; `edge` times as much at the border of the image; + odd
    future     + end, but in the last frame; likewise
    odd        size × (z² − 1) / 2, at least 0; z: of the logarithm of a size among all cells; asked once, where a cell begins

What is usual costs nothing, so that neither many small cells nor few large ones are favoured. A cell that is cut in two for some frames costs a division, an end and two odd sizes; joined it costs an `edit` in
the first of these frames and a little in the others. A true division costs a division, once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from helpers.bounds import Index, NotNegative, check_bounds

#: Contrast of a border, of 0 (within a cell) to 1 (between two cells), that speaks neither for it nor against it.
NEUTRAL = 0.2


@dataclass(frozen=True)
class Usual:
    """What is usual in a movie, over the cells of the first set.

    Attributes
    ----------
    log_size, log_size_sd : float
        Median and spread of the logarithm of the volume.
    iou : float
        Median of the overlap of a cell with the cell it overlaps best in the next frame.
    votes : float
        Mean share of the sets that agree on a cell.
    """

    log_size: float
    log_size_sd: float
    iou: float
    votes: float


@dataclass(frozen=True, kw_only=True)
class GlobalParameters:
    """Parameters of the global tracker; the defaults were chosen on synthetic movies.

    `growth` and `lasting` are from the best of 17 settings of `growth`, `lasting`, `edit` and `end`, by F1 of divisions in seven
    segmentations of three movies. `border` then raised TRA on these from 0.978 to 0.988 (0.984 to 0.988 for any from 4 to 10), and F1 from 0.85
    to 0.88; it is the smallest that was tried.

    Parameters
    ----------
    appear, end, division : float
        Of a cell without past, without future, of a division.
    edge : float
        Factor on `appear` and `end` at the border of the image.
    cover, edit, lasting, vote, border, size, overlap, motion, growth, unlike : float
        See the head of the module.
    max_distance : float
        µm that a cell may move where it does not overlap itself.
    window, window_overlap : int
        Frames solved at once, and frames decided again with the next ones.
    time_limit : float
        Seconds for each part of a window that hangs together.

    Raises
    ------
    InputError
        Negative or missing numbers.
    """

    appear: NotNegative = 4.0
    end: NotNegative = 4.0
    division: NotNegative = 2.0
    edge: NotNegative = 0.25
    cover: NotNegative = 4.0
    edit: NotNegative = 3.0
    lasting: NotNegative = 1.7
    vote: NotNegative = 1.0
    size: NotNegative = 2.0
    overlap: NotNegative = 2.0
    motion: NotNegative = 2.0
    growth: NotNegative = 3.0
    unlike: NotNegative = 1.0
    border: NotNegative = 4.0
    max_distance: NotNegative = 15.0
    window: Index = 12
    window_overlap: Index = 4
    time_limit: NotNegative = 60.0

    def __post_init__(self) -> None:
        check_bounds(self)


def cell_costs(
    p: GlobalParameters,
    usual: Usual,
    worth: np.ndarray,
    outside: np.ndarray,
    votes: np.ndarray,
    own: np.ndarray,
    border: np.ndarray,
) -> np.ndarray:
    """Return the cost of each region of a frame.

    Parameters
    ----------
    p : GlobalParameters
    usual : Usual
    worth, outside, votes : (n,) ndarray
        See `helpers.tracking.global_tracker.regions.Regions`.
    own : (n,) bool ndarray
        Whether the segmentation has the region.
    border : (n,) ndarray
        How far the image speaks for the border that a region divides a cell by, above 0, or against it; for a union of cells
        the other way round; 0 for other regions.
    """
    # Regions elsewhere explain what the segmentation has missed, for half as much.
    gain = p.cover * (worth + 0.5 * outside)
    part = np.minimum(worth + outside, 1)
    doubt = p.edit * ~own - p.vote * (votes - usual.votes) - p.border * border
    return part * doubt - gain


def odd_sizes(p: GlobalParameters, usual: Usual, volume: np.ndarray) -> np.ndarray:
    """Return what it costs that each of some cells is as large as it is, where it begins."""
    z = (np.log(volume) - usual.log_size) / usual.log_size_sd
    return p.size * np.clip(z * z - 1, 0, 15) / 2


def link_costs(
    p: GlobalParameters,
    usual: Usual,
    iou: np.ndarray,
    distance: np.ndarray,
    ratio: np.ndarray,
    edited: np.ndarray,
) -> np.ndarray:
    """Return the cost of each link.

    Parameters
    ----------
    p, usual
        As in `cell_costs`.
    iou, distance, ratio : (m,) ndarray
        Overlap of both ends, how far apart they are, µm, and how many times as large the later one is.
    edited : (m,) ndarray
        How much of a cell the smaller end is, at most 1, where the segmentation has neither end; 0 where it has one.
    """
    moved = p.motion * np.minimum(distance / p.max_distance, 1) ** 2
    grown = p.growth * np.abs(np.log(ratio))
    return p.overlap * (usual.iou - iou) + moved + grown - p.lasting * edited


def division_costs(
    p: GlobalParameters, usual: Usual, iou: np.ndarray, first: np.ndarray, second: np.ndarray
) -> np.ndarray:
    """Return the cost of each division, `iou` that of the mother with both daughters of volumes `first, second`."""
    odd = odd_sizes(p, usual, first) + odd_sizes(p, usual, second)
    unlike = p.unlike * np.abs(np.log(first / second))
    return p.division + p.overlap * (usual.iou - iou) + unlike + odd
