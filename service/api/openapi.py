"""The OpenAPI document: FastAPI's, with the bodies and paths that the inference routes read themselves."""

import re
from collections.abc import Callable
from typing import Any, Final

from fastapi import FastAPI
from fastapi.routing import APIRoute
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from service.api.error_answers import ErrorAnswer, ProtocolErrorAnswer, in_protocol
from service.api.request_body import JSON
from service.artifact.tokens import range_of
from service.errors import Forbidden, InvalidInput, ServiceError, Unauthorized
from service.serving.repository import Repository

REFERENCE = "#/components/schemas/{model}"
#: Generators of clients make a module of each tag.
TAGS: Final = [
    {"name": "predict", "description": "Predictions, each with the attention of the same forward pass."},
    {"name": "attention", "description": "The timesteps that a model looks at, in training and in the traffic."},
    {"name": "operations", "description": "Health, models, model cards and metrics."},
    {"name": "tensorflow_serving", "description": "TensorFlow Serving's REST API."},
    {"name": "kserve_v1", "description": "The routes that KServe's V1 protocol adds to TensorFlow Serving's."},
    {"name": "open_inference", "description": "The Open Inference Protocol, which is KServe's V2 protocol."},
    {"name": "model_repository", "description": "Triton's extension to list, load and unload models."},
    {"name": "mlflow", "description": "The routes of MLflow's and SageMaker's clients, for the default model."},
]
#: The parameters of paths whose endpoints do not declare them.
PATH_PARAMETERS: dict[str, dict[str, Any]] = {
    "model": {"description": "Name of the model.", "schema": {"type": "string"}},
    "version": {"description": "Version of the model.", "schema": {"type": "integer", "exclusiveMaximum": 10**18}},
}
#: The answer of native routes to a request of the wrong form, in place of the one that FastAPI adds.
INVALID_INPUT: Final = {
    "description": InvalidInput.__doc__,
    "content": {JSON: {"schema": {"$ref": REFERENCE.format(model=ErrorAnswer.__name__)}}},
}

#: The types of the bodies that routes read themselves, by name.
BODIES: dict[str, type[BaseModel]] = {}
#: Makes an example of a body from a sequence in JSON.
Example = Callable[[list[list[float]]], Any]
#: The makers of examples, by the name of the body's type.
EXAMPLES: dict[str, Example] = {}
#: Longer sequences have no example.
MOST_NUMBERS: Final = 10_000


def operation_id(route: APIRoute) -> str:
    """Return the operation id of a route: its name, which generators of clients take for a function."""
    return route.name


def takes(body: type[BaseModel], example: Example | None = None, *, required: bool = True) -> dict[str, Any]:
    """Return the `openapi_extra` of a route that reads a JSON body itself.

    Other media types are left out: generators of clients warn of `text/csv`, or leave out the route.

    Args:
        body: the type of the body.
        example: makes an example that fits the default model, which `/docs` offers to send.
        required: whether the body may not be empty.
    """
    BODIES[body.__name__] = body
    if example is not None:
        EXAMPLES[body.__name__] = example
    content = {JSON: {"schema": {"$ref": REFERENCE.format(model=body.__name__)}}}
    return {"requestBody": {"required": required, "content": content}}


def query_parameters(parameters: type[BaseModel], condition: str = "") -> list[dict[str, Any]]:
    """Return the OpenAPI parameters of a query string that is read as a type.

    They have no defaults, which generated clients would send, and no objects, which these would take apart.

    Args:
        parameters: the type.
        condition: the start of each description.
    """
    documented = []
    for name, schema in parameters.model_json_schema()["properties"].items():
        schema.pop("default", None)
        if "anyOf" in schema:
            schema["anyOf"] = [kind for kind in schema["anyOf"] if kind["type"] != "object"]
        description = condition + schema.pop("description")
        documented.append(
            {"name": name, "in": "query", "required": False, "description": description, "schema": schema}
        )
    return documented


def complete(app: FastAPI, open_routes: frozenset[str] | None) -> None:
    """Complete the OpenAPI document of an app.

    Args:
        app: the app.
        open_routes: names of the routes that need no key; None if no route needs one.
    """
    original = app.openapi

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            _complete(original(), open_routes)  # FastAPI keeps it as `openapi_schema`
        _add_examples(original(), app.state.repository)
        return original()

    app.openapi = document  # type: ignore[method-assign] # as FastAPI documents it


def _add_examples(document: dict[str, Any], repository: Repository) -> None:
    """Add examples of bodies that fit the default model. It may be another one each time."""
    try:
        card = repository.get().card
    except ServiceError:
        return
    if card.timesteps * card.features > MOST_NUMBERS:
        return
    sequence: list[float] = ([0.1, -0.2] * card.features)[: card.features]
    if card.tokens is not None:
        sequence = [range_of(card.tokens, label).least for label in card.feature_labels]
    for operations in document["paths"].values():
        for operation in operations.values():
            content = operation.get("requestBody", {}).get("content", {}).get(JSON, {})
            body = content.get("schema", {}).get("$ref", "").rpartition("/")[2]
            if body in EXAMPLES:
                content["example"] = EXAMPLES[body]([sequence] * card.timesteps)


def _complete(document: dict[str, Any], open_routes: frozenset[str] | None) -> None:
    document["security"] = [] if open_routes is None else [{"key": []}]
    schemas = document["components"]["schemas"]
    _, of_bodies = models_json_schema([(body, "validation") for body in BODIES.values()], ref_template=REFERENCE)
    schemas |= of_bodies["$defs"]
    for replaced in ("HTTPValidationError", "ValidationError"):
        schemas.pop(replaced, None)
    for schema in schemas.values():
        for field in schema.get("properties", {}).values():
            _drop_null_default(field)
    for path, operations in document["paths"].items():
        for operation in operations.values():
            _complete_operation(path, operation)
            if open_routes is not None:
                _secure(path, operation, open_routes)
    if open_routes is not None:
        document["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}


def _secure(path: str, operation: dict[str, Any], open_routes: frozenset[str]) -> None:
    """Document that an operation needs a key, or that it is open."""
    if operation["operationId"] in open_routes:
        operation["security"] = []
        return
    answer = ProtocolErrorAnswer if in_protocol(path) else ErrorAnswer
    for error in (Unauthorized, Forbidden):
        content = {JSON: {"schema": {"$ref": REFERENCE.format(model=answer.__name__)}}}
        operation["responses"][str(error.status)] = {"description": error.__doc__, "content": content}


def _complete_operation(path: str, operation: dict[str, Any]) -> None:
    if in_protocol(path):  # these answer 400
        operation["responses"].pop("422", None)
    elif "422" in operation["responses"]:
        operation["responses"]["422"] = INVALID_INPUT
    parameters = operation.setdefault("parameters", [])
    declared = {parameter["name"] for parameter in parameters if parameter["in"] == "path"}
    for name in re.findall(r"\{(\w+)\}", path):
        if name not in declared:
            parameters.append({"name": name, "in": "path", "required": True, **PATH_PARAMETERS[name]})
    for parameter in parameters:
        schema = parameter["schema"]
        _drop_null_default(schema)
        match schema.get("anyOf"):
            case [{"type": str()} as kind, {"type": "null"}]:  # neither an address nor a header can have null
                del schema["anyOf"]
                schema |= kind


def _drop_null_default(schema: dict[str, Any]) -> None:
    """Drop a default of null, which stands for an absent field and need not fit the schema."""
    if "default" in schema and schema["default"] is None:
        del schema["default"]
