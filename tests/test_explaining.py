"""Explanations on request: importance and faithfulness, on every route, on both engines."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from scipy.stats import spearmanr

from service.app import create_app
from service.artifact.card import Scaling, Target, Tokens
from service.artifact.tensors import ATTENTION, ATTENTION_VEC, PREDICTION, SEQUENCE
from service.artifact.version import Artifact
from service.engines import EngineChoice
from service.serving.dataplane import DataPlane, Question
from service.serving.explanation import EXPLANATIONS
from service.settings import Settings
from tests.conftest import connect
from tests.fakes import IN_THREAD, held, interceptable, until
from tests.imported import (
    imported_card,
    model_of,
    numbers,
    of_numbers,
    of_steps,
    of_tokens,
    run,
    without_attention,
    write_imported,
)
from tests.infer import as_json, binary, tensors
from tests.samples import TWO_NUMBERS, record
from training import load

pytestmark = pytest.mark.anyio


@pytest.fixture
async def known(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """Yield a client of a model whose prediction is the value of feature 1 at timestep 2, of shorter ones the baseline.

    Its attention is on the first timestep.
    """
    nodes = [
        helper.make_node("IsNaN", [SEQUENCE], ["absent"]),
        helper.make_node("Where", ["absent", "half", SEQUENCE], ["filled"]),
        helper.make_node("Slice", ["filled", "start", "stop", "axes"], ["cell"]),
        helper.make_node("Squeeze", ["cell", "one"], [PREDICTION]),
        helper.make_node("Cast", ["absent"], ["absent number"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["absent number", "two"], ["zero"], keepdims=1),
        helper.make_node("Mul", ["zero", "no"], ["nothing"]),
        helper.make_node("Add", ["nothing", "first"], [ATTENTION_VEC]),
        helper.make_node("Squeeze", [ATTENTION_VEC, "two"], [ATTENTION]),
    ]
    model = model_of(
        nodes,
        {PREDICTION: (1,), ATTENTION: (4,), ATTENTION_VEC: (4, 1)},
        (4, 2),
        half=np.float32(0.5),
        start=np.array([2, 1]),
        stop=np.array([3, 2]),
        axes=np.array([1, 2]),
        one=np.array([1]),
        two=np.array([2]),
        no=np.float32(0),
        first=np.array([[[1], [0], [0], [0]]], np.float32),
    )
    target = Target(task="regression", names=("value",))
    card = imported_card("known", target=target, baseline=((0.5, 0.5),) * 4, variable_length=True)
    write_imported(tmp_path, model, card, numbers())
    async with connect(create_app(Settings(artifacts=tmp_path))) as client:
        yield client


async def posted(client: httpx.AsyncClient, sequences: Any, query: str = "", **more: Any) -> list[dict[str, Any]]:
    response = await client.post(f"/predict{query}", json={"sequences": sequences, **more})
    assert response.status_code == 200, response.text
    predictions: list[dict[str, Any]] = response.json()["predictions"]
    return predictions


async def occluded_by_hand(client: httpx.AsyncClient, sequence: list[Any], query: str) -> list[Any]:
    """Return the predictions with each timestep in turn replaced by the card's baseline."""
    baseline = (await client.get(f"/model{query}")).json()["baseline"]
    occluded = [[*sequence[:t], baseline[t], *sequence[t + 1 :]] for t in range(len(sequence))]
    return [one["prediction"] for one in await posted(client, occluded, query, attention="none")]


@pytest.mark.parametrize("name", ["after-lstm", "before-lstm", "three"])
async def test_importance_equals_occlusion_by_hand(client: httpx.AsyncClient, name: str) -> None:
    """Each sequence also has its prediction, its attention and their rank correlation."""
    query = f"?model={name}"
    sequences = (await client.get(f"/model/example{query}")).json()["sequences"][:4]
    plain = await posted(client, sequences, query)
    explained = await posted(client, sequences, query, importance=True)
    for sequence, before, one in zip(sequences, plain, explained, strict=True):
        assert one.keys() - before.keys() == {"importance", "rank_correlation"}
        assert one["prediction"] == pytest.approx(before["prediction"], abs=1e-6)
        assert one["attention"] == pytest.approx(before["attention"], abs=1e-6)
        moved = np.abs(np.array(await occluded_by_hand(client, sequence, query)) - before["prediction"])
        expected = moved.sum(axis=1) / 2 if moved.ndim == 2 else moved
        assert one["importance"] == pytest.approx(expected, abs=2e-6)
        assert one["rank_correlation"] == pytest.approx(spearmanr(one["attention"], one["importance"]).statistic)


