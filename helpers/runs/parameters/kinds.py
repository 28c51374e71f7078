"""What a parameter may hold, read from its type: a list, text, one of a few words, a number within bounds."""

from __future__ import annotations

import types
import typing
from pathlib import Path
from typing import Annotated, Any

from pydantic.fields import FieldInfo


def options(annotation: Any) -> list[Any]:
    """Return the types an annotation allows, without its conditions."""
    if typing.get_origin(annotation) is Annotated:
        return options(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return [option for part in typing.get_args(annotation) for option in options(part)]
    return [annotation]


def may_be_empty(field: FieldInfo) -> bool:
    """Whether a parameter may be left empty, which is None."""
    return type(None) in options(field.annotation)


def list_of(field: FieldInfo) -> Any:
    """Return what a parameter is a list of; None where it is no list."""
    for kind in options(field.annotation):
        if typing.get_origin(kind) in (list, tuple):
            return options(typing.get_args(kind)[0])[0]
    return None


def takes_text(field: FieldInfo) -> bool:
    """Whether a parameter is text, or a list or mapping of texts: then what is written is meant as it stands."""
    texts = (str, Path)
    kinds = [kind for kind in options(field.annotation) if kind is not type(None)]
    words = [k for k in kinds if k in texts or typing.get_origin(k) is typing.Literal]
    of_words = [k for k in kinds if typing.get_args(k) and set(options(typing.get_args(k)[-1])) <= set(texts)]
    return bool(kinds) and len(words) + len(of_words) == len(kinds)


def choices(field: FieldInfo) -> list[str]:
    """Return the words a parameter may be; none where it is not one of a few."""
    literals = [o for o in options(field.annotation) if typing.get_origin(o) is typing.Literal]
    return [choice for literal in literals for choice in typing.get_args(literal)]


def limits(field: FieldInfo) -> dict[str, float]:
    """Return the conditions of a number: some of ``ge``, ``gt``, ``le`` and ``lt``, with their values."""
    conditions = [*field.metadata]
    for part in typing.get_args(field.annotation):
        if typing.get_origin(part) is Annotated:
            conditions += [
                c for about in typing.get_args(part)[1:] for c in getattr(about, "metadata", [about])
            ]
    names = ("ge", "gt", "le", "lt")
    return {name: getattr(c, name) for c in conditions for name in names if hasattr(c, name)}
