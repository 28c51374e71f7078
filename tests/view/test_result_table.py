"""What a step found, as a table: nothing is lost, and numbers have the digits that people read."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

from helpers.view.result_table import ResultTable, ranges, result_table, small_table

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
        ("seconds", r"U-Net: 2.562; total \(s\): 123457"),
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
    assert list(table.columns) == ["VollSeg", "U-Net"]
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


def test_a_table_is_shown_with_whole_texts_and_without_numbers_of_rows() -> None:
    rows = pd.DataFrame(
        {"method": ["unet"], "f1_50": [0.98567], "reason": ["long " * 30], "mean_speed_um_per_min": [np.nan]}
    )
    shown = small_table(rows)
    assert list(shown.frame.columns) == ["method", "F1 (IoU 0.5)", "reason", "mean speed (µm/min)"]
    assert shown.frame.values.tolist() == [["U-Net", "0.9857", "long " * 30, "–"]]
    assert shown.html().count("<th") == 4 and shown.html().count("<td") == 4
    assert "long " * 30 in repr(shown) and len(repr(shown).splitlines()) == 2
    named = small_table(rows.set_index("method")[["f1_50"]], named=True)
    assert re.findall(r">([^<]+)<", named.html()) == ["F1 (IoU 0.5)", "U-Net", "0.9857"]


def test_ranges_are_of_what_is_measured() -> None:
    table = pd.DataFrame(
        {"id": [7, 8, 9], "volume_um3": [1.0, np.nan, 30.0], "n_voxels": [4, 5, 9], "name": "text"}
    )
    found = ranges(table).frame
    assert found.index.tolist() == ["volume (µm³)", "n voxels"]
    assert found.loc["volume (µm³)"].to_dict() == {"n": "2", "min": "1", "median": "15.5", "max": "30"}
    assert found.loc["n voxels", "median"] == "5"


def test_a_table_without_rows_and_columns_is_shown():
    assert small_table(pd.DataFrame()).html().startswith("<table>")
    assert small_table(pd.DataFrame(columns=["method", "f1_50"])).html().count("<tr>") == 1
