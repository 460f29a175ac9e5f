"""Hints on what an imported model does not allow, and on what the person may have mixed up."""

from collections.abc import Iterator, Mapping

from service.artifact.card import Target
from training.importing.interpretation import Interpretation

#: An accuracy below this part of chance is no accident, if there are as many examples.
FAR_BELOW, FEWEST_EXAMPLES = 0.5, 20


def hints_on_attention(interpretation: Interpretation) -> Iterator[str]:
    """Yield a hint if some sources of attention have more units than others, so that they weigh more in its mean."""
    counts = {source.name: len(source.units) for source in interpretation.sources}
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{name} has {count}" for name, count in counts.items())
        yield (
            f"attention is the mean over {interpretation.units} units, of which {listed}: ask for "
            '"attention": {"layer": 0} to see the first by itself'
        )


def hints_on_length(interpretation: Interpretation, effect: str | None, pad: float) -> Iterator[str]:
    """Yield a hint if all sequences have the same length, with the reason: the effect of padding."""
    if effect is not None:
        yield f"every sequence has {interpretation.feeding.timesteps} timesteps, as {effect} (filled up with {pad:g})"


def hints_on_classes(target: Target, metrics: Mapping[str, float], examples: int) -> Iterator[str]:
    """Yield a hint if a classifier is far worse than chance."""
    accuracy = metrics.get("accuracy")
    if accuracy is None or target.task not in {"binary", "multiclass"} or examples < FEWEST_EXAMPLES:
        return
    chance = 1 / len(target.classes or ())
    if accuracy < FAR_BELOW * chance:
        yield f"accuracy {accuracy:.2g} is far below {chance:.2g} of chance: is the order of the classes right?"
