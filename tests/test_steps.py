"""Models whose output is a sequence: predictions and labels for each output step, through every protocol."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from pydantic import ValidationError

from service.app import create_app
from service.artifact.card import AttentionSource, Target
from service.artifact.gate import open_verified
from service.artifact.tensors import PREDICTION, Array
from service.engines import opener
from service.errors import ArtifactError
from service.settings import Settings
from tests.conftest import connect
from tests.imported import imported_card, numbers, of_steps, run, write_imported
from tests.infer import as_json, binary, tensors
from training import load

pytestmark = pytest.mark.anyio

STEPS = 3
TARGETS = {
    "binary": Target(task="binary", classes=("no", "yes"), steps=STEPS),
    "multiclass": Target(task="multiclass", classes=("a", "b", "c"), steps=STEPS),
    "multilabel": Target(task="multilabel", classes=("a", "b"), steps=STEPS),
    "regression": Target(task="regression", names=("one", "two"), steps=STEPS),
}
SOURCES = (AttentionSource(tensor="attention", axes={"step": STEPS}),)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model of each task."""
    path = tmp_path_factory.mktemp("steps")
    for name, target in TARGETS.items():
        card = imported_card(name, target=target, attention_from=SOURCES, baseline=((0.5, -0.5),) * 4)
        write_imported(path, of_steps(STEPS, target.outputs or 0), card, numbers())
    return path


@pytest.fixture
async def client(folder: Path) -> AsyncIterator[httpx.AsyncClient]:
    """Yield a client of the service over these models."""
    async with connect(create_app(Settings(artifacts=folder, model="multiclass"))) as client:
        yield client


async def answered(client: httpx.AsyncClient, name: str, **body: Any) -> list[dict[str, Any]]:
    """Return the predictions of `POST /predict`."""
    answer = await client.post(f"/predict?model={name}", json=body)
    assert answer.status_code == 200, answer.text
    predictions: list[dict[str, Any]] = answer.json()["predictions"]
    return predictions


def expected_of(name: str, sequences: Array) -> Array:
    """Return the predictions `(n, steps, outputs)` in plain ONNX Runtime."""
    return run(of_steps(STEPS, TARGETS[name].outputs or 0), sequences)[PREDICTION]


@pytest.mark.parametrize("n", [1, 5])
@pytest.mark.parametrize("name", TARGETS)
async def test_each_step_has_a_prediction_and_a_label(client: httpx.AsyncClient, name: str, n: int) -> None:
    """Probabilities by name are those of each step, too."""
    classes = TARGETS[name].classes
    got = await answered(client, name, sequences=numbers(n).tolist(), probabilities=classes is not None)
    for one, prediction in zip(got, expected_of(name, numbers(n)), strict=True):
        assert np.array(one["prediction"]) == pytest.approx(prediction, abs=1e-6)
        labels = {
            "binary": [("no", "yes")[int(step[0] >= 0.5)] for step in prediction],
            "multiclass": ["abc"[step.argmax()] for step in prediction],
            "multilabel": [["abc"[i] for i in np.flatnonzero(step >= 0.5)] for step in prediction],
        }
        assert one.get("label") == labels.get(name)
        if name == "multiclass":
            by_name = [[step[label] for label in "abc"] for step in one["probabilities"]]
            assert np.array(by_name) == pytest.approx(prediction, abs=1e-6)
        elif name == "binary":
            assert [step["yes"] for step in one["probabilities"]] == pytest.approx(prediction[:, 0], abs=1e-6)


@pytest.mark.parametrize("name", TARGETS)
async def test_the_library_has_the_answers_of_the_service(client: httpx.AsyncClient, folder: Path, name: str) -> None:
    """Predictions, labels and importance of arrays; the chart of an answer has no prediction in its title."""
    sequences = numbers(2)
    answers = await answered(client, name, sequences=sequences.tolist(), importance=True)
    result = load(folder / name)
    found, explanation = result.predict(sequences), result.explain(sequences, "timesteps")
    assert explanation.importance is not None
    for index, one in enumerate(answers):
        np.testing.assert_allclose(found["prediction"][index].squeeze(), np.squeeze(one["prediction"]), atol=1e-6)
        np.testing.assert_allclose(explanation.importance[index], one["importance"], atol=1e-6)
        assert ("label" in found) == ("label" in one)
        if "label" in found:
            assert found["label"][index].tolist() == one["label"]
    assert explanation.plot().title == f"{name} version 1, sequence 0"


