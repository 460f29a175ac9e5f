"""README's commands and code, and then those of the documents that go on from it, run as written in a fresh copy."""

import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from service.artifact.version import Artifact
from tests.server import ROOT, execute, free_port, running, wait_until_ready

#: The documents whose blocks run one after the other, each with the models and services of those before it.
WALKED = (
    "README.md",
    "docs/tutorial.md",
    "docs/notebook.md",
    "docs/library.md",
    "docs/asking.md",
    "docs/attention.md",
    "docs/versions.md",
    "docs/real-data.md",
    "docs/benchmarks.md",
)
#: Other documents with code, and the tests of their blocks.
TESTED = {
    "docs/explaining.md": "test_explaining_doc.py",
    "docs/importing.md": "test_importing_doc.py",
    "docs/monitoring.md": "test_deploy.py",
    "docs/operations.md": "test_operations_doc.py",
    "docs/protocols.md": "test_protocols_doc.py",
    "docs/training.md": "test_training_doc.py",
}
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INSTALLING = "python3 -m venv .venv\n. .venv/bin/activate\npip install '.[training]'\n"
#: Commands that this test skips: this test itself, those of other tests (wheel, benchmark), and those of a container
#: engine, which the tests do without.
ELSEWHERE = {"make test\n", "make bench\n", INSTALLING, "docker compose up\n"}
PORTS = ("8000", "8001", "8002")


@dataclass(frozen=True)
class Walk:
    """The result of running the documents from top to bottom.

    Attributes:
        project: the copy of the project.
        answers: each answer that the documents show, with the one that came.
    """

    project: Path
    answers: list[tuple[str, str]]


def blocks(document: str) -> list[tuple[str, str]]:
    """Return the language and the code of each block of a document."""
    return BLOCK.findall((ROOT / document).read_text())


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Walk]:
    """Run every block in a copy without artifacts. Only the ports are changed, to free ones."""
    project = tmp_path_factory.mktemp("readme") / "project"
    left_out = shutil.ignore_patterns(".*_cache", ".git", ".hypothesis", ".venv", "__pycache__", "site")
    shutil.copytree(ROOT, project, ignore=left_out)
    for trained in (path for path in (project / "artifacts").iterdir() if path.is_dir()):
        shutil.rmtree(trained)
    (project / ".venv").symlink_to(ROOT / ".venv")
    ports = {port: str(free_port()) for port in PORTS}
    answers: list[tuple[str, str]] = []
    scripts = Path(sys.executable).parent
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{scripts}{os.pathsep}{os.environ['PATH']}")
        patch.setenv("PYTHONPATH", str(project))
        patch.setenv("MPLBACKEND", "agg")
        previous = ""
        for language, block in (one for document in WALKED for one in blocks(document)):
            code = re.sub("|".join(PORTS), lambda match: ports[match[0]], block)
            match language:
                case "json":
                    answers.append((block, previous))
                case "python":
                    previous = execute([sys.executable, "-c", code], project)
                case "js":
                    previous = execute([str(scripts / "node"), "--input-type=module", "--eval", code], project)
                case "sh" if (port := serves(block)) is not None:
                    env = {**os.environ, "SERVICE_PORT": ports[port]}
                    process = stack.enter_context(running(["bash", "-euc", code], cwd=project, env=env))
                    wait_until_ready(f"http://127.0.0.1:{ports[port]}", process, timeout=300)
                case "sh" if block not in ELSEWHERE:
                    previous = execute(["bash", "-euc", code], project)
        yield Walk(project, answers)


def serves(block: str) -> str | None:
    """Return the port of a block that starts the service; None for other blocks."""
    if block == "make serve\n":
        return "8000"
    if block.startswith("attention-service "):
        return block.split("--port ")[1].strip()
    return None


def test_every_block_is_run_by_a_test() -> None:
    """A document with code is walked here, or has a test of its own."""
    documents = {"README.md", *(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))}
    languages = {"sh", "python", "js", "json", "promql"}
    with_code = {one for one in documents if languages & {language for language, _ in blocks(one)}}
    assert with_code <= {*WALKED, *TESTED}
    for document, test in TESTED.items():
        assert document in (ROOT / "tests" / test).read_text()


def test_readme_is_short() -> None:
    """It is a beginning: everything else is in the documents."""
    assert len((ROOT / "README.md").read_text().splitlines()) < 150


def test_the_answers_are_those_shown(walk: Walk) -> None:
    """Fields and strings are equal; numbers may differ, because other processors round differently."""
    assert walk.answers
    for shown, answered in walk.answers:
        assert_alike(json.loads(shown), json.loads(answered))


def assert_alike(shown: object, answered: object) -> None:
    if isinstance(shown, dict) and isinstance(answered, dict):
        assert list(shown) == list(answered)
        for key, value in shown.items():
            assert_alike(value, answered[key])
    elif isinstance(shown, list) and isinstance(answered, list):
        assert len(shown) == len(answered)
        for one, other in zip(shown, answered, strict=True):
            assert_alike(one, other)
    elif isinstance(shown, float):
        assert answered == pytest.approx(shown, abs=0.05)
    else:
        assert answered == shown


def test_the_default_model_is_the_original_one(walk: Walk) -> None:
    """The model from `make serve` has the original recipe's accuracy, peak and size; attention sums to 1."""
    card = Artifact(walk.project / "artifacts" / "after-lstm" / "1").read().card()
    assert card.metrics["accuracy"] >= 0.999
    assert card.attention is not None
    assert card.attention.peak == 10
    assert card.attention.sum_error <= 1e-5
    assert card.training is not None
    assert card.training.parameters == 5541
    assert card.training.sequences == 270_000


def test_the_electricity_model_is_as_good_as_it_should_be(walk: Walk) -> None:
    """The accuracy over all 1,029 test days is high. The document's code compares the service with this number."""
    card = Artifact(walk.project / "artifacts" / "italy-power" / "1").read().card()
    assert card.attention is not None
    assert card.attention.sequences == 1029
    assert card.metrics["accuracy"] >= 0.94


def test_the_model_of_a_table_finds_the_deciding_day(walk: Walk) -> None:
    """Importance is on day 6, which decides whether a pump fails."""
    card = Artifact(walk.project / "artifacts" / "pumps" / "1").read().card()
    assert card.target.classes == ("fails", "fine")
    assert card.metrics["accuracy"] > 0.95
    assert card.agreement is not None
    assert card.timestep_labels[card.agreement.top[0]] == "6"


def test_the_model_of_arrays_finds_the_deciding_month(walk: Walk) -> None:
    """The model learns the example's classes, which the seventh month decides."""
    card = Artifact(walk.project / "artifacts" / "weather" / "1").read().card()
    assert card.target.classes == ("cold", "warm")
    assert card.metrics["accuracy"] > 0.95


def test_the_charts_are_made(walk: Walk) -> None:
    """The commands write pictures."""
    assert (walk.project / "attention.svg").read_bytes().startswith(b"<svg")
    for name in ("pumps.png", "pump-p201.png", "pumps-attention.png"):
        assert (walk.project / name).read_bytes().startswith(b"\x89PNG")
