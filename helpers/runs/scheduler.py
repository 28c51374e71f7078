"""Snakemake in a process of its own, which ends with the run that started it: ``… scheduler PID ARGUMENTS``."""

from __future__ import annotations

import sys
from pathlib import Path

from helpers.runs import forkserver
from helpers.runs.endings import end_with_parent, name_scheduler
from helpers.runs.lock import at_work, read


def main(arguments: list[str]) -> None:
    """Run Snakemake with a command line, as long as the process that is named first lives."""
    end_with_parent(int(arguments[0]))
    name_scheduler()
    batch = Path(arguments[1 + arguments[1:].index("--directory") + 1])
    steps = [one["forks"] for one in (read(batch / "graph.json") or {})["jobs"].values() if one["forks"]]
    # A single job would not gain what the server costs. It ends with this process, until which it is kept.
    _server = forkserver.start(sorted({*steps}), batch) if len(steps) > 1 else None
    from snakemake.cli import main as snakemake

    with at_work(batch / "scheduler.json"):
        snakemake(arguments[1:])


if __name__ == "__main__":
    main(sys.argv[1:])
