"""A request without its pixels: these stay where gRPC has put them.

protobuf would copy them twice, once into its own memory and once into Python's, which is a gigabyte for a message of 512 MB.
"""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.message import DecodeError

#: Where the pixels of a DetectionRequest are: image_data, pixels, bindata, data.
PIXELS = (1, 1, 3, 1)
#: Fields that a message may have before it is taken for noise.
_MOST_FIELDS = 10_000


def without(message: memoryview, path: Sequence[int]) -> tuple[bytes, memoryview]:
    """Take a field of bytes out of a message.

    Parameters
    ----------
    message : memoryview
        Bytes of a protobuf message.
    path : sequence of int
        Numbers of the fields that lead to it.

    Returns
    -------
    rest : bytes
        The message without it.
    field : memoryview
        Its part of `message`, empty where it is not set. Of several the last counts, as with protobuf.

    Raises
    ------
    DecodeError
        If the bytes are no message.
    """
    rest, found, at = [], message[:0], 0
    while at < len(message):
        start = at
        tag, at = _number(message, at)
        begin, at = _value(message, at, tag & 7)
        if at > len(message) or len(rest) > _MOST_FIELDS:
            raise DecodeError("cut off, or too many fields")
        if tag != path[0] << 3 | 2:
            rest.append(message[start:at])
        elif len(path) == 1:
            found = message[begin:at]
        else:
            inner, deeper = without(message[begin:at], path[1:])
            found = deeper if len(deeper) else found
            rest += [written(tag), written(len(inner)), inner]
    return b"".join(rest), found


def _value(message: memoryview, at: int, kind: int) -> tuple[int, int]:
    """Return where the value of a field of this kind begins and ends."""
    if kind == 0:
        return at, _number(message, at)[1]
    if kind == 2:
        size, at = _number(message, at)
        return at, at + size
    if kind in (1, 5):
        return at, at + (8 if kind == 1 else 4)
    raise DecodeError("a kind of field that is not in use")


def _number(message: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            break
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value, at
    raise DecodeError("a number without an end")


def written(number: int) -> bytes:
    """Return a number as protobuf writes it, 7 bits a byte."""
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*found, number])
