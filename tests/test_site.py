"""The site of the documents builds without a warning, and needs no other host."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.server import ROOT


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the site, and return its folder. A warning, such as a dead link or anchor, ends the build."""
    folder = tmp_path_factory.mktemp("site")
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    outcome = subprocess.run(build, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)
    printed = (outcome.stdout + outcome.stderr).splitlines()
    assert [line for line in printed if not line.startswith("INFO")] == []
    assert outcome.returncode == 0
    return folder


def test_every_document_is_a_page(site: Path) -> None:
    """The site has all documents: those in docs/, and README, the artifact, the changes and the rules outside it."""
    pages = {path.stem for path in (ROOT / "docs").glob("*.md")}
    assert pages | {"index", "artifact", "changelog", "contributing", "security"} <= {
        path.stem for path in site.rglob("*.html")
    }


def test_the_site_loads_nothing_from_other_hosts(site: Path) -> None:
    """Scripts, styles, fonts and pictures are files of the site."""
    for page in site.rglob("*.html"):
        loaded = re.findall(r"<(?:script|img|source|iframe)[^>]*\ssrc=\"?([^\s\">]+)", page.read_text())
        loaded += re.findall(r"<link[^>]*rel=\"?(?:stylesheet|icon|preconnect)\"?[^>]*>", page.read_text())
        assert loaded
        assert [one for one in loaded if re.search(r"(?:https?:)?//", one)] == []
