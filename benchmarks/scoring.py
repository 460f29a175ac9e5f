"""`python -m benchmarks.scoring`: rows per second of `attention-service score`, beside its engine alone."""

import argparse
import json
import resource
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
#: The models: one of sequences of 20 timesteps, one of sequences of 5 to 20.
SHAPES: Mapping[str, Shape] = {"scored": SHAPE, "varied": SHAPE._replace(variable_length=True)}
FEWEST = 5
#: Names of the features of the tables.
NAMES = ("u", "v")
PROCESSES, BATCH = 2, 64
#: Runs a command and prints the processor time of its processes, and the largest memory of one of them in KB.
MEASURED = (
    "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL); "
    "used = resource.getrusage(resource.RUSAGE_CHILDREN); print(used.ru_utime + used.ru_stime, used.ru_maxrss)"
)


class Run(NamedTuple):
    """One run: its duration and its processor time in seconds, and its largest process in MB, 0 if not measured."""

    seconds: float
    processor: float
    memory: float = 0


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


def write_varied(path: Path, x: Array) -> None:
    """Write a row for each timestep that is not NaN."""
    there = ~np.isnan(x[:, :, 0])
    values = {name: x[:, :, f][there] for f, name in enumerate(NAMES)}
    number, step = np.nonzero(there)
    pl.DataFrame({"id": number, "t": step} | values).write_parquet(path)


def write_npz(path: Path, x: Array) -> None:
    """Write an array that is not compressed."""
    np.savez(path, x=x)


def write_csv(path: Path, x: Array) -> None:
    """Write a row for each sequence, as text."""
    write_wide(path.with_suffix(".wide"), x)
    pl.read_parquet(path.with_suffix(".wide")).write_csv(path)


class Form(NamedTuple):
    """A form of input: the name of its file, what writes it, and the model that takes it."""

    file: str
    write: Callable[[Path, Array], None]
    model: str = "scored"

    @property
    def alone(self) -> str:
        """The name of the runs of the model's engine alone."""
        return "engine alone" if self.model == "scored" else f"engine alone, {self.model}"


FORMS: Mapping[str, Form] = {
    "wide": Form("wide.parquet", write_wide),
    "long": Form("long.parquet", write_long),
    "lists": Form("lists.parquet", write_lists),
    "npz": Form("array.npz", write_npz),
    "csv": Form("wide.csv", write_csv),
    "varied": Form("varied.parquet", write_varied, "varied"),
}


def main() -> None:
    """Run in turns, and print medians and their ratios, for each number of sequences."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scoring", description=__doc__)
    parser.add_argument(
        "--sequences", type=int, nargs="+", default=[1_000_000], help="sequences, one or several numbers of them"
    )
    parser.add_argument("--rounds", type=int, default=5, help="runs of each (default: 5)")
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=list(FORMS), help="forms of input (default: all)")
    parser.add_argument("--importance", action="store_true", help="with importance")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        publish(folder)
        for sequences in options.sequences:
            measure(folder, sequences, {form: FORMS[form] for form in options.forms}, options)


def measure(folder: Path, sequences: int, forms: Mapping[str, Form], options: argparse.Namespace) -> None:
    """Measure forms of input with some sequences, and print the outcome."""
    x = {model: values(model, sequences) for model in {form.model for form in forms.values()}}
    for model, array in x.items():
        np.save(folder / f"{model}.npy", array)
    for form in forms.values():
        form.write(folder / form.file, x[form.model])
        form.write(folder / f"one-{form.file}", x[form.model][:1])
    del x
    more = ["--importance"] if options.importance else []
    runs: dict[str, list[Run]] = {}
    starts: dict[str, list[float]] = {}
    for number in range(options.rounds):
        for alone, model in {form.alone: form.model for form in forms.values()}.items():
            run, loops = engine_alone(folder, model, sequences)
            runs.setdefault(alone, []).append(run)
            starts.setdefault(alone, []).append(run.seconds - loops)
        for name, form in forms.items():
            runs.setdefault(name, []).append(scored(folder, form.file, form.model, more))
            starts.setdefault(name, []).append(scored(folder, f"one-{form.file}", form.model, more).seconds)
        print(f"round {number + 1}: {json.dumps({name: round(some[-1].seconds, 1) for name, some in runs.items()})}")
    report(runs, starts, forms, sequences)


def values(model: str, sequences: int) -> Array:
    """Return random sequences `(n, timesteps, features)`, NaN after their ends."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((sequences, SHAPE.timesteps, SHAPE.features), np.float32)
    if SHAPES[model].variable_length:
        lengths = rng.integers(FEWEST, SHAPE.timesteps + 1, sequences)
        x[np.arange(SHAPE.timesteps) >= lengths[:, np.newaxis]] = np.nan
    return x


