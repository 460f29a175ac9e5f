"""`POST /predict`: its answers, and its errors for bad input; on both engines."""

import asyncio
import gc
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi import FastAPI

from service.api.request_body import SLOW_BODY, RequestBody, require_structure
from service.app import create_app
from service.artifact.golden import Golden
from service.artifact.tensors import Array
from service.artifact.version import Artifact
from service.engines import EngineChoice
from service.errors import TooLarge
from service.settings import Settings
from tests.conftest import connect
from tests.fakes import IN_THREAD, answer_nan, engine_of, held, interceptable, until
from tests.samples import card

pytestmark = pytest.mark.anyio

STEP = [0.1, -0.2]
SEQUENCE = [STEP] * 20
IMPORTANCE_VALUES = "importance: expected true, false, 'timesteps', 'features' or 'both'"


def with_value(value: Any, *, at: tuple[int, int]) -> list[list[Any]]:
    """Return a good sequence with one element replaced."""
    sequence: list[list[Any]] = [list(step) for step in SEQUENCE]
    sequence[at[0]][at[1]] = value
    return sequence


@pytest.fixture(scope="session")
def golden(artifacts: Path) -> Golden:
    return Artifact(artifacts / "after-lstm" / "1").read().golden()


async def test_many_sequences_are_answered_in_order(client: httpx.AsyncClient, golden: Golden) -> None:
    """Each has its own prediction, label and attention, as recorded at export."""
    response = await client.post("/predict", json={"sequences": golden.sequence.tolist()})
    assert response.status_code == 200
    answer = response.json()
    assert (answer["model"], answer["version"]) == ("after-lstm", 1)
    rows = answer["predictions"]
    np.testing.assert_allclose([row["prediction"] for row in rows], golden.prediction[:, 0], rtol=0, atol=1e-6)
    np.testing.assert_allclose([row["attention"] for row in rows], golden.outputs["attention"], rtol=0, atol=1e-6)
    assert [row["label"] for row in rows] == ["1" if p >= 0.5 else "0" for p in golden.prediction[:, 0]]
    assert {row["label"] for row in rows} == {"0", "1"}


async def test_one_sequence_is_answered_as_it_is_among_many(client: httpx.AsyncClient, golden: Golden) -> None:
    """A sequence has the same answer alone and in a batch."""
    many = (await client.post("/predict", json={"sequences": golden.sequence.tolist()})).json()["predictions"]
    for sequence, among_many in zip(golden.sequence[:5], many, strict=False):
        alone = (await client.post("/predict", json={"sequence": sequence.tolist()})).json()["predictions"]
        assert len(alone) == 1
        assert alone[0]["prediction"] == pytest.approx(among_many["prediction"], abs=1e-6)
        assert alone[0]["attention"] == pytest.approx(among_many["attention"], abs=1e-6)


async def test_attention_sums_to_one(client: httpx.AsyncClient, golden: Golden) -> None:
    """The test covers mean and full attention."""
    for detail, shape in (("mean", (32, 20)), ("full", (32, 20, 32))):
        response = await client.post("/predict", json={"sequences": golden.sequence.tolist(), "attention": detail})
        attention = np.array([row["attention"] for row in response.json()["predictions"]])
        assert attention.shape == shape
        np.testing.assert_allclose(attention.sum(axis=1), 1, rtol=0, atol=1e-5)


async def test_attention_can_be_left_out(client: httpx.AsyncClient) -> None:
    """Without attention, the answer has no attention field."""
    response = await client.post("/predict", json={"sequence": SEQUENCE, "attention": "none"})
    assert set(response.json()["predictions"][0]) == {"prediction", "label"}


async def test_another_model_is_chosen_in_the_query(client: httpx.AsyncClient, artifacts: Path) -> None:
    """For several classes, the answer has a probability each and the most likely class. Inputs are in raw units."""
    golden = Artifact(artifacts / "three" / "1").read().golden()
    response = await client.post("/predict?model=three&version=1", json={"sequences": golden.sequence.tolist()})
    answer = response.json()
    assert answer["model"] == "three"
    predictions = np.array([row["prediction"] for row in answer["predictions"]])
    np.testing.assert_allclose(predictions, golden.prediction, rtol=0, atol=1e-6)
    classes = Artifact(artifacts / "three" / "1").read().card().target.classes or ()
    assert set(classes) == {"low", "middle", "high"}
    assert [row["label"] for row in answer["predictions"]] == [classes[i] for i in predictions.argmax(axis=1)]