def moved_by_hand(before: Any, after: Any) -> Any:
    """Return how far each prediction `(k, …)` is from another."""
    moved = np.abs(np.array(after) - np.array(before))
    return moved.sum(axis=-1) / 2 if moved.ndim == 2 else moved


async def replaced_by_hand(
    client: httpx.AsyncClient, sequence: Any, where: list[Any], replacements: Any, query: str
) -> Any:
    """Return how far the prediction moves as each part is replaced, as the mean over the replacements: `(parts,)`."""
    copies = []
    for part in where:
        for one in replacements:
            copy = np.array(sequence)
            copy[part] = np.array(one)[part]
            copies.append(copy.tolist())
    (plain,) = await posted(client, [sequence], query)
    after = [one["prediction"] for one in await posted(client, copies, query, attention="none")]
    return moved_by_hand(plain["prediction"], after).reshape(len(where), -1).mean(axis=1)


@pytest.mark.parametrize("replacement", ["baseline", "marginal"])
@pytest.mark.parametrize("name", ["after-lstm", "three"])
async def test_features_and_cells_are_replaced_as_by_hand(
    client: httpx.AsyncClient, name: str, replacement: str
) -> None:
    """The values come from the baseline, or from eight sequences of the golden example."""
    query = f"?model={name}"
    examples = (await client.get(f"/model/example{query}")).json()["sequences"]
    baseline = (await client.get(f"/model{query}")).json()["baseline"]
    drawn = np.linspace(0, len(examples) - 1, 8).astype(int)
    replacements = [baseline] if replacement == "baseline" else [examples[i] for i in drawn]
    sequence = examples[1]
    timesteps, features = np.shape(sequence)
    (both,) = await posted(client, [sequence], query, importance="both", replacement=replacement)
    rows = [np.s_[t, :] for t in range(timesteps)]
    columns = [np.s_[:, f] for f in range(features)]
    cells = [np.s_[t, f] for t in range(timesteps) for f in range(features)]
    for field, where in (("importance", rows), ("feature_importance", columns), ("cell_importance", cells)):
        expected = await replaced_by_hand(client, sequence, where, replacements, query)
        assert np.ravel(both[field]) == pytest.approx(expected, abs=2e-6), field
    assert np.shape(both["cell_importance"]) == (timesteps, features)


async def test_importance_may_be_of_timesteps_of_features_or_of_both(client: httpx.AsyncClient) -> None:
    """Values of a part are the same in each answer; `timesteps` is as `true`."""
    sequences = (await client.get("/model/example")).json()["sequences"][:3]
    plain = await posted(client, sequences)
    names = {
        "timesteps": {"importance", "rank_correlation"},
        "features": {"feature_importance"},
        "both": {"importance", "feature_importance", "cell_importance", "rank_correlation"},
    }
    found = {kind: await posted(client, sequences, importance=kind) for kind in names}
    for kind, answers in found.items():
        for before, one, both in zip(plain, answers, found["both"], strict=True):
            assert one.keys() - before.keys() == names[kind]
            for field in names[kind]:
                assert np.ravel(one[field]) == pytest.approx(np.ravel(both[field]), abs=1e-6)
    assert await posted(client, sequences, importance=False) == plain


async def test_the_feature_and_the_cell_that_decide_have_the_importance(known: httpx.AsyncClient) -> None:
    """The prediction is the value of feature 1 at timestep 2, so all others have exactly none."""
    sequences = numbers(3).tolist()
    sequences[1] = sequences[1][:3]
    for sequence, one in zip(sequences, await posted(known, sequences, importance="both"), strict=True):
        moved = abs(sequence[2][1] - 0.5)
        expected = np.zeros((len(sequence), 2))
        expected[2, 1] = moved
        assert one["feature_importance"] == pytest.approx([0, moved], abs=1e-6)
        assert one["importance"] == pytest.approx(expected.sum(axis=1), abs=1e-6)
        np.testing.assert_allclose(one["cell_importance"], expected, atol=1e-6)
    (short,) = await posted(known, [sequences[0][:2]], importance="both")
    assert not np.any(short["cell_importance"])
    assert not np.any(short["feature_importance"])
    assert np.shape(short["cell_importance"]) == (2, 2)


