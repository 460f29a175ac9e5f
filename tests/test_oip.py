"""`/v2`: the Open Inference Protocol, checked against the document that it publishes; on both engines."""

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import numpy as np
import orjson
import pytest
import yaml
from fastapi import FastAPI

from service.app import create_app
from service.artifact.golden import Golden
from service.artifact.version import Artifact
from service.engines import EngineChoice
from service.settings import Settings
from tests.conftest import connect
from tests.fakes import IN_THREAD, answer_nan, held, interceptable, until
from tests.infer import LENGTH, as_json, binary, tensors

pytestmark = pytest.mark.anyio

PUBLISHED = yaml.safe_load((Path(__file__).parent / "specifications" / "open_inference_rest.yaml").read_text())
URL = "/v2/models/after-lstm"
ALL = ("prediction", "attention", "attention_vec")


@pytest.fixture(scope="session")
def golden(artifacts: Path) -> Golden:
    return Artifact(artifacts / "after-lstm" / "1").read().golden()


def expected(golden: Golden) -> dict[str, Any]:
    return dict(golden.outputs)


def conforms(answer: object, schema: str) -> None:
    """Check an answer against a schema of the published document."""
    document = {"$ref": f"#/components/schemas/{schema}", "components": PUBLISHED["components"]}
    jsonschema.validate(answer, document)


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("path", [URL, f"{URL}/versions/1"])
async def test_json_is_answered_with_all_outputs(
    client: httpx.AsyncClient, golden: Golden, path: str, *, nested: bool
) -> None:
    """Tensors are flat or nested. The outputs are those recorded at export."""
    more = {"tensor": {"data": golden.sequence.tolist()}} if nested else {}
    response = await client.post(f"{path}/infer", json=as_json(golden.sequence, **more))
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "application/json"
    answer = response.json()
    some = [{**output, "data": output["data"][:100]} for output in answer["outputs"]]  # checking a number is slow
    conforms({**answer, "outputs": some}, "inference_response")
    assert (answer["model_name"], answer["model_version"], "id" in answer) == ("after-lstm", "1", False)
    assert tuple(output["name"] for output in answer["outputs"]) == ALL
    for output in answer["outputs"]:
        wanted = expected(golden)[output["name"]]
        assert (output["datatype"], output["shape"]) == ("FP32", list(wanted.shape))
        np.testing.assert_allclose(output["data"], wanted.ravel(), rtol=0, atol=1e-6)


async def test_requested_outputs_are_answered_in_their_order_with_the_id(
    client: httpx.AsyncClient, golden: Golden
) -> None:
    """Other outputs are left out. JSON outputs have no parameters: Triton's client for C++ takes them for binary."""
    outputs = [{"name": "attention"}, {"name": "prediction"}]
    response = await client.post(f"{URL}/infer", json=as_json(golden.sequence[:1], id="42", outputs=outputs))
    answer = response.json()
    conforms(answer, "inference_response")
    assert answer["id"] == "42"
    attention, prediction = answer["outputs"]
    assert (attention["name"], prediction["name"]) == ("attention", "prediction")
    assert attention.keys() == prediction.keys() == {"name", "shape", "datatype", "data"}


@pytest.mark.parametrize("as_bytes", [False, True])
async def test_the_labels_of_the_entries_are_answered(
    client: httpx.AsyncClient, golden: Golden, *, as_bytes: bool
) -> None:
    """Binary outputs always have them, JSON outputs on request."""
    parameters = {"binary_data_output": True} if as_bytes else {"labels": True}
    response = await client.post(f"{URL}/infer", json=as_json(golden.sequence[:1], parameters=parameters))
    prediction, attention, vectors = orjson.loads(response.content[: int(response.headers.get(LENGTH, 10**9))])[
        "outputs"
    ]
    assert json.loads(prediction["parameters"]["classes"]) == ["0", "1"]
    for output in (attention, vectors):
        assert json.loads(output["parameters"]["timestep_labels"]) == [str(step) for step in range(20)]
    assert all(("binary_data_size" in output["parameters"]) == as_bytes for output in (prediction, attention, vectors))


