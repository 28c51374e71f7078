"""Frames larger than memory, segmented block by block as the whole frame would be.

Every step goes over the frame block by block, and what it makes lies in a temporary store until the next one wants it::

    frame ─ copy ─ networks ─┬─ candidates ── suppression ── stars (a table, in memory) ─┐
            (percentiles)    ├─ probability ─────────────────────────────────────────────┼─ fusion ── labels of blocks
                             └─ foreground ── components of the whole foreground ────────┘    │          │
                                                      what stars are like, of all blocks ─────┘      numbers 1…n

What would differ from block to block is known of the whole frame before: percentiles, the stars, the components of the
foreground, the medians that the fusion compares with. A block is read with a margin of two cells around it, keeps what
lies inside, and has the same stars under the same numbers as its neighbours: so a cell across a seam is one cell. Only
new cells get numbers of their own block; those of two blocks that are the same where they meet become one.

Each block's last act is a small file that says that it is stored. A run that was killed goes on at the next block.
"""

from helpers.segmentation.blocks.by_blocks import segment_by_blocks
from helpers.segmentation.blocks.memory import fits_memory

__all__ = ["fits_memory", "segment_by_blocks"]