async def test_concurrent_requests_get_their_own_answers(client: httpx.AsyncClient, golden: Golden) -> None:
    """Each of many concurrent requests, some of them wrong, gets its own answer."""

    async def ask(index: int) -> tuple[int, httpx.Response]:
        body = {"sequence": SEQUENCE[1:]} if index % 9 == 8 else {"sequence": golden.sequence[index % 32].tolist()}
        return index, await client.post("/predict", json=body)

    for index, response in await asyncio.gather(*(ask(index) for index in range(90))):
        if index % 9 == 8:
            assert response.status_code == 422
        else:
            prediction = response.json()["predictions"][0]["prediction"]
            assert prediction == pytest.approx(golden.prediction[index % 32, 0], abs=1e-6)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"sequence": SEQUENCE[1:]}, "sequence: expected 20 timesteps, got 19"),
        ({"sequence": [[0.1, 0.2, 0.3]] * 20}, "sequence[0]: expected 2 features, got 3"),
        ({"sequence": [*SEQUENCE[:19], [0.1]]}, "sequence[19]: expected 2 features, got 1"),
        ({"sequence": [*SEQUENCE[:19], 0.1]}, "sequence[19]: expected a list of 2 features, got a number"),
        ({"sequences": SEQUENCE}, "sequences[0]: expected 20 timesteps, got 2"),
        ({"sequences": [SEQUENCE, [1] * 20]}, "sequences[1][0]: expected a list of 2 features, got a number"),
        ({"sequences": [SEQUENCE, "text"]}, "sequences[1]: expected a list of 20 timesteps, got a string"),
        ({"sequences": [SEQUENCE, {}]}, "sequences[1]: expected a list of 20 timesteps, got an object"),
        ({"sequences": [SEQUENCE, [SEQUENCE] * 20]}, "sequences[1][0]: expected 2 features, got 20"),
        ({"sequence": with_value(None, at=(3, 1))}, "sequence[3][1]: expected a finite number, got null"),
        ({"sequence": with_value("0.5", at=(3, 1))}, "sequence[3][1]: expected a finite number, got a string"),
        ({"sequence": with_value(True, at=(3, 1))}, "sequence[3][1]: expected a finite number, got a boolean"),
        ({"sequence": with_value([1], at=(3, 1))}, "sequence[3][1]: expected a finite number, got a list"),
        ({"sequence": with_value(-1e39, at=(0, 0))}, "sequence[0][0]: expected a finite float32, got -1e+39"),
        (
            {"sequences": [SEQUENCE, SEQUENCE, with_value(None, at=(19, 0))]},
            "sequences[2][19][0]: expected a finite number, got null",
        ),
        ({"sequences": []}, "expected at least one sequence, got none"),
        ({"sequence": "text"}, "sequence: expected a list of 20 timesteps, got a string"),
        ({"sequences": "text"}, "expected a list of sequences, got a string"),
        ({"sequences": [[[[1]]]]}, "sequences[0]: expected 20 timesteps, got 1"),
        ({"sequence": [1.5] * 20}, "sequence[0]: expected a list of 2 features, got a number"),
        ({"sequences": [1.5]}, "sequences[0]: expected a list of 20 timesteps, got a number"),
    ],
)
async def test_an_error_names_the_wrong_element_and_the_expected_one(
    client: httpx.AsyncClient, body: dict[str, Any], message: str
) -> None:
    """Ragged, non-numeric, null and too large elements are answered 422. The message names the first wrong element."""
    response = await client.post("/predict", json=body)
    assert response.status_code == 422
    assert response.json() == {"detail": message}


def named(**changes: Any) -> list[Any]:
    """Return `SEQUENCE` with names; timestep 3 has these features instead."""
    steps: list[Any] = [{"1": second, "0": first} for first, second in SEQUENCE]
    return [*steps[:3], changes, *steps[4:]] if changes else steps


