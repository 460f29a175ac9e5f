"""Tables to train on, and the models of them."""

import csv
from pathlib import Path
from typing import Any

import numpy as np

#: The options of training, by the name of the model. Each table has its name.
OPTIONS: dict[str, dict[str, Any]] = {
    # One row a timestep; shorter sequences and missing values.
    "visits": {
        "sequence_column": "patient",
        "timestep_column": "day",
        "target_column": ("outcome",),
        "drop_columns": ("note",),
    },
    # One row a sequence of one feature.
    "meter": {"target_column": ("season",), "drop_columns": ("id",)},
    # One row a sequence of two features.
    "machine": {"target_column": ("wear",)},
}


def write_tables(folder: Path) -> None:
    """Write the three tables as CSV."""
    rng = np.random.default_rng(0)
    visits: list[list[Any]] = [["patient", "day", "pulse", "temperature [C]", "note", "outcome"]]
    for patient in range(40):
        outcome = ("well", "readmitted")[patient % 2]
        for day in range(2 + patient % 3):
            pulse = "" if day == 1 and patient % 4 == 0 else 60 + day + patient % 7
            visits.append([f"p{patient}", day, pulse, round(36 + rng.random(), 1), 'a "note", with commas', outcome])
    hours = [f"{hour}:00" for hour in range(6)]
    meter: list[list[Any]] = [["id", *hours, "season"]]
    meter += [[index, *rng.normal(size=6).round(3).tolist(), ("winter", "summer")[index % 2]] for index in range(40)]
    columns = [f"{feature}@{step}" for step in ("t0", "t1", "t2") for feature in ("torque", "speed")]
    machine: list[list[Any]] = [[*columns, "wear"]]
    machine += [[*rng.normal(size=6).round(3).tolist(), round(float(rng.normal()), 3)] for _ in range(40)]
    for name, rows in {"visits": visits, "meter": meter, "machine": machine}.items():
        with (folder / f"{name}.csv").open("w", newline="") as file:
            csv.writer(file).writerows(rows)


def train_on_tables(folder: Path) -> None:
    """Write the tables, and train a model on each."""
    from tests.samples import trained  # it imports TensorFlow

    write_tables(folder)
    same = {"architecture": "after_lstm", "artifacts": folder / "models", "units": 4, "batch_size": 8}
    for name, options in OPTIONS.items():
        trained(name=name, data=str(folder / f"{name}.csv"), **same, **options)
