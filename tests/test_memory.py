"""The limit of memory is that of the container, and the weights of a fit are known before it."""

import math
from pathlib import Path

import numpy as np
import pytest

from tests.samples import dataset
from training import models
from training.memory import BYTES_OF_WEIGHT, LIMITS, fewest_bytes, memory_limit
from training.options import Options


@pytest.mark.parametrize("name", LIMITS)
def test_the_limit_of_the_container_counts(tmp_path: Path, name: str) -> None:
    """Without one, the limit is the memory of the machine."""
    of_machine = memory_limit(tmp_path)
    assert of_machine > 2**28
    (tmp_path / name).parent.mkdir(exist_ok=True)
    for text, expected in (("1048576\n", 2**20), ("max\n", of_machine), (f"{2**62}\n", of_machine)):
        (tmp_path / name).write_text(text)
        assert memory_limit(tmp_path) == expected


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("architecture", models.ARCHITECTURES)
def test_a_model_has_at_least_these_weights(architecture: str, cell: str) -> None:
    """A model that fits into memory is not refused."""
    options = Options(architecture=architecture, cell=cell, units=512)
    model = models.build(dataset(np.zeros((4, 20, 1))), options)
    weights = sum(math.prod(weight.shape) for weight in model.weights)
    assert 0 < fewest_bytes(options) <= BYTES_OF_WEIGHT * weights
