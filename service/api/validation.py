"""Parts of a request as what they should be."""

from typing import TypeVar

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError

M = TypeVar("M", bound=BaseModel)


def validated(expected: type[M], value: object, where: str) -> M:
    """A value as what is expected.

    Args:
        expected: the type.
        value: parsed JSON, or names and values.
        where: which part of the request that is.

    Raises:
        RequestValidationError: it is something else.
    """
    try:
        return expected.model_validate(value)
    except ValidationError as error:
        problems = error.errors(include_url=False)
        raise RequestValidationError([{**problem, "loc": (where, *problem["loc"])} for problem in problems]) from error