@pytest.mark.parametrize("known_deviation", [False, True])
async def test_each_of_several_numbers_counts_in_its_own_unit(tmp_path: Path, *, known_deviation: bool) -> None:
    """A number of thousands hides no other: each moves in units of its deviation, in the service and in a notebook."""
    weights = np.zeros((8, 2), np.float32)
    weights[4, 0], weights[7, 1] = 1000, 1  # feature 0 at timestep 2, and feature 1 at timestep 3
    nodes = [
        helper.make_node("Reshape", [SEQUENCE, "flat"], ["values"]),
        helper.make_node("MatMul", ["values", "weights"], [PREDICTION]),
    ]
    model = model_of(nodes, {PREDICTION: (2,)}, (4, 2), weights=weights, flat=np.array([-1, 8]))
    scaling = Scaling(mean=(0, 0), deviation=(1, 1), target_mean=(0, 0), target_deviation=(500, 2))
    training = record().model_copy(update={"scaling": scaling}) if known_deviation else None
    card = imported_card("two", target=TWO_NUMBERS, baseline=((0, 0),) * 4, attention=None, training=training)
    golden = numbers()
    artifact = write_imported(tmp_path, model, card, golden)
    deviation = np.array([500, 2]) if known_deviation else run(model, golden)[PREDICTION].std(axis=0)
    async with connect(create_app(Settings(artifacts=tmp_path))) as client:
        answers = await posted(client, golden.tolist(), importance="both", faithfulness=True)
    moved = np.abs([1000, 1] * golden[:, [2, 3], [0, 1]]) / deviation / 2
    for one, (first, second) in zip(answers, moved.tolist(), strict=True):
        assert one["importance"] == pytest.approx([0, 0, first, second], rel=1e-4)
        assert one["feature_importance"] == pytest.approx([first, second], rel=1e-4)
        assert one["faithfulness"]["importance"]["comprehensiveness"] >= max(first, second) * 0.999
    explanation = load(artifact.directory).explain(golden)
    assert explanation.importance is not None
    np.testing.assert_allclose(explanation.importance, [one["importance"] for one in answers], rtol=1e-4)


async def test_an_order_that_finds_the_timestep_that_decides_is_faithful(known: httpx.AsyncClient) -> None:
    """Without the top timestep the prediction is that of the baseline, and with it alone it does not move."""
    sequences = numbers(2).tolist()
    for sequence, one in zip(
        sequences, await posted(known, sequences, importance="timesteps", faithfulness=True), strict=True
    ):
        moved = abs(sequence[2][1] - 0.5)
        assert one["faithfulness"]["importance"] == pytest.approx(
            {"comprehensiveness": moved, "sufficiency": 0}, abs=1e-6
        )
        # Attention is on the first timestep, so the one that decides is only among the other half.
        assert one["faithfulness"]["attention"] == pytest.approx(
            {"comprehensiveness": 0, "sufficiency": moved}, abs=1e-6
        )


async def test_the_faithfulness_of_one_order_takes_no_importance(client: httpx.AsyncClient) -> None:
    """That of attention needs no further runs, and is the same with importance beside it."""
    sequences = (await client.get("/model/example")).json()["sequences"][:3]
    alone = await posted(client, sequences, faithfulness=True)
    both = await posted(client, sequences, faithfulness=True, importance="both", attention="none")
    for one, other in zip(alone, both, strict=True):
        assert one["faithfulness"].keys() == {"attention"}
        assert other["faithfulness"].keys() == {"attention", "importance"}
        assert one["faithfulness"]["attention"] == pytest.approx(other["faithfulness"]["attention"], abs=1e-6)
        assert "importance" not in one
        assert "attention" not in other
        importance = other["faithfulness"]["importance"]
        assert importance["comprehensiveness"] >= 0
        assert importance["sufficiency"] >= 0


