"""The database of a table takes little memory, and says when there is no room."""

import gzip
import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Timer
from typing import Any

import numpy as np
import polars as pl
import pytest

from service.errors import TableError
from service.tables import rows, times
from service.tables.dialect import Dialect
from service.tables.rows import ROW, Table, open_table, quoted, skipped_rows
from training import TrainingError
from training.options import Options
from training.tables import reading

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
    return open_table("t", path, Options(data=str(path), **options).dialect)


def write(folder: Path, name: str, **columns: Any) -> Path:
    """Write a file of some columns, or of numbers in random order."""
    order = np.random.default_rng(0).permutation(N)
    frame = pl.DataFrame(columns or {"order": order, **{f"a{i}": order / N for i in range(4)}})
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
    path = write(tmp_path, "data.csv", **{f"a{i}": np.arange(6 * N) / N for i in range(5)})
    if name != path.name:
        path = tmp_path / name
        path.write_bytes(gzip.compress((tmp_path / "data.csv").read_bytes()))
    message = r"expected room for the rows of t, got [\d,]+ MB free; free more, or set TMPDIR"
    with small_files(), pytest.raises(TableError, match=message):
        table(path)


@pytest.mark.parametrize("at_once", [0, 99])
@pytest.mark.parametrize("name", ["data.csv", "data.parquet"])
def test_many_columns_are_examined_as_few_are(
    tmp_path: Path, name: str, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kinds of columns, and the first value that is no number for float32, are the same."""
    monkeypatch.setattr(rows, "COLUMNS", at_once)
    opened = table(
        write(tmp_path, name, large=[1.5, None, 1e300], word=["a", None, "-"], none=[None] * 3, flag=[True] * 3)
    )
    kinds = {"large": "numbers", "word": "text", "none": "empty", "flag": "booleans"}
    assert opened.kinds(tuple(kinds)) == kinds
    place = f"row {4 if name.endswith('csv') else 3}"
    with pytest.raises(TableError, match=f"t, column 'large', {place}: expected a finite number, got '?1e"):
        opened.refuse_words(("flag", "none", "large"))


def test_an_underscore_is_no_part_of_a_number(tmp_path: Path) -> None:
    """It is in DuckDB, but not in the service, nor in other programs that write CSV."""
    opened = table(write(tmp_path, "data.csv", a=["1", "1_000"]))
    with pytest.raises(TableError, match="t, column 'a', row 3: expected a number, got '1_000'"):
        opened.refuse_words(["a"])


@pytest.mark.parametrize(
    ("late", "unit"),
    [(["3", "4"], "integers"), (["3", "2.5"], "numbers"), (["3", "2.5", "x"], "numbers"), (["x", ""], "integers")],
)
def test_times_are_read_as_most_of_them_can_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, late: list[str], unit: str
) -> None:
    """Those after the first rows count, too, where these can be read in several ways."""
    monkeypatch.setattr(times, "SAMPLED", 2)
    opened = table(write(tmp_path, "data.csv", t=["1", "2", *late]))
    assert times.likely_times(opened, "t", ()).unit == unit


@pytest.mark.parametrize(("last", "formats"), [("25/04/2024", times.DAY_FIRST), ("04/25/2024", times.MONTH_FIRST)])
def test_one_date_tells_the_order_of_day_and_month(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: str, formats: tuple[str, ...]
) -> None:
    """It may stand behind many that do not."""
    monkeypatch.setattr(times, "SAMPLED", 2)
    opened = table(write(tmp_path, "data.csv", t=["01/02/2024", "03/04/2024", "05/06/2024", last]))
    assert times.likely_times(opened, "t", ()).formats == formats
    assert times.times_of(opened, "t", None).formats == formats


def test_a_missing_column_may_be_one_of_another_encoding(tmp_path: Path) -> None:
    """The message names the encoding that was taken, and the option for another one, or what converts the file."""
    (tmp_path / "t.csv").write_bytes("환자,a\n1,2\n".encode("cp949"))
    expected = "expected a column '환자', .* read as Windows-1252,"
    with pytest.raises(TableError, match=f"{expected} iconv -f NAME -t UTF-8 converts it from another encoding"):
        table(tmp_path / "t.csv").require(["환자"])
    with pytest.raises(TrainingError, match=f"{expected} --encoding names another encoding, such as cp949"):
        reading.read({"t": tmp_path / "t.csv"}, Options(data="t.csv", target_column=("환자",)))
    table(tmp_path / "t.csv", encoding="cp949").require(["환자"])


@pytest.mark.parametrize(
    ("cell", "end"),
    [
        ("n.d.", "got 'n.d.'; --missing n.d. takes it as a missing value"),
        ("not done", "got 'not done'; --missing 'not done' takes it as a missing value"),
        ("12O", "got '12O'"),
    ],
)
def test_a_word_among_numbers_may_mean_a_missing_value(tmp_path: Path, cell: str, end: str) -> None:
    """In a training the message names the option; a word with digits is probably a wrong number."""
    (tmp_path / "t.csv").write_text(f"a\n1\n2\n{cell}\n")
    with pytest.raises(TableError) as caught:
        table(tmp_path / "t.csv").refuse_words(["a"], may_be_missing=True)
    assert str(caught.value).endswith(end)
    with pytest.raises(TableError, match=r"got '[^']*'$"):
        table(tmp_path / "t.csv").refuse_words(["a"])


def test_wide_text_keeps_the_order_of_its_columns(tmp_path: Path) -> None:
    """Numbers, words, and columns without values come in the order of the file."""
    names = [f"{feature}@{step}" for step in range(3) for feature in ("a", "word", "b")]
    cells = ["1", "up", "True", "NA", "down", "0.5", "-1e-44", "", "9"]
    path = tmp_path / "data.csv"
    path.write_text(f"{','.join(names)},y\n" + f"{','.join(cells)},x\n" * 2)
    source = reading.read({"t": path}, Options(data=str(path)))
    assert source.feature_labels == ("a", "word", "b")
    np.testing.assert_array_equal(
        source.x[0:1], np.array([[[1, 1, 1], [np.nan, 0, 0.5], [-1e-44, np.nan, 9]]], np.float32)
    )


@pytest.mark.usefixtures("little_memory")
def test_wrong_lines_of_a_file_that_does_not_fit_into_memory(tmp_path: Path) -> None:
    """The rows after it have the numbers that they have in the file."""
    path = tmp_path / "data.csv"
    line = ",".join(f"{number:_<20}" for number in range(30))
    wrong = ["1,2", f"{line},1,2,3", f'"a"b,{line}']
    path.write_text(
        "\n".join([",".join(f"c{number}" for number in range(30)), *[line] * 9_999, *wrong, *[line] * 9_998])
    )
    table = open_table("data.csv", path, Dialect(), skips_wrong_rows=True)
    assert skipped_rows(table) == [
        (10_000, "expected 30 cells, got 2"),
        (10_001, "expected 30 cells, got 33"),
        (10_002, "expected a quote at the end of a cell that begins with one, got none"),
    ]
    numbers = [row for (row,) in table.ask(f"SELECT {quoted(ROW)} FROM rows")]  # noqa: S608 - a name of ours
    assert numbers == [*range(1, 10_000), *range(10_003, 20_001)]


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize("name", ["a[1]", "a?", "a*"])
def test_a_name_is_no_pattern(tmp_path: Path, name: str, suffix: str) -> None:
    """A file is read, not another one that its name would match; so is a file in such a folder."""
    (tmp_path / name).mkdir()
    (tmp_path / "a1").mkdir()
    write(tmp_path, f"a1.{suffix}", order=[1])
    write(tmp_path / "a1", f"b.{suffix}", order=[1])
    for path in (tmp_path / f"{name}.{suffix}", tmp_path / name / f"b.{suffix}"):
        write(path.parent, path.name, order=[2])
        assert table(path).ask('SELECT "order"::INT FROM rows') == [(2,)]


@pytest.mark.parametrize("name", ["data.csv", "data.parquet"])
def test_a_folder_gives_no_column(tmp_path: Path, name: str) -> None:
    """The values of a column are those of the file, although the name of its folder assigns it another value."""
    (tmp_path / "order=9").mkdir()
    opened = table(write(tmp_path / "order=9", name, order=[1, 2], other=[3, 4]))
    assert opened.names == ("order", "other")
    assert opened.ask('SELECT "order"::INT FROM rows') == [(1,), (2,)]


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (["[1, 2]", "oops", "[3", "[4]"], "lists"),
        (["[1, 2]", "oops", "[3"], "text"),
        (["(none)", "[none]", "few"], "text"),
        (["(none)", "[a, b]"], "lists"),
    ],
)
def test_at_least_half_of_a_column_says_that_it_has_lists(tmp_path: Path, cells: list[str], kind: str) -> None:
    """As for numbers; words in brackets are lists only if there is nothing else."""
    assert table(write(tmp_path, "data.csv", cells=cells)).kinds(["cells"]) == {"cells": kind}


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Handle Ctrl-C as a program does. The runner of asynchronous tests handles it in another way."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("way", ["at once", "in batches"])
def test_an_interrupt_ends_a_query(tmp_path: Path, way: str) -> None:
    """As it ends Python: the programs end with one line, not with DuckDB's error."""
    opened = table(write(tmp_path, "data.csv", a=[1, 2, 3]))
    question = "SELECT sum(range) FROM range(30_000_000_000)"  # it ends without an interrupt, too
    Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt) as caught:
        opened.ask(question) if way == "at once" else next(opened.batches(question, 1))
    assert isinstance(caught.value.__cause__, RuntimeError)