async def test_features_may_be_named_in_any_order(client: httpx.AsyncClient) -> None:
    """A timestep may be an object or a list, on every route that takes sequences."""
    mixed = [*SEQUENCE[:7], *named()[7:]]
    (expected,) = (await client.post("/predict", json={"sequence": SEQUENCE})).json()["predictions"]
    for body in ({"sequence": named()}, {"sequence": mixed}, {"sequences": [named(), SEQUENCE, mixed]}):
        for row in (await client.post("/predict", json=body)).json()["predictions"]:
            assert row["prediction"] == pytest.approx(expected["prediction"], abs=1e-6)
    for path, field in (
        ("/v1/models/after-lstm:predict", "predictions"),
        ("/v1/models/after-lstm:explain", "explanations"),
        ("/invocations", "predictions"),
    ):
        for row in (named(), {"sequence": named()}):
            (answer,) = (await client.post(path, json={"instances": [row]})).json()[field]
            prediction = answer["prediction"] if isinstance(answer, dict) else answer[0]
            assert prediction == pytest.approx(expected["prediction"], abs=1e-6)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"sequence": named(**{"0": 1})}, "sequence[3]: missing feature '1'"),
        ({"sequence": named(**{"0": 1, "1": 2, "2": 3})}, "sequence[3]: unknown feature '2'"),
        ({"sequence": named(a=1, b=2)}, "sequence[3]: missing features '0', '1'; unknown features 'a', 'b'"),
        ({"sequence": named(**{"1": 2, "0": "x"})}, "sequence[3]['0']: expected a finite number, got a string"),
        ({"sequence": named(**{"1": 1e39, "0": 1})}, "sequence[3]['1']: expected a finite float32, got 1e+39"),
        ({"sequences": [SEQUENCE, named(**{"0": 1})]}, "sequences[1][3]: missing feature '1'"),
    ],
)
async def test_an_error_names_the_feature(client: httpx.AsyncClient, body: dict[str, Any], message: str) -> None:
    """A missing or unknown name is answered 422."""
    response = await client.post("/predict", json=body)
    assert (response.status_code, response.json()) == (422, {"detail": message})


@pytest.mark.parametrize("value", ["7", '"seven"', "[]"])
async def test_a_repeated_feature_is_refused(client: httpx.AsyncClient, value: str) -> None:
    """Most parsers of JSON keep the last of equal names."""
    text = json.dumps({"sequence": named()}).replace('"0":', f'"0": {value}, "0":', 1)
    response = await client.post("/predict", content=text, headers={"Content-Type": "application/json"})
    assert (response.status_code, response.json()) == (422, {"detail": "sequence[0]: repeated feature '0'"})
    text = json.dumps({"instances": [named()]}).replace('"0":', f'"0": {value}, "0":', 1)
    response = await client.post("/v1/models/after-lstm:predict", content=text)
    assert (response.status_code, response.json()) == (400, {"error": "instances[0][0]: repeated feature '0'"})


async def test_probabilities_are_named_by_class(client: httpx.AsyncClient) -> None:
    """On request, each class has its probability; of two, `prediction` is that of the second."""
    for path, field, sequences in (
        ("/predict", "predictions", "sequences"),
        ("/v1/models/after-lstm:explain", "explanations", "instances"),
    ):
        body = {sequences: [SEQUENCE, np.ones((20, 2)).tolist()]}
        plain = (await client.post(path, json=body)).json()[field]
        assert all("probabilities" not in row for row in plain)
        for row in (await client.post(path, json={**body, "probabilities": True})).json()[field]:
            probabilities = row["probabilities"]
            assert list(probabilities) == ["0", "1"]
            assert probabilities["1"] == row["prediction"]
            assert sum(probabilities.values()) == pytest.approx(1, abs=1e-7)
            assert probabilities[row["label"]] == max(probabilities.values())


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "expected either 'sequence' or 'sequences', got neither"),
        ({"sequence": SEQUENCE, "sequences": [SEQUENCE]}, "expected either 'sequence' or 'sequences', got both"),
        ({"sequence": SEQUENCE, "attention": "some"}, "attention: expected 'mean', 'full' or 'none', got \"some\""),
        (
            {"sequence": SEQUENCE, "atention": "full"},
            "expected no other field than importance, replacement, faithfulness, attention, probabilities, inputs, "
            "sequence, sequences, got 'atention'",
        ),
        ([SEQUENCE], "body: expected an object, got a list"),
        ("text", 'body: expected an object, got "text"'),
        (1, "body: expected an object, got 1"),
        ({"sequence": None, "attention": None}, "expected either 'sequence' or 'sequences', got neither"),
        ({"sequence": SEQUENCE, "importance": 7}, f"{IMPORTANCE_VALUES}, got 7"),
        ({"sequence": SEQUENCE, "importance": [[1.0]]}, f"{IMPORTANCE_VALUES}, got a list"),
    ],
)
async def test_an_error_names_the_expected_body(client: httpx.AsyncClient, body: Any, message: str) -> None:
    """The message is in plain words, without the body."""
    response = await client.post("/predict", json=body)
    assert (response.status_code, response.json()) == (422, {"detail": message})


