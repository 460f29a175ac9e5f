"""`/v1`: requests and answers as TensorFlow Serving documents them, field by field; on both engines."""

import json
import shutil
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from google.protobuf.json_format import MessageToDict

from service.app import create_app
from service.artifact.golden import Golden
from service.artifact.version import Artifact
from service.settings import Settings
from tests.conftest import connect

pytestmark = pytest.mark.anyio

URL = "/v1/models/after-lstm"
OK = {"error_code": "OK", "error_message": ""}
SEQUENCE = [[0.1, -0.2]] * 20


@pytest.fixture(scope="session")
def golden(artifacts: Path) -> Golden:
    return Artifact(artifacts / "after-lstm" / "1").read().golden()


@pytest.mark.parametrize("path", [URL, f"{URL}/versions/1"])
@pytest.mark.parametrize("named", [False, True])
async def test_rows(client: httpx.AsyncClient, golden: Golden, path: str, *, named: bool) -> None:
    """An answer in rows has a single output without its name."""
    sequences = golden.sequence.tolist()
    instances = [{"sequence": sequence} for sequence in sequences] if named else sequences
    answer = (await client.post(f"{path}:predict", json={"instances": instances})).json()
    assert answer.keys() == {"predictions"}
    np.testing.assert_allclose(answer["predictions"], golden.prediction, rtol=0, atol=1e-6)


@pytest.mark.parametrize("named", [False, True])
async def test_columns(client: httpx.AsyncClient, golden: Golden, *, named: bool) -> None:
    """Sequences in columns are answered in columns."""
    sequences = golden.sequence.tolist()
    body = {"inputs": {"sequence": sequences} if named else sequences, "signature_name": "serving_default"}
    answer = (await client.post(f"{URL}:predict", json=body)).json()
    assert answer.keys() == {"outputs"}
    np.testing.assert_allclose(answer["outputs"], golden.prediction, rtol=0, atol=1e-6)


async def test_several_outputs_are_objects_in_rows(client: httpx.AsyncClient, golden: Golden) -> None:
    """Each sequence has one object, with each output by its name."""
    body = {"signature_name": "attention", "instances": golden.sequence.tolist()}
    rows = (await client.post(f"{URL}:predict", json=body)).json()["predictions"]
    assert [row.keys() for row in rows] == [{"prediction", "attention", "attention_vec"}] * len(rows)
    for name, expected in outputs(golden).items():
        np.testing.assert_allclose([row[name] for row in rows], expected, rtol=0, atol=1e-6)


async def test_several_outputs_are_one_object_in_columns(client: httpx.AsyncClient, golden: Golden) -> None:
    """The object has each output by its name, with all sequences."""
    body = {"signature_name": "attention", "inputs": golden.sequence.tolist()}
    columns = (await client.post(f"{URL}:predict", json=body)).json()["outputs"]
    assert columns.keys() == {"prediction", "attention", "attention_vec"}
    for name, expected in outputs(golden).items():
        np.testing.assert_allclose(columns[name], expected, rtol=0, atol=1e-6)


def outputs(golden: Golden) -> dict[str, Any]:
    return dict(golden.outputs)


VERBS = "expected one of :predict, :explain"

