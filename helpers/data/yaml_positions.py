"""Where each key of a YAML file stands, so that a mistake can be named by line and column."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import yaml

from helpers.errors import InputError, Mistakes

#: Bytes of the largest file, and the most values in it with all anchors in place: a thousand times what is usual.
_LARGEST_FILE = 1_000_000
_MOST_VALUES = 100_000


class _AsWritten(yaml.SafeLoader):
    """Reads YAML whose scalars are all text, but for nothing (``null``)."""

    yaml_implicit_resolvers: ClassVar[dict[str, list[tuple[str, Any]]]] = {
        first: [(tag, pattern) for tag, pattern in known if tag.endswith((":null", ":merge"))]
        for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


class YamlPositions:
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
            if path.stat().st_size > _LARGEST_FILE:
                raise InputError(
                    path.name, f"{path.stat().st_size} bytes", f"give a file of at most {_LARGEST_FILE}"
                )
            text = path.read_text(encoding="utf-8-sig")
            root = composed(text, path.name)
            self.content: Any = yaml.safe_load(text)
            self._written: Any = yaml.load(text, Loader=_AsWritten)
        except InputError:
            raise
        except UnicodeDecodeError as error:
            raise InputError(
                path.name, f"byte {error.start}", "is not text in UTF-8; save it as UTF-8"
            ) from None
        except (
            Exception
        ) as error:  # YAML's own, and what dates, numbers and nesting beyond Python's make of it
            mark = getattr(error, "problem_mark", None)
            reason = getattr(error, "problem", None) or str(error)
            if isinstance(error, yaml.MarkedYAMLError) and "block" in reason:
                reason += "; a line begins in the same column as the others of its section: remove a # with its space"
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
        """Return ``"file.yaml, line 7, column 3, steps.06_segment"`` for a key, or for what holds it."""
        place = tuple(map(str, keys))
        known = next((place[:n] for n in range(len(place), 0, -1) if place[:n] in self._places), None)
        return f"{self._path.name}{_at(self._places[known] if known else None)}, {'.'.join(place)}"

    def written(self, *keys: object) -> Any:
        """Return what stands at a key, with numbers, dates and words such as ``no`` as the text they are written as."""
        found = self._written
        for key in keys:
            found = found.get(str(key)) if isinstance(found, dict) else None
        return found

    def check_once(self, mistakes: Mistakes) -> None:
        """Note each key that stands twice: YAML itself would take the last."""
        for place in self._twice:
            mistakes.add(self.where(*place), place[-1], "stands twice; keep one of them")


def composed(text: str, name: str) -> yaml.Node | None:
    """Return the nodes of YAML, and refuse what is small as text and large, or without an end, with its anchors in place."""
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    sizes: dict[int, int] = {}
    within: set[int] = set()

    def size(node: yaml.Node) -> int:
        if id(node) in within:
            raise InputError(f"{name}{_at(node.start_mark)}", "an anchor that contains itself", "take it out")
        if id(node) not in sizes:
            within.add(id(node))
            parts = [node.value] if isinstance(node, yaml.SequenceNode) else []
            parts += zip(*node.value, strict=True) if isinstance(node, yaml.MappingNode) else []
            sizes[id(node)] = 1 + sum(size(one) for part in parts for one in part)
            within.remove(id(node))
        return sizes[id(node)]

    if root is not None and size(root) > _MOST_VALUES:
        raise InputError(
            name, f"{size(root)} values", f"an experiment has at most {_MOST_VALUES}; mind its anchors"
        )
    return root


def _at(mark: yaml.Mark | None) -> str:
    return f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