async def test_null_is_as_if_absent(client: httpx.AsyncClient, golden: Golden) -> None:
    """Clients in Java and C# write fields without a value so."""
    plain = as_json(golden.sequence[:2], outputs=[{"name": "attention"}])
    expected = (await client.post(f"{URL}/infer", json=plain)).json()
    none = dict.fromkeys(("binary_data_output", "labels", "timeout", "priority", "sequence_id", "sequence_start"))
    for parameters in (None, none):
        body = as_json(
            golden.sequence[:2],
            id=None,
            parameters=parameters,
            outputs=[{"name": "attention", "parameters": parameters and {"binary_data": None, "classification": None}}],
            tensor={"parameters": parameters and {"binary_data_size": None, "endianness": None}},
        )
        response = await client.post(f"{URL}/infer", json=body)
        assert (response.status_code, response.json()) == (200, expected)
    answer = (await client.post(f"{URL}/infer", json=as_json(golden.sequence[:2], outputs=None))).json()
    assert tuple(output["name"] for output in answer["outputs"]) == ALL


async def test_a_request_may_shorten_the_timeout(artifacts: Path) -> None:
    """Its sequences do not run after that. A longer time than the service's, and 0, leave the service's."""
    app = create_app(
        Settings(artifacts=artifacts, model="after-lstm", timeout=60), open_engine=interceptable(seconds=IN_THREAD)
    )
    async with connect(app) as client:
        with held(app) as calls:
            running = asyncio.create_task(client.post(f"{URL}/infer", json=as_json(SEQUENCES)))
            await until(lambda: bool(calls))
            for path in (URL, f"{URL}/versions/1"):
                body = as_json(np.zeros((2, 20, 2)), parameters={"timeout": 20_000})
                response = await client.post(f"{path}/infer", json=body)
                assert (response.status_code, response.json()) == (
                    504,
                    {"error": "no answer within 0.02 s, the timeout of the request"},
                )
        assert (await running).status_code == 200
        for timeout in (0, 10**7, 10**17):
            body = as_json(SEQUENCES, parameters={"timeout": timeout})
            assert (await client.post(f"{URL}/infer", json=body)).status_code == 200
        assert 2 not in calls
        await app.state.repository.close()


async def test_the_other_parameters_of_triton_are_accepted(client: httpx.AsyncClient, golden: Golden) -> None:
    """The answer is the same: a stateless model has no sequences of requests, and there are no priorities."""
    expected = (await client.post(f"{URL}/infer", json=as_json(golden.sequence[:1]))).json()
    for sequence in (7, "seven"):
        parameters = {"priority": 1, "sequence_id": sequence, "sequence_start": True, "sequence_end": False, "own": [1]}
        response = await client.post(f"{URL}/infer", json=as_json(golden.sequence[:1], parameters=parameters))
        assert (response.status_code, response.json()) == (200, expected)


@pytest.mark.parametrize(
    "outputs",
    [
        {"parameters": {"binary_data_output": True}},
        {"outputs": [{"name": name, "parameters": {"binary_data": True}} for name in ALL]},
    ],
)
async def test_binary_is_answered_in_binary(client: httpx.AsyncClient, golden: Golden, outputs: dict[str, Any]) -> None:
    """The request asks for all outputs at once, or for each."""
    response = await client.post(f"{URL}/infer", **binary(golden.sequence, **outputs))
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "application/octet-stream"
    assert response.headers["Server-Timing"].startswith("decode;dur=")
    for name, array in tensors(response).items():
        np.testing.assert_allclose(array, expected(golden)[name], rtol=0, atol=1e-6)


async def test_json_and_binary_may_be_mixed(client: httpx.AsyncClient, golden: Golden) -> None:
    """The parameter of an output has precedence over the parameter of the request."""
    outputs = [{"name": "prediction", "parameters": {"binary_data": False}}, {"name": "attention"}]
    request = binary(golden.sequence, outputs=outputs, parameters={"binary_data_output": True})
    response = await client.post(f"{URL}/infer", **request)
    length = int(response.headers[LENGTH])
    prediction, attention = orjson.loads(response.content[:length])["outputs"]
    np.testing.assert_allclose(prediction["data"], golden.prediction.ravel(), rtol=0, atol=1e-6)
    assert attention["parameters"]["binary_data_size"] == len(response.content) - length
    from_json = await client.post(
        f"{URL}/infer", json=as_json(golden.sequence, parameters={"binary_data_output": True})
    )
    np.testing.assert_allclose(tensors(from_json)["prediction"], golden.prediction, rtol=0, atol=1e-6)


async def test_a_body_without_json_is_sequences(client: httpx.AsyncClient, golden: Golden) -> None:
    """A raw request of the extension has no JSON. Its answer has all outputs in binary."""
    response = await client.post(f"{URL}/infer", content=golden.sequence.tobytes(), headers={LENGTH: "0"})
    for name, array in tensors(response).items():
        np.testing.assert_allclose(array, expected(golden)[name], rtol=0, atol=1e-6)
    response = await client.post(f"{URL}/infer", content=golden.sequence.tobytes()[:-1], headers={LENGTH: "0"})
    assert (response.status_code, response.json()["error"]) == (
        400,
        "expected FP32 sequences of 160 bytes, 20 timesteps of 2 features, got 5119 bytes",
    )


