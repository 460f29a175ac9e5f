"""The models of an artifacts folder: finds them, keeps up with changes on disk, and selects the model of a request."""

import asyncio
import gc
import logging
import os
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from itertools import islice
from pathlib import Path

from service.artifact.layout import discover, versions_of, why_no_model
from service.errors import ArtifactError, DeadlineExceeded, Unavailable, UnknownModel
from service.serving.cpus import lower_priority
from service.serving.model import Model
from service.serving.unloaded import Unloaded
from service.serving.versions import Load, Versions

#: Niceness of the thread that loads versions. A greater one disturbs requests less, but loading then takes longer on a
#: busy processor: with 10, TensorFlow's models take 2 s.
NICENESS = 10
#: Longest time until a process notices that another process has loaded or unloaded a model, in seconds.
CONTROL_SECONDS = 0.5
#: Most warnings about entries of the folder that are passed over.
MOST_WARNINGS = 20

logger = logging.getLogger(__name__)


class Repository:
    """The models of one artifacts folder.

    Args:
        artifacts: the folder.
        load: loads a version.
        default: the model of requests that name none; may be None if there is only one model.
        pins: versions that answer instead of the newest, by model.
        keep: most served versions of a model.
        unloaded: the models that clients have unloaded.
        count_rejection: called with the model's name for each version that is rejected.

    Attributes:
        default: the model of requests that name none.
        models: the versions of each model, by name; replaced and never changed, as other threads read it.
    """

    def __init__(  # noqa: PLR0913 - passed by name; they are the settings of a folder
        self,
        artifacts: Path,
        load: Load,
        *,
        default: str | None,
        pins: Mapping[str, int],
        keep: int,
        unloaded: Unloaded,
        count_rejection: Callable[[str], object] = lambda _: None,
    ) -> None:
        self.default = default
        self.models: Mapping[str, Versions] = {}
        self._artifacts = artifacts
        self._load = load
        self._pins = pins
        self._keep = keep
        self._unloaded = unloaded
        self._count_rejection = count_rejection
        self._default_is_chosen = default is not None
        self._warnings: list[str] = []
        self._reported: frozenset[str] = frozenset()
        self._executor = ThreadPoolExecutor(1, "repository", lower_priority, (NICENESS,))

    def get(self, name: str | None = None, version: int | None = None) -> Model:
        """Return a served model: by default the default model, in the version that answers.

        Raises:
            UnknownModel: the model or the version is not served.
            Unavailable: nothing is loaded.
        """
        models = self.models
        if not models:
            raise Unavailable("no model is loaded")
        if name is None:
            name = self.default
        versions = models.get(name) if name is not None else None
        if versions is None or name is None:
            raise _unknown(name, models)
        if name in self._unloaded:
            raise Unavailable(f"model {name!r} is unloaded")
        return versions.get(version)

    def start(self) -> None:
        """Load the version of each model that answers. The first `update` loads the others.

        Raises:
            ArtifactError: the default model cannot be served or is ambiguous, or a pinned version does not exist.
        """
        try:
            found, passed_over = discover(self._artifacts)
            if not found:
                raise ArtifactError(f"no model in {self._artifacts}: {why_no_model(self._artifacts)}")
        except OSError as error:
            raise ArtifactError(f"{self._artifacts} cannot be read: {error.strerror}") from error
        self._warnings = _warnings(passed_over)
        self._report(())
        if self.default is None and len(found) > 1:
            raise ArtifactError(f"{self._artifacts} has {_list(found)}: choose the default with --model")
        self.default = self.default or next(iter(found))
        if self.default not in found:
            raise ArtifactError(f"no model {self.default!r} in {self._artifacts}: expected one of {_list(found)}")
        for name, number in self._pins.items():
            if number not in found.get(name, ()):
                expected = f"{name} has {_list(found[name])}" if name in found else f"expected one of {_list(found)}"
                raise ArtifactError(f"no version to pin in {self._artifacts / name / str(number)}: {expected}")
        self._report(self._serve(found, keep=1))
        if self.models[self.default].current is None and self.default not in self._unloaded:  # the log says why
            raise ArtifactError(f"no version of {self.default!r} in {self._artifacts} can be served")

    async def watch(self, seconds: float) -> None:
        """Update every few seconds until cancelled. Polling also works on network volumes, which report no changes."""
        while True:
            try:
                await self._update_in_thread()
            except Exception:  # the served models stay, and the next update may succeed
                logger.exception("cannot keep up with %s", self._artifacts)
            await self._wait_for_next_update(seconds)

    def update(self) -> None:
        """Serve the models that are in the folder now. Only one thread at a time may call this."""
        found: Mapping[str, list[int]] = {}
        try:
            found, passed_over = discover(self._artifacts)
            self._warnings = _warnings(passed_over)
        except OSError as error:
            errors = [f"{self._artifacts} cannot be read: {error.strerror}: all models stay as they are"]
        else:
            # An empty folder is more likely an unmounted volume than a wish to stop serving.
            emptied = self.models and not found
            errors = [f"no model in {self._artifacts} any more: all stay as they are"] if emptied else []
        if errors:
            for name, versions in self.models.items():
                if name in self._unloaded:
                    versions.unload([status.version for status in versions.statuses()])
        else:
            errors = self._serve(found, self._keep)
        if len(found) > 1 and not self._default_is_chosen:
            self._warnings.append(
                f"{self._artifacts} has {_list(found)}: {self.default!r} answers requests that name no model, "
                "but the next start fails without --model"
            )
        self._report(errors)

    async def load(self, name: str, timeout: float) -> None:
        """Serve the newest versions of a model now, in all processes, even if it was unloaded.

        Raises:
            UnknownModel: there is no such model.
            Unavailable: none of its versions can be served, or not the one that should answer, as its files are now.
            DeadlineExceeded: loading takes longer than `timeout` seconds. It goes on.
        """
        loop = asyncio.get_running_loop()
        try:
            found = (await loop.run_in_executor(None, discover, self._artifacts)).models
        except OSError as error:
            raise Unavailable(f"{self._artifacts} cannot be read: {error.strerror}") from error
        if name not in found:
            raise _unknown(name, found)
        self._unloaded.discard(name)
        async with _within(timeout):
            await asyncio.shield(self._update_in_thread())
            self.get(name)
            versions = self.models[name]
            while self._unloaded.is_unloaded_elsewhere(name):
                await asyncio.sleep(CONTROL_SECONDS / 10)
        versions.check()

    async def unload(self, name: str, timeout: float) -> None:
        """Stop serving a model, in all processes, until it is loaded again. Accepted requests are finished.

        Raises:
            UnknownModel: there is no such model.
            Unavailable: the other processes cannot be notified.
            DeadlineExceeded: its memory is not freed within `timeout` seconds. Unloading goes on.
        """
        if name not in self.models:
            raise _unknown(name, self.models)
        self._unloaded.add(name)
        async with _within(timeout):
            await asyncio.shield(self._update_in_thread())

    async def close(self) -> None:
        """Stop serving, and wait until each model has finished its accepted requests."""
        self._executor.shutdown(wait=False, cancel_futures=True)  # do not wait for a version that is being loaded
        models, self.models = self.models, {}
        for versions in models.values():
            await versions.close()

    def _serve(self, found: Mapping[str, list[int]], keep: int) -> list[str]:
        """Serve the models found, drop those whose directory is gone, and free memory. Return errors for the log."""
        errors = []
        models = dict(self.models)
        for name in found:
            if name not in models:
                home, pin = self._artifacts / name, self._pins.get(name)
                models[name] = Versions(home, self._load, pin=pin, count_rejection=self._count_rejection)
        freed = False
        for name in models.keys() - found.keys():
            if not os.path.lexists(self._artifacts / name):
                logger.info("%s is not served any more: its directory is gone", name)
                for model in models.pop(name).served.values():
                    model.retire()
                freed = True
        self.models = models
        for name, versions in models.items():
            try:
                numbers = found[name] if name in found else versions_of(self._artifacts / name)
                unloaded = name in self._unloaded
                freed |= versions.unload(numbers) if unloaded else versions.update(numbers, keep)
                self._unloaded.acknowledge(name, unloaded=unloaded)
            except OSError as error:
                errors.append(f"{name} stays as it is: {error}")
        if freed:
            gc.collect()  # TensorFlow's models are full of cycles
        return errors

    def _report(self, errors: Collection[str]) -> None:
        """Log the warnings and errors that the last look at the folder did not find."""
        for level, texts in ((logging.WARNING, self._warnings), (logging.ERROR, errors)):
            for text in texts:
                if text not in self._reported:
                    logger.log(level, "%s", text)
        self._reported = frozenset((*self._warnings, *errors))

    async def _update_in_thread(self) -> None:
        await asyncio.get_running_loop().run_in_executor(self._executor, self.update)

    async def _wait_for_next_update(self, seconds: float) -> None:
        """Wait some seconds, but not after another process has loaded or unloaded a model."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if any((name in self._unloaded) != versions.unloaded for name, versions in self.models.items()):
                return
            await asyncio.sleep(min(left, CONTROL_SECONDS))


@asynccontextmanager
async def _within(seconds: float) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise DeadlineExceeded(f"not done within {seconds:g} s, and going on") from None


def _warnings(passed_over: Mapping[Path, str]) -> list[str]:
    first = islice(passed_over.items(), MOST_WARNINGS)
    warnings = [f"{str(path)!r} is passed over: {reason}" for path, reason in first]
    more = len(passed_over) - len(warnings)
    return [*warnings, f"{more} more entries are passed over"] if more else warnings


def _unknown(name: str | None, known: Iterable[str]) -> UnknownModel:
    return UnknownModel(f"no model {name!r}: expected one of {_list(known) or 'none'}")


def _list(names: Iterable[object]) -> str:
    return ", ".join(map(str, names))
