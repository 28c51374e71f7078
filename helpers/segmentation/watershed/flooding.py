"""Marker-controlled watershed: scikit-image's labels, several times faster, in little memory.

Voxels leave the queue in the order (height, age): the height is the elevation map's value, or that of the pass through
which the voxel was reached if that is higher; the age is the order in which they entered the queue::

    height → bucket  0   1   2   3  …     a bucket is a narrow range of heights
                             ↑ current:   in a small heap, or first in first out if all are equal
                                  └──     waits in its bucket, in order of age, untouched until its turn

This is the flooding of Meyer (Signal Processing 38, 1994) on the "hot queue" of Cherkassky, Goldberg and
Silverstein (SIAM J. Comput. 28, 1999); in large float elevation maps, voxels from which the steepest descent leads
to a marker are labelled before (`helpers.segmentation.watershed.steepest_descent`). The widths of the buckets follow the histogram of the elevation map, so
the heap stays in the processor's cache whatever the values are, and plateaus cost nothing. The order is
exact, not quantised. Flooding waits for memory most of the time, hence the prefetches.

Over 400 lines, for numba compiles and caches the loop together with what it calls.
"""

# Compiled by numba, whose functions and integers are not those that a type checker sees.
# pyright: reportArgumentType=false, reportCallIssue=false, reportAssignmentType=false

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from llvmlite import ir
from numba import get_num_threads, njit, types
from numba.extending import intrinsic

from helpers import heap
from helpers.errors import InputError
from helpers.segmentation.watershed.components import components, count_runs
from helpers.segmentation.watershed.neighbourhood import longer, neighbours_of
from helpers.segmentation.watershed.steepest_descent import height_of, label_by_descent

#: Voxels beyond what 32-bit positions can address.
MAX_VOXELS = 2**31 - 1
_OUTSIDE = -1
#: The elevation map's range is cut into 2**_TOP_BITS equal parts, and each part as finely as it is populated.
_TOP_BITS = 10
_KEY_BITS = 32
#: Voxels a bucket gets in all, and how many of those waiting lie side by side.
_PER_BUCKET = 1024
_CHUNK = 16
#: Components of so many voxels get buckets; smaller ones fit into the cache and into one heap.
_LARGE = 1 << 16
#: Voxels of small components that make a job for one core.
_BUNCH = 1 << 18
#: Runs of the mask along x are this long on average, or its components are not told apart.
_VOXELS_PER_RUN = 12


