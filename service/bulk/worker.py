"""A worker: opens the verified version once, and scores one unit after the other."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final, Literal

import numpy as np

from service.artifact.gate import check_names, open_verified
from service.artifact.occlusion import Occlusions
from service.artifact.tensors import ATTENTION, ATTENTION_VEC, IMPORTANCE, PREDICTION, Array
from service.artifact.version import Artifact
from service.bulk import results
from service.bulk.arrays import array_of
from service.bulk.output import Output
from service.bulk.parquet_rows import ParquetRows
from service.bulk.reading import Part, read
from service.bulk.source import Source, Unit
from service.engines import opener
from service.engines.runtime import first_line
from service.errors import ArtifactError, ScoringError

Attention = Literal["mean", "full", "none"]
#: Sequences in one run of the engine. More do not make it faster, and take memory.
BATCH: Final = 64


@dataclass(frozen=True)
class Job:
    """What all units of a run have in common.

    Attributes:
        version: the directory of the version.
        digest: the digest of its files.
        output: the folder of the run.
        attention: the attention to write.
        importance: whether to write the importance of timesteps.
        strict: whether a sequence that the model does not take ends the run.
        sources: the sources of all units.
        names_files: whether the output has the file of each sequence.
        key: the name of the column of keys, for tables that have one.
    """

    version: Path
    digest: str
    output: Path
    attention: Attention
    importance: bool
    strict: bool
    sources: tuple[Source, ...]
    names_files: bool
    key: str


@dataclass(frozen=True)
class Outcome:
    """How many sequences of a unit were scored, and how many rejected."""

    scored: int
    rejected: int


class Worker:
    """Scores the units of a run, one after the other.

    Args:
        job: what the units have in common.

    Raises:
        ArtifactError: the version must not be served.
        ScoringError: its files are no longer those of the run.
    """

    def __init__(self, job: Job) -> None:
        contents = Artifact(job.version).read()
        if digest_of(contents.digests) != job.digest:
            raise ScoringError(f"{job.version}: its files changed while the run was going on")
        verified = open_verified(contents, opener("auto", threads=1))
        check_names(verified.card, job.version)
        self._card, self._engine, self._job = verified.card, verified.engine, job
        self._output = Output(job.output)
        self._file = ParquetRows()
        self._outputs = [PREDICTION]
        if verified.card.attention is not None and job.attention != "none":
            self._outputs.append(ATTENTION if job.attention == "mean" else ATTENTION_VEC)

    def score(self, unit: Unit) -> Outcome:
        """Read a unit, run its sequences, and write its part of the output, with what was rejected before it.

        Raises:
            ScoringError: the part cannot be written, or a sequence is wrong and the run is strict.
        """
        source = self._job.sources[unit.source]
        part = read(source, unit, self._card, self._file)
        outputs = self._run(part.x)
        part, outputs = _finite(part, outputs)
        if part.problems and self._job.strict:
            raise ScoringError(f"{source.file}, row {part.problems[0].row:,}: {part.problems[0].reason}")
        if part.problems:
            rejected = results.rejected(source.file, part.problems, part.problem_keys)
            self._output.write(rejected, self._output.rejected(unit.number))
        first = {results.FILE: results.repeated(source.file, len(part.x))} if self._job.names_files else {}
        first |= (
            {results.ROW: array_of(part.rows)} if part.keys is None else {results.key_column(self._job.key): part.keys}
        )
        table = results.scored(first, outputs, self._card.target, part.lengths)
        self._output.write(table, self._output.part(unit.number))
        return Outcome(len(part.x), len(part.problems))

    def _run(self, x: Array) -> dict[str, Array]:
        """Return the outputs of sequences `(n, timesteps, features)`, `(n, …)` each."""
        parts = [self._engine.run(x[start : start + BATCH], self._outputs) for start in range(0, len(x), BATCH)]
        if not parts:  # an output of the right shape
            one = np.zeros((1, self._card.timesteps, self._card.features), np.float32)
            parts = [{name: values[:0] for name, values in self._engine.run(one, self._outputs).items()}]
        outputs = {name: np.concatenate([part[name] for part in parts]) for name in self._outputs}
        if self._job.importance:
            importances = [
                self._importance(x[start : start + BATCH], outputs[PREDICTION][start : start + BATCH])
                for start in range(0, len(x), BATCH)
            ]
            empty = np.zeros((0, self._card.timesteps), np.float32)
            outputs[IMPORTANCE] = np.concatenate([empty, *importances])
        return outputs

    def _importance(self, x: Array, prediction: Array) -> Array:
        """Return the importance of the timesteps of sequences, `(n, timesteps)`."""
        baseline = np.array(self._card.baseline, np.float32)
        copies = Occlusions(x, baseline, IMPORTANCE, self._card.varying)
        runs = [
            self._engine.run(np.asarray(copies[start : start + BATCH]), (PREDICTION,))[PREDICTION]
            for start in range(0, len(copies), BATCH)
        ]
        return copies.importance(prediction, np.concatenate(runs), self._card.target)


def _finite(part: Part, outputs: dict[str, Array]) -> tuple[Part, dict[str, Array]]:
    """Return what has finite answers. The other sequences become problems, as they do in the service."""
    if all(np.isfinite(values).all() for values in outputs.values()):  # as nearly always
        return part, outputs
    of_each = [np.isfinite(values).all(axis=tuple(range(1, values.ndim))) for values in outputs.values()]
    finite = np.all(of_each, axis=0)
    return part.without(~finite, "expected values that the model can handle, got an answer not finite"), {
        name: values[finite] for name, values in outputs.items()
    }


def digest_of(digests: Mapping[str, str]) -> str:
    """Return one digest of the digests of all files of a version."""
    return hashlib.sha256(json.dumps(sorted(digests.items())).encode()).hexdigest()


@lru_cache(1)
def _worker(job: Job) -> Worker:
    return Worker(job)


def score_unit(job: Job, unit: Unit) -> Outcome:
    """Score a unit in a process that keeps its worker.

    Raises:
        ScoringError: the unit cannot be scored. The message has one line.
    """
    try:
        return _worker(job).score(unit)
    except (ScoringError, ArtifactError):
        raise
    except Exception as error:  # one line for the person; the cause has the rest
        file = job.sources[unit.source].file
        place = f"{file}, rows {unit.start + 1:,} to {unit.stop:,}"
        raise ScoringError(f"{place}: cannot be scored: {type(error).__name__}: {first_line(error)}") from error
