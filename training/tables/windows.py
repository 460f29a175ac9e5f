"""Windows of long series: sequences of neighbouring rows, and the values that follow them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.artifact.tensors import Array
from training.data import Indices


@dataclass(frozen=True)
class Windows:
    """Sequences of `width` neighbouring timesteps of one or more series, cut on access.

    Attributes:
        steps: `(all timesteps, features)`, of all series, one after the other.
        starts: `(n,)`, the first timestep of each window.
        width: timesteps of a window.
    """

    steps: Array
    starts: Indices
    width: int

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.starts), self.width, self.steps.shape[1])

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, rows: Indices | slice, /) -> Array:
        return self.steps[self.starts[rows][:, np.newaxis] + np.arange(self.width)]


def window_starts(lengths: Indices, width: int, horizon: int, stride: int) -> Indices:
    """Return the first timestep of each window that `horizon` more timesteps follow, in series of some lengths.

    A series has windows at every `stride`, counted from its end, so that the newest timesteps are used.
    """
    ends = np.cumsum(lengths)
    return np.concatenate(
        [
            np.arange(end - width - horizon, end - length - 1, -stride)[::-1]
            for end, length in zip(ends.tolist(), lengths.tolist(), strict=True)
        ]
    ).astype(np.int64)


def split_by_time(
    starts: Indices, times: NDArray[np.float64], width: int, horizon: int, held_out: float
) -> tuple[Indices, Indices]:
    """Return the indices of the windows to fit and to hold out, each in the order of time.

    The last windows are held out. Those that share a time with them, in their timesteps or what they predict, are left
    out of the fit.

    Args:
        starts: `(n,)`, the first timestep of each window.
        times: `(all timesteps,)`, the time of each timestep, of all series on one scale.
        width: timesteps of a window.
        horizon: timesteps after it that are predicted.
        held_out: the fraction to hold out.
    """
    order = np.argsort(times[starts], kind="stable")
    count = round(len(starts) * held_out)
    test = order[len(order) - count :]
    begin = times[starts[test]].min(initial=np.inf)
    last = times[starts + width + horizon - 1]
    return order[: len(order) - count][last[order[: len(order) - count]] < begin], test