@pytest.mark.parametrize("text", ["", "{", '{"sequence": [[NaN]]}', '{"sequence": [[-Infinity]]}', "[" * 2000, "\xff"])
async def test_malformed_json_is_refused(client: httpx.AsyncClient, text: str) -> None:
    """Text that is not JSON, with NaN and Infinity too, is answered 422."""
    response = await client.post(
        "/predict", content=text.encode("latin-1"), headers={"Content-Type": "application/json"}
    )
    assert response.status_code == 422
    assert re.match(r"position \d+: expected JSON \(", response.json()["detail"])


async def test_nan_is_answered_with_the_reason(client: httpx.AsyncClient) -> None:
    """The message says that JSON has no NaN, which Python's encoder writes."""
    content = json.dumps({"sequence": with_value(float("nan"), at=(0, 0))})
    response = await client.post("/predict", content=content, headers={"Content-Type": "application/json"})
    assert "expected JSON (which has no NaN and no Infinity)" in response.json()["detail"]


@pytest.mark.parametrize(
    "content_type", [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"]
)
async def test_another_content_type_is_refused(client: httpx.AsyncClient, content_type: str | None) -> None:
    """It is answered 415. The message names both content types."""
    headers = {"Content-Type": content_type} if content_type else {}
    response = await client.post("/predict", content=json.dumps({"sequence": SEQUENCE}), headers=headers)
    assert response.status_code == 415
    assert response.json() == {
        "detail": f"expected content type application/json or text/csv, got {content_type or 'none'}"
    }


async def test_json_with_a_charset_is_json(client: httpx.AsyncClient) -> None:
    """Parameters of the content type do not matter."""
    response = await client.post(
        "/predict",
        content=json.dumps({"sequence": SEQUENCE}),
        headers={"Content-Type": "Application/JSON; charset=utf-8"},
    )
    assert response.status_code == 200


@pytest.mark.parametrize("change", ["none", "last value", "shape"])
async def test_a_large_body_does_not_block_the_event_loop(artifacts: Path, engine: EngineChoice, change: str) -> None:
    """Thousands of sequences are decoded and encoded in a thread, even if the last one is wrong."""
    sequences: list[Any] = [SEQUENCE] * 7999
    sequences.append({"none": SEQUENCE, "last value": with_value(None, at=(19, 1)), "shape": []}[change])
    loop_runs = 0

    async def count_turns() -> None:
        nonlocal loop_runs
        while True:
            await asyncio.sleep(0.001)
            loop_runs += 1

    async with connect(create_app(Settings(artifacts=artifacts, model="after-lstm", engine=engine))) as client:
        counting = asyncio.create_task(count_turns())
        response = await client.post("/predict", json={"sequences": sequences})
        counting.cancel()
    assert loop_runs > 5
    if change == "none":
        assert len(response.json()["predictions"]) == 8000
    else:
        assert response.json()["detail"].startswith("sequences[7999]")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"[[[0.5,1.5]]]," * 1000, False),
        (b'{"sequence":[[0.5,1.5],[0.5,1.5]]},' * 1000, False),
        (b'{"sequence":[{"0":0.5,"1":1.5},{"0":0.5,"1":1.5}]},' * 1000, True),
        (b'{"dataframe_split":{"columns":["0","1"],"data":[' + b"[0.5,1.5]," * 1000, True),
        (b"0,1\n" * 3000, True),
        (b"0,1\n" * 30, False),
    ],
)
def test_what_takes_longer_is_decoded_in_a_thread(text: bytes, expected: bool) -> None:  # noqa: FBT001
    """Tables and named features take ten times as long as lists."""
    body = RequestBody([text], len(text), [], 0.0)
    assert (body.size > SLOW_BODY and body.is_slow(by_name=True)) is expected
    assert not body.is_slow(by_name=False)


