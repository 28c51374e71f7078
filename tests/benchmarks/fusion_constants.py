"""The numbers of the fusion, and of how notebook 04 chooses `divide`: from validation cells, one data set left out at a time.

    python tests/benchmarks/fusion_constants.py runs/scores/*/seed_*      writes fusion_constants.md beside this file

A data set is left out, each number is chosen on the validation cells of the others (coordinate descent, two sweeps; of
values closer than a thousandth the present one, else the lowest), and only then the test cells of the one that was left out
are looked at: their F1 with the numbers chosen without it, beside the F1 with the present ones. Where the numbers
chosen without a data set do as well on it as the present ones, the present ones are not fitted to it.

How notebook 04 chooses is judged within the validation cells too, for it is itself a choice on them: cells are drawn with
replacement, the way is chosen on those, and scored on the cells that were not drawn (bootstrap, out of bag).
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
from fusion_rules import Case, _f1, cases_of_run, stored

from helpers.runs.steps.thresholds import CLEARLY, TRUSTED, choose_division
from helpers.segmentation import thresholds
from helpers.segmentation.fusion import DIVIDE, Rules
from helpers.segmentation.thresholds import Thresholds

TABLE = Path(__file__).with_name("fusion_constants.md")
VALUES: dict[str, tuple[float, ...]] = {
    "seen": (0.1, 0.2, 0.3, 0.4, 0.5),
    "min_depth": (0.25, 0.35, 0.5, 0.7, 0.85),
    "neck": (0.7, 0.8, 0.9, 0.95),
    "min_volume": (0.05, 0.1, 0.2, 0.3, 0.4),
    "max_contact": (1 / 6, 1 / 4, 1 / 3, 1 / 2, 2 / 3),
    "core": (0.25, 0.35, 0.5, 0.65, 0.8),
}
TRUST = (0.0, 0.5, 0.6, 0.7, 0.75, 0.8, 0.9, 1.1)
CELLS = (0, 1, 2, 3, 4)
#: What is trained on the same images is left out together.
SAME = {"embryo_few": "embryo", "stored membranes": "ovule", "900 ellipsoids": "900 cells", "900 voronoi": "900 cells"}
DRAWS = 200
#: Differences of F1 that are none.
_EQUAL = 1e-3

Found = list[tuple[np.ndarray, int]]


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
            self._known[key] = float(_f1([case.cells(rules) for case in getattr(self, cells)])[0])
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
        tried = {value: score(replace(rules, **{name: value})) for value in sorted({*values, getattr(rules, name)})}
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
        numbers = [f"{value:.3g}" + ("" if value == asdict(Rules())[n] else " *") for n, value in asdict(rules).items()]
        f1 = [np.mean([c.f1("test", r) for c in tested]) if tested else np.nan for r in (rules, Rules())]
        return f"| {left_out} | {' | '.join(numbers)} | " + " | ".join("–" if np.isnan(x) else f"{x:.3f}" for x in f1) + " |"

    for left_out in dict.fromkeys(column.data_set for column in columns.values()):
        rules = choose_rules(c for c in columns.values() if c.data_set != left_out)
        lines.append(row(left_out, rules, [c for c in columns.values() if c.data_set == left_out]))
    lines.append(row("none", choose_rules(columns.values()), []))
    return lines


@dataclass
class Choice:
    """What one run's notebook 04 could choose from."""

    data_set: str
    #: (trust, cells) → out-of-bag F1 on validation cells; and F1 on test cells.
    validation: dict[tuple[float, float], float]
    test: dict[tuple[float, float], float]


def choice_of_run(run: Path, validation: list[Case], test: list[Case]) -> Choice | None:
    """Return how well each (trust, cells) chooses for a run; None where there is nothing to choose."""
    found, own = thresholds.load(run / "thresholds.json"), run / "thresholds_stardist.json"
    if not found.divided or not own.is_file():
        return None
    alone = thresholds.load(own)
    ways: dict[str, Found] = {way: [case.cells(Rules(), way) for case in validation] for way in DIVIDE}
    tested = {way: float(_f1([case.cells(Rules(), way) for case in test])[0]) for way in DIVIDE}
    rng = np.random.default_rng(0)
    sizes = [len(cells) for cells, _ in ways["always"]]
    total: dict[tuple[float, float], list[float]] = {}
    for _ in range(DRAWS):
        drawn = [rng.multinomial(n, np.full(n, 1 / n)) if n else np.zeros(0, int) for n in sizes]
        left = [weight == 0 for weight in drawn]
        share = sum(int(w.sum()) for w in left) / max(sum(sizes), 1)
        if not share:
            continue
        within = {way: _scored(cells, drawn, 1.0) for way, cells in ways.items()}
        outside = {way: _scored(cells, left, share) for way, cells in ways.items()}
        for trust, cells in itertools.product(TRUST, CELLS):
            way = _chosen(within, alone.score, sum(sizes), trust, cells)
            total.setdefault((trust, cells), []).append(outside[way])
    reached = {way: own["score"] for way, own in found.divided.items()}
    chosen = {
        (trust, cells): _chosen(reached, alone.score, sum(sizes), trust, cells)
        for trust, cells in itertools.product(TRUST, CELLS)
    }
    return Choice(
        data_set_of(run.parent.name),
        {key: float(np.mean(values)) for key, values in total.items()},
        {key: tested[way] for key, way in chosen.items()},
    )