async def test_explanations_of_many_sequences_are_those_of_each_alone(asking: httpx.AsyncClient) -> None:
    """Sequences of several lengths with missing values do not change each other's answer."""
    wanted: dict[str, Any] = {"importance": "both", "faithfulness": True, "replacement": "marginal"}
    sequences: list[Any] = [
        [[0.5, -1.5]],
        [[0.5, -1.5], [None, 2.0], [1.0, 0.5]],
        [[None, None], [0.1, None], [1.0, 1.0], [None, None], [-2.0, 0.0]],
        [[None, 1.0], [None, -1.0], [None, 2.0], [None, 0.0], [None, 1.0], [None, 0.3]],
    ]
    together = await posted(asking, sequences, **wanted)
    for sequence, one in zip(sequences, together, strict=True):
        (alone,) = await posted(asking, [sequence], **wanted)
        assert alone.keys() == one.keys()
        for field in ("importance", "feature_importance", "cell_importance"):
            np.testing.assert_allclose(one[field], alone[field], atol=1e-6)
        for order, measures in one["faithfulness"].items():
            assert measures == pytest.approx(alone["faithfulness"][order], abs=1e-6)
        there = [any(value is not None for value in step) for step in sequence]
        assert not np.any(np.array(one["cell_importance"])[np.logical_not(there)])
        assert np.shape(one["cell_importance"]) == (len(sequence), 2)


@pytest.mark.parametrize("detail", ["none", "full"])
async def test_importance_does_not_change_which_attention_is_answered(client: httpx.AsyncClient, detail: str) -> None:
    """The rank correlation always uses mean attention."""
    sequences = (await client.get("/model/example")).json()["sequences"][:1]
    (mean,) = await posted(client, sequences, importance=True)
    (one,) = await posted(client, sequences, importance=True, attention=detail)
    assert one["importance"] == pytest.approx(mean["importance"], abs=1e-6)
    assert one["rank_correlation"] == mean["rank_correlation"]
    assert ("attention" in one) == (detail == "full")
    if detail == "full":
        np.testing.assert_allclose(np.mean(one["attention"], axis=1), mean["attention"], atol=1e-6)


async def test_importance_is_at_the_timestep_that_decides(client: httpx.AsyncClient) -> None:
    """For the default model that is timestep 10, for almost every sequence."""
    rng = np.random.default_rng(1)
    x = rng.standard_normal((500, 20, 2))
    x[:, 10] = rng.integers(0, 2, (500, 1))
    highest = [np.argmax(one["importance"]) for one in await posted(client, x.tolist(), importance=True)]
    assert np.mean(np.equal(highest, 10)) >= 0.99


async def test_only_present_timesteps_have_importance(asking: httpx.AsyncClient) -> None:
    """Importance covers the posted timesteps, and is 0 where every value is missing. Ranks leave such timesteps out."""
    sequences: list[Any] = [
        [[0.5, -1.5]],
        [[0.5, -1.5], [None, 2.0], [1.0, 0.5]],
        [[None, None], [0.1, None], [1.0, 1.0], [None, None], [-2.0, 0.0]],
    ]
    together = await posted(asking, sequences, importance=True)
    for sequence, one in zip(sequences, together, strict=True):
        (alone,) = await posted(asking, [sequence], importance=True)
        assert one["importance"] == pytest.approx(alone["importance"], abs=1e-6)
        there = [any(value is not None for value in step) for step in sequence]
        assert [value != 0 for value in one["importance"]] == there
        attention, importance = (np.array(one[name])[there] for name in ("attention", "importance"))
        if len(attention) == 1:
            assert one["rank_correlation"] is None
        else:
            assert one["rank_correlation"] == pytest.approx(spearmanr(attention, importance).statistic)


async def test_an_explanation_may_have_importance(client: httpx.AsyncClient) -> None:
    """The answer is the same as that of `/predict`."""
    sequences = (await client.get("/model/example")).json()["sequences"][:2]
    expected = await posted(client, sequences, importance=True)
    response = await client.post("/v1/models/after-lstm:explain", json={"instances": sequences, "importance": True})
    for got, one in zip(response.json()["explanations"], expected, strict=True):
        assert got.keys() == one.keys()
        assert got["importance"] == pytest.approx(one["importance"], abs=1e-6)
        assert got["rank_correlation"] == one["rank_correlation"]


