"""The timesteps of rows, from their times: the same in training and in the service."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

#: Largest distance of a time from a timestep, in steps.
TOLERANCE: Final = 0.01
#: The timestep of a row that is farther away than any other.
FARTHEST: Final = 2**53


def timesteps_of(
    times: NDArray[Any], starts: NDArray[np.intp], known: NDArray[Any], step: float | None
) -> NDArray[np.intp]:
    """Return the timestep of each row of some sequences, `(rows,)`.

    A sequence begins at the first of the known times if all its times are among them, else at its own first time.

    Args:
        times: `(rows,)` integers or numbers, ascending in each sequence.
        starts: `(sequences,)`, the first row of each sequence.
        known: `(timesteps,)`, the time of each timestep, ascending; empty if sequences begin at different times.
        step: the time between two timesteps; None for uneven times, whose rows are timesteps.
    """
    sizes = np.diff(starts, append=len(times))
    if step is None:
        own: NDArray[np.intp] = np.arange(len(times)) - starts.repeat(sizes)
    else:
        since = times - times[starts].repeat(sizes)
        farthest = (since < 0) | (since >= FARTHEST * step)  # the difference of two integers may be too large for one
        own = np.where(farthest, FARTHEST, np.rint(np.where(farthest, 0, since) / step)).astype(np.intp)
    if not len(known):
        return own
    above = np.searchsorted(known, times).clip(1, max(1, len(known) - 1))
    below = above - 1
    last = np.minimum(above, len(known) - 1)
    nearest = np.where(np.abs(times - known[below]) <= np.abs(known[last] - times), below, last)
    tolerance = TOLERANCE * (step or np.diff(known).min(initial=1))
    is_known = np.abs(times - known[nearest]) <= tolerance
    return np.where(np.logical_and.reduceat(is_known, starts).repeat(sizes), nearest, own)
