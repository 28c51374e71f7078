"""One class of parameters a notebook.

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
from helpers.runs.parameters.remote import SegmentRemote
from helpers.runs.parameters.segmentation import EvaluateSegmentation, Segment
from helpers.runs.parameters.start import StartHere
from helpers.runs.parameters.tracking import EvaluateTracking, Track
from helpers.runs.parameters.training import (
    CreateDataset,
    OptimizeThresholds,
    TrainDenoiser,
    TrainSegmentation,
)

#: What segments a movie, each writing the same.
SegmentsMovie = Segment | SegmentCellpose | SegmentRemote
#: Notebook name → parameter class, in the order a person works.
STEPS: dict[str, type[Parameters]] = {
    cls.step: cls
    for cls in (
        Annotate,
        CreateDataset,
        TrainDenoiser,
        TrainSegmentation,
        OptimizeThresholds,
        Segment,
        SegmentCellpose,
        SegmentRemote,
        EvaluateSegmentation,
        Track,
        EvaluateTracking,
        AnalyzeBoundaryDistance,
        AnalyzeIntensitySpectrum,
        AnalyzeMigration,
        CompareConditions,
        Curate,
    )
}

#: The same with the notebook that says where to begin, which is no step of an experiment.
NOTEBOOKS: dict[str, type[Parameters]] = {StartHere.step: StartHere, **STEPS}

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
]