def _scored(found: Found, weights: list[np.ndarray], share_of_false: float) -> float:
    hits = sum((weight @ cells).mean() for (cells, _), weight in zip(found, weights, strict=True))
    false = sum((n - cells.sum(0)).mean() for cells, n in found) * share_of_false
    n_true = sum(int(weight.sum()) for weight in weights)
    return float(2 * hits / max(hits + false + n_true, 1e-9))


def _chosen(scores: Mapping[str, float], stardist: float, n_cells: int, trust: float, cells: float) -> str:
    table = pd.DataFrame({"n_true": [n_cells]})

    def one(score: float, way: str | None = None) -> Thresholds:
        return Thresholds(None, None, None, score, "f1", (0.5,), table, divide=way)

    tried = [one(scores[way], way) for way in DIVIDE]
    return str(choose_division(tried, {"stardist": one(stardist)}, trusted=trust, clearly=cells).divide)


def choice_table(choices: list[Choice]) -> list[str]:
    """Return the table of what decides between the ways to divide."""
    present = (TRUSTED, CLEARLY)
    lines = ["| left out | StarDist is trusted from F1 | cells better | F1 on its test cells | with the present numbers |"]
    lines += ["|---|---:|---:|---:|---:|"]
    for left_out in [*dict.fromkeys(choice.data_set for choice in choices), "none"]:
        scores = pd.DataFrame(
            [{"data_set": c.data_set, **c.validation} for c in choices if c.data_set != left_out]
        )
        mean = scores.groupby("data_set").mean().mean()
        equal = [key for key in mean.index if mean[key] >= mean.max() - _EQUAL]
        best = present if present in equal else equal[0]
        tested = [c for c in choices if c.data_set == left_out]
        f1 = [f"{np.mean([c.test[key] for c in tested]):.3f}" if tested else "–" for key in (best, present)]
        marks = ["" if a == b else " *" for a, b in zip(best, present, strict=True)]
        lines.append(f"| {left_out} | {best[0]:g}{marks[0]} | {best[1]:g}{marks[1]} | {f1[0]} | {f1[1]} |")
    return lines


def main() -> None:
    """Write the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("runs", nargs="+", type=Path, help="run folders, such as runs/scores/*/seed_*")
    given: Any = parser.parse_args()
    columns: dict[str, Column] = {}
    choices: list[Choice] = []
    for run in given.runs:
        if not (run / "summary.json").is_file():
            continue
        validation, test = list(cases_of_run(run, "validation")), list(cases_of_run(run))
        column = columns.setdefault(run.parent.name, Column(data_set_of(run.parent.name), [], []))
        column.validation += validation
        column.test += test
        if (choice := choice_of_run(run, validation, test)) is not None:
            choices.append(choice)
        print(run, flush=True)
    n_runs = len(choices)
    for name, cases in stored():
        columns[name] = Column(data_set_of(name), cases if name.startswith("900") else [], cases)
    columns = {name: column for name, column in columns.items() if column.validation or column.test}
    head, *body = (__doc__ or "").split("\n\n", 2)[2].strip().split("\n\n")
    lines = [
        "# The numbers of the fusion, chosen on validation cells",
        "",
        f"Made by `python tests/benchmarks/fusion_constants.py runs/scores/*/seed_*` from {n_runs} runs.",
        "",
        *head.split("\n"),
        "An asterisk marks a number that is not the present one.",
        "",
        *rules_table({n: c for n, c in columns.items() if c.validation}),
        "",
        *"\n\n".join(body).split("\n"),
        "",
        *choice_table(choices),
    ]
    TABLE.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(TABLE.read_text())


if __name__ == "__main__":
    main()
