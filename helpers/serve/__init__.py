"""Segmentation and training over the network: a server for other programs, and our notebooks as clients of one.

::

    Fiji's TrackMate-Lacss, our notebooks ── gRPC ── token ── pictures in memory ── queue ── Segmenter ── shapes

    QuPath's Cellsparse ── HTTP ── token ── image and annotations ── the same queue ── training in its own process ── outlines

What is served is a `Segmenter`, so the cells are those of the notebooks. `server.start` runs a server inside this process,
``python -m helpers serve`` one of its own.
"""
