"""The compiled watershed: `watershed` and `flood` are its door, `flooding` says how it works."""

from helpers.segmentation.watershed.flooding import MAX_VOXELS, flood, watershed

__all__ = ["MAX_VOXELS", "flood", "watershed"]
