"""What is written into notebooks: ``python -m helpers.runs.parameters.cells`` refreshes all of it.

The parameters cell comes from the class. The badge and the cell that installs what a notebook needs on Colab come from the
repository's address, which stands in ``pyproject.toml`` alone.

What must and what is often set stands in the cell: one line per parameter, as papermill reads it (name, type, default) and
Colab shows it as a form, below a line that says what it means. The table above it has their defaults, and, folded, all
that is rarely set.
"""

from __future__ import annotations

import json
import math
import re
import tomllib
import typing
from pathlib import Path

from pydantic.fields import FieldInfo

from helpers import __version__
from helpers.runs.parameters import NOTEBOOKS, TrainDenoiser
from helpers.runs.parameters.base import Parameters
from helpers.runs.parameters.kinds import choices, limits, list_of, may_be_empty, options
from helpers.runs.sample import SETTINGS

#: The first words of the markdown cell that holds the table.
TABLE_TITLE = "## Parameters"
#: Ends the markdown of a notebook's last section.
DOWNLOAD = (
    "On Colab, `colab.download(run_dir)` in a new cell packs the run folder into one zip and downloads it."
)
_ROOT = Path(__file__).resolve().parents[3]
#: What a notebook installs too where one of its parameters is on.
_ON_DEMAND = {"train_segmentation": ("cellpose", "train_cellpose")}


def repository() -> str:
    """Return the repository's public address."""
    return tomllib.loads((_ROOT / "pyproject.toml").read_text())["project"]["urls"]["Repository"]


def colab_address(step: str) -> str:
    """Return where a notebook opens in Colab."""
    path = repository().removeprefix("https://github.com/")
    return f"https://colab.research.google.com/github/{path}/blob/main/notebooks/{step}.ipynb"


def badge(step: str) -> str:
    """Return the badge that opens a notebook in Colab."""
    return (
        f"[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({colab_address(step)})"
    )


#: A module of this name beside the notebook, or in another package, would be imported instead.
_NO_STRAY = [
    "import helpers",
    "",
    'if not (helpers.__doc__ or "").startswith("Volltrack"):',
    '    raise ImportError(f"{helpers} hides Volltrack\'s own package of that name: rename it, then restart the kernel")',
    "",
    "from helpers.runs import colab",
    "",
    "colab.set_up(run_dir)",
]


def setup_cell(cls: type[Parameters]) -> str:
    """Return the source of the cell that installs what a notebook needs; a no-op where the package is there."""
    extra = cls.extra
    choice = []
    if cls.name in _ON_DEMAND:
        other, parameter = _ON_DEMAND[cls.name]
        choice = [f'    extras = "{extra},{other}" if {parameter} else "{extra}"']
        extra = "{extras}"
    lines = [
        "import importlib.metadata",
        "import os",
        "",
        "try:",
        '    importlib.metadata.version("volltrack")',
        "except importlib.metadata.PackageNotFoundError:  # on Colab: install what this notebook needs, once",
        f'    source = os.environ.get("VOLLTRACK_SOURCE", "git+{repository()}@v{__version__}")',
        *choice,
        f'    %pip install --quiet "volltrack[{extra}] @ {{source}}"',
    ]
    if cls is TrainDenoiser or {"use_denoiser", "augment_denoised"} & cls.model_fields.keys():
        # Its metadata forbids the csbdeep that works, so it comes alone.
        pins = (_ROOT / "constraints.txt").read_text().splitlines()
        lines.append(
            f"    %pip install --quiet --no-deps {next(pin for pin in pins if pin.startswith('n2v=='))}"
        )
    return "\n".join([*lines, "", *_NO_STRAY])


def parameters_cell(cls: type[Parameters]) -> str:
    """Return the source of the notebook's first code cell.

    Parameters
    ----------
    cls : type
        The notebook's parameter class.
    """
    lines = []
    for title, names in (("You must set", cls.must_set), ("Often set", cls.often_set)):
        lines.append(f"# @markdown ### {title}")
        for name in names:
            field = cls.model_fields[name]
            value, kind, form = _line(field)
            lines += [f"# @markdown {field.description}", f"{name}: {kind} = {value}  # @param {form}"]
    return "\n".join(lines)


