"""Segmentation for other programs: one process, one set of models, one queue for its device, two doors.

::

    Fiji's TrackMate-Lacss, our notebooks ── gRPC ─┐
                                                   ├─ token ─ pictures in memory ─ queue ─ Segmenter ─ shapes
    QuPath, our own API ──────────────────── HTTP ─┘

The doors translate; what they share is in `service`. What is served is a `Segmenter`, so the cells are those of the
notebooks. `start` runs a server inside this process, ``python -m helpers serve`` one of its own.
"""