def watershed(elevation: np.ndarray, markers: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
    """Flood `elevation` from `markers` inside `mask`, low values first.

    The result equals ``skimage.segmentation.watershed(elevation, markers, mask=mask)`` (connectivity 1) but
    for *ties*. Both let voxels leave the queue ordered by height, then by age; a tie is what this order
    leaves open: two voxels of different markers that have the same height and, as all marker
    voxels have, the age 0 (in float elevation maps of 65,536 voxels and more, as all voxels of a marker's own slope have).
    scikit-image (0.26) takes them as its heap happens to hold them; here the one that
    comes first in memory goes first. Where no two markers' voxels share a value, every voxel is equal.
    Otherwise a voxel can differ only if the lowest pass that leads to it is equally high from two markers.

    Parameters
    ----------
    elevation : ndarray, (Y, X) or (Z, Y, X), any real dtype
        Flooded from its low values; a probability of being inside a cell goes in negated.
    markers : ndarray of integers, same shape
        0: not a marker, otherwise the label to spread. Markers outside `mask` are ignored.
    mask : ndarray of bool, same shape, optional
        Where labels may spread; everywhere when left out.

    Returns
    -------
    labels : ndarray of int32, same shape
        0 outside the mask and where no marker can reach.

    Raises
    ------
    InputError
        Shapes differ, a value is not finite, a marker is not an integer from 0 to 2³¹−1, or the stack has
        2³¹ voxels or more.
    """
    elevation = np.asarray(elevation)
    markers = np.asarray(markers)
    if elevation.ndim not in (2, 3):
        raise InputError("elevation", elevation.shape, "a (Y, X) image or a (Z, Y, X) stack")
    if markers.shape != elevation.shape:
        raise InputError("markers", markers.shape, f"the shape of the elevation map, {elevation.shape}")
    if not np.issubdtype(markers.dtype, np.integer):
        raise InputError("markers", markers.dtype, "integers")
    if elevation.size > MAX_VOXELS:
        raise InputError("elevation", elevation.shape, "fewer than 2³¹ voxels: work blockwise")
    if markers.size and (markers.min() < 0 or markers.max() > np.iinfo(np.int32).max):
        raise InputError("markers", (int(markers.min()), int(markers.max())), "labels from 0 to 2³¹−1")
    labels = markers.astype(np.int32)
    if mask is not None:
        mask = np.asarray(mask)
        if mask.shape != elevation.shape:
            raise InputError("mask", mask.shape, f"the shape of the elevation map, {elevation.shape}")
        labels[mask == 0] = _OUTSIDE
    flood(elevation, labels)
    labels[labels < 0] = 0
    return labels


def flood(
    elevation: np.ndarray, labels: np.ndarray, *, descending: bool = False, by_descent: bool | None = None
) -> None:
    """Flood in place: the labels > 0 spread over the voxels that are 0; voxels < 0 stay as they are.

    Parameters
    ----------
    elevation : ndarray, (Y, X) or (Z, Y, X), any real dtype
    labels : ndarray of int32, C-contiguous, same shape
        Changed in place. Voxels that no label reaches stay 0.
    descending : bool
        Flood from the high values of the elevation map (a probability) instead of the low ones.
    by_descent : bool, optional
        Label first, and several times faster, what plainly lies on a marker's slope, so that age does not decide
        ties there. None: where the values are floats, which hardly repeat.

    Raises
    ------
    InputError
        The elevation map holds NaN.
    """
    keys, zero = _keys(elevation)
    shape = (1,) * (3 - labels.ndim) + labels.shape
    flat = labels.reshape(-1)
    low, high = _range(keys, flat, zero, descending)
    if low > high:
        return
    if zero:
        infinity = int(np.array(np.inf, f"f{keys.dtype.itemsize}").view(keys.dtype))
        if low < -infinity or high > infinity:
            raise InputError("elevation", "NaN", "finite values inside the mask")
    by_descent = bool(zero) if by_descent is None else by_descent
    if by_descent and flat.size >= _LARGE and not label_by_descent(keys, flat, shape, zero, descending):
        return
    n_rows = shape[0] * shape[1]
    n_runs = count_runs(flat, shape)
    if n_runs > flat.size // _VOXELS_PER_RUN:
        # Torn to shreds: its components would take more memory than the labels. Every row is a run.
        run_start = np.arange(n_rows, dtype=np.int32) * shape[2]
        run_stop = run_start + shape[2]
        bounds = np.array([0, n_rows])
        size = np.array([flat.size])
    else:
        run_start, run_stop, component = components(flat, shape, n_runs)
        size = np.bincount(component, weights=run_stop - run_start).astype(np.int64)
        bounds = np.concatenate([[0], np.cumsum(np.bincount(component))])
        if len(size) > 1:
            order = np.argsort(component, kind="stable")
            run_start, run_stop = run_start[order], run_stop[order]
            del order
        del component
    # Components do not know of each other: the large ones one by one, the small ones in bunches, on all cores.
    jobs = [(int(c), int(c) + 1) for c in np.flatnonzero(size >= _LARGE)]
    small = np.where(size < _LARGE, size, 0)
    edges = np.searchsorted(np.cumsum(small), np.arange(_BUNCH, small.sum() + _BUNCH, _BUNCH)) + 1
    jobs += list(zip(np.concatenate([[0], edges])[:-1], np.minimum(edges, len(size)), strict=True))

    def run(job: tuple[int, int]) -> None:
        _flood_components(
            keys, flat, shape, zero, descending, run_start, run_stop, bounds, size, job[0], job[1]
        )

    if len(jobs) == 1:
        run(jobs[0])
    elif jobs:
        with ThreadPoolExecutor(min(len(jobs), get_num_threads())) as pool:
            list(pool.map(run, jobs))


def _keys(elevation: np.ndarray) -> tuple[np.ndarray, int]:
    """View the elevation map as integers that `height_of` can order as the values are ordered, without a copy.

    Returns them with the integer that stands for -0.0, or 0 if the values are integers.
    """
    elevation = np.ascontiguousarray(elevation)
    if elevation.dtype == np.uint64 or elevation.dtype.itemsize > 8:
        elevation = elevation.astype(np.float64)
    if elevation.dtype.kind == "f":
        dtype = np.dtype(f"i{elevation.dtype.itemsize}")
        return elevation.view(dtype).reshape(-1), int(np.iinfo(dtype).min)
    return elevation.view(np.uint8 if elevation.dtype == bool else elevation.dtype).reshape(-1), 0


@intrinsic
def _prefetch(typingctx: Any, array: Any, index: Any) -> Any:
    """Ask the processor for the cache line of ``array[index]`` (LLVM's prefetch, read, keep)."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        pointer = builder.bitcast(builder.gep(data, [arguments[1]]), ir.PointerType(ir.IntType(8)))
        int32 = ir.IntType(32)
        function = builder.module.declare_intrinsic(
            "llvm.prefetch",
            [pointer.type],
            ir.FunctionType(ir.VoidType(), [pointer.type, int32, int32, int32]),
        )
        builder.call(function, [pointer, int32(0), int32(3), int32(1)])
        return context.get_dummy_value()

    return types.void(array, index), codegen


@njit(cache=True, nogil=True, inline="always")
def _bucket(key: int, place: Any, offset: Any, shift: Any) -> Any:
    low, half, drop, lift = place
    position = ((key >> half) - low) >> drop << lift
    part = position >> (_KEY_BITS - _TOP_BITS)
    rest = position & ((1 << (_KEY_BITS - _TOP_BITS)) - 1)
    return np.int64(offset[part]) + (rest >> shift[part])


@njit(cache=True, nogil=True)
def _range(keys: Any, labels: Any, zero: int, descending: bool) -> Any:
    low, high = np.iinfo(np.int64).max, np.iinfo(np.int64).min
    for i in range(labels.size):
        if labels[i] >= 0:
            key = height_of(keys[i], zero, descending)
            low = min(low, key)
            high = max(high, key)
    return low, high


@njit(cache=True, nogil=True)
def _flood_components(
    keys: Any,
    labels: Any,
    shape: Any,
    zero: int,
    descending: bool,
    run_start: Any,
    run_stop: Any,
    bounds: Any,
    size: Any,
    begin: int,
    end: int,
) -> None:
    """Flood the components from `begin` to `end`, the small ones only if these are several."""
    for c in range(begin, end):
        if size[c] >= _LARGE and end - begin > 1:
            continue
        starts = run_start[bounds[c] : bounds[c + 1]]
        stops = run_stop[bounds[c] : bounds[c + 1]]
        low, high = np.iinfo(np.int64).max, np.iinfo(np.int64).min
        dry = 0
        wet = 0
        for r in range(starts.size):
            for i in range(starts[r], stops[r]):
                if labels[i] >= 0:
                    key = height_of(keys[i], zero, descending)
                    low = min(low, key)
                    high = max(high, key)
                    if labels[i] == 0:
                        dry += 1
                    else:
                        wet += 1
        if dry == 0 or wet == 0:
            continue
        # The range of 64-bit keys takes 64 bits and a sign: half of it does not.
        half = 1 if keys.itemsize == 8 else 0
        low >>= half
        width = (high >> half) - low
        drop = 0
        while width >> drop >= np.int64(1) << _KEY_BITS:
            drop += 1
        # Few integers fill the range, too: or all would be in its first part.
        lift = 0
        while drop == 0 and width << (lift + 1) < np.int64(1) << _KEY_BITS and lift < _KEY_BITS - 1:
            lift += 1
        place = (low, half, drop, lift)
        # First bucket of every part of the range, and how finely the part is cut: by how many voxels it has.
        offset = np.zeros(1 << _TOP_BITS, np.int32)
        shift = np.full(1 << _TOP_BITS, _KEY_BITS - _TOP_BITS, np.int32)
        n_buckets = 1
        if size[c] >= _LARGE:
            counts = np.zeros(1 << _TOP_BITS, np.int64)
            for r in range(starts.size):
                for i in range(starts[r], stops[r]):
                    if labels[i] == 0:
                        key = height_of(keys[i], zero, descending)
                        counts[((key >> half) - low) >> drop << lift >> (_KEY_BITS - _TOP_BITS)] += 1
            n_buckets = 0
            for part in range(counts.size):
                offset[part] = n_buckets
                while shift[part] > 0 and counts[part] >> (_KEY_BITS - _TOP_BITS - shift[part]) > _PER_BUCKET:
                    shift[part] -= 1
                n_buckets += 1 << (_KEY_BITS - _TOP_BITS - shift[part])
        _flood(keys, labels, shape, zero, descending, starts, stops, place, offset, shift, n_buckets)


@njit(cache=True, nogil=True)
def _prefetch_around(keys: Any, labels: Any, i: int, nx: int, plane: int) -> None:
    """Ask for the cache lines that handing on the label of voxel `i` will read."""
    size = labels.size
    for step in (plane, nx):
        if i >= step:
            _prefetch(labels, i - step)
            _prefetch(keys, i - step)
        if i + step < size:
            _prefetch(labels, i + step)
            _prefetch(keys, i + step)
    _prefetch(labels, i)
    _prefetch(keys, i)


@njit(cache=True, nogil=True)
def _flood(
    keys: Any,
    labels: Any,
    shape: Any,
    zero: int,
    descending: bool,
    run_start: Any,
    run_stop: Any,
    place: Any,
    offset: Any,
    shift: Any,
    n_buckets: int,
) -> None:
    """Flood what the runs cover. Only what is waiting takes memory: pages that nothing was written to are none."""
    state = np.zeros(10, np.int64)
    state[1] = run_start[0] - 1
    state[4] = -1
    state[6] = -1
    first = np.full(n_buckets, -1, np.int32)
    tail = np.full(n_buckets, -1, np.int32)
    n_chunks = (run_stop - run_start).sum() // _CHUNK + n_buckets + 16
    chunks = np.empty(_CHUNK * n_chunks, np.int32)
    following = np.empty(n_chunks, np.int32)
    heap_key = np.empty(1 << 9, np.int64)
    heap_entry = np.empty(1 << 9, np.int64)
    while not _advance(
        keys, labels, shape, zero, descending, run_start, run_stop, place, offset, shift, n_buckets,
        first, tail, chunks, following, heap_key, heap_entry, state,
    ):  # fmt: skip
        heap_key = longer(heap_key, heap_key.size // 2)
        heap_entry = longer(heap_entry, heap_entry.size // 2)


@njit(cache=True, nogil=True)
def _advance(
    keys: Any,
    labels: Any,
    shape: Any,
    zero: int,
    descending: bool,
    run_start: Any,
    run_stop: Any,
    place: Any,
    offset: Any,
    shift: Any,
    n_buckets: int,
    first: Any,
    tail: Any,
    chunks: Any,
    following: Any,
    heap_key: Any,
    heap_entry: Any,
    state: Any,
) -> bool:
    """Flood until all is done (True), or until the queue has to be lengthened before going on (False).

    Apart from `_flood` because arrays that are replaced within a loop have their references counted there,
    which takes longer than all else.

    A bucket is a chain of chunks of voxels: `first` has its first chunk, `following` leads on, and `tail` is the
    position of its last voxel in `chunks`, -1 if it is empty. Emptied chunks are used again.
    """
    _, ny, nx = shape
    plane = ny * nx
    run, marker, heap_size, n_chunks, free = state[0], state[1], state[2], state[3], state[4]
    age, current, fifo, fifo_key, fifo_chunk = state[5], state[6], state[7] & 1, state[8], (state[7] >> 1) - 1
    read = state[9]
    neighbours = np.empty(6, np.int64)
    done = False
    while True:
        if heap_size + 8 > heap_key.size:
            break
        # First every marker voxel that can hand its label on enters (age 0), then the queue is emptied.
        seeding = run < run_start.size
        if seeding:
            marker += 1
            if marker == run_stop[run]:
                run += 1
                if run < run_start.size:
                    marker = np.int64(run_start[run]) - 1
                continue
            i = marker
            if labels[i] <= 0:
                continue
            level = np.iinfo(np.int64).min
        elif heap_size > 0 and (not fifo or read == tail[current]):
            level = heap_key[0]
            i = heap_entry[0] & MAX_VOXELS  # an entry is (age << 31) | voxel: equal heights leave by age
            heap.pop(heap_key, heap_entry, heap_size)
            heap_size -= 1
        elif fifo and read != tail[current]:
            if fifo_chunk < 0:
                fifo_chunk = np.int64(first[current])
                read = fifo_chunk * _CHUNK - 1
            elif read & (_CHUNK - 1) == _CHUNK - 1:
                emptied = fifo_chunk
                fifo_chunk = np.int64(following[emptied])
                following[emptied] = free
                free = emptied
                read = fifo_chunk * _CHUNK - 1
            read += 1
            level = fifo_key
            i = np.int64(chunks[read])
            # Prefetching what a stale entry names does no harm.
            ahead = (read & (_CHUNK - 1)) + 8
            if ahead < _CHUNK:
                _prefetch_around(keys, labels, np.int64(chunks[fifo_chunk * _CHUNK + ahead]), nx, plane)
            elif following[fifo_chunk] >= 0:
                after = np.int64(following[fifo_chunk]) * _CHUNK + ahead - _CHUNK
                _prefetch_around(keys, labels, np.int64(chunks[after]), nx, plane)
        else:
            if fifo:
                following[fifo_chunk] = free
                free = fifo_chunk
                tail[current] = -1
                fifo = np.int64(0)
            current += 1
            while current < n_buckets and tail[current] < 0:
                current += 1
            if current == n_buckets:
                done = True
                break
            # The bucket's turn: first in first out if all are equal, or else into the heap.
            last = np.int64(tail[current])
            chunk = np.int64(first[current])
            fifo_key = height_of(keys[chunks[chunk * _CHUNK]], zero, descending)
            fifo = np.int64(1)
            waiting = 0
            while True:
                stop = last + 1 if chunk == last // _CHUNK else (chunk + 1) * _CHUNK
                for k in range(chunk * _CHUNK, stop):
                    if height_of(keys[chunks[k]], zero, descending) != fifo_key:
                        fifo = np.int64(0)
                waiting += stop - chunk * _CHUNK
                if chunk == last // _CHUNK:
                    break
                chunk = np.int64(following[chunk])
            if fifo:
                fifo_chunk = np.int64(-1)
                read = np.int64(-2)
                continue
            if waiting + 8 > heap_key.size:
                # Nothing has been touched: this bucket's turn comes again.
                current -= 1
                break
            chunk = np.int64(first[current])
            while True:
                stop = last + 1 if chunk == last // _CHUNK else (chunk + 1) * _CHUNK
                for k in range(chunk * _CHUNK, stop):
                    v = np.int64(chunks[k])
                    age += 1
                    key = height_of(keys[v], zero, descending)
                    heap.push(heap_key, heap_entry, heap_size, key, (age << 31) | v)
                    heap_size += 1
                    _prefetch_around(keys, labels, v, nx, plane)
                after = np.int64(following[chunk])
                following[chunk] = free
                free = chunk
                if chunk == last // _CHUNK:
                    break
                chunk = after
            tail[current] = -1
            continue

        # The order of scikit-image, which the ages follow.
        neighbours_of(i, shape, neighbours)
        label = labels[i]
        for k in range(6):
            n = neighbours[k]
            if labels[n] != 0:
                continue
            if seeding:
                n = i
            else:
                labels[n] = label
            # What lies below the pass that leads to it waits at the height of the pass.
            key = max(height_of(keys[n], zero, descending), level)
            b = _bucket(key, place, offset, shift)
            if b > current or (fifo and b == current and key == fifo_key):
                end = np.int64(tail[b])
                if end & (_CHUNK - 1) == _CHUNK - 1:
                    if free >= 0:
                        chunk = free
                        free = np.int64(following[chunk])
                    else:
                        chunk = n_chunks
                        n_chunks += 1
                    following[chunk] = -1
                    if end < 0:
                        first[b] = chunk
                    else:
                        following[end // _CHUNK] = chunk
                    end = chunk * _CHUNK - 1
                chunks[end + 1] = n
                tail[b] = end + 1
            else:
                age += 1
                heap.push(heap_key, heap_entry, heap_size, key, (age << 31) | n)
                _prefetch_around(keys, labels, n, nx, plane)
                heap_size += 1
            if seeding:
                break
    state[0], state[1], state[2], state[3], state[4] = run, marker, heap_size, n_chunks, free
    state[5], state[6], state[7], state[8] = age, current, fifo | ((fifo_chunk + 1) << 1), fifo_key
    state[9] = read
    return done
