"""The frameworks are imported without messages that do not help."""

import warnings

import numpy as np

from training.frameworks import import_frameworks


def test_attention_over_a_single_timestep_is_no_mistake() -> None:
    """Keras warns of a softmax that is always 1, but for sequences of one timestep it is meant."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        import_frameworks()
        import keras

        keras.ops.softmax(np.ones((2, 1), np.float32))
        assert caught == []
        warnings.simplefilter("always")
        keras.ops.softmax(np.ones((2, 1), np.float32))
        assert len(caught) == 1  # Keras still has this warning