def test_named_features_may_be_as_many_as_lists() -> None:
    """The limit of fields allows one for each feature."""
    described, step = card(), b'{"feature 0":1.5,"feature 1":2.5},'
    require_structure(b"[" + step * 20 * 400, 400, described, described.features)
    with pytest.raises(TooLarge, match="expected at most 10200 lists, objects and fields in the body"):
        require_structure(b"[" + step * 20 * 600, 400, described, described.features)


@pytest.mark.parametrize("depth", [4, 64, 65, 2000, 100_000])
async def test_deep_nesting_is_refused_at_once(client: httpx.AsyncClient, depth: int) -> None:
    """The answer is short at any depth."""
    body = b'{"sequence": ' + b"[" * depth + b"1" + b"]" * depth + b"}"
    response = await client.post("/predict", content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == 422
    assert len(response.content) < 300


async def test_refusing_an_announced_body_closes_the_connection(client: httpx.AsyncClient) -> None:
    """After refusing `Expect: 100-continue`, the service closes the connection, as the client may not send the body."""
    headers = {"Content-Type": "text/plain", "Expect": "100-continue"}
    response = await client.post("/predict", content=b"{}", headers=headers)
    assert response.status_code == 415
    assert response.headers["Connection"] == "close"


async def test_too_many_lists_are_refused_before_they_are_parsed(client: httpx.AsyncClient) -> None:
    """Parsing lists takes much longer than parsing numbers."""
    body = b'{"sequences": [' + b"[]," * 300_000 + b"[]]}"
    response = await client.post("/predict", content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == 413
    assert "expected at most 189416 lists, objects and fields in the body, got 300004" in response.json()["detail"]


async def test_too_many_values_are_refused_before_they_are_parsed(artifacts: Path) -> None:
    """Parsed values take many times the memory of their text. These texts are not even JSON."""
    app = create_app(Settings(artifacts=artifacts, model="after-lstm", max_sequences=1000))
    async with connect(app) as client:
        for start in (b'{"sequences": [', b'{"other": ['):
            for unit in (b"null,", b'"ab",', b"1.5,", b'"\\u00e9",'):
                response = await client.post(
                    "/predict", content=start + unit * 100_000 + b"!", headers={"Content-Type": "application/json"}
                )
                assert response.status_code == 413
                message = (
                    "expected at most 1000 sequences of 20 times 2 values in the body, got more than 100000 values"
                )
                assert response.json() == {"detail": message}
        full = {"sequences": [SEQUENCE] * 1000, "importance": False}
        assert (await client.post("/predict", json=full)).status_code == 200


async def test_a_refused_body_is_not_kept(client: httpx.AsyncClient) -> None:
    """No reference cycle holds its lists until the next garbage collection.

    A thread that decoded a body may still hold it for a moment after the answer.
    """
    lists = 20_000
    content = json.dumps({"other": [[f"value {index}"] for index in range(lists)]})
    gc.collect()
    gc.disable()
    try:
        before = len(gc.get_objects())
        for _ in range(3):
            response = await client.post("/predict", content=content, headers={"Content-Type": "application/json"})
            assert response.status_code == 422
        await until(lambda: len(gc.get_objects()) - before < lists)
    finally:
        gc.enable()


async def test_millions_of_unknown_fields_are_refused_as_one(client: httpx.AsyncClient) -> None:
    """The answer stays small, however many fields the body has."""
    response = await client.post("/predict", json={str(index): 1 for index in range(50_000)})
    assert response.status_code == 422
    assert len(response.content) < 300


async def test_an_answer_that_is_not_finite_is_an_error(
    client: httpx.AsyncClient, app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer is 422, not 200 with null in it, and names the sequence."""
    answer_nan(monkeypatch, app, sequence=1, timestep=3)
    response = await client.post("/predict", json={"sequences": [SEQUENCE] * 3})
    assert response.status_code == 422
    assert response.json() == {
        "detail": "sequence 1: expected values that the model can handle, got an answer not finite"
    }


async def test_an_engine_that_fails_answers_500_as_json(
    client: httpx.AsyncClient, app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer has no details; they are in the log."""

    def fail(*_: object) -> dict[str, Array]:
        raise RuntimeError("secret")

    monkeypatch.setattr(engine_of(app), "intercept", fail)
    response = await client.post("/predict", json={"sequence": SEQUENCE})
    assert response.status_code == 500
    assert response.json() == {"detail": "internal error"}


async def test_server_timing_names_each_step(client: httpx.AsyncClient) -> None:
    """Server-Timing names the four steps, in milliseconds."""
    response = await client.post("/predict", json={"sequence": SEQUENCE})
    steps = dict(re.findall(r"(\w+);dur=([\d.]+)", response.headers["Server-Timing"]))
    assert list(steps) == ["decode", "queue", "inference", "encode"]
    assert all(0 < float(steps[step]) < 10_000 for step in ("decode", "inference", "encode"))
    assert 0 <= float(steps["queue"]) < 10_000  # a lone request does not wait at all


async def test_a_body_over_the_limit_is_refused(client: httpx.AsyncClient) -> None:
    """It is answered 413: from the declared length or, without one, once the limit is passed."""
    body = b" " * (2**20 + 1)

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 2**16):
            yield body[start : start + 2**16]

    headers = {"Content-Type": "application/json"}
    declared = await client.post("/predict", content=body, headers=headers)
    assert declared.status_code == 413
    assert declared.json() == {"detail": "expected a body of at most 1048576 bytes, got 1048577"}
    streamed = await client.post("/predict", content=chunks(), headers=headers)
    assert streamed.status_code == 413
    assert streamed.json() == {"detail": "expected a body of at most 1048576 bytes, got more"}


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("model=other", "no model 'other': expected one of after-lstm, before-lstm, three"),
        ("version=7", "model 'after-lstm' has no version 7: expected 1"),
    ],
)
async def test_an_unknown_model_or_version_is_not_found(client: httpx.AsyncClient, query: str, message: str) -> None:
    """It is answered 404. The message names the models or versions that exist."""
    response = await client.post(f"/predict?{query}", json={"sequence": SEQUENCE})
    assert response.status_code == 404
    assert response.json() == {"detail": message}


