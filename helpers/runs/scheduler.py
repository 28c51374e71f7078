"""Snakemake in a process of its own, which ends with the run that started it: ``… scheduler PID ARGUMENTS``."""

from __future__ import annotations

import sys
from pathlib import Path

from helpers.runs.lock import at_work, end_with


def main(arguments: list[str]) -> None:
    """Run Snakemake with a command line, as long as the process that is named first lives."""
    from snakemake.cli import main as snakemake

    end_with(int(arguments[0]))
    batch = Path(arguments[1 + arguments[1:].index("--directory") + 1])
    with at_work(batch / "scheduler.json"):
        snakemake(arguments[1:])


if __name__ == "__main__":
    main(sys.argv[1:])
