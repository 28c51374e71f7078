"""A notebook's kernel, which ends with the job that started it: ``… kernel PID ARGUMENTS``."""

from __future__ import annotations

import sys

from helpers.runs.endings import end_with_parent
from helpers.runs.forkserver import is_forked


def main(arguments: list[str]) -> None:
    """Run an IPython kernel with a command line, as long as the process that is named first lives."""
    if not is_forked():  # a fork ends with who asked for it
        end_with_parent(int(arguments[0]))
    from ipykernel.kernelapp import launch_new_instance

    launch_new_instance(arguments[1:])


if __name__ == "__main__":
    main(sys.argv[1:])
