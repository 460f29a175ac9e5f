"""The choice of the tensors that are a model's attention: named by the person, or found."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from service.artifact.tensors import Array
from service.problems import did_you_mean
from training import TrainingError
from training.importing.distributions import (
    Distribution,
    belong_together,
    candidates,
    distribution,
    is_input,
    without_copies,
)
from training.importing.original import Values

#: The word for a model without attention.
NONE: Final = "none"
#: Most distributions in a message.
MOST_LISTED: Final = 12
#: Why an input is no attention, even if it sums to 1 over time.
IS_INPUT: Final = "holds the model's input, which is not computed"


@dataclass(frozen=True)
class Evidence:
    """The tensors of a model on some examples.

    Attributes:
        values: all tensors of floats by name, in the order of the graph.
        exposed: the names of layers.
        outputs: the names of the model's outputs.
        prediction: the name of the prediction.
        x: the examples `(examples, timesteps, features)`, without missing values.
        sequence: the name of the input that has the timesteps.
        steps: the number of output steps, if the prediction is a sequence.
        others: the names of further tensors that are no attention.
    """

    values: Values
    exposed: Sequence[str]
    outputs: Sequence[str]
    prediction: str
    x: Array
    sequence: str
    steps: int | None
    others: Collection[str] = ()

    @property
    def timesteps(self) -> int:
        timesteps: int = self.x.shape[1]
        return timesteps

    def found(self) -> list[Distribution]:
        """Return the distributions over the timesteps that may be attention, without copies."""
        values = {name: array for name, array in self.values.items() if name != self.prediction}
        excluded = [self.values[name] for name in (self.prediction, *self.others)]
        all_found = candidates(values, len(self.x), self.timesteps, self.steps, excluded)
        computed = (one for one in all_found if not is_input(one, self.x))
        return without_copies(computed, self.exposed, self.outputs)

    def of(self, name: str) -> Distribution | str:
        """Return a tensor as a distribution, or the reason why it is none."""
        one = distribution(name, self.values[name], len(self.x), self.timesteps, self.steps)
        if isinstance(one, Distribution) and is_input(one, self.x):
            return IS_INPUT
        return one


def chosen_attention(evidence: Evidence, named: Sequence[str]) -> tuple[Distribution, ...]:
    """Return the tensors that are the attention of a model.

    Args:
        evidence: the tensors of the model.
        named: the names of layers, outputs or tensors that the person gave; `none` for no attention; empty to find it.

    Raises:
        TrainingError: no tensor is attention, several may be, or a named one is not.
    """
    if list(named) == [NONE]:
        return ()
    found = evidence.found()
    if named:
        chosen = tuple(one for name in named for one in _named(name, evidence, found))
        names = [one.name for one in chosen]
        if twice := next((name for place, name in enumerate(names) if name in names[:place]), None):
            raise TrainingError(f"--attention: expected each layer, output or tensor once, got {twice} twice")
        return chosen
    are_steps = len(found) == evidence.steps and all(len(one.units) == 1 for one in found)  # a loop that was unrolled
    if len(found) == 1 or are_steps or belong_together(found):
        return tuple(found)
    if not found:
        raise TrainingError(
            f"no attention was found: no tensor is a distribution over the {evidence.timesteps} timesteps of the input "
            f"{evidence.sequence} that depends on it; say --attention LAYER, OUTPUT or TENSOR, or --attention none for "
            "importance alone"
        )
    raise TrainingError(f"--attention: several distributions over the timesteps, say which: {_listed(found)}")


def _named(name: str, evidence: Evidence, found: Sequence[Distribution]) -> Sequence[Distribution]:
    """Return the distribution of a name: that of an output, a layer or a tensor, or the one inside a layer."""
    known = name in evidence.values or name == evidence.sequence
    reason = "the model has no layer, output or tensor of that name" if not known else IS_INPUT
    if name in evidence.values:
        one = evidence.of(name)
        if isinstance(one, Distribution):
            return [one]
        reason = one
    inside = _inside(name, found)
    if len(inside) == 1 or belong_together(inside):
        return inside
    if inside:
        raise TrainingError(f"--attention {name}: several distributions in this layer, say which: {_listed(inside)}")
    beside = f"; these are distributions over the timesteps: {_listed(found)}" if found else ""
    hint = did_you_mean(name, (one.name for one in found)) if not known else ""
    raise TrainingError(f"--attention {name}: {reason}{beside}{hint}")


def _inside(name: str, found: Sequence[Distribution]) -> list[Distribution]:
    """Return the distributions in the scope of a layer. Keras numbers a scope once more."""
    for pattern in (rf"{re.escape(name)}_\d+", re.escape(name)):
        inside = [one for one in found if any(re.fullmatch(pattern, part) for part in one.name.split("/")[:-1])]
        if inside:
            return inside
    return []


def _listed(found: Sequence[Distribution]) -> str:
    shown = ", ".join(one.described for one in found[:MOST_LISTED])
    return shown + (f" and {len(found) - MOST_LISTED} more" if len(found) > MOST_LISTED else "")
