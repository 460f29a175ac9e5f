"""Shared fixtures and the kinds of slow tests."""

import hashlib
import os
import shutil
import sys
import sysconfig
from collections.abc import AsyncIterator, Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

# TensorFlow logs its search for GPUs as errors. Real errors are exceptions.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from filelock import FileLock
from hypothesis import settings

from service.app import create_app
from service.engines import EngineChoice
from service.settings import Settings
from tests.fakes import interceptable
from tests.server import ROOT

if TYPE_CHECKING:
    from training.result import Result

TESTS = Path(__file__).parent
#: Tests assert nothing about time: a busy machine is slow.
settings.register_profile("without deadline", deadline=None)
settings.load_profile("without deadline")

#: Slow tests by kind: patterns of files below tests/. Single tests of other files carry the marker of their kind; tests
#: on the TensorFlow engine are of kind `tensorflow`. `--fast` leaves all of them out, `-m KIND` selects one kind.
SLOW = {
    "browser": ("page/*",),
    "benchmark": ("test_benchmarks.py", "test_capacity.py"),
    "client": ("test_generated_clients.py",),
    "document": (
        "test_*_doc.py",
        "test_deploy.py",
        "test_kubernetes.py",
        "test_openapi.py",
        "test_readme.py",
        "test_site.py",
    ),
    "package": ("test_package.py",),
    "program": (
        "test_byte_streams.py",
        "test_observed_server.py",
        "test_proxies.py",
        "test_ray_serve.py",
        "test_scoring_on_ray.py",
        "test_server.py",
        "test_system_calls.py",
    ),
    "training": (
        "test_checkpoints.py",
        "test_continuation.py",
        "test_cross_validation.py",
        "test_evaluate.py",
        "test_examples.py",
        "test_export.py",
        "test_faithfulness.py",
        "test_fitting.py",
        "test_importing*.py",
        "test_jobs.py",
        "test_layers.py",
        "test_library.py",
        "test_lowering.py",
        "test_minirocket.py",
        "test_models.py",
        "test_notebook.py",
        "test_originals.py",
        "test_posting.py",
        "test_preparation.py",
        "test_reports.py",
        "test_result.py",
        "test_round_trip.py",
        "test_run.py",
        "test_shap.py",
        "test_wrong_requests.py",
    ),
    "tensorflow": ("test_gate.py", "test_graphs.py", "test_signatures.py"),
}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--fast`."""
    parser.addoption("--fast", action="store_true", help=f"leave out the slow kinds of tests: {', '.join(SLOW)}")


def pytest_configure(config: pytest.Config) -> None:
    """Declare a marker for each slow kind."""
    for kind, patterns in SLOW.items():
        config.addinivalue_line("markers", f"{kind}: slow; also all tests of {', '.join(patterns) or 'no file'}")


@cache
def slow_kind(path: Path) -> str | None:
    """Return the slow kind of a file of tests, if it has one."""
    relative = path.relative_to(TESTS)
    return next((kind for kind, patterns in SLOW.items() if any(map(relative.match, patterns))), None)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With `--fast`, do not import the slow tests, as some import TensorFlow or a browser's driver."""
    return True if config.getoption("--fast") and slow_kind(collection_path) else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark the slow tests. With `--fast`, leave them out. Trainings, which last longest, come first."""
    for item in items:
        if kind := slow_kind(item.path):
            item.add_marker(kind)
        callspec = getattr(item, "callspec", None)  # of parametrized tests only
        if callspec is not None and callspec.params.get("engine") == "tensorflow":
            item.add_marker("tensorflow")
    if config.getoption("--fast"):
        slow = [item for item in items if any(map(item.get_closest_marker, SLOW))]
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if item not in set(slow)]
    items.sort(key=lambda item: item.get_closest_marker("training") is None)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


#: Makes files in an empty folder.
Make = Callable[[Path], object]


def digest_of_sources() -> str:
    """Return a digest of everything that makes the trained models.

    These are Python, the installed packages, the training with all that it may import of the service (`make lint`
    checks that), and the helpers of the tests.
    """
    sources = [
        *(ROOT / "training").rglob("*.py"),
        *(ROOT / "service").glob("*.py"),
        *(ROOT / "service" / "artifact").rglob("*.py"),
        *(ROOT / "service" / "engines").rglob("*.py"),
        *(path for path in TESTS.rglob("*.py") if not path.name.startswith("test_")),
    ]
    packages = sorted(path.name for path in Path(sysconfig.get_path("purelib")).glob("*.dist-info"))
    digest = hashlib.sha256("\n".join([sys.version, *packages]).encode())
    for source in sorted(sources):
        digest.update(f"\0{source.relative_to(ROOT)}\0".encode() + source.read_bytes())
    return digest.hexdigest()


DIGEST = digest_of_sources()


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Make], Path]:
    """Return a function that makes a folder once for all processes and runs, and returns this process's copy.

    The folders are kept below `.pytest_cache` under the digest of the sources.
    """
    cache = ROOT / ".pytest_cache" / "made-once"
    cache.mkdir(parents=True, exist_ok=True)

    def copy(name: str, make: Make) -> Path:
        folder, kept = tmp_path_factory.mktemp(name), cache / f"{name}-{DIGEST[:16]}"
        with FileLock(cache / f"{name}.lock"):
            if kept.exists():
                shutil.copytree(kept, folder, dirs_exist_ok=True)
                return folder
            make(folder)
            if digest_of_sources() == DIGEST:  # otherwise the sources changed during the run
                for old in cache.glob(f"{name}-*"):
                    shutil.rmtree(old)
                shutil.copytree(folder, cache / f"{name}-unfinished")
                (cache / f"{name}-unfinished").rename(kept)
        return folder

    return copy


@pytest.fixture(scope="session")
def three_classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A .npz file of 240 sequences of 6 × 3 in three classes with string names; timestep 2 decides the class."""
    rng = np.random.default_rng(0)
    index = np.arange(240) % 3
    x = rng.standard_normal((240, 6, 3))
    x[:, 2, :] += 4 * np.eye(3)[index]
    path = tmp_path_factory.mktemp("data") / "three.npz"
    np.savez(path, x=x * 100 + 1000, y=np.array(["low", "middle", "high"])[index])
    return path


SMALL = {"sequences": 3000, "epochs": 3, "batch_size": 32, "learning_rate": 0.01}


@pytest.fixture(scope="session")
def artifacts(made_once: Callable[[str, Make], Path], three_classes: Path) -> Path:
    """A folder with three small trained models: after-lstm and before-lstm (binary), and three (multiclass)."""

    def train(folder: Path) -> None:
        from tests.samples import trained

        small = {**SMALL, "artifacts": folder}
        trained(**small)
        trained(**small, architecture="before_lstm")
        trained(**{**small, "epochs": 20}, name="three", data=str(three_classes), architecture="after_lstm")

    return made_once("artifacts", train)


@pytest.fixture(scope="session")
def retrained(made_once: Callable[[str, Make], Path]) -> Path:
    """Another version of after-lstm: the same options, another seed."""

    def train(folder: Path) -> None:
        from tests.samples import trained

        trained(**SMALL, seed=1, artifacts=folder)

    return made_once("retrained", train) / "after-lstm" / "1"


@pytest.fixture(scope="session")
def masked(made_once: Callable[[str, Make], Path]) -> Path:
    """A folder with models of 6 × 2 for sequences that vary: both, shorter (lengths only), gaps (values only)."""

    def publish(folder: Path) -> None:
        from tests.masked import publish_masked

        publish_masked(folder)

    return made_once("masked", publish)


@pytest.fixture(scope="session")
def categorized(made_once: Callable[[str, Make], Path]) -> Path:
    """A folder with the model `goods`, of categories and static features."""

    def publish(folder: Path) -> None:
        from tests.categorized import publish_categorized

        publish_categorized(folder)

    return made_once("categorized", publish)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the small models of `tests.scoring`, which the tests of a module may change."""
    from tests.scoring import write_models

    folder = tmp_path_factory.mktemp("models")
    write_models(folder)
    return folder


@pytest.fixture(scope="session")
def originals(made_once: Callable[[str, Make], Path]) -> Path:
    """A folder with the models of `tests.originals`, imported."""

    def make(folder: Path) -> None:
        from tests.originals import import_originals

        import_originals(folder)

    return made_once("originals", make)


@pytest.fixture(scope="session")
def tabular(made_once: Callable[[str, Make], Path]) -> Path:
    """A folder with the tables of `tests.tables`, and in `models` the models that were trained on them."""

    def make(folder: Path) -> None:
        from tests.tables import train_on_tables

        train_on_tables(folder)

    return made_once("tabular", make)


@pytest.fixture(scope="session")
def monitored(made_once: Callable[[str, Make], Path]) -> "Result":
    """The result of a training on the frame of `tests.sensors`."""
    import training

    def make(folder: Path) -> None:
        from tests.sensors import train_on_frame

        train_on_frame(folder)

    return training.load(made_once("monitored", make) / "monitored")


@pytest.fixture(params=["onnx", "tensorflow"], scope="session")
def engine(request: pytest.FixtureRequest) -> EngineChoice:
    """Return each engine in turn, so that a test with this fixture runs on both."""
    choice: EngineChoice = request.param
    return choice


@pytest.fixture(scope="session")
def app(artifacts: Path, engine: EngineChoice) -> FastAPI:
    """The real app over the session's artifacts."""
    return create_app(
        Settings(artifacts=artifacts, model="after-lstm", engine=engine, max_body=2**20, model_control=True),
        open_engine=interceptable(engine),
    )


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """Yield a client of the real app, without a socket."""
    async with connect(app) as client:
        yield client


@pytest.fixture(scope="session")
def varying(masked: Path, engine: EngineChoice) -> FastAPI:
    """The real app over models whose sequences may vary."""
    return create_app(Settings(artifacts=masked, model="both", engine=engine), open_engine=interceptable(engine))


@pytest.fixture
async def asking(varying: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """Yield a client of the app over models for sequences that vary."""
    async with connect(varying) as client:
        yield client


def connect(app: FastAPI) -> httpx.AsyncClient:
    """Return a client of an app, without a socket."""
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app, raise_app_exceptions=False), base_url="http://localhost"
    )