async def test_a_version_that_is_no_number_is_refused(client: httpx.AsyncClient) -> None:
    """It is answered 422, as FastAPI does for any parameter."""
    assert (await client.post("/predict?version=new", json={"sequence": SEQUENCE})).status_code == 422


@pytest.fixture
def small(artifacts: Path, engine: EngineChoice) -> FastAPI:
    """Return an app with very low limits."""
    settings = Settings(artifacts=artifacts, model="after-lstm", engine=engine)
    limits = {"max_batch": 1, "max_sequences": 2, "max_queue": 2, "timeout": 0.5}
    return create_app(settings.model_copy(update=limits), open_engine=interceptable(engine, IN_THREAD))


async def test_more_sequences_than_the_limit_are_refused(small: FastAPI) -> None:
    """They are answered 413. The message names the limit."""
    async with connect(small) as client:
        response = await client.post("/predict", json={"sequences": [SEQUENCE] * 3})
    assert response.status_code == 413
    assert response.json() == {"detail": "expected at most 2 sequences, got 3"}


async def test_a_full_queue_answers_429_and_health_stays_green(small: FastAPI) -> None:
    """The refusal says when to try again. A busy service is healthy. A late answer is 504."""
    model = small.state.repository.get()
    async with connect(small) as client:
        with held(small):
            first = asyncio.create_task(client.post("/predict", json={"sequences": [SEQUENCE] * 2}))
            await until(lambda: model.batcher.queue.rows > 0)
            refused = await client.post("/predict", json={"sequence": SEQUENCE})
            assert refused.status_code == 429
            assert refused.headers["Retry-After"] == "1"
            assert refused.json() == {"detail": "expected at most 2 sequences waiting or arriving, got 2 and 1"}
            unread = await client.post("/predict", content=b"{", headers={"Content-Type": "application/json"})
            assert unread.status_code == 429, "a body for which there is no room is not read"
            assert (await client.get("/health/live")).status_code == 200
            assert (await client.get("/health/ready")).status_code == 200
            late = await first
        assert late.status_code == 504
        assert late.json() == {"detail": "no answer within 0.5 s"}
        await until(lambda: model.batcher.queue.rows == 0)
        assert (await client.post("/predict", json={"sequence": SEQUENCE})).status_code == 200


async def test_a_stopped_service_answers_503(small: FastAPI) -> None:
    """After the models are closed, no model can answer."""
    async with connect(small) as client:
        async with small.router.lifespan_context(small):
            assert (await client.post("/predict", json={"sequence": SEQUENCE})).status_code == 200
        response = await client.post("/predict", json={"sequence": SEQUENCE})
    assert response.status_code == 503
    assert response.json() == {"detail": "no model is loaded"}
