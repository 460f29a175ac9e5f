"""Scoring in bulk from addresses: an object store on this machine has the answers of a folder, and errors are told."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from service.bulk.output import LOCK, MANIFEST, REJECTED
from service.bulk.plan import files_of
from service.bulk.run import Options, score
from service.errors import ScoringError
from service.tables.rows import Database
from tests.object_store import ObjectStore, object_store
from tests.scoring import answers, here, scored, silent

N = 500


@pytest.fixture(scope="module")
def buckets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of buckets: one with the same sequences in several forms."""
    folder = tmp_path_factory.mktemp("buckets")
    inside = folder / "bucket" / "in"
    (inside / "day=1" / "hour=2").mkdir(parents=True)
    x = np.random.default_rng(0).standard_normal((N, 4, 2)).astype(np.float32)
    columns = {f"{name}@{t}": x[:, t, f] for t in range(4) for f, name in enumerate(("u", "v"))}
    table = pl.DataFrame(columns)
    noise = pl.Series("other", np.random.default_rng(1).standard_normal((N, 200))).cast(pl.List(pl.Float64))
    table.with_columns(noise).write_parquet(inside / "a.parquet")
    table.write_csv(inside / "b c.csv")
    np.savez(inside / "c.npz", x=x, lengths=np.full(N, 4))
    table.write_parquet(inside / "day=1" / "d.parquet")
    table.write_parquet(inside / "day=1" / "hour=2" / "e.parquet")
    table.write_parquet(inside / "_hidden.parquet")
    return folder


@pytest.fixture
def store(buckets: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectStore]:
    """An object store with these buckets, which addresses of S3 mean."""
    with object_store(buckets) as running:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{running.server_port}")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "any")
        yield running


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("name", ["a.parquet", "b%20c.csv", "c.npz"])
def test_a_file_at_an_address_has_the_answers_of_the_file(
    models: Path, buckets: Path, tmp_path: Path, name: str
) -> None:
    """No copy of it is left."""
    address = f"s3://bucket/in/{name}"
    score(Options((address,), tmp_path / "far", "wide", artifacts=models, chunk=100), silent, here)
    scored(models, buckets / "bucket" / "in" / name.replace("%20", " "), tmp_path / "near", "wide", chunk=100)
    assert answers(tmp_path / "far").equals(answers(tmp_path / "near"))
    assert {path.name for path in (tmp_path / "far").iterdir() if path.suffix != ".parquet"} == {
        MANIFEST,
        LOCK,
        REJECTED,
    }


def test_only_the_columns_of_the_model_are_read(
    models: Path, buckets: Path, store: ObjectStore, tmp_path: Path
) -> None:
    """Another column, which is most of the file, is not sent."""
    score(Options(("s3://bucket/in/a.parquet",), tmp_path / "out", "wide", artifacts=models), silent, here)
    assert 0 < store.sent["bucket/in/a.parquet"] < (buckets / "bucket/in/a.parquet").stat().st_size / 2


@pytest.mark.usefixtures("store")
def test_processes_read_a_folder_at_an_address_and_resume(models: Path, tmp_path: Path) -> None:
    """The output has the address of each file."""
    output = tmp_path / "out"
    options = ["--model", "wide", "--artifacts", str(models), "--workers", "1", "--chunk", "200"]
    command = [sys.executable, "-m", "service", "score", "s3://bucket/in/", str(output), *options]
    subprocess.run(command, check=True, capture_output=True)
    first = answers(output)
    names = ["a.parquet", "b%20c.csv", "c.npz", "day%3D1/d.parquet", "day%3D1/hour%3D2/e.parquet"]
    assert first["file"].unique(maintain_order=True).to_list() == [f"s3://bucket/in/{name}" for name in names]
    (output / "part-0000001.parquet").unlink()
    subprocess.run([*command, "--resume"], check=True, capture_output=True)
    assert answers(output).equals(first)


