"""The code and commands of docs/importing.md run as written, and its options exist."""

import re
import sys
from pathlib import Path

import pytest

from service.artifact.version import Artifact
from tests.server import ROOT, execute
from training.options import Import

DOC = (ROOT / "docs/importing.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", DOC, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run every block in a folder except the first, which has words in place of a model. Return the folder."""
    folder = tmp_path_factory.mktemp("importing")
    path = f"export PYTHONPATH={ROOT} PATH={Path(sys.executable).parent}:$PATH\n"
    for language, block in BLOCKS[1:]:
        if language == "python":
            execute([sys.executable, "-c", block], folder)
        elif language == "sh":
            execute(["bash", "-euc", path + block], folder)
    return folder


def test_the_example_becomes_a_version(folder: Path) -> None:
    """Attention is found in its layer, and the labels are the classes."""
    card = Artifact(folder / "artifacts/levels/1").read().card()
    assert [source.tensor for source in card.attention_from] == ["weights"]
    assert card.target.classes == ("high", "low")
    assert card.origin is not None
    assert card.origin.file == "levels.keras"


def test_its_options_exist() -> None:
    """Every flag in the text is one of the command."""
    flags = set(re.findall(r"--[a-z][a-z-]*", DOC))
    assert flags
    assert flags <= {f"--{name.replace('_', '-')}" for name in Import.model_fields}
