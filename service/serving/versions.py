"""The versions of one model: loads them, decides which one answers, and retires the others."""

import errno
import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from service.artifact.layout import pinned_version
from service.artifact.version import Artifact, Stamp
from service.errors import ArtifactError, Unavailable, UnknownModel, printable
from service.serving.model import Model

#: Loads a version: returns its verified model, or raises ArtifactError. The second argument is the model that was
#: loaded from the directory before. It is returned if the files are the same.
Load = Callable[[Artifact, Model | None], Model]
State = Literal["loading", "live", "rejected", "retired", "unloaded"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Status:
    """The state of one version.

    Attributes:
        version: its number.
        state: `loading` while it is verified, `live` while it is served, `rejected` if it failed, `retired` if newer
            versions have replaced it, `unloaded` if a client unloaded its model.
        reason: why it was rejected; of a live version, why its files cannot be loaded as they are now.
        engine: the engine of a live version.
        attention_moved: how far attention moved when it took over: total variation from the version before, on its own
            golden example. None if it did not take over from another version.
    """

    version: int
    state: State
    reason: str | None = None
    engine: str | None = None
    attention_moved: float | None = None


class _Attempt(NamedTuple):
    """The last attempt to load a version.

    Attributes:
        stamp: the stamp of the files at that time.
        model: the model; after a failure, the one loaded before, or None.
        reason: why the files could not be loaded; None if they could.
    """

    stamp: Stamp = Stamp(None, None)
    model: Model | None = None
    reason: str | None = None


class Versions:
    """The versions of one model.

    The pinned version answers, or else the newest that passes every check. It is served together with the newest of the
    others, up to a number. This follows from the files on disk alone, with two exceptions. A loaded version stays as it
    was loaded if its files break, until its directory is deleted. The version that answers stays if no other can be
    loaded.

    Only one thread at a time may call `update` and `unload`. Any thread may call the rest, and read the attributes:
    they are replaced and never changed, so that a reader sees one state or the next.

    Args:
        home: the directory of the versions.
        load: loads a version.
        pin: number of the version that answers; if None, the file `pin` may name one.
        count_rejection: called with the model's name for each version that is rejected.

    Attributes:
        current: the version that answers.
        served: the served versions, by number.
        problem: why another version answers than intended; None if there is no problem.
        unloaded: whether the model is unloaded.
    """

    def __init__(
        self, home: Path, load: Load, *, pin: int | None, count_rejection: Callable[[str], object] = lambda _: None
    ) -> None:
        self.current: Model | None = None
        self.served: Mapping[int, Model] = {}
        self.problem: str | None = None
        self.unloaded = False
        self._home = home
        self._load = load
        self._count_rejection = count_rejection
        self._pin = self._pinned = pin
        self._attempts: dict[int, _Attempt] = {}
        self._attention_moved: dict[int, float | None] = {}
        self._statuses: Mapping[int, Status] = {}

    def get(self, version: int | None = None) -> Model:
        """Return a served version; without a number, the one that answers.

        Raises:
            UnknownModel: this version is not served.
            Unavailable: no version is served.
        """
        current = self.current
        if current is None:
            raise Unavailable(f"no version of model {self._home.name!r} can be served: {self._why_none()}")
        if version is None:
            return current
        served = self.served
        if version not in served:
            raise UnknownModel(
                f"model {self._home.name!r} has no version {version}: expected {', '.join(map(str, sorted(served)))}"
            )
        return served[version]

    def statuses(self) -> list[Status]:
        """Return the status of each version, newest first."""
        return [status for _, status in sorted(self._statuses.items(), reverse=True)]

    def check(self) -> None:
        """Check that the version that should answer is served, as its files are now, and that no newer one is broken.

        Raises:
            Unavailable: the message has the version and the reason.
        """
        current = self.get()
        for status in self.statuses():
            if status.version >= current.version and status.reason is not None:
                raise Unavailable(
                    f"model {self._home.name!r}: version {status.version} cannot be loaded: {status.reason}; "
                    f"version {current.version} answers"
                )
        if self.problem is not None:
            raise Unavailable(f"model {self._home.name!r}: {self.problem}; version {current.version} answers")

    def update(self, numbers: Collection[int], keep: int) -> bool:
        """Serve the versions on disk, at most `keep` of them. Return whether a model was retired."""
        self.unloaded = False
        self._attempts = {number: attempt for number, attempt in self._attempts.items() if number in numbers}
        problem = self._read_pin()
        pin, current = self._pinned, self.current
        served: dict[int, Model] = {}
        for number in sorted(numbers, key=lambda number: (number == pin, number), reverse=True):
            if len(served) == keep:
                break
            model = self._open(number)
            if model is None:
                continue
            if not served:
                self._take_over(model)
            served[number] = model
        if not served and current is not None:
            served = {current.version: current}
            problem = problem or f"no version in {self._home} can be loaded: version {current.version} stays"
        elif pin is not None and pin not in served:
            reason = self._attempts[pin].reason if pin in self._attempts else "there is no such version"
            problem = problem or f"pinned version {pin} cannot be served: {reason}"
        if problem not in (None, self.problem):
            logger.error("%s: %s", self._home.name, problem)
        self.problem = problem
        return self._retire_all_but(served, numbers)

    def unload(self, numbers: Collection[int]) -> bool:
        """Retire every version until the next `update`. Accepted requests are finished.

        Args:
            numbers: the versions on disk.

        Returns:
            Whether a model was retired.
        """
        self.unloaded = True
        before, self.served, self.current = self.served, {}, None
        self._attempts, self._attention_moved, self.problem = {}, {}, None
        self._statuses = {number: Status(number, "unloaded") for number in numbers}
        for model in before.values():
            model.retire()
        if before:
            logger.info("%s is unloaded", self._home.name)
        return bool(before)

    async def close(self) -> None:
        """Stop serving, and wait until each version has finished its accepted requests."""
        served, self.served, self.current = self.served, {}, None
        for model in served.values():
            await model.close()

    def _read_pin(self) -> str | None:
        """Find out which version is pinned; return the problem if the pin cannot be read."""
        try:
            self._pinned = self._pin if self._pin is not None else pinned_version(self._home)
        except ArtifactError as error:  # it may be half written: keep the previous pin
            return str(error)
        return None

    def _open(self, number: int) -> Model | None:
        """Return the model of a version, loaded again if its files have changed; None if it is rejected."""
        artifact = Artifact(self._home / str(number))
        stamp, last = artifact.stamp(), self._attempts.get(number, _Attempt())
        if stamp == last.stamp:
            return last.model
        # Another directory with the same number is another version. Its predecessor must not answer for it.
        replaced = None not in (stamp.directory, last.stamp.directory) and stamp.directory != last.stamp.directory
        loaded = None if replaced else last.model
        if loaded is None:
            self._report(Status(number, "loading"))
        model, reason = loaded, None
        try:
            model = self._load(artifact, last.model)
        except Exception as error:  # noqa: BLE001 - runtimes raise anything; the other versions must stay served
            reason = str(error) if isinstance(error, ArtifactError) else printable(repr(error))
            if _out_of_descriptors(error):
                stamp = Stamp(None, None)  # try again at the next update
            if reason != last.reason:
                outcome = "is rejected" if loaded is None else "stays as it was loaded"
                logger.error("%s version %d %s: %s", self._home.name, number, outcome, reason)
                if loaded is None:
                    self._count_rejection(self._home.name)
        self._attempts[number] = _Attempt(stamp, model, reason)
        if model is None:
            self._report(self._status(number))
        return model

    def _take_over(self, model: Model) -> None:
        """Let a model answer from now on. Requests on the one before finish there."""
        before = self.current
        if model is before:
            return
        self.served = {**self.served, model.version: model}
        self.current = model
        if before is None:
            return
        moved = self._attention_moved[model.version] = model.attention_moved_from(before)
        self._report(self._status(model.version))
        logger.info(
            "%s version %d answers instead of version %d; attention moved by %s (total variation)",
            self._home.name,
            model.version,
            before.version,
            "an unknown distance" if moved is None else f"{moved:.4f}",
        )

    def _retire_all_but(self, served: Mapping[int, Model], numbers: Collection[int]) -> bool:
        """Serve these models and no others; return whether a model was retired."""
        before, self.served = self.served, served
        for number in before.keys() - served.keys():
            logger.info("%s version %d is retired", self._home.name, number)
        self._attempts = {
            number: attempt for number, attempt in self._attempts.items() if number in served or attempt.model is None
        }
        self._attention_moved = {number: moved for number, moved in self._attention_moved.items() if number in served}
        self._statuses = {number: self._status(number) for number in {*numbers, *served}}
        retired = [model for number, model in before.items() if served.get(number) is not model]
        for model in retired:
            model.retire()
        return bool(retired)

    def _status(self, number: int) -> Status:
        model, attempt = self.served.get(number), self._attempts.get(number)
        reason = None if attempt is None else attempt.reason
        if model is not None:
            return Status(number, "live", reason, model.engine.name, self._attention_moved.get(number))
        return Status(number, "retired" if attempt is None else "rejected", reason)

    def _report(self, status: Status) -> None:
        self._statuses = {**self._statuses, status.version: status}

    def _why_none(self) -> str:
        newest = next(iter(self.statuses()), None)
        if newest is None:
            return "there is none"
        return f"version {newest.version} is {newest.state}" + (f": {newest.reason}" if newest.reason else "")


def _out_of_descriptors(error: BaseException | None) -> bool:
    """Return whether too many open files are among the causes of an error."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
            return True
        error = error.__cause__
    return False
