"""The OpenAPI document: FastAPI's, with the bodies and paths that the inference routes read themselves."""

import re
from collections.abc import Callable
from functools import partial
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from service.api.error_answers import in_protocol
from service.api.request_body import JSON

REFERENCE = "#/components/schemas/{model}"
#: The parameters of paths whose endpoints do not declare them.
PATH_PARAMETERS: dict[str, dict[str, Any]] = {
    "model": {"description": "Name of the model.", "schema": {"type": "string"}},
    "version": {"description": "Version of the model.", "schema": {"type": "integer", "exclusiveMaximum": 10**18}},
    "method": {"description": "Method to call: `predict`, `classify` or `regress`.", "schema": {"type": "string"}},
}


#: The types of the bodies that routes read themselves, by name.
BODIES: dict[str, type[BaseModel]] = {}


def takes(body: type[BaseModel], *, required: bool = True, **more: Any) -> dict[str, Any]:
    """Return the `openapi_extra` of a route that reads a JSON body itself, or a body of `more` media types."""
    BODIES[body.__name__] = body
    content = {JSON: {"schema": {"$ref": REFERENCE.format(model=body.__name__)}}, **more}
    return {"requestBody": {"required": required, "content": content}}


def query_parameters(parameters: type[BaseModel]) -> list[dict[str, Any]]:
    """Return the OpenAPI parameters of a query string that is read as a type."""
    properties = parameters.model_json_schema()["properties"]
    return [
        {"name": name, "in": "query", "required": False, "description": schema.pop("description"), "schema": schema}
        for name, schema in properties.items()
    ]


def complete(app: FastAPI) -> None:
    """Complete the OpenAPI document of an app."""
    app.openapi = partial(_document, app.openapi)  # type: ignore[method-assign] # as FastAPI documents it


def _document(original: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    document = original()
    schemas = document["components"]["schemas"]
    _, of_bodies = models_json_schema([(body, "validation") for body in BODIES.values()], ref_template=REFERENCE)
    schemas |= of_bodies["$defs"]
    for path, operations in document["paths"].items():
        for operation in operations.values():
            if in_protocol(path):  # these answer 400 instead of the 422 that FastAPI adds
                operation["responses"].pop("422", None)
            parameters = operation.setdefault("parameters", [])
            declared = {parameter["name"] for parameter in parameters if parameter["in"] == "path"}
            for name in re.findall(r"\{(\w+)\}", path):
                if name not in declared:
                    parameters.append({"name": name, "in": "path", "required": True, **PATH_PARAMETERS[name]})
    for schema in ("HTTPValidationError", "ValidationError"):
        schemas.pop(schema, None)
    return document
