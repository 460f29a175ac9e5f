"""`python -m benchmarks.scoring`: rows per second of `attention-service score`, beside its engine alone."""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from benchmarks.shapes import Shape, publish_models
from service.artifact.card import ModelCard, TableFormat
from service.artifact.gate import open_verified
from service.artifact.tensors import ATTENTION, PREDICTION, Array
from service.artifact.version import Artifact
from service.engines import opener

SHAPE = Shape(20, 2, 32)
#: Names of the features of the tables.
NAMES = ("u", "v")
PROCESSES, BATCH = 2, 64
#: Runs a command and prints the largest memory of one of its processes, in KB.
MEASURED = (
    "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL); "
    "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
)


class Run(NamedTuple):
    """One run: its duration in seconds, and the memory of its largest process in MB, 0 if not measured."""

    seconds: float
    memory: float


def write_wide(path: Path, x: Array) -> None:
    """Write a row for each sequence."""
    columns = {f"{name}@{t}": x[:, t, f] for t in range(SHAPE.timesteps) for f, name in enumerate(NAMES)}
    pl.DataFrame(columns).write_parquet(path)


def write_long(path: Path, x: Array) -> None:
    """Write a row for each timestep."""
    n, timesteps, _ = x.shape
    values = {name: x[:, :, f].ravel() for f, name in enumerate(NAMES)}
    keys = {"id": np.arange(n).repeat(timesteps), "t": np.tile(np.arange(timesteps), n)}
    pl.DataFrame(keys | values).write_parquet(path)


def write_lists(path: Path, x: Array) -> None:
    """Write a row for each sequence, with a list for each feature."""
    columns = {name: pl.Series(x[:, :, f]).cast(pl.List(pl.Float32)) for f, name in enumerate(NAMES)}
    pl.DataFrame(columns).write_parquet(path)


def write_npz(path: Path, x: Array) -> None:
    """Write an array that is not compressed."""
    np.savez(path, x=x)


def write_csv(path: Path, x: Array) -> None:
    """Write a row for each sequence, as text."""
    write_wide(path.with_suffix(".wide"), x)
    pl.read_parquet(path.with_suffix(".wide")).write_csv(path)


FORMS: Mapping[str, tuple[str, Callable[[Path, Array], None]]] = {
    "wide": ("wide.parquet", write_wide),
    "long": ("long.parquet", write_long),
    "lists": ("lists.parquet", write_lists),
    "npz": ("array.npz", write_npz),
    "csv": ("wide.csv", write_csv),
}


def main() -> None:
    """Run in turns, and print medians and their ratios."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scoring", description=__doc__)
    parser.add_argument("--sequences", type=int, default=1_000_000, help="sequences (default: 1,000,000)")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each (default: 5)")
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=list(FORMS), help="forms of input (default: all)")
    parser.add_argument("--importance", action="store_true", help="with importance")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        publish(folder)
        x = np.random.default_rng(0).standard_normal((options.sequences, SHAPE.timesteps, SHAPE.features))
        np.save(folder / "x.npy", x.astype(np.float32))
        for form in options.forms:
            file, write = FORMS[form]
            write(folder / file, x.astype(np.float32))
            write(folder / f"one-{file}", x[:1].astype(np.float32))
        del x
        runs: dict[str, list[Run]] = {}
        starts: dict[str, list[float]] = {}
        for number in range(options.rounds):
            alone, loops = engine_alone(folder, options.sequences)
            runs.setdefault("engine alone", []).append(alone)
            starts.setdefault("engine alone", []).append(alone.seconds - loops)
            for form in options.forms:
                more = ["--importance"] if options.importance else []
                runs.setdefault(form, []).append(scored(folder, FORMS[form][0], more))
                starts.setdefault(form, []).append(scored(folder, f"one-{FORMS[form][0]}", more).seconds)
            print(
                f"round {number + 1}: {json.dumps({form: round(some[-1].seconds, 1) for form, some in runs.items()})}"
            )
    report(runs, starts, options.sequences)


def report(runs: Mapping[str, list[Run]], starts: Mapping[str, list[float]], sequences: int) -> None:
    """Print a line for each form."""
    whole = {form: statistics.median(run.seconds for run in some) for form, some in runs.items()}
    without = {form: seconds - statistics.median(starts[form]) for form, seconds in whole.items()}
    for form, some in runs.items():
        memory = max(run.memory for run in some)
        print(
            f"{form:<12} {whole[form]:6.1f} s, {sequences / whole[form]:8,.0f} sequences per second, "
            f"{whole['engine alone'] / whole[form]:.2f} of the engine alone; without the start "
            f"{without['engine alone'] / without[form]:.2f}; at most {memory:.0f} MB in a process"
        )


def publish(folder: Path) -> None:
    """Publish the model `scored`, which takes all forms of tables."""
    artifacts = publish_models(SHAPE, 1, folder)
    artifact = Artifact(folder / "artifacts" / "scored" / "1")
    shutil.copytree(artifacts / f"{SHAPE.name}-1" / "1", artifact.directory)
    card = ModelCard.model_validate_json(artifact.card_path.read_text())
    changes = {
        "name": "scored",
        "feature_labels": NAMES,
        "table": TableFormat(sequence_column="id", timestep_column="t"),
        "baseline": ((0.0,) * SHAPE.features,) * SHAPE.timesteps,
    }
    artifact.card_path.write_text(card.model_copy(update=changes).model_dump_json())
    artifact.write_sums()


def engine_alone(folder: Path, sequences: int) -> tuple[Run, float]:
    """Run all sequences by processes that only run the engine. Return the run, and its time after their start."""
    started = time.monotonic()
    ranges = [(sequences * part // PROCESSES, sequences * (part + 1) // PROCESSES) for part in range(PROCESSES)]
    with ProcessPoolExecutor(PROCESSES, get_context("spawn")) as pool:
        seconds = list(pool.map(_engine, [folder] * PROCESSES, *zip(*ranges, strict=True)))
    return Run(time.monotonic() - started, 0), max(seconds)


def _engine(folder: Path, start: int, stop: int) -> float:
    engine = open_verified(Artifact(folder / "artifacts/scored/1").read(), opener("auto", threads=1)).engine
    x = np.load(folder / "x.npy", mmap_mode="r")
    started = time.monotonic()
    for begin in range(start, stop, BATCH):
        engine.run(x[begin : min(begin + BATCH, stop)], (PREDICTION, ATTENTION))
    return time.monotonic() - started


def scored(folder: Path, file: str, more: list[str]) -> Run:
    """Score a file by the program."""
    output = folder / "output"
    command = [sys.executable, "-m", "service", "score", str(folder / file), str(output), "--model", "scored"]
    command += ["--artifacts", str(folder / "artifacts"), "--workers", str(PROCESSES), *more]
    started = time.monotonic()
    outcome = subprocess.run([sys.executable, "-c", MEASURED, *command], check=True, stdout=subprocess.PIPE, text=True)
    seconds = time.monotonic() - started
    shutil.rmtree(output)
    return Run(seconds, int(outcome.stdout) / 1024)


if __name__ == "__main__":
    main()
