"""Tables are written as people read them: six significant digits, and every digit of what is whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from helpers.data.tables import as_csv, read_table, write_table
from helpers.errors import InputError


def test_measures_have_six_digits_and_whole_numbers_all_of_theirs(tmp_path: Path) -> None:
    table = pd.DataFrame(
        {
            "id": [1_234_567, 70_000_001],
            "y": [10_000.123, 0.000012345678],
            "mother_id": [np.nan, 1_234_567.0],
            "intensity_sum": np.array([123_456_789.0, 5.0]),
            "mixed": [0.1 + 0.2, "a, b"],
            "ratio": [np.inf, 2 / 3],
            "divides": [True, False],
            "none": [np.nan, None],
        }
    )
    write_table(table, tmp_path / "new" / "table.csv")
    assert (tmp_path / "new" / "table.csv").read_text() == as_csv(table)
    assert as_csv(table).splitlines() == [
        "id,y,mother_id,intensity_sum,mixed,ratio,divides,none",
        "1234567,10000.1,,123456789,0.3,inf,True,",
        '70000001,1.23457e-05,1234567,5,"a, b",0.666667,False,',
    ]
    assert table["mixed"][0] == 0.1 + 0.2, "the table itself stays as it was"


def test_what_is_read_is_written_again_to_the_last_byte(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    table = pd.DataFrame(10.0 ** random.uniform(-12, 12, (2000, 3)) * random.choice([-1, 1], (2000, 3)))
    write_table(table.set_axis(list("zyx"), axis=1), tmp_path / "once.csv")
    write_table(read_table(tmp_path / "once.csv"), tmp_path / "twice.csv")
    assert (tmp_path / "once.csv").read_bytes() == (tmp_path / "twice.csv").read_bytes()


def test_a_table_that_cannot_be_written_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(InputError, match="cannot be written"):
        write_table(pd.DataFrame({"a": [1]}), tmp_path / "file" / "table.csv")
    assert (tmp_path / "file").read_text() == "no folder"
