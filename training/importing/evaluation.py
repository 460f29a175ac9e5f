"""The evaluation of an imported model on the person's examples, as fields of the card."""

from collections.abc import Collection
from typing import Any, Final

import numpy as np

from service.artifact.card import AttentionProfile
from service.artifact.tensors import ATTENTION, SEQUENCE, Array
from training.data import Dataset
from training.evaluate import Forward, evaluate, predict
from training.importance import importance
from training.importing.onnx_program import OnnxProgram
from training.judgement import judge
from training.scores import ProfileSum, compute_metrics

SEED: Final = 0


def evaluated(program: OnnxProgram, dataset: Dataset, *, attends: bool, labelled: bool) -> dict[str, Any]:
    """Return the fields of the card that come from running the model on all examples.

    Without labels there are neither metrics nor importance; without attention there is no profile.

    Args:
        program: runs the model.
        dataset: the examples, all of them held out.
        attends: whether the model has attention.
        labelled: whether the examples have labels for its prediction.
    """

    def run(x: Array, names: Collection[str]) -> dict[str, Array]:
        return program.run({SEQUENCE: x}, names)

    fields: dict[str, Any] = {
        "metrics": {},
        "attention": _profile(run, dataset.test.x[:]) if attends else None,
    }
    if not labelled:
        return fields
    if attends:
        found = evaluate(run, dataset.test, dataset.target, SEED, program.parameters)
        predictions = found.predictions
        fields |= {"metrics": found.metrics, "importance": found.importance, "agreement": found.agreement}
    else:
        predictions = predict(run, dataset.test.x)
        fields["metrics"] = compute_metrics(predictions, dataset.test.y, dataset.target)
        rng = np.random.default_rng(SEED)
        fields["importance"] = importance(
            lambda x: predict(run, x), dataset.test, dataset.target, rng, program.parameters
        )
    return fields | {"judgement": judge(predictions, dataset, SEED)}


def _profile(run: Forward, x: Array) -> AttentionProfile:
    profile = ProfileSum(x.shape[1])
    profile.add(run(x, (ATTENTION,))[ATTENTION])
    return profile.result()
