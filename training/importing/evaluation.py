"""The evaluation of an imported model on the person's examples, as fields of the card."""

from collections.abc import Collection
from functools import partial
from typing import Any, Final

import numpy as np

from service.artifact.card import AttentionProfile
from service.artifact.tensors import ATTENTION, PREDICTION, SEQUENCE, Array
from training.data import Dataset
from training.evaluate import Forward, evaluate, predict
from training.faithfulness import faithfulness
from training.importance import importances
from training.importing.onnx_program import OnnxProgram
from training.judgement import judge
from training.scores import ProfileSum, compute_metrics

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
        found = evaluate(run, test, target, baseline, SEED, weights=program.parameters)
        return found.fields | {"judgement": judge(found.predictions, dataset, SEED)}
    fields: dict[str, Any] = {
        "metrics": {},
        "attention": _profile(run, test.x[:]) if attends else None,
    }
    if labelled:
        predictions = of_prediction(test.x)
        of_timesteps, of_features, of_cells = importances(of_prediction, test, target, rng, program.parameters)
        fields |= {
            "metrics": compute_metrics(predictions, test.y, target),
            "importance": of_timesteps,
            "feature_importance": of_features,
            "cell_importance": of_cells,
            "judgement": judge(predictions, dataset, SEED),
        }
    attention = of_attention if attends else None
    faithful = faithfulness(of_prediction, test, target, baseline, rng, attention=attention, weights=program.parameters)
    return fields | {"faithfulness": faithful}


def _profile(run: Forward, x: Array) -> AttentionProfile:
    profile = ProfileSum(x.shape[1])
    profile.add(run(x, (ATTENTION,))[ATTENTION])
    return profile.result()
