"""The `Server-Timing` header: where the time of an answer went."""


def server_timing(**seconds: float) -> str:
    """Format durations as https://www.w3.org/TR/server-timing/ says, in milliseconds.

    Args:
        seconds: duration of each step, by its name.
    """
    return ", ".join(f"{step};dur={duration * 1e3:.3f}" for step, duration in seconds.items())
