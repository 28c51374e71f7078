"""The methods of segmentation, as people write them; imports nothing, for every step and figure does import it."""

METHOD_NAMES = {"vollseg": "VollSeg", "stardist": "StarDist", "unet": "U-Net", "cellpose": "Cellpose"}
