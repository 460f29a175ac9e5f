"""What the tests share: small trained artifacts, and the app on either engine."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

# TensorFlow prints its search for GPUs as errors; what matters is raised as an exception.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import httpx
import numpy as np
import pytest
from fastapi import FastAPI

from service.app import create_app
from service.engines import EngineChoice
from service.settings import Settings
from tests.fakes import interceptable
from tests.masked import publish_masked
from tests.samples import trained


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def three_classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A .npz file of 240 sequences of 6 × 3 in three classes named by strings, told apart by timestep 2."""
    rng = np.random.default_rng(0)
    index = np.arange(240) % 3
    x = rng.standard_normal((240, 6, 3))
    x[:, 2, :] += 4 * np.eye(3)[index]
    path = tmp_path_factory.mktemp("data") / "three.npz"
    np.savez(path, x=x * 100 + 1000, y=np.array(["low", "middle", "high"])[index])
    return path


SMALL = {"sequences": 3000, "epochs": 3, "batch_size": 32, "learning_rate": 0.01}


@pytest.fixture(scope="session")
def artifacts(tmp_path_factory: pytest.TempPathFactory, three_classes: Path) -> Path:
    """A folder with three models, trained small: after-lstm and before-lstm (binary), and three (multiclass)."""
    folder = tmp_path_factory.mktemp("artifacts")
    small = {**SMALL, "artifacts": folder}
    trained(**small)
    trained(**small, architecture="before_lstm")
    trained(**{**small, "epochs": 20}, name="three", data=str(three_classes))
    return folder


@pytest.fixture(scope="session")
def retrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another version of after-lstm: the same options, another seed."""
    return trained(**SMALL, seed=1, artifacts=tmp_path_factory.mktemp("retrained"))


@pytest.fixture(scope="session")
def masked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with models of 6 × 2, of which both may vary or be missing: both, shorter (length alone), gaps."""
    folder = tmp_path_factory.mktemp("masked")
    publish_masked(folder)
    return folder


@pytest.fixture(params=["onnx", "tensorflow"], scope="session")
def engine(request: pytest.FixtureRequest) -> EngineChoice:
    """Either engine: what uses this is held to the same tests on both."""
    choice: EngineChoice = request.param
    return choice


@pytest.fixture(scope="session")
def app(artifacts: Path, engine: EngineChoice) -> FastAPI:
    """The real app over the session's artifacts."""
    return create_app(
        Settings(artifacts=artifacts, model="after-lstm", engine=engine, max_body=2**20),
        open_engine=interceptable(engine),
    )


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the real app, without a socket between them."""
    async with connect(app) as client:
        yield client


@pytest.fixture(scope="session")
def varying(masked: Path, engine: EngineChoice) -> FastAPI:
    """The real app over models whose sequences may vary."""
    return create_app(Settings(artifacts=masked, model="both", engine=engine), open_engine=interceptable(engine))


@pytest.fixture
async def asking(varying: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client of it."""
    async with connect(varying) as client:
        yield client


def connect(app: FastAPI) -> httpx.AsyncClient:
    """A client of an app, without a socket between them."""
    return httpx.AsyncClient(transport=httpx.ASGITransport(app, raise_app_exceptions=False), base_url="http://test")