async def test_a_body_in_any_pieces_is_the_same_body(client: httpx.AsyncClient, golden: Golden) -> None:
    """Any division of the body into pieces gives the same answer."""
    request = binary(golden.sequence, parameters={"binary_data_output": True})
    whole = tensors(await client.post(f"{URL}/infer", **request))

    async def pieces(size: int) -> Any:
        content = request["content"]
        for at in range(0, len(content), size):
            yield content[at : at + size]

    for size in (1, 7, 100, 1000):
        response = await client.post(f"{URL}/infer", content=pieces(size), headers=request["headers"])
        for name, array in tensors(response).items():
            np.testing.assert_allclose(array, whole[name], rtol=0, atol=1e-6)


async def test_concurrent_binary_requests_get_their_own_answers(client: httpx.AsyncClient, golden: Golden) -> None:
    """Each answer belongs to its request."""

    async def ask(index: int) -> None:
        row = slice(index % 32, index % 32 + 1)
        response = await client.post(
            f"{URL}/infer", **binary(golden.sequence[row], parameters={"binary_data_output": True})
        )
        np.testing.assert_allclose(tensors(response)["prediction"], golden.prediction[row], rtol=0, atol=1e-6)

    await asyncio.gather(*(ask(index) for index in range(64)))


SEQUENCES = np.zeros((1, 20, 2))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "inputs: expected a value, got none"),
        ({"inputs": []}, "inputs: expected at least 1 entries, got 0"),
        ({"inputs": [1]}, "inputs[0]: expected an object, got 1.0"),
        (as_json(SEQUENCES, id=42), "id: expected a string, got 42"),
        (as_json(SEQUENCES, tensor={"shape": [1, 20.5, 2]}), "inputs[0].shape[1]: expected an integer, got 20.5"),
        (as_json(SEQUENCES, tensor={"name": "x"}), "inputs[0].name: expected 'sequence', got 'x'"),
        (
            as_json(SEQUENCES, outputs=[{"name": "x"}]),
            "prediction, attention, attention_vec, importance, feature_importance, cell_importance, "
            "attention_faithfulness, importance_faithfulness at most once",
        ),
        (as_json(SEQUENCES, outputs=[{"name": "attention"}] * 2), "at most once, got 'attention'"),
        (
            as_json(SEQUENCES, outputs=[{"name": "attention", "parameters": {"classification": 3}}]),
            "outputs.attention: expected no parameter classification",
        ),
        (
            as_json(SEQUENCES, outputs=[{"name": "attention", "parameters": {"binary_data": 1}}]),
            "parameters.binary_data: expected true or false, got 1",
        ),
        (as_json(SEQUENCES, parameters={"binary_data_output": "yes"}), 'expected true or false, got "yes"'),
        (as_json(SEQUENCES, parameters={"labels": 1}), "parameters.labels: expected true or false, got 1"),
        (as_json(SEQUENCES, parameters=[]), "parameters: expected an object, got a list"),
        *(
            (
                as_json(SEQUENCES, parameters={name: value}),
                f"parameters.{name}: expected an integer of at least 0, got ",
            )
            for name in ("timeout", "priority")
            for value in (-1, 1.5, True, "1000")
        ),
        (as_json(SEQUENCES, parameters={"sequence_id": 1.5}), "parameters.sequence_id: expected an integer"),
        (as_json(SEQUENCES, parameters={"sequence_end": 0}), "parameters.sequence_end: expected true or false, got 0"),
    ],
)
async def test_the_error_names_the_expected_request(
    client: httpx.AsyncClient, body: dict[str, Any], message: str
) -> None:
    """It is answered 400, in the protocol's shape."""
    response = await client.post(f"{URL}/infer", json=body)
    assert response.status_code == 400
    conforms(response.json(), "inference_error_response")
    assert message in response.json()["error"]


@pytest.mark.parametrize("value", ["[" * 1000 + "]" * 1000, "[" + "[]," * 10**6 + "[]]"])
async def test_parameters_of_any_depth_and_length_are_refused(client: httpx.AsyncClient, value: str) -> None:
    """The check does not visit all of them."""
    for body in (
        as_json(SEQUENCES, parameters={"binary_data_output": "@"}),
        as_json(SEQUENCES, outputs=[{"name": "attention", "parameters": {"binary_data": "@"}}]),
        as_json(SEQUENCES, tensor={"data": None, "parameters": {"binary_data_size": "@"}}),
        as_json(SEQUENCES, tensor={"parameters": {"endianness": "@"}}),
    ):
        response = await client.post(f"{URL}/infer", content=json.dumps(body).replace('"@"', value))
        assert response.status_code in (400, 413)
        assert len(response.json()["error"]) < 200


