"""`python -m benchmarks.fitting`: time the default job, fitted by Keras's own loop and by `python -m training`."""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from service.artifact.version import Artifact

#: Longest time of a fit, in seconds.
TIMEOUT = 600


class Fit(NamedTuple):
    """One fit: its duration in seconds, and the accuracy on held-out sequences."""

    seconds: float
    accuracy: float


def by_keras_loop(seed: int) -> Fit:
    """Fit with the script that the default job comes from."""
    outcome = _run("benchmarks.keras_loop", str(seed))
    return Fit(**json.loads(outcome.splitlines()[-1]))


def by_training(seed: int) -> Fit:
    """Fit with the training program."""
    with tempfile.TemporaryDirectory() as folder:
        _run("training", "--artifacts", folder, "--name", "m", "--seed", str(seed))
        card = Artifact(Path(folder) / "m" / "1").read().card()
    return Fit(card.training.seconds, card.metrics["accuracy"])


FITS: Mapping[str, Callable[[int], Fit]] = {"Keras's loop": by_keras_loop, "training": by_training}


def main() -> None:
    """Fit in turns, and print medians and their ratio."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fitting", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="fits of each (default: 3)")
    options = parser.parse_args()
    fits: dict[str, list[Fit]] = {name: [] for name in FITS}
    for seed in range(options.rounds):
        for name, fit in FITS.items():
            fits[name].append(fit(seed))
            print(f"round {seed + 1}: {name}: {fits[name][-1].seconds:.1f} s, accuracy {fits[name][-1].accuracy:.4f}")
    medians = {name: statistics.median(fit.seconds for fit in some) for name, some in fits.items()}
    for name, some in fits.items():
        worst = min(fit.accuracy for fit in some)
        print(f"{name:<14} {medians[name]:.1f} s (median of {len(some)}), accuracy at least {worst:.4f}")
    script, ours = medians.values()
    print(f"ratio          {ours / script:.2f}")


def _run(module: str, *arguments: str) -> str:
    command = [sys.executable, "-m", module, *arguments]
    outcome = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, timeout=TIMEOUT, check=True
    )
    return outcome.stdout


if __name__ == "__main__":
    main()
