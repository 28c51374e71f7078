"""Names of movies, which are names of folders too."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

#: What a folder may be called on every system.
_PLAIN = re.compile(r"[^\x00-\x1f/\\:*?\"<>|{}.][^\x00-\x1f/\\:*?\"<>|{}]{0,99}")
#: What is wrong with other names.
EXPECTED = "must be a plain name of a folder, without / or a leading dot"


def is_plain(name: str) -> bool:
    """Whether a folder may be called so on every system, and lies where it is put."""
    return bool(_PLAIN.fullmatch(name))


def same(name: str) -> str:
    """Return what is equal of two names that some systems take for one: in any case, accents composed or not."""
    return unicodedata.normalize("NFC", name.casefold())


def of_file(path: str | Path) -> str:
    """Return the name that a movie has from its file: what stands before the first dot."""
    return Path(path).name.split(".")[0]
