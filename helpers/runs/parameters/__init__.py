"""One class of parameters per notebook.

The first cell of a notebook names the same variables with the same defaults; experiment files are validated by
the same classes; a test holds cells and classes together.
"""

from helpers.runs.parameters.analysis import (
    AnalyzeBoundaryDistance,
    AnalyzeIntensitySpectrum,
    AnalyzeMigration,
    CompareConditions,
)
from helpers.runs.parameters.annotation import Annotate
from helpers.runs.parameters.base import Parameters
from helpers.runs.parameters.cellpose import SegmentCellpose
from helpers.runs.parameters.curation import Curate
from helpers.runs.parameters.dataset import CreateDataset
from helpers.runs.parameters.remote import SegmentRemote
from helpers.runs.parameters.segmentation import EvaluateSegmentation, Segment
from helpers.runs.parameters.start import StartHere
from helpers.runs.parameters.tracking import EvaluateTracking, Track
from helpers.runs.parameters.training import (
    OptimizeThresholds,
    TrainDenoiser,
    TrainSegmentation,
)

#: What segments a movie, each writing the same.
SegmentsMovie = Segment | SegmentCellpose | SegmentRemote
#: The notebooks in the order a person works, which gives them their numbers: nothing else knows these.
_ORDER: tuple[type[Parameters], ...] = (
    StartHere,
    Annotate,
    TrainDenoiser,
    CreateDataset,
    TrainSegmentation,
    OptimizeThresholds,
    Segment,
    SegmentCellpose,
    SegmentRemote,
    EvaluateSegmentation,
    Track,
    EvaluateTracking,
    Curate,
    AnalyzeBoundaryDistance,
    AnalyzeIntensitySpectrum,
    AnalyzeMigration,
    CompareConditions,
)
for _number, _cls in enumerate(_ORDER):
    _cls.step = f"{_number:02d}_{_cls.name}"

#: The file of a notebook without its ending, such as ``"06_segment"`` → its parameter class.
NOTEBOOKS: dict[str, type[Parameters]] = {cls.step: cls for cls in _ORDER}
#: The same without the notebook that says where to begin, which is no step of an experiment.
STEPS: dict[str, type[Parameters]] = {name: cls for name, cls in NOTEBOOKS.items() if cls is not StartHere}


def step_of(given: str) -> str | None:
    """Return the step that is meant: by its name with or without a number, for numbers change with versions.

    Parameters
    ----------
    given : str
        Such as ``"06_segment"``, ``"segment"`` or ``"06"``; a number alone is today's.

    Returns
    -------
    str or None
        A name in `STEPS`; None if there is no such step.
    """
    if given in STEPS:
        return given
    number, _, name = given.partition("_") if given[:2].isdigit() else ("", "", given)
    meant = [step for step, cls in STEPS.items() if cls.name == name or (not name and step[:2] == number)]
    return meant[0] if meant else None


__all__ = [
    "NOTEBOOKS",
    "STEPS",
    "AnalyzeBoundaryDistance",
    "AnalyzeIntensitySpectrum",
    "AnalyzeMigration",
    "Annotate",
    "CompareConditions",
    "CreateDataset",
    "Curate",
    "EvaluateSegmentation",
    "EvaluateTracking",
    "OptimizeThresholds",
    "Parameters",
    "Segment",
    "SegmentCellpose",
    "SegmentRemote",
    "SegmentsMovie",
    "StartHere",
    "Track",
    "TrainDenoiser",
    "TrainSegmentation",
    "step_of",
]
