"""`GET /`: the page, for browsers; and KServe's sign of life, for everyone else."""

import hashlib
from functools import cache
from pathlib import Path
from typing import Annotated, Final, Literal, NamedTuple

import mimeparse
from fastapi import APIRouter, Header, HTTPException, Response
from pydantic import BaseModel, Field

from service.api.request_body import JSON

router = APIRouter()

FOLDER: Final = Path(__file__).parent.parent / "page"
INDEX: Final = "index.html"
HTML: Final = "text/html"
MEDIA_TYPES: Final = {
    ".html": HTML + "; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
#: The page is its own files and asks its own service: nothing from elsewhere, nothing inline, in nobody's frame.
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class Alive(BaseModel):
    """The process answers."""

    status: Literal["alive"] = Field("alive", description="Always `alive`.")


class Asset(NamedTuple):
    """A file of the page.

    Attributes:
        content: its bytes.
        headers: what is said with it, its entity tag among others.
    """

    content: bytes
    headers: dict[str, str]

    @classmethod
    def of(cls, file: Path) -> "Asset":
        """What is in a file."""
        content = file.read_bytes()
        headers = {
            "Content-Type": MEDIA_TYPES[file.suffix],
            # Files import each other by name: each is asked for again, and sent again if it is another.
            "Cache-Control": "no-cache",
            "ETag": f'"{hashlib.sha256(content).hexdigest()[:32]}"',
            "Content-Security-Policy": POLICY,
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
        }
        return cls(content, headers)

    def answer(self, known: str | None) -> Response:
        """The file, unless it is what the client has already.

        Args:
            known: `If-None-Match`.
        """
        tags = {tag.strip().removeprefix("W/") for tag in (known or "").split(",")}
        if self.headers["ETag"] in tags or "*" in tags:
            headers = {name: value for name, value in self.headers.items() if name != "Content-Type"}
            return Response(status_code=304, headers=headers)
        return Response(self.content, headers=self.headers)


@cache
def assets() -> dict[str, Asset]:
    """The page's files by name: what is not among them cannot be asked for."""
    return {file.name: Asset.of(file) for file in sorted(FOLDER.iterdir()) if file.suffix in MEDIA_TYPES}


Known = Annotated[str | None, Header(alias="If-None-Match", description="Entity tags of what the client has already.")]


@router.get(
    "/",
    summary="The page; KServe: is the process alive?",
    tags=["operations", "KServe V1"],
    response_model=Alive,
    responses={
        200: {"content": {HTML: {"schema": {"type": "string"}}}},
        304: {"description": "The page is what the client has already."},
    },
)
async def root(
    response: Response,
    known: Known = None,
    accept: Annotated[str, Header(description=f"`{HTML}` for the page.", examples=[HTML])] = JSON,
) -> Alive | Response:
    """The page to whoever wants HTML; else a sign of life, as long as there is any."""
    try:
        wants_page = mimeparse.best_match([HTML, JSON], accept.lower() or "*/*") == HTML  # of equals, the last
    except mimeparse.MimeTypeParseException:
        wants_page = False
    answer = assets()[INDEX].answer(known) if wants_page else response
    answer.headers["Vary"] = "Accept"
    return answer if wants_page else Alive()


@router.get("/page/{name}", include_in_schema=False)
async def asset(name: str, known: Known = None) -> Response:
    """A file that the page consists of."""
    found = assets().get(name)
    if found is None or name == INDEX:  # whose addresses are relative to /
        raise HTTPException(404)
    return found.answer(known)
