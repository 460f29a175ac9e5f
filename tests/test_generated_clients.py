"""Clients that existing programs, unmodified and from their own packages, generate from the OpenAPI document."""

import importlib
import os
import subprocess
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.server import ROOT, get, post, serving

SCRIPTS = Path(sysconfig.get_path("scripts"))
#: The generators also run each other by name.
ENVIRONMENT = {**os.environ, "PATH": f"{SCRIPTS}{os.pathsep}{os.environ['PATH']}"}
PROGRAMS = ROOT / ".venv" / "generated_clients" / "node_modules" / ".bin"
USES = ROOT / "tests" / "generated_clients"

MODEL = "after-lstm"
SEQUENCE = [[0.1, -0.2]] * 20
STRICT = ("--strict", "--noEmit", "--skipLibCheck", "--target", "es2022", "--module", "esnext")


class Served(NamedTuple):
    """A service, and a file with its OpenAPI document."""

    url: str
    document: Path


@pytest.fixture(scope="module")
def served(artifacts: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    document = tmp_path_factory.mktemp("document") / "openapi.json"
    with serving("--artifacts", str(artifacts), "--model", MODEL) as (url, _):
        document.write_bytes(get(f"{url}/openapi.json").content)
        yield Served(url, document)


def run(*command: str | Path, cwd: Path) -> str:
    """Run a command, which must succeed; return its output."""
    outcome = subprocess.run(
        command,
        cwd=cwd,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stdout
    return outcome.stdout


def test_openapi_python_client(served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It generates without a warning. Its client predicts, infers by V2 and reads the attention of the traffic."""
    output = run(
        SCRIPTS / "openapi-python-client",
        *("generate", "--path", served.document, "--meta", "none", "--output-path", "attention_client"),
        "--fail-on-warning",
        cwd=tmp_path,
    )
    assert "warning" not in output.lower()
    assert "Unable" not in output
    monkeypatch.syspath_prepend(tmp_path)
    models: Any = importlib.import_module("attention_client.models")

    def call(operation: str, *arguments: Any, **options: Any) -> Any:
        function = importlib.import_module(f"attention_client.api.{operation}")
        return function.sync(*arguments, client=client, **options)

    client_type: Any = importlib.import_module("attention_client").Client
    with client_type(base_url=served.url, raise_on_unexpected_status=True) as client:
        for detail in ("mean", "full"):
            expected = post(f"{served.url}/predict", json={"sequence": SEQUENCE, "attention": detail}).json()
            body = models.PredictRequest(sequence=SEQUENCE, attention=models.PredictRequestAttention(detail))
            assert call("predict.predict", body=body, model=MODEL).to_dict() == expected
        (row,) = call("predict.predict", body=models.PredictRequest(sequence=SEQUENCE, importance=True)).predictions
        assert len(row.attention) == len(row.importance) == 20
        tensor = models.RequestInput(name="sequence", shape=[1, 20, 2], datatype="FP32", data=[SEQUENCE])
        body = models.InferRequest(inputs=[tensor], outputs=[models.RequestOutput(name="attention")])
        (output,) = call("open_inference.infer_v2", MODEL, body=body).outputs
        assert output.data == pytest.approx(row.attention, abs=1e-6)
        attention = call("attention.get_attention")
        assert (attention.model, len(attention.mean)) == (MODEL, 20)
        assert attention.live.to_dict()["start"]["sequences"] == 6
        refused = call("predict.predict", body=models.PredictRequest(sequence=[[0.1]]))
        assert refused.detail == "sequence: expected 20 timesteps, got 1"


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("openapi-typescript", "openapi-typescript {document} --output generated.ts"),
        ("hey-api", "openapi-ts --input {document} --output generated"),
        ("orval", "orval --input {document} --output generated.ts --client fetch"),
    ],
)
def test_generators_of_typescript(served: Served, tmp_path: Path, name: str, command: str) -> None:
    """What they generate compiles, and has types for predictions and for inference by V2."""
    program, *arguments = command.format(document=served.document).split()
    run(SCRIPTS / "node", PROGRAMS / program, *arguments, cwd=tmp_path)
    (tmp_path / "use.ts").write_bytes((USES / f"{name}.ts").read_bytes())
    run(SCRIPTS / "node", PROGRAMS / "tsc", *STRICT, "--moduleResolution", "bundler", "use.ts", cwd=tmp_path)
