"""The command line: ``python -m helpers new|run|status|report|share|gallery|replay|audit|adopt|export|serve|check|columns|help``."""

from __future__ import annotations

import argparse
import contextlib
import errno
import io
import os
import sys
import time
from collections.abc import Sequence

from helpers.errors import InputError
from helpers.serve.options import add_arguments


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0, 1 where a notebook failed, 2 where the input is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m helpers", description="Volltrack: from raw 3D movies to measured cells."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    new = commands.add_parser(
        "new", help="write an experiment, with every parameter explained, for a folder of images"
    )
    new.add_argument("folder", metavar="FOLDER")
    run = commands.add_parser("run", help="run an experiment's notebooks; what is done already is skipped")
    run.add_argument("--only", metavar="STEP", help="run one step, such as segment or 06_segment")
    run.add_argument("--from", metavar="STEP", dest="start", help="run this step and those after it")
    run.add_argument("--dry-run", action="store_true", help="say what would run, and why")
    run.add_argument(
        "--cores",
        type=_number,
        metavar="N",
        help="cores to share out among jobs; by default all. Trainings use all, for the same network",
    )
    run.add_argument(
        "--gpus",
        type=_number,
        metavar="N",
        help="GPUs to share out among jobs that run networks, one each; by default all",
    )
    run.add_argument(
        "--profile", metavar="P", help="run on a cluster: a folder with Snakemake's config.yaml, or 'slurm'"
    )
    status = commands.add_parser("status", help="say of each step whether it is done, and if not, why")
    status.add_argument(
        "--verify", action="store_true", help="read all results, and say which files are damaged or changed"
    )
    report = commands.add_parser("report", help="write the HTML report of an experiment again")
    report.add_argument(
        "--zip",
        action="store_true",
        help="and pack it with the executed notebooks (HTML) and the tables, to pass on",
    )
    report.add_argument(
        "--pdf", action="store_true", help="and print it as PDF, by a browser that is installed"
    )
    for command in (run, status, report):
        command.add_argument("experiment", metavar="EXPERIMENT.yaml")
        command.add_argument("--run-dir", help="folder of the results, instead of the file's")
    share = commands.add_parser(
        "share", help="write the tracks of a run as web pages that turn them in 3D, offline"
    )
    share.add_argument("run_dir", metavar="RUN", help="the run folder, such as runs/demo")
    share.add_argument("--movie", metavar="ID", help="one movie of the run, instead of all")
    gallery = commands.add_parser(
        "gallery", help="copy the executed notebooks of runs, with small pictures, to show what comes out"
    )
    gallery.add_argument("runs", metavar="RUN", nargs="+", help="the run folders, such as runs/demo")
    gallery.add_argument(
        "--execute",
        action="store_true",
        help="execute the notebooks that no run holds, on a copy of the first run",
    )
    gallery.add_argument("--into", metavar="FOLDER", default="gallery", help="gallery")
    replay = commands.add_parser(
        "replay", help="make the curated labels and tracks of a run again, from its logs of edits"
    )
    replay.add_argument("run_dir", metavar="RUN", help="the run folder, such as runs/demo")
    replay.add_argument("--movie", metavar="ID", help="one movie of the run, instead of all that have a log")
    replay.add_argument("--merge", metavar="LOG", help="add the edits of a second person's edits.jsonl")
    audit = commands.add_parser(
        "audit", help="judge a random sample of cells and links by eye: error rates where there is no truth"
    )
    audit.add_argument("run_dir", metavar="RUN", help="the run folder, such as runs/demo")
    audit.add_argument("--movie", metavar="ID", help="the movie, where the run has several")
    audit.add_argument(
        "--sample", type=_number, default=60, metavar="N", help="cells, and links, in a new sample: 60"
    )
    audit.add_argument("--seed", type=int, default=0, metavar="N", help="seed of a new sample: 0")
    audit.add_argument(
        "--verdicts",
        metavar="FILE",
        help="take the verdicts of a filled copy of audit.csv, instead of asking",
    )
    fit = commands.add_parser(
        "fit-tracker", help="learn the global tracker's costs from a movie that is curated or has a truth"
    )
    fit.add_argument("run_dir", metavar="RUN", help="the run folder, such as runs/demo")
    fit.add_argument("--movie", metavar="ID", help="the movie, where the run has several")
    adopt = commands.add_parser(
        "adopt", help="take over the models of a run that learned from corrections, if they are better"
    )
    adopt.add_argument("new", metavar="NEW", help="the run whose training set holds curated frames")
    adopt.add_argument("--in", dest="run", required=True, metavar="RUN", help="the run that takes them over")
    export = commands.add_parser(
        "export", help="write a trained network as a bioimage.io package, which other programs read"
    )
    export.add_argument("model", metavar="FOLDER", help="a model folder, such as runs/demo/models/stardist")
    export.add_argument("package", metavar="PACKAGE.zip", help="the package to write")
    export.add_argument("--name", default="", metavar="TEXT", help="title of the package")
    export.add_argument("--author", default="Volltrack", metavar="NAME", help="who made it")
    export.add_argument(
        "--licence", default="CC-BY-4.0", metavar="SPDX", help="under which it may be used: CC-BY-4.0"
    )
    serving = commands.add_parser("serve", help="segment for other programs, such as Fiji, over the network")
    add_arguments(serving)
    commands.add_parser("check", help="say what is installed, which devices are there and what is missing")
    commands.add_parser("columns", help="print what each column of each table of a run means, with its unit")
    steps = commands.add_parser("help", help="print the parameters of a step")
    steps.add_argument("step", nargs="?", help="such as segment or 06_segment; all steps where left out")
    given = parser.parse_args(arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names of files may hold what a terminal cannot show
            stream.reconfigure(errors="backslashreplace")
    try:
        return _COMMANDS[given.command](given)
    except InputError as error:
        for line in getattr(error, "errors", [error]):
            print(f"error: {line}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # whoever read what is said here, such as head, has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + 13
    except OSError as error:
        full = "no space is left on the disk: free some, and run the same command again"
        said = (
            full
            if error.errno == errno.ENOSPC
            else f"{error.filename or 'a file'}: {error.strerror or error}"
        )
        print(f"error: {said}", file=sys.stderr)
        return 2


def _new(given: argparse.Namespace) -> int:
    from helpers.runs.new import new_experiment

    print(new_experiment(given.folder))
    return 0


def _run(given: argparse.Namespace) -> int:
    from helpers.runs.batch import run_experiment
    from helpers.runs.endings import Ended, ending_in_order
    from helpers.runs.plan import open_experiment
    from helpers.runs.report import finish

    started = time.monotonic()
    experiment, _ = open_experiment(given.experiment, run_dir=given.run_dir)
    try:
        with ending_in_order():
            failed = run_experiment(
                experiment,
                only=given.only,
                start=given.start,
                dry_run=given.dry_run,
                cores=given.cores,
                gpus=given.gpus,
                profile=given.profile,
                say=_say,
            )
    except Ended as ended:
        with contextlib.suppress(OSError):  # the terminal may be gone
            print("interrupted: the same command goes on from here", file=sys.stderr)
        return ended.status
    if given.dry_run:
        return 0
    print(finish(experiment))
    print(f"{time.monotonic() - started:.0f} s in all")
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def _status(given: argparse.Namespace) -> int:
    from helpers.runs.batch import state_of
    from helpers.runs.inputs import look_before
    from helpers.runs.plan import open_experiment
    from helpers.runs.prepare import is_prepared
    from helpers.runs.report import gather_checks

    experiment, jobs = open_experiment(given.experiment, run_dir=given.run_dir)
    for name, state in state_of(jobs, experiment.run_dir / ".batch", verify=given.verify):
        print(f"{name}: {state}")
    for where, check in gather_checks(jobs):
        if check.level != "ok":
            print(f"{check.level}: {where}: {check.said} {check.remedy}".rstrip())
    if is_prepared(experiment):
        found = look_before(experiment, jobs)
        for remark in found.remarks:
            print(f"note: {remark}")
        found.all.raise_all()
    return 0


def _adopt(given: argparse.Namespace) -> int:
    from helpers.runs.adoption import adopt, pooled

    scores, adopted = adopt(given.new, given.run)
    f1 = pooled(scores)
    stacks = scores["stack"].nunique()
    print(
        f"F1 at IoU 0.5 on {stacks} held-back frames: {f1['now']:.3f} now, {f1['new']:.3f} with {given.new}"
    )
    print("taken over; the former models are kept beside" if adopted else "not better, so nothing is changed")
    return 0


def _export(given: argparse.Namespace) -> int:
    from helpers.models.packages import export

    print(export(given.model, given.package, name=given.name, author=given.author, licence=given.licence))
    return 0


def _report(given: argparse.Namespace) -> int:
    from helpers.runs.plan import open_experiment
    from helpers.runs.report import finish

    experiment, jobs = open_experiment(given.experiment, run_dir=given.run_dir)
    print(finish(experiment))
    if given.pdf:
        from helpers.runs.report_pdf import print_pdf

        print(f"to print: {print_pdf(experiment.run_dir / 'report.html')}")
    if given.zip:
        from helpers.runs.report_zip import pack

        print(f"to pass on: {pack(experiment.run_dir, jobs)}")
    return 0


def _share(given: argparse.Namespace) -> int:
    from helpers.runs.share import share

    for page in share(given.run_dir, given.movie):
        print(page)
    return 0


def _gallery(given: argparse.Namespace) -> int:
    from helpers.runs.gallery import gallery

    for notebook in gallery(given.runs, given.into, execute=given.execute):
        print(f"{notebook}: {notebook.stat().st_size // 1000} kB")
    return 0


def _replay(given: argparse.Namespace) -> int:
    from helpers.runs.curation import replay

    for line in replay(given.run_dir, given.movie, given.merge):
        print(line)
    return 0


def _audit(given: argparse.Namespace) -> int:
    from helpers.runs.audit import audit

    ask = input if sys.stdin.isatty() else None
    for line in audit(
        given.run_dir, given.movie, n=given.sample, seed=given.seed, verdicts=given.verdicts, ask=ask
    ):
        print(line, flush=True)
    return 0


def _fit_tracker(given: argparse.Namespace) -> int:
    from helpers.runs.fit_tracker import fit_tracker

    for line in fit_tracker(given.run_dir, given.movie):
        print(line, flush=True)
    return 0


def _check(_: argparse.Namespace) -> int:
    from helpers.runs.check import check

    text, complete = check()
    print(text)
    return 0 if complete else 1


def _serve(given: argparse.Namespace) -> int:
    from helpers.runs.serving import serve

    return serve(given)


def _columns(_: argparse.Namespace) -> int:
    from helpers.runs.data_dictionary import dictionary

    print(dictionary(), end="")
    return 0


def _help(given: argparse.Namespace) -> int:
    from helpers.runs.parameters import NOTEBOOKS, step_of

    asked = step_of(given.step or "") or given.step or ""
    chosen = [cls for name, cls in NOTEBOOKS.items() if name.startswith(asked)]
    if not chosen:
        raise InputError("step", given.step, f"known are {', '.join(NOTEBOOKS)}")
    print("\n\n".join(cls.help() for cls in chosen))
    return 0


def _number(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} should be a whole number, at least 1")
    return int(text)


def _say(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)


_COMMANDS = {
    "new": _new,
    "run": _run,
    "status": _status,
    "report": _report,
    "share": _share,
    "gallery": _gallery,
    "replay": _replay,
    "audit": _audit,
    "fit-tracker": _fit_tracker,
    "adopt": _adopt,
    "export": _export,
    "serve": _serve,
    "check": _check,
    "columns": _columns,
    "help": _help,
}

if __name__ == "__main__":
    sys.exit(main())
