"""Error rates from a sample: the intervals, the sample, what is kept, and the ways in."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from helpers.__main__ import main
from helpers.curation import Cell, Curation, confirming
from helpers.curation.audit import STRATA, draw, error_rates, kept_counts, open_audit, population_of, wilson
from helpers.curation.files import state_on_disk
from helpers.errors import InputError
from helpers.runs.audit import audit
from helpers.view.audit import AuditPanel, Strips


def counts(**rows: tuple[int, int, int]) -> pd.DataFrame:
    """Return counts of links: population, judged, wrong of each stratum."""
    table = pd.DataFrame.from_dict(rows, orient="index", columns=["population", "judged", "wrong"])
    return table.rename_axis("stratum").reset_index().assign(kind="link", unsure=0)


@pytest.mark.parametrize("n", [1, 7, 60, 1000])
def test_wilson_is_that_of_scipy(n: int) -> None:
    for k in sorted({0, 1, n // 3, n - 1, n}):
        theirs = binomtest(k, n).proportion_ci(method="wilson")
        assert wilson(k, n) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_wilson_without_replacement() -> None:
    assert wilson(3, 60, 10**9) == pytest.approx(wilson(3, 60), abs=1e-6)
    low, high = wilson(3, 60, 100)
    assert wilson(3, 60)[0] < low < 3 / 60 < high < wilson(3, 60)[1]
    assert wilson(3, 60, 60) == (0.05, 0.05), "all are judged: nothing is left to chance"
    assert wilson(0, 0) == (0.0, 1.0)


def test_one_stratum_is_wilson_and_two_are_weighted() -> None:
    rate = error_rates(counts(plain=(10**9, 60, 3)))[1]
    assert (rate.rate, rate.low, rate.high) == pytest.approx((0.05, *wilson(3, 60)), abs=1e-6)
    rate = error_rates(counts(doubtful=(100, 20, 10), plain=(900, 40, 0)))[1]
    assert rate.rate == pytest.approx(0.1 * 0.5) and (rate.judged, rate.wrong) == (60, 10)
    assert rate.high > 0.9 * wilson(0, 40, 900)[1], "a stratum without an error is not free of doubt"
    assert "5.0% wrong" in rate.words


def test_without_verdicts_in_a_stratum_there_is_no_rate() -> None:
    cells, links = error_rates(counts(doubtful=(100, 0, 0), plain=(900, 40, 0)))
    assert np.isnan(links.rate) and "no error rate yet" in links.words
    assert cells.words == "cells: there are none"


def test_the_rate_is_unbiased_and_its_interval_holds_the_truth() -> None:
    """Fifteen in a hundred are doubtful, of which 40 % are wrong, and 2 % of the others."""
    stratum = np.where(np.arange(500) < 75, *STRATA)
    wrong = np.zeros(500, bool)
    wrong[:30] = wrong[75:84] = True
    population = pd.DataFrame({"kind": "link", "stratum": stratum, "frame": 0, "label": np.arange(500)})
    for name in ("source_frame", "source_label", "z", "y", "x"):
        population[name] = 0
    found = []
    for seed in range(150):
        sample = draw(population, 90, seed)
        by = sample.assign(wrong=wrong[sample["label"]]).groupby("stratum")["wrong"].agg(["size", "sum"])
        rows = {name: (int((stratum == name).sum()), *by.loc[name].tolist()) for name in STRATA}
        found.append(error_rates(counts(**rows))[1])
    rates = np.array([rate.rate for rate in found])
    assert abs(rates.mean() - wrong.mean()) < 3 * rates.std() / np.sqrt(len(rates))
    covered = np.mean([rate.low <= wrong.mean() <= rate.high for rate in found])
    assert 0.92 <= covered <= 0.99


def test_a_sample_is_a_third_doubtful_and_repeatable(flat: Path) -> None:
    population = population_of(state_on_disk(flat))
    assert population.groupby("kind").size().to_dict() == {"cell": 14, "link": 9}
    assert (population["stratum"] == "plain").sum() > 0 < (population["stratum"] == "doubtful").sum()
    sample = draw(population, 6, seed=1)
    assert sample.equals(draw(population, 6, seed=1)) and not sample.equals(draw(population, 6, seed=2))
    cells = sample[sample["kind"] == "cell"]
    plain = int(((population["kind"] == "cell") & (population["stratum"] == "plain")).sum())
    assert len(cells) == 6 and (cells["stratum"] == "plain").sum() == min(4, plain)
    everything = draw(population, 1000, seed=1)
    assert len(everything) == 23 and not everything.duplicated(["kind", "frame", "label"]).any()


def test_a_movie_without_cells(tmp_path: Path) -> None:
    from tests.curation.curated_movies import write_cells

    folder = write_cells(tmp_path / "movie", labels=np.zeros((3, 1, 20, 20), np.int32), links=[])
    found = open_audit(folder, state_on_disk(folder))
    assert len(found.sample) == 0 and [rate.words for rate in found.rates()][1] == "links: there are none"


def test_verdicts_are_kept_and_another_result_draws_anew(flat: Path) -> None:
    first = open_audit(flat, state_on_disk(flat), n=4, seed=3)
    assert not (flat / "audit.csv").exists(), "who only looks leaves nothing"
    first.judge(0, "n")
    first.judge(2, "right")
    again = open_audit(flat, state_on_disk(flat), n=50, seed=9)
    assert again.sample["verdict"].tolist() == first.sample["verdict"].tolist() and again.seed == 3
    assert again.open == [1, *range(3, 8)]
    with Curation(flat, "ann") as curation:
        curation.do("confirm", **confirming.frame(curation.state, 0))
    assert len(open_audit(flat, state_on_disk(flat)).open) == 6, "confirming changes nothing"
    assert kept_counts(flat) is not None
    with Curation(flat, "ann") as curation:
        curation.do("remove", cell=Cell(0, 2))
    assert kept_counts(flat) is None
    with pytest.raises(InputError, match="changed since the sample was drawn"):
        again.judge(1, "y")
    new = open_audit(flat, state_on_disk(flat), n=4, seed=3)
    assert len(new.open) == len(new.sample) and (flat / "audit-1.csv").exists()


def test_counts_and_rates_are_written(flat: Path) -> None:
    found = open_audit(flat, state_on_disk(flat), n=1000)
    for row, kind in enumerate(found.sample["kind"]):
        found.judge(row, "wrong" if kind == "cell" and found.sample["frame"][row] == 0 else "right")
    cells, links = json.loads((flat / "audit.json").read_text())["rates"]
    assert (cells["rate"], cells["low"], cells["high"]) == pytest.approx((3 / 14,) * 3)
    assert links["rate"] == links["high"] == 0.0 and links["judged"] == 9
    written = pd.read_csv(flat / "audit.csv")
    assert "stratum" not in written and len(written) == 23, "whoever judges does not see what is doubtful"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.assign(verdict="perhaps"), r"verdict of 1 = 'perhaps'.*y \(right\)"),
        (lambda t: t.assign(label=99), "another sample"),
        (lambda t: t.drop(columns="verdict"), "verdict missing"),
    ],
)
def test_a_wrong_table_of_verdicts_changes_nothing(flat: Path, tmp_path: Path, change, words: str) -> None:
    found = open_audit(flat, state_on_disk(flat), n=3)
    found.save()
    change(pd.read_csv(flat / "audit.csv")).to_csv(tmp_path / "filled.csv", index=False)
    with pytest.raises(InputError, match=words):
        found.take(tmp_path / "filled.csv")
    assert (found.sample["verdict"] == "").all()


def test_a_damaged_audit_is_told(flat: Path) -> None:
    found = open_audit(flat, state_on_disk(flat), n=3)
    found.save()
    content = json.loads((flat / "audit.json").read_text())
    del content["sample"][0]["label"]
    for text in ("{", json.dumps(content), json.dumps({"result": content["result"]})):
        (flat / "audit.json").write_text(text)
        with pytest.raises(InputError, match="delete it and audit"):
            open_audit(flat, state_on_disk(flat))


@pytest.fixture
def run_dir(flat: Path, tmp_path: Path) -> Path:
    shutil.copytree(flat, tmp_path / "run" / "movies" / "m")
    return tmp_path / "run"


def test_the_command_asks_and_goes_on(run_dir: Path) -> None:
    asked: list[str] = []
    keys = iter(["y", "maybe", "N", "?", "q"])

    def ask(text: str) -> str:
        asked.append(text)
        return next(keys)

    lines = list(audit(run_dir, n=2, ask=ask))
    assert "1 have no verdict yet" in "\n".join(lines) and asked[1] == asked[2]
    table = pd.read_csv(run_dir / "movies" / "m" / "audit.csv", keep_default_na=False)
    assert table["verdict"].tolist() == ["right", "wrong", "unsure", ""]
    page = (run_dir / "movies" / "m" / "audit.html").read_text()
    assert page.count("data:image/png;base64,") == 4 and 'src="http' not in page
    keys, asked = iter(["y"]), []
    assert not any("no verdict yet;" in line for line in audit(run_dir, ask=ask)) and len(asked) == 1


def test_the_command_line_takes_a_filled_table(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", str(run_dir), "--sample", "3"]) == 0
    assert "6 have no verdict yet" in capsys.readouterr().out
    filled = run_dir / "filled.csv"
    pd.read_csv(run_dir / "movies" / "m" / "audit.csv").assign(verdict="y").to_csv(filled, index=False)
    assert main(["audit", str(run_dir), "--verdicts", str(filled)]) == 0
    said = capsys.readouterr().out
    assert "6 verdicts taken" in said and "cells: 0.0% wrong" in said
    assert main(["audit", str(run_dir), "--movie", "n"]) == 2
    assert "movie = 'n'" in capsys.readouterr().err
    assert (
        main(["audit", str(run_dir / "movies")]) == 2 and "run notebook 10_track" in capsys.readouterr().err
    )


def test_buttons_judge_and_go_back(flat: Path) -> None:
    state = state_on_disk(flat)
    panel = AuditPanel(open_audit(flat, state, n=1), Strips(state))
    first, picture = panel.title.value, bytes(panel.image.value)
    assert first.startswith("<b>1 of 2</b>") and picture.startswith(b"\x89PNG")
    panel.buttons["wrong"].click()
    assert panel.title.value.startswith("<b>2 of 2</b>")
    panel.buttons["back"].click()
    assert panel.title.value == first + " – wrong so far" and bytes(panel.image.value) == picture
    for name in ("right", "unsure"):
        panel.buttons[name].click()
    assert panel.title.value == "<b>All 2 are judged.</b>"
    reopened = AuditPanel(open_audit(flat, state), Strips(state))
    assert reopened.title.value == panel.title.value and "judged" in reopened.message.value


def test_strips_mark_what_is_asked_about(written: dict[int, Path]) -> None:
    state = state_on_disk(written[3])
    for row in population_of(state).iloc[[0, 9, 16, 22]].itertuples():
        axes = Strips(state).figure(row).axes
        marked = {a.get_title() for a in axes if any(line.get_gid() == "marked" for line in a.collections)}
        frames = [row.frame] if row.kind == "cell" else [row.frame, row.source_frame]
        assert marked == {f"frame {t}" for t in frames}
