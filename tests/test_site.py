"""The site of the documents builds without a warning, needs no other host, and has the whole reference."""

import html
import inspect
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
from fastapi.routing import iter_route_contexts

import training
from docs_site.reference import pages
from service.app import create_app
from service.artifact.card import CardPart, ModelCard
from service.charts.chart import Chart
from service.settings import Settings
from tests.server import ROOT
from training.command_line import flag_of
from training.explanation import Explanation
from training.options import CommandLine, Options
from training.result import Result


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the site, and return its folder. A warning, such as a dead link or anchor, ends the build."""
    folder = tmp_path_factory.mktemp("site")
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    outcome = subprocess.run(build, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)
    printed = (outcome.stdout + outcome.stderr).splitlines()
    assert [line for line in printed if not line.startswith("INFO")] == []
    assert outcome.returncode == 0
    return folder


def test_the_pages_of_the_reference_are_current() -> None:
    """They are what the source says; `python -m docs_site` writes them."""
    for name, text in pages().items():
        assert (ROOT / "docs" / name).read_text() == text, f"docs/{name}: expected what `python -m docs_site` writes"


def test_every_link_leads_to_a_file_of_the_project() -> None:
    """People read the documents on a web page or in an editor, without the site, too."""
    documents = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "artifacts" / "README.md"]
    dead = [
        f"{path.relative_to(ROOT)}: {link}"
        for path in documents
        for link in re.findall(r"\]\(([^)\s:#]+)(?:#[^)\s]*)?\)", path.read_text())
        if not (path.parent / link).exists()
    ]
    assert len(documents) > 20
    assert dead == []


def test_the_search_finds_the_parts_of_names(site: Path) -> None:
    """Words of the search end at full stops and hyphens; numbers stay whole."""
    separator = json.loads((site / "search" / "search_index.json").read_text())["config"]["separator"]
    found = [re.split(separator, name) for name in ("card.baseline", "max-queue", "0.47")]
    assert found == [["card", "baseline"], ["max", "queue"], ["0.47"]]


def test_every_document_is_a_page(site: Path) -> None:
    """The site has all documents: those in docs/, and README, the artifact, the changes and the rules outside it."""
    documents = {path.stem for path in (ROOT / "docs").glob("*.md")}
    assert documents | {"index", "artifact", "changelog", "contributing", "security"} <= {
        path.stem for path in site.rglob("*.html")
    }


def test_the_site_loads_nothing_from_other_hosts(site: Path) -> None:
    """Scripts, styles, fonts and pictures are files of the site."""
    for page in site.rglob("*.html"):
        loaded = re.findall(r"<(?:script|img|source|iframe)[^>]*\ssrc=\"?([^\s\">]+)", page.read_text())
        loaded += re.findall(r"<link[^>]*rel=\"?(?:stylesheet|icon|preconnect)\"?[^>]*>", page.read_text())
        assert loaded
        assert [one for one in loaded if re.search(r"(?:https?:)?//", one)] == []


def words(page: Path) -> set[str]:
    """Return the pieces of code and the headings of a page."""
    found = re.findall(r"<(?:code|h[1-6])[^>]*>(.*?)<(?:/code|a |/h)", page.read_text(), re.DOTALL)
    return {html.unescape(re.sub(r"<[^>]*>", "", one)).strip() for one in found}


def test_every_route_is_in_the_reference(site: Path, artifacts: Path) -> None:
    """Each has its method and path as a heading, and routes for browsers have a line."""
    reference = words(site / "http.html")
    app = create_app(Settings(artifacts=artifacts, model="after-lstm"))
    assert app.openapi()["paths"]
    for path, operations in app.openapi()["paths"].items():
        assert {f"{method.upper()} {path}" for method in operations} <= reference
    assert {route.path for route in iter_route_contexts(app.routes) if not route.include_in_schema} <= reference


def test_every_setting_and_option_is_in_the_reference(site: Path) -> None:
    """The tables have all flags of the service, and those of each command of training."""
    assert {flag_of(name) for name in Settings.model_fields} <= words(site / "settings.html")
    options = words(site / "options.html")
    commands = CommandLine.__subclasses__()
    assert Options in commands
    for command in commands:
        assert command.program in options
        given = {name.upper() if name in command.positional else flag_of(name) for name in command.model_fields}
        assert given <= options


def test_every_field_of_the_card_is_in_the_reference(site: Path) -> None:
    """Each part of the card has a heading, and each field a line with its description."""
    found = words(site / "card.html")
    text = html.unescape(re.sub(r"<[^>]*>", "", (site / "card.html").read_text()))
    schema = ModelCard.model_json_schema()
    for name, part in {"Card": schema, **schema["$defs"]}.items():
        fields = part.get("properties", {})
        assert {name, *fields} <= found
        for field in fields.values():
            assert " ".join(field.get("description", "").replace("`", "").split()) in text


def test_every_public_function_is_in_the_reference(site: Path) -> None:
    """The library has all that `training` offers, `create_app`, and all methods of the classes that they return."""
    page = (site / "library.html").read_text()
    own = dict(inspect.getmembers(training, inspect.isfunction))
    functions = [one for name, one in own.items() if one.__module__ == "training" and not name.startswith("_")]
    assert {"train", "publish", "load"} <= {one.__name__ for one in functions}
    ids, seen = {"training.TrainingError"}, set[type]()
    left: list[Any] = [*functions, create_app]
    while left:
        function = left.pop()
        ids.add(f"{function.__module__}.{function.__qualname__}")
        for kind in returned(function) - seen:
            seen.add(kind)
            ids |= {f"{kind.__module__}.{kind.__name__}.{name}" for name in vars(kind) if not name.startswith("_")}
            left += [one for name, one in inspect.getmembers(kind, inspect.isfunction) if not name.startswith("_")]
    assert {Result, Explanation, Chart} <= seen
    assert [one for one in sorted(ids) if f'id="{one}"' not in page] == []


def returned(function: Callable[..., Any]) -> set[type]:
    """Return the classes of the project that a function returns; the parts of the card have a page of their own."""
    annotation = function.__annotations__.get("return")
    kind = Result if annotation == "Result" else annotation  # `training` imports it when it is used
    kinds = {kind, *get_args(kind)}
    return {
        one
        for one in kinds
        if isinstance(one, type)
        and one.__module__.split(".")[0] in ("training", "service")
        and not issubclass(one, CardPart)
    }
