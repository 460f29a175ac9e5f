"""Selecting the model of a request: by `?model=` and `?version=`, or by the path of a protocol."""

import re
from typing import Annotated, Any

from fastapi import Depends, Header, Query, Request
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from service.api.inference import MODEL
from service.api.request_body import M, validated
from service.errors import InvalidInput
from service.problems import shown
from service.serving.dataplane import DataPlane
from service.serving.model import Model


def _plain_digits(value: Any) -> Any:
    """Refuse what Python reads as a number, but is not the name of a version: `1_0`, `+1`, ` 1`, `1.0`, `01`."""
    if isinstance(value, str) and not re.fullmatch("0|[1-9][0-9]*", value):
        raise ValueError(f"expected the number of a version, in digits, got {shown(value)}")
    return value


#: A version in a path or in a query.
Version = Annotated[int, BeforeValidator(_plain_digits)]


class Selection(BaseModel):
    """The model and the version that a request names."""

    model_config = ConfigDict(frozen=True)

    model: str | None = Field(None, description="Model to ask; the default model if absent.")
    version: Version | None = Field(
        None, lt=10**18, description="Version to ask; the one that answers for the model if absent."
    )

    def of(self, request: Request) -> Model:
        """Return the selected model."""
        plane: DataPlane = request.app.state.plane
        model = plane.model(self.model, self.version)
        request.scope[MODEL] = model
        return model


NO_SELECTION = Selection()


def model_in_query(request: Request) -> Model:
    """Return the model that the query string names."""
    if not request.scope["query_string"]:
        return NO_SELECTION.of(request)
    return read_query(request, Selection).of(request)


def model_in_path(request: Request) -> Model:
    """Return the model that the path names; the default model where the path names none."""
    return validated(Selection, request.path_params, "path").of(request)


def read_query(request: Request, expected: type[M]) -> M:
    """Return the query string as an instance of a type.

    Raises:
        InvalidInput: a parameter is unknown or repeated.
        RequestValidationError: a value is wrong.
    """
    parameters = request.query_params.multi_items()
    require_known(request, *expected.model_fields)
    return validated(expected, dict(parameters), "query")


def require_known(request: Request, *names: str) -> None:
    """Refuse parameters of the query string that are unknown or repeated.

    Raises:
        InvalidInput: there is such a parameter. The message names it and the known ones.
    """
    found: set[str] = set()
    for name, _ in request.query_params.multi_items():
        if name not in names:
            known = f"only the query parameters {', '.join(names)}" if names else "no query parameters"
            raise InvalidInput(f"expected {known}, got {name[:80]!r}")
        if name in found:
            raise InvalidInput(f"expected the query parameter {name} once, got it twice")
        found.add(name)


def only(*names: str) -> Any:
    """Return the dependency of a route that takes only these query parameters."""

    async def check(request: Request) -> None:
        require_known(request, *names)

    return Depends(check)


async def _selected(query: Annotated[Selection, Query()], request: Request) -> Model:
    return query.of(request)


#: The model of a native route that FastAPI injects.
SelectedModel = Annotated[Model, Depends(_selected)]


async def _accepted(accept: Annotated[list[str] | None, Header(include_in_schema=False)] = None) -> str:
    return ", ".join(accept or ()).lower() or "*/*"  # RFC 9110, section 5.3: several lines are one list


#: The media types that the client accepts, as the header `Accept` lists them.
Accepted = Annotated[str, Depends(_accepted)]
