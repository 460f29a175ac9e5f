"""Importance on request agrees with SHAP's, on the seed's model and on a model of real data."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.artifact.distances import rank_correlation
from service.artifact.engine import Engine
from service.artifact.gate import open_verified
from service.artifact.layout import versions_of
from service.artifact.occlusion import Occlusions
from service.artifact.tensors import PREDICTION, SEQUENCE, Array
from service.artifact.version import Artifact
from service.engines import opener
from tests.conftest import Make

#: Number of sequences that are explained, and of coalitions of timesteps that SHAP draws for each.
SEQUENCES, COALITIONS = 8, 300


@pytest.fixture(scope="module")
def shap() -> Any:
    """The package. Its import uses functions of matplotlib that are going to be deprecated."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import shap
    return shap


def explained(shap: Any, engine: Engine, baseline: Array, x: Array) -> Array:
    """Return the size of the Shapley value of each timestep, `(n, timesteps)`, of the first output.

    All features of a timestep are one player. The baseline replaces those that are not in a coalition, which is what
    the service does with one timestep.
    """
    found = []
    for one in x:

        def predict(coalitions: Any, one: Array = one) -> Any:
            """Return predictions for coalitions `(k, timesteps)` of 0 and 1."""
            return engine.run(np.where(coalitions[..., np.newaxis] == 1, one, baseline), (PREDICTION,))[PREDICTION][
                :, 0
            ]

        explainer = shap.KernelExplainer(predict, np.zeros((1, len(one))), seed=0)
        values = explainer.shap_values(np.ones((1, len(one))), nsamples=COALITIONS, silent=True, l1_reg=False)
        found.append(np.abs(values[0]))
    return np.array(found)


def compared(shap: Any, version: Path) -> tuple[Array, Array]:
    """Return importance by occlusion and by SHAP, `(n, timesteps)`, of sequences of the golden example."""
    contents = Artifact(version).read()
    card, engine = contents.card(), open_verified(contents, opener("onnx", threads=1)).engine
    baseline = np.array(card.baseline, np.float32)
    x = np.load(Artifact(version).golden_path)[SEQUENCE][:SEQUENCES]
    occlusions = Occlusions(x, baseline)
    predictions, occluded = (engine.run(np.asarray(one), (PREDICTION,))[PREDICTION] for one in (x, occlusions))
    return occlusions.importance(predictions, occluded, card.target), explained(shap, engine, baseline, x)


def mean_correlation(a: Array, b: Array) -> float:
    """Return the rank correlation over timesteps, as the mean over the sequences."""
    return float(rank_correlation(a, b, np.ones(a.shape, bool)).mean())


def test_importance_agrees_with_shap_on_the_seeds_model(shap: Any, artifacts: Path) -> None:
    """Both find the deciding timestep. The order of the others, which hardly matter, agrees less (measured: 0.66)."""
    importance, values = compared(shap, artifacts / "after-lstm" / "1")
    assert (importance.argmax(axis=1) == 10).all()
    assert (values.argmax(axis=1) == 10).all()
    assert mean_correlation(importance, values) > 0.4


def test_importance_agrees_with_shap_on_real_data(shap: Any, made_once: Callable[[str, Make], Path]) -> None:
    """A model of the electricity that Italy uses by the hour, of which many timesteps matter (measured: 0.79)."""

    def train(folder: Path) -> None:
        import training

        options = {"architecture": "after_lstm", "epochs": 60, "batch_size": 16}
        training.train("aeon:ItalyPowerDemand", name="italy", artifacts=folder, **options)

    home = made_once("italy", train) / "italy"
    importance, values = compared(shap, home / str(versions_of(home)[-1]))
    assert mean_correlation(importance, values) > 0.6
