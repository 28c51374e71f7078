"""What every notebook's parameter class shares: reading a notebook's first cell, and errors a biologist can act on."""

from __future__ import annotations

import ast
import math
import os
import re
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic.fields import FieldInfo

from helpers.bounds import Count, Fraction
from helpers.errors import InputError, InputErrors, nearest
from helpers.runs.parameters.first_cell import names_set
from helpers.runs.parameters.kinds import choices, limits, list_of, may_be_empty, options, takes_text


def _empty_is_none(value: Any) -> Any:
    return None if isinstance(value, str) and not value.strip() else value


def _positive(values: tuple[float, ...]) -> tuple[float, ...]:
    if not all(0 < v < math.inf for v in values):
        raise ValueError("every number must be finite and greater than 0")
    return values


#: A path that may be left empty in the notebook.
OptionalPath = Annotated[Path | None, BeforeValidator(_empty_is_none)]
#: Text that may be left empty in the notebook.
OptionalText = Annotated[str | None, BeforeValidator(_empty_is_none)]
#: Voxel size (z, y, x) in µm, in 2D (y, x) will do; None reads it from the file.
VoxelSize = Annotated[
    Annotated[tuple[float, ...], Field(min_length=2, max_length=3), AfterValidator(_positive)] | None,
    BeforeValidator(_empty_is_none),
]
#: What the networks compute in.
Precision = Annotated[
    Literal["auto", "float32"],
    Field(
        description="'auto' computes in 16 bits where the processor is built for it (about twice as fast), 'float32' never"
    ),
]
#: What several notebooks ask for in the same words.
MovieFile = Annotated[
    OptionalPath,
    Field(description="The movie: TIFF, OME-TIFF, OME-Zarr, HDF5, a folder of stacks or a pattern with *"),
]
MovieVoxelSize = Annotated[
    VoxelSize, Field(description="Voxel size [z, y, x] in µm; empty reads it from the file")
]
DatasetKey = Annotated[OptionalText, Field(description="Name of the dataset in an HDF5 file, such as 'raw'")]
#: Two (y, x) or three (z, y, x) whole numbers.
PatchSize = Annotated[tuple[int, ...], Field(min_length=2, max_length=3), AfterValidator(_positive)]
#: Tiles or grid: two (y, x) or three (z, y, x) whole numbers, at least 1.
Counts = Annotated[list[Count], Field(min_length=2, max_length=3)]
#: A number between 0 and 1, or None for the value that notebook 05_optimize_thresholds found.
OptionalFraction = Fraction | None
#: Names of the notebooks that make a movie's labels.
SEGMENTED = ("segment", "segment_cellpose", "segment_remote")
#: Packages that networks of TensorFlow, and that trackers and their files and scores, depend on.
TENSORFLOW = ("tensorflow", "keras", "csbdeep", "stardist", "n2v")
TRACKING = ("traccuracy", "py-ctcmetrics", "geff")


