"""The `Server-Timing` header: where the time of an answer went."""

import time

from service.serving.batcher import Result


def server_timing(received: float, decoded: float, result: Result, answered: float) -> str:
    """Durations up to now, as https://www.w3.org/TR/server-timing/ says: in milliseconds.

    Args:
        received: when the body was here, by `time.perf_counter`, in seconds.
        decoded: when the model was asked.
        result: what it answered.
        answered: when it did.
    """
    encode = time.perf_counter() - answered
    return (
        f"decode;dur={(decoded - received) * 1e3:.3f}, queue;dur={result.queue * 1e3:.3f}, "
        f"inference;dur={result.inference * 1e3:.3f}, encode;dur={encode * 1e3:.3f}"
    )
