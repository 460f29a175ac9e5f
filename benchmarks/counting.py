"""The service, which stops counting attention, or goes on, at a signal: what that costs can be seen in one process."""

import signal

from service.__main__ import main
from service.artifact.tensors import Array
from service.serving.live_profile import LiveProfile

#: Turns counting off and on.
TOGGLE = signal.SIGUSR1


def forget(_: LiveProfile, __: Array) -> None:
    """What was answered."""


def toggle_counting() -> None:
    """From now on have the signal turn it off, and on again."""
    ways = [LiveProfile.add, forget]

    def toggle(*_: object) -> None:
        ways.reverse()
        setattr(LiveProfile, "add", ways[0])  # noqa: B010 - a type checker takes an assignment for a mistake

    signal.signal(TOGGLE, toggle)


if __name__ == "__main__":
    toggle_counting()
    main()
