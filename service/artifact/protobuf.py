"""A reader of protocol buffers, field by field.

It replaces the protobuf package, whose import takes longer than all other work on a version before it is served.
Source: https://protobuf.dev/programming-guides/encoding.
"""

from collections.abc import Iterator

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def strings(message: memoryview, field: int) -> Iterator[str]:
    """Yield each occurrence of a field that holds a string."""
    for value in messages(message, field):
        yield str(value, errors="replace")


def integers(message: memoryview, field: int) -> Iterator[int]:
    """Yield each number in a field of signed integers, whether it holds one or several."""
    for number, value in fields(message):
        if number != field:
            continue
        if isinstance(value, int):
            yield _signed(value)
            continue
        at = 0
        while at < len(value):
            one, at = _varint(value, at, bits=64)
            yield _signed(one)


def messages(message: bytes | memoryview, field: int) -> Iterator[memoryview]:
    """Yield each occurrence of a field that holds a message, a string or bytes.

    Raises:
        ValueError: the bytes are not a message, or the field holds a number.
    """
    for number, value in fields(memoryview(message)):
        if number == field:
            if isinstance(value, int):
                raise ValueError(f"field {field} is a number")
            yield value


def fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yield the number and the value of each field. Fixed numbers of 32 and 64 bits are given as bytes.

    Raises:
        ValueError: the bytes are not a message.
    """
    at, end = 0, len(message)
    while at < end:
        tag, at = _varint(message, at, bits=32)
        number, kind = tag >> 3, tag & 7
        if not number:
            raise ValueError(f"byte {at} starts no field")
        if kind == _VARINT:
            value, at = _varint(message, at, bits=64)
            yield number, value
            continue
        if kind == _BYTES:
            length, at = _varint(message, at, bits=32)
        elif kind in (_FIXED32, _FIXED64):
            length = 4 if kind == _FIXED32 else 8
        else:
            raise ValueError(f"byte {at} starts no field")
        if at + length > end:
            raise ValueError(f"expected {length} bytes from byte {at} on, got {end - at}")
        yield number, message[at : at + length]
        at += length


def _varint(message: memoryview, at: int, bits: int) -> tuple[int, int]:
    """Return a number of variable length and the position of its end.

    Numbers of more than `bits` bits are refused. Other readers drop the excess, and might read another number.
    """
    value = shift = 0
    while at < len(message) and shift < bits:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80 and not value >> bits:
            return value, at
        shift += 7
    raise ValueError(f"byte {at} ends no number")


def _signed(number: int) -> int:
    """Return a signed number of 64 bits, which is stored as its two's complement."""
    return number - 2**64 if number >> 63 else number
