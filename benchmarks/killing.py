"""`python -m benchmarks.killing`: kill `attention-service score` at random moments, resume it, and compare the outputs.

A kill is SIGKILL to all processes of a run, to its main process alone, or to one worker. The next run resumes at once.
When a run reaches its end, its output is compared with that of an unbroken run, and a new output begins.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

import numpy as np
import polars as pl

from benchmarks.scoring import FORMS, PROCESSES, SHAPE, Form, publish, write_csv, write_long
from service.artifact.tensors import Array
from service.bulk.output import REJECTED

Victim = Literal["all", "main", "worker"]
VICTIMS: Final[tuple[Victim, ...]] = ("all", "main", "worker")
#: Part of the sequences with an infinite number, and seconds in which processes end after a kill.
WRONG, MOST_SECONDS = 0.01, 10.0


def write_shuffled(path: Path, x: Array) -> None:
    """Write a row for each timestep, in random order, which is prepared before workers read it."""
    write_long(path, x)
    pl.read_parquet(path).sample(fraction=1, shuffle=True, seed=0).write_parquet(path)


def write_wrong_csv(path: Path, x: Array) -> None:
    """Write a row for each sequence as text, and a line with a wrong number of cells."""
    write_csv(path, x)
    with path.open("a") as file:
        file.write("1,2,3\n")


MODEL: Final = "scored"
INPUTS: Final[Mapping[str, Form]] = {
    **{name: form for name, form in FORMS.items() if form.model == MODEL},
    "shuffled": Form("shuffled.parquet", write_shuffled),
    "csv": Form("wide.csv", write_wrong_csv),
}


@dataclass
class Killing:
    """The kills of the runs on one input.

    Attributes:
        command: the command line without the output.
        folder: the folder of the outputs.
        chosen: chooses victims and moments.
        kills: the kills by the victim, and whether workers had begun.
        outputs: the outputs that runs completed.
        problems: what was wrong.
    """

    command: list[str]
    folder: Path
    chosen: random.Random
    kills: Counter[tuple[Victim, bool]] = field(default_factory=Counter)
    outputs: int = 0
    problems: list[str] = field(default_factory=list)

    def run(self, times: int) -> None:
        """Compare with an unbroken run until there were so many kills, and the last output is complete."""
        expected = self.folder / "unbroken"
        started = time.monotonic()
        subprocess.run([*self.command, str(expected)], check=True, stdout=subprocess.DEVNULL)
        seconds = time.monotonic() - started
        output, resumes = self.folder / "output", False
        while True:
            enough = self.kills.total() >= times
            if self._begin(output, None if enough else self.chosen.uniform(0, seconds), resumes=resumes):
                self.problems += differences(output, expected)
                self.outputs += 1
                shutil.rmtree(output)
                if enough:
                    break
            resumes = output.exists()
        shutil.rmtree(expected)

    def _begin(self, output: Path, moment: float | None, *, resumes: bool) -> bool:
        """Run, and kill after some seconds. Return whether the run reached its end."""
        command = [*self.command, str(output), *(["--resume"] if resumes else [])]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)
        try:
            _, errors = process.communicate(timeout=moment)
        except subprocess.TimeoutExpired:
            self._kill(process)
            return False
        if process.returncode:
            self.problems.append(f"status {process.returncode}: {errors.decode().strip()}")
            shutil.rmtree(output, ignore_errors=True)
        return process.returncode == 0

    def _kill(self, process: subprocess.Popen[bytes]) -> None:
        """Kill, and wait for the main process, as a shell does."""
        workers, victim = workers_of(process.pid), self.chosen.choice(VICTIMS)
        if victim == "all":
            os.killpg(process.pid, signal.SIGKILL)
        elif victim == "main" or not workers:
            victim = "main"
            process.kill()
        else:
            os.kill(self.chosen.choice(workers), signal.SIGKILL)
        self.kills[victim, bool(workers)] += 1
        try:
            process.communicate(timeout=MOST_SECONDS)
        except subprocess.TimeoutExpired:
            self.problems.append(f"the main process goes on {MOST_SECONDS:g} s after {victim} was killed")
            os.killpg(process.pid, signal.SIGKILL)


def workers_of(parent: int) -> list[int]:
    """Return the worker processes of a run."""
    try:
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        return [int(one) for one in children if b"spawn_main" in Path(f"/proc/{one}/cmdline").read_bytes()]
    except OSError:  # it ended
        return []


def differences(output: Path, expected: Path) -> list[str]:
    """Return what differs between the outputs of two runs."""
    found = []
    for name in ("", REJECTED):
        one, other = (pl.read_parquet(sorted((folder / name).glob("*.parquet"))) for folder in (output, expected))
        key = ["file", "row", "reason"] if name else one.columns[:1]
        if not one.equals(other):
            found.append(f"{name or 'the parts'}: differ, {one.height:,} rows and {other.height:,}")
        if not one.sort(key).equals(other.sort(key)):
            found.append(f"{name or 'the parts'}: differ as sorted tables")
        if one.select(key).is_duplicated().any():
            found.append(f"{name or 'the parts'}: a row is there twice")
    left = [path.name for path in output.iterdir() if path.name.startswith("_unfinished") or path.name == "_prepared"]
    return found + [f"{name} is left" for name in left]


def main() -> None:
    """Kill, resume and compare; print a line for each form of input.

    Raises:
        SystemExit: an output differs, or a run that should go on did not.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.killing", description=__doc__)
    parser.add_argument("--sequences", type=int, default=40_000, help="sequences (default: 40,000)")
    parser.add_argument("--chunk", type=int, default=500, help="sequences of a unit (default: 500)")
    parser.add_argument("--kills", type=int, default=20, help="kills for each form (default: 20)")
    parser.add_argument("--seed", type=int, default=0, help="seed of victims and moments (default: 0)")
    parser.add_argument("--forms", nargs="+", choices=INPUTS, default=list(INPUTS), help="forms (default: all)")
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    x = rng.standard_normal((options.sequences, SHAPE.timesteps, SHAPE.features)).astype(np.float32)
    x[rng.random(options.sequences) < WRONG, 0, 0] = np.inf
    missed = False
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        publish(folder)
        for form in options.forms:
            file, write, _ = INPUTS[form]
            write(folder / file, x)
            command = [sys.executable, "-m", "service", "score", str(folder / file), "--model", MODEL, "--importance"]
            command += ["--artifacts", str(folder / "artifacts"), "--workers", str(PROCESSES)]
            command += ["--chunk", str(options.chunk)]
            killing = Killing(command, folder, random.Random(f"{form} {options.seed}"))  # noqa: S311 - not for secrets
            started = time.monotonic()
            killing.run(options.kills)
            missed |= bool(killing.problems)
            print(f"{form:<9} seed {options.seed}: {told(killing)}, {time.monotonic() - started:.0f} s", flush=True)
    if missed:
        raise SystemExit("missed: expected the output of an unbroken run")


def told(killing: Killing) -> str:
    """Return the outcome of the runs on one input."""
    kills = killing.kills
    of_each = ", ".join(f"{sum(kills[one, begun] for begun in (False, True))} of {one}" for one in VICTIMS)
    early = sum(number for (_, begun), number in kills.items() if not begun)
    outcome = "; ".join(killing.problems) or "all equal to the unbroken run"
    return f"{kills.total()} kills ({of_each}; {early} before workers began), {killing.outputs} outputs, {outcome}"


if __name__ == "__main__":
    main()