class Parameters(BaseModel):
    """Base of the parameter classes: one class per notebook, one field per variable of its first cell."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)

    #: The notebook's name without its number, such as ``"create_dataset"``.
    name: ClassVar[str]
    #: With it, as its file and the experiment's step are called, such as ``"03_create_dataset"``; `NOTEBOOKS` gives it.
    step: ClassVar[str]
    #: Names of the notebooks whose results this one reads, where the experiment has them.
    reads: ClassVar[tuple[str, ...]] = ()
    #: Whether it makes a movie's labels.
    segments: ClassVar[bool] = False
    #: Whether it runs networks: then it takes all cores, or a GPU, and more memory than the others.
    runs_networks: ClassVar[bool] = False
    #: Whether it trains them. Sums over a batch depend on how threads share it: trainings start as many with any --cores.
    trains: ClassVar[bool] = False
    #: Packages whose change may change the result, beside those of every step.
    packages: ClassVar[tuple[str, ...]] = ()
    #: What it installs on Colab beside the package itself.
    extra: ClassVar[str] = "tracking"
    #: Whether a movie of an experiment without truth is left out of this step.
    needs_truth: ClassVar[bool] = False
    #: Parameters that every user sets: they stand first in the notebook's first cell.
    must_set: ClassVar[tuple[str, ...]] = ("run_dir",)
    #: Parameters that are often set: they follow there. All others are listed above it; a line added to the cell sets them.
    often_set: ClassVar[tuple[str, ...]] = ()
    #: Parameters that are a file or a known name, such as the model of Cellpose.
    file_or_name: ClassVar[tuple[str, ...]] = ()
    #: What an experiment may say of this step beside the parameters, with its meaning.
    batch_options: ClassVar[dict[str, str]] = {}

    run_dir: Path = Field(
        Path("runs/my_experiment"),
        description="Folder of the run: every step reads and writes below it",
    )
    figure_formats: list[Literal["png", "pdf", "svg"]] = Field(
        ["png", "pdf"],
        min_length=1,
        description="Formats of the figures: png to look at, pdf or svg to print and edit",
    )

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse YAML's ``yes`` and ``off`` where a number, a path or a text is meant: pydantic would read 1 and 0."""
        field = cls.model_fields[str(info.field_name)]
        if _holds_truth(value) and not _may_be_true(field.annotation):
            raise ValueError("should not be true or false; write text such as 'no' in quotes")
        return value

    @field_validator("*")
    @classmethod
    def _from_the_home_folder(cls, value: Any) -> Any:
        """Read a path's ``~`` as shells do: taken as it is, it would make a folder of that name."""
        if isinstance(value, list):
            return [cls._from_the_home_folder(one) for one in value]
        return Path(os.path.expanduser(value)) if isinstance(value, Path) else value

    @classmethod
    def from_notebook(cls, namespace: Mapping[str, Any]) -> Self:
        """Build the parameters from the variables of a notebook; where they name no data, sample data are taken.

        Parameters
        ----------
        namespace : mapping
            The notebook's ``globals()``, after its parameters cell (and papermill's) ran.

        Raises
        ------
        InputError
            If a variable is missing, its value is not allowed or it is no parameter; the message names it.
        """
        given = names_set(namespace, cls.model_fields, cls.step)
        missing = [name for name in (*cls.must_set, *cls.often_set) if name not in given]
        if missing:
            raise InputError(
                ", ".join(missing), "not set", "run the parameters cell first, and keep every line of it"
            )
        from helpers.runs import sample

        values = {name: namespace[name] for name in cls.model_fields if name in given}
        return sample.instead_of(cls.checked(values), namespace)

    @classmethod
    def rarely_set(cls) -> list[str]:
        """Return the parameters that the notebook's first cell leaves out."""
        return [name for name in cls.model_fields if name not in (*cls.must_set, *cls.often_set)]

    @classmethod
    def checked(cls, values: Mapping[str, Any], *, source: str | Callable[[str], str] = "") -> Self:
        """Build the parameters from a mapping, such as a section of an experiment file.

        Parameters
        ----------
        values : mapping
            Parameter names and values; those left out keep their defaults.
        source : str or callable
            Where the values come from, put before the parameter's name in errors; or what returns, for a
            parameter's name, the name and where it stands.

        Raises
        ------
        InputError
            Naming each wrong parameter, its value, what is allowed and what it is for; a misspelt name
            is answered with the nearest right one.
        """
        try:
            return cls.model_validate({name: _unquoted(cls, name, value) for name, value in values.items()})
        except ValidationError as error:
            where = source if callable(source) else lambda name: f"{source}: {name}" if source else name
            # Of a parameter that may be of several kinds, pydantic tells what is wrong with each.
            once = {e["loc"][:1]: e for e in reversed(error.errors())}
            found = [_readable(cls, e, where, not callable(source)) for e in reversed(once.values())]
            raise found[0] if len(found) == 1 else InputErrors(found) from None

    @classmethod
    def help(cls) -> str:
        """Return the parameters as text: name, default and meaning, a line each."""
        lines = [f"{cls.step}: {cls.about()}"]
        width = max(map(len, cls.model_fields))
        for name, default, allowed, meaning in cls.table():
            allowed = f"; {allowed}" if allowed else ""
            lines.append(f"  {name:<{width}}  {meaning} [default: {default}{allowed}]")
        lines += [f"  {name:<{width}}  {meaning}" for name, meaning in cls.batch_options.items()]
        return "\n".join(lines)

    @classmethod
    def about(cls) -> str:
        """Return what the notebook does, in a sentence."""
        return (cls.__doc__ or "").strip().splitlines()[0]

    @classmethod
    def table(cls) -> list[tuple[str, str, str, str]]:
        """Return (name, default, what is allowed, meaning) of every parameter, the rarely set ones last."""
        names = (*cls.must_set, *cls.often_set, *cls.rarely_set())
        fields = {name: cls.model_fields[name] for name in names}
        return [
            (name, _shown(field.default), _allowed(field), field.description or "")
            for name, field in fields.items()
        ]

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """Return the defaults as plain values, as `plain` gives those of one."""
        return cls.model_construct().plain()

    def inputs(self) -> list[Path]:
        """Return the files and folders this step reads; a change in one of them makes the step run again."""
        return []

    def outputs(self) -> list[Path]:
        """Return the files and folders this step leaves, their names with * where it is not known which they are."""
        return []

    def provenance(self) -> dict[str, Any]:
        """Return what ``done.json`` says of where the step's data come from, beyond its inputs' hashes."""
        return {}

    def path(self, *parts: str) -> Path:
        """Return a path below the run folder."""
        return self.run_dir.joinpath(*parts)

    def model_files(self, name: str) -> list[Path]:
        """Return what a network of the run's is made of: its weights and, where there are any, its descriptions."""
        folder = self.path("models", name)
        about = [folder / file for file in ("config.json", "training.json")]
        return [folder / "weights_best.h5", *(path for path in about if path.is_file())]

    def plain(self) -> dict[str, Any]:
        """Return the parameters as plain values for YAML and JSON."""
        return self.model_dump(mode="json")


