"""`artifacts/<model>/<version>/`: finds the models, keeps up with what is published, and says which one answers."""

import asyncio
import gc
import logging
import os
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

from service.artifact.layout import discover, versions_of
from service.artifact.version import Artifact
from service.errors import ArtifactError, DeadlineExceeded, Unavailable, UnknownModel
from service.serving.model import Model
from service.serving.unloaded import Unloaded
from service.serving.versions import Versions

#: Of the thread that loads versions. The greater, the less others notice, and the later a version appears on a busy
#: processor: with 10, TensorFlow's take 2 s.
NICENESS = 10
#: Longest time until a process notices that another was told to load or unload a model.
CONTROL_SECONDS = 0.5

logger = logging.getLogger(__name__)


class Repository:
    """The models of one artifacts folder.

    Args:
        artifacts: the folder.
        load: makes a verified model of a version, or raises ArtifactError.
        default: model that answers where a request names none; may be left out where there is only one.
        pins: versions that are to answer instead of the newest, by model.
        keep: most versions of a model that can be asked at a time.
        unloaded: models that are not to be served until somebody asks for them.
    """

    def __init__(  # noqa: PLR0913 - each by its name; they are what the settings say of a folder
        self,
        artifacts: Path,
        load: Callable[[Artifact], Model],
        *,
        default: str | None,
        pins: Mapping[str, int],
        keep: int,
        unloaded: Unloaded,
    ) -> None:
        self._artifacts = artifacts
        self._load = load
        self._default = default
        self._pins = pins
        self._keep = keep
        self._unloaded = unloaded
        self._models: Mapping[str, Versions] = {}  # replaced and never changed: other threads read it
        self._problem: str | None = None
        self._executor = ThreadPoolExecutor(1, "repository", _give_way)

    def start(self) -> None:
        """Load the version of each model that answers; the others follow with the first `update`.

        Raises:
            ArtifactError: the default model cannot be served, or it is not clear which one that is, or a pin names
                nothing.
        """
        found = discover(self._artifacts)
        if not found:
            raise ArtifactError(
                f"no model in {self._artifacts}: train one with `python -m training --artifacts {self._artifacts}`, "
                "or point --artifacts elsewhere"
            )
        if self._default is None and len(found) > 1:
            raise ArtifactError(f"{self._artifacts} has {_list(found)}: choose the default with --model")
        self._default = self._default or next(iter(found))
        if self._default not in found:
            raise ArtifactError(f"no model {self._default!r} in {self._artifacts}: expected one of {_list(found)}")
        for name, number in self._pins.items():
            if number not in found.get(name, ()):
                expected = f"{name} has {_list(found[name])}" if name in found else f"expected one of {_list(found)}"
                raise ArtifactError(f"no version to pin in {self._artifacts / name / str(number)}: {expected}")
        self._serve(found, keep=1)
        if self._models[self._default].current is None and self._default not in self._unloaded:  # the log says why
            raise ArtifactError(f"no version of {self._default!r} in {self._artifacts} can be served")

    def update(self) -> None:
        """Serve what is in the folder now. Called from one thread at a time."""
        found = discover(self._artifacts)
        # A folder that has become empty is more likely one that is not mounted than one that is meant to be.
        problem = None if found or not self._models else f"no model in {self._artifacts} any more: all stay as they are"
        if problem not in (None, self._problem):
            logger.error("%s", problem)
        self._problem = problem
        if problem is None:
            self._serve(found, self._keep)
        else:
            for name, versions in self._models.items():
                if name in self._unloaded:
                    versions.unload([status.version for status in versions.statuses()])

    async def watch(self, seconds: float) -> None:
        """Keep up with the folder until cancelled.

        Looking is done again and again, as network volumes do not tell when they change, and in a thread that gives way
        to whatever answers requests.

        Args:
            seconds: from one look to the next.
        """
        while True:
            try:
                await self._look()
            except Exception:  # whatever it was, what is served is served on, and the next look may do
                logger.exception("cannot keep up with %s", self._artifacts)
            await self._pause(seconds)

    async def load(self, name: str, timeout: float) -> None:
        """Serve what is in a model's directory now, in all processes, also if it was unloaded.

        Args:
            name: the model.
            timeout: longest time to wait for it, in seconds; it is loaded nevertheless.

        Raises:
            UnknownModel: there is no such model.
            Unavailable: none of its versions can be served.
            DeadlineExceeded: it takes longer.
        """
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(None, discover, self._artifacts)
        if name not in found:
            raise _unknown(name, found)
        self._unloaded.discard(name)
        async with _within(timeout):
            await asyncio.shield(self._look())
            self.get(name)
            while self._unloaded.elsewhere(name):
                await asyncio.sleep(CONTROL_SECONDS / 10)

    async def unload(self, name: str, timeout: float) -> None:
        """Serve a model no more, in any process, until it is loaded again; what was accepted is finished.

        Args:
            name: the model.
            timeout: longest time to wait until its memory is free, in seconds; it is freed nevertheless.

        Raises:
            UnknownModel: there is no such model.
            Unavailable: the other processes cannot be told.
            DeadlineExceeded: it takes longer.
        """
        if name not in self._models:
            raise _unknown(name, self._models)
        self._unloaded.add(name)
        async with _within(timeout):
            await asyncio.shield(self._look())

    def get(self, name: str | None = None, version: int | None = None) -> Model:
        """The model that answers.

        Args:
            name: which model; the default where none is given.
            version: which version; the one that answers for the model where none is given.

        Raises:
            UnknownModel: it is not served.
            Unavailable: nothing is loaded.
        """
        models = self._models
        if not models:
            raise Unavailable("no model is loaded")
        name = name or self._default
        versions = models.get(name) if name else None
        if versions is None or name is None:
            raise _unknown(name, models)
        if name in self._unloaded:
            raise Unavailable(f"model {name!r} is unloaded")
        return versions.get(version)

    @property
    def default(self) -> str | None:
        """The model that answers where a request names none."""
        return self._default

    @property
    def models(self) -> Mapping[str, Versions]:
        """The versions of each model, by name."""
        return self._models

    async def close(self) -> None:
        """Let every model finish what it accepted, and serve none."""
        self._executor.shutdown(wait=False, cancel_futures=True)  # a version that is being loaded holds up nobody
        models, self._models = self._models, {}
        for versions in models.values():
            await versions.close()

    def _serve(self, found: Mapping[str, list[int]], keep: int) -> None:
        models = dict(self._models)
        for name in found:
            if name not in models:
                models[name] = Versions(self._artifacts / name, self._load, pin=self._pins.get(name))
        retired = False
        for name in self._models.keys() - found.keys():
            if not os.path.lexists(self._artifacts / name):
                logger.info("%s is not served any more: its directory is gone", name)
                for model in models.pop(name).live.values():
                    model.retire()
                retired = True
        self._models = models
        for name, versions in models.items():
            try:
                numbers = found[name] if name in found else versions_of(self._artifacts / name)
                unloaded = name in self._unloaded
                retired |= versions.unload(numbers) if unloaded else versions.update(numbers, keep)
                self._unloaded.note(name, unloaded=unloaded)
            except OSError as error:
                logger.error("%s stays as it is: %s", name, error)
        if retired:
            gc.collect()  # TensorFlow's models are full of cycles

    async def _look(self) -> None:
        await asyncio.get_running_loop().run_in_executor(self._executor, self.update)

    async def _pause(self, seconds: float) -> None:
        """Wait for the next look; another process may be told to load or unload a model before."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if any((name in self._unloaded) != versions.unloaded for name, versions in self._models.items()):
                return
            await asyncio.sleep(min(left, CONTROL_SECONDS))


@asynccontextmanager
async def _within(seconds: float) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise DeadlineExceeded(f"not done within {seconds:g} s, and going on") from None


def _give_way() -> None:
    """Let this thread have what the others leave of the processor."""
    if sys.platform == "linux":  # elsewhere a thread has no priority of its own
        thread = threading.get_native_id()
        niceness = os.getpriority(os.PRIO_PROCESS, thread)
        os.setpriority(os.PRIO_PROCESS, thread, max(niceness, NICENESS))  # less than it was takes a privilege


def _unknown(name: str | None, known: Iterable[str]) -> UnknownModel:
    return UnknownModel(f"no model {name!r}: expected one of {_list(known) or 'none'}")


def _list(names: Iterable[object]) -> str:
    return ", ".join(map(str, names))
