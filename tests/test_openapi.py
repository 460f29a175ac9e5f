"""The OpenAPI document, and the whole service with valid and invalid requests generated from it."""

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import openapi_spec_validator
import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from jsonschema import Draft202012Validator
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance

from service.app import create_app
from service.settings import Settings
from tests.conftest import connect

CHECKS = [not_a_server_error, status_code_conformance, response_schema_conformance]
#: Longest wait for an answer, in seconds.
PATIENCE = 100
UNLOAD = "POST /v2/repository/models/{model}/unload"
#: Some of the requests name an existing model.
NAMED = st.sampled_from([{}, {"model": "three"}, {"model": "three", "version": "1"}])


@pytest.fixture(scope="module")
def app(artifacts: Path) -> FastAPI:
    return create_app(Settings(artifacts=artifacts, model="after-lstm"))


@pytest.fixture(scope="module")
def document(app: FastAPI) -> dict[str, Any]:
    return app.openapi()


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the path and the content of each operation."""
    for path, methods in document["paths"].items():
        for operation in methods.values():
            yield path, operation


def objects(part: object, place: str = "#") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the place and the content of each object in a document, except of those in examples."""
    if isinstance(part, dict):
        yield place, part
        for name, content in part.items():
            if name not in ("default", "example", "examples"):
                yield from objects(content, f"{place}/{name}")
    elif isinstance(part, list):
        for index, content in enumerate(part):
            yield from objects(content, f"{place}/{index}")


def test_the_document_is_valid(document: dict[str, Any]) -> None:
    """No reference dangles, and each path declares each of its parameters once."""
    openapi_spec_validator.validate(document)
    for place, content in objects(document):
        assert content.get("type") != "array" or "items" in content, place
    for path, operation in operations(document):
        declared = [one["name"] for one in operation["parameters"] if one["in"] == "path"]
        assert sorted(declared) == sorted(re.findall(r"{(\w+)}", path)), path


def test_examples_and_defaults_are_valid(document: dict[str, Any]) -> None:
    """Each fits the schema that it belongs to."""
    checked = 0
    for place, content in objects(document):
        # A parameter has its schema in a field; all other objects with examples are schemas.
        schema = {**content.get("schema", content), "components": document["components"]}
        values = [*content.get("examples", ()), *(content[name] for name in ("default", "example") if name in content)]
        for value in values:
            assert [error.message for error in Draft202012Validator(schema).iter_errors(value)] == [], place
        checked += len(values)
    assert checked > 100


@pytest.mark.anyio
@pytest.mark.parametrize("model", ["after-lstm", "three"])
async def test_examples_of_inference_are_answered(artifacts: Path, model: str) -> None:
    """They fit the default model, so that `/docs` has a request to send. The other models are of other sizes."""
    app = create_app(Settings(artifacts=artifacts, model=model))
    sent = 0
    async with connect(app) as client:
        document = (await client.get("/openapi.json")).json()
        for path, operation in operations(document):
            content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
            if "example" in content:
                address = path.replace("{model}", model).replace("{version}", "1")
                response = await client.post(address.removeprefix("POST "), json=content["example"])
                assert response.status_code == 200, response.text
                sent += 1
    assert sent == 8


def test_names_suit_generated_clients(document: dict[str, Any]) -> None:
    """Operation ids are unique functions; an operation is in the module of one tag, which is described."""
    names = [operation["operationId"] for _, operation in operations(document)]
    assert len(names) == len(set(names))
    assert {"predict", "get_attention", "list_models", "infer_v2", "infer_v2_version", "invocations"} <= set(names)
    tags = [operation["tags"] for _, operation in operations(document)]
    assert {len(one) for one in tags} == {1}
    described = {tag["name"] for tag in document["tags"] if tag["description"]}
    assert {tag for (tag,) in tags} == described
    assert all(re.fullmatch("[a-z][a-z0-9_]*", name) for name in [*names, *described])


def test_native_routes_answer_errors_of_one_type(document: dict[str, Any]) -> None:
    """Also where FastAPI would add an answer of its own."""
    answers = [
        operation["responses"]["422"] for _, operation in operations(document) if "422" in operation["responses"]
    ]
    assert len(answers) > 5
    for answer in answers:
        assert answer["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/ErrorAnswer"}


@pytest.mark.anyio
@pytest.mark.parametrize("prefix", ["", "/some/where"])
async def test_the_server_is_where_the_service_is(app: FastAPI, prefix: str) -> None:
    """Clients call paths below the prefix that a proxy adds."""
    transport = httpx.ASGITransport(app, root_path=prefix)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        document = (await client.get(f"{prefix}/openapi.json")).json()
    assert document["servers"] == [{"url": prefix or "/"}]


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_every_answer_is_documented(artifacts: Path, mode: GenerationMode) -> None:
    """There is no 5xx, and each status and answer is in the document."""
    # A thread of low priority loads models. It may wait long while other tests run.
    app = create_app(Settings(artifacts=artifacts, model="after-lstm", model_control=True, timeout=PATIENCE))
    asked = set()
    for result in schemathesis.openapi.from_asgi("/openapi.json", app).get_all_operations():
        operation: Any = result.ok()  # type: ignore[union-attr] # it raises where the document is wrong

        @given(case=operation.as_strategy(generation_mode=mode), named=NAMED)
        @settings(max_examples=25, suppress_health_check=list(HealthCheck))
        def ask(case: Any, named: dict[str, str]) -> None:
            case.path_parameters.update(named)
            if case.operation.label == UNLOAD:  # without its own model, /ping answers 503, as it should
                assume(case.path_parameters["model"] != "after-lstm")
            case.call_and_validate(checks=CHECKS, timeout=2 * PATIENCE)

        with suppress(Unsatisfiable):  # an operation without input, or with any text as input, has no invalid request
            ask()
            asked.add(operation.label)
    paths = app.openapi()["paths"].items()
    everything = {
        (f"{method.upper()} {path}", "requestBody" in one) for path, ones in paths for method, one in ones.items()
    }
    expected = {name for name, takes_body in everything if takes_body or mode is GenerationMode.POSITIVE}
    assert asked >= expected
