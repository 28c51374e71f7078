"""Whatever goes wrong over HTTP, as a status and one line."""

from __future__ import annotations

from starlette.responses import PlainTextResponse

from helpers.errors import InputError
from helpers.serve.line import Gone, LineFull
from helpers.serve.service import log


class NothingFound(Exception):
    """No cell was found: a 200 would let QuPath delete the outlines that are there, and show none."""


class NothingThere(InputError):
    """What is asked for is not on this server: a model that nobody has trained, a job, a volume."""


class TrainingRefused(Exception):
    """A training came to nothing; says why, in a line for the user."""


def in_words(name: str, error: Exception) -> tuple[int, str]:
    """Return the HTTP status of an error, and its line.

    Parameters
    ----------
    name : str
        What was asked for, for the log where nobody foresaw the error.
    error : Exception
    """
    if isinstance(error, NothingThere):
        return 404, _one_line(error)
    if isinstance(error, (InputError, TrainingRefused)):
        return 422, _one_line(error)
    if isinstance(error, NothingFound):
        return (
            422,
            "no cell was found, so the outlines in QuPath are left as they are: outline more cells and train again",
        )
    if isinstance(error, LineFull):
        return 503, str(error)
    if isinstance(error, Gone):
        return 499, "the client has left, or the server ends: the model is as it was"
    if isinstance(error, MemoryError):
        return 413, "the image does not fit this server's memory: crop it"
    log.exception("%s failed", name, exc_info=error)
    return 500, "the server failed at this image; its log says where"


def line(status: int, said: str) -> PlainTextResponse:
    """Return an answer of one line."""
    return PlainTextResponse(said.encode("utf-8", "replace").decode(), status)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
