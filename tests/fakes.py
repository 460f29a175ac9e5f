"""Versions without a graph: a directory with a text, and a model that knows it; and an engine that fails."""

from collections.abc import Collection, Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
from fastapi import FastAPI

from service.artifact.engine import Signature
from service.artifact.tensors import ATTENTION, Array
from service.artifact.version import Artifact
from service.errors import ArtifactError
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
    """A model of what its directory holds: a text and a timestep to look at."""

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
        """It has counted nothing."""
        self.retired = True

    async def close(self) -> None:
        """It has nothing to finish."""


def load(artifact: Artifact) -> Model:
    """The fake of a version whose files are whole."""
    try:
        text = (artifact.directory / "text").read_text()
    except OSError as error:
        raise ArtifactError(f"text is missing: {error.strerror}") from error
    if text == BAD:
        raise ArtifactError(f"{artifact.directory / 'text'} is bad")
    return FakeModel(int(artifact.directory.name), text, timestep=len(text) % 4)


def answer_what_is_not_finite(monkeypatch: pytest.MonkeyPatch, app: FastAPI, sequence: int, timestep: int) -> None:
    """Have an app's default model attend to a timestep of a sequence by no number, as where values are too large."""
    batcher = app.state.repository.get()._batcher
    run = batcher._run

    def overflow(sequences: Array, outputs: Collection[str]) -> dict[str, Array]:
        results = {name: np.array(output) for name, output in run(sequences, outputs).items()}
        results[ATTENTION][sequence, timestep] = np.nan
        return results

    monkeypatch.setattr(batcher, "_run", overflow)


def write(home: Path, number: int, text: str) -> None:
    (home / str(number)).mkdir(exist_ok=True)
    (home / str(number) / "text").write_text(text)


def text_of(model: Model) -> str:
    assert isinstance(model, FakeModel)
    return model.text
