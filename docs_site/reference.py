"""Pages of the reference, made from the declarations in the source: settings, options, the card and the HTTP API."""

import inspect
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from pydantic import BaseModel

from service.api import openapi
from service.app import add_routes
from service.artifact.card import ModelCard
from service.serving.repository import Repository
from service.serving.unloaded import Unloaded
from service.settings import Settings
from training.command_line import flag_of
from training.options import CommandLine

#: The folder of the pages. They are kept there, so that links lead to them without the site, too.
FOLDER: Final = Path(__file__).parent.parent / "docs"
#: Longest example in a table.
LONGEST_EXAMPLE: Final = 80


def pages() -> Mapping[str, str]:
    """Return the text of each generated page, by its name."""
    made = {
        "settings.md": settings_page(),
        "options.md": options_page(),
        "card.md": card_page(),
        "http.md": http_page(),
    }
    return {
        name: f"<!-- `python -m docs_site` writes this page from the source. -->\n\n{text}"
        for name, text in made.items()
    }


def flags(model: type[BaseModel], names: Iterable[str]) -> str:
    """Return a table of fields of a model as flags: name, default and description."""
    rows = []
    for name in names:
        field = model.model_fields[name]
        default = "" if field.is_required() or field.default in (None, "", (), {}) else code(field.default)
        rows.append((f"`{flag_of(name)}`", default, cell(field.description or "")))
    return table(("flag", "default", ""), rows)


def settings_page() -> str:
    """Return the page of the service's settings."""
    return f"""# Settings

`attention-service` takes flags. Each is also an environment variable: `SERVICE_` and the flag's name in capitals,
with `_` for `-`. A flag overrides the variable. SageMaker's `serve` and Vertex AI's variables set
[some of them](protocols.md#sagemaker), too. [Operate](operations.md#settings-by-purpose) has them by purpose.

{flags(Settings, Settings.model_fields)}
"""


def options_page() -> str:
    """Return the page of the options of each command of training."""
    parts = [
        "# Options of training",
        "`attention-training` is the same as `python -m training`. In Python, the options of its first command are "
        "those of `training.train`, and those of `import` are those of `training.publish`, with `_` for `-`. "
        "[Train](training.md) explains them.",
    ]
    for command in CommandLine.__subclasses__():
        paragraphs = inspect.cleandoc(command.__doc__ or "").split("\n\n")
        parts += [f"## {command.program}", *map(cell, paragraphs)]
        grouped = {name for names in command.groups.values() for name in names}
        others = [name for name in command.model_fields if name not in grouped | set(command.positional)]
        if command.positional:
            parts.append(table(("argument", ""), [argument(command, name) for name in command.positional]))
        for title, names in {**command.groups, "": others}.items():
            if names:
                parts += [f"**{title}**", flags(command, names)] if title else [flags(command, names)]
    return "\n\n".join(parts) + "\n"


def argument(command: type[CommandLine], name: str) -> tuple[str, str]:
    """Return the row of an argument that is given without a flag."""
    return f"`{name.upper()}`", cell(command.model_fields[name].description or "")


def card_page() -> str:
    """Return the page of the fields of the model card."""
    schema = ModelCard.model_json_schema(mode="validation")
    return f"""# Card

The card describes a version: `card.json` in its directory, and the answer of `GET /model`. The
[contract](../artifacts/README.md#cardjson) says what a reader may rely on. A field that a version of an earlier release
lacks has its default.

{fields(schema)}

## Parts

{types(schema["$defs"])}
"""


def http_page() -> str:
    """Return the page of the routes, and of the types of their bodies."""
    app = api()
    document = app.openapi()
    parts = [
        "# HTTP API",
        "Every route of the service, as `GET /openapi.json` describes it. `GET /docs` of a service has the same, to "
        "try out. [Ask a model](asking.md) and [Protocols](protocols.md) explain them.",
    ]
    for tag in document["tags"]:
        parts += [f"## {tag['name']}", tag["description"]]
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                if operation["tags"] == [tag["name"]]:
                    parts += [f"### {method.upper()} {path}", *described(operation)]
    parts += ["## others", "Pages, their files, and refusals. They are not in the OpenAPI document.", other_routes(app)]
    return "\n\n".join([*parts, "## Types", types(document["components"]["schemas"])]) + "\n"


