"""`python -m training`: options, then train, then publish; `python -m training prune` removes what has become old."""

import logging
import os
import sys
from pathlib import Path

from service.errors import ArtifactError
from service.inference.artifact import Artifact
from service.inference.repository import versions_of
from training.errors import TrainingError
from training.options import Options, Prune
from training.publishing import prune


def main() -> None:
    """Do what the command line asks for."""
    try:
        if sys.argv[1:2] == ["prune"]:
            print(pruned(Prune.from_command_line(sys.argv[2:])))
        else:
            print(trained(Options.from_command_line(sys.argv[1:])))
    except (TrainingError, ArtifactError, OSError) as error:
        raise SystemExit(f"error: {error}") from None


def trained(options: Options) -> str:
    """Train and publish; returns what it came to."""
    # TensorFlow prints its search for GPUs as errors; what matters is raised as an exception.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from training.run import run  # after the options: importing TensorFlow takes seconds

    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    return summary(run(options))


def pruned(options: Prune) -> str:
    """Remove old versions; returns which."""
    home = options.artifacts / options.name
    if not home.is_dir():
        raise TrainingError(f"no model {options.name!r} in {options.artifacts}")
    removed = prune(home, options.keep)
    return f"{options.name}: removed {_list(removed)}; kept {_list(versions_of(home))}"


def summary(published: Path) -> str:
    """What a run came to, for people, read back from what it published."""
    card = Artifact(published).read().card()
    profile, record = card.attention, card.training
    assert card.lowering is not None, "publish() writes the lowering"
    metrics = ", ".join(f"{name} {value:.4f}" for name, value in card.metrics.items())
    rows = {
        "trained on": f"{record.sequences:,} sequences of {card.timesteps} × {card.features} in {record.seconds:.1f} s "
        f"({card.architecture}, {record.parameters:,} weights)",
        "held out": f"{profile.sequences:,} sequences: {metrics}",
        "attention": f"highest at timestep {card.timestep_labels[profile.peak]} "
        f"({profile.mean[profile.peak]:.3f} of 1); every sequence sums to 1 within {profile.sum_error:.0e}",
        "lowering": f"ONNX opset {card.lowering.opset}, within {card.lowering.error:.0e} of the SavedModel",
        "chart": str(Artifact(published).chart_path("svg")),
    }
    lines = [
        f"{card.name} version {published.name}: {published}",
        *(f"  {name:<11} {text}" for name, text in rows.items()),
    ]
    return "\n".join(lines)


def _list(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers)) or "none"


if __name__ == "__main__":
    main()
