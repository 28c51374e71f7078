"""Snakemake in a process of its own, which ends with the run that started it: ``… scheduler PID ARGUMENTS``."""

from __future__ import annotations

import sys
from pathlib import Path

from helpers.runs.endings import end_with_parent, name_scheduler
from helpers.runs.lock import at_work


def main(arguments: list[str]) -> None:
    """Run Snakemake with a command line, as long as the process that is named first lives."""
    end_with_parent(int(arguments[0]))
    name_scheduler()
    from snakemake.cli import main as snakemake

    batch = Path(arguments[1 + arguments[1:].index("--directory") + 1])
    with at_work(batch / "scheduler.json"):
        snakemake(arguments[1:])


if __name__ == "__main__":
    main(sys.argv[1:])
