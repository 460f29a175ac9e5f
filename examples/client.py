"""A client of the service with time limits and retries. It needs httpx; copy the file into your program.

python examples/client.py http://127.0.0.1:8000
"""

import random
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Self

import httpx

#: Answers after which the same request may succeed: too many requests, and no model for the moment.
TEMPORARY: Final = frozenset({429, 503})
#: Wait before the second attempt in seconds, where the service says nothing. It doubles from attempt to attempt.
FIRST_WAIT: Final = 0.1


class ServiceError(Exception):
    """The service refused a request. The message is the service's own.

    Attributes:
        status: the HTTP status.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Client:
    """A client of one service. Connections are kept, so use one client for many requests; threads may share it.

    Args:
        url: the address of the service.
        model: the model to ask; the service's default without it.
        key: the key, where the service asks for one.
        timeout: time limit of a call in seconds: no attempt begins after it, and none waits longer for the service.
        attempts: most attempts of a call. A prediction changes nothing, so a request may be sent again.
        sleep: waits for a number of seconds.
    """

    def __init__(  # noqa: PLR0913 - each has a name
        self,
        url: str,
        *,
        model: str | None = None,
        key: str | None = None,
        timeout: float = 10,
        attempts: int = 5,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._http = httpx.Client(base_url=url, headers=headers, params={"model": model} if model else {})
        self._timeout, self._attempts, self._sleep = timeout, attempts, sleep

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def example(self) -> list[Any]:
        """Return example sequences `(n, timesteps, features)` of the model."""
        example: list[Any] = self._call("GET", "/model/example")["sequences"]
        return example

    def predict(self, sequences: Sequence[Any], **options: Any) -> list[dict[str, Any]]:
        """Return the answer for each sequence, with `prediction`, `attention` and, for classes, `label`.

        Args:
            sequences: `(n, timesteps, features)` as lists, in raw units.
            options: other fields of `POST /predict`, such as `importance=True`.

        Raises:
            ServiceError: the request is wrong, or the service refused every attempt.
            httpx.TransportError: there was no connection, or no answer in time.
        """
        answers: list[dict[str, Any]] = self._call("POST", "/predict", {"sequences": sequences, **options})[
            "predictions"
        ]
        return answers

    def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Return the JSON of an answer, after as many attempts as it needs, within the time limit."""
        deadline = time.monotonic() + self._timeout
        for attempt in range(1, self._attempts + 1):
            wait = FIRST_WAIT * 2 ** (attempt - 1) * random.uniform(1, 2)  # noqa: S311 - spreads the clients
            is_last = attempt == self._attempts
            try:
                answer = self._http.request(method, path, json=body, timeout=max(deadline - time.monotonic(), 0.001))
            except httpx.TransportError:
                if is_last or time.monotonic() + wait > deadline:
                    raise
            else:
                if answer.is_success:
                    return answer.json()
                wait = _retry_after(answer) or wait
                if answer.status_code not in TEMPORARY or is_last or time.monotonic() + wait > deadline:
                    raise ServiceError(answer.status_code, answer.text)
            self._sleep(wait)
        raise ValueError(f"attempts: expected at least 1, got {self._attempts}")


def _retry_after(answer: httpx.Response) -> float | None:
    """Return the seconds that `Retry-After` asks to wait; None without it."""
    header = answer.headers.get("Retry-After", "")
    return float(header) if header.isdecimal() else None


if __name__ == "__main__":
    with Client(sys.argv[1]) as client:
        for answer in client.predict(client.example(), importance=True):
            print(answer.get("label"), answer["prediction"], answer["importance"])  # noqa: T201 - its output
