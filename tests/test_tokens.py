"""Tokens and words, through every protocol."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from service.app import create_app
from service.artifact.card import TokenRange, Tokens
from service.artifact.gate import open_verified
from service.artifact.missing import refused
from service.artifact.tensors import Array
from service.artifact.tokens import word_of, words_of
from service.engines import opener
from service.errors import ArtifactError
from service.settings import Settings
from tests.conftest import connect
from tests.imported import imported_card, of_numbers, of_tokens, run, write_imported
from tests.infer import LENGTH, as_json, binary, tensors
from tests.samples import card

pytestmark = pytest.mark.anyio

TIMESTEPS = 6
WORDS = ("[PAD]", "[UNK]", "the", "cat", "sat", "on", "a", "mat", "2", "red")
VOCABULARY = {word: token for token, word in enumerate(WORDS)}
SENTENCE, IN_TOKENS, SEEN = ["the", "cat", "hums"], [2, 3, 1], ["the", "cat", "[UNK]"]


def padded(*sequences: list[int]) -> Array:
    """Return tokens `(n, 6, 1)`, NaN after the end of each sequence."""
    array = np.full((len(sequences), TIMESTEPS, 1), np.nan, np.float32)
    for row, sequence in zip(array, sequences, strict=True):
        row[: len(sequence), 0] = sequence
    return array


GOLDEN = padded([2, 3, 4, 5, 6, 7], [2, 3, 1], [9])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `words`, of tokens with a vocabulary, `ids`, without one, and `known`, without unknown words."""
    path = tmp_path_factory.mktemp("tokens")
    known = {word: token for word, token in VOCABULARY.items() if word != "[UNK]"}
    for name, vocabulary in (("words", VOCABULARY), ("ids", None), ("known", known)):
        tokens = Tokens(least=0, most=9, pad=0, vocabulary=vocabulary)
        card = imported_card(
            name,
            timesteps=TIMESTEPS,
            features=1,
            tokens=tokens,
            variable_length=True,
            feature_labels=("word",),
            baseline=((1.0,),) * TIMESTEPS,
        )
        write_imported(path, of_tokens(), card, GOLDEN)
    return path


@pytest.fixture(scope="module")
def app(folder: Path) -> FastAPI:
    """The service over these models."""
    return create_app(Settings(artifacts=folder, model="words"))


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """Yield a client of the service."""
    async with connect(app) as client:
        yield client


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    """Yield a runner of coroutines."""
    with asyncio.Runner() as runner:
        yield runner


async def explained(client: httpx.AsyncClient, model: str = "words", **body: Any) -> list[dict[str, Any]]:
    """Return the predictions of `POST /predict`."""
    answer = await client.post(f"/predict?model={model}", json=body)
    assert answer.status_code == 200, answer.text
    predictions: list[dict[str, Any]] = answer.json()["predictions"]
    return predictions


def attention_of(sequence: list[int]) -> list[float]:
    """Return the attention that the graph gives in plain ONNX Runtime."""
    weights: list[float] = run(of_tokens(), padded(sequence))["attention"][0, : len(sequence)].tolist()
    return weights


@pytest.mark.parametrize(
    "sequence", [IN_TOKENS, [[2], [3], [1]], SENTENCE, [["the"], ["cat"], ["hums"]], ["the", 3, ["hums"]]]
)
async def test_tokens_and_words_are_the_same_sequence(client: httpx.AsyncClient, sequence: list[Any]) -> None:
    """A timestep is a token or a word, or a list of it. The answer has the words that the model has seen."""
    for body in ({"sequence": sequence}, {"sequences": [sequence]}):
        (one,) = await explained(client, **body)
        assert one["attention"] == pytest.approx(attention_of(IN_TOKENS), abs=1e-6)
        assert one["tokens"] == SEEN


async def test_sequences_of_several_lengths(client: httpx.AsyncClient) -> None:
    """Each answer has as many words as its sequence."""
    sequences = [["the", "mat"], [9], SENTENCE]
    predictions = await explained(client, sequences=sequences)
    assert [one["tokens"] for one in predictions] == [["the", "mat"], ["red"], SEEN]
    assert [len(one["attention"]) for one in predictions] == [2, 1, 3]
    together = await explained(client, sequences=[[2, 7], [9, 9]])
    assert [one["tokens"] for one in together] == [["the", "mat"], ["red", "red"]]


