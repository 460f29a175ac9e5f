"""`python -m benchmarks.faithfulness`: whether explanations are right for models of which the answer is known."""

import argparse
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import keras
import numpy as np
from keras import layers, ops

from service.artifact.card import Faithfulness
from service.artifact.occlusion import Occlusions
from service.artifact.tensors import ATTENTION, ATTENTION_VEC, CELL_IMPORTANCE, FEATURE_IMPORTANCE, PREDICTION, SEQUENCE
from training import fitting, models
from training.checkpoints import Checkpoint
from training.data import Dataset, LabelledSequences, baseline_of
from training.evaluate import forward, predict
from training.faithfulness import Finds, faithfulness
from training.importance import cell_importance, feature_importance
from training.options import Options
from training.preparation import joined, prepared
from training.sources import synthetic
from training.sources.loading import load

#: How many timesteps later than their own the states are that the misleading model attends to.
SHIFT: Final = 5
#: Number of sequences that are explained on request, and of those that are made to find some that are alike.
EXPLAINED, DRAWN = 200, 200_000

Build = Callable[[Dataset, Options], keras.Model]


def shifted(dataset: Dataset, options: Options) -> keras.Model:
    """Build an after-LSTM model whose attention at a timestep is on the state of `SHIFT` timesteps before.

    It predicts as well as the after-LSTM model does, but its attention misleads: the timestep that decides gets the
    attention that is written `SHIFT` timesteps later.
    """
    sequence = keras.Input(dataset.train.x.shape[1:], name=SEQUENCE)
    inputs = prepared(sequence, dataset)
    states = models.recurrent(inputs, options)  # (batch, timesteps, units)
    late = ops.pad(states[:, :-SHIFT], ((0, 0), (SHIFT, 0), (0, 0)))
    weighted, attention_vec = models.attention_block(late, inputs.present, shared=options.shared_attention)
    prediction = models.predicted(joined(layers.Flatten()(weighted), inputs), dataset)
    return keras.Model(sequence, {PREDICTION: prediction, ATTENTION_VEC: attention_vec})


@dataclass(frozen=True)
class Case:
    """A model and its data, of which the answer is known.

    Attributes:
        options: of the training, without the seed.
        features: the features that decide.
        build: builds the model.
        finds: what its attention finds; None if that is not known.
    """

    options: Mapping[str, Any]
    features: tuple[int, ...]
    build: Build = models.build
    finds: Finds | None = None

    def trained(self, seed: int) -> tuple[keras.Model, Dataset]:
        """Return the model of a seed, and its data."""
        options = Options(**self.options, seed=seed)
        dataset = load(options)
        keras.backend.clear_session()
        keras.utils.set_random_seed(seed)
        model = self.build(dataset, options)
        with tempfile.TemporaryDirectory() as private:
            fitting.fit(model, dataset, options, seed, Checkpoint(Path(private, "fit.npz")), lambda _: None)
        return model, dataset


SMALL: Final[Mapping[str, Any]] = {"sequences": 20_000, "batch_size": 64, "learning_rate": 0.003}
ADDING: Final[Mapping[str, Any]] = {
    "data": "add-two-numbers",
    "architecture": "additive",
    "sequences": 10_000,
    "epochs": 8,
    "batch_size": 64,
    "learning_rate": 0.005,
}
CASES: Final[Mapping[str, Case]] = {
    "additive, add-two-numbers": Case(ADDING, (0, 1), finds="what matters"),
    "after-LSTM, shifted states": Case(SMALL, (0, 1), shifted, "no more than chance"),
    "after-LSTM, recurrent": Case(SMALL, (0, 1)),
    "after-LSTM, decoy": Case({**SMALL, "data": "decoy"}, (0,)),
    "additive, find-max": Case({**ADDING, "data": "find-max", "sequences": 30_000, "epochs": 12}, (0,)),
}


def measured(model: keras.Model, dataset: Dataset, seed: int) -> Faithfulness:
    """Return the faithfulness of a model, as training measures it."""
    of_prediction, of_attention = (partial(predict, forward(model), name=name) for name in (PREDICTION, ATTENTION))
    baseline, rng = baseline_of(dataset).astype(np.float32), np.random.default_rng(seed)
    found = faithfulness(of_prediction, dataset.test, dataset.target, baseline, rng, attention=of_attention)
    assert found is not None
    return found


def alike(options: Options) -> LabelledSequences:
    """Return new sequences that have the same deciding timesteps, so that the answer is the same for all of them."""
    other = options.model_copy(update={"sequences": DRAWN})
    drawn = synthetic.load(other, np.random.default_rng(options.seed + 1)).train
    assert drawn.marked is not None
    return drawn.take(np.flatnonzero((drawn.marked == drawn.marked[0]).all(axis=1)))


def masses(model: keras.Model, dataset: Dataset, case: Case, seed: int) -> dict[str, float]:
    """Return the shares of importance on the features and cells that decide: of training, and on request."""
    of_prediction, rng = partial(predict, forward(model)), np.random.default_rng(seed)
    some = alike(Options(**case.options, seed=seed))
    x, marked, target = some.x[:EXPLAINED], some.marked, dataset.target
    assert marked is not None
    deciding = np.zeros(x.shape[2], bool)
    deciding[list(case.features)] = True
    cells = marked[0][:, np.newaxis] & deciding
    found: dict[str, Any] = {
        "features at training": feature_importance(of_prediction, some, target, rng),
        "cells at training": cell_importance(of_prediction, some, target, rng),
    }
    shares = {
        name: float(np.array(one.mass)[deciding if "features" in name else cells].sum()) for name, one in found.items()
    }
    for name, tensor, where in (("features", FEATURE_IMPORTANCE, deciding), ("cells", CELL_IMPORTANCE, cells)):
        copies = Occlusions(x, baseline_of(dataset).astype(np.float32), tensor)
        moved = copies.importance(of_prediction(x), of_prediction(np.asarray(copies)), target)
        shares[f"{name} on request"] = float(moved[:, where].sum() / moved.sum())
    return shares


def main() -> None:
    """Print what each seed of each case gives."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES), help="cases to measure")
    parser.add_argument("--seeds", type=int, default=10, help="number of seeds")
    parser.add_argument("--first-seed", type=int, default=0, help="first of the seeds")
    arguments = parser.parse_args()
    for name in arguments.cases:
        case, right = CASES[name], 0
        for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds):
            model, dataset = case.trained(seed)
            found = measured(model, dataset, seed)
            right += found.attention_finds == case.finds
            shares = ", ".join(f"{name} {share:.3f}" for name, share in masses(model, dataset, case, seed).items())
            areas = ", ".join(
                f"{one.order} {one.comprehensiveness_area - one.sufficiency_area:.3f}" for one in found.removals
            )
            print(f"{name}, seed {seed}: {found.verdict} ({areas}); {shares}", flush=True)
        if case.finds is not None:
            print(f"{name}: attention finds {case.finds} in {right} of {arguments.seeds} seeds", flush=True)


if __name__ == "__main__":
    main()