def _holds_truth(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return any(map(_holds_truth, value))
    return isinstance(value, bool) or (isinstance(value, dict) and any(map(_holds_truth, value.values())))


def _may_be_true(annotation: Any) -> bool:
    parts = typing.get_args(annotation)
    return annotation in (bool, Any) or any(map(_may_be_true, parts))


def _unquoted(cls: type[Parameters], name: str, value: Any) -> Any:
    """Read a number, list or mapping that came as text, as forms and papermill's ``-p`` give it; let no ``true`` be a number."""
    field = cls.model_fields.get(name)
    if field is None:
        return value
    if isinstance(value, str) and list_of(field) is not None:
        return _listed(field, value)
    if takes_text(field):
        return value
    if isinstance(value, bool) and bool not in options(field.annotation):
        return str(value)  # which is refused: pydantic would take it for 1 or 0
    if not isinstance(value, str):
        return value
    if value.strip() in ("None", "null") or (may_be_empty(field) and not value.strip()):
        return None
    return _literal(value) if value.strip().startswith("{") else value


def _listed(field: FieldInfo, text: str) -> Any:
    """Read a list: empty, in brackets, or its parts with commas between, numbers also with spaces, or whole ones as 3-7."""
    text = text.strip()
    if text in ("", "None", "null"):
        return None if may_be_empty(field) else []
    if text[0] in "[(" and (found := _literal(text)) != text:
        return found
    if list_of(field) in (str, Path):
        return [part.strip() for part in text.split(",") if part.strip()]
    parts = re.split(r"[\s,;]+", text.strip(" ,;"))
    if list_of(field) is not int:
        return parts
    return [number for part in parts for number in _whole_numbers(part)]


def _whole_numbers(part: str) -> list[Any]:
    """Return the numbers of a range, such as ``3-7``; anything else as it is, for pydantic to take or refuse."""
    found = re.fullmatch(r"(\d{1,6})[-–](\d{1,6})", part)
    return list(range(int(found[1]), int(found[2]) + 1)) or [part] if found else [part]


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text


def _allowed(field: FieldInfo) -> str:
    if words := choices(field):
        return ", ".join(words)
    found = limits(field)
    if {"ge", "le"} <= set(found):
        return f"{found['ge']} to {found['le']}"
    words = {"gt": "above {}", "ge": "{} or more", "lt": "below {}", "le": "up to {}"}
    return ", ".join(text.format(found[name]) for name, text in words.items() if name in found)


def _shown(value: Any) -> str:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value)) or "empty"
    return "empty" if value is None else str(value)


def _readable(
    cls: type[Parameters], error: Any, where: Callable[[str], str], in_notebook: bool
) -> InputError:
    name, value = str(error["loc"][0]) if error["loc"] else cls.step, error["input"]
    if not error["loc"] and isinstance(
        value, dict
    ):  # of several parameters together: the first that is spoken of
        spoken = [word for word in re.findall(r"\w+", error["msg"]) if word in cls.model_fields]
        name, value = (spoken[0], value.get(spoken[0])) if spoken else (name, value)
    if error["type"] == "extra_forbidden":
        hint = nearest(name, [*cls.model_fields, *cls.batch_options])
        return InputError(where(name), value, f"{cls.step} has no such parameter; {hint}")
    field = cls.model_fields.get(name)
    meaning = f" ({field.description})" if field and field.description else ""
    message = error["msg"].removeprefix("Value error, ").removeprefix("Input ").strip()
    if error["type"] in ("tuple_type", "list_type"):
        message = "should be a list, such as [2.0, 0.5, 0.5]"
    if isinstance(error["input"], str) and error["type"] == "dict_type":
        message += f"; papermill takes it by -y '{name}: …', not by -p" if in_notebook else ""
    if error["type"] in ("too_long", "too_short"):
        message = re.sub(r"^\w+ should have", "should have", message).replace(" after validation", "")
    if words := choices(field) if field else []:
        message = "should be one of " + ", ".join(map(repr, words))
    return InputError(where(name), value, f"{message}{meaning}")