def report(
    runs: Mapping[str, list[Run]], starts: Mapping[str, list[float]], forms: Mapping[str, Form], sequences: int
) -> None:
    """Print a line for each form, and for the engine alone."""
    whole = {name: statistics.median(run.seconds for run in some) for name, some in runs.items()}
    without = {name: seconds - statistics.median(starts[name]) for name, seconds in whole.items()}
    print(f"{sequences:,} sequences, median of {len(next(iter(runs.values())))}")
    for name, some in runs.items():
        processor = statistics.median(run.processor for run in some)
        line = (
            f"{name:<20} {whole[name]:6.1f} s, {sequences / whole[name]:8,.0f} sequences per second, "
            f"processor time {processor:.1f} s"
        )
        if name in forms:
            alone = forms[name].alone
            memory = max(run.memory for run in some)
            line += (
                f", {whole[alone] / whole[name]:.2f} of the engine alone; without the start "
                f"{without[alone] / without[name]:.2f}; at most {memory:.0f} MB in a process"
            )
        print(line)


def publish(folder: Path) -> None:
    """Publish the models, which take all forms of tables."""
    for name, shape in SHAPES.items():
        artifact = Artifact(folder / "artifacts" / name / "1")
        shutil.copytree(publish_models(shape, 1, folder) / f"{shape.name}-1" / "1", artifact.directory)
        card = ModelCard.model_validate_json(artifact.card_path.read_text())
        changes = {
            "name": name,
            "feature_labels": NAMES,
            "table": TableFormat(sequence_column="id", timestep_column="t"),
            "baseline": ((0.0,) * shape.features,) * shape.timesteps,
        }
        artifact.card_path.write_text(card.model_copy(update=changes).model_dump_json())
        artifact.write_sums()


def engine_alone(folder: Path, model: str, sequences: int) -> tuple[Run, float]:
    """Run all sequences by processes that only run the engine. Return the run, and its time after their start."""
    started, used = time.monotonic(), _processor_time()
    ranges = [(sequences * part // PROCESSES, sequences * (part + 1) // PROCESSES) for part in range(PROCESSES)]
    with ProcessPoolExecutor(PROCESSES, get_context("spawn")) as pool:
        seconds = list(pool.map(_engine, [folder] * PROCESSES, [model] * PROCESSES, *zip(*ranges, strict=True)))
    return Run(time.monotonic() - started, _processor_time() - used), max(seconds)


def _processor_time() -> float:
    """Return the processor time of the child processes that have ended, in seconds."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _engine(folder: Path, model: str, start: int, stop: int) -> float:
    engine = open_verified(Artifact(folder / "artifacts" / model / "1").read(), opener("auto", threads=1)).engine
    x = np.load(folder / f"{model}.npy", mmap_mode="r")
    started = time.monotonic()
    for begin in range(start, stop, BATCH):
        engine.run(x[begin : min(begin + BATCH, stop)], (PREDICTION, ATTENTION))
    return time.monotonic() - started


def scored(folder: Path, file: str, model: str, more: list[str]) -> Run:
    """Score a file by the program."""
    output = folder / "output"
    command = [sys.executable, "-m", "service", "score", str(folder / file), str(output), "--model", model]
    command += ["--artifacts", str(folder / "artifacts"), "--workers", str(PROCESSES), *more]
    started = time.monotonic()
    outcome = subprocess.run([sys.executable, "-c", MEASURED, *command], check=True, stdout=subprocess.PIPE, text=True)
    seconds = time.monotonic() - started
    shutil.rmtree(output)
    processor, memory = map(float, outcome.stdout.split())
    return Run(seconds, processor, memory / 1024)


if __name__ == "__main__":
    main()