def test_a_changed_object_is_not_resumed(models: Path, store: ObjectStore, tmp_path: Path) -> None:
    """Its size says so."""
    bucket = store.folder / "changing"
    bucket.mkdir()
    options = Options(("s3://changing/a.npz",), tmp_path / "out", "wide", artifacts=models)
    np.savez(bucket / "a.npz", x=np.zeros((2, 4, 2)))
    score(options, silent, here)
    np.savez(bucket / "a.npz", x=np.zeros((3, 4, 2)))
    with pytest.raises(ScoringError, match="--resume: expected the input of the run that began"):
        score(replace(options, resume=True), silent, here)


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize(
    ("address", "names"),
    [
        ("s3://bucket/in/*.parquet", ["a.parquet"]),
        ("s3://bucket/in/[a-b]*", ["a.parquet", "b%20c.csv"]),
        ("s3://bucket/in/*/*.parquet", ["day%3D1/d.parquet"]),
        ("s3://bucket/in/a.parquet", ["a.parquet"]),
    ],
)
def test_a_pattern_names_files(address: str, names: list[str]) -> None:
    """It says nothing about folders below its own; hidden files are passed over."""
    assert files_of([address]) == [f"s3://bucket/in/{name}" for name in names]


def test_an_address_of_this_machine(buckets: Path) -> None:
    """A folder may be named by its address, too."""
    folder = buckets / "bucket" / "in" / "day=1" / "hour=2"
    assert files_of([folder.as_uri()]) == [f"{folder.as_uri()}/e.parquet"]


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("s3://bucket/in/none.parquet", "^s3://bucket/in/none.parquet: no such file or folder$"),
        ("s3://bucket/in/*.npy", "expected files with names that end in .*, got none$"),
        ("s3://none/*.parquet", r"^s3://none/\*.parquet: cannot be read: .*NO_SUCH_BUCKET.*$"),
        ("s3://forbidden/a.parquet", "^s3://forbidden/a.parquet: cannot be read: .*ACCESS_DENIED.*$"),
        ("s3://key:secret@bucket/in", "^s3://…: expected an address without a password, (?!.*secret@)"),
        ("s3://bucket/x y.csv", "^s3://bucket/x y.csv: cannot be read: Cannot parse URI"),
    ],
)
def test_an_address_that_cannot_be_read_is_told(address: str, message: str) -> None:
    """The error has one line, which begins with the address."""
    with pytest.raises(ScoringError, match=message):
        files_of([address])


def test_other_addresses_need_fsspec(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names it."""
    monkeypatch.setitem(sys.modules, "fsspec", None)
    message = r"^https://127\.0\.0\.1/a\.csv\?v=1: expected the module 'fsspec': pip install fsspec$"
    with pytest.raises(ScoringError, match=message):
        files_of(["https://127.0.0.1/a.csv?v=1"])


def test_an_output_at_an_address_is_refused() -> None:
    """It is not taken for a folder with a strange name."""
    command = [sys.executable, "-m", "service", "score", "a.csv", "s3://bucket/out", "--model", "wide"]
    outcome = subprocess.run(command, capture_output=True, text=True, check=False)
    assert outcome.returncode == 2
    assert "expected a folder of this machine or of a mount, got 's3://bucket/out'" in outcome.stderr


def test_long_tables_at_addresses(models: Path, store: ObjectStore, tmp_path: Path) -> None:
    """Their keys are compared."""
    bucket = store.folder / "visits"
    bucket.mkdir()
    table = pl.DataFrame({"id": np.arange(6).repeat(4), "t": np.tile(np.arange(4), 6), "u": 1.0, "v": 2.0})
    options = Options(("s3://visits/*.parquet",), tmp_path / "out", "long", artifacts=models)
    table[8:].write_parquet(bucket / "b.parquet")
    table[:12].write_parquet(bucket / "a.parquet")
    with pytest.raises(ScoringError, match=r"b\.parquet: expected sequences that stand in one file, got '2'"):
        score(options, silent, here)
    table[:8].write_parquet(bucket / "a.parquet")
    assert score(options, silent, here).sequences == 6


def test_duckdb_loads_no_extension_by_itself() -> None:
    """A path that looks like an address would have it download a program."""
    settings = "SELECT name FROM duckdb_settings() WHERE name LIKE 'auto%known_extensions' AND value = 'false'"
    database = Database()
    found = database.connection.execute(settings).fetchall()
    assert {name for (name,) in found} == {"autoinstall_known_extensions", "autoload_known_extensions"}
