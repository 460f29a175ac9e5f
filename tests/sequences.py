"""Sequences with absent timesteps or missing values, for hypothesis."""

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from service.artifact.tensors import Array


@st.composite
def sequences_with_gaps(draw: st.DrawFn, timesteps: int, features: int) -> Array:
    """Return 1 to 4 sequences `(n, timesteps, features)`, NaN after their end and at some places before it."""
    n = draw(st.integers(1, 4))
    values = st.floats(-8, 8, width=32)
    x: Array = draw(hnp.arrays(np.float32, (n, timesteps, features), elements=values))
    missing = draw(hnp.arrays(np.bool_, x.shape, elements=st.sampled_from([False, False, False, True])))
    lengths = draw(hnp.arrays(np.int64, n, elements=st.integers(0, timesteps)))
    ended = np.arange(timesteps) >= lengths[:, np.newaxis]
    return np.where(missing | ended[..., np.newaxis], np.float32(np.nan), x)
