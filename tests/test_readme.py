"""README's commands and code run as written, in order, in a fresh copy of the project."""

import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydantic import BaseModel

from service.artifact.version import Artifact
from service.settings import Settings
from tests.server import ROOT, execute, free_port, running, wait_until_ready
from training.command_line import flag_of
from training.options import Options

README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
#: Commands that this test skips: this test itself, the benchmark, and the one that needs a container engine.
ELSEWHERE = {"make test\n", "make bench\n", "docker compose up\n"}
PORTS = ("8000", "8001")


@dataclass(frozen=True)
class Walk:
    """The result of running README from top to bottom.

    Attributes:
        project: the copy of the project.
        answers: each answer that README shows, with the one that came.
    """

    project: Path
    answers: list[tuple[str, str]]


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Walk]:
    """Run every block in a copy without artifacts. Only the ports are changed, to free ones."""
    project = tmp_path_factory.mktemp("readme") / "project"
    left_out = shutil.ignore_patterns(".*_cache", ".git", ".hypothesis", ".venv", "__pycache__")
    shutil.copytree(ROOT, project, ignore=left_out)
    for trained in (path for path in (project / "artifacts").iterdir() if path.is_dir()):
        shutil.rmtree(trained)
    (project / ".venv").symlink_to(ROOT / ".venv")
    ports = {port: str(free_port()) for port in PORTS}
    answers: list[tuple[str, str]] = []
    with ExitStack() as servers:
        previous = ""
        for language, block in BLOCKS:
            code = re.sub("|".join(PORTS), lambda match: ports[match[0]], block)
            if language == "json":
                answers.append((block, previous))
            elif language == "python":
                previous = execute([str(project / ".venv/bin/python"), "-c", code], project)
            elif block in ELSEWHERE:
                continue
            elif (port := serves(block)) is not None:
                env = {**os.environ, "SERVICE_PORT": ports[port]}
                process = servers.enter_context(running(["bash", "-euc", code], cwd=project, env=env))
                wait_until_ready(f"http://127.0.0.1:{ports[port]}", process, timeout=300)
            else:
                previous = execute(["bash", "-euc", code], project)
        yield Walk(project, answers)


def serves(block: str) -> str | None:
    """Return the port of a block that starts the service; None for other blocks."""
    if block == "make serve\n":
        return "8000"
    if "-m service" in block:
        return block.split("--port ")[1].strip()
    return None


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
    """The accuracy over all 1,029 test days is high. README's code compares the service with this number."""
    card = Artifact(walk.project / "artifacts" / "italy-power" / "1").read().card()
    assert card.attention is not None
    assert card.attention.sequences == 1029
    assert card.metrics["accuracy"] >= 0.94


def test_the_model_of_own_data_finds_the_deciding_month(walk: Walk) -> None:
    """The model learns the example's classes, which the seventh month decides."""
    card = Artifact(walk.project / "artifacts" / "weather" / "1").read().card()
    assert card.target.classes == ("cold", "warm")
    assert card.metrics["accuracy"] > 0.95


def test_the_chart_is_downloaded(walk: Walk) -> None:
    """README's command writes an SVG."""
    assert (walk.project / "attention.svg").read_bytes().startswith(b"<svg")


def table(model: type[BaseModel]) -> str:
    """Return README's table of settings, generated from their declaration."""
    lines = ["| flag | default | |", "|---|---|---|"]
    for name, field in model.model_fields.items():
        default = "" if field.default in (None, "") else f"`{field.default}`"
        lines.append(f"| `{flag_of(name)}` | {default} | {field.description} |")
    return "\n".join(lines)


@pytest.mark.parametrize("declaration", [Settings, Options])
def test_every_setting_is_in_readme(declaration: type[BaseModel]) -> None:
    """README has the generated tables, word for word."""
    assert table(declaration) in README
