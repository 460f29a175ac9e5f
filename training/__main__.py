"""`python -m training`: options, then train, then publish; or, by its first argument, compare or prune versions."""

import logging
import os
import sys
from pathlib import Path
from statistics import mean, pstdev

from service.artifact.card import ModelCard
from service.artifact.layout import versions_of
from service.artifact.publishing import prune
from service.artifact.version import Artifact
from service.errors import ArtifactError
from training import TrainingError
from training.compare import compare
from training.options import Compare, Options, Prune
from training.sources.loading import load

#: Most timesteps that the summary lists.
MOST_SHOWN = 5


def main() -> None:
    """Do what the command line asks for."""
    try:
        match sys.argv[1:]:
            case ["prune", *arguments]:
                print(pruned(Prune.from_command_line(arguments)))
            case ["compare", *arguments]:
                print(compare(Compare.from_command_line(arguments)))
            case arguments:
                print(trained(Options.from_command_line(arguments)))
    except (TrainingError, ArtifactError, OSError) as error:
        raise SystemExit(f"error: {error}") from None
    except KeyboardInterrupt:
        raise SystemExit("stopped; a training goes on with --resume") from None


def trained(options: Options) -> str:
    """Train and publish; returns what it came to."""
    dataset = load(options)  # before TensorFlow, whose import takes seconds, as so much may be wrong with it
    # TensorFlow prints its search for GPUs as errors; what matters is raised as an exception.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from training.run import run

    for library in ("tensorflow", "tf2onnx"):  # the former warns that several seeds are several graphs
        logging.getLogger(library).setLevel(logging.ERROR)
    return summary(run(options, dataset))


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
    shape = f"{'up to ' if card.variable_length else ''}{card.timesteps} × {card.features}"
    rows = {
        "trained on": f"{record.sequences:,} sequences of {shape} in {record.seconds:.1f} s "
        f"({card.architecture}, {record.parameters:,} weights, epoch {record.best_epoch} of {record.epochs})",
        "held out": f"{profile.sequences:,} sequences: {metrics}",
        "attention": f"highest at timestep {card.timestep_labels[profile.peak]} "
        f"({profile.mean[profile.peak]:.3f} of 1); every sequence sums to 1 within {profile.sum_error:.0e}",
        "importance": _importance(card),
        "seeds": _seeds(card),
        "lowering": f"ONNX opset {card.lowering.opset}, within {card.lowering.error:.0e} of the SavedModel",
        "chart": str(Artifact(published).chart_path("svg")),
    }
    lines = [
        f"{card.name} version {published.name}: {published}",
        *(f"  {name:<11} {text}" for name, text in rows.items() if text),
    ]
    return "\n".join(lines)


def _importance(card: ModelCard) -> str:
    importance, agreement = card.importance, card.agreement
    assert importance is not None
    assert agreement is not None
    if importance.mass is None:
        return f"none: {importance.metric} never drops when a timestep's values are exchanged between sequences"
    labels = [card.timestep_labels[t] for t in agreement.top]
    top = ", ".join(labels[:MOST_SHOWN]) + (f" and {len(labels) - MOST_SHOWN} more" if len(labels) > MOST_SHOWN else "")
    correlation = "none" if agreement.rank_correlation is None else f"{agreement.rank_correlation:.2f}"
    return (
        f"{importance.metric} drops by up to {max(importance.drop):.2g} of {importance.sequences:,} sequences; "
        f"{agreement.importance:.3f} of all drops at timestep {top}, where {agreement.attention:.3f} of attention is; "
        f"rank correlation {correlation}"
    )


def _seeds(card: ModelCard) -> str:
    if card.repeats is None:
        return ""
    metrics = ", ".join(
        f"{name} {mean(values):.4f} ± {pstdev(values):.4f}" for name, values in card.repeats.metrics.items()
    )
    return f"{len(card.repeats.seeds)}: {metrics}; attention differs by up to ±{max(card.repeats.attention_spread):.3f}"


def _list(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers)) or "none"


if __name__ == "__main__":
    main()