#: Method and path, body, status and answer: the pairs of TensorFlow Serving's documentation and of its messages.
PAIRS: list[tuple[str, str | None, int, Any]] = [
    (f"GET {URL}", None, 200, {"model_version_status": [{"version": "1", "state": "AVAILABLE", "status": OK}]}),
    (
        f"GET {URL}/versions/1",
        None,
        200,
        {"model_version_status": [{"version": "1", "state": "AVAILABLE", "status": OK}]},
    ),
    ("GET /v1/models/half", None, 404, {"error": "Could not find any versions of model half"}),
    (f"GET {URL}/versions/7", None, 404, {"error": "Could not find version 7 of model after-lstm"}),
    (f"GET {URL}/labels/stable", None, 400, {"error": "Unrecognized servable version label: stable"}),
    (f"GET {URL}/labels/stable/metadata", None, 400, {"error": "Unrecognized servable version label: stable"}),
    (f"POST {URL}/labels/stable:predict", "{}", 400, {"error": "Unrecognized servable version label: stable"}),
    ("GET /v1/models/half/metadata", None, 404, {"error": "Servable not found for request: Latest(half)"}),
    (
        "POST /v1/models/half:predict",
        '{"instances": [1.0, 5.0]}',
        404,
        {"error": "Servable not found for request: Latest(half)"},
    ),
    (
        f"POST {URL}/versions/7:predict",
        '{"instances": [1.0, 5.0]}',
        404,
        {"error": "Servable not found for request: Specific(after-lstm, 7)"},
    ),
    (f"POST {URL}:predict", "{}", 400, {"error": "Missing 'inputs' or 'instances' key"}),
    (
        f"POST {URL}:predict",
        '{"instances": [[1.0]], "inputs": [[1.0]]}',
        400,
        {"error": "expecting only one of 'inputs' or 'instances' keys to exist, got both"},
    ),
    (
        f"POST {URL}:predict",
        '{"signature_name": "tensorflow/serving/regress", "instances": [[1.0]]}',
        400,
        {"error": 'Serving signature name: "tensorflow/serving/regress" not found in signature def'},
    ),
    (
        f"POST {URL}:predict",
        '{"signature_name": 7, "instances": [[1.0]]}',
        400,
        {"error": "signature_name: expected a string, got 7"},
    ),
    (f"POST {URL}:predict", '{"instances": []}', 400, {"error": "expected at least one sequence, got none"}),
    (f"POST {URL}:predict", '{"instances": {}}', 400, {"error": "expected a list of sequences, got an object"}),
    (
        f"POST {URL}:predict",
        '{"instances": [1.0, 5.0]}',
        400,
        {"error": "instances[0]: expected a list of 20 timesteps, got a number"},
    ),
    (
        f"POST {URL}:predict",
        '{"inputs": {"x": [[1.0]]}}',
        400,
        {"error": "inputs: expected an object with the key 'sequence' and no other, got the keys 'x'"},
    ),
    (
        f"POST {URL}:predict",
        '{"instances": [{"sequence": []}, [[1.0]]]}',
        400,
        {"error": "instances[1]: expected an object with the key 'sequence' and no other, got a list"},
    ),
    (
        f"POST {URL}:classify",
        '{"examples": [{"x": 1.0}]}',
        400,
        {
            "error": "expected :predict, got :classify: it takes Example protos, and no signature of the model does; "
            "its signatures are serving_default, attention"
        },
    ),
    (
        f"POST {URL}/versions/1:regress",
        '{"signature_name": "tensorflow/serving/regress", "examples": [{"x": 1.0}, {"x": 2.0}]}',
        400,
        {
            "error": "expected :predict, got :regress: it takes Example protos, and no signature of the model does; "
            "its signatures are serving_default, attention"
        },
    ),
    (
        f"GET {URL}/versions/latest",
        None,
        404,
        {"error": 'version: expected the number of a version, in digits, got "latest"'},
    ),
    (f"POST {URL}/versions/1", "{}", 405, {"error": "expected one of the methods GET, HEAD, OPTIONS, got POST"}),
    (f"GET {URL}:predict", None, 405, {"error": "expected one of the methods OPTIONS, POST, got GET"}),
    (f"POST {URL}:", "{}", 404, {"error": f"{VERBS}, got :"}),
    *(
        (f"POST {URL}{place}:{verb}", "{}", 404, {"error": f"{VERBS}, got :{verb}"})
        for place in ("", "/versions/1", "/labels/stable")
        for verb in ("Predict", "PREDICT", "predictions")
    ),
    (f"GET {URL}:Predict", None, 404, {"error": f"{VERBS}, got :Predict"}),
    (f"OPTIONS {URL}/versions/1:predictions", None, 404, {"error": f"{VERBS}, got :predictions"}),
    ("GET /v1/zzzzzzzz", None, 404, {"error": "no route '/v1/zzzzzzzz'; all routes: GET /docs"}),
]


@pytest.mark.parametrize(("asked", "body", "status", "expected"), PAIRS)
async def test_requests_and_their_answers(
    client: httpx.AsyncClient, asked: str, body: str | None, status: int, expected: dict[str, Any]
) -> None:
    """Answers are as documented. Only the status route has two more fields, which are KServe's."""
    method, path = asked.split()
    response = await client.request(method, path, content=body)
    answer = response.json()
    if path == URL:
        assert (answer.pop("name"), answer.pop("ready")) == ("after-lstm", True)
    assert (response.status_code, answer) == (status, expected)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"instances": [[[0.1, NaN]]]}', "expected JSON (which has no NaN and no Infinity)"),
        ('{"instances": ', "expected JSON"),
        ("", "expected JSON"),
        ("[]", "body: expected an object, got a list"),
    ],
)
async def test_malformed_json_is_refused(client: httpx.AsyncClient, text: str, message: str) -> None:
    """It is answered 400, with the expected form."""
    response = await client.post(f"{URL}:predict", content=text)
    assert response.status_code == 400
    assert message in response.json()["error"]


