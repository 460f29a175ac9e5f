"""The database of a table takes little memory, and says when there is no room."""

import gzip
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from training import TrainingError
from training.options import Options
from training.tables import rows
from training.tables.rows import Table, open_table

#: Rows of a table that is larger than the memory of the tests below.
N = 60_000


@pytest.fixture
def little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin with 3 MB."""
    monkeypatch.setattr(rows, "MEMORY", 3 * 2**20)


@contextmanager
def small_files() -> Iterator[None]:
    """Let files have at most 512 KB, as on a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**19, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def table(path: Path, **options: Any) -> Table:
    """Open a file of numbers in random order, with their order."""
    return open_table("t", path, Options(data=str(path), **options))


def write(folder: Path, name: str) -> Path:
    """Write a file of numbers in random order."""
    order = np.random.default_rng(0).permutation(N)
    frame = pl.DataFrame({"order": order, **{f"a{i}": order / N for i in range(4)}})
    path = folder / name
    if path.suffix == ".csv":
        frame.write_csv(path)
    else:
        frame.write_parquet(path)
    return path


@pytest.mark.parametrize("name", ["data.csv", "data.parquet"])
@pytest.mark.usefixtures("little_memory")
def test_a_query_gets_the_memory_that_it_needs(tmp_path: Path, name: str) -> None:
    """It is asked again with more, where the least is too little."""
    opened = table(write(tmp_path, name))
    batches = opened.batches('SELECT * FROM rows ORDER BY "order"::BIGINT', 6)
    order = np.concatenate([batch["order"].to_numpy(zero_copy_only=False) for batch in batches])
    np.testing.assert_array_equal(order.astype(np.int64), np.arange(N))


@pytest.mark.usefixtures("little_memory")
def test_a_query_that_needs_more_memory_later_goes_on(tmp_path: Path) -> None:
    """Each row comes once."""
    opened = table(write(tmp_path, "data.csv"))
    memory = "parse_formatted_bytes(current_setting('memory_limit'))"
    short = f'"row of the table" = {N - 5} AND {memory} < {2**28}'
    error = f"CASE WHEN {short} THEN error('Out of Memory Error') END"
    question = f'SELECT "row of the table" AS r, {error} FROM rows'  # noqa: S608 - a test's own SQL
    batches = [batch["r"].to_numpy() for batch in opened.batches(question, 2)]
    np.testing.assert_array_equal(np.concatenate(batches), np.arange(1, N + 1))


@pytest.mark.parametrize("name", ["data.csv", "data.csv.gz"])
@pytest.mark.usefixtures("little_memory")
def test_a_full_disk_is_told(tmp_path: Path, name: str) -> None:
    """The message says what to do, for what DuckDB writes and for a copy as plain text."""
    path = write(tmp_path, "data.csv")
    if name != path.name:
        path = tmp_path / name
        path.write_bytes(gzip.compress((tmp_path / "data.csv").read_bytes()))
    message = r"expected room for the rows of t, got [\d,]+ MB free; free more, or set TMPDIR"
    with small_files(), pytest.raises(TrainingError, match=message):
        table(path)
