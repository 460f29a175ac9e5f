"""The memory of large answers: a bound on their bytes, and a response that is sent in pieces."""

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Final

from fastapi import Response
from starlette.types import Receive, Scope, Send

from service.errors import AnswersFull, TooLarge

#: Most bytes of the large answers of a worker that are being made or have not been sent.
MOST_BYTES: Final = 256 * 2**20
#: Most bytes of a number while it is encoded: a float32, and its text in JSON with a comma.
BYTES_OF_NUMBER: Final = 20
#: Answers of no more numbers are not counted: a connection buffers them anyway.
FEW_NUMBERS: Final = 4096
#: Bytes that are sent at a time.
PIECE_BYTES: Final = 64 * 2**10


class AnswerMemory:
    """Admits large answers while their bytes are within a bound.

    An answer is admitted before the model runs. It is refused rather than delayed, since the sequences and outputs of
    waiting requests would take memory, too.

    Args:
        most: most bytes.
    """

    def __init__(self, most: int = MOST_BYTES) -> None:
        self.most = most
        self.held = 0

    def hold(self, numbers: int) -> "Share":
        """Return the share of an answer of so many numbers.

        Raises:
            TooLarge: no such answer is possible.
            AnswersFull: other answers have the memory.
        """
        size = numbers * BYTES_OF_NUMBER
        if size > self.most:
            raise TooLarge(
                f"expected an answer of at most {self.most // BYTES_OF_NUMBER} numbers, got a request for {numbers}: "
                "send fewer sequences, or ask for fewer outputs"
            )
        if self.held + size > self.most:
            raise AnswersFull(f"the answers to other requests take {self.held} bytes of {self.most}")
        return Share(self, size)


class Share:
    """The bytes of one answer in the memory for answers."""

    def __init__(self, memory: AnswerMemory, size: int) -> None:
        self._memory = memory
        self._size = 0
        self.resize(size)

    def resize(self, size: int) -> None:
        """Hold so many bytes, or none any more."""
        self._memory.held += size - self._size
        self._size = size


class ResponseInParts(Response):
    """A response whose body is in several parts.

    It is sent in pieces. Each waits until the client has taken most of those before it, and is freed then.

    Attributes:
        share: its share of the memory for answers, which it gives back in the end.
    """

    def __init__(
        self, parts: Iterable[bytes | memoryview], headers: Mapping[str, str], media_type: str | None = None
    ) -> None:
        self._parts = deque(parts)
        self.size = sum(map(len, self._parts))
        self.share: Share | None = None
        super().__init__(headers={**headers, "Content-Length": str(self.size)}, media_type=media_type)

    @classmethod
    def of(cls, response: Response) -> "ResponseInParts":
        """Return a response with the head and the body of another."""
        if isinstance(response, cls):
            return response
        made = cls([response.body], {})
        made.raw_headers = response.raw_headers
        return made

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response."""
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            while self._parts:
                part = memoryview(self._parts.popleft())
                for start in range(0, len(part), PIECE_BYTES):
                    piece = part[start : start + PIECE_BYTES]
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body"})
        finally:
            if self.share is not None:
                self.share.resize(0)
