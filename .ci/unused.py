"""Names of the package that nothing but tests uses: no notebook, command, server, dock or other module. vulture finds them.

What is reached in another way (a decorator, pydantic, Qt, napari's manifest, Jupyter) is named in ``pyproject.toml``.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    """Write the code of the notebooks where vulture can read it, and return 0 if all is used."""
    with tempfile.TemporaryDirectory() as made:
        for path in (ROOT / "notebooks").glob("*.ipynb"):
            cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
            lines = [line for cell in cells if cell["cell_type"] == "code" for line in cell["source"]]
            code = "".join(line if line.endswith("\n") else f"{line}\n" for line in lines)
            # Lines that install, which only Jupyter understands.
            code = "\n".join(
                f"{line[: len(line) - len(line.lstrip())]}pass" if line.lstrip().startswith("%") else line
                for line in code.splitlines()
            )
            Path(made, f"notebook_{path.stem}.py").write_text(code, encoding="utf-8")
        # A name in a module's list of names is not used yet.
        for path in (ROOT / "helpers").rglob("*.py"):
            copy = Path(made, path.relative_to(ROOT))
            copy.parent.mkdir(parents=True, exist_ok=True)
            code = re.sub(r"^__all__ = \[[^\]]*\]", "", path.read_text(encoding="utf-8"), flags=re.M)
            copy.write_text(code, encoding="utf-8")
        command = [sys.executable, "-m", "vulture", made]
        found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    # Fields of tables, messages and parameters are read by name, and attributes set on what others made.
    unused = [
        line
        for line in found.stdout.splitlines()
        if not re.search(r"unused (variable|attribute|import)", line)
    ]
    print("\n".join(unused) + found.stderr, end="")
    return 1 if unused or found.stderr else 0


if __name__ == "__main__":
    sys.exit(main())
