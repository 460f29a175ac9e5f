"""`python -m benchmarks.fitting`: time the default job, fitted by its first script, by training and by PyTorch."""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from benchmarks.contestants import HERE
from benchmarks.servers import install
from service.artifact.version import Artifact

#: Longest time of a fit, in seconds.
TIMEOUT = 600


class Fit(NamedTuple):
    """One fit: its duration in seconds, and the accuracy on held-out sequences."""

    seconds: float
    accuracy: float


def by_script(seed: int, _: Path) -> Fit:
    """Fit with the script that the default job comes from."""
    return _parsed(_run(sys.executable, "-m", "benchmarks.keras_loop", str(seed)))


def by_training(seed: int, _: Path) -> Fit:
    """Fit with the training program."""
    with tempfile.TemporaryDirectory() as folder:
        _run(sys.executable, "-m", "training", "--artifacts", folder, "--name", "m", "--seed", str(seed))
        card = Artifact(Path(folder) / "m" / "1").read().card()
    assert card.training is not None
    return Fit(card.training.seconds, card.metrics["accuracy"])


def by_pytorch(seed: int, environments: Path) -> Fit:
    """Fit with PyTorch, in an environment of its own."""
    peer = HERE / "pytorch"
    return _parsed(_run(str(install(peer, environments) / "python"), str(peer / "fit.py"), str(seed)))


FITS: Mapping[str, Callable[[int, Path], Fit]] = {
    "first script": by_script,
    "training": by_training,
    "PyTorch": by_pytorch,
}


def main() -> None:
    """Fit in turns, and print medians and their ratios."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fitting", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="fits of each (default: 3)")
    parser.add_argument("--environments", type=Path, default=Path(".venv/peers"), help="where PyTorch is installed")
    options = parser.parse_args()
    fits: dict[str, list[Fit]] = {name: [] for name in FITS}
    for seed in range(options.rounds):
        for name, fit in FITS.items():
            fits[name].append(fit(seed, options.environments))
            print(f"round {seed + 1}: {name}: {fits[name][-1].seconds:.1f} s, accuracy {fits[name][-1].accuracy:.4f}")
    medians = {name: statistics.median(fit.seconds for fit in some) for name, some in fits.items()}
    first, *_ = medians.values()
    for name, some in fits.items():
        worst = min(fit.accuracy for fit in some)
        print(
            f"{name:<12} {medians[name]:.1f} s (median of {len(some)}), {medians[name] / first:.2f} of the first "
            f"script, accuracy at least {worst:.4f}"
        )


def _parsed(outcome: str) -> Fit:
    return Fit(**json.loads(outcome.splitlines()[-1]))


def _run(*command: str) -> str:
    outcome = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, timeout=TIMEOUT, check=True
    )
    return outcome.stdout


if __name__ == "__main__":
    main()
