"""The wheel, installed with the base dependencies into an empty environment."""

import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

from tests.server import ROOT, free_port, get, post, running, serving, wait_until_ready

UV = [sys.executable, "-m", "uv"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this tree, built by the locked versions of the build system."""
    folder = tmp_path_factory.mktemp("dist")
    build = [*UV, "build", "--quiet", "--wheel", "--no-build-isolation", "--python", sys.executable]
    subprocess.run([*build, "--out-dir", str(folder), str(ROOT)], check=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def scripts(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the commands of an environment that holds the wheel and its base dependencies only."""
    environment = tmp_path_factory.mktemp("installed") / "venv"
    scripts = environment / "bin"
    subprocess.run([*UV, "venv", "--quiet", "--python", sys.executable, str(environment)], check=True)
    install = [*UV, "pip", "install", "--quiet", "--python", str(scripts / "python")]
    subprocess.run([*install, "--constraint", str(ROOT / "requirements.lock"), str(wheel)], check=True)
    return scripts


def run(scripts: Path, command: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a command of the environment, outside the source tree."""
    return subprocess.run(
        [str(scripts / command), *arguments], cwd=cwd, capture_output=True, text=True, timeout=120, check=False
    )


def test_the_wheel_holds_every_file_of_the_packages(wheel: Path) -> None:
    """The page's files and `py.typed` too."""
    names = set(ZipFile(wheel).namelist())
    expected = {
        str(path.relative_to(ROOT))
        for package in ("service", "training")
        for path in (ROOT / package).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert {"service/py.typed", "training/py.typed", "service/api/page/index.html"} <= expected
    assert {name for name in names if ".dist-info/" not in name} == expected


@pytest.mark.parametrize("command", ["attention-service", "attention-training"])
def test_both_commands_print_the_version_of_the_wheel(wheel: Path, scripts: Path, tmp_path: Path, command: str) -> None:
    """The version is that of the package metadata."""
    outcome = run(scripts, command, "--version", cwd=tmp_path)
    assert (outcome.returncode, outcome.stdout) == (0, f"{command} {wheel.name.split('-')[1]}\n"), outcome.stderr


@pytest.mark.parametrize("command", ["attention-service", "attention-training"])
def test_both_commands_print_help(scripts: Path, tmp_path: Path, command: str) -> None:
    """Training's help does not import the packages that training needs."""
    outcome = run(scripts, command, "--help", cwd=tmp_path)
    assert (outcome.returncode, outcome.stderr) == (0, "")
    assert "--artifacts" in outcome.stdout


def test_training_names_the_extra_to_install(scripts: Path, tmp_path: Path) -> None:
    """One line instead of a traceback."""
    outcome = run(scripts, "attention-training", "--sequences", "100", "--publish-anyway", cwd=tmp_path)
    assert outcome.returncode == 1
    assert outcome.stderr.endswith(": pip install '.[training]' in the copy of the repository\n"), outcome.stderr
    assert len(outcome.stderr.splitlines()) == 1


def test_scoring_names_the_extra_to_install(scripts: Path, tmp_path: Path) -> None:
    """One line instead of a traceback; its help needs no extra."""
    assert run(scripts, "attention-service", "score", "--help", cwd=tmp_path).returncode == 0
    outcome = run(scripts, "attention-service", "score", "in.csv", "out", "--model", "any", cwd=tmp_path)
    assert outcome.returncode == 1
    assert outcome.stderr.endswith(": pip install '.[bulk]' in the copy of the repository\n"), outcome.stderr
    assert len(outcome.stderr.splitlines()) == 1


def test_the_base_dependencies_serve_like_tensorflow(artifacts: Path, scripts: Path, tmp_path: Path) -> None:
    """TensorFlow is not installed, and the answers are the same."""
    absent = run(scripts, "python", "-c", "import tensorflow", cwd=tmp_path)
    assert "ModuleNotFoundError" in absent.stderr
    arguments = ["--artifacts", str(artifacts), "--model", "after-lstm"]
    light = f"http://127.0.0.1:{free_port()}"
    command = [str(scripts / "attention-service"), *arguments, "--port", light.rpartition(":")[2]]
    with running(command, cwd=tmp_path) as process, serving(*arguments, "--engine", "tensorflow") as (heavy, _):
        wait_until_ready(light, process)
        assert get(f"{light}/").status_code == 200
        assert get(f"{light}/docs/swagger-ui.css").status_code == 200
        body = {"sequence": [[0.1, -0.2]] * 20}
        one, other = (post(f"{url}/predict", json=body).json()["predictions"][0] for url in (light, heavy))
    assert one["prediction"] == pytest.approx(other["prediction"], abs=1e-6)
    assert one["attention"] == pytest.approx(other["attention"], abs=1e-6)
