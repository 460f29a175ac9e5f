"""The routes that serve the page, the documentation, and their files."""

import re
from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI

from service.api.counters import Counters
from service.api.observing import Observing
from service.api.routes import documentation, page
from tests.conftest import connect
from tests.server import ROOT

pytestmark = pytest.mark.anyio

FOLDER = ROOT / "service" / "api" / "page"
FILES = sorted(file.name for file in FOLDER.iterdir())
DOCUMENTATION = ROOT / "service" / "api" / "documentation"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    """A client of an app that serves only the page and the documentation."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    app.include_router(page.router)
    app.include_router(documentation.router)
    app.add_middleware(Observing, counters=Counters(), log=None, most_body=0, traced=False)
    async with connect(app) as client:
        yield client


@pytest.mark.parametrize("accept", [BROWSER, "text/html", "TEXT/HTML", "text/*", "application/json;q=0.5, text/html"])
async def test_accept_html_returns_the_page(client: httpx.AsyncClient, accept: str) -> None:
    """Its headers let it load only files of its own origin."""
    response = await client.get("/", headers={"Accept": accept})
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    assert response.headers["Vary"] == "Accept, Accept-Encoding, Accept-Language"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Referrer-Policy"] == "no-referrer"
    assert response.headers["Content-Security-Policy"] == POLICY
    assert "<h1>" in response.text


@pytest.mark.parametrize("accept", ["*/*", "application/json", "", "image/png", "nonsense", "text/html;q=0.1, */*"])
async def test_other_accept_headers_return_a_status(client: httpx.AsyncClient, accept: str) -> None:
    """KServe's clients and curl expect it."""
    response = await client.get("/", headers={"Accept": accept})
    assert (response.status_code, response.json()) == (200, {"status": "alive"})
    assert response.headers["Vary"] == "Accept, Accept-Encoding, Accept-Language"


@pytest.mark.parametrize(
    ("query", "header", "language"),
    [
        ("", "ko-KR,ko;q=0.9,en;q=0.8", "ko"),
        ("", "fr", "en"),
        ("?language=ko", "en", "ko"),
        ("?language=xx", "ko", "en"),
    ],
)
async def test_the_page_is_in_a_language_of_the_client(
    client: httpx.AsyncClient, query: str, header: str, language: str
) -> None:
    """An address can name another one. Each has an entity tag of its own, and no name of a text is left."""
    headers = {"Accept": "text/html", "Accept-Language": header}
    response = await client.get(f"/{query}", headers=headers)
    assert f'<html lang="{language}">' in response.text
    assert not re.search(r"\{[\w.]+\}", response.text)
    again = {**headers, "If-None-Match": response.headers["ETag"]}
    assert (await client.get(f"/{query}", headers=again)).status_code == 304
    other = "en" if language == "ko" else "ko"
    assert (await client.get(f"/?language={other}", headers=again)).status_code == 200


@pytest.mark.parametrize("name", [name for name in FILES if name != "index.html"])
async def test_files_have_a_type_and_an_entity_tag(client: httpx.AsyncClient, name: str) -> None:
    """A client that has the current file gets 304."""
    types = {"css": "text/css", "js": "text/javascript", "json": "application/json", "svg": "image/svg+xml"}
    response = await client.get(f"/page/{name}")
    assert response.status_code == 200
    assert response.headers["Content-Type"].partition(";")[0] == types[name.rpartition(".")[2]]
    assert response.headers["Cache-Control"] == "no-cache"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.content == (FOLDER / name).read_bytes()
    tag = response.headers["ETag"]
    for known in (tag, f'"other", {tag}', tag.removeprefix("W/"), "*"):
        again = await client.get(f"/page/{name}", headers={"If-None-Match": known})
        assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", tag)
    assert (await client.get(f"/page/{name}", headers={"If-None-Match": '"other"'})).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "page/",
        "page",
        "page/index.html",
        "page/none.js",
        "page/..%2f__init__.py",
        "page/%2e%2e/__init__.py",
        "page/a/b",
        "docs/index.html",
        "docs/none.js",
    ],
)
async def test_other_paths_are_not_found(client: httpx.AsyncClient, path: str) -> None:
    """Neither the index by its own name nor files outside the folder are served."""
    assert (await client.get(f"/{path}")).status_code == 404


@pytest.mark.parametrize("name", ["", "/start.js", "/swagger-ui-bundle.js", "/swagger-ui.css"])
async def test_the_documentation_and_its_files_obey_the_policy(client: httpx.AsyncClient, name: str) -> None:
    """They come from the installed packages; browsers check each for changes and show none in a frame."""
    response = await client.get(f"/docs{name}")
    assert (response.status_code, response.headers["Cache-Control"]) == (200, "no-cache")
    assert response.headers["Content-Security-Policy"] == POLICY
    known = {"If-None-Match": response.headers["ETag"]}
    assert (await client.get(f"/docs{name}", headers=known)).status_code == 304


async def test_the_address_of_redoc_leads_to_the_documentation(client: httpx.AsyncClient) -> None:
    """The new address is relative, so that a prefix stays."""
    response = await client.get("/redoc")
    assert (response.status_code, response.headers["Location"]) == (307, "docs")


def test_the_page_names_no_other_host_and_has_nothing_inline() -> None:
    """Addresses are relative, so that a proxy can put a prefix before them."""
    for file in [*FOLDER.iterdir(), *DOCUMENTATION.iterdir()]:
        content = file.read_text().replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?:|//\w+\.\w|innerHTML|\bstyle=|\bon\w+=", content), file
    for folder in (FOLDER, DOCUMENTATION):
        html = (folder / "index.html").read_text()
        assert re.findall(r'(?:src|href)="(?!page/|docs[/"]|openapi.json"|\?|#)', html) == []
        assert re.findall(r"<script(?![^>]*src=)|<style", html) == []
