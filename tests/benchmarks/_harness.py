"""Ours and the peer, one after the other, on the same input: medians, ratios, peak memories, and equality.

A benchmark file ``bench_<subject>.py`` gives one function ``cases()`` that yields entries::

    {subject, case, ours_s, peer, peer_s, ratio, ours_peak_mb, peer_peak_mb, equal}

and may add columns of its own: scores (``quality``: name to ours and the peer's), or seconds of the parts of the work
(``parts``, likewise; None where a side has no such part). `compare` makes one entry. Both sides
run in processes of their own: a side is named ``"file.py:function"`` (a file beside this one); the function
gets the input arrays and the settings as keywords, and returns an array, a dict of arrays, or None. What a
peer needs is installed in ``.venv-peers`` from ``peers.txt`` by ``make benchmark``.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
#: This suite's interpreter and that of the peers.
OURS_PYTHON = Path(sys.executable)
PEERS_PYTHON = ROOT / ".venv-peers" / "bin" / "python"
COLUMNS = (
    "subject", "case", "ours_s", "peer", "peer_s", "ratio", "ours_peak_mb", "peer_peak_mb", "equal",
)  # fmt: skip
_BEGIN, _END = "<!-- benchmarks -->", "<!-- /benchmarks -->"


@dataclass(frozen=True)
class Measurement:
    """What one side took.

    Attributes
    ----------
    seconds : float
        Median over the repeats, compilation excluded (the warm-up runs are not counted).
    peak_mb : float
        Highest resident memory during a run above what lay there before it (the inputs), median.
    result : ndarray or dict of ndarray or None
    """

    seconds: float
    peak_mb: float
    result: Any


def measure_side(
    target: str,
    inputs: Mapping[str, np.ndarray],
    *,
    python: Path = OURS_PYTHON,
    repeats: int = 3,
    warmups: int = 1,
    timeout_s: float = 3600,
    **settings: Any,
) -> Measurement:
    """Run ``file.py:function`` on `inputs` and `settings` (JSON values) in a fresh process.

    Raises
    ------
    RuntimeError
        The function failed; the message holds the end of what it printed.
    """
    with tempfile.TemporaryDirectory(prefix="volltrack-benchmark-") as temporary:
        folder = Path(temporary)
        (folder / "inputs").mkdir()
        for name, array in inputs.items():
            np.save(folder / "inputs" / f"{name}.npy", array)
        order = {
            "target": str(HERE / target),
            "inputs": str(folder / "inputs"),
            "folder": str(folder),
            "repeats": repeats,
            "warmups": warmups,
            "settings": settings,
        }
        done = subprocess.run(
            [str(python), str(HERE / "_worker.py"), json.dumps(order)],
            capture_output=True,
            text=True,
            timeout=timeout_s,
            cwd=folder,
            env={**os.environ, "PYTHONWARNINGS": "ignore"},
        )
        if done.returncode != 0:
            raise RuntimeError(f"{target} failed under {python}:\n{done.stderr[-2000:]}")
        measured = json.loads((folder / "measured.json").read_text())
        whole = folder / "result.npy"
        parts = sorted(folder.glob("result.*.npy"))
        result: Any = None
        if whole.exists():
            result = np.load(whole)
        elif parts:
            result = {path.name[len("result.") : -len(".npy")]: np.load(path) for path in parts}
    return Measurement(statistics.median(measured["seconds"]), statistics.median(measured["peak_mb"]), result)


def entry(
    subject: str,
    case: str,
    ours: Measurement,
    peer_name: str,
    peer: Measurement,
    *,
    equal: bool | float | str | None = None,
    **columns: Any,
) -> dict[str, Any]:
    """Put two measurements into one row of the table; `ratio` is peer time over ours."""
    return {
        "subject": subject,
        "case": case,
        "ours_s": round(ours.seconds, 4),
        "peer": peer_name,
        "peer_s": round(peer.seconds, 4),
        "ratio": round(peer.seconds / max(ours.seconds, 1e-9), 2),
        "ours_peak_mb": round(ours.peak_mb, 1),
        "peer_peak_mb": round(peer.peak_mb, 1),
        "equal": equal,
        **columns,
    }


def compare(
    subject: str,
    case: str,
    inputs: Mapping[str, np.ndarray],
    *,
    ours: str,
    peer: str,
    peer_name: str,
    peer_python: Path = PEERS_PYTHON,
    equal: Callable[[Any, Any], bool | float | str | None] | None = None,
    repeats: int = 3,
    peer_repeats: int | None = None,
    peer_warmups: int = 0,
    **settings: Any,
) -> dict[str, Any]:
    """Measure ours and the peer on the same input and return the entry; `equal` judges the two results."""
    mine = measure_side(ours, inputs, repeats=repeats, **settings)
    theirs = measure_side(
        peer,
        inputs,
        python=peer_python,
        repeats=repeats if peer_repeats is None else peer_repeats,
        warmups=peer_warmups,
        **settings,
    )
    verdict = equal(mine.result, theirs.result) if equal is not None else None
    return entry(subject, case, mine, peer_name, theirs, equal=verdict)


def save(entries: list[dict[str, Any]], path: Path) -> None:
    """Write the entries as JSON; earlier ones of the same subject, case and peer are replaced."""
    known = json.loads(path.read_text()) if path.exists() else []
    new = {(e["subject"], e["case"], e["peer"]) for e in entries}
    kept = [e for e in known if (e["subject"], e["case"], e["peer"]) not in new]
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".part")
    temporary.write_text(json.dumps(kept + entries, indent=1, ensure_ascii=False) + "\n")
    temporary.replace(path)


def markdown_table(entries: list[dict[str, Any]]) -> str:
    """Return the entries as Markdown: speed and memory first, then quality where an entry has it."""

    def number(value: Any) -> str:
        if value is None:
            return "–"
        if isinstance(value, bool):
            return "yes" if value else "no"
        return f"{value:.3g}" if isinstance(value, float) and abs(value) < 100 else str(_whole(value))

    def _whole(value: Any) -> Any:
        return f"{value:.0f}" if isinstance(value, float) else value

    lines = [
        "| subject | case | ours (s) | peer | peer (s) | ratio | ours (MB) | peer (MB) | equal |",
        "|---|---|---:|---|---:|---:|---:|---:|---|",
    ]
    lines += ["| " + " | ".join(number(e.get(column)) for column in COLUMNS) + " |" for e in entries]
    lines += _parts_table(entries, number)
    judged = [e for e in entries if e.get("quality")]
    if judged:
        lines += ["", "Quality on the same inputs (ours / peer):", ""]
        lines += ["| subject | case | peer | scores |", "|---|---|---|---|"]
        for e in judged:
            scores = ", ".join(
                f"{name} {number(pair[0])} / {number(pair[1])}" for name, pair in e["quality"].items()
            )
            lines.append(f"| {e['subject']} | {e['case']} | {e['peer']} | {scores} |")
    return "\n".join(lines)


def _parts_table(entries: list[dict[str, Any]], number: Callable[[Any], str]) -> list[str]:
    """Return a table with a column for each part of the work; nothing where no entry has parts."""
    divided = [e for e in entries if e.get("parts")]
    names = list(dict.fromkeys(name for e in divided for name in e["parts"]))
    if not names:
        return []
    lines = ["", "Where the time of a frame goes, in seconds (ours / peer):", ""]
    lines += [f"| subject | case | peer | {' | '.join(names)} |", "|---|---|---|" + "---:|" * len(names)]
    for e in divided:
        pairs = [e["parts"].get(name, (None, None)) for name in names]
        shown = [" / ".join(number(None if v is None else float(v)) for v in pair) for pair in pairs]
        lines.append(f"| {e['subject']} | {e['case']} | {e['peer']} | {' | '.join(shown)} |")
    return lines


def write_readme(entries: list[dict[str, Any]], readme: Path, *, keep: bool = False) -> bool:
    """Put the table between the benchmark markers of `readme`; False (and untouched) without them.

    With `keep`, rows stay that are there and are not among the entries: after a run of some benchmarks only.
    """
    if not readme.exists():
        return False
    text = readme.read_text(encoding="utf-8")
    if _BEGIN not in text or _END not in text:
        return False
    head, _, rest = text.partition(_BEGIN)
    old, _, tail = rest.partition(_END)
    table = markdown_table(entries)
    if keep:
        table = _with_old_rows(old.strip(), table)
    readme.write_text(f"{head}{_BEGIN}\n{table}\n{_END}{tail}", encoding="utf-8")
    return True


def _with_old_rows(old: str, new: str) -> str:
    """Put the rows of the old tables that the new ones lack before theirs; and tables that the new text lacks after it."""
    blocks = new.split("\n\n")
    before = old.split("\n\n")
    for k, block in enumerate(before):
        header, *rows = block.splitlines()
        if not header.startswith("|"):
            continue
        same = next((i for i, other in enumerate(blocks) if other.startswith(header)), None)
        if same is None:
            blocks += before[max(k - 1, 0) : k + 1]
            continue
        columns = [_cells(header).index(name) for name in ("subject", "case", "peer")]
        top, line, *found = blocks[same].splitlines()
        known = {tuple(_cells(row)[c] for c in columns) for row in found}
        kept = [row for row in rows[1:] if tuple(_cells(row)[c] for c in columns) not in known]
        blocks[same] = "\n".join([top, line, *kept, *found])
    return "\n\n".join(blocks)


def _cells(row: str) -> list[str]:
    return [cell.strip() for cell in row.strip().strip("|").split("|")]