@pytest.mark.parametrize(
    ("wrap", "place"),
    [
        (lambda sequence: {"instances": [SEQUENCE, sequence]}, "instances[1]"),
        (lambda sequence: {"instances": [{"sequence": sequence}]}, "instances[0].sequence"),
        (lambda sequence: {"inputs": [SEQUENCE, sequence]}, "inputs[1]"),
        (lambda sequence: {"inputs": {"sequence": [SEQUENCE, sequence]}}, "inputs.sequence[1]"),
    ],
)
async def test_the_error_names_the_wrong_element(client: httpx.AsyncClient, wrap: Any, place: str) -> None:
    """The same holds for every form of a body."""
    sequence: list[Any] = [list(step) for step in SEQUENCE]
    sequence[3][1] = None
    response = await client.post(f"{URL}:predict", json=wrap(sequence))
    error = f"{place}[3][1]: expected a finite number, got null"
    assert (response.status_code, response.json()) == (400, {"error": error})


async def test_an_empty_signature_name_is_the_default(client: httpx.AsyncClient) -> None:
    """TensorFlow Serving does the same."""
    response = await client.post(f"{URL}:predict", json={"instances": [SEQUENCE], "signature_name": ""})
    assert response.json().keys() == {"predictions"}


async def test_a_slash_too_many_is_not_found(client: httpx.AsyncClient) -> None:
    """The path is not redirected."""
    response = await client.get(f"{URL}/")
    assert response.status_code == 404
    assert response.json()["error"].startswith(f"no route '{URL}/'; near it: GET /v1/models/{{model}}, ")


async def test_an_impossible_version_is_not_found(client: httpx.AsyncClient) -> None:
    """The message does not repeat thousands of digits."""
    response = await client.get(f"{URL}/versions/{10**3000}")
    assert response.status_code == 404
    assert len(response.json()["error"]) < 200


@pytest.mark.tensorflow
async def test_the_metadata_are_those_of_the_saved_model(client: httpx.AsyncClient, artifacts: Path) -> None:
    """They are as protobuf writes them in JSON, defaults included."""
    from tensorflow.core.protobuf import saved_model_pb2

    saved_model = saved_model_pb2.SavedModel.FromString((artifacts / "after-lstm/1/saved_model.pb").read_bytes())
    signatures = {
        name: MessageToDict(definition, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
        for name, definition in saved_model.meta_graphs[0].signature_def.items()
    }
    for path in (URL, f"{URL}/versions/1"):
        assert (await client.get(f"{path}/metadata")).json() == {
            "model_spec": {"name": "after-lstm", "signature_name": "", "version": "1"},
            "metadata": {"signature_def": {"signature_def": signatures}},
        }


async def test_the_status_of_versions_that_cannot_be_asked(artifacts: Path, retrained: Path, tmp_path: Path) -> None:
    """A rejected version says why. A retired version has the state `END`."""
    home = Path(shutil.copytree(artifacts / "after-lstm", tmp_path / "artifacts" / "after-lstm")).parent
    for number in ("2", "3"):
        shutil.copytree(retrained, home / "after-lstm" / number)
    (home / "after-lstm" / "3" / "saved_model.pb").write_bytes(b"")
    app = create_app(Settings(artifacts=home, keep_versions=1))
    async with connect(app) as client:
        failed, live, retired = (await client.get(URL)).json()["model_version_status"]
    assert (failed["version"], failed["state"], failed["status"]["error_code"]) == ("3", "END", "INVALID_ARGUMENT")
    assert "saved_model.pb is not what was published" in failed["status"]["error_message"]
    assert live == {"version": "2", "state": "AVAILABLE", "status": OK}
    assert retired == {"version": "1", "state": "END", "status": OK}


async def test_limits_have_the_statuses_of_tensorflow_serving(artifacts: Path) -> None:
    """Too large a body is answered 413, as in TensorFlow Serving."""
    app = create_app(Settings(artifacts=artifacts, model="after-lstm", max_sequences=2, max_body=5000))
    async with connect(app) as client:
        response = await client.post(f"{URL}:predict", json={"instances": [SEQUENCE] * 3})
        assert (response.status_code, response.json()) == (413, {"error": "expected at most 2 sequences, got 3"})
        response = await client.post(f"{URL}:predict", content=b" " * 5001)
        assert (response.status_code, response.json()) == (
            413,
            {"error": "expected a body of at most 5000 bytes, got 5001"},
        )
        await app.state.repository.close()
        response = await client.post(f"{URL}:predict", json={"instances": [SEQUENCE]})
        assert (response.status_code, response.json()) == (503, {"error": "no model is loaded"})


async def test_server_timing_is_answered(client: httpx.AsyncClient) -> None:
    """`Server-Timing` is the same as for `/predict`."""
    response = await client.post(f"{URL}:predict", content=json.dumps({"instances": [SEQUENCE]}))
    assert response.headers["Server-Timing"].startswith("decode;dur=")
