"""docs/architecture.md names the files of the project."""

import ast
import re

from tests.server import ROOT

DOC = (ROOT / "docs/architecture.md").read_text()
#: Each folder's heading, and the text below it up to the next heading.
FOLDERS = re.findall(r"^### `(\S+)`\n(.*?)(?=^#|\Z)", DOC, re.MULTILINE | re.DOTALL)
LISTED = {folder + file for folder, text in FOLDERS for file in re.findall(r"^\| `([^`]+)` \|", text, re.MULTILINE)}


def test_every_source_file_is_listed() -> None:
    """The tables have every Python file of service/ and training/, except an `__init__.py` without code."""
    sources = {path for package in ("service", "training") for path in (ROOT / package).rglob("*.py")}
    with_code = {path for path in sources if path.name != "__init__.py" or len(ast.parse(path.read_text()).body) > 1}
    assert {path.relative_to(ROOT).as_posix() for path in with_code} <= LISTED


def test_every_file_in_the_document_exists() -> None:
    """All paths exist, those in the tables and those in the text."""
    in_text = set(re.findall(r"`((?:service|training|tests|benchmarks|deploy|docs|artifacts)/[\w./]*)`", DOC))
    assert len(in_text) > 20
    assert [path for path in sorted(LISTED | in_text) if not (ROOT / path).exists()] == []
