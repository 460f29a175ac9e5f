"""The evaluation of a model on held-out data."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from service.artifact.card import (
    Agreement,
    AttentionProfile,
    CellImportance,
    Faithfulness,
    FeatureImportance,
    Importance,
    Target,
)
from service.artifact.tensors import ATTENTION, ATTENTION_VEC, PREDICTION, SEQUENCE, Array
from training import TrainingError
from training.data import LabelledSequences, SequenceStore
from training.faithfulness import Attending, faithfulness, replaced_attention
from training.importance import agreement, importances
from training.progress import progress_bar
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
    feature_importance: FeatureImportance | None
    cell_importance: CellImportance | None
    faithfulness: Faithfulness | None

    @property
    def fields(self) -> dict[str, Any]:
        """The fields of the card that this is, by their names."""
        return {
            "metrics": self.metrics,
            "attention": self.profile,
            "importance": self.importance,
            "feature_importance": self.feature_importance,
            "cell_importance": self.cell_importance,
            "agreement": self.agreement,
            "faithfulness": self.faithfulness,
        }


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


def attending(model: keras.Model) -> Attending:
    """Return a function that predicts with the attention that it is given, through the layers after attention.

    They are those of a copy, because Keras cannot pickle a model whose inner tensor has become an input.
    """
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    sequence, attention_vec = copy.input, copy.output[ATTENTION_VEC]
    part = keras.Model([sequence, attention_vec], copy.output[PREDICTION])
    compiled = tf.function(
        lambda *inputs: part(list(inputs), training=False),
        input_signature=[tf.TensorSpec((None, *one.shape[1:]), tf.float32) for one in (sequence, attention_vec)],
    )

    def run(sequences: Array, weights: Array) -> Array:
        predictions: Array = compiled(tf.constant(sequences), tf.constant(weights)).numpy()
        return predictions

    return run


def predict(run: Forward, x: SequenceStore, name: str = PREDICTION) -> Array:
    """Return predictions `(n, outputs)`, or another output, for sequences `(n, timesteps, features)`."""
    return np.concatenate([run(some, (name,))[name] for some in _batches(x)])


def evaluate(  # noqa: PLR0913 - each by its name
    run: Forward,
    test: LabelledSequences,
    target: Target,
    baseline: Array,
    seed: int,
    *,
    weights: int = 0,
    attend: Attending | None = None,
    deviation: Sequence[float] = (),
) -> Evaluation:
    """Compute the metrics, attention profile, importances and faithfulness of a model on held-out sequences.

    Args:
        run: the model's forward pass.
        test: the held-out sequences.
        target: the target of the model.
        baseline: `(timesteps, features)`, which replaces the values of timesteps.
        seed: decides everything that is random: exchanges of values, orders of timesteps, sequences, resamples.
        weights: number of weights of the model. A large number lowers that of the exchanges.
        attend: predicts with given attention; None if the prediction does not depend on attention, or is not open.
        deviation: the deviation of each predicted number in training; empty if it is not known.

    Raises:
        TrainingError: an output is not finite.
    """
    predictions, profile, on_marked = [], ProfileSum(test.x.shape[1]), []
    present = np.zeros(test.x.shape[1])  # how many sequences have each timestep
    starts = range(0, len(test), _step(test.x))
    with progress_bar(len(starts), "evaluating", "call", stays=False) as bar:
        for start, some in zip(starts, _batches(test.x), strict=True):
            outputs = run(some, (PREDICTION, ATTENTION))
            if not all(np.isfinite(output).all() for output in outputs.values()):
                raise TrainingError(
                    "training diverged: the model's outputs are not finite; try a smaller --learning-rate"
                )
            attention = outputs[ATTENTION]
            predictions.append(outputs[PREDICTION])
            present += np.any(~np.isnan(some), axis=2).sum(axis=0)
            profile.add(attention)
            if test.marked is not None:
                on_marked.append(marked_attention(attention, test.marked[start : start + len(some)]))
            bar.update()
    predicted = np.concatenate(predictions)
    outcome = compute_metrics(predicted, test.y, target)
    if on_marked:
        mass, peak = np.concatenate(on_marked).mean(axis=0).tolist()
        outcome |= {"attention on marked": mass, "peak on marked": peak}
    rng = np.random.default_rng(seed)
    of_prediction, of_attention, of_vec = (
        partial(predict, run, name=name) for name in (PREDICTION, ATTENTION, ATTENTION_VEC)
    )
    found = importances(of_prediction, test, target, rng, weights)
    faithful = faithfulness(
        of_prediction, test, target, baseline, rng, attention=of_attention, weights=weights, deviation=deviation
    )
    if faithful is not None and attend is not None:
        faithful = faithful.model_copy(update=replaced_attention(attend, of_vec, test, target, rng))
    return Evaluation(
        predictions=predicted,
        metrics=outcome,
        profile=profile.result(),
        importance=found.timesteps,
        agreement=agreement(profile.result().mean, found.timesteps, (present / len(test)).tolist()),
        feature_importance=found.features,
        cell_importance=found.cells,
        faithfulness=faithful,
    )


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
