"""The evaluation of an imported model on the person's examples, as fields of the card."""

from collections.abc import Collection, Iterable
from typing import Any, Final

import numpy as np

from service.artifact.tensors import ATTENTION, SEQUENCE, Array
from training.data import Dataset
from training.evaluate import Forward, evaluate, predict
from training.importance import importance
from training.importing.onnx_program import OnnxProgram
from training.judgement import judge
from training.scores import ProfileSum, compute_metrics

#: Number of sequences in one forward pass for the profile.
BATCH_SIZE: Final = 256
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
        "attention": _profile(run, _batches(dataset.test.x[:])) if attends else None,
    }
    if not labelled:
        return fields
    if attends:
        found = evaluate(run, dataset.test, dataset.target, SEED, program.weights)
        predictions = found.predictions
        fields |= {"metrics": found.metrics, "importance": found.importance, "agreement": found.agreement}
    else:
        predictions = predict(run, dataset.test.x)
        fields["metrics"] = compute_metrics(predictions, dataset.test.y, dataset.target)
        rng = np.random.default_rng(SEED)
        fields["importance"] = importance(lambda x: predict(run, x), dataset.test, dataset.target, rng, program.weights)
    return fields | {"judgement": judge(predictions, dataset, SEED)}


def _profile(run: Forward, batches: Iterable[Array]) -> Any:
    profile: ProfileSum | None = None
    for some in batches:
        profile = profile or ProfileSum(some.shape[1])
        profile.add(run(some, (ATTENTION,))[ATTENTION])
    return profile.result() if profile else None


def _batches(x: Array) -> Iterable[Array]:
    return (x[start : start + BATCH_SIZE] for start in range(0, len(x), BATCH_SIZE))
