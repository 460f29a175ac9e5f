"""A small table of machines and their sensors, as a frame and as arrays, and a model of it."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

MACHINES, DAYS = 60, 5
#: The options that describe the frame.
FRAME_OPTIONS: dict[str, Any] = {
    "target_column": ("state",),
    "sequence_column": "machine",
    "timestep_column": "day",
}


def sensors() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return sequences `(60, 5, 2)` and their labels `(60,)`, which the vibration of day 2 decides."""
    x = np.random.default_rng(0).normal(size=(MACHINES, DAYS, 2))
    labels = np.where(np.arange(MACHINES) % 3 == 0, "failed", "fine")
    x[labels == "failed", 2, 1] += 5
    return x, labels


def long_frame() -> pd.DataFrame:
    """Return the same as a long table."""
    x, labels = sensors()
    return pd.DataFrame(
        {
            "machine": np.repeat([f"m{number}" for number in range(MACHINES)], DAYS),
            "day": np.tile(np.arange(DAYS), MACHINES),
            "temperature": x[:, :, 0].ravel(),
            "vibration": x[:, :, 1].ravel(),
            "state": np.repeat(labels, DAYS),
        }
    )


def train_on_frame(folder: Path) -> None:
    """Train on the frame in memory, and publish below a folder."""
    import training

    options = {**FRAME_OPTIONS, "name": "monitored", "architecture": "after_lstm", "units": 4}
    options |= {"epochs": 40, "batch_size": 8, "learning_rate": 0.01}
    training.train(long_frame(), artifacts=folder, target=options.pop("target_column"), **options)
