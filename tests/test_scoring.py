"""Scoring in bulk: every form of input has the answers of the service."""

import json
import shutil
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet
import pytest
from numpy.typing import NDArray

from service.api.codecs.sequences import decode_sequences
from service.api.codecs.tables import decode_csv_table
from service.artifact.card import ModelCard, TableFormat, Timing
from service.artifact.gate import open_verified
from service.artifact.tensors import ATTENTION, ATTENTION_VEC, PREDICTION, Array
from service.artifact.version import Artifact
from service.bulk import plan
from service.bulk.output import MANIFEST, Output
from service.bulk.parquet_rows import ParquetRows
from service.bulk.plan import plan_of
from service.bulk.reading import read
from service.bulk.run import MOST_SEQUENCES, Options, score
from service.engines import opener
from service.errors import ScoringError
from tests.categorized import CATEGORIES
from tests.imported import (
    FEATURES,
    TIMESTEPS,
    imported_card,
    numbers,
    of_numbers,
    of_steps,
    of_tokens,
    run,
    write_imported,
)
from tests.scoring import NAMES, answers, here, rejections, scored, silent

N = 50
X = np.random.default_rng(3).standard_normal((N, TIMESTEPS, FEATURES)).astype(np.float32)
WIDE = pl.DataFrame({f"{name}@{t}": X[:, t, f] for t in range(TIMESTEPS) for f, name in enumerate(NAMES)})
LONG = pl.DataFrame(
    {
        "id": np.arange(N).repeat(TIMESTEPS),
        "t": np.tile(np.arange(TIMESTEPS), N),
        "u": X[:, :, 0].ravel(),
        "v": X[:, :, 1].ravel(),
        "y": ["yes"] * (N * TIMESTEPS),
    }
)


def write_npz(path: Path) -> None:
    np.savez(path, x=X)


def write_packed(path: Path) -> None:
    np.savez_compressed(path, x=X.astype(np.float64), y=np.zeros(N))


def write_wide(path: Path) -> None:
    WIDE.with_columns(id=pl.lit("x")).write_parquet(path, row_group_size=7)


def write_wide_text(path: Path) -> None:
    WIDE.cast(pl.String).write_parquet(path)


def write_csv(path: Path) -> None:
    WIDE.write_csv(path, separator=";")


def write_lists(path: Path) -> None:
    pl.DataFrame({name: X[:, :, f].tolist() for f, name in enumerate(NAMES)}).write_parquet(path)


def write_arrays(path: Path) -> None:
    columns = {name: X[:, :, f] for f, name in enumerate(NAMES)}
    pl.DataFrame(columns, schema=dict.fromkeys(NAMES, pl.Array(pl.Float32, TIMESTEPS))).write_parquet(path)


def write_lists_of_text(path: Path) -> None:
    pl.DataFrame({name: [str(one) for one in X[:, :, f].tolist()] for f, name in enumerate(NAMES)}).write_csv(path)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("data.npz", write_npz),
        ("data.npz", write_packed),
        ("data.parquet", write_wide),
        ("data.parquet", write_wide_text),
        ("data.csv", write_csv),
        ("data.parquet", write_lists),
        ("data.parquet", write_arrays),
        ("data.csv", write_lists_of_text),
    ],
)
def test_a_row_a_sequence_has_the_answers_of_the_engine(
    models: Path, tmp_path: Path, name: str, write: Callable[[Path], None]
) -> None:
    """The rows come in order, in several parts, with their numbers from 1."""
    write(tmp_path / name)
    summary = scored(models, tmp_path / name, tmp_path / "out", "wide", chunk=20)
    assert (summary.sequences, summary.rejected) == (N, 0)
    found = answers(tmp_path / "out")
    expected = run(of_numbers(), X)
    assert found["row"].to_list() == list(range(1, N + 1))
    np.testing.assert_allclose(found["prediction"], expected[PREDICTION][:, 0], rtol=1e-6)
    np.testing.assert_allclose(found["attention"].to_list(), expected[ATTENTION], rtol=1e-6)
    assert found["label"].to_list() == [("no", "yes")[int(one >= 0.5)] for one in expected[PREDICTION][:, 0]]
    np.testing.assert_allclose(found["probabilities"].list.sum(), np.ones(N), rtol=1e-6)
    assert len(list((tmp_path / "out").glob("*.parquet"))) == 3


