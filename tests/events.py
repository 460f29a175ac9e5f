"""TensorBoard's view of the logs of a fit."""

from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def logged(folder: Path) -> dict[str, dict[int, float]]:
    """Return the value of each scalar at each step, by name."""
    accumulator = EventAccumulator(str(folder), {"tensors": 0})  # 0: all of them
    accumulator.Reload()
    return {
        tag: {event.step: float(np.asarray(tf.make_ndarray(event.tensor_proto))) for event in accumulator.Tensors(tag)}
        for tag in accumulator.Tags()["tensors"]
    }
