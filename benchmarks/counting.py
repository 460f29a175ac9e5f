"""The service, in which a signal turns counting of attention off and on, to measure its cost in one process."""

import signal

from service.__main__ import main
from service.artifact.tensors import Array
from service.serving.live_profile import LiveProfile

#: Turns counting off and on.
TOGGLE = signal.SIGUSR1


def ignore(_: LiveProfile, __: Array) -> None:
    """Count nothing."""


def toggle_counting() -> None:
    """Install the signal handler."""
    functions = [LiveProfile.add, ignore]

    def toggle(*_: object) -> None:
        functions.reverse()
        setattr(LiveProfile, "add", functions[0])  # noqa: B010 - mypy refuses to assign to a method

    signal.signal(TOGGLE, toggle)


if __name__ == "__main__":
    toggle_counting()
    main()
