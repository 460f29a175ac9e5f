"""The `Server-Timing` header: where the time of an answer went."""


def server_timing(*, decode: float, queue: float, inference: float, encode: float) -> str:
    """Format durations, given in seconds, as https://www.w3.org/TR/server-timing/ says: in milliseconds."""
    return (
        f"decode;dur={decode * 1e3:.3f}, queue;dur={queue * 1e3:.3f}, "
        f"inference;dur={inference * 1e3:.3f}, encode;dur={encode * 1e3:.3f}"
    )
