"""Existing clients, unmodified and from their own packages, over a real socket."""

import asyncio
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import requests
from tritonclient import http as triton
from tritonclient.http import aio as triton_aio
from tritonclient.utils import InferenceServerException

from service.artifact.tensors import Array
from service.artifact.version import Artifact
from service.engines import EngineChoice
from tests.server import ROOT, post, serving

KSERVE = ROOT / "tests" / "kserve_client" / "ask.py"
KSERVE_PYTHON = ROOT / ".venv" / "kserve_client" / "bin" / "python"
PERF_ANALYZER = ROOT / ".venv" / "perf_analyzer" / "perf_analyzer" / "bin" / "perf_analyzer"
TRIXIE = ROOT / ".venv" / "perf_analyzer" / "trixie" / "usr" / "lib" / "x86_64-linux-gnu"
MODEL = "after-lstm"


class Served(NamedTuple):
    """A service, sequences `(n, timesteps, features)`, and the answer of `POST /predict` to them."""

    url: str
    sequences: Array
    prediction: Array
    attention: Array


@pytest.fixture(scope="module")
def served(artifacts: Path, engine: EngineChoice) -> Iterator[Served]:
    sequences = Artifact(artifacts / MODEL / "1").read().golden().sequence[:7]
    arguments = ("--artifacts", str(artifacts), "--model", MODEL, "--engine", engine, "--model-control")
    with serving(*arguments) as (url, _):
        answer = post(f"{url}/predict", json={"sequences": sequences.tolist()}).json()["predictions"]
        prediction = np.array([[row["prediction"]] for row in answer], dtype=np.float32)
        yield Served(url, sequences, prediction, np.array([row["attention"] for row in answer], dtype=np.float32))


def assert_same(answer: Any, expected: Array) -> None:
    np.testing.assert_allclose(np.array(answer), expected, rtol=0, atol=1e-6)


def tensor(module: Any, sequences: Array, *, binary: bool = True) -> Any:
    tensor = module.InferInput("sequence", list(sequences.shape), "FP32")
    tensor.set_data_from_numpy(sequences, binary_data=binary)
    return tensor


def test_tritons_client_with_its_defaults(served: Served) -> None:
    """Requests and answers are binary and have all outputs."""
    with triton.InferenceServerClient(served.url.removeprefix("http://")) as client:
        result = client.infer(MODEL, [tensor(triton, served.sequences)])
        assert_same(result.as_numpy("prediction"), served.prediction)
        assert_same(result.as_numpy("attention"), served.attention)
        assert_same(result.as_numpy("attention_vec").mean(axis=2), served.attention)
        labels = result.get_output("attention")["parameters"]["timestep_labels"]
        assert json.loads(labels) == [str(step) for step in range(20)]


def test_tritons_client_with_json(served: Served) -> None:
    """Requests and answers are JSON, with named outputs and an id."""
    outputs = [triton.InferRequestedOutput(name, binary_data=False) for name in ("attention", "prediction")]
    with triton.InferenceServerClient(served.url.removeprefix("http://")) as client:
        result = client.infer(
            MODEL,
            [tensor(triton, served.sequences, binary=False)],
            outputs=outputs,
            model_version="1",
            request_id="forty-two",
        )
    assert_same(result.as_numpy("prediction"), served.prediction)
    assert_same(result.as_numpy("attention"), served.attention)
    answer = result.get_response()
    assert [output["name"] for output in answer["outputs"]] == ["attention", "prediction"]
    assert (answer["id"], answer["model_name"], answer["model_version"]) == ("forty-two", MODEL, "1")


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_tritons_client_with_compression(served: Served, algorithm: str) -> None:
    """It compresses the request, and reads the answer, which is gzip if it is large."""
    many = np.tile(served.sequences, (10, 1, 1))
    with triton.InferenceServerClient(served.url.removeprefix("http://")) as client:
        result = client.infer(
            MODEL,
            [tensor(triton, many)],
            request_compression_algorithm=algorithm,
            response_compression_algorithm=algorithm,
        )
    assert_same(result.as_numpy("prediction"), np.tile(served.prediction, (10, 1)))
    assert_same(result.as_numpy("attention"), np.tile(served.attention, (10, 1)))


