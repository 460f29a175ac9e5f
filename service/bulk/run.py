"""One run of scoring: its plan or its manifest, its units, its outcome."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from service import __version__
from service.artifact.card import ModelCard
from service.artifact.layout import pinned_version, versions_of
from service.artifact.table_format import format_of
from service.artifact.version import Artifact
from service.bulk import results
from service.bulk.address import is_address, size_and_time
from service.bulk.arrays import texts_of
from service.bulk.output import MANIFEST, PREPARED, Output, claimed
from service.bulk.plan import Plan, files_of, plan_of
from service.bulk.source import Source, Unit
from service.bulk.worker import Attention, Job, digest_of
from service.errors import ScoringError

#: Runs units of a job, and yields each when it is done.
Execute = Callable[[Job, Sequence[Unit]], Iterator[Unit]]
#: Sequences of a unit, or their runs for importance, at most, and values of their inputs or their attention.
MOST_SEQUENCES, MOST_VALUES = 50_000, 2**21
#: What of a manifest must be the same for `--resume`, with its name in messages.
SAME: Final = {
    "program": "the program",
    "model": "--model",
    "version": "--version",
    "digest": "the files of the version",
    "options": "the options",
    "inputs": "the input",
}


@dataclass(frozen=True)
class Options:
    """What to score, and how. The command line describes them."""

    inputs: tuple[str, ...]
    output: Path
    model: str
    version: int | None = None
    artifacts: Path = Path("artifacts")
    attention: Attention = "mean"
    importance: bool = False
    chunk: int | None = None
    resume: bool = False
    strict: bool = False


@dataclass(frozen=True)
class Summary:
    """The outcome of a run: sequences in the output, rows and sequences rejected, and those of this run in seconds."""

    sequences: int
    rejected: int
    scored: int
    seconds: float


def score(options: Options, report: Callable[[int, int], None], execute: Execute) -> Summary:
    """Score all sequences of the inputs, and write them into the folder of the output.

    Args:
        options: what to score, and how.
        report: is called with the sequences that are done and with all of them, at first and after each unit.
        execute: runs the units.

    Raises:
        ScoringError, TableError, ArtifactError: an input, the version or the output is wrong, or a worker ended.
    """
    started = time.monotonic()
    written = options.output.resolve()  # it may be in a folder of the input
    files = [
        file
        for file in files_of(options.inputs)
        if is_address(file) or not Path(file).resolve().is_relative_to(written)
    ]
    with claimed(options.output, resume=options.resume) as output:
        manifest = output.manifest()
        directory = _directory(options, None if manifest is None else manifest.get("version"))
        contents = Artifact(directory).read()
        card, digest = contents.card(), digest_of(contents.digests)
        if options.importance and card.baseline is None:
            raise ScoringError(f"--importance: {options.model} has no baseline on its card: train it again")
        chunk = options.chunk or _chunk(card, contents.golden().sizes.get("units", 1), options)
        del contents
        head = {
            "program": __version__,
            "model": options.model,
            "version": int(directory.name),
            "digest": digest,
            "options": {"attention": options.attention, "importance": options.importance, "chunk": chunk},
            "inputs": _identities(files),
        }
        if manifest is None:
            plan = plan_of(files, card, output, chunk)
            _write_problems(output, plan, strict=options.strict)
            output.write_manifest(head | plan.as_json())
        else:
            _require_same(manifest, head)
            plan = _planned(manifest, output)
        todo = [unit for unit in plan.units if not output.has(unit)]
        if any(_is_lost(plan.sources[unit.source]) for unit in todo):
            plan = plan_of(files, card, output, chunk)
        job = Job(
            version=directory,
            digest=digest,
            output=output.folder.absolute(),
            attention=options.attention,
            importance=options.importance,
            strict=options.strict,
            sources=plan.sources,
            names_files=len(files) > 1,
            key=format_of(card).sequence_column or "",
        )
        total, scored = (sum(unit.sequences for unit in units) for units in (plan.units, todo))
        report(total - scored, total)
        left = scored
        for unit in execute(job, todo):
            left -= unit.sequences
            report(total - left, total)
        if _identities(files) != head["inputs"]:
            raise ScoringError("the input changed while the run was going on: score it again into another folder")
        output.clean()
        return Summary(*output.count(), scored, time.monotonic() - started)


def _directory(options: Options, begun: int | None) -> Path:
    """Return the directory of the version: the one given, else the one that the run began with, pinned, or newest.

    Raises:
        ScoringError: there is no such model or version.
    """
    home = options.artifacts / options.model
    numbers = versions_of(home) if home.is_dir() else []
    if not numbers:
        raise ScoringError(f"--model: expected a model in {options.artifacts}, got {options.model!r}")
    number = options.version or begun or pinned_version(home) or numbers[-1]
    if number not in numbers:
        listed = ", ".join(map(str, numbers))
        raise ScoringError(f"--version: expected a version of {options.model} ({listed}), got {number}")
    return (home / str(number)).absolute()


def _chunk(card: ModelCard, units: int, options: Options) -> int:
    """Return the sequences of a unit, so that its values in memory and its runs of the model are bounded."""
    values = card.timesteps * max(card.features, units if options.attention == "full" else 1)
    runs = card.timesteps if options.importance else 1
    return max(1, min(MOST_SEQUENCES // runs, MOST_VALUES // values))


def _identities(files: Sequence[str]) -> list[dict[str, Any]]:
    """Return what tells whether files have changed."""
    found = [(file, *size_and_time(file)) for file in files]
    return [{"file": file, "size": size, "changed": changed} for file, size, changed in found]


def _is_lost(source: Source) -> bool:
    """Return whether a source is a copy in the folder of a run, which was removed, or moved with the folder."""
    path = Path(source.path)
    return path.parent.name == PREPARED and not path.exists()


def _planned(manifest: Mapping[str, Any], output: Output) -> Plan:
    """Return the plan of a manifest.

    Raises:
        ScoringError: it has none.
    """
    try:
        return Plan.of_json(manifest)
    except (KeyError, TypeError) as error:
        place = output.folder / MANIFEST
        raise ScoringError(f"{place}: expected the sources and units of a run, got others") from error


def _require_same(manifest: Mapping[str, Any], head: Mapping[str, Any]) -> None:
    """Check that a run is the one that began.

    Raises:
        ScoringError: something differs.
    """
    for name, shown in SAME.items():
        if (begun := manifest.get(name)) != head[name]:
            raise ScoringError(
                f"--resume: expected {shown} of the run that began, {_short(begun)}, got {_short(head[name])}"
            )


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 200 else f"{text[:199]}…"


def _write_problems(output: Output, plan: Plan, *, strict: bool) -> None:
    """Write the rows that belong to no sequence."""
    tables = [
        results.rejected(file, problems, texts_of([None] * len(problems)))
        for file, problems in plan.problems.items()
        if problems
    ]
    if not tables:
        return
    if strict:
        file, problem = next((file, problems[0]) for file, problems in plan.problems.items() if problems)
        raise ScoringError(f"{file}, row {problem.row:,}: {problem.reason}")
    output.write(pa.concat_tables(tables).combine_chunks(), output.rejected_before)
