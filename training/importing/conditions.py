"""The conditions of serving: a model answers the same in any batch, and for numbers rounded to float32."""

from typing import Final

import numpy as np

from service.artifact.gate import differences
from service.artifact.tensors import PREDICTION
from training import TrainingError
from training.importing.feeding import Feeding
from training.importing.original import Original, Values
from training.importing.reading import Reading
from training.importing.sample import Sample

#: How many times the tolerance an output may differ in another batch: other kernels round otherwise.
OTHER_BATCH: Final = 10


def check_alone(original: Original, some: Values, together: Values) -> None:
    """Check that the first example has the same outputs alone. A softmax over axis 0 mixes examples, for one.

    The service puts any requests into one batch.

    Args:
        original: the model.
        some: examples, as its inputs.
        together: its outputs for all of them in one batch.

    Raises:
        TrainingError: it has not.
    """
    alone = original.run({name: array[:1] for name, array in some.items()}, original.outputs)
    for name in original.outputs:
        expected, got = together[name], alone[name]
        if expected.dtype.kind != "f":
            continue
        most = OTHER_BATCH * original.tolerance * max(1, np.abs(expected).max(initial=0))
        if got.shape != expected[:1].shape or np.abs(got - expected[:1]).max(initial=0) > most:
            raise TrainingError(
                f"output {name}: an example's output depends on the other examples in its batch: export the model for "
                "inference, without operations over axis 0"
            )


def check_digits(original: Original, feeding: Feeding, reading: Reading, sample: Sample) -> None:
    """Check that the prediction is the same if examples are rounded to float32, as sequences of requests are.

    Raises:
        TrainingError: it is not.
    """
    if sample.exact is None:
        return
    exact, rounded = feeding.values(sample.exact), feeding.values(sample.x[: len(sample.exact)])
    if all(np.array_equal(exact[name], rounded[name]) for name in exact):
        return
    got, expected = (
        reading.prediction(original.run(one, [reading.output])[reading.output]) for one in (rounded, exact)
    )
    if differences(PREDICTION, got, expected, reading.target).max() > original.tolerance:
        change = np.abs(got - expected).max()
        raise TrainingError(
            f"the prediction changes by {change:.2g} if the examples are rounded to float32, as sequences of requests "
            "are: let the model take smaller numbers, such as seconds since the first timestep rather than since 1970"
        )