@pytest.mark.parametrize("model", ["both", "gaps"])
async def test_importance_is_an_output_of_the_open_inference_protocol(asking: httpx.AsyncClient, model: str) -> None:
    """It is answered in JSON and in binary, with the labels of attention, but only if the request names it."""
    sequences = np.random.default_rng(0).standard_normal((3, 6, 2)).astype(np.float32)
    said = await posted(asking, sequences.tolist(), f"?model={model}", importance=True)
    expected = [one["importance"] for one in said]
    outputs = [{"name": "importance"}, {"name": "prediction"}]
    url = f"/v2/models/{model}/infer"
    body = as_json(sequences, outputs=outputs, parameters={"labels": True})
    importance, prediction = (await asking.post(url, json=body)).json()["outputs"]
    assert (importance["name"], importance["shape"], prediction["name"]) == ("importance", [3, 6], "prediction")
    assert json.loads(importance["parameters"]["timestep_labels"])[0] == "Mon"
    np.testing.assert_allclose(np.reshape(importance["data"], (3, 6)), expected, atol=1e-6)
    request = binary(sequences, outputs=outputs, parameters={"binary_data_output": True})
    found = tensors(await asking.post(url, **request))
    np.testing.assert_allclose(found["importance"], expected, atol=1e-6)
    unnamed = (await asking.post(url, json=as_json(sequences))).json()["outputs"]
    assert "importance" not in {output["name"] for output in unnamed}


async def test_all_explanations_are_outputs_of_the_open_inference_protocol(asking: httpx.AsyncClient) -> None:
    """Each may be asked for by itself; labels and measures are parameters of theirs."""
    sequences = np.random.default_rng(0).standard_normal((3, 4, 2)).astype(np.float32)
    wanted: dict[str, Any] = {"importance": "both", "faithfulness": True, "replacement": "marginal"}
    said = await posted(asking, sequences.tolist(), **wanted)
    expected = {name: [one[name] for one in said] for name in ("feature_importance", "cell_importance")}
    for order in ("attention", "importance"):
        measures = [one["faithfulness"][order] for one in said]
        expected[f"{order}_faithfulness"] = [[one["comprehensiveness"], one["sufficiency"]] for one in measures]
    url = "/v2/models/both/infer"
    for name, values in expected.items():
        parameters = {"replacement": "marginal", "labels": True}
        body = as_json(sequences, outputs=[{"name": name}], parameters=parameters)
        (output,) = (await asking.post(url, json=body)).json()["outputs"]
        assert output["shape"] == list(np.shape(values))
        np.testing.assert_allclose(np.reshape(output["data"], np.shape(values)), values, atol=1e-6)
        labelled = {key: json.loads(text) for key, text in output["parameters"].items()}
        assert labelled == {
            "feature_importance": {"feature_labels": ["a", "b"]},
            "cell_importance": {"timestep_labels": ["Mon", "Tue", "Wed", "Thu"], "feature_labels": ["a", "b"]},
        }.get(name, {"measures": ["comprehensiveness", "sufficiency"]})
    outputs = [{"name": name} for name in expected]
    request = binary(sequences, outputs=outputs, parameters={"binary_data_output": True, "replacement": "marginal"})
    found = tensors(await asking.post(url, **request))
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, atol=1e-6)
    refused = await asking.post(url, json=as_json(sequences, parameters={"replacement": "mean"}))
    assert refused.json()["error"] == ("parameters.replacement: expected 'baseline' or 'marginal', got \"mean\"")


async def test_an_explanation_may_have_all(client: httpx.AsyncClient) -> None:
    """The answer of `:explain` is that of `/predict`."""
    wanted: dict[str, Any] = {"importance": "both", "faithfulness": True, "replacement": "marginal"}
    sequences = (await client.get("/model/example")).json()["sequences"][:2]
    expected = await posted(client, sequences, **wanted)
    response = await client.post("/v1/models/after-lstm:explain", json={"instances": sequences, **wanted})
    for got, one in zip(response.json()["explanations"], expected, strict=True):
        assert got.keys() == one.keys()
        np.testing.assert_allclose(got["cell_importance"], one["cell_importance"], atol=1e-6)
        assert got["faithfulness"]["importance"] == pytest.approx(one["faithfulness"]["importance"], abs=1e-6)


async def test_faithfulness_without_any_order_is_refused(tmp_path: Path) -> None:
    """A model without attention has that of importance, if importance by timesteps is asked for."""
    baseline = ((0.5, -0.5),) * 4
    write_imported(tmp_path, without_attention(), imported_card("m", attention=None, baseline=baseline), numbers())
    async with connect(create_app(Settings(artifacts=tmp_path))) as client:
        body = {"sequences": numbers().tolist(), "faithfulness": True}
        refused = await client.post("/predict", json={**body, "importance": "features"})
        (one, *_) = await posted(client, numbers().tolist(), faithfulness=True, importance="both")
        outputs = [{"name": "attention_faithfulness"}]
        unknown = await client.post("/v2/models/m/infer", json=as_json(numbers(), outputs=outputs))
    assert (refused.status_code, refused.json()["detail"]) == (
        422,
        "faithfulness: the model has no attention: expected importance by timesteps in the request, too",
    )
    assert one["faithfulness"].keys() == {"importance"}
    assert (unknown.status_code, unknown.json()["error"]) == (400, "the model has no attention")


