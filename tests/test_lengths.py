"""Sequences of different lengths and with missing values, through every route that takes JSON; on both engines."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from hypothesis import example, given, settings
from hypothesis import strategies as st

from service.app import create_app
from service.artifact.version import Artifact
from service.engines import EngineChoice
from service.settings import Settings
from tests.conftest import connect
from tests.fakes import IN_THREAD, answer_nan, held, interceptable, until
from tests.masked import FEATURES, TIMESTEPS, UNITS

STEP = [0.5, -1.5]
#: Sequences of different lengths and with missing values, also for a whole timestep.
SEQUENCES = [[STEP], [STEP, [None, 2.0], [1.0, 0.5]], [STEP] * 6, [[None, None], [0.1, None]], [STEP, [2, 3], STEP]]


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


async def posted(app: FastAPI, sequences: list[Any], detail: str = "mean") -> list[dict[str, Any]]:
    """Return the prediction of each of several sequences."""
    async with connect(app) as client:
        response = await client.post("/predict", json={"sequences": sequences, "attention": detail})
    assert response.status_code == 200, response.text
    predictions: list[dict[str, Any]] = response.json()["predictions"]
    return predictions


VALUES = st.floats(-100, 100, width=32) | st.none()
ANY_SEQUENCES = st.lists(
    st.lists(st.lists(VALUES, min_size=FEATURES, max_size=FEATURES), min_size=1, max_size=TIMESTEPS).filter(
        lambda sequence: any(value is not None for step in sequence for value in step)
    ),
    min_size=1,
    max_size=8,
)


@given(sequences=ANY_SEQUENCES, detail=st.sampled_from(["mean", "full"]))
@example(sequences=SEQUENCES, detail="mean")
@example(sequences=SEQUENCES, detail="full")
@settings(max_examples=100)
def test_any_sequences_are_answered_together_as_each_is_alone(
    varying: FastAPI, runner: asyncio.Runner, sequences: list[Any], detail: str
) -> None:
    """Attention covers the posted timesteps, sums to 1, and is 0 where every value is missing."""
    together = runner.run(posted(varying, sequences, detail))
    for sequence, one in zip(sequences, together, strict=True):
        (alone,) = runner.run(posted(varying, [sequence], detail))
        assert one["prediction"] == pytest.approx(alone["prediction"], abs=1e-6)
        attention = np.array(one["attention"])
        np.testing.assert_allclose(attention, alone["attention"], rtol=0, atol=1e-6)
        assert attention.shape == ((len(sequence),) if detail == "mean" else (len(sequence), UNITS))
        np.testing.assert_allclose(attention.sum(axis=0), 1, rtol=0, atol=1e-5)
        assert not attention[[step == [None, None] for step in sequence]].any()


@pytest.mark.anyio
@pytest.mark.parametrize("length", [1, 3, 6])
async def test_sequences_of_one_length_are_answered_as_the_padded_ones_are(varying: FastAPI, length: int) -> None:
    """Shorter sequences and padded sequences have the same answer."""
    sequences = np.random.default_rng(length).standard_normal((5, length, 2)).astype(np.float32)
    array = np.full((5, 6, 2), np.nan, np.float32)
    array[:, :length] = sequences
    expected = varying.state.repository.get().engine.run(array, ("prediction", "attention"))
    predictions = await posted(varying, sequences.tolist())
    np.testing.assert_allclose([one["prediction"] for one in predictions], expected["prediction"][:, 0], atol=1e-6)
    attention = [one["attention"] for one in predictions]
    np.testing.assert_allclose(attention, expected["attention"][:, :length], rtol=0, atol=1e-6)


@pytest.mark.anyio
@pytest.mark.parametrize("name", ["both", "shorter", "gaps"])
async def test_the_golden_example_is_answered_as_recorded(asking: httpx.AsyncClient, masked: Path, name: str) -> None:
    """The example is posted with null for missing values and without absent timesteps at its end."""
    contents = Artifact(masked / name / "1").read()
    golden, card = contents.golden(), contents.card()
    sequences = []
    for sequence in golden.sequence:
        there = np.flatnonzero(~np.isnan(sequence).all(axis=1))
        whole = sequence[: there[-1] + 1] if card.variable_length else sequence
        sequences.append([[None if np.isnan(value) else float(value) for value in step] for step in whole])
    response = await asking.post(f"/predict?model={name}", json={"sequences": sequences})
    for index, one in enumerate(response.json()["predictions"]):
        length = len(sequences[index])
        assert one["prediction"] == pytest.approx(golden.prediction[index, 0], abs=1e-6)
        np.testing.assert_allclose(one["attention"], golden.outputs["attention"][index, :length], atol=1e-6)


@pytest.mark.anyio
@pytest.mark.parametrize("url", ["/v1/models/both:predict", "/invocations"])
async def test_rows_and_columns_have_the_attention_of_the_posted_timesteps(
    asking: httpx.AsyncClient, varying: FastAPI, url: str
) -> None:
    """It is the same as that of `/predict`."""
    mean, full = await posted(varying, SEQUENCES), await posted(varying, SEQUENCES, "full")
    signature: dict[str, Any] = {"signature_name": "attention"}
    if url == "/invocations":
        signature = {"params": signature}
    answers = []
    for sent in (
        {"instances": SEQUENCES},
        {"instances": [{"sequence": sequence} for sequence in SEQUENCES]},
        {"inputs": SEQUENCES},
        {"inputs": {"sequence": SEQUENCES}},
    ):
        answer = (await asking.post(url, json={**sent, **signature})).json()
        answers.append(answer.get("outputs", answer.get("predictions")))
    for rows in answers[:2]:
        for row, one, whole in zip(rows, mean, full, strict=True):
            assert row["prediction"] == [pytest.approx(one["prediction"], abs=1e-6)]
            np.testing.assert_allclose(row["attention"], one["attention"], rtol=0, atol=1e-6)
            np.testing.assert_allclose(row["attention_vec"], whole["attention"], rtol=0, atol=1e-6)
    for columns in answers[2:]:
        for index, (one, whole) in enumerate(zip(mean, full, strict=True)):
            np.testing.assert_allclose(columns["attention"][index], one["attention"], rtol=0, atol=1e-6)
            np.testing.assert_allclose(columns["attention_vec"][index], whole["attention"], rtol=0, atol=1e-6)


@pytest.mark.anyio
async def test_an_explanation_has_the_attention_of_the_posted_timesteps(
    asking: httpx.AsyncClient, varying: FastAPI
) -> None:
    """It is the same as that of `/predict`."""
    response = await asking.post("/v1/models/both:explain", json={"instances": SEQUENCES})
    for explained, one in zip(response.json()["explanations"], await posted(varying, SEQUENCES), strict=True):
        np.testing.assert_allclose(explained["attention"], one["attention"], rtol=0, atol=1e-6)


@pytest.mark.anyio
async def test_requests_of_different_lengths_run_in_one_call(masked: Path, engine: EngineChoice) -> None:
    """Each request gets its own answer."""
    settings = Settings(artifacts=masked, model="both", engine=engine)
    app = create_app(settings, open_engine=interceptable(engine, IN_THREAD))
    batcher = app.state.repository.get().batcher
    alone = [(await posted(app, [sequence]))[0] for sequence in SEQUENCES]
    with held(app) as calls:
        first = asyncio.create_task(posted(app, SEQUENCES[:1]))
        await until(lambda: bool(calls))
        others = [asyncio.create_task(posted(app, [sequence])) for sequence in SEQUENCES[1:]]
        await until(lambda: batcher.queue.rows == len(SEQUENCES))
    answers = [one for answer in await asyncio.gather(first, *others) for one in answer]
    assert calls[:2] == [1, len(SEQUENCES) - 1]
    for got, wanted in zip(answers, alone, strict=True):
        assert got["prediction"] == pytest.approx(wanted["prediction"], abs=1e-6)
        np.testing.assert_allclose(got["attention"], wanted["attention"], rtol=0, atol=1e-6)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("model", "sequence", "message"),
    [
        ("both", [], "sequence: expected 1 to 6 timesteps, got 0"),
        ("both", [STEP] * 7, "sequence: expected 1 to 6 timesteps, got 7"),
        ("both", "text", "sequence: expected a list of 1 to 6 timesteps, got a string"),
        ("both", [[1, 2], [1]], "sequence[1]: expected 2 features, got 1"),
        ("both", [[1, 2, 3]], "sequence[0]: expected 2 features, got 3"),
        ("both", [STEP, None], "sequence[1]: expected a list of 2 features, got null"),
        ("both", [STEP, ["1", None]], "sequence[1][0]: expected a finite number or null, got a string"),
        ("both", [STEP, [1e39, None]], "sequence[1][0]: expected a finite float32, got 1e+39"),
        ("both", [[None, None]] * 2, "sequence: expected at least one value that is not null, got none"),
        ("gaps", [[None, None]] * 6, "sequence: expected at least one value that is not null, got none"),
        ("gaps", [STEP] * 5, "sequence: expected 6 timesteps, got 5"),
        ("gaps", [*[STEP] * 5, [True, 1]], "sequence[5][0]: expected a finite number or null, got a boolean"),
        ("shorter", [STEP, [None, 1]], "sequence[1][0]: expected a finite number, got null"),
        ("shorter", [STEP, [None, None]], "sequence[1][0]: expected a finite number, got null"),
        ("shorter", [], "sequence: expected 1 to 6 timesteps, got 0"),
    ],
)
async def test_sequences_that_the_card_forbids_are_refused(
    asking: httpx.AsyncClient, model: str, sequence: Any, message: str
) -> None:
    """The message names the allowed form, for one wrong sequence alone and among good ones."""
    response = await asking.post(f"/predict?model={model}", json={"sequence": sequence})
    assert (response.status_code, response.json()) == (422, {"detail": message})
    good = [[STEP] * 6, [STEP] * (6 if model == "gaps" else 2)]
    response = await asking.post(f"/predict?model={model}", json={"sequences": [*good, sequence]})
    place = message.replace("sequence", "sequences[2]", 1)
    assert (response.status_code, response.json()) == (422, {"detail": place})


@pytest.mark.anyio
async def test_small_bodies_do_not_become_large_arrays(masked: Path, engine: EngineChoice) -> None:
    """A request may have as many short sequences as the largest body holds whole ones, of 24 bytes at least."""
    app = create_app(Settings(artifacts=masked, model="both", engine=engine, max_body=240))
    headers = {"Content-Type": "application/json"}
    async with connect(app) as client:
        for count, status in ((10, 200), (11, 413)):
            body = b'{"sequences":[%b]}' % b",".join([b"[[1,2]]"] * count)
            response = await client.post("/predict", content=body, headers=headers)
            assert response.status_code == status
    assert response.json() == {"detail": "expected at most 10 sequences, got 11"}


@pytest.mark.anyio
async def test_an_answer_that_is_not_finite_names_the_sequence(
    asking: httpx.AsyncClient, varying: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message gives the index of the sequence in the body, for any lengths."""
    answer_nan(monkeypatch, varying, sequence=3, timestep=1)
    response = await asking.post("/predict", json={"sequences": SEQUENCES})
    assert response.status_code == 422
    assert response.json()["detail"].startswith("sequence 3: ")


@pytest.mark.anyio
async def test_the_card_says_whether_lengths_and_values_may_vary(asking: httpx.AsyncClient) -> None:
    """`GET /model` answers it as `card.json` has it."""
    card = (await asking.get("/model?model=shorter")).json()
    assert (card["variable_length"], card["missing_values"]) == (True, False)
