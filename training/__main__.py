"""The command line of training: train and publish a version, `compare` versions, or `prune` them."""

import logging
import os
import sys
import tempfile
from pathlib import Path
from statistics import mean, pstdev

from service import __version__
from service.artifact.card import ModelCard, TrainingRecord
from service.artifact.layout import versions_of
from service.artifact.publishing import prune
from service.artifact.version import Artifact
from service.errors import ArtifactError
from training import TrainingError
from training.compare import compare
from training.options import Compare, Options, Prune

#: Environment variables of the folders in which Keras, matplotlib and aeon write settings and caches, and the folders
#: below the home directory where they would be without the variables.
CACHES = {"KERAS_HOME": ".keras", "MPLCONFIGDIR": ".config/matplotlib", "AEON_DATA": "aeon_data"}
#: Largest number of timesteps in the summary.
MOST_SHOWN = 5


def main() -> None:
    """Run the command line."""
    try:
        match sys.argv[1:]:
            case ["--version"]:
                print(f"attention-training {__version__}")
            case ["prune", *arguments]:
                print(pruned(Prune.from_command_line(arguments)))
            case ["compare", *arguments]:
                print(compare(Compare.from_command_line(arguments)))
            case arguments:
                options = Options.from_command_line(arguments)
                with tempfile.TemporaryDirectory(prefix="attention-training-") as private:
                    for variable, folder in CACHES.items():
                        if not Path(os.environ.get("HOME", "/"), folder).exists():
                            os.environ.setdefault(variable, private)
                    print(trained(options))
    except ModuleNotFoundError as error:
        raise SystemExit(
            f"error: training needs the module {error.name!r}: pip install 'attention-service[training]'"
        ) from None
    except (TrainingError, ArtifactError, OSError) as error:
        raise SystemExit(f"error: {error}") from None
    except KeyboardInterrupt:
        raise SystemExit("stopped; --resume continues the training") from None


def trained(options: Options) -> str:
    """Train and publish. Return the summary."""
    from training.sources.loading import load

    dataset = load(options)  # before the import of TensorFlow, which takes seconds, to report wrong data early
    # TensorFlow logs its search for GPUs as errors. Real errors are exceptions.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from training.run import run

    for library in ("tensorflow", "tf2onnx"):  # TensorFlow warns about the graphs of several seeds
        logging.getLogger(library).setLevel(logging.ERROR)
    return summary(run(options, dataset))


def pruned(options: Prune) -> str:
    """Remove old versions. Return a line that lists the removed and the kept ones."""
    home = options.artifacts / options.name
    if not home.is_dir():
        raise TrainingError(f"no model {options.name!r} in {options.artifacts}")
    removed = prune(home, options.keep)
    return f"{options.name}: removed {_list(removed)}; kept {_list(versions_of(home))}"


def summary(published: Path) -> str:
    """Return the summary of a published version for people."""
    card = ModelCard.model_validate_json(Artifact(published).card_path.read_bytes())  # export verified the version
    profile, record = card.attention, card.training
    assert card.lowering is not None, "publish() adds the lowering"
    metrics = ", ".join(f"{name} {value:.4f}" for name, value in card.metrics.items())
    shape = f"{'up to ' if card.variable_length else ''}{card.timesteps} × {card.features}"
    rows = {
        "trained on": f"{record.sequences:,} sequences of {shape} in {record.seconds:.1f} s "
        f"({card.architecture}, {record.parameters:,} weights{_epochs(record)})",
        "tried": _trials(card),
        "held out": f"{profile.sequences:,} sequences: {metrics}",
        "judgement": card.judgement.verdict if card.judgement else "",
        "attention": f"highest at timestep {card.timestep_labels[profile.peak]} "
        f"({profile.mean[profile.peak]:.3f} of 1); every sequence sums to 1 within {profile.sum_error:.0e}",
        "importance": _importance(card),
        "seeds": _seeds(card),
        "lowering": f"ONNX opset {card.lowering.opset}, within {card.lowering.error:.0e} of the SavedModel",
        "chart": str(Artifact(published).chart_path("svg")),
        "hints": "\n".join(f"{'' if i == 0 else ' ' * 14}{hint}" for i, hint in enumerate(card.hints)),
    }
    heading = f"{card.name} version {published.name}: {published}"
    return "\n".join([heading, *(f"  {name:<11} {text}" for name, text in rows.items() if text)])


def _epochs(record: TrainingRecord) -> str:
    return "" if record.epochs is None else f", epoch {record.best_epoch} of {record.epochs}"


def _trials(card: ModelCard) -> str:
    """Return a table of the architectures that were tried, a line each."""
    lines = []
    for trial in card.trials:
        spread = "" if trial.spread is None else f" ± {trial.spread:.4f}"
        score = "" if trial.mean is None else f"{trial.metric} {trial.mean:.4f}{spread}"
        lines.append(f"{trial.architecture:<14} {score:<24} {trial.seconds:5.1f} s  {trial.outcome}")
    return "\n              ".join(lines)


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