async def test_a_model_without_a_vocabulary_answers_no_words(client: httpx.AsyncClient) -> None:
    """It takes tokens alone."""
    (one,) = await explained(client, "ids", sequence=IN_TOKENS)
    assert one["attention"] == pytest.approx(attention_of(IN_TOKENS), abs=1e-6)
    assert "tokens" not in one


ONE = "expected an integer from 0 to 9 or a word of the vocabulary, got"


@pytest.mark.parametrize(
    ("model", "body", "message"),
    [
        ("words", {"sequence": [2, 10, 3]}, f"sequence[1]: {ONE} 10"),
        ("words", {"sequence": [[2], [3], [-3]]}, f"sequence[2][0]: {ONE} -3"),
        ("words", {"sequences": [[2, 3], [7.6]]}, f"sequences[1][0]: {ONE} 7.6"),
        ("words", {"sequences": [[2, 3], ["the", 999999]]}, f"sequences[1][1]: {ONE} 999999"),
        ("words", {"sequence": [2, True]}, f"sequence[1]: {ONE} a boolean"),
        ("words", {"sequence": [2, None]}, f"sequence[1]: {ONE} null"),
        ("words", {"sequence": [2, 1e30]}, f"sequence[1]: {ONE} 1e+30"),
        ("words", {"sequence": [2, []]}, "sequence[1]: expected 1 features, got 0"),
        ("words", {"sequence": [2] * 7}, "sequence: expected 1 to 6 timesteps, got 7"),
        ("words", {"sequence": []}, "sequence: expected 1 to 6 timesteps, got 0"),
        ("words", {"sequence": "the cat"}, "sequence: expected a list of 1 to 6 timesteps, got a string"),
        ("words", {"sequence": [{"word": "the"}, {"word": 12}]}, f"sequence[1]['word']: {ONE} 12"),
        ("words", {"sequence": [{"noun": "the"}]}, "sequence[0]: missing feature 'word'; unknown feature 'noun'"),
        ("known", {"sequence": ["the", "dog"]}, 'sequence[1]: expected a word of the vocabulary, got "dog"'),
        ("ids", {"sequence": ["the"]}, "sequence[0]: expected an integer from 0 to 9, got a string"),
        ("ids", {"sequences": [[3], [2.5]]}, "sequences[1][0]: expected an integer from 0 to 9, got 2.5"),
    ],
)
async def test_a_wrong_token_is_refused(
    client: httpx.AsyncClient, model: str, body: dict[str, Any], message: str
) -> None:
    """The message names the place, the value and the range."""
    answer = await client.post(f"/predict?model={model}", json=body)
    assert (answer.status_code, answer.json()["detail"]) == (422, message)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/predict", "word\nthe\n3\nhums\n"),
        ("/predict", "word@0,word@1,word@2,word@3,word@4,word@5\nthe,cat,hums,,,\n"),
        ("/invocations", "word\nthe\ncat\nhums\n"),
    ],
)
async def test_a_table_has_words(client: httpx.AsyncClient, path: str, text: str) -> None:
    """A cell is a word or a token."""
    answer = await client.post(path, content=text, headers={"Content-Type": "text/csv"})
    (one,) = answer.json()["predictions"]
    (expected,) = run(of_tokens(), padded(IN_TOKENS))["prediction"][0].tolist()
    assert (one["prediction"] if path == "/predict" else one[0]) == pytest.approx(expected, abs=1e-6)


async def test_text_of_digits_that_is_in_the_vocabulary_is_a_word(client: httpx.AsyncClient) -> None:
    """A number in JSON is a token."""
    answer = await client.post("/predict", content="word\n2\n3\n", headers={"Content-Type": "text/csv"})
    assert answer.json()["predictions"][0]["tokens"] == ["2", "cat"]
    (one,) = await explained(client, sequence=["2", 2])
    assert one["tokens"] == ["2", "the"]


