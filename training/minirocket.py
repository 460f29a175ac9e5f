"""MiniRocket with attention: many fixed kernels, and a ridge regression on how often each of them fits.

Source of the kernels: Dempster, Schmidt and Webb, "MiniRocket: A Very Fast (Almost) Deterministic Transform for Time
Series Classification", KDD 2021, arXiv 2012.08791.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Final, NamedTuple

import keras
import numpy as np
from keras import layers, ops
from numpy.typing import NDArray

from service.artifact.tensors import ATTENTION_VEC, PREDICTION, SEQUENCE, Array
from training.data import Dataset, Indices
from training.evaluate import forward
from training.fitting import FitResult, class_weights
from training.models import predicted
from training.options import Options
from training.preparation import prepared
from training.ridge import fit_ridge

# Keras ships no types.
Tensor = Any

#: Name of the layer whose output is the evidence, `(batch, timesteps, outputs)`.
EVIDENCE: Final = "evidence"

#: The kernels, `(84, 9)`: three weights are 2 and six are -1, in all orders.
KERNELS: Final = np.array([[2 if at in chosen else -1 for at in range(9)] for chosen in combinations(range(9), 3)])
LENGTH: Final = KERNELS.shape[1]
#: Largest number of dilations, number of maps of each kernel, and number of maps of the values themselves.
MOST_DILATIONS, MAPS_OF_A_KERNEL, MAPS_OF_VALUES = 8, 23, 84
#: Width of a step, in standard deviations of the values that it maps. MiniRocket's steps have no width. Then rounding
#: may move a value to the other side, and engines round differently.
WIDTH: Final = 0.5
#: Smallest standard deviation of values before a step, and of the mean of a map over the sequences. Below, rounding
#: would count.
SMALLEST_OF_VALUES, SMALLEST_OF_MAPS = 0.02, 0.01
#: Largest number of sequences that are fitted. More add little to 2,000 weights.
MOST_SEQUENCES: Final = 2**13
#: Timesteps that the steps are chosen from, and numbers in maps at a time.
SAMPLED_TIMESTEPS, NUMBERS_AT_A_TIME = 2**14, 2**24
#: The factors of the scores from which the most likely probabilities are chosen.
SHARPNESS: Final = np.logspace(-1, 1, 21)
#: Evidence of a timestep that has none. It makes attention even where no timestep has any.
NO_EVIDENCE: Final = 1e-12


@dataclass(frozen=True)
class Maps:
    """The maps of a model.

    Attributes:
        sequence: the model's input, `(batch, timesteps, features)`.
        present: `(batch, timesteps, 1)`, 1 for a present timestep and 0 for an absent one; None if all are present.
        parts: maps `(batch, timesteps, some)` with values from 0 to 6, one part for each dilation.
        static: the features that do not change with time, `(batch, columns)`; None without any.
    """

    sequence: Tensor
    present: Tensor | None
    parts: Sequence[Tensor]
    static: Tensor | None

    def mean_over_time(self, values: Tensor) -> Tensor:
        """Return the mean over the present timesteps, `(batch, columns)`, of `(batch, timesteps, columns)`."""
        if self.present is None:
            return ops.mean(values, axis=1)
        return ops.sum(values * self.present, axis=1) / ops.maximum(ops.sum(self.present, axis=1), 1.0)

    def pooled(self) -> Tensor:
        """Return the mean of each map over time, then the static columns, `(batch, maps + static columns)`."""
        static = [] if self.static is None else [self.static]
        return ops.concatenate([*map(self.mean_over_time, self.parts), *static], axis=-1)


class Head(NamedTuple):
    """The numbers of a fitted regression on the maps.

    Attributes:
        weights: `(maps + static columns, outputs)`.
        averages: `(maps + static columns,)`, the mean of each column over the training sequences.
        intercept: `(outputs,)`, the mean score.
        sharpness: the factor from scores to the logits of probabilities.
    """

    weights: NDArray[np.float64]
    averages: NDArray[np.float64]
    intercept: NDArray[np.float64]
    sharpness: float


def fit(dataset: Dataset, options: Options, seed: int) -> tuple[keras.Model, FitResult]:
    """Build a model and fit it in closed form. The seed decides the features that each kernel reads.

    A map tells for each timestep how well a kernel fits there. The mean of a map over time is one column of a ridge
    regression. As the regression is linear, its result is the mean over time of the evidence of each timestep:
    Σ over maps of weight · (map - mean of the map in the training data). Attention is a timestep's share of the sum of
    the absolute evidence, over all outputs. The evidence of a kernel counts for the timestep in its middle.

    Returns:
        A model like that of `models.build`, with one unit of attention; and the record of the fit, without epochs.

    Raises:
        TrainingError: class weights do not suit the data.
    """
    began = time.perf_counter()
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.permutation(len(dataset.train))[:MOST_SEQUENCES])
    maps = build_maps(dataset, rng)
    x, y = pooled(maps, dataset, rows), dataset.train.y[rows]
    weights = class_weights(dataset.target, dataset.train.y, options)
    row_weights = np.ones(len(rows)) if weights is None else weights[y]
    scale = np.maximum(x.std(axis=0), SMALLEST_OF_MAPS)
    of_maps = sum(part.shape[-1] for part in maps.parts)
    # A few static columns would be lost among two thousand maps: together they may add as much as all maps.
    scale[of_maps:] /= np.sqrt(of_maps / max(1, len(scale) - of_maps))
    centre = x.mean(axis=0)
    ridge = fit_ridge((x - centre) / scale, scores_of(dataset, y), row_weights)
    weights_of_columns = ridge.weights / scale[:, np.newaxis]
    head = Head(weights_of_columns, centre, ridge.intercept, sharpness(ridge.left_out, y, dataset))
    return with_head(maps, dataset, head), FitResult(len(rows), None, None, time.perf_counter() - began)


def dilations(timesteps: int) -> list[int]:
    """Return the distances between the values that a kernel reads, from 1 to (timesteps - 1) / 8, evenly by power."""
    longest = max(1.0, (timesteps - 1) / (LENGTH - 1))
    return sorted(set((2 ** np.linspace(0, np.log2(longest), MOST_DILATIONS)).astype(int).tolist()))


def build_maps(dataset: Dataset, rng: np.random.Generator) -> Maps:
    """Build the maps. Their steps lie at quantiles of the values of some training sequences."""
    timesteps = dataset.train.x.shape[1]
    sequence = keras.Input(dataset.train.x.shape[1:], name=SEQUENCE)
    inputs = prepared(sequence, dataset)
    features = inputs.values.shape[-1]
    sampled = rng.permutation(len(dataset.train))[: max(4, SAMPLED_TIMESTEPS // timesteps)]
    some = dataset.train.x[np.sort(sampled)]
    there = ~np.isnan(some).all(axis=-1)  # (n, timesteps)
    spread = dilations(timesteps)
    reach = max(spread) * (LENGTH // 2)
    padded = ops.pad(inputs.values, ((0, 0), (reach, reach), (0, 0)))
    parts = []
    for dilation, count in zip(spread, _shared_out(len(spread)), strict=True):
        weights = kernels(len(KERNELS) * count, features, rng)
        if dilation == 1:  # kernels have sum 0, and do not see levels
            weights = np.concatenate([weights, values_themselves(max(MAPS_OF_VALUES, features), features)], axis=-1)
        weights = weights.reshape(-1, weights.shape[-1])
        windows = windows_of(padded, dilation, timesteps)
        found = keras.Model(sequence, windows).predict(some, verbose=0)[there] @ weights  # (timesteps of all, maps)
        width = WIDTH * np.maximum(found.std(axis=0), SMALLEST_OF_VALUES)
        layer = layers.Dense(weights.shape[1], activation="relu6", trainable=False)
        parts.append(layer(windows))
        layer.set_weights([weights * 6 / width, 3 - 6 * _quantiles(found) / width])
    present = None if inputs.present is None else ops.cast(inputs.present, "float32")
    return Maps(sequence, present, parts, inputs.static)


def _shared_out(dilations: int) -> list[int]:
    """Return how many maps a kernel has with each dilation."""
    return [len(part) for part in np.array_split(range(MAPS_OF_A_KERNEL), dilations)]


def kernels(count: int, features: int, rng: np.random.Generator) -> Array:
    """Return MiniRocket's kernels in turn, each for random features, as weights `(9, features, count)`."""
    weights = np.zeros((LENGTH, features, count), np.float32)
    for index in range(count):
        size = int(2 ** rng.uniform(0, np.log2(min(features, LENGTH) + 1)))
        weights[:, rng.permutation(features)[:size], index] = KERNELS[index % len(KERNELS)][:, np.newaxis]
    return weights