def parameters_table(cls: type[Parameters]) -> str:
    """Return the markdown above the cell: defaults of its parameters and, folded, those that are rarely set."""
    rare = cls.rarely_set()
    rows = {
        name: (f"| `{name}` | {_code(default)} |", f" {meaning} |", f" {allowed} |")
        for name, default, allowed, meaning in cls.table()
    }
    first = [default + allowed for name, (default, _, allowed) in rows.items() if name not in rare]
    others = ["".join(rows[name]) for name in rare]
    lead = "Change what you need in the cell below, then run all cells."
    if cls.name in SETTINGS:
        lead += " Left as it is, the notebook runs on sample data and says so."
    lines = [TABLE_TITLE, "", lead, "", "| parameter | default | allowed |", "|---|---|---|", *first]
    if others:
        lines += [
            *("", "<details>"),
            f"<summary>{len(others)} more, rarely set: add a line such as <code>{_example(cls)}</code> to the cell</summary>",
            *(
                "",
                "| parameter | default | meaning | allowed |",
                "|---|---|---|---|",
                *others,
                "",
                "</details>",
            ),
        ]
    return "\n".join(lines)


def _code(default: str) -> str:
    return "empty" if default in ("", "empty") else f"`{default}`"


def _example(cls: type[Parameters]) -> str:
    """Return a line that sets a rarely set parameter: the first that has a default."""
    fields = {name: cls.model_fields[name] for name in cls.rarely_set()}
    name = next(
        (name for name, field in fields.items() if field.default not in (None, [], {})), next(iter(fields))
    )
    return f"{name} = {_line(fields[name])[0]}"


def refresh(notebook: Path, cls: type[Parameters]) -> None:
    """Write the badge, the table, the parameters cell with its tag, and the setup cell of a notebook anew."""
    content = json.loads(notebook.read_text())
    cells = content["cells"]
    title = "".join(cells[0]["source"])
    title = re.sub(r"\[!\[Open in Colab\].*\)", lambda _: badge(cls.step), title)
    cells[0]["source"] = title.splitlines(keepends=True)
    last = next((c for c in cells if "".join(c["source"]).startswith("## Save and provenance")), None)
    if last and DOWNLOAD not in (text := "".join(last["source"])):
        last["source"] = f"{text.rstrip()}\n\n{DOWNLOAD}".splitlines(keepends=True)
    setup = next(c for c in cells if "VOLLTRACK_SOURCE" in "".join(c["source"]))
    setup["source"] = setup_cell(cls).splitlines(keepends=True)
    table = next(c for c in cells if "".join(c["source"]).startswith(TABLE_TITLE))
    table["source"] = parameters_table(cls).splitlines(keepends=True)
    cell = next(c for c in cells if c["cell_type"] == "code")
    cell["source"] = parameters_cell(cls).splitlines(keepends=True)
    cell["metadata"] = {"tags": ["parameters"], "cellView": "form"}
    notebook.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def _line(field: FieldInfo) -> tuple[str, str, str]:
    """Return the default, the type and Colab's form of one parameter."""
    default = field.default
    if words := choices(field):
        return json.dumps(default), "str", json.dumps(words)
    kind = next(option for option in options(field.annotation) if option is not type(None))
    if typing.get_origin(kind) is dict:
        return str(default), "dict", '{type:"raw"}'
    if (inside := list_of(field)) is not None:
        what = "numbers, such as 2, 0.5, 0.5" if inside in (int, float) else "names, with commas between"
        return json.dumps(", ".join(map(str, default or ()))), "str", _text(f"{what}; or empty")
    if kind is bool:
        return str(default), "bool", '{type:"boolean"}'
    if kind in (int, float) and not may_be_empty(field):
        return str(default), kind.__name__, _number(kind, field)
    text = json.dumps("" if default is None else str(default), ensure_ascii=False)
    return text, "str", _text("a number, or empty") if kind in (int, float) else '{type:"string"}'


def _text(hint: str) -> str:
    """Return the form of what may be empty or a list: text, with a hint where nothing is written."""
    return f'{{type:"string", placeholder:"{hint}"}}'


def _number(kind: type, field: FieldInfo) -> str:
    """Return the form of a number: a slider where it has a range that can be walked through."""
    found = limits(field)
    whole = kind is int
    low = found.get("ge", found["gt"] + whole if "gt" in found else None)
    high = found.get("le", found["lt"] - whole if "lt" in found else None)
    if low is not None and high is not None and 1 <= high - low <= 1000:
        step = 1.0 if whole else 10.0 ** (math.floor(math.log10(high - low)) - 3)
        while abs(field.default / step - round(field.default / step)) > 1e-9:
            step /= 10
        return f'{{type:"slider", min:{low:g}, max:{high:g}, step:{step:g}}}'
    bounds = "".join(f", {word}:{at}" for word, at in (("min", low), ("max", high)) if at is not None)
    return f'{{type:"{"integer" if whole else "number"}"{bounds}}}'


if __name__ == "__main__":
    folder = _ROOT / "notebooks"
    for step, parameters in NOTEBOOKS.items():
        refresh(folder / f"{step}.ipynb", parameters)
