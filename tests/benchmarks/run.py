"""Run the benchmarks and write runs/benchmarks.json and the table in the README.

``python tests/benchmarks/run.py [subject …]``: all of them, or ``bench_<subject>.py`` only, and the README's other rows stay.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import traceback
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[2])]

import _harness  # noqa: E402 - found beside this file, which is run as a script


def main() -> int:
    """Return 0 if every benchmark ran."""
    known = sorted(path.stem.removeprefix("bench_") for path in _harness.HERE.glob("bench_*.py"))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("subjects", nargs="*", metavar="subject", help=f"of {', '.join(known)}")
    parser.add_argument("--output", type=Path, default=_harness.ROOT / "runs" / "benchmarks.json")
    parser.add_argument("--readme", type=Path, default=_harness.ROOT / "README.md")
    options = parser.parse_args()
    unknown = set(options.subjects) - set(known)
    if unknown:
        parser.error(f"no benchmark named {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    failed = []
    for subject in options.subjects or known:
        try:
            for entry in importlib.import_module(f"bench_{subject}").cases():
                _harness.save([entry], options.output)
                print(
                    f"{entry['subject']} | {entry['case']} | {entry['peer']}: ours {entry['ours_s']} s, "
                    f"peer {entry['peer_s']} s, ratio {entry['ratio']}, equal {entry['equal']}",
                    entry.get("quality", ""),
                    flush=True,
                )
        except Exception:
            traceback.print_exc()
            failed.append(subject)
    if options.output.exists():
        entries = json.loads(options.output.read_text())
        _harness.write_readme(entries, options.readme, keep=bool(options.subjects))
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
