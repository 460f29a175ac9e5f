"""Tables on `POST /predict`: what is answered, as query parameters ask."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.app import create_app
from service.settings import Settings
from tests.conftest import connect

pytestmark = pytest.mark.anyio

SEQUENCE = [[round(0.1 * t, 1), -1.5] for t in range(20)]
NUMBERS = "".join(f"{a},{b}\n" for a, b in SEQUENCE)
TABLE = f"0,1\n{NUMBERS}"
CSV = {"Content-Type": "text/csv"}


@pytest.fixture
async def client(artifacts: Path) -> AsyncIterator[httpx.AsyncClient]:
    """Yield a client of a service on one engine, as the engine does not matter here."""
    async with connect(create_app(Settings(artifacts=artifacts, model="after-lstm"))) as client:
        yield client


async def of_table(client: httpx.AsyncClient, text: str | bytes, **query: str) -> httpx.Response:
    return await client.post("/predict", params=query, content=text, headers=CSV)


@pytest.mark.parametrize(
    "fields",
    [
        {"importance": "both", "replacement": "marginal", "probabilities": True, "inputs": True},
        {"importance": True, "faithfulness": True, "attention": "full"},
        {"attention": "none", "importance": False, "model": "before-lstm"},
        {"attention": {"layer": 0}},
    ],
)
async def test_a_table_is_answered_as_json_is(client: httpx.AsyncClient, fields: dict[str, Any]) -> None:
    """Each field of a JSON body is a query parameter of a table, with the same values."""
    model = fields.get("model", "after-lstm")
    body = {name: value for name, value in fields.items() if name != "model"}
    expected = await client.post("/predict", params={"model": model}, json={"sequence": SEQUENCE, **body})
    query = {name: value if isinstance(value, str) else json.dumps(value) for name, value in fields.items()}
    answer = await of_table(client, TABLE, **query)
    assert answer.json() == expected.json()
    if "layer" not in str(fields):
        assert answer.status_code == 200


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("importance", "yes"),
        ("importance", "1"),
        ("replacement", "mean"),
        ("faithfulness", "True"),
        ("probabilities", ""),
        ("inputs", "all"),
        ("attention", "some"),
        ("attention", '{"layer": -1}'),
        ("attention", '{"layer"'),
    ],
)
async def test_a_wrong_parameter_is_refused_as_in_json(client: httpx.AsyncClient, name: str, value: str) -> None:
    """The message is that of the field."""
    field = json.loads(value) if value == '{"layer": -1}' else value
    expected = await client.post("/predict", json={"sequence": SEQUENCE, name: field})
    answer = await of_table(client, TABLE, **{name: value})
    assert (answer.status_code, answer.json()) == (422, expected.json())


async def test_an_unknown_parameter_is_refused(client: httpx.AsyncClient) -> None:
    """The message names all that there are."""
    answer = await of_table(client, TABLE, sequence="1")
    assert answer.status_code == 422
    known = "importance, replacement, faithfulness, attention, probabilities, inputs"
    assert answer.json()["detail"] == f"expected only the query parameters model, version, {known}, got 'sequence'"


async def test_json_has_the_fields_in_its_body(client: httpx.AsyncClient) -> None:
    """In the query string they would be ignored, or differ from those of the body."""
    answer = await client.post("/predict?model=three&importance=true", json={"sequence": SEQUENCE})
    message = "expected 'importance' as a field of the JSON body, got it in the query string"
    assert (answer.status_code, answer.json()) == (422, {"detail": message})


async def test_inputs_are_the_values_that_the_model_read(client: httpx.AsyncClient) -> None:
    """They are those of the posted sequences, on request, with one sequence and with several."""
    body: dict[str, Any] = {"sequences": [SEQUENCE, SEQUENCE[::-1]], "inputs": True}
    answer = (await client.post("/predict", json=body)).json()["predictions"]
    assert [one["inputs"] for one in answer] == body["sequences"]
    assert "inputs" not in (await of_table(client, TABLE)).json()["predictions"][0]
    rows = await of_table(client, TABLE, inputs="true")
    assert rows.json()["predictions"][0]["inputs"] == SEQUENCE


async def test_inputs_of_many_sequences_are_in_their_order(client: httpx.AsyncClient) -> None:
    """A large answer is written in parts."""
    sequences = [[[float(n), -1.0]] * 20 for n in range(1500)]
    answer = await client.post("/predict", json={"sequences": sequences, "inputs": True})
    assert [one["inputs"] for one in answer.json()["predictions"]] == sequences


async def test_the_memory_of_answers_counts_the_inputs(artifacts: Path) -> None:
    """An answer that is too large by its inputs is refused before the model runs."""
    app = create_app(Settings(artifacts=artifacts, model="after-lstm"))
    app.state.answer_memory.most = 40_000
    body: dict[str, Any] = {"sequences": [SEQUENCE] * 40, "attention": "none"}
    async with connect(app) as client:
        assert (await client.post("/predict", json=body)).status_code == 200
        refused = await client.post("/predict", json={**body, "sequences": [SEQUENCE] * 120, "inputs": True})
    assert refused.status_code == 413
    assert "expected an answer of at most 2000 numbers, got a request for 4920" in refused.json()["detail"]


async def test_numbers_without_names_are_timesteps(client: httpx.AsyncClient) -> None:
    """A blank line begins the next sequence."""
    (named,) = (await of_table(client, TABLE)).json()["predictions"]
    answer = await of_table(client, f"{NUMBERS}\n \n{NUMBERS}".replace(",", "\t"))
    for one in answer.json()["predictions"]:
        assert one["prediction"] == pytest.approx(named["prediction"], abs=1e-6)
    assert len(answer.json()["predictions"]) == 2
    wrong = await of_table(client, f"{NUMBERS}\n{NUMBERS}".replace("0.3,-1.5\n0.4", "0.3,x\n0.4"))
    assert wrong.json() == {"detail": "line 4, column '1': expected a number, got \"x\""}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "0,1\n1,2\nZürich,\n".encode("latin-1"),
            "line 3: {}b'\\xfc': {}WINDOWS-1252, with iconv -f WINDOWS-1252 -t UTF-8",
        ),
        (TABLE.encode("utf-16"), "line 1: {}b'\\xff\\xfe': {}UTF-16, with iconv -f UTF-16 -t UTF-8"),
    ],
)
async def test_another_encoding_is_refused(client: httpx.AsyncClient, text: bytes, message: str) -> None:
    """The message has the place, the bytes, and the command that converts the file."""
    answer = await of_table(client, text)
    expected = message.format(
        "expected CSV in UTF-8, got the bytes ", "convert the file from its encoding; if that is "
    )
    assert (answer.status_code, answer.json()) == (422, {"detail": expected})


async def test_each_sequence_has_its_key(tabular: Path) -> None:
    """It is the value of the column that names the sequences, in the order of their first rows."""
    text = "day;temperature [C];pulse;patient\n10;36;70;b\n9;37;;b\n1;38.5;71;a\n2;39;72;a\n3;;NA;a\n"
    async with connect(create_app(Settings(artifacts=tabular / "models", model="visits"))) as client:
        answer = (await of_table(client, text, inputs="true")).json()["predictions"]
        one = (await of_table(client, "pulse,temperature [C]\n70,36\n")).json()["predictions"][0]
    assert [(row["key"], row["inputs"]) for row in answer] == [
        ("b", [[None, 37], [70, 36]]),
        ("a", [[None, None], [71, 38.5], [72, 39]]),
    ]
    assert "key" not in one
