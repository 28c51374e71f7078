"""How often are cells and links wrong, where nobody has the truth: a random sample is judged by eye.

Cells and links are drawn from two strata, so that a few verdicts say much: *doubtful* (about which
`helpers.curation.suspects` has a reason; of a link, either end) and *plain*. Whoever judges does not see which. Each stratum's
rate counts as its share of the movie (Cochran, Sampling Techniques, 1977, chapter 5)::

    p = Σ W p_h        low = p − √Σ W² (p_h − low_h)²        high = p + √Σ W² (high_h − p_h)²

where low_h and high_h are Wilson's (1927), with the finite population corrected for, and joined as by Zou and Donner (2008,
Stat. Med. 27:1693), so that strata without an error still widen the interval. What is judged is what was found: cells and
links that are missed are in no sample.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from helpers.curation.log import Edit, active, read_log
from helpers.curation.session import LOG
from helpers.curation.state import State
from helpers.curation.suspects import find_suspects
from helpers.curation.tables import curated_tracks
from helpers.data.atomic import atomic_path
from helpers.data.movies import Movie
from helpers.data.tables import read_table, write_table
from helpers.errors import InputError, read_json

KINDS = ("cell", "link")
STRATA = ("doubtful", "plain")
#: Keys, and the verdicts that they stand for.
KEYS = {"y": "right", "n": "wrong", "?": "unsure"}
#: Part of the sample that is drawn among what is doubtful.
_DOUBTFUL = 1 / 3
_SHOWN = ["number", "kind", "frame", "label", "source_frame", "source_label", "z", "y", "x"]


@dataclass(frozen=True)
class Rate:
    """Which share of a movie's (or of several movies') cells or links is wrong.

    Attributes
    ----------
    kind : {"cell", "link"}
    population, judged, wrong, unsure : int
        In the movie; with a verdict; of these wrong; left out, as nobody could say.
    rate, low, high : float
        The share and its 95 % interval; NaN as long as a stratum has no verdict.
    """

    kind: str
    population: int
    judged: int
    wrong: int
    unsure: int
    rate: float
    low: float
    high: float

    @property
    def words(self) -> str:
        """The rate in words."""
        if self.population == 0:
            return f"{self.kind}s: there are none"
        judged = f"{self.judged} of {self.population} judged, {self.wrong} wrong, {self.unsure} unsure"
        if np.isnan(self.rate):
            return f"{self.kind}s: no error rate yet; too few are judged ({judged})"
        return (
            f"{self.kind}s: {self.rate:.1%} wrong (95 % interval {self.low:.1%} to {self.high:.1%}; {judged})"
        )


class Audit:
    """A sample and its verdicts, kept as ``audit.json`` and ``audit.csv`` in the movie's folder from the first verdict on.

    Attributes
    ----------
    folder : Path
    result : str
        Hash of the tracks and edits that are judged.
    seed : int
    population : DataFrame
        ``kind, stratum, population``.
    sample : DataFrame
        ``number, kind, stratum, frame, label, source_frame, source_label`` (of a link; else −1)``, z, y, x`` (µm)``, verdict``.
    """

    def __init__(
        self, folder: Path, result: str, seed: int, population: pd.DataFrame, sample: pd.DataFrame
    ) -> None:
        self.folder, self.result, self.seed = folder, result, seed
        self.population, self.sample = population, sample

    @property
    def open(self) -> list[int]:
        """Rows of the sample without a verdict."""
        return np.flatnonzero(self.sample["verdict"] == "").tolist()

    def judge(self, row: int, verdict: str) -> None:
        """Keep a verdict, on the disk.

        Raises
        ------
        InputError
            Neither a key nor a word of `KEYS`; or the result was edited since.
        """
        if result_on_disk(self.folder) != self.result:
            raise InputError("verdict", verdict, "the result was changed since the sample was drawn: open the audit again for a new one")  # fmt: skip
        self.sample.loc[row, "verdict"] = _verdict(verdict, row + 1)
        self.save()

    def take(self, path: Path) -> int:
        """Take the verdicts of a filled copy of ``audit.csv``, all or none; return how many it has.

        Raises
        ------
        InputError
            Rows that are not of this sample, or a verdict that is none.
        """
        given = read_table(path, "verdicts", dtype=str, keep_default_na=False)
        keys = ["number", "kind", "frame", "label"]
        if missing := [name for name in [*keys, "verdict"] if name not in given]:
            raise InputError(
                str(path), list(given), f"the columns of audit.csv; {', '.join(missing)} missing"
            )
        rows = {
            tuple(map(str, key)): row for row, key in enumerate(self.sample[keys].itertuples(index=False))
        }
        found = {}
        for *key, verdict in given[[*keys, "verdict"]].itertuples(index=False):
            if tuple(key) not in rows:
                raise InputError(str(path), " ".join(key), f"rows of {self.folder / 'audit.csv'}: this one is of another sample")  # fmt: skip
            if verdict.strip():
                found[rows[tuple(key)]] = _verdict(verdict, key[0])
        for row, verdict in found.items():
            self.sample.loc[row, "verdict"] = verdict
        return len(found)

    def save(self) -> None:
        """Write the sample, the verdicts and the rates."""
        write_table(self.sample[[*_SHOWN, "verdict"]], self.folder / "audit.csv")
        content = {
            "result": self.result,
            "seed": self.seed,
            "counts": self.counts().to_dict("records"),
            "rates": [_plain(rate) for rate in self.rates()],
            "sample": self.sample[[*_SHOWN, "stratum"]].to_dict("records"),
        }
        with atomic_path(self.folder / "audit.json") as temporary:
            temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")

    def counts(self) -> pd.DataFrame:
        """Return ``kind, stratum, population, judged, wrong, unsure``, one row per stratum."""
        verdict = self.sample["verdict"]
        found = self.sample[["kind", "stratum"]].assign(
            judged=verdict.isin(["right", "wrong"]), wrong=verdict == "wrong", unsure=verdict == "unsure"
        )
        sums = found.groupby(["kind", "stratum"]).sum().astype(int).reset_index()
        table = self.population.merge(sums, how="left", on=["kind", "stratum"])
        return table.fillna(0).astype(dict.fromkeys(["judged", "wrong", "unsure"], int))

    def rates(self) -> list[Rate]:
        """Return the rates of cells and of links."""
        return error_rates(self.counts())


def open_audit(folder: Path, state: State, raw: Movie | None = None, *, n: int = 60, seed: int = 0) -> Audit:
    """Go on with a movie's audit, or draw a new sample where there is none of this result.

    A former audit of another result is kept beside it as ``audit-1.json``, ``audit-1.csv`` and ``audit-1.html``, and so on.

    Parameters
    ----------
    folder : Path
        ``<run>/movies/<id>``.
    state : State
        What is judged: with all edits.
    raw : Movie, optional
        For the suspects.
    n : int
        Cells, and links, in a new sample.
    seed : int
        Of a new sample.

    Raises
    ------
    InputError
        A damaged audit; `n` below 1.
    """
    result = result_of(folder, state.done)
    if (kept := folder / "audit.json").is_file():
        content = read_json(kept, "delete it and audit.csv: a new sample is drawn")
        if content.get("result") == result:
            return _read(folder, content)
        _put_aside(folder)
    if n < 1 or seed < 0:
        name, value = ("sample", n) if n < 1 else ("seed", seed)
        raise InputError(name, value, f"a whole number, {int(n < 1)} or more")
    everything = population_of(state, raw)
    numbers = everything.groupby(["kind", "stratum"]).size().rename("population").reset_index()
    return Audit(folder, result, seed, numbers, draw(everything, n, seed).assign(verdict=""))


def _read(folder: Path, content: dict[str, Any]) -> Audit:
    try:
        population = pd.DataFrame(content["counts"], columns=["kind", "stratum", "population"])
        sample = pd.DataFrame(content["sample"], columns=[*_SHOWN, "stratum"]).assign(verdict="")
        if sample.isna().to_numpy().any() or population.isna().to_numpy().any():
            raise ValueError("incomplete")
        audit = Audit(folder, content["result"], content["seed"], population, sample)
    except (KeyError, TypeError, ValueError) as error:
        path = folder / "audit.json"
        raise InputError(str(path), repr(error), "delete it and audit.csv: a new sample is drawn") from error
    if (path := folder / "audit.csv").is_file():
        audit.take(path)
    return audit


def _put_aside(folder: Path) -> None:
    k = 1
    while (folder / f"audit-{k}.json").exists():
        k += 1
    for suffix in (".csv", ".html", ".json"):
        if (path := folder / f"audit{suffix}").exists():
            path.rename(folder / f"audit-{k}{suffix}")


def population_of(state: State, raw: Movie | None = None) -> pd.DataFrame:
    """Return every cell that is tracked and every link, with its stratum; columns as of `Audit.sample`."""
    objects = curated_tracks(state, raw).objects
    suspects = find_suspects(state, raw)
    doubtful = set(zip(suspects["frame"].tolist(), suspects["label"].tolist(), strict=True))
    at = ["frame", "label", "z", "y", "x"]
    cells = objects[at].assign(kind="cell", source_frame=-1, source_label=-1)
    pairs = pd.DataFrame(sorted(state.graph.links()), columns=["source", "target"], dtype=np.int64)
    by_id = objects.set_index("id")[at]
    target, source = (by_id.loc[pairs[name]].reset_index(drop=True) for name in ("target", "source"))
    links = target.assign(kind="link", source_frame=source["frame"], source_label=source["label"])
    links[["z", "y", "x"]] = (target[["z", "y", "x"]] + source[["z", "y", "x"]]) / 2
    found = pd.concat([cells, links], ignore_index=True)
    ends = zip(found["frame"], found["label"], found["source_frame"], found["source_label"], strict=True)
    odd = [(t, label) in doubtful or (s, other) in doubtful for t, label, s, other in ends]
    return found.assign(stratum=np.where(odd, *STRATA))


def draw(population: pd.DataFrame, n: int, seed: int) -> pd.DataFrame:
    """Draw up to `n` cells and `n` links, a third of them doubtful where there are so many, in random order."""
    rng = np.random.default_rng(seed)
    chosen = []
    for kind in KINDS:
        rows = population["kind"] == kind
        doubtful, plain = (np.flatnonzero(rows & (population["stratum"] == stratum)) for stratum in STRATA)
        n_plain = min(n - min(round(n * _DOUBTFUL), len(doubtful)), len(plain))
        chosen += [rng.choice(doubtful, min(n - n_plain, len(doubtful)), replace=False)]
        chosen += [rng.choice(plain, n_plain, replace=False)]
    sample = population.iloc[rng.permutation(np.concatenate(chosen))].reset_index(drop=True)
    return sample.assign(number=np.arange(1, len(sample) + 1))[[*_SHOWN, "stratum"]]


def wilson(wrong: int, n: int, population: int | None = None) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a share, of `n` drawn without replacement from `population` (None: from infinitely many)."""
    if n == 0:
        return 0.0, 1.0
    p = wrong / n
    if population is not None and n >= population:
        return p, p
    size = n if population is None else n * (population - 1) / (population - n)
    z2 = 1.959963984540054**2
    middle = (p + z2 / (2 * size)) / (1 + z2 / size)
    half = np.sqrt(z2 * (p * (1 - p) / size + z2 / (4 * size**2))) / (1 + z2 / size)
    return max(0.0, float(middle - half)), min(1.0, float(middle + half))


