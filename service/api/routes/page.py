"""`GET /`: the page for browsers, and KServe's liveness for other clients; `GET /page/…`: the files of the page."""

import hashlib
import html
import json
import re
from functools import cache, lru_cache
from pathlib import Path
from typing import Annotated, Final, Literal, NamedTuple

import mimeparse
from fastapi import APIRouter, Depends, Header, HTTPException, Query, Request, Response
from pydantic import BaseModel, Field

from service.api.languages import preferred
from service.api.prefix import root_path
from service.api.request_body import JSON
from service.api.selection import Accepted

router = APIRouter()

FOLDER: Final = Path(__file__).parent.parent / "page"
INDEX: Final = "index.html"
HTML: Final = "text/html"
MEDIA_TYPES: Final = {
    ".html": HTML + "; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": JSON,
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
#: The page may load only its own files, send requests only to this service, and be shown in no frame.
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
        headers: the headers of its answers, such as its entity tag.
    """

    content: bytes
    headers: dict[str, str]

    @classmethod
    def of(cls, content: bytes, suffix: str, policy: str = POLICY) -> "Asset":
        """Return the asset of a file's content."""
        headers = {
            "Content-Type": MEDIA_TYPES[suffix],
            # Files import each other by name, so browsers must check each for changes.
            "Cache-Control": "no-cache",
            # It is weak, as a compressed copy of the file has the same.
            "ETag": f'W/"{hashlib.sha256(content).hexdigest()[:32]}"',
            "Vary": "Accept-Encoding",
            "Content-Security-Policy": policy,
        }
        return cls(content, headers)

    def answer(self, known: str | None) -> Response:
        """Return the file, or 304 if one of the entity tags in `If-None-Match` is the file's."""
        tags = {tag.strip().removeprefix("W/") for tag in (known or "").split(",")}
        if self.headers["ETag"].removeprefix("W/") in tags or "*" in tags:
            headers = {name: value for name, value in self.headers.items() if name != "Content-Type"}
            return Response(status_code=304, headers=headers)
        return Response(self.content, headers=self.headers)


@cache
def assets() -> dict[str, Asset]:
    """Return the files of the page by name."""
    files = (file for file in sorted(FOLDER.iterdir()) if file.suffix in MEDIA_TYPES)
    return {file.name: Asset.of(file.read_bytes(), file.suffix) for file in files}


@lru_cache(32)
def index(prefix: str, language: str) -> Asset:
    """Return the page below a path prefix, with the texts of a language in place of their names in braces.

    Its links are relative. With a prefix they need a base, as a proxy may serve the page without the final slash.
    """
    texts = json.loads(assets()[f"{language}.json"].content)
    page = re.sub(r"\{([\w.]+)\}", lambda name: html.escape(texts[name[1]]), assets()[INDEX].content.decode())
    if not prefix:
        return Asset.of(page.encode(), ".html")
    based = page.replace("<head>", f'<head>\n<base href="{prefix}/">', 1)
    return Asset.of(based.encode(), ".html", POLICY.replace("base-uri 'none'", "base-uri 'self'"))


Known = Annotated[
    str | None, Header(alias="If-None-Match", description="Entity tags of the copies that the client has.")
]


async def _language(
    language: Annotated[
        str,
        Query(
            description="Language of the page, `en` or `ko`; without it, `Accept-Language` decides.", examples=["ko"]
        ),
    ] = "",
    accept_language: Annotated[str, Header(include_in_schema=False)] = "",
) -> str:
    return preferred(language or accept_language)


#: The language of the page: that of the address, else that of the browser.
Language = Annotated[str, Depends(_language)]


@router.get(
    "/",
    name="get_root",
    summary="The page; KServe: is the process alive?",
    tags=["operations"],
    response_model=Alive,
    responses={
        200: {"content": {HTML: {"schema": {"type": "string"}}}},
        304: {"description": "The client has this page already."},
    },
)
async def root(
    request: Request,
    response: Response,
    accept: Accepted,
    language: Language,
    known: Known = None,
) -> Alive | Response:
    """Answers the page if the client prefers HTML, and otherwise 200 as long as the process runs."""
    try:
        wants_page = mimeparse.best_match([HTML, JSON], accept) == HTML  # the last of equals
    except mimeparse.MimeTypeParseException:
        wants_page = False
    answer = index(root_path(request), language).answer(known) if wants_page else response
    answer.headers["Vary"] = "Accept, Accept-Encoding, Accept-Language"
    return answer if wants_page else Alive()


@router.get("/page/{name}", include_in_schema=False)
async def asset(name: str, known: Known = None) -> Response:
    """Answers a file of the page."""
    found = assets().get(name)
    if found is None or name == INDEX:  # its links are relative to /
        raise HTTPException(404)
    return found.answer(known)
