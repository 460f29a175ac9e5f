"""Small models for scoring in bulk, and runs of it in this process."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from service.artifact.card import TableFormat, Target, Timing, Tokens
from service.bulk.output import REJECTED
from service.bulk.run import Options, Summary, score
from service.bulk.source import Unit
from service.bulk.worker import Job, score_unit
from tests.imported import imported_card, numbers, of_numbers, of_steps, of_tokens, write_imported

#: The features of the models of numbers.
NAMES = ("u", "v")
WORDS = {"[UNK]": 1, "the": 2, "cat": 3, "sat": 4}


def write_models(folder: Path) -> None:
    """Write versions of small models.

    `wide` and `long` are the same model of sequences `(4, 2)`, of tables of one row a sequence and one row a timestep.
    `words` takes up to 6 tokens. `steps` predicts three classes for each of 2 output steps.
    """
    same: dict[str, Any] = {"feature_labels": NAMES, "baseline": ((0.0, 0.0),) * 4}
    timing = Timing(unit="number", times=(0, 1, 2, 3), step=1)
    tables = {
        "wide": TableFormat(target_columns=("y",)),
        "long": TableFormat(sequence_column="id", timestep_column="t", timing=timing, target_columns=("y",)),
    }
    for name, table in tables.items():
        write_imported(folder, of_numbers(), imported_card(name, table=table, **same), numbers())
    tokens = Tokens(least=0, most=9, vocabulary=WORDS)
    words = imported_card(
        "words", timesteps=6, features=1, feature_labels=("word",), tokens=tokens, variable_length=True,
        table=TableFormat(sequence_column="text", timestep_column="place"),
    )  # fmt: skip
    write_imported(folder, of_tokens(), words, numbers(5).reshape(5, 8)[:, :6, None].round().clip(0, 9))
    target = Target(task="multiclass", classes=("a", "b", "c"), steps=2)
    write_imported(folder, of_steps(2, 3), imported_card("steps", target=target, feature_labels=NAMES), numbers())


def here(job: Job, units: Sequence[Unit]) -> Iterator[Unit]:
    """Score units in this process."""
    for unit in units:
        score_unit(job, unit)
        yield unit


def silent(*_: int) -> None:
    """Report nothing."""


def scored(models: Path, source: Path, output: Path, model: str, **options: Any) -> Summary:
    """Score a file in this process."""
    given = Options(inputs=(str(source),), output=output, model=model, artifacts=models, **options)
    return score(given, silent, here)


def answers(output: Path) -> pl.DataFrame:
    """Return the scored sequences of a run."""
    return pl.read_parquet(output / "*.parquet")


def rejections(output: Path) -> dict[int, str]:
    """Return the reason of each rejected row, by its number."""
    found = pl.read_parquet(output / REJECTED / "*.parquet")
    return dict(zip(found["row"], found["reason"], strict=True))
