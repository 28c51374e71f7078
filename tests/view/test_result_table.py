"""What a step found, as a table: nothing is lost, and numbers have the digits that people read."""

from __future__ import annotations

import re

import pandas as pd

from helpers.view.result_table import ResultTable, result_table

RESULTS = {
    "cells": 418,
    "median_period_s": 205.71428571428572,
    "boundary_error_um": 1.305312720134566e-07,
    "seconds": {"unet": 2.562, "total_s": 123456.789},
    "written": ["analysis/a.csv", "analysis/b.csv"],
    "warnings": [],
    "optimal": True,
    "seed": None,
    "remark": "<b> & more",
}


def test_numbers_have_few_digits_and_names_their_units() -> None:
    text = repr(result_table(RESULTS))
    for name, value in (
        ("cells", "418"),
        (r"median period \(s\)", "205.7"),
        (r"boundary error \(µm\)", "1.305e-07"),
        ("seconds", r"unet: 2.562; total \(s\): 123457"),
        ("written", "analysis/a.csv, analysis/b.csv"),
        ("warnings", "none"),
        ("optimal", "yes"),
        ("seed", "–"),
    ):
        assert re.search(rf"^{name} +{value}$", text, re.MULTILINE), (name, text)
    assert not re.search(r"\d\.\d{6}|[{}\[\]]", text)


def test_long_texts_are_broken_into_lines_that_stand_under_each_other() -> None:
    lines = repr(result_table({"a": 1, "warnings": ["word " * 40, "second"]})).splitlines()
    assert max(map(len, lines)) <= 110
    assert lines[-1] == " " * 10 + "second"


def test_results_of_several_methods_stand_side_by_side() -> None:
    table = result_table({"vollseg": {"f1_50": 0.98692, "cells": 415}, "unet": {"f1_50": 0.95611}}).frame
    assert list(table.columns) == ["vollseg", "unet"]
    assert table.loc["F1 (IoU 0.5)"].tolist() == ["0.9869", "0.9561"]
    assert table.loc["cells"].tolist() == ["415", "–"]


def test_a_browser_gets_the_same_table_as_text_that_is_no_markup() -> None:
    page = result_table(RESULTS | {"warnings": ["w" * 120, "one more"]})._repr_html_()
    assert "&lt;b&gt; &amp; more" in page
    assert "w" * 120 + "\none more" in page, "each in a line of its own"
    assert page.count("<tr>") == len(RESULTS)


def test_no_results_are_an_empty_table() -> None:
    assert "<table" in result_table({})._repr_html_()


def test_a_table_whose_rows_are_numbered_is_shown_too() -> None:
    frame = pd.DataFrame({"score": ["0.5"], "reason": ["long " * 30]}, index=[1])
    assert "long " * 30 in ResultTable(frame).html() and ">1</th>" in ResultTable(frame).html()