def test_tritons_asynchronous_client(served: Served) -> None:
    """Each of several concurrent requests gets its own answer."""

    async def ask() -> None:
        async with triton_aio.InferenceServerClient(served.url.removeprefix("http://")) as client:
            results = await asyncio.gather(
                *(client.infer(MODEL, [tensor(triton_aio, served.sequences[i : i + 1])]) for i in range(7))
            )
        for i, result in enumerate(results):
            assert_same(result.as_numpy("prediction"), served.prediction[i : i + 1])
            assert_same(result.as_numpy("attention"), served.attention[i : i + 1])

    asyncio.run(ask())


def test_tritons_client_about_the_server_and_its_models(served: Served) -> None:
    """It reads health, metadata, the repository and errors."""
    with triton.InferenceServerClient(served.url.removeprefix("http://")) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready(MODEL)
        assert client.is_model_ready(MODEL, "1")
        assert not client.is_model_ready(MODEL, "7")
        assert not client.is_model_ready("unknown")
        assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
        assert client.get_model_metadata(MODEL)["inputs"] == [
            {"name": "sequence", "datatype": "FP32", "shape": [-1, 20, 2]}
        ]
        index = client.get_model_repository_index()
        assert {"name": MODEL, "version": "1", "state": "READY", "reason": ""} in index
        client.unload_model("three")
        assert not client.is_model_ready("three")
        client.load_model("three")
        assert client.is_model_ready("three")
        with pytest.raises(InferenceServerException, match=r"sequence\.shape: expected \[n, 20, 2\]"):
            client.infer(MODEL, [tensor(triton, served.sequences[:, :9])])
        with pytest.raises(InferenceServerException, match="no model 'unknown'"):
            client.infer("unknown", [tensor(triton, served.sequences)])


def test_tritons_client_about_configuration_and_statistics(served: Served) -> None:
    """They fit the requests that were sent."""
    with triton.InferenceServerClient(served.url.removeprefix("http://")) as client:
        config = client.get_model_config(MODEL)
        assert config == client.get_model_config(MODEL, "1")
        assert (config["name"], config["input"]) == (
            MODEL,
            [{"name": "sequence", "data_type": "TYPE_FP32", "dims": [20, 2]}],
        )
        (before,) = client.get_inference_statistics(MODEL)["model_stats"]
        client.infer(MODEL, [tensor(triton, served.sequences)])
        (after,) = client.get_inference_statistics(MODEL, "1")["model_stats"]
        assert after["inference_count"] - before["inference_count"] == len(served.sequences)
        assert {one["name"] for one in client.get_inference_statistics()["model_stats"]} > {MODEL}
        with pytest.raises(InferenceServerException, match="no model 'unknown'"):
            client.get_inference_statistics("unknown")

    async def ask() -> tuple[Any, Any]:
        async with triton_aio.InferenceServerClient(served.url.removeprefix("http://")) as client:
            return await client.get_model_config(MODEL, "1"), await client.get_inference_statistics(MODEL)

    assert asyncio.run(ask()) == (config, {"model_stats": [after]})


def test_tritons_client_asks_for_labels_and_a_timeout(served: Served) -> None:
    """Parameters that it does not have by itself are in the request."""
    outputs = [triton.InferRequestedOutput("prediction", binary_data=False)]
    with triton.InferenceServerClient(served.url.removeprefix("http://")) as client:
        for parameters, labels in (({"labels": True}, {"classes": '["0","1"]'}), (None, None)):
            result = client.infer(
                MODEL,
                [tensor(triton, served.sequences)],
                outputs=outputs,
                parameters=parameters,
                timeout=10_000_000,
                priority=2,
                sequence_id=7,
                sequence_start=True,
            )
            assert result.get_output("prediction").get("parameters") == labels
            assert_same(result.as_numpy("prediction"), served.prediction)


