"""Parameters of the notebook that says where to begin."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from helpers.runs.parameters.base import Parameters


class StartHere(Parameters):
    """What do you have? Which notebooks, in which order, and is this machine ready."""

    name: ClassVar[str] = "start_here"
    must_set: ClassVar[tuple[str, ...]] = ("i_have", "make_sample", "run_dir")
    often_set: ClassVar[tuple[str, ...]] = ("real_sample",)

    i_have: Literal[
        "a movie only",
        "a movie and a few outlines",
        "training stacks",
        "labels from another program",
        "tracks from another program",
    ] = Field("a movie only", description="What you have to begin with")
    make_sample: bool = Field(
        True, description="Make sample data: a small synthetic movie with its truth, and training stacks"
    )
    real_sample: Literal["none", "ovule", "embryo", "nuclei", "cells"] = Field(
        "none",
        description="Fetch real sample data as well (needs a network): membranes of an ovule in 3D, nuclei of an embryo in 3D, nuclei or thin cells in 2D",
    )