@pytest.mark.parametrize(
    ("model", "cell", "message"),
    [
        ("words", "12", f"line 3, column 'word': {ONE} 12"),
        ("known", "dog", f"line 3, column 'word': {ONE} \"dog\""),
        ("ids", "the", "line 3, column 'word': expected an integer from 0 to 9, got \"the\""),
        ("ids", "2.5", "line 3, column 'word': expected an integer from 0 to 9, got 2.5"),
    ],
)
async def test_a_wrong_cell_is_refused(client: httpx.AsyncClient, model: str, cell: str, message: str) -> None:
    """The message names the line and the column."""
    content = f"word\nthe\n{cell}\n" if model != "ids" else f"word\n2\n{cell}\n"
    answer = await client.post(f"/predict?model={model}", content=content, headers={"Content-Type": "text/csv"})
    assert (answer.status_code, answer.json()["detail"]) == (422, message)


async def test_tensorflow_servings_kserves_and_mlflows_bodies(client: httpx.AsyncClient) -> None:
    """Instances, inputs and data frames have tokens or words."""
    expected = attention_of(IN_TOKENS)
    for body in ({"instances": [SENTENCE]}, {"instances": [IN_TOKENS]}, {"instances": [{"sequence": SENTENCE}]}):
        answer = await client.post("/v1/models/words:predict", json={**body, "signature_name": "attention"})
        assert answer.json()["predictions"][0]["attention"] == pytest.approx(expected, abs=1e-6)
    answer = await client.post("/v1/models/words:predict", json={"inputs": [SENTENCE], "signature_name": "attention"})
    assert answer.json()["outputs"]["attention"][0] == pytest.approx(expected, abs=1e-6)
    answer = await client.post("/v1/models/words:explain", json={"instances": [SENTENCE]})
    (explanation,) = answer.json()["explanations"]
    assert explanation["attention"] == pytest.approx(expected, abs=1e-6)
    assert explanation["tokens"] == SEEN
    prediction = run(of_tokens(), padded(IN_TOKENS))["prediction"]
    for frame in (
        {"dataframe_split": {"columns": ["word"], "data": [[word] for word in SENTENCE]}},
        {"dataframe_records": [{"word": word} for word in SENTENCE]},
    ):
        answer = await client.post("/invocations", json=frame)
        assert np.array(answer.json()["predictions"]) == pytest.approx(prediction, abs=1e-6)


async def test_tensors_of_integers_and_of_words(client: httpx.AsyncClient) -> None:
    """Open Inference Protocol: with or without the axis of features, in JSON and in binary."""
    url, expected = "/v2/models/words/infer", attention_of(IN_TOKENS)
    packed = b"".join(len(word).to_bytes(4, "little") + word.encode() for word in SENTENCE)
    words = {"datatype": "BYTES", "shape": [1, 3]}
    head = json.dumps(
        {
            "inputs": [{"name": "sequence", **words, "parameters": {"binary_data_size": len(packed)}}],
            "parameters": {"binary_data_output": True},
        }
    ).encode()
    for tensor in (
        {"datatype": "INT64"},
        {"datatype": "INT32", "shape": [1, 3, 1]},
        {**words, "data": SENTENCE},
        {**words, "data": [SENTENCE]},
        {**words, "shape": [1, 3, 1], "data": [[[word] for word in SENTENCE]]},
    ):
        answer = await client.post(url, json=as_json([IN_TOKENS], tensor=tensor))
        assert answer.status_code == 200, answer.text
        assert answer.json()["outputs"][1]["data"] == pytest.approx(expected, abs=1e-6)
    integers = binary([IN_TOKENS], "INT64", "<i8", parameters={"binary_data_output": True})
    for arguments in (integers, {"content": head + packed, "headers": {LENGTH: str(len(head))}}):
        answer = await client.post(url, **arguments)
        assert answer.status_code == 200, answer.text
        assert tensors(answer)["attention"][0] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        ({"datatype": "INT64", "data": [2, 10, 3]}, "sequence[0][1][0]: expected an integer from 0 to 9, got 10"),
        ({"datatype": "FP32", "data": [2, 2.5, 3]}, "sequence[0][1][0]: expected an integer from 0 to 9, got 2.5"),
        ({"datatype": "FP32", "data": ["the", 2, 3]}, "sequence[0][0][0]: expected an integer from 0 to 9, got a st"),
        ({"datatype": "BYTES", "data": ["the", 10, 3]}, f"sequence[0][1][0]: {ONE} 10"),
        ({"datatype": "BYTES", "data": ["the"]}, "sequence.data: expected 3 words for shape [1, 3, 1], got 1"),
        ({"datatype": "BYTES", "data": [["the"]]}, "sequence.data: expected sequences of 3 timesteps"),
        ({"datatype": "BYTES", "data": []}, "sequence.data: expected a list of words, got none"),
        ({"datatype": "BYTES", "shape": [1, 7]}, "sequence.shape: expected [n, 1 to 6, 1] with n of at least 1"),
        ({"datatype": "BYTES", "shape": [1, 3], "data": None}, "sequence.data: expected a list of words, got none"),
        (
            {"datatype": "BYTES", "data": None, "parameters": {"binary_data_size": 0}},
            "sequence: expected the bytes of 3 words after the JSON, got 0 bytes",
        ),
    ],
)
async def test_a_wrong_tensor_is_refused(client: httpx.AsyncClient, tensor: dict[str, Any], message: str) -> None:
    """The message names the element or the shape."""
    answer = await client.post("/v2/models/words/infer", json=as_json([IN_TOKENS], tensor=tensor))
    assert answer.status_code == 400
    assert answer.json()["error"].startswith(message)