async def test_one_golden_sequence_is_no_distribution(tmp_path: Path) -> None:
    """The message says why its values are not drawn from it."""
    write_imported(tmp_path, of_numbers(), imported_card("m", baseline=((0.5, -0.5),) * 4), numbers(1))
    async with connect(create_app(Settings(artifacts=tmp_path))) as client:
        body = {"sequences": numbers().tolist(), "importance": "features", "replacement": "marginal"}
        refused = await client.post("/predict", json=body)
    assert (refused.status_code, refused.json()["detail"]) == (
        422,
        "replacement: expected 'baseline', as the golden example of m version 1 has a single sequence, got 'marginal'",
    )


@pytest.mark.parametrize(
    ("wanted", "each"),
    [
        ({"importance": "features"}, 1 + 3),
        ({"importance": "both"}, 1 + 6 + 3 + 18),
        ({"faithfulness": True}, 1 + 10),
        ({"faithfulness": True, "importance": True}, 1 + 6 + 20),
        ({"importance": "features", "replacement": "marginal"}, 1 + 8 * 3),
    ],
)
async def test_all_runs_of_explanations_count(artifacts: Path, wanted: dict[str, Any], each: int) -> None:
    """As many sequences are explained as their runs may wait, and one more is refused."""
    app = create_app(Settings(artifacts=artifacts, model="three", max_queue=2 * each, max_sequences=2))
    async with connect(app) as client:
        sequences = (await client.get("/model/example")).json()["sequences"][:2]
        assert len(await posted(client, sequences, **wanted)) == 2
    app = create_app(Settings(artifacts=artifacts, model="three", max_queue=2 * each - 1, max_sequences=2))
    async with connect(app) as client:
        response = await client.post("/predict", json={"sequences": sequences, **wanted})
        assert len(await posted(client, sequences[:1], **wanted)) == 1
    assert (response.status_code, response.json()["detail"]) == (
        413,
        f"expected at most {2 * each - 1} runs of the model for one request, got {2 * each}: {each} for each of 2 "
        "sequences, as explanations change and run them again",
    )


async def test_importance_of_too_many_sequences_is_refused(artifacts: Path, engine: EngineChoice) -> None:
    """Each sequence takes one run, and one more for each of its timesteps."""
    app = create_app(Settings(artifacts=artifacts, model="three", engine=engine, max_queue=27, max_sequences=20))
    async with connect(app) as client:
        sequences = (await client.get("/model/example")).json()["sequences"]
        assert len(await posted(client, sequences[:3], importance=True)) == 3
        response = await client.post("/predict", json={"sequences": sequences[:4], "importance": True})
        assert response.status_code == 413
        assert response.json()["detail"] == (
            "expected at most 27 runs of the model for one request, got 28: 7 for each of 4 sequences, as explanations "
            "change and run them again"
        )
        assert len(await posted(client, sequences[:4])) == 4


async def test_a_card_without_a_baseline_has_no_importance(artifacts: Path, tmp_path: Path) -> None:
    """Versions without a baseline are served. Their error message says that the baseline is missing."""
    artifact = Artifact(Path(shutil.copytree(artifacts / "three" / "1", tmp_path / "three" / "1")))
    card = json.loads(artifact.card_path.read_text())
    del card["baseline"]
    artifact.card_path.write_text(json.dumps(card))
    artifact.write_sums()
    async with connect(create_app(Settings(artifacts=tmp_path))) as client:
        sequences = (await client.get("/model/example")).json()["sequences"]
        assert len(await posted(client, sequences)) == 32
        response = await client.post("/predict", json={"sequences": sequences, "importance": True})
        named = {output["name"] for output in (await client.get("/v2/models/three")).json()["outputs"]}
    assert response.status_code == 422
    assert response.json()["detail"] == (
        "three version 1 has no baseline on its card, which importance needs: train it again"
    )
    assert "importance" not in named