async def test_attention_of_a_step_can_be_asked_for(client: httpx.AsyncClient) -> None:
    """`full` has a unit for each step; mean attention is over all of them."""
    (full,) = await answered(client, "multiclass", sequence=numbers()[0].tolist(), attention="full")
    by_step = np.array(full["attention"])
    assert by_step.shape == (4, STEPS)
    for step in range(STEPS):
        (one,) = await answered(client, "multiclass", sequence=numbers()[0].tolist(), attention={"step": step})
        assert one["attention"] == pytest.approx(by_step[:, step], abs=1e-6)
    (mean,) = await answered(client, "multiclass", sequence=numbers()[0].tolist())
    assert mean["attention"] == pytest.approx(by_step.mean(axis=1), abs=1e-6)


@pytest.mark.parametrize("name", TARGETS)
async def test_importance_is_the_mean_over_the_steps(client: httpx.AsyncClient, name: str) -> None:
    """Of several classes it is the share of probability that moves, of numbers the difference in their deviations."""
    sequence = numbers()[:1]
    units = expected_of(name, numbers()).std(axis=(0, 1)) if name == "regression" else 1
    (one,) = await answered(client, name, sequence=sequence[0].tolist(), importance=True)
    for t in range(4):
        occluded = sequence.copy()
        occluded[0, t] = (0.5, -0.5)
        moved = np.abs(expected_of(name, occluded) - expected_of(name, sequence))[0] / units  # (steps, outputs)
        by_step = moved.sum(axis=1) / 2 if name == "multiclass" else moved.mean(axis=1)
        assert one["importance"][t] == pytest.approx(by_step.mean(), abs=1e-6)


async def test_the_other_protocols_have_the_axis_of_steps(client: httpx.AsyncClient) -> None:
    """Rows, columns, explanations and tensors, in JSON and in binary."""
    expected = expected_of("multiclass", numbers())
    rows = await client.post("/v1/models/multiclass:predict", json={"instances": numbers().tolist()})
    assert np.array(rows.json()["predictions"]) == pytest.approx(expected, abs=1e-6)
    both = {"inputs": numbers().tolist(), "signature_name": "attention"}
    columns = await client.post("/v1/models/multiclass:predict", json=both)
    assert np.array(columns.json()["outputs"]["prediction"]) == pytest.approx(expected, abs=1e-6)
    explained = await client.post("/v1/models/multiclass:explain", json={"instances": numbers().tolist()})
    assert len(explained.json()["explanations"][0]["label"]) == STEPS
    url = "/v2/models/multiclass/infer"
    (prediction, *_) = (await client.post(url, json=as_json(numbers()))).json()["outputs"]
    assert prediction["shape"] == [5, STEPS, 3]
    assert prediction["data"] == pytest.approx(expected.ravel(), abs=1e-6)
    answer = await client.post(url, **binary(numbers(), parameters={"binary_data_output": True}))
    assert tensors(answer)["prediction"] == pytest.approx(expected, abs=1e-6)
    described = (await client.get("/v2/models/multiclass")).json()["outputs"][0]
    assert described["shape"] == [-1, STEPS, 3]


@pytest.mark.parametrize("steps", [None, 2])
def test_the_steps_of_the_card_are_those_of_the_golden_example(tmp_path: Path, steps: int | None) -> None:
    """Otherwise answers would have another form than the card says."""
    target = Target(task="multiclass", classes=("a", "b", "c"), steps=steps)
    artifact = write_imported(tmp_path, of_steps(STEPS, 3), imported_card("m", target=target), numbers())
    with pytest.raises(ArtifactError, match=rf"card\.json describes a target with steps {steps}, .* has 3"):
        open_verified(artifact.read(), opener("onnx", threads=1))


def test_an_axis_of_steps_has_the_steps_of_the_target() -> None:
    """The page draws one row for each."""
    with pytest.raises(
        ValidationError, match=r"attention_from: expected an axis 'step' of target.steps \(None\), got 3"
    ):
        imported_card("m", attention_from=SOURCES)
