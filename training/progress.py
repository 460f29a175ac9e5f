"""Progress on standard error: lines, and bars below them."""

import sys
from typing import Final, NoReturn, TypeAlias

from tqdm import tqdm

#: Seconds between two states of a bar in a terminal, and elsewhere: a file or a pipe keeps each of them.
IN_TERMINAL: Final = 0.1
ELSEWHERE: Final = 60.0

Bar: TypeAlias = "tqdm[NoReturn]"


def announce(text: str) -> None:
    """Write a line. Progress bars stay below it."""
    tqdm.write(text, file=sys.stderr)


def progress_bar(total: int, what: str, unit: str, *, done: int = 0, stays: bool = True) -> Bar:
    """Return a progress bar, a context manager.

    Args:
        total: the steps of the work.
        what: what is done.
        unit: what a step is.
        done: the steps that were done before.
        stays: whether the bar stays at its end. One that does not is not shown at all in its first second.
    """
    return tqdm(
        total=total,
        initial=done,
        desc=what,
        unit=unit,
        mininterval=IN_TERMINAL if sys.stderr.isatty() else ELSEWHERE,
        delay=0 if stays else 1,
        leave=stays,
        dynamic_ncols=True,
    )