@pytest.mark.parametrize(("wanted", "most"), [({"importance": True}, 22), ({"faithfulness": True}, 33)])
async def test_an_explanation_that_is_refused_is_not_counted(
    artifacts: Path, wanted: dict[str, Any], most: int
) -> None:
    """A request is admitted with all the rows that it runs, those of a second round included, or not at all."""
    settings = Settings(artifacts=artifacts, model="three", max_queue=most, max_sequences=3)
    app = create_app(settings, open_engine=interceptable(seconds=IN_THREAD))
    async with connect(app) as client:
        sequences = (await client.get("/model/example")).json()["sequences"][:3]
        body = {"sequences": sequences, **wanted}
        answers = await asyncio.gather(*(client.post("/predict", json=body) for _ in range(4)))
        counted = (await client.get("/attention")).json()["live"]["start"]["sequences"]
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses[0] == 200
    assert statuses[-1] == 429
    assert counted == 3 * statuses.count(200)


async def test_room_for_the_second_round_is_held_during_the_first(artifacts: Path) -> None:
    """Other requests are refused meanwhile, and not those that were admitted."""
    app = create_app(
        Settings(artifacts=artifacts, model="three", max_queue=12, max_sequences=2),
        open_engine=interceptable(seconds=IN_THREAD),
    )
    async with connect(app) as client:
        sequences = (await client.get("/model/example")).json()["sequences"][:2]
        with held(app) as calls:
            first = asyncio.create_task(client.post("/predict", json={"sequence": sequences[0], "faithfulness": True}))
            await until(lambda: calls == [1])
            refused = await client.post("/predict", json={"sequences": sequences})
        answer = await first
    assert (refused.status_code, answer.status_code) == (429, 200)
    assert refused.json()["detail"] == "expected at most 12 sequences waiting or arriving, got 11 and 2"


async def test_importance_has_one_deadline(artifacts: Path) -> None:
    """The prediction and the occlusions share it."""
    settings = Settings(artifacts=artifacts, model="three", timeout=0.4)
    app = create_app(settings, open_engine=interceptable(seconds=IN_THREAD))
    async with connect(app) as client:
        sequences = (await client.get("/model/example")).json()["sequences"][:1]
        with held(app, fewest_rows=2):
            response = await client.post("/predict", json={"sequences": sequences, "importance": True})
        counted = (await client.get("/attention")).json()["live"]["start"]["sequences"]
    assert (response.status_code, counted) == (504, 0)


async def test_occlusions_run_among_other_requests(artifacts: Path, engine: EngineChoice) -> None:
    """Occlusions run through the same Batcher in pieces of at most one batch, and each request gets its own answer."""
    app = create_app(Settings(artifacts=artifacts, model="three", engine=engine, max_batch=4))
    async with connect(app) as client:
        sequences = (await client.get("/model/example")).json()["sequences"][:6]
        expected = [(await posted(client, [sequence], importance=True))[0] for sequence in sequences]
        async with asyncio.TaskGroup() as group:
            asked = [
                group.create_task(posted(client, [sequence], importance=index % 2 == 0))
                for index, sequence in enumerate(sequences)
            ]
    for index, (task, one) in enumerate(zip(asked, expected, strict=True)):
        (got,) = task.result()
        assert got["prediction"] == pytest.approx(one["prediction"], abs=1e-6)
        assert ("importance" in got) == (index % 2 == 0)
        if index % 2 == 0:
            assert got["importance"] == pytest.approx(one["importance"], abs=1e-6)


async def test_metadata_name_the_explanations_that_can_be_asked_for_together(artifacts: Path) -> None:
    """Clients that ask for every output of the metadata get an answer, whatever the limit on runs."""
    for most, missing in ((16, {"cell_importance", "attention_faithfulness", "importance_faithfulness"}), (48, set())):
        app = create_app(Settings(artifacts=artifacts, model="three", max_queue=most, max_sequences=1))
        async with connect(app) as client:
            sequences = np.array((await client.get("/model/example")).json()["sequences"][:1], np.float32)
            described = (await client.get("/v2/models/three")).json()["outputs"]
            named = [{"name": output["name"]} for output in described]
            answer = await client.post("/v2/models/three/infer", json=as_json(sequences, outputs=named))
        assert answer.status_code == 200
        explanations = {"importance", "feature_importance", "cell_importance"}
        explanations |= {"attention_faithfulness", "importance_faithfulness"}
        assert {output["name"] for output in answer.json()["outputs"]} & explanations == explanations - missing


