"""The way of a version from its files to a warm model."""

import logging
import time
from dataclasses import dataclass
from pathlib import Path

from service.artifact.gate import OpenEngine, check_names, open_verified
from service.artifact.version import Artifact
from service.serving.model import Limits, Model
from service.serving.trial import Trials

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ModelLoader:
    """Loads versions: reads their files, verifies them, and warms up their models.

    Attributes:
        open_engine: opens the engine of a version.
        limits: the limits of each model.
        shared: the folder that the worker processes of one service share; None with one process.
        trials: tries versions before this process opens them; None for no trials.
    """

    open_engine: OpenEngine
    limits: Limits
    shared: Path | None = None
    trials: Trials | None = None

    def load(self, artifact: Artifact, loaded: Model | None = None) -> Model:
        """Return the model of a verified version, ready to answer.

        Args:
            artifact: the version.
            loaded: a model that was loaded from it. It is returned if the published files are the same.

        Raises:
            ArtifactError: the version must not be served.
        """
        start = time.perf_counter()
        name, version = artifact.directory.parent.name, int(artifact.directory.name)
        contents = artifact.read()
        if loaded is not None and loaded.digests == contents.digests:
            return loaded

        def open_model() -> Model:
            verified = open_verified(contents, self.open_engine)
            check_names(verified.card, artifact.directory)
            model = Model(verified, version, self.limits, self.shared)
            model.warm_up()
            return model

        model = open_model() if self.trials is None else self.trials.load(contents, open_model)
        model.load_seconds = time.perf_counter() - start
        logger.info(
            "%s version %d: verified and warm in %.2f s; engine %s",
            name,
            version,
            model.load_seconds,
            model.engine.name,
        )
        judgement = model.card.judgement
        if judgement is not None and judgement.beats_baseline is False:
            logger.warning("%s version %d is not better than its baseline: %s", name, version, judgement.verdict)
        return model
