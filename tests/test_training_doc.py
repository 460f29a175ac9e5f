"""The code and commands of docs/training.md run as written, and its options exist."""

import json
import re
import sys
from pathlib import Path

import pytest

from service.app import create_app
from service.artifact.version import Artifact
from service.settings import Settings
from tests.conftest import connect
from tests.server import ROOT, execute
from training.command_line import flag_of
from training.models import ARCHITECTURES
from training.options import Compare, Options

DOC = (ROOT / "docs/training.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", DOC, re.MULTILINE | re.DOTALL)
#: Options of other programs.
FOREIGN = {"--help", "--logdir"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run every block in a folder, and return the folder."""
    folder = tmp_path_factory.mktemp("training")
    path = f"export PYTHONPATH={ROOT} PATH={Path(sys.executable).parent}:$PATH\n"
    for language, block in BLOCKS:
        if language == "python":
            execute([sys.executable, "-c", block], folder)
        elif language == "sh":
            execute(["bash", "-euc", path + block], folder)
    return folder


def test_the_example_becomes_a_model(folder: Path) -> None:
    """The model takes different lengths and missing values, and its card has the table's names."""
    card = Artifact(folder / "artifacts/visits/1").read().card()
    assert (card.variable_length, card.missing_values, card.timesteps) == (True, True, 8)
    assert card.feature_labels == ("pulse", "temperature")
    assert card.target.classes == ("readmitted", "well")
    assert card.metrics["accuracy"] > 0.9


def test_the_example_is_continued(folder: Path) -> None:
    """The next version says what it continued, and is as good."""
    card = Artifact(folder / "artifacts/visits/2").read().card()
    assert card.training is not None
    assert card.training.continued_from == "visits/1"
    assert card.metrics["accuracy"] > 0.9


@pytest.mark.anyio
async def test_the_example_is_served(folder: Path) -> None:
    """The example request gets the right labels, and attention as long as each sequence."""
    request = next(json.loads(block) for language, block in BLOCKS if language == "json")
    app = create_app(Settings(artifacts=folder / "artifacts", model="visits"))
    async with app.router.lifespan_context(app), connect(app) as client:
        answer = (await client.post("/predict", json=request)).json()
    assert [one["label"] for one in answer["predictions"]] == ["readmitted", "well"]
    assert [len(one["attention"]) for one in answer["predictions"]] == [3, 1]


def test_every_option_named_exists() -> None:
    """All options in the document exist, and every architecture has its line."""
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", DOC)) - FOREIGN
    assert named <= {flag_of(name) for name in (*Options.model_fields, *Compare.model_fields)}
    for architecture in ARCHITECTURES:
        assert f"| `{architecture}` |" in DOC