VALUES = st.one_of(
    st.integers(-2, 12),
    st.floats(0, 12, width=32),
    st.sampled_from(["the", "cat", "zebra", "2", ""]),
    st.none(),
    st.booleans(),
)
ANY_SEQUENCES = st.lists(st.lists(VALUES | st.lists(VALUES, max_size=2), max_size=7), min_size=1, max_size=3)


def is_token(value: Any) -> bool:
    """Return whether a value is a token or a word of a vocabulary that has unknown words."""
    number = type(value) in (int, float) and 0 <= value <= 9 and value == int(value)
    return number or isinstance(value, str)


@given(sequences=ANY_SEQUENCES)
@example(sequences=[["the", [3]], [9.0]])
@example(sequences=[[[2], [3]], [4, 5]])
@settings(max_examples=300, deadline=None)
def test_any_sequences_are_answered_or_refused(app: FastAPI, runner: asyncio.Runner, sequences: list[Any]) -> None:
    """The message names the first wrong sequence, of whatever kind the fault is."""

    async def posted() -> httpx.Response:
        async with connect(app) as client:
            return await client.post("/predict", json={"sequences": sequences})

    steps = [[step if isinstance(step, list) else [step] for step in sequence] for sequence in sequences]
    fits = [
        1 <= len(sequence) <= TIMESTEPS and all(len(step) == 1 and is_token(step[0]) for step in sequence)
        for sequence in steps
    ]
    answer = runner.run(posted())
    if all(fits):
        assert answer.status_code == 200
        for sequence, one in zip(steps, answer.json()["predictions"], strict=True):
            assert one["tokens"] == [
                (value if value in VOCABULARY else "[UNK]") if isinstance(value, str) else WORDS[int(value)]
                for (value,) in sequence
            ]
    else:
        assert answer.status_code == 422
        assert answer.json()["detail"].startswith(f"sequences[{fits.index(False)}]")


async def test_the_example_can_be_posted_as_it_is(client: httpx.AsyncClient) -> None:
    """It has words where there is a vocabulary, and integers otherwise."""
    for model, first in (("words", SEEN), ("ids", IN_TOKENS)):
        sequences = (await client.get(f"/model/example?model={model}")).json()["sequences"]
        assert sequences[1] == first
        predictions = await explained(client, model, sequences=sequences)
        assert predictions[1]["attention"] == pytest.approx(attention_of(IN_TOKENS), abs=1e-6)


async def test_importance_replaces_tokens_by_the_baseline(client: httpx.AsyncClient) -> None:
    """The baseline here is the token of unknown words, so replacing it changes nothing."""
    (one,) = await explained(client, sequence=SENTENCE, importance=True)
    assert one["importance"][2] == 0
    assert max(one["importance"]) > 0


