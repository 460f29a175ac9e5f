"""`artifacts/<model>/<version>/`: finds versions, verifies them, and says which one answers."""

import logging
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from service.errors import ArtifactError, Unavailable, UnknownModel
from service.inference.artifact import ATTENTION, ATTENTION_VEC, PREDICTION, Artifact
from service.inference.card import ModelCard
from service.inference.engines import Engine, EngineChoice, open_engine
from service.inference.model import Limits, Model

CHARTS = ("svg", "png")
#: How far a replayed output may be from the recorded one: processors round differently by less, other weights by more.
RTOL, ATOL = 1e-4, 1e-5

logger = logging.getLogger(__name__)


class Repository:
    """The models of one artifacts folder.

    Args:
        artifacts: the folder.
        default: model that answers where a request names none; may be left out where there is only one.
        engine: what executes the graphs.
        threads: how many threads one call of an engine may use.
        limits: what each model takes on at a time.
    """

    def __init__(
        self, artifacts: Path, *, default: str | None, engine: EngineChoice, threads: int, limits: Limits
    ) -> None:
        self._artifacts = artifacts
        self._default = default
        self._engine: EngineChoice = engine
        self._threads = threads
        self._limits = limits
        self._models: dict[str, Model] = {}

    def load(self) -> None:
        """Load the newest version of each model that passes every check; older ones step in for broken ones.

        Raises:
            ArtifactError: the default model cannot be served, or it is not clear which one that is.
        """
        versions = discover(self._artifacts)
        if not versions:
            raise ArtifactError(
                f"no model in {self._artifacts}: train one with `python -m training --artifacts {self._artifacts}`, "
                "or point --artifacts elsewhere"
            )
        if self._default is None and len(versions) > 1:
            raise ArtifactError(f"{self._artifacts} has {_list(versions)}: choose the default with --model")
        self._default = self._default or next(iter(versions))
        if self._default not in versions:
            raise ArtifactError(f"no model {self._default!r} in {self._artifacts}: expected one of {_list(versions)}")
        for name, numbers in versions.items():
            try:
                self._models[name] = self._newest(name, numbers)
            except ArtifactError as error:
                if name == self._default:
                    raise
                logger.error("%s is not served: %s", name, error)

    def get(self, name: str | None = None, version: int | None = None) -> Model:
        """The model that answers.

        Args:
            name: which model; the default where none is given.
            version: which version; the newest where none is given.

        Raises:
            UnknownModel: it is not served.
            Unavailable: nothing is loaded.
        """
        if not self._models:
            raise Unavailable("no model is loaded")
        name = name or self._default
        model = self._models.get(name) if name else None
        if model is None:
            raise UnknownModel(f"no model {name!r}: expected one of {_list(self._models)}")
        if version not in (None, model.version):
            raise UnknownModel(f"model {name!r} has no version {version}: expected {model.version}")
        return model

    async def close(self) -> None:
        """Let every model finish what it accepted, and serve none."""
        models, self._models = self._models, {}
        for model in models.values():
            await model.close()

    def _newest(self, name: str, numbers: list[int]) -> Model:
        *newer, oldest = sorted(numbers, reverse=True)
        for number in newer:
            try:
                return self._open(name, number)
            except ArtifactError as error:
                logger.error("%s version %d is rejected: %s", name, number, error)
        return self._open(name, oldest)

    def _open(self, name: str, number: int) -> Model:
        start = time.perf_counter()
        artifact = Artifact(self._artifacts / name / str(number))
        card, engine = open_verified(artifact, self._engine, self._threads)
        if card.name != name:
            raise ArtifactError(f"{artifact.card_path} names the model {card.name!r}, its folder {name!r}: rename one")
        charts = {suffix: artifact.read(artifact.chart_path(suffix)) for suffix in CHARTS}
        logger.info(
            "%s version %d: verified in %.2f s; engine %s, %d thread(s)",
            name,
            number,
            time.perf_counter() - start,
            engine.name,
            self._threads,
        )
        return Model(card, number, engine, self._limits, charts)


def discover(artifacts: Path) -> Mapping[str, list[int]]:
    """The version numbers of each model in a folder, models in alphabetical order.

    Directories whose names are not plain integers, such as versions still being written, are passed over.
    """
    if not artifacts.is_dir():
        return {}
    found = {}
    for model in sorted(artifacts.iterdir()):
        try:
            if model.is_dir() and (numbers := versions_of(model)):
                found[model.name] = numbers
        except PermissionError:  # lost+found, on many a volume
            logger.warning("%s is passed over: it cannot be read", model)
    return found


def versions_of(model: Path) -> list[int]:
    """The version numbers in one model's directory, smallest first."""
    # str(int(…)) == name keeps one spelling for each number: no "007", no "٣".
    return sorted(
        int(path.name)
        for path in model.iterdir()
        if path.is_dir() and path.name.isdecimal() and str(int(path.name)) == path.name
    )


def open_verified(artifact: Artifact, engine: EngineChoice, threads: int) -> tuple[ModelCard, Engine]:
    """Open a version and replay its golden example, prediction and attention both.

    Raises:
        ArtifactError: it must not be served, and why.
    """
    if not artifact.directory.is_dir():
        raise ArtifactError(f"{artifact.directory} is not a directory")
    card = artifact.read_card()
    golden = artifact.read_golden()
    if golden.sequence.shape[1:] != (card.timesteps, card.features) or not len(golden.sequence):
        raise ArtifactError(
            f"{artifact.golden_path}: expected sequences of shape (n, {card.timesteps}, {card.features}), "
            f"got {golden.sequence.shape}"
        )
    if card.target.outputs not in (None, golden.prediction.shape[1]):
        raise ArtifactError(
            f"{artifact.card_path} describes a {card.target.task} target with {card.target.outputs} output(s), "
            f"{artifact.golden_path} has {golden.prediction.shape[1]}"
        )
    opened = open_engine(artifact, card, engine, threads)
    recorded = {
        PREDICTION: golden.prediction,
        ATTENTION: golden.attention_vec.mean(axis=-1),
        ATTENTION_VEC: golden.attention_vec,
    }
    try:
        replayed = opened.run(golden.sequence, recorded)
    except Exception as error:  # whatever the runtime raises means the same: it cannot run this graph
        raise ArtifactError(
            f"{artifact.directory}: engine {opened.name} cannot run the golden example: {error}"
        ) from error
    for output, expected in recorded.items():
        got = replayed[output]
        if got.shape != expected.shape:
            raise ArtifactError(
                f"{artifact.directory} does not replay its golden example on engine {opened.name}: "
                f"{output} has shape {got.shape}, expected {expected.shape}"
            )
        if not np.allclose(got, expected, rtol=RTOL, atol=ATOL):
            raise ArtifactError(
                f"{artifact.directory} does not replay its golden example on engine {opened.name}: "
                f"{output} differs by {np.max(np.abs(got - expected)):.2g}"
            )
    return card, opened


def _list(names: Mapping[str, object]) -> str:
    return ", ".join(names)