@pytest.mark.parametrize("name", ["data.parquet", "data.csv", "data.tsv", "data.csv.gz"])
@pytest.mark.parametrize("rows", ["in order", "shuffled", "backwards in each sequence"])
def test_a_row_a_timestep_has_the_answers_of_the_engine(models: Path, tmp_path: Path, name: str, rows: str) -> None:
    """Sequences come in the order of their first rows, with their keys, although rows stand in any order."""
    table = {
        "in order": LONG,
        "shuffled": LONG.sample(fraction=1, shuffle=True, seed=0),
        "backwards in each sequence": LONG.sort("id", "t", descending=[False, True]),
    }[rows]
    path = tmp_path / name
    if name.endswith(".parquet"):
        table.write_parquet(path, row_group_size=33)
    else:
        pd.DataFrame(table.to_dict(as_series=False)).to_csv(path, index=False, sep="\t" if "tsv" in name else ",")
    scored(models, path, tmp_path / "out", "long", chunk=20)
    found = answers(tmp_path / "out")
    order = table["id"].unique(maintain_order=True).to_numpy()
    assert found["id"].cast(pl.Int64).to_list() == order.tolist()
    expected = run(of_numbers(), X)
    np.testing.assert_allclose(found["prediction"], expected[PREDICTION][order, 0], rtol=1e-6)
    np.testing.assert_allclose(found["attention"].to_list(), expected[ATTENTION][order], rtol=1e-6)


@pytest.mark.parametrize("of_type", [pl.Int32, pl.String])
def test_a_unit_ends_where_a_sequence_ends(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, of_type: Any
) -> None:
    """It has `chunk` sequences, or fewer if they have more rows than that many of the model."""
    chunk, sequences = 5, 200
    keys = np.arange(1000, 1000 + sequences).repeat(np.random.default_rng(0).integers(1, 10, sequences))
    path = tmp_path / "data.parquet"
    pl.DataFrame({"id": pl.Series(keys).cast(of_type), "t": range(len(keys)), "u": 1.0, "v": 1.0}).write_parquet(path)
    monkeypatch.setattr(plan, "KEYS", 7)
    card = Artifact(models / "long" / "1").read().card()
    units = plan_of([str(path)], card, Output(tmp_path / "out"), chunk).units
    assert [unit.start for unit in units[1:]] == [unit.stop for unit in units[:-1]]
    assert (units[0].start, units[-1].stop) == (0, len(keys))
    inside = [keys[unit.start : unit.stop] for unit in units]
    assert [unit.sequences for unit in units] == [len(np.unique(some)) for some in inside]
    assert sum(unit.sequences for unit in units) == sequences
    for unit, some in zip(units[:-1], inside[:-1], strict=True):
        without_last = int((some != some[-1]).sum())
        assert unit.sequences == chunk or len(some) >= chunk * TIMESTEPS
        assert unit.sequences <= chunk
        assert without_last < chunk * TIMESTEPS
    assert {unit.sequences == chunk for unit in units[:-1]} == {True, False}