@pytest.fixture(scope="module")
def two_ranges(tmp_path_factory: pytest.TempPathFactory) -> FastAPI:
    """The app of a model with two tokens at each of four timesteps: a word from 0 to 9, and a segment, 0 or 1."""
    path = tmp_path_factory.mktemp("two")
    tokens = Tokens(least=0, most=9, ranges={"segment": TokenRange(least=0, most=1)}, vocabulary={"the": 2, "a": 1})
    golden = np.array([[[9, 1], [0, 0], [5, 1], [2, 0]]], np.float32)
    write_imported(path, of_numbers(), imported_card("m", tokens=tokens, feature_labels=("word", "segment")), golden)
    return create_app(Settings(artifacts=path))


@pytest.mark.parametrize(
    ("route", "body"),
    [
        ("/predict", {"json": {"sequence": [[9, 1], [0, 0], [5, 2], [2, 0]]}}),
        ("/predict", {"json": {"sequence": [[9, 1], [0, 0], [5, "the"], [2, 0]]}}),
        ("/predict", {"content": "word,segment\n9,1\n0,0\n5,2\n2,0", "headers": {"Content-Type": "text/csv"}}),
        ("/v2/models/m/infer", {"json": as_json([[[9, 1], [0, 0], [5, 2], [2, 0]]])}),
    ],
)
async def test_a_feature_may_have_a_range_of_its_own(two_ranges: FastAPI, route: str, body: dict[str, Any]) -> None:
    """A segment of 2 is refused with the range of segments; a word may be larger."""
    async with connect(two_ranges) as client:
        refusal = await client.post(route, **body)
        right = await client.post("/predict", json={"sequence": [[9, 1], [0, 0], [5, "a"], [2, 0]]})
    assert refusal.status_code in {400, 422}
    assert "from 0 to 1" in refusal.text
    assert right.status_code == 200


def test_the_golden_example_has_tokens_only(tmp_path: Path) -> None:
    """The gate checks each value."""
    artifact = write_imported(
        tmp_path,
        of_tokens(tokens=20),
        imported_card("m", timesteps=TIMESTEPS, features=1, tokens=Tokens(least=0, most=9), variable_length=True),
        padded([2, 12]),
    )
    with pytest.raises(ArtifactError, match=re.escape("got 12.0 at sequence[0][1][0]")):
        open_verified(artifact.read(), opener("onnx", threads=1))


def test_which_values_are_refused() -> None:
    """Absent ends of a sequence are none of them."""
    card = imported_card("m", timesteps=6, features=1, tokens=Tokens(least=1, most=9), variable_length=True)
    sequences = np.array([1, 9, 0.0, np.inf, 2.5, np.nan], np.float32).reshape(1, 6, 1)
    assert refused(sequences, card).ravel().tolist() == [False, False, True, True, True, False]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"least": 3, "most": 2}, "expected least of at most 2"),
        ({"least": 0, "most": 9, "pad": 10}, "'pad': expected a token from 0 to 9, got 10"),
        ({"least": 0, "most": 9, "vocabulary": {"the": -1}}, "'the': expected a token from 0 to 9, got -1"),
        ({"least": 0, "most": 2**24}, "less than 16777216"),
        ({"least": 0, "most": 9, "ranges": {"a": {"least": 2, "most": 1}}}, "expected least of at most 1"),
        (
            {"least": 0, "most": 9, "ranges": {"a": {"least": 0, "most": 10}}},
            "'ranges.a.most': expected a token from 0 to",
        ),
    ],
)
def test_a_wrong_range_is_refused(fields: dict[str, Any], message: str) -> None:
    """float32 holds each token exactly."""
    with pytest.raises(ValidationError, match=message):
        Tokens.model_validate(fields)


def test_the_word_of_a_token() -> None:
    """A token without a word is its number, and a missing one nothing; a model without a vocabulary has no words."""
    tokens = Tokens(least=0, most=99, vocabulary=VOCABULARY)
    words = words_of(card(tokens=tokens))
    assert words is not None
    assert [word_of(value, words) for value in (3.0, 42.0, np.nan)] == ["cat", 42, None]
    assert words_of(card(tokens=Tokens(least=0, most=99))) is None
    assert words_of(card()) is None