def values_themselves(count: int, features: int) -> Array:
    """Return kernels that read the value of each feature in turn, as weights `(9, features, count)`."""
    weights = np.zeros((LENGTH, features, count), np.float32)
    weights[LENGTH // 2, np.arange(count) % features, np.arange(count)] = 1
    return weights


def windows_of(padded: Tensor, dilation: int, timesteps: int) -> Tensor:
    """Return what a kernel reads at each timestep, `(batch, timesteps, 9 * features)`.

    A gather and a product take the place of a convolution: TensorFlow and ONNX differ in the layout of convolutions.

    Args:
        padded: `(batch, padding + timesteps + padding, features)`.
        dilation: distance between the values that a kernel reads.
        timesteps: number of timesteps without padding.
    """
    _, length, features = padded.shape
    first = (length - timesteps) // 2 - dilation * (LENGTH // 2)
    positions = first + np.arange(timesteps)[:, np.newaxis] + dilation * np.arange(LENGTH)
    return ops.reshape(ops.take(padded, positions, axis=1), (-1, timesteps, LENGTH * features))


def _quantiles(found: Array) -> Array:
    """Return a quantile of each column of `(n, maps)`. The fractions spread evenly, by the golden ratio."""
    fractions = np.arange(1, found.shape[1] + 1) * (5**0.5 + 1) / 2 % 1
    below = (fractions * (len(found) - 1)).astype(int)
    quantiles: Array = np.sort(found, axis=0)[below, np.arange(found.shape[1])]
    return quantiles


def pooled(maps: Maps, dataset: Dataset, rows: Indices) -> NDArray[np.float64]:
    """Return the mean of each map over time and the static columns, `(n, maps + static columns)`.

    `rows (n,)` are indices of training sequences.
    """
    means = maps.pooled()
    run = forward(keras.Model(maps.sequence, {PREDICTION: means}))
    step = max(1, NUMBERS_AT_A_TIME // (dataset.train.x.shape[1] * means.shape[-1]))
    parts = (
        run(dataset.train.x[rows[start : start + step]], (PREDICTION,))[PREDICTION]
        for start in range(0, len(rows), step)
    )
    return np.concatenate(list(parts)).astype(np.float64)


def scores_of(dataset: Dataset, y: NDArray[Any]) -> NDArray[np.float64]:
    """Return the numbers to regress on, `(n, outputs)`: 1 for a class and -1 for others, or standardised numbers."""
    match dataset.target.task:
        case "binary":
            return np.where(y[:, np.newaxis] == 1, 1.0, -1.0)
        case "multiclass":
            return np.where(y[:, np.newaxis] == np.arange(dataset.target.outputs or 0), 1.0, -1.0)
        case "multilabel":
            return np.where(y == 1, 1.0, -1.0)
        case "regression":
            scale = dataset.target_scale
            standardised: NDArray[np.float64] = (y - scale.mean) / scale.deviation
            return standardised


def sharpness(scores: NDArray[np.float64], y: NDArray[Any], dataset: Dataset) -> float:
    """Return the factor of the scores of left-out sequences that makes their true classes most likely.

    It is 1 for numbers. Source: Guo and others, "On Calibration of Modern Neural Networks", 2017, arXiv 1706.04599.
    """
    if dataset.target.task == "regression":
        return 1.0
    if dataset.target.task == "multilabel":  # each label is a sequence of its own, of two classes
        scores, y = scores.reshape(-1, 1), y.ravel().astype(np.int64)
    if scores.shape[1] == 1:
        scores = np.hstack([-scores, scores]) / 2

    def loss(factor: float) -> float:
        logits = factor * (scores - scores.max(axis=1, keepdims=True))
        return float(np.mean(np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(y)), y]))

    return float(min(SHARPNESS, key=loss))


