"""Content encodings: decoding the bodies of requests, encoding those of answers."""

import asyncio
import re
import zlib
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from service.errors import InvalidInput, TooLarge, UnsupportedEncoding

#: zlib's `wbits` for each content encoding of a request.
WBITS: Final = {b"gzip": 31, b"x-gzip": 31, b"deflate": 15}
#: At most so many bytes of a request are decoded at a time on the event loop, which takes 1 ms; more in a thread.
INLINE_BYTES: Final = 256 * 2**10
#: Most members of gzip data. Each costs time, even if it is empty.
MOST_MEMBERS: Final = 1000
#: zlib's fastest level. Its result is an eighth larger than that of level 6, in a quarter of the time.
LEVEL: Final = 1
#: A member of `Accept-Encoding`, and its weight.
ACCEPTED: Final = re.compile(rb"\s*([^\s;,]+)\s*(?:;\s*q\s*=\s*([0-9.]+))?[^,]*", re.IGNORECASE)


def decoder_of(headers: Sequence[tuple[bytes, bytes]], limit: int) -> "Decoder | None":
    """Return the decoder for a request with a header `Content-Encoding`; None if its body is plain.

    Raises:
        UnsupportedEncoding: the encoding is unknown, or there are several.
    """
    declared = [value for name, value in headers if name == b"content-encoding"]
    encodings = [one for one in (part.strip().lower() for part in b",".join(declared).split(b",")) if one]
    applied = [one for one in encodings if one != b"identity"]
    if not applied:
        return None
    if len(applied) > 1 or applied[0] not in WBITS:
        got = b", ".join(applied)[:80].decode("latin-1")
        raise UnsupportedEncoding(f"expected the content encoding gzip or deflate, or no such header, got {got}")
    return Decoder(applied[0], limit)


class Decoder:
    """Decodes the pieces of a compressed body as they arrive.

    Args:
        encoding: a key of `WBITS`.
        limit: most bytes of the decoded body.
    """

    def __init__(self, encoding: bytes, limit: int) -> None:
        self._encoding = encoding
        self._limit = limit
        self._stream = zlib.decompressobj(WBITS[encoding])
        self._size = 0
        self._members = 1

    async def decode(self, piece: bytes) -> list[bytes]:
        """Return the decoded bytes of the next piece.

        Raises:
            TooLarge: the body has more than `limit` bytes.
            InvalidInput: the piece is not valid.
        """
        first = self._decompress(piece, INLINE_BYTES)
        rest = self._stream.unconsumed_tail or self._stream.unused_data
        return [first, *await asyncio.to_thread(self._decode_rest, rest)] if rest else [first]

    def end(self) -> None:
        """Check that the body is complete.

        Raises:
            InvalidInput: its end is missing.
        """
        if not self._stream.eof:
            raise InvalidInput(
                f"body: expected complete {self._name} data, got only their beginning, which has {self._size} bytes "
                "when decoded"
            )

    def _decode_rest(self, rest: bytes) -> list[bytes]:
        decoded = []
        while rest:
            if self._stream.eof:  # gzip data may have several members
                self._members += 1
                if self._members > MOST_MEMBERS:
                    raise InvalidInput(f"body: expected {self._name} data of at most {MOST_MEMBERS} members, got more")
                self._stream = zlib.decompressobj(WBITS[self._encoding])
            decoded.append(self._decompress(rest, INLINE_BYTES))
            rest = self._stream.unconsumed_tail or self._stream.unused_data
        return decoded

    def _decompress(self, piece: bytes, most: int) -> bytes:
        try:
            decoded = self._stream.decompress(piece, most)
        except zlib.error:
            raise InvalidInput(f"body: expected {self._name} data, got other bytes") from None
        self._size += len(decoded)
        if self._size > self._limit:
            raise TooLarge(f"expected a body of at most {self._limit} bytes when decoded, got more")
        return decoded

    @property
    def _name(self) -> str:
        return self._encoding.decode()


@lru_cache(256)
def accepts_gzip(accept_encoding: bytes) -> bool:
    """Return whether `Accept-Encoding` allows gzip, and does not prefer a plain answer."""
    weights = {name.lower(): _weight(weight) for name, weight in ACCEPTED.findall(accept_encoding)}
    gzip = weights.get(b"gzip", weights.get(b"x-gzip", weights.get(b"*", 0)))
    return gzip > 0 and gzip >= weights.get(b"identity", 0)


def _weight(text: bytes) -> float:
    try:
        return float(text or 1)
    except ValueError:
        return 0


def compressed(parts: Sequence[bytes | memoryview]) -> bytes:
    """Return the gzip data of an answer."""
    stream = zlib.compressobj(LEVEL, wbits=31)
    return b"".join([*map(stream.compress, parts), stream.flush()])
