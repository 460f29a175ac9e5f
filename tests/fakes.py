"""Fake versions, whose directory holds a text instead of a graph, and engines that tests can intercept."""

import asyncio
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
from fastapi import FastAPI

from service.artifact.engine import Engine, Signature
from service.artifact.gate import OpenEngine
from service.artifact.tensors import ATTENTION, Array
from service.artifact.version import Artifact
from service.engines import EngineChoice, opener
from service.errors import ArtifactError
from service.serving.call_policy import INLINE_SECONDS
from service.serving.model import Model

BAD = "bad"


class Echo:
    """An engine whose attention is all on one timestep."""

    name = "echo"
    signatures: Mapping[str, Signature] = MappingProxyType({})

    def __init__(self, timestep: int) -> None:
        self.timestep = timestep

    def run(self, sequences: Array, outputs: Collection[str]) -> dict[str, Array]:
        attention = np.zeros((len(sequences), 4), np.float32)
        attention[:, self.timestep] = 1
        return dict.fromkeys(outputs, attention)


class FakeModel(Model):
    """A model with the text of its directory, which attends to one timestep."""

    def __init__(self, version: int, text: str, timestep: int = 0) -> None:
        self.version = version
        self.text = text
        self.engine = Echo(timestep)
        self.retired = False

    def attention_moved_from(self, other: Model) -> float | None:
        assert isinstance(self.engine, Echo)
        assert isinstance(other.engine, Echo)
        return float(self.engine.timestep != other.engine.timestep)

    def retire(self) -> None:
        self.retired = True

    async def close(self) -> None:
        """Do nothing, as there is nothing to finish."""


def load(artifact: Artifact, loaded: Model | None = None) -> Model:
    """Return the fake model of a version: the one that was loaded before if the text is the same.

    Raises:
        ArtifactError: the text is missing or bad.
    """
    try:
        text = (artifact.directory / "text").read_text()
    except OSError as error:
        raise ArtifactError(f"text is missing: {error.strerror}") from error
    if text == BAD:
        raise ArtifactError(f"{artifact.directory / 'text'} is bad")
    if isinstance(loaded, FakeModel) and loaded.text == text:
        return loaded
    return FakeModel(int(artifact.directory.name), text, timestep=len(text) % 4)


class Interceptable:
    """The engine of a version. A test may replace `intercept`, which each call goes through.

    Args:
        engine: the engine.
        seconds: how long each call takes in addition.
    """

    def __init__(self, engine: Engine, seconds: float) -> None:
        self.name = engine.name
        self.signatures = engine.signatures
        self.intercept = engine.run
        self.seconds = seconds

    def run(self, sequences: Array, outputs: Collection[str]) -> dict[str, Array]:
        time.sleep(self.seconds)
        return self.intercept(sequences, outputs)


#: A call that takes longer than these seconds runs in the Batcher's thread, where a test can hold it.
IN_THREAD = 2 * INLINE_SECONDS


def interceptable(choice: EngineChoice = "onnx", seconds: float = 0) -> OpenEngine:
    """Return a function that opens interceptable engines, for `create_app`."""
    open_engine = opener(choice, threads=1)
    return lambda contents, card: Interceptable(open_engine(contents, card), seconds)


@contextmanager
def held(app: FastAPI, fewest_rows: int = 1) -> Iterator[list[int]]:
    """Hold calls of the default model's engine until the block ends; yield the rows of each call.

    The app must have been made with `open_engine=interceptable(…, IN_THREAD)`.

    Args:
        app: the app.
        fewest_rows: calls of fewer rows are not held.
    """
    engine, released, calls = engine_of(app), threading.Event(), list[int]()
    run = engine.intercept

    def wait(sequences: Array, outputs: Collection[str]) -> dict[str, Array]:
        calls.append(len(sequences))
        if len(sequences) >= fewest_rows and not released.wait(timeout=30):
            raise TimeoutError("nothing released the engine")
        return run(sequences, outputs)

    engine.intercept = wait
    try:
        yield calls
    finally:
        released.set()


async def until(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.001)


def engine_of(app: FastAPI) -> Interceptable:
    """Return the engine of an app's default model."""
    engine = app.state.repository.get().engine
    assert isinstance(engine, Interceptable)
    return engine


def answer_nan(monkeypatch: pytest.MonkeyPatch, app: FastAPI, sequence: int, timestep: int) -> None:
    """Make the default model answer NaN as the attention of one timestep, as for too large values."""
    engine = engine_of(app)
    run = engine.intercept

    def overflow(sequences: Array, outputs: Collection[str]) -> dict[str, Array]:
        results = {name: np.array(output) for name, output in run(sequences, outputs).items()}
        results[ATTENTION][sequence, timestep] = np.nan
        return results

    monkeypatch.setattr(engine, "intercept", overflow)


def write(home: Path, number: int, text: str) -> None:
    """Write a version."""
    (home / str(number)).mkdir(exist_ok=True)
    (home / str(number) / "text").write_text(text)


def text_of(model: Model) -> str:
    """Return the text of a fake model."""
    assert isinstance(model, FakeModel)
    return model.text