def with_head(maps: Maps, dataset: Dataset, head: Head) -> keras.Model:
    """Build the model: the evidence `(maps - averages) @ weights`, attention and the prediction.

    The score is the mean evidence over time. It is computed from the means of the maps in float64, because the evidence
    of timesteps may be large and cancel out.
    """
    outputs = head.weights.shape[1]
    sizes = np.cumsum([part.shape[-1] for part in maps.parts])
    of_maps = head.weights[: sizes[-1]]
    products = [layers.Dense(outputs, use_bias=not index) for index in range(len(maps.parts))]
    total = sum(product(part) for product, part in zip(products, maps.parts, strict=True))
    evidence = layers.Identity(name=EVIDENCE)(total)  # (batch, timesteps, outputs)
    for product, weights in zip(products, np.split(of_maps, sizes[:-1]), strict=True):
        product.set_weights([weights, -head.averages[: sizes[-1]] @ of_maps] if product.use_bias else [weights])
    amount = ops.sum(ops.abs(evidence), axis=-1, keepdims=True) + NO_EVIDENCE
    if maps.present is not None:
        amount *= maps.present
    share = amount / ops.maximum(ops.sum(amount, axis=1, keepdims=True), NO_EVIDENCE)
    attention_vec = layers.Identity(name=ATTENTION_VEC)(share)
    exact = layers.Dense(outputs, use_bias=False, dtype="float64")  # tf2onnx warns of a bias in float64
    score = exact(layers.Rescaling(1.0, offset=-head.averages, dtype="float64")(maps.pooled()))
    exact.set_weights([head.weights])
    prediction = predicted(ops.cast(score, "float32"), dataset)
    model = keras.Model(maps.sequence, {PREDICTION: prediction, ATTENTION_VEC: attention_vec})
    last = next(layer for layer in reversed(model.layers) if isinstance(layer, layers.Dense))
    last.set_weights([head.sharpness * np.eye(outputs), head.sharpness * head.intercept])
    return model