def test_tritons_perf_analyzer(served: Served, tmp_path: Path) -> None:
    """It measures in binary and JSON, with any way to load the service, and finds the service's statistics."""
    data = tmp_path / "data.json"
    data.write_text(json.dumps({"data": [{"sequence": one.ravel().tolist()} for one in served.sequences]}))
    as_json = ["--input-tensor-format", "json", "--output-tensor-format", "json"]
    command = [str(PERF_ANALYZER), "-m", MODEL, "-u", served.url.removeprefix("http://"), "--request-count", "20"]
    if TRIXIE.exists():
        command = [f"{TRIXIE}/ld-linux-x86-64.so.2", "--library-path", f"{TRIXIE}:/usr/lib/x86_64-linux-gnu", *command]
    runs = [
        subprocess.Popen([*command, *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for options in (
            [],
            as_json,
            ["--output-tensor-format", "json", "-x", "1"],
            ["--async", "--concurrency-range", "4", "-b", "4"],
            ["--async", "--concurrency-range", "4", "-b", "4", *as_json],
            ["--request-rate-range", "20", "--input-data", str(data)],
            ["--request-rate-range", "20", "--async", "--input-data", str(data), *as_json],
        )
    ]
    for run in runs:
        report, _ = run.communicate(timeout=60)
        assert run.returncode == 0, report
        for side in ("Client: \n    Request count", "Successful request count"):
            assert int(re.findall(rf"{side}: (\d+)", report)[0]) > 15, report  # the last ones may be under way


def test_kserves_client(served: Served) -> None:
    """It works with both protocols, the second in JSON and in binary. It finds an unloaded model not ready."""
    post(f"{served.url}/v2/repository/models/three/unload").raise_for_status()
    outcome = subprocess.run(
        [KSERVE_PYTHON, KSERVE, served.url],
        input=json.dumps(served.sequences.tolist()),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    post(f"{served.url}/v2/repository/models/three/load").raise_for_status()
    assert outcome.returncode == 0, outcome.stderr
    answers = json.loads(outcome.stdout)
    assert answers["live_v1"] is answers["ready_v1"] is answers["live_v2"] is answers["ready_v2"] is True
    assert answers["model_ready_v2"] is True
    assert answers["unloaded_ready_v1"] is False
    assert answers["unknown_ready_v2"] is False
    assert_same(answers["predict_v1"]["predictions"], served.prediction)
    explanations = answers["explain_v1"]["explanations"]
    assert_same([[row["prediction"]] for row in explanations], served.prediction)
    assert_same([row["attention"] for row in explanations], served.attention)
    for form in ("json", "binary"):
        assert_same(answers[form]["prediction"], served.prediction)
        assert_same(answers[form]["attention"], served.attention)
        assert answers[form]["id"] == "42"


def test_requests_as_tensorflow_serving_documents_them(served: Served) -> None:
    """Its guides post JSON without a content type."""
    url = f"{served.url}/v1/models/{MODEL}"
    rows = requests.post(f"{url}:predict", data=json.dumps({"instances": served.sequences.tolist()}), timeout=30)
    rows.raise_for_status()
    assert_same(rows.json()["predictions"], served.prediction)
    body = {"signature_name": "attention", "inputs": {"sequence": served.sequences.tolist()}}
    columns = requests.post(f"{url}/versions/1:predict", json=body, timeout=30)
    columns.raise_for_status()
    assert_same(columns.json()["outputs"]["prediction"], served.prediction)
    assert_same(columns.json()["outputs"]["attention"], served.attention)
    assert requests.get(url, timeout=30).json()["model_version_status"] == [
        {"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    ]
