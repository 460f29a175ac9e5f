"""The versions of one model: which are loaded, and which one answers."""

import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from service.artifact.layout import pinned_version
from service.artifact.version import Artifact, Stamp
from service.errors import ArtifactError, Unavailable, UnknownModel
from service.serving.model import Model

State = Literal["loading", "live", "rejected", "retired", "unloaded"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Status:
    """What has become of one version.

    Attributes:
        version: its number.
        state: `loading` while it is verified, `live` while it can be asked, `rejected` if it failed, `retired` if newer
            ones have taken its place, `unloaded` if somebody asked for that.
        reason: why it was rejected; of a live version, why its files cannot be loaded as they are now.
        engine: what executes it, where it is live.
        attention_moved: how far attention lies from the version that answered before (total variation on this
            version's golden example), where there was one.
    """

    version: int
    state: State
    reason: str | None = None
    engine: str | None = None
    attention_moved: float | None = None


class _Tried(NamedTuple):
    """What came of opening a version, and of which files."""

    stamp: Stamp
    model: Model | None
    reason: str | None


class Versions:
    """The versions of one model.

    The pinned version answers, else the newest that passes every check. That one and the newest others, up to a number,
    can be asked; all this follows from what is on disk, and not from what was there before. But for two things: what
    was verified goes on answering as it was whatever happens to its files, until its directory is deleted; and the last
    version that can be asked is not given up with its directory.

    `update` is called from one thread at a time, all else from any.

    Args:
        home: the directory of the versions.
        load: makes a verified model of a version, or raises ArtifactError.
        pin: version that is to answer; the one that the file `pin` names where it is none.
    """

    def __init__(self, home: Path, load: Callable[[Artifact], Model], *, pin: int | None) -> None:
        self.problem: str | None = None
        self.unloaded = False
        self._home = home
        self._load = load
        self._pin = self._pinned = pin
        self._tried: dict[int, _Tried] = {}
        self._moved: dict[int, float | None] = {}
        # Replaced and never changed, so that other threads see one state or the next.
        self._current: Model | None = None
        self._live: Mapping[int, Model] = {}
        self._statuses: Mapping[int, Status] = {}

    def get(self, version: int | None = None) -> Model:
        """A version that can be asked; the one that answers where no number is given.

        Raises:
            UnknownModel: it cannot.
            Unavailable: none can.
        """
        current = self._current
        if current is None:
            raise Unavailable(f"no version of model {self._home.name!r} can be served: {self._why_not()}")
        if version is None:
            return current
        live = self._live
        if version not in live:
            raise UnknownModel(
                f"model {self._home.name!r} has no version {version}: expected {', '.join(map(str, sorted(live)))}"
            )
        return live[version]

    @property
    def current(self) -> Model | None:
        """The version that answers."""
        return self._current

    @property
    def live(self) -> Mapping[int, Model]:
        """The versions that can be asked, by number."""
        return self._live

    def statuses(self) -> list[Status]:
        """What has become of each version, newest first."""
        return [status for _, status in sorted(self._statuses.items(), reverse=True)]

    def update(self, numbers: Collection[int], keep: int) -> bool:
        """Serve what is on disk.

        Args:
            numbers: the versions that are.
            keep: most versions that can be asked at a time.

        Returns:
            Whether a model was given up.
        """
        self.unloaded = False
        self._tried = {number: tried for number, tried in self._tried.items() if number in numbers}
        problem = None
        try:
            self._pinned = self._pin if self._pin is not None else pinned_version(self._home)
        except ArtifactError as error:  # perhaps it is being written: what was pinned stays so
            problem = str(error)
        pin = self._pinned
        live: dict[int, Model] = {}
        for number in sorted(numbers, key=lambda number: (number == pin, number), reverse=True):
            if len(live) == keep:
                break
            model = self._open(number)
            if model is None:
                continue
            live[number] = model
            if len(live) == 1:
                self._let_answer(model)
        if self._current is not None and not live:
            live = {self._current.version: self._current}
            problem = problem or f"no version in {self._home} can be loaded: version {self._current.version} stays"
        elif pin is not None and pin not in live:
            reason = self._tried[pin].reason if pin in self._tried else "there is no such version"
            problem = f"pinned version {pin} cannot be served: {reason}"
        if problem not in (None, self.problem):
            logger.error("%s: %s", self._home.name, problem)
        self.problem = problem
        return self._retire_all_but(live, numbers)

    def unload(self, numbers: Collection[int]) -> bool:
        """Give up every version, until the next `update`; what was accepted is finished.

        Args:
            numbers: the versions on disk.

        Returns:
            Whether a model was given up.
        """
        self.unloaded = True
        before, self._live, self._current = self._live, {}, None
        self._tried, self._moved, self.problem = {}, {}, None
        self._statuses = {number: Status(number, "unloaded") for number in numbers}
        for model in before.values():
            model.retire()
        if before:
            logger.info("%s is unloaded", self._home.name)
        return bool(before)

    async def close(self) -> None:
        """Let every version finish what it accepted, and serve none."""
        live, self._live, self._current = self._live, {}, None
        for model in live.values():
            await model.close()

    def _open(self, number: int) -> Model | None:
        """The model of a version, opened if its files have changed since it was tried last; none if it is rejected."""
        artifact = Artifact(self._home / str(number))
        stamp = artifact.stamp()
        tried = self._tried.get(number)
        if tried is not None and tried.stamp == stamp:
            return tried.model
        deleted = (
            tried is not None
            and None not in (stamp.directory, tried.stamp.directory)
            and (stamp.directory != tried.stamp.directory)
        )
        loaded = tried.model if tried is not None and not deleted else None
        if loaded is None:
            self._report(Status(number, "loading"))
        model, reason = loaded, None
        try:
            model = self._load(artifact)
        except Exception as error:  # noqa: BLE001 - whatever a runtime makes of a version, the others are served on
            reason = _printable(str(error) if isinstance(error, ArtifactError) else repr(error))
            if tried is None or tried.reason != reason:
                outcome = "is rejected" if loaded is None else "stays as it was loaded"
                logger.error("%s version %d %s: %s", self._home.name, number, outcome, reason)
        self._tried[number] = _Tried(stamp, model, reason)
        if model is None:
            self._report(self._status(number))
        return model

    def _let_answer(self, model: Model) -> None:
        """From now on this model answers; who asked another keeps it until that has answered."""
        before = self._current
        if model is before:
            return
        self._live = {**self._live, model.version: model}
        self._current = model
        if before is None:
            return
        moved = model.attention_moved_from(before)
        self._moved[model.version] = moved
        self._report(self._status(model.version))
        logger.info(
            "%s version %d answers instead of version %d; attention moved by %s (total variation)",
            self._home.name,
            model.version,
            before.version,
            "an unknown distance" if moved is None else f"{moved:.4f}",
        )

    def _retire_all_but(self, live: Mapping[int, Model], numbers: Collection[int]) -> bool:
        before, self._live = self._live, live
        for number in before.keys() - live.keys():
            logger.info("%s version %d is retired", self._home.name, number)
        self._tried = {number: tried for number, tried in self._tried.items() if number in live or not tried.model}
        self._moved = {number: moved for number, moved in self._moved.items() if number in live}
        self._statuses = {number: self._status(number) for number in {*numbers, *live}}
        given_up = [model for number, model in before.items() if live.get(number) is not model]
        for model in given_up:
            model.retire()
        return bool(given_up)

    def _status(self, number: int) -> Status:
        model, tried = self._live.get(number), self._tried.get(number)
        reason = tried.reason if tried is not None else None
        if model is not None:
            return Status(number, "live", reason, model.engine.name, self._moved.get(number))
        return Status(number, "retired" if tried is None else "rejected", reason)

    def _why_not(self) -> str:
        newest = next(iter(self.statuses()), None)
        if newest is None:
            return "there is none"
        return f"version {newest.version} is {newest.state}" + (f": {newest.reason}" if newest.reason else "")

    def _report(self, status: Status) -> None:
        self._statuses = {**self._statuses, status.version: status}


def _printable(text: str) -> str:
    """A reason as it can be logged and answered: names of files may hold anything."""
    return "".join(character if character.isprintable() else f"\\x{ord(character):02x}" for character in text[:2000])
