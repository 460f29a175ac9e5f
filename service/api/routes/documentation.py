"""`/openapi.json`, `/docs` and `/redoc`: FastAPI's documentation.

FastAPI would add these routes ahead of all others, and would try each of them for every request.
"""

from typing import Any, Final

from fastapi import APIRouter, Request, Response
from fastapi.openapi.docs import get_redoc_html, get_swagger_ui_html

router = APIRouter(include_in_schema=False)

OPENAPI: Final = "/openapi.json"


@router.get(OPENAPI)
async def openapi(request: Request) -> dict[str, Any]:
    """Return the OpenAPI document."""
    document: dict[str, Any] = request.app.openapi()
    return document


@router.get("/docs")
async def swagger(request: Request) -> Response:
    """Return the page of Swagger UI."""
    return get_swagger_ui_html(openapi_url=OPENAPI, title=request.app.title)


@router.get("/redoc")
async def redoc(request: Request) -> Response:
    """Return the page of Redoc."""
    return get_redoc_html(openapi_url=OPENAPI, title=request.app.title)
