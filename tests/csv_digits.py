"""How many digits the numbers in tables have."""

from __future__ import annotations

import csv
import re
from pathlib import Path

_DECIMAL = re.compile(r"-?(\d*\.\d+|\d+(?=e))(?:e[-+]?\d+)?")


def assert_six_digits(folder: Path) -> None:
    """Assert that no decimal number in a CSV file below a folder has more than six significant digits."""
    seen = 0
    for path in folder.rglob("*.csv"):
        with path.open(newline="", encoding="utf-8") as stream:
            for row in csv.reader(stream):
                for number in (
                    number for cell in row for number in cell.split(";") if _DECIMAL.fullmatch(number)
                ):
                    digits = re.sub(r"e.*|[-.]", "", number).lstrip("0")
                    assert len(digits) <= 6, f"{path.relative_to(folder)}: {number}"
                    seen += 1
    assert seen
