"""The evaluation of an imported model on the person's examples, as fields of the card."""

from collections.abc import Collection, Iterable
from functools import partial
from typing import Any, Final

import numpy as np

from service.artifact.tensors import ATTENTION, PREDICTION, SEQUENCE, Array
from training.data import Dataset
from training.evaluate import Forward, evaluate, predict
from training.faithfulness import faithfulness
from training.importance import importances
from training.importing.onnx_program import OnnxProgram
from training.judgement import judge
from training.scores import ProfileSum, compute_metrics

#: Number of sequences in one forward pass for the profile.
BATCH_SIZE: Final = 256
SEED: Final = 0


def evaluated(
    program: OnnxProgram, dataset: Dataset, baseline: Array, *, attends: bool, labelled: bool
) -> dict[str, Any]:
    """Return the fields of the card that come from running the model on all examples.

    Without labels there are neither metrics nor importance; without attention there is no profile. Faithfulness needs
    neither.

    Args:
        program: runs the model.
        dataset: the examples, all of them held out.
        baseline: `(timesteps, features)`, which replaces the values of timesteps.
        attends: whether the model has attention.
        labelled: whether the examples have labels for its prediction.
    """

    def run(x: Array, names: Collection[str]) -> dict[str, Array]:
        return program.run({SEQUENCE: x}, names)

    test, target, rng = dataset.test, dataset.target, np.random.default_rng(SEED)
    of_prediction, of_attention = (partial(predict, run, name=name) for name in (PREDICTION, ATTENTION))
    if labelled and attends:
        found = evaluate(run, test, target, baseline, SEED, weights=program.weights)
        return found.fields | {"judgement": judge(found.predictions, dataset, SEED)}
    fields: dict[str, Any] = {
        "metrics": {},
        "attention": _profile(run, _batches(test.x[:])) if attends else None,
    }
    if labelled:
        predictions = of_prediction(test.x)
        of_timesteps, of_features, of_cells = importances(of_prediction, test, target, rng, program.weights)
        fields |= {
            "metrics": compute_metrics(predictions, test.y, target),
            "importance": of_timesteps,
            "feature_importance": of_features,
            "cell_importance": of_cells,
            "judgement": judge(predictions, dataset, SEED),
        }
    attention = of_attention if attends else None
    faithful = faithfulness(of_prediction, test, target, baseline, rng, attention=attention, weights=program.weights)
    return fields | {"faithfulness": faithful}


def _profile(run: Forward, batches: Iterable[Array]) -> Any:
    profile: ProfileSum | None = None
    for some in batches:
        profile = profile or ProfileSum(some.shape[1])
        profile.add(run(some, (ATTENTION,))[ATTENTION])
    return profile.result() if profile else None


def _batches(x: Array) -> Iterable[Array]:
    return (x[start : start + BATCH_SIZE] for start in range(0, len(x), BATCH_SIZE))
