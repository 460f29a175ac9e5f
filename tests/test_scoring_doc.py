"""docs/scoring.md names every option of the program, and no other."""

import re
import subprocess
import sys

from tests.server import ROOT


def test_the_document_has_every_option() -> None:
    """The table of options has those of the help."""
    help_text = subprocess.run(
        [sys.executable, "-m", "service", "score", "--help"], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout
    table = (ROOT / "docs/scoring.md").read_text().partition("## Options")[2]
    documented = set(re.findall(r"^\| `(--[\w-]+)", table, re.MULTILINE))
    assert documented == set(re.findall(r"(?<![\w-])--[a-z-]+", help_text.partition("options:")[2])) - {"--help"}
