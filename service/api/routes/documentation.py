"""`/openapi.json`, and `/docs`: Swagger UI from the package `fastapi-swagger`, so that it needs no other host.

FastAPI would add these routes ahead of all others, and would try each of them for every request.
"""

from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import RedirectResponse

from service.api.prefix import root_path
from service.api.routes.page import INDEX, Asset, Known

router = APIRouter(include_in_schema=False)

FOLDER: Final = Path(__file__).parent.parent / "documentation"


@cache
def assets() -> dict[str, Asset]:
    """Return the page of the documentation and the files that it loads, by name."""
    swagger = files("fastapi_swagger.resources")
    found = [*FOLDER.iterdir(), swagger / "swagger-ui-bundle.js", swagger / "swagger-ui.css"]
    return {file.name: Asset.of(file.read_bytes(), Path(file.name).suffix) for file in found}


@router.get("/openapi.json")
async def openapi(request: Request) -> dict[str, Any]:
    """Return the OpenAPI document, with the prefix that a proxy puts before all paths."""
    document: dict[str, Any] = request.app.openapi()
    return {**document, "servers": [{"url": root_path(request) or "/"}]}


@router.get("/docs")
async def docs(known: Known = None) -> Response:
    """Answers the page of the documentation."""
    return assets()[INDEX].answer(known)


@router.get("/docs/{name}")
async def asset(name: str, known: Known = None) -> Response:
    """Answers a file of the documentation."""
    found = assets().get(name)
    if found is None or name == INDEX:  # its links are relative to /docs
        raise HTTPException(404)
    return found.answer(known)


@router.get("/redoc")
async def redoc() -> Response:
    """Leads to the documentation, which had this address, too."""
    return RedirectResponse("docs")