def test_a_unit_with_importance_has_fewer_sequences(models: Path, tmp_path: Path) -> None:
    """Each is run once for each timestep, too, and the units should take about as long."""
    WIDE.write_parquet(tmp_path / "data.parquet")
    chunks = []
    for importance in (False, True):
        output = tmp_path / f"{importance}"
        scored(models, tmp_path / "data.parquet", output, "wide", importance=importance)
        chunks.append(json.loads((output / MANIFEST).read_text())["options"]["chunk"])
    assert chunks == [MOST_SEQUENCES, MOST_SEQUENCES // TIMESTEPS]


@pytest.mark.parametrize("dtype", ["int8", "int64", "uint64"])
@pytest.mark.parametrize("is_shuffled", [False, True])
def test_a_key_keeps_its_value_and_its_type(models: Path, tmp_path: Path, dtype: str, *, is_shuffled: bool) -> None:
    """Whatever the order of the rows, and up to the largest integer."""
    keys = np.iinfo(dtype).max - np.arange(N, dtype=dtype)
    table = LONG.with_columns(id=keys.repeat(TIMESTEPS))
    table.sort("t" if is_shuffled else "id").write_parquet(tmp_path / "data.parquet")
    scored(models, tmp_path / "data.parquet", tmp_path / "out", "long")
    found = answers(tmp_path / "out")["id"].to_numpy()
    assert (found.dtype, sorted(found.tolist())) == (np.dtype(dtype), sorted(keys.tolist()))


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize("order", ["id", "t"])
def test_blanks_at_the_ends_of_a_key_are_no_part_of_it(models: Path, tmp_path: Path, suffix: str, order: str) -> None:
    """As in the service, in any order of the rows; a key of blanks is none."""
    before, after = (
        pl.when(pl.col("id") % 3 == rest).then(pl.lit(" \t\u00a0")).otherwise(pl.lit("")) for rest in (1, 2)
    )
    keys = pl.format("{}k{}{}", before, pl.col("id") + 10, after)
    rows = LONG.sort(order, "id")
    table = rows.with_columns(id=pl.when(pl.col("id") == 0).then(pl.lit(" \u3000")).otherwise(keys))
    path = tmp_path / f"data.{suffix}"
    table.write_csv(path) if suffix == "csv" else table.write_parquet(path)
    scored(models, path, tmp_path / "out", "long")
    assert answers(tmp_path / "out")["id"].to_list() == [f"k{number + 10}" for number in range(1, N)]
    reason = "column 'id': expected the identifier of a sequence, got no value"
    assert [*rejections(tmp_path / "out").values()] == [reason] * TIMESTEPS


def served(models: Path, name: str, text: bytes) -> tuple[dict[str, Array], NDArray[Any]]:
    """Return what the service answers to a table: outputs, and the lengths of the sequences."""
    verified = open_verified(Artifact(models / name / "1").read(), opener("auto", threads=1))
    decoded = decode_csv_table(text, verified.card, limit=10_000)
    outputs = verified.engine.run(decoded.array.astype(np.float32), (PREDICTION, ATTENTION))
    lengths = np.broadcast_to(
        verified.card.timesteps if decoded.lengths is None else decoded.lengths, len(decoded.array)
    )
    return outputs, lengths


def assert_as_served(models: Path, name: str, path: Path, text: bytes, output: Path) -> None:
    """Compare a run with what the service answers to the text."""
    scored(models, path, output, name, chunk=16)
    found, (expected, lengths) = answers(output), served(models, name, text)
    assert not list((output / "_rejected").iterdir())
    predicted = expected[PREDICTION][:, 0] if expected[PREDICTION].shape[1] == 1 else expected[PREDICTION]
    np.testing.assert_allclose(np.array(found["prediction"].to_list()), predicted, rtol=1e-5, atol=1e-7)
    attention = [row[:length] for row, length in zip(expected[ATTENTION], lengths, strict=True)]
    assert found["attention"].list.len().to_list() == lengths.tolist()
    np.testing.assert_allclose(np.concatenate(found["attention"].to_list()), np.concatenate(attention), atol=1e-6)


@pytest.mark.parametrize("name", ["visits", "meter", "machine"])
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_tables_of_training_are_answered_as_by_the_service(
    tabular: Path, tmp_path: Path, name: str, suffix: str
) -> None:
    """Shorter sequences, missing values and columns that training left out among them."""
    path = tabular / f"{name}.csv"
    source = path
    if suffix == "parquet":
        source = tmp_path / f"{name}.parquet"
        pl.read_csv(path).write_parquet(source)
    assert_as_served(tabular / "models", name, source, path.read_bytes(), tmp_path / "out")


def test_categories_and_static_features_are_answered_as_by_the_service(categorized: Path, tmp_path: Path) -> None:
    """Words, unknown ones too, decimal commas, missing values, and a static value that stands on one row only."""
    rng = np.random.default_rng(0)
    lines = ["id;day;speed;colour;age;town;label"]
    for number in range(20):
        for day in range(2 + number % 5):
            colour = ("", "violet", *CATEGORIES["colour"])[rng.integers(5)]
            age, town = (f"{20 + number},5", f"town {number}") if day == 1 else ("", "")
            lines.append(f"s{number};{day};{rng.normal(50, 9):.2f}".replace(".", ",") + f";{colour};{age};{town};x")
    path = tmp_path / "goods.csv"
    path.write_text("\n".join(lines))
    assert_as_served(categorized, "goods", path, path.read_bytes(), tmp_path / "out")


@pytest.mark.parametrize("rows", ["text", "sorted", "shuffled"])
def test_indices_of_categories_are_answered_as_by_the_service(categorized: Path, tmp_path: Path, rows: str) -> None:
    """Whatever the order of the rows; the index after the last name, and what is no number, is any other value."""
    rng, n = np.random.default_rng(0), 24
    frame = pl.DataFrame(
        {"id": np.arange(n) // 4, "day": np.arange(n) % 4, "speed": rng.normal(50, 9, n)}
        | {"colour": rng.integers(0, 4, n), "age": 30.0, "town": np.arange(n) // 4}
    )
    text = frame.write_csv(separator=";", decimal_comma=True)
    path = tmp_path / f"goods.{'csv' if rows == 'text' else 'parquet'}"
    if rows == "text":
        names = pl.col("colour").cast(pl.String).replace({"1": "green", "3": "violet"})
        frame = frame.with_columns(colour=pl.when(pl.int_range(n) < n // 2).then(names).otherwise("colour"))
        path.write_text(text := frame.write_csv(separator=";", decimal_comma=True))
    else:
        order = pl.col("day") if rows == "shuffled" else pl.col("id")
        frame.sort(order, pl.col("id"), maintain_order=True).write_parquet(path)
    assert_as_served(categorized, "goods", path, text.encode(), tmp_path / "out")


def test_a_number_is_a_name_where_some_names_are_numbers(tmp_path: Path) -> None:
    """In text; a number that is no name is any other value, as in the service."""
    card = imported_card("floors", feature_labels=NAMES, categories={"v": ("ground", "1")}, table=TableFormat())
    write_imported(tmp_path / "models", of_numbers(), card, np.abs(numbers()).round().clip(0, 2))
    path = tmp_path / "floors.csv"
    path.write_text("u,v\n1,ground\n2,1\n3,0\n4, 1 \n")
    assert_as_served(tmp_path / "models", "floors", path, path.read_bytes(), tmp_path / "out")


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_equal_steps_of_time_have_absent_timesteps(categorized: Path, tmp_path: Path, suffix: str) -> None:
    """Rows that are missing between others are absent timesteps, by dates and by months."""
    for unit, step, days in (("seconds", 86400.0, 1), ("months", 1.0, 31)):
        table = TableFormat(sequence_column="id", timestep_column="day", timing=Timing(unit=unit, step=step))
        models = tmp_path / unit
        copied = Artifact(models / "goods" / "1")
        shutil.copytree(categorized / "goods", copied.directory.parent)
        card = ModelCard.model_validate_json(copied.card_path.read_text())
        copied.card_path.write_text(card.model_copy(update={"table": table}).model_dump_json())
        copied.write_sums()
        start = date(2026, 1, 1)
        rows = [
            {"id": id_, "day": (start + timedelta(days=days * day)).replace(**({"day": 1} if days > 1 else {})),
             "speed": 50.0 + day, "colour": "red", "age": 30.0, "town": "town 1"}
            for id_, taken in (("a", (0, 1, 3)), ("b", (2, 3, 4, 5)), ("c", (0, 5)))
            for day in taken
        ]  # fmt: skip
        frame = pl.DataFrame(rows)
        path = tmp_path / f"{unit}.{suffix}"
        frame.write_parquet(path) if suffix == "parquet" else frame.write_csv(path)
        assert_as_served(models, "goods", path, frame.write_csv().encode(), tmp_path / f"out-{unit}")
        assert answers(tmp_path / f"out-{unit}")["attention"].list.len().to_list() == [4, 4, 6]


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize("time", [pl.col("t"), pl.col("t") * 0.5, pl.datetime(2026, 1, 1) + pl.duration(hours="t")])
def test_windows_and_the_time_since_the_last_row(tmp_path: Path, suffix: str, time: pl.Expr) -> None:
    """Of a series, the last window is scored; the time between rows is a feature, in seconds for points in time."""
    same: dict[str, Any] = {"sequence_column": "id", "timestep_column": "t"}
    since = "time since the last row"
    cards = {
        "windows": imported_card("windows", feature_labels=NAMES, table=TableFormat(windows=True, **same)),
        "since": imported_card("since", feature_labels=("u", since), table=TableFormat(time_feature=since, **same)),
    }
    long = LONG.with_columns(time.alias("t")).drop("y")
    series = long.with_columns(id=pl.col("id") // 10)
    series = series.with_columns(t=pl.int_range(len(series)))
    for name, frame in {"windows": series, "since": long}.items():
        write_imported(tmp_path / "models", of_numbers(), cards[name], numbers())
        path = tmp_path / f"{name}.{suffix}"
        frame.write_parquet(path) if suffix == "parquet" else frame.write_csv(path)
        text = (frame if name == "windows" else frame.drop("v")).write_csv()
        assert_as_served(tmp_path / "models", name, path, text.encode(), tmp_path / f"out-{name}")
    assert answers(tmp_path / "out-windows").height == N // 10


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_long_gap_before_the_last_window_is_taken_as_by_the_service(tmp_path: Path, suffix: str) -> None:
    """One of 899 steps, that is: the limit of absent timesteps is that of the service."""
    timing = Timing(unit="number", step=1)
    table = TableFormat(sequence_column="id", timestep_column="t", timing=timing, windows=True)
    write_imported(tmp_path / "models", of_numbers(), imported_card("m", feature_labels=NAMES, table=table), numbers())
    times = [0, 1, 900, 901, 902, 903]
    frame = pl.DataFrame({"id": 1, "t": times, "u": np.arange(6.0), "v": np.arange(6.0)})
    path = tmp_path / f"series.{suffix}"
    frame.write_parquet(path) if suffix == "parquet" else frame.write_csv(path)
    assert_as_served(tmp_path / "models", "m", path, frame.write_csv().encode(), tmp_path / "out")
    assert answers(tmp_path / "out").height == 1


def test_words_become_tokens(models: Path, tmp_path: Path) -> None:
    """Words of the vocabulary, unknown words, and numbers; texts may be shorter than the model allows."""
    path = tmp_path / "texts.csv"
    path.write_text("text,place,word\n1,0,the\n1,1,cat\n2,0,dog\n2,1,7\n2,2,sat\n")
    scored(models, path, tmp_path / "out", "words")
    x = np.full((2, 6, 1), np.nan, np.float32)
    x[0, :2, 0], x[1, :3, 0] = (2, 3), (1, 7, 4)
    expected = run(of_tokens(), x)
    found = answers(tmp_path / "out")
    assert found["text"].to_list() == ["1", "2"]
    np.testing.assert_allclose(found["prediction"], expected[PREDICTION][:, 0], rtol=1e-6)
    assert found["attention"].list.len().to_list() == [2, 3]


def test_output_steps_and_full_attention(models: Path, tmp_path: Path) -> None:
    """Each output step has its probabilities and its label, and each timestep a weight for each unit."""
    write_npz(tmp_path / "data.npz")
    scored(models, tmp_path / "data.npz", tmp_path / "out", "steps", attention="full")
    expected, found = run(of_steps(2, 3), X), answers(tmp_path / "out")
    np.testing.assert_allclose(np.array(found["prediction"].to_list()), expected[PREDICTION], rtol=1e-5)
    np.testing.assert_allclose(np.array(found["attention"].to_list()), expected[ATTENTION_VEC], rtol=1e-5)
    labels = np.array(["a", "b", "c"])[expected[PREDICTION].argmax(axis=2)]
    assert [list(one) for one in found["label"]] == labels.tolist()


def test_importance_on_request(models: Path, tmp_path: Path) -> None:
    """It is how far the prediction moves when a timestep has the card's baseline."""
    write_npz(tmp_path / "data.npz")
    scored(models, tmp_path / "data.npz", tmp_path / "out", "wide", importance=True, attention="none")
    found = answers(tmp_path / "out")
    moved = X.copy()
    moved[:, 2] = 0
    difference = np.abs(run(of_numbers(), moved)[PREDICTION] - run(of_numbers(), X)[PREDICTION])[:, 0]
    np.testing.assert_allclose(found["importance"].list.get(2), difference, atol=1e-6)
    assert "attention" not in found.columns


def test_several_files_and_folders(models: Path, tmp_path: Path) -> None:
    """The output has the file of each sequence; files are in the order of their names."""
    folder = tmp_path / "in" / "deep"
    folder.mkdir(parents=True)
    write_wide(folder / "b.parquet")
    write_csv(folder / "a.csv")
    (folder / "_hidden.csv").write_text("x")
    write_npz(tmp_path / "last.npz")
    given = Options((str(tmp_path / "in"), str(tmp_path / "last.npz")), tmp_path / "out", "wide", artifacts=models)
    score(given, silent, here)
    found = answers(tmp_path / "out")
    names = [Path(name).name for name in found["file"].unique(maintain_order=True)]
    assert names == ["a.csv", "b.parquet", "last.npz"]
    assert found["row"].to_list() == list(range(1, N + 1)) * 3


@pytest.mark.parametrize("model", ["wide", "long"])
def test_a_file_of_a_folder_may_have_no_rows(models: Path, tmp_path: Path, model: str) -> None:
    """Of CSV as of Parquet: the other files are scored."""
    table = WIDE if model == "wide" else LONG
    (tmp_path / "in").mkdir()
    table.write_csv(tmp_path / "in" / "a.csv")
    table.clear().write_csv(tmp_path / "in" / "b.csv")
    table.clear().write_parquet(tmp_path / "in" / "c.parquet")
    table.clear().cast(pl.String).write_parquet(tmp_path / "in" / "d.parquet")
    assert scored(models, tmp_path / "in", tmp_path / "out", model).sequences == N
    with pytest.raises(ScoringError, match=r"b\.csv: expected at least one sequence, got none"):
        scored(models, tmp_path / "in" / "b.csv", tmp_path / "none", model)


def test_readers_take_the_folder_as_one_table(models: Path, tmp_path: Path) -> None:
    """Pandas and pyarrow pass over the manifest and what was rejected."""
    WIDE.with_columns(pl.when(pl.int_range(N) == 4).then(None).otherwise(pl.col("u@0")).alias("u@0")).write_parquet(
        tmp_path / "data.parquet"
    )
    scored(models, tmp_path / "data.parquet", tmp_path / "out", "wide", chunk=7)
    assert rejections(tmp_path / "out") == {5: "column 'u@0': expected a number, got no value"}
    assert len(pd.read_parquet(tmp_path / "out")) == pa.parquet.read_table(tmp_path / "out").num_rows == N - 1


@pytest.mark.parametrize(
    ("of_type", "start", "step"),
    [(pl.Int8, -100, 66), (pl.Int16, -30_000, 20_000), (pl.UInt8, 0, 80), (pl.Float32, 0.0, 0.5)],
)
def test_times_of_a_small_type_are_read_as_those_of_a_large_one(
    tmp_path: Path, of_type: Any, start: float, step: float
) -> None:
    """The difference of two numbers of 8 bits may have more bits."""
    table = TableFormat(sequence_column="id", timestep_column="t", timing=Timing(unit="number", step=step))
    write_imported(tmp_path / "models", of_numbers(), imported_card("m", feature_labels=NAMES, table=table), numbers())
    times = [start + at * step for at in range(TIMESTEPS)]
    frame = pl.DataFrame({"id": 1, "t": times, "u": X[0, :, 0], "v": X[0, :, 1]})
    frame.with_columns(pl.col("t").cast(of_type)).write_parquet(tmp_path / "data.parquet")
    assert_as_served(tmp_path / "models", "m", tmp_path / "data.parquet", frame.write_csv().encode(), tmp_path / "out")


def test_keys_of_several_types_are_one_column_of_text(models: Path, tmp_path: Path) -> None:
    """Integers of Parquet and text of CSV among them; of one type, they keep it."""
    folder = tmp_path / "in"
    folder.mkdir()
    LONG[:20].write_parquet(folder / "a.parquet")
    LONG[20:40].write_csv(folder / "b.csv")
    scored(models, folder, tmp_path / "text", "long", chunk=2)
    assert pa.parquet.read_table(tmp_path / "text")["id"].to_pylist() == list(map(str, range(10)))
    LONG[20:40].write_parquet(folder / "c.parquet")
    (folder / "b.csv").unlink()
    scored(models, folder, tmp_path / "numbers", "long")
    assert answers(tmp_path / "numbers")["id"].to_list() == list(range(10))


def test_sequences_with_and_without_keys_are_no_table(models: Path, tmp_path: Path) -> None:
    """The error names a file of each kind before anything is scored."""
    folder = tmp_path / "in"
    folder.mkdir()
    LONG[:20].write_parquet(folder / "a.parquet")
    write_npz(folder / "b.npz")
    message = r"b\.npz: expected sequences with keys, as .*a\.parquet has, got ones without: score each kind by itself"
    with pytest.raises(ScoringError, match=message):
        scored(models, folder, tmp_path / "out", "long")
    assert not list((tmp_path / "out").glob("*.parquet"))


def test_a_key_named_as_another_column_of_the_output(tmp_path: Path) -> None:
    """It has an underscore behind its name, whether or not there is a column of files."""
    card = imported_card("m", feature_labels=NAMES, table=TableFormat(sequence_column="file", timestep_column="t"))
    write_imported(tmp_path / "models", of_numbers(), card, numbers())
    folder = tmp_path / "in"
    folder.mkdir()
    named = LONG.rename({"id": "file"})
    for name, rows in {"a": named[:8], "b": named[8:12]}.items():
        rows.write_parquet(folder / f"{name}.parquet")
    scored(tmp_path / "models", folder, tmp_path / "several", "m")
    found = answers(tmp_path / "several")
    assert found["file_"].to_list() == [0, 1, 2]
    assert [Path(file).name for file in found["file"]] == ["a.parquet", "a.parquet", "b.parquet"]
    scored(tmp_path / "models", folder / "b.parquet", tmp_path / "one", "m")
    assert answers(tmp_path / "one").columns[:2] == ["file_", "prediction"]


@pytest.mark.parametrize(
    "fields",
    [
        {"static_labels": ("v",), "missing_values": True},
        {"table": TableFormat(windows=True), "missing_values": True},
        {"table": TableFormat(windows=True), "missing_values": True, "variable_length": True},
    ],
)
def test_an_array_is_read_as_the_json_of_the_service(tmp_path: Path, fields: dict[str, Any]) -> None:
    """A timestep with its static value alone is there, and a window may end with a timestep without values."""
    card = imported_card("m", feature_labels=NAMES, **fields)
    x = X[:3].copy()
    x[0, 1, 0] = x[1, 3] = np.nan
    np.savez(tmp_path / "data.npz", x=x, lengths=np.full(3, TIMESTEPS))
    plan = plan_of([str(tmp_path / "data.npz")], card, Output(tmp_path), 10)
    part = read(plan.sources[0], plan.units[0], card, ParquetRows())
    posted = [[[None if np.isnan(one) else one for one in step] for step in steps] for steps in x.tolist()]
    expected = decode_sequences(posted, card, 10, "sequences[{}]")
    np.testing.assert_array_equal(part.x, expected.array)
    assert (part.lengths.tolist(), part.problems) == ([TIMESTEPS] * 3, [])