@pytest.mark.parametrize("replacement", ["baseline", "marginal"])
@pytest.mark.parametrize("kind", ["tokens", "classes of each step", "numbers of each step", "categories"])
async def test_models_of_every_kind_are_explained(
    tmp_path: Path, categorized: Path, kind: str, replacement: str
) -> None:
    """Explanations of many sequences are those of each alone, and have its timesteps and the model's features."""
    folder = categorized if kind == "categories" else tmp_path
    if kind == "tokens":
        tokens, baseline = Tokens(least=0, most=9, pad=0), ((1.0,),) * 6
        card = imported_card("m", timesteps=6, features=1, tokens=tokens, variable_length=True, baseline=baseline)
        golden = np.array([[2, 3, 4, 5, 6, 7], [2, 3, 1, np.nan, np.nan, np.nan]], np.float32)[:, :, np.newaxis]
        write_imported(folder, of_tokens(), card, golden)
    elif kind != "categories":
        classes = kind == "classes of each step"
        target = (
            Target(task="multiclass", classes=("a", "b", "c"), steps=3)
            if classes
            else Target(task="regression", names=("one", "two"), steps=3)
        )
        card = imported_card("m", target=target, baseline=((0.5, -0.5),) * 4)
        write_imported(folder, of_steps(3, 3 if classes else 2), card, numbers())
    async with connect(create_app(Settings(artifacts=folder))) as client:
        examples = (await client.get("/model/example")).json()["sequences"][:5]
        wanted: dict[str, Any] = {"importance": "both", "faithfulness": True, "replacement": replacement}
        together = await posted(client, examples, **wanted)
        alone = [(await posted(client, [one], **wanted))[0] for one in examples]
        features = len((await client.get("/model")).json()["feature_labels"])
    for example, one, same in zip(examples, together, alone, strict=True):
        assert np.shape(one["cell_importance"]) == (len(example), features)
        assert np.shape(one["feature_importance"]) == (features,)
        for field in ("importance", "feature_importance", "cell_importance"):
            np.testing.assert_allclose(one[field], same[field], atol=2e-6)
        for order in ("attention", "importance"):
            assert one["faithfulness"][order] == pytest.approx(same["faithfulness"][order], abs=2e-6)
        if features == 1:
            np.testing.assert_allclose(np.ravel(one["cell_importance"]), one["importance"], atol=1e-6)
    assert max(np.max(one["cell_importance"]) for one in together) > 1e-4


@pytest.mark.parametrize("names", [(), *[(name,) for name in EXPLANATIONS], EXPLANATIONS])
async def test_the_numbers_of_an_answer_are_known_before(app: FastAPI, names: tuple[str, ...]) -> None:
    """So the memory of answers is bounded before the model runs."""
    plane: DataPlane = app.state.plane
    model = plane.model("three")
    question = Question(np.zeros((2, 6, 3), np.float32), ["prediction", "attention"], names)
    outputs = (await plane.ask(model, question)).outputs
    answered = {"prediction", "attention", *names, *(["rank_correlation"] if "importance" in names else [])}
    assert answered <= outputs.keys()
    assert plane.numbers(model, question) == sum(outputs[name].size for name in answered) <= 2 * model.most_numbers


SOME_JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.integers() | st.text(max_size=9),
    lambda children: st.lists(children, max_size=2) | st.dictionaries(st.text(max_size=9), children, max_size=2),
    max_leaves=4,
)


@settings(max_examples=25)
@given(
    importance=SOME_JSON | st.sampled_from(["timesteps", "features", "both"]),
    replacement=SOME_JSON | st.sampled_from(["baseline", "marginal"]),
    faithfulness=SOME_JSON,
)
async def test_any_wish_is_answered_or_refused(
    varying: FastAPI, importance: Any, replacement: Any, faithfulness: Any
) -> None:
    """A refusal names the field; what is null is as if absent."""
    wanted = {"importance": importance, "replacement": replacement, "faithfulness": faithfulness}
    async with connect(varying) as client:
        answer = await client.post("/predict", json={"sequence": [[1.0, None], [None, 2.0]], **wanted})
        explained = await client.post("/v1/models/both:explain", json={"instances": [[[1.0, 2.0]]], **wanted})
    valid = (
        (importance in ("timesteps", "features", "both") or isinstance(importance, bool | None))
        and replacement in ("baseline", "marginal", None)
        and isinstance(faithfulness, bool | None)
    )
    assert (answer.status_code, explained.status_code) == ((200, 200) if valid else (422, 400))
    if not valid:
        assert answer.json()["detail"].split(":")[0] in wanted
