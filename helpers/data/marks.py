"""Where each key of a YAML file stands, so that a mistake can be named by line and column."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from helpers.errors import InputError, Mistakes


class Marks:
    """The places of a YAML file's keys.

    Parameters
    ----------
    path : Path
        The file.

    Attributes
    ----------
    content : object
        What the file says.

    Raises
    ------
    InputError
        If it is not YAML; with the line and column.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._places: dict[tuple[str, ...], yaml.Mark] = {}
        self._twice: list[tuple[str, ...]] = []
        try:
            text = path.read_text(encoding="utf-8-sig")
            self.content: Any = yaml.safe_load(text)
            root = yaml.compose(text, Loader=yaml.SafeLoader)
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            mark = getattr(error, "problem_mark", None)
            reason = getattr(error, "problem", None) or str(error)
            raise InputError(f"{path.name}{_at(mark)}", "not valid YAML", reason.replace("\n", " ")) from None
        self._collect(root, ())

    def _collect(self, node: yaml.Node | None, keys: tuple[str, ...]) -> None:
        if not isinstance(node, yaml.MappingNode):
            return
        for key, value in node.value:
            place = (*keys, str(key.value))
            if place in self._places:
                self._twice.append(place)
            self._places[place] = key.start_mark
            self._collect(value, place)

    def where(self, *keys: object) -> str:
        """Return ``"file.yaml, line 7, column 3, steps.05_segment"`` for a key, or for what holds it."""
        place = tuple(map(str, keys))
        known = next((place[:n] for n in range(len(place), 0, -1) if place[:n] in self._places), None)
        return f"{self._path.name}{_at(self._places[known] if known else None)}, {'.'.join(place)}"

    def check_once(self, mistakes: Mistakes) -> None:
        """Note each key that stands twice: YAML itself would take the last."""
        for place in self._twice:
            mistakes.add(self.where(*place), place[-1], "stands twice; keep one of them")


def _at(mark: yaml.Mark | None) -> str:
    return f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