def api() -> FastAPI:
    """Return an app with every route and without models, so that its OpenAPI document has no examples of bodies."""
    app = FastAPI(
        title="Attention service",
        openapi_tags=openapi.TAGS,
        generate_unique_id_function=openapi.operation_id,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
    )
    app.state.settings = Settings()
    app.state.repository = Repository(
        Path("artifacts"), unserved, default=None, pins={}, keep=1, unloaded=Unloaded(None)
    )
    add_routes(app)
    return app


def other_routes(app: FastAPI) -> str:
    """Return a table of the routes that are not in the OpenAPI document."""
    routes = [route for route in iter_route_contexts(app.routes) if not route.include_in_schema]
    return table(("path", ""), [(f"`{route.path}`", cell(route.description.partition("\n\n")[0])) for route in routes])


def unserved(*_: Any) -> Any:
    """Load no version.

    Raises:
        NotImplementedError: always.
    """
    raise NotImplementedError("expected no version to load")


def described(operation: Mapping[str, Any]) -> Iterator[str]:
    """Yield the parts of the description of an operation: text, parameters, body, answers."""
    yield inspect.cleandoc(operation.get("description") or operation["summary"])
    if parameters := operation.get("parameters"):
        rows = [
            (f"`{one['name']}`", str(one["in"]), kind(one["schema"]), cell(one.get("description", "")))
            for one in parameters
        ]
        yield table(("parameter", "in", "type", ""), rows)
    if body := operation.get("requestBody"):
        yield f"Body: {', '.join(contents(body))}."
    answers = [
        (status, "; ".join(contents(answer)), cell(answer["description"]))
        for status, answer in sorted(operation["responses"].items())
    ]
    yield table(("status", "answer", ""), answers)


def contents(answer: Mapping[str, Any]) -> list[str]:
    """Return the media types of a body, each with its type."""
    return [f"`{media}` {kind(one.get('schema', {}))}".strip() for media, one in answer.get("content", {}).items()]


def types(schemas: Mapping[str, Any]) -> str:
    """Return a section for each schema that has fields or values."""
    parts = []
    for name, schema in sorted(schemas.items()):
        parts += [f"### {name}", inspect.cleandoc(schema.get("description", ""))]
        parts.append(fields(schema) if "properties" in schema else f"Type: {kind(schema)}.")
    return "\n\n".join(part for part in parts if part)


def fields(schema: Mapping[str, Any]) -> str:
    """Return a table of the fields of an object."""
    rows = []
    for name, field in schema.get("properties", {}).items():
        text = cell(field.get("description", ""))
        if "default" in field and field["default"] not in (None, [], {}):
            text += f" Default: {code(json.dumps(field['default']))}."
        if examples := [one for one in field.get("examples", ()) if one is not None]:
            example = json.dumps(examples[0], ensure_ascii=False)
            text += f" Example: {code(example)}." if len(example) <= LONGEST_EXAMPLE else ""
        rows.append((f"`{name}`", kind(field), text))
    return table(("field", "type", ""), rows)


def kind(schema: Mapping[str, Any]) -> str:
    """Return the type of a schema in a few words; types with fields are links."""
    match schema:
        case {"$ref": str(reference)}:
            name = reference.rpartition("/")[2]
            words = f"[{name}](#{name.lower()})"
        case {"anyOf": several} | {"oneOf": several} | {"allOf": several}:
            words = " or ".join(dict.fromkeys(map(kind, several)))
        case {"enum": values}:
            words = ", ".join(map(code, values))
        case {"const": value}:
            words = code(value)
        case {"type": "array", "prefixItems": parts}:
            words = "list of " + ", ".join(map(kind, parts))
        case {"type": "array"}:
            words = f"list of {kind(schema.get('items', {}))}"
        case {"type": "object", "additionalProperties": dict(values)}:
            words = f"object of {kind(values)}"
        case {"type": str(words)}:
            pass
        case _:
            words = "any"
    return words


def code(value: object) -> str:
    """Return a value as code in a cell."""
    return f"`{value}`".replace("\n", " ")


def cell(text: str) -> str:
    """Return a text as a cell of a table: one line, whose signs are no markup outside of code."""
    parts = " ".join(text.split()).split("`")
    parts[::2] = [re.sub(r"[|<*_\[]", lambda sign: f"&#{ord(sign[0])};", part) for part in parts[::2]]
    return "`".join(parts)


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """Return a table in Markdown."""
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