async def test_an_answer_that_is_not_finite_is_an_error(
    client: httpx.AsyncClient, app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same holds in JSON and in binary."""
    answer_nan(monkeypatch, app, sequence=0, timestep=3)
    for request in ({"json": as_json(SEQUENCES)}, binary(SEQUENCES, parameters={"binary_data_output": True})):
        response = await client.post(f"{URL}/infer", **request)
        assert response.status_code == 400
        assert "got an answer not finite" in response.json()["error"]


async def test_malformed_json_is_refused(client: httpx.AsyncClient) -> None:
    """It is answered 400."""
    response = await client.post(f"{URL}/infer", content=b"{")
    assert response.status_code == 400
    assert response.json()["error"].startswith("position 1: expected JSON")


async def test_the_server_metadata_list_its_extensions(client: httpx.AsyncClient) -> None:
    """The path works with and without a slash at its end."""
    for path in ("/v2", "/v2/"):
        answer = (await client.get(path)).json()
        conforms(answer, "metadata_server_response")
        assert answer["name"] == "attention-service"
        assert answer["extensions"] == [
            "binary_tensor_data",
            "model_repository",
            "model_configuration",
            "statistics",
        ]


async def test_the_model_metadata_describe_its_tensors(client: httpx.AsyncClient, engine: EngineChoice) -> None:
    """The answer has names, datatypes and shapes of the tensors, and the loaded versions."""
    for path in (URL, f"{URL}/versions/1"):
        answer = (await client.get(path)).json()
        conforms(answer, "metadata_model_response")
        assert answer == {
            "name": "after-lstm",
            "versions": ["1"],
            "platform": {"onnx": "onnx_onnxv1", "tensorflow": "tensorflow_savedmodel"}[engine],
            "inputs": [{"name": "sequence", "datatype": "FP32", "shape": [-1, 20, 2]}],
            "outputs": [
                {"name": "prediction", "datatype": "FP32", "shape": [-1, 1]},
                {"name": "attention", "datatype": "FP32", "shape": [-1, 20]},
                {"name": "attention_vec", "datatype": "FP32", "shape": [-1, 20, 32]},
                {"name": "importance", "datatype": "FP32", "shape": [-1, 20]},
                {"name": "feature_importance", "datatype": "FP32", "shape": [-1, 2]},
                {"name": "cell_importance", "datatype": "FP32", "shape": [-1, 20, 2]},
                {"name": "attention_faithfulness", "datatype": "FP32", "shape": [-1, 2]},
                {"name": "importance_faithfulness", "datatype": "FP32", "shape": [-1, 2]},
            ],
        }


@pytest.mark.parametrize("length", [1, 4, 6])
@pytest.mark.parametrize("as_bytes", [False, True])
async def test_attention_is_answered_for_the_timesteps_sent(
    asking: httpx.AsyncClient, length: int, *, as_bytes: bool
) -> None:
    """The answer equals that of `/predict` and has the labels of those timesteps."""
    sequences = np.random.default_rng(0).standard_normal((3, length, 2)).astype(np.float32)
    said = (await asking.post("/predict", json={"sequences": sequences.tolist()})).json()["predictions"]
    request = (
        binary(sequences, parameters={"binary_data_output": True})
        if as_bytes
        else {"json": as_json(sequences, parameters={"labels": True})}
    )
    response = await asking.post("/v2/models/both/infer", **request)
    outputs = orjson.loads(response.content[: int(response.headers.get(LENGTH, len(response.content)))])["outputs"]
    assert {output["name"]: output["shape"] for output in outputs} == {
        "prediction": [3, 1],
        "attention": [3, length],
        "attention_vec": [3, length, 3],
    }
    for output in outputs[1:]:
        labels = json.loads(output["parameters"]["timestep_labels"])
        assert labels == ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat"][:length]
    arrays = (
        tensors(response)
        if as_bytes
        else {output["name"]: np.reshape(output["data"], output["shape"]) for output in outputs}
    )
    np.testing.assert_allclose(arrays["prediction"][:, 0], [one["prediction"] for one in said], rtol=0, atol=1e-6)
    np.testing.assert_allclose(arrays["attention"], [one["attention"] for one in said], rtol=0, atol=1e-6)
    np.testing.assert_allclose(arrays["attention_vec"].mean(axis=2), arrays["attention"], rtol=0, atol=1e-6)


async def test_absent_timesteps_that_were_sent_get_no_attention(asking: httpx.AsyncClient) -> None:
    """Sequences of different lengths in one tensor are each answered as alone."""
    sequences = np.random.default_rng(0).standard_normal((4, 5, 2)).astype(np.float32)
    lengths = (1, 3, 4, 5)
    for sequence, length in zip(sequences, lengths, strict=True):
        sequence[length:] = np.nan
    request = binary(sequences, parameters={"binary_data_output": True})
    together = tensors(await asking.post("/v2/models/shorter/infer", **request))
    for index, length in enumerate(lengths):
        assert not together["attention"][index, length:].any()
        assert not together["attention_vec"][index, length:].any()
        alone = tensors(
            await asking.post(
                "/v2/models/shorter/infer",
                **binary(sequences[index : index + 1, :length], parameters={"binary_data_output": True}),
            )
        )
        for name, array in alone.items():
            got = together[name][index, : array.shape[1]]
            np.testing.assert_allclose(got, array[0], rtol=0, atol=1e-6)


async def test_a_body_without_json_may_be_padded(asking: httpx.AsyncClient) -> None:
    """The bytes do not give lengths, so each sequence has as many timesteps as the model takes."""
    sequences = np.ones((2, 6, 2), np.float32)
    sequences[1, 2:] = np.nan
    response = await asking.post("/v2/models/shorter/infer", content=sequences.tobytes(), headers={LENGTH: "0"})
    assert not tensors(response)["attention"][1, 2:].any()


async def test_the_metadata_of_a_model_of_any_length(asking: httpx.AsyncClient) -> None:
    """The number of timesteps is -1."""
    for name, length in (("both", -1), ("shorter", -1), ("gaps", 6)):
        answer = (await asking.get(f"/v2/models/{name}")).json()
        conforms(answer, "metadata_model_response")
        shapes = {tensor["name"]: tensor["shape"] for tensor in (*answer["inputs"], *answer["outputs"])}
        assert shapes == {
            "sequence": [-1, length, 2],
            "prediction": [-1, 1],
            "attention": [-1, length],
            "attention_vec": [-1, length, 3],
            "importance": [-1, length],
            "feature_importance": [-1, 2],
            "cell_importance": [-1, length, 2],
            "attention_faithfulness": [-1, 2],
            "importance_faithfulness": [-1, 2],
        }


async def test_health(client: httpx.AsyncClient) -> None:
    """The routes cover the process, the service and the models."""
    assert (await client.get("/v2/health/live")).json() == {"live": True}
    assert (await client.get("/v2/health/ready")).json() == {"ready": True}
    for path in (URL, f"{URL}/versions/1"):
        assert (await client.get(f"{path}/ready")).json() == {"name": "after-lstm", "ready": True}
    assert (await client.get(f"{URL}/versions/7/ready")).status_code == 404
    assert (await client.get("/v2/models/four/ready")).status_code == 404


async def test_unknown_names_are_answered_in_the_protocols_shape(client: httpx.AsyncClient) -> None:
    """The test covers models, versions and paths."""
    for path, message in (
        ("/v2/models/four", "no model 'four': expected one of after-lstm, before-lstm, three"),
        (f"{URL}/versions/7", "model 'after-lstm' has no version 7: expected 1"),
        ("/v2/zzzzzzzz", "no route '/v2/zzzzzzzz'; all routes: GET /docs"),
    ):
        response = await client.get(path)
        conforms(response.json(), "metadata_model_error_response")
        assert (response.status_code, response.json()) == (404, {"error": message})


async def test_limits(artifacts: Path) -> None:
    """Too many sequences and too large a body are answered 413, before and after the body is read."""
    app = create_app(Settings(artifacts=artifacts, model="after-lstm", max_sequences=2, max_body=2000))
    async with connect(app) as client:
        for request in (binary(np.zeros((3, 20, 2))), {"json": as_json(np.zeros((3, 20, 2), np.int8))}):
            response = await client.post(f"{URL}/infer", **request)
            assert (response.status_code, response.json()) == (413, {"error": "expected at most 2 sequences, got 3"})
        response = await client.post(f"{URL}/infer", **binary(np.zeros((100, 20, 2))))
        assert response.status_code == 413
        await app.state.repository.close()
        assert (await client.get("/v2/health/ready")).status_code == 503
