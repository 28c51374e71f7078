"""The numbers of the fusion from validation cells, one data set left out at a time.

    python tests/benchmarks/fusion_constants.py runs/scores/*/seed_*      writes fusion_constants.md beside this file

A data set is left out, each number is chosen on the validation cells of the others (coordinate descent, two sweeps; of
values closer than a thousandth the present one, else the lowest), and only then the test cells of the one that was left out
are looked at: their F1 with the numbers chosen without it, beside the F1 with the present ones. Where the numbers
chosen without a data set do as well on it as the present ones, the present ones are not fitted to it.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from fusion_rules import Case, cases_of_run, pooled_f1, stored

from helpers.segmentation.fusion import Rules

TABLE = Path(__file__).with_name("fusion_constants.md")
VALUES: dict[str, tuple[float, ...]] = {
    "seen": (0.1, 0.2, 0.3, 0.4, 0.5),
    "min_depth": (0.25, 0.35, 0.5, 0.7, 0.85),
    "neck": (0.7, 0.8, 0.9, 0.95),
    "min_volume": (0.05, 0.1, 0.2, 0.3, 0.4),
    "max_contact": (1 / 6, 1 / 4, 1 / 3, 1 / 2, 2 / 3),
    "core": (0.25, 0.35, 0.5, 0.65, 0.8),
}
#: What is trained on the same images is left out together.
SAME = {
    "embryo_few": "embryo",
    "stored membranes": "ovule",
    "900 ellipsoids": "900 cells",
    "900 voronoi": "900 cells",
}
#: Differences of F1 that are none.
_EQUAL = 1e-3


@dataclass
class Column:
    """One experiment and foreground, all seeds: cases to choose on, and cases to score."""

    data_set: str
    validation: list[Case]
    test: list[Case]

    def __post_init__(self) -> None:
        self._known: dict[tuple[str, Rules], float] = {}

    def f1(self, cells: str, rules: Rules) -> float:
        """Return F1, mean of IoU 0.5 and 0.7, of all cells of the column together."""
        key = (cells, rules)
        if key not in self._known:
            self._known[key] = float(pooled_f1([case.cells(rules) for case in getattr(self, cells)])[0])
        return self._known[key]


def data_set_of(name: str) -> str:
    """Return the data set of a column: its experiment, whatever the foreground."""
    name = name.removesuffix("_eroded").removesuffix("_whole")
    return SAME.get(name, name)


def choose_rules(columns: Iterable[Column], sweeps: int = 2) -> Rules:
    """Choose every number on the validation cells of `columns`, each data set with the same weight."""
    frame = pd.DataFrame([(c.data_set, c) for c in columns], columns=["data_set", "column"])

    def score(rules: Rules) -> float:
        f1 = frame["column"].map(lambda column: column.f1("validation", rules))
        return float(f1.groupby(frame["data_set"]).mean().mean())

    rules = Rules()
    for _, (name, values) in itertools.product(range(sweeps), VALUES.items()):
        tried = {
            value: score(replace(rules, **{name: value})) for value in sorted({*values, getattr(rules, name)})
        }
        best = max(tried.values())
        if tried[getattr(rules, name)] < best - _EQUAL:
            rules = replace(rules, **{name: min(v for v, s in tried.items() if s >= best - _EQUAL)})
    return rules


def rules_table(columns: Mapping[str, Column]) -> list[str]:
    """Return the table of the numbers of `Rules`."""
    names = list(VALUES)
    lines = [f"| left out | {' | '.join(names)} | F1 on its test cells | with the present numbers |"]
    lines += ["|---|" + "---:|" * (len(names) + 2)]

    def row(left_out: str, rules: Rules, tested: list[Column]) -> str:
        numbers = [
            f"{value:.3g}" + ("" if value == asdict(Rules())[n] else " *")
            for n, value in asdict(rules).items()
        ]
        f1 = [np.mean([c.f1("test", r) for c in tested]) if tested else np.nan for r in (rules, Rules())]
        return (
            f"| {left_out} | {' | '.join(numbers)} | "
            + " | ".join("–" if np.isnan(x) else f"{x:.3f}" for x in f1)
            + " |"
        )

    for left_out in dict.fromkeys(column.data_set for column in columns.values()):
        rules = choose_rules(c for c in columns.values() if c.data_set != left_out)
        lines.append(row(left_out, rules, [c for c in columns.values() if c.data_set == left_out]))
    lines.append(row("none", choose_rules(columns.values()), []))
    return lines


def main() -> None:
    """Write the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("runs", nargs="+", type=Path, help="run folders, such as runs/scores/*/seed_*")
    given: Any = parser.parse_args()
    columns: dict[str, Column] = {}
    n_runs = 0
    for run in given.runs:
        if not (run / "summary.json").is_file():
            continue
        column = columns.setdefault(run.parent.name, Column(data_set_of(run.parent.name), [], []))
        column.validation += cases_of_run(run, "validation")
        column.test += cases_of_run(run)
        n_runs += 1
    for name, cases in stored():
        columns[name] = Column(data_set_of(name), cases if name.startswith("900") else [], cases)
    columns = {name: column for name, column in columns.items() if column.validation or column.test}
    explained = (__doc__ or "").split("\n\n")[2].strip()
    lines = [
        "# The numbers of the fusion, chosen on validation cells",
        "",
        f"Made by `python tests/benchmarks/fusion_constants.py runs/scores/*/seed_*` from {n_runs} runs.",
        "",
        *explained.split("\n"),
        "An asterisk marks a number that is not the present one.",
        "",
        *rules_table({n: c for n, c in columns.items() if c.validation}),
    ]
    TABLE.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(TABLE.read_text())


if __name__ == "__main__":
    main()