def error_rates(counts: pd.DataFrame) -> list[Rate]:
    """Return the rates of cells and of links from the counts of strata, of one movie or of several below each other."""
    return [_error_rate(kind, counts[counts["kind"] == kind]) for kind in KINDS]


def _error_rate(kind: str, strata: pd.DataFrame) -> Rate:
    total, judged, wrong, unsure = (
        int(strata[name].sum()) for name in ("population", "judged", "wrong", "unsure")
    )
    if total == 0 or (strata["judged"] == 0).any():
        return Rate(kind, total, judged, wrong, unsure, np.nan, np.nan, np.nan)
    weights = strata["population"].to_numpy(float) / total
    shares = (strata["wrong"] / strata["judged"]).to_numpy(float)
    bounds = [wilson(*map(int, row)) for row in strata[["wrong", "judged", "population"]].to_numpy()]
    low, high = np.array(bounds).T
    rate = float(weights @ shares)
    below, above = (float(np.linalg.norm(weights * (shares - bound))) for bound in (low, high))
    return Rate(kind, total, judged, wrong, unsure, rate, max(0.0, rate - below), min(1.0, rate + above))


def result_of(folder: Path, edits: Iterable[Edit]) -> str:
    """Return a hash of the tracks, and of the edits in force that change them; confirming changes nothing."""
    parts = [hashlib.blake2b((folder / "tracks.csv").read_bytes()).hexdigest()]
    for edit in edits:
        content = edit.changes.plain()
        if content.keys() - {"marked", "unmarked"}:
            parts.append(json.dumps(content, sort_keys=True))
    return hashlib.blake2b("\n".join(parts).encode(), digest_size=8).hexdigest()


def result_on_disk(folder: Path) -> str:
    """Return the same of what lies in a movie's folder."""
    log = folder / LOG
    return result_of(folder, active(read_log(log).edits)[0] if log.is_file() else [])


def kept_counts(folder: Path) -> pd.DataFrame | None:
    """Return the counts of a movie's audit; None where there is none of the present result.

    Raises
    ------
    InputError
        A damaged audit.
    """
    if not (folder / "audit.json").is_file() or not (folder / "tracks.csv").is_file():
        return None
    content = read_json(folder / "audit.json", "delete it and audit.csv: a new sample is drawn")
    return _read(folder, content).counts() if content.get("result") == result_on_disk(folder) else None


def _verdict(text: str, number: object) -> str:
    known = {**KEYS, **{word: word for word in KEYS.values()}}
    if (verdict := known.get(text.strip().lower())) is None:
        raise InputError(f"verdict of {number}", text, "y (right), n (wrong), ? (unsure) or these words")
    return verdict


def _plain(rate: Rate) -> dict[str, Any]:
    return {name: None if value != value else value for name, value in vars(rate).items()}
