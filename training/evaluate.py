"""The evaluation of a model on held-out data."""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tqdm import tqdm

from service.artifact.card import Agreement, AttentionProfile, Importance, Target
from service.artifact.tensors import ATTENTION, ATTENTION_VEC, PREDICTION, SEQUENCE, Array
from training import TrainingError
from training.data import LabelledSequences, SequenceStore
from training.importance import agreement, importance
from training.scores import ProfileSum, compute_metrics

#: Largest number of sequences, and of timesteps, that the model processes at a time.
BATCH_SIZE, TIMESTEPS_AT_A_TIME = 1024, 2**15

#: Returns those of a model's outputs that the second argument names, for sequences `(batch, timesteps, features)`.
Forward = Callable[[Array, Collection[str]], Mapping[str, Array]]


@dataclass(frozen=True)
class Evaluation:
    """The results of a model on held-out data. `predictions` are `(n, outputs)`."""

    predictions: Array
    metrics: dict[str, float]
    profile: AttentionProfile
    importance: Importance
    agreement: Agreement


def forward(model: keras.Model) -> Forward:
    """Return a model's forward pass as one compiled function of any number of sequences.

    `ATTENTION` is the mean over the units of `ATTENTION_VEC`.
    """
    specification = tf.TensorSpec((None, *model.input.shape[1:]), tf.float32, name=SEQUENCE)

    def outputs_of(sequences: Any) -> Any:
        outputs = dict(model(sequences, training=False))
        if ATTENTION_VEC in outputs:
            outputs[ATTENTION] = tf.reduce_mean(outputs[ATTENTION_VEC], axis=-1)
        return outputs

    compiled = tf.function(outputs_of, input_signature=[specification])

    def run(sequences: Array, names: Collection[str]) -> dict[str, Array]:
        outputs = compiled(tf.constant(sequences))
        return {name: outputs[name].numpy() for name in names}

    return run


def predict(run: Forward, x: SequenceStore) -> Array:
    """Return predictions `(n, outputs)` for sequences `(n, timesteps, features)`."""
    return np.concatenate([run(some, (PREDICTION,))[PREDICTION] for some in _batches(x)])


def evaluate(run: Forward, test: LabelledSequences, target: Target, seed: int, weights: int = 0) -> Evaluation:
    """Compute the metrics, attention profile and importance of a model, and how far attention agrees with importance.

    `run` is the model's forward pass. The seed decides the random exchanges of the permutation importance, and a large
    number of weights lowers their number.

    Raises:
        TrainingError: an output is not finite.
    """
    predictions, profile, on_marked = [], ProfileSum(test.x.shape[1]), []
    present = np.zeros(test.x.shape[1])  # how many sequences have each timestep
    starts = tqdm(
        range(0, len(test), _step(test.x)), desc="evaluating", unit="call", delay=1, leave=False, dynamic_ncols=True
    )
    for start, some in zip(starts, _batches(test.x), strict=True):
        outputs = run(some, (PREDICTION, ATTENTION))
        if not all(np.isfinite(output).all() for output in outputs.values()):
            raise TrainingError("training diverged: the model's outputs are not finite; try a smaller --learning-rate")
        attention = outputs[ATTENTION]
        predictions.append(outputs[PREDICTION])
        present += np.any(~np.isnan(some), axis=2).sum(axis=0)
        profile.add(attention)
        if test.marked is not None:
            on_marked.append(marked_attention(attention, test.marked[start : start + len(some)]))
    predicted = np.concatenate(predictions)
    outcome = compute_metrics(predicted, test.y, target)
    if on_marked:
        mass, peak = np.concatenate(on_marked).mean(axis=0).tolist()
        outcome |= {"attention on marked": mass, "peak on marked": peak}
    found = importance(lambda x: predict(run, x), test, target, np.random.default_rng(seed), weights)
    agreed = agreement(profile.result().mean, found, (present / len(test)).tolist())
    return Evaluation(predicted, outcome, profile.result(), found, agreed)


def _batches(x: SequenceStore) -> Iterator[Array]:
    step = _step(x)
    return (x[start : start + step] for start in range(0, len(x), step))


def _step(x: SequenceStore) -> int:
    return max(1, min(BATCH_SIZE, TIMESTEPS_AT_A_TIME // x.shape[1]))


def marked_attention(attention: Array, marked: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return `(n, 2)`: each sequence's attention on its marked timesteps, and 1 if its peak is marked, else 0."""
    mass = np.where(marked, attention, 0).sum(axis=1, dtype=np.float64)
    peak = np.take_along_axis(marked, attention.argmax(axis=1)[:, np.newaxis], axis=1)[:, 0]
    return np.stack([mass, peak.astype(np.float64)], axis=1)
