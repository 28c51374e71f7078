"""What both directions of the TrackMate XML share: names, and the element that keeps what TrackMate has no place for."""

from __future__ import annotations

#: Attributes of a Spot that are no features of it.
IDENTITY = frozenset({"ID", "name", "ROI_N_POINTS"})

#: Attributes that `objects` holds under names of its own.
POSITIONS = {"POSITION_Z": "z", "POSITION_Y": "y", "POSITION_X": "x"}

#: Column with the outline of each object: (N, 2) array (y, x) in µm relative to its position, or None.
CONTOUR = "contour"

#: Column that is False where TrackMate's track filters hide the track of the object.
SHOWN = "track_shown"

#: Element that keeps dtypes, row order, text columns and missing sizes. TrackMate and other readers skip it.
PRIVATE_METADATA = "Volltrack"

#: Feature → (name, short name, dimension, isint), where the names do not follow from the feature itself.
DECLARED = {
    "QUALITY": ("Quality", "Quality", "QUALITY", False),
    "POSITION_X": ("X", "X", "POSITION", False),
    "POSITION_Y": ("Y", "Y", "POSITION", False),
    "POSITION_Z": ("Z", "Z", "POSITION", False),
    "POSITION_T": ("T", "T", "TIME", False),
    "FRAME": ("Frame", "Frame", "NONE", True),
    "RADIUS": ("Radius", "R", "LENGTH", False),
    "VISIBILITY": ("Visibility", "Visibility", "NONE", True),
    "MANUAL_SPOT_COLOR": ("Manual spot color", "Spot color", "NONE", True),
    "SPOT_SOURCE_ID": ("Source spot ID", "Source ID", "NONE", True),
    "SPOT_TARGET_ID": ("Target spot ID", "Target ID", "NONE", True),
    "LINK_COST": ("Edge cost", "Cost", "COST", False),
    "TRACK_ID": ("Track ID", "ID", "NONE", True),
    "TRACK_INDEX": ("Track index", "Index", "NONE", True),
    "NUMBER_SPOTS": ("Number of spots in track", "N spots", "NONE", True),
    "NUMBER_GAPS": ("Number of gaps", "N gaps", "NONE", True),
    "NUMBER_SPLITS": ("Number of split events", "N splits", "NONE", True),
    "NUMBER_MERGES": ("Number of merge events", "N merges", "NONE", True),
    "TRACK_DURATION": ("Track duration", "Duration", "TIME", False),
    "TRACK_START": ("Track start", "T start", "TIME", False),
    "TRACK_STOP": ("Track stop", "T stop", "TIME", False),
    "TRACK_DISPLACEMENT": ("Track displacement", "Disp.", "LENGTH", False),
}

#: Parts that TrackMate's reader cannot do without, inside Model and inside Settings.
REQUIRED_IN_MODEL = ("AllSpots", "AllTracks", "FilteredTracks")
REQUIRED_IN_SETTINGS = ("ImageData", "InitialSpotFilter", "SpotFilterCollection", "TrackFilterCollection")


def dimension_of(feature: str) -> str:
    """Return TrackMate's dimension of a feature, guessed from the unit in its name where it is not TrackMate's.

    ``*_um`` is a LENGTH, ``*_um2`` an AREA, ``*_s`` a TIME, ``*_um_per_s`` a VELOCITY; TrackMate has no name
    for a volume.
    """
    if feature in DECLARED:
        return DECLARED[feature][2]
    name = feature.lower()
    if "intensity" in name:
        return "INTENSITY"
    endings = {"_um_per_s": "VELOCITY", "_um2": "AREA", "_um": "LENGTH", "_rad": "ANGLE", "_hz": "RATE"}
    for ending, dimension in endings.items():
        if name.endswith(ending):
            return dimension
    exact = {
        "AREA": "AREA", "PERIMETER": "LENGTH", "ELLIPSE_X0": "LENGTH", "ELLIPSE_Y0": "LENGTH",
        "ELLIPSE_MAJOR": "LENGTH", "ELLIPSE_MINOR": "LENGTH", "ELLIPSE_THETA": "ANGLE",
        "ESTIMATED_DIAMETER": "LENGTH", "SPEED": "VELOCITY", "VELOCITY": "VELOCITY", "DISPLACEMENT": "LENGTH",
        "EDGE_TIME": "TIME", "EDGE_X_LOCATION": "POSITION", "EDGE_Y_LOCATION": "POSITION",
        "EDGE_Z_LOCATION": "POSITION", "DIRECTIONAL_CHANGE_RATE": "ANGLE_RATE",
    }  # fmt: skip
    return exact.get(feature, "NONE")
