"""Plans a run: the sources in a form that workers read, and the units of work."""

import shutil
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet

from service.artifact.card import ModelCard
from service.artifact.table_format import BLANKS, format_of
from service.artifact.table_layout import TableLayout, layout_of
from service.bulk.address import files_at, is_address, is_read, name_of, near, path_of
from service.bulk.arrays import array_of
from service.bulk.output import Output
from service.bulk.parquet_rows import open_parquet
from service.bulk.reading import Problem, starts_of
from service.bulk.source import Source, Unit
from service.errors import ScoringError
from service.problems import missing_column

#: Ends of the names of files.
TABLES: Final = (".parquet", ".csv", ".tsv", ".txt", ".gz")
SUFFIXES: Final = (*TABLES, ".npz")
#: Keys that are read at a time.
KEYS: Final = 2**18
#: Units of pyarrow's points in time, in a second.
UNITS: Final = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}
#: Errors of a .npz file that is damaged, or packed in a way that Python does not unpack.
UNREADABLE: Final = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError, OSError)
#: Size of the header of a file in a zip archive, without name and extra fields, and where their lengths are.
ZIP_HEADER, ZIP_LENGTHS = 30, 26


@dataclass(frozen=True)
class Plan:
    """The sources and units of a run, and the rows that belong to no sequence, by file."""

    sources: tuple[Source, ...]
    units: tuple[Unit, ...]
    problems: dict[str, list[Problem]]

    def as_json(self) -> dict[str, Any]:
        """Return the sources and units as JSON has them."""
        return {"sources": list(map(asdict, self.sources)), "units": list(map(asdict, self.units))}

    @classmethod
    def of_json(cls, values: Mapping[str, Any]) -> "Plan":
        """Return the plan whose `as_json` is given."""
        lists = ("columns", "labels", "shape")
        sources = (Source(**{**one, **{name: tuple(one[name]) for name in lists}}) for one in values["sources"])
        return cls(tuple(sources), tuple(Unit(**one) for one in values["units"]), {})


def files_of(inputs: Sequence[str]) -> list[str]:
    """Return the files that inputs name: themselves, or those in a folder and its folders, in the order of their names.

    Inputs are paths and addresses.

    Raises:
        ScoringError: there is no such file, or it is of another kind.
    """
    files: list[str] = []
    for name in inputs:
        found = files_at(name, SUFFIXES) if is_address(name) else _files_in(name)
        if any(Path(name_of(file)).suffix not in SUFFIXES for file in found):
            raise ScoringError(f"{name}: expected a file with a name that ends in {', '.join(SUFFIXES)}")
        files += found
    return files


def _files_in(name: str) -> list[str]:
    """Return a file, or the files in a folder of this machine."""
    path = Path(name)
    if not path.exists():
        raise ScoringError(f"{name}: no such file")
    if not path.is_dir():
        return [name]
    inside = sorted(one for one in path.rglob("*") if one.is_file())
    found = [str(one) for one in inside if is_read(one.relative_to(path), SUFFIXES)]
    if not found:
        raise ScoringError(f"{name}: expected files with names that end in {', '.join(SUFFIXES)}, got none")
    return found


def plan_of(files: Sequence[str], card: ModelCard, output: Output, chunk: int) -> Plan:
    """Return the plan for some files. What workers cannot read as it is, is written into the folder of the run.

    Args:
        files: the files.
        card: the card of the model.
        output: the folder of the run.
        chunk: sequences of a unit.

    Raises:
        ScoringError, TableError: a file cannot be read, or does not suit the model.
    """
    sources: list[Source] = []
    units: list[Unit] = []
    problems: dict[str, list[Problem]] = {}
    for index, file in enumerate(files):
        target = output.prepared / f"source-{index:05}"
        copy = output.prepared / f"copy-{index:05}-{name_of(file)}"
        source: Source | None = None
        if Path(name_of(file)).suffix == ".npz":
            source = _array(file, near(file, copy, output), card, target.with_suffix(".npy"), output)
        elif Path(name_of(file)).suffix == ".parquet":
            source = _direct(file, card)
        ranges = None if source is None else _ranges(source, card, chunk)
        if source is None or ranges is None:
            from service.bulk.prepare import prepare  # here, as it imports DuckDB

            prepared = prepare(file, near(file, copy, output), card, target.with_suffix(".parquet"))
            copy.unlink(missing_ok=True)
            source, problems[file] = prepared.source, prepared.problems
            ranges = _ranges(source, card, chunk)
            assert ranges is not None, "a prepared table can be read"
        sources.append(source)
        units += [Unit(len(units) + at, index, *one) for at, one in enumerate(ranges)]
    sources = _of_one_table(sources)
    _require_whole_sequences(sources)
    if not units and not any(problems.values()):
        raise ScoringError(f"{files[0]}: expected at least one sequence, got none")
    return Plan(tuple(sources), tuple(units), problems)


def _of_one_table(sources: list[Source]) -> list[Source]:
    """Return sources whose keys have one type in the output: text if they have several in the files.

    Raises:
        ScoringError: some have keys, and others have none.
    """
    keyed = [source for source in sources if source.key is not None]
    without = [source for source in sources if source.key is None]
    if keyed and without:
        raise ScoringError(
            f"{without[0].file}: expected sequences with keys, as {keyed[0].file} has, got ones without: score each "
            "kind by itself"
        )
    if len(keyed) < 2 or len({pyarrow.parquet.read_schema(one.path).field(one.key).type for one in keyed}) == 1:
        return sources
    return [replace(source, key_is_text=True) for source in sources]


def _require_whole_sequences(sources: Sequence[Source]) -> None:
    """Check that no key of a long table is in two files, as each file would have a part of the sequence.

    Raises:
        ScoringError: one is.
    """
    keyed = [(index, source) for index, source in enumerate(sources) if source.key is not None]
    if len(keyed) < 2:
        return
    import duckdb  # here, as it takes long

    from service.tables.rows import Database

    database = Database()
    try:
        database.connection.execute("CREATE TABLE keys (key VARCHAR, file INTEGER)")
        for index, source in keyed:
            firsts = (keys.take(array_of(starts_of(keys))).cast(pa.string()) for keys in _keys(source))
            batches = (pa.RecordBatch.from_arrays([keys], ["key"]) for keys in firsts)
            reader = pa.RecordBatchReader.from_batches(pa.schema([("key", pa.string())]), batches)
            database.connection.register("batches", reader)
            database.connection.execute("INSERT INTO keys SELECT key, ? FROM batches", [index])
        question = "SELECT key, min(file), max(file) FROM keys GROUP BY key HAVING min(file) < max(file) LIMIT 1"
        found = database.answer(lambda: database.connection.execute(question).fetchall())
    except duckdb.Error as error:
        raise ScoringError(f"the keys of the files cannot be compared: {str(error).partition(chr(10))[0]}") from error
    for key, first, other in found:
        raise ScoringError(
            f"{sources[other].file}: expected sequences that stand in one file, got {key!r}, which is also in "
            f"{sources[first].file}: score each file by itself, or join them"
        )


def _direct(file: str, card: ModelCard) -> Source | None:
    """Return a Parquet table whose values are numbers, which workers read as they are; None for another one."""
    try:
        schema = pyarrow.parquet.read_schema(path_of(file))
    except (pa.ArrowException, OSError) as error:
        raise ScoringError(f"{file}: not a readable .parquet file: {str(error).partition(chr(10))[0]}") from error
    types = dict(zip(schema.names, schema.types, strict=True))
    layout = layout_of(types, card, has_lists=lambda name: _is_list(types[name]))
    for name in layout.needed:
        if name not in types:
            raise ScoringError(f"{file}: {missing_column(name, list(types))}")
    if len(types) != len(schema.names) or not _are_plain(layout, types, card):
        return None
    scale = 1.0
    if layout.time is not None:
        of_time = types[layout.time]
        timing = format_of(card).timing
        scale = UNITS[of_time.unit] if pa.types.is_timestamp(of_time) else 1.0
        if timing is not None and (timing.unit == "seconds") != pa.types.is_timestamp(of_time):
            return None
    return Source(file, path_of(file), layout.form, layout.columns, layout.labels, layout.key, layout.time, scale)


def _are_plain(layout: TableLayout, types: dict[str, Any], card: ModelCard) -> bool:
    """Return whether workers read columns of these types as they are."""
    for name, label in zip(layout.columns, layout.labels, strict=True):
        of_type = types[name]
        if layout.form == "series" and label not in card.static_labels:
            if not _is_list(of_type):
                return False
            of_type = of_type.value_type
        if not _is_number(of_type):
            return False
    of_key = types[layout.key] if layout.key is not None else pa.int64()
    of_time = types[layout.time] if layout.time is not None else pa.int64()
    return bool(
        (pa.types.is_integer(of_key) or _is_text(of_key))
        and (pa.types.is_integer(of_time) or pa.types.is_floating(of_time) or pa.types.is_timestamp(of_time))
    )


def _is_list(of_type: Any) -> bool:
    kinds = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return any(kind(of_type) for kind in kinds)


def _is_text(of_type: Any) -> bool:
    return bool(pa.types.is_string(of_type) or pa.types.is_large_string(of_type))


def _is_number(of_type: Any) -> bool:
    return bool(pa.types.is_integer(of_type) or pa.types.is_floating(of_type) or pa.types.is_boolean(of_type))


#: The first row of a unit, the row after its last one, and its sequences.
Range = tuple[int, int, int]


def _ranges(source: Source, card: ModelCard, chunk: int) -> list[Range] | None:
    """Return the ranges of the units of a source; None if workers cannot read it as it is.

    Raises:
        ScoringError: it has no column of keys, and more rows than the model has timesteps.
    """
    if source.key is not None:
        return _long_ranges(source, chunk, chunk * card.timesteps)
    rows = source.shape[0] if source.shape else pyarrow.parquet.read_metadata(source.path).num_rows
    if source.form == "long":  # one sequence
        column = format_of(card).sequence_column
        if column is not None and rows > card.timesteps:
            raise ScoringError(
                f"{source.file}: expected a column {column!r}, which tells sequences apart, got {rows:,} rows without "
                f"it, more than the {card.timesteps} timesteps of the model"
            )
        return [(0, rows, 1)] if rows else []
    starts = range(0, rows, chunk)
    return [(start, min(start + chunk, rows), min(chunk, rows - start)) for start in starts]


def _long_ranges(source: Source, chunk: int, most_rows: int) -> list[Range] | None:
    """Return ranges that end where a sequence ends: `chunk` sequences, or fewer if they have many rows.

    In a table that was not prepared, each row must have a key without blanks at its ends, and the keys must ascend or
    descend, so that none comes again: else the result is None.
    """
    ranges: list[Range] = []
    start = sequences = at = 0
    is_rising = is_falling = True
    last: Any = None
    for keys in _keys(source):
        if keys.null_count:  # `starts_of` compares keys, and a null with another is neither equal nor not
            return None
        joined = keys if last is None else pa.concat_arrays([last, keys])
        begins = starts_of(joined)
        firsts = joined.take(array_of(begins))
        before, after = firsts.slice(0, len(firsts) - 1), firsts.slice(1)
        is_rising &= bool(pc.all(pc.greater(after, before), min_count=0).as_py())
        is_falling &= bool(pc.all(pc.less(after, before), min_count=0).as_py())
        if not source.prepared and (_have_blanks(firsts) or not (is_rising or is_falling)):
            return None
        ends = begins[1:] + at - (last is not None)  # of the sequences that end in this batch
        while len(ends):
            count = min(chunk - sequences, int(np.searchsorted(ends, start + most_rows)) + 1)
            sequences += len(ends[:count])
            if count <= len(ends):
                ranges.append((start, int(ends[count - 1]), sequences))
                start, sequences = int(ends[count - 1]), 0
            ends = ends[count:]
        at += len(keys)
        last = joined.slice(len(joined) - 1)
    return [*ranges, (start, at, sequences + 1)] if at else []


def _keys(source: Source) -> Iterator[Any]:
    try:
        with open_parquet(source.path) as file:
            for batch in file.iter_batches(KEYS, columns=[source.key], use_threads=False):
                yield batch.columns[0]
    except (pa.ArrowException, OSError) as error:
        problem = str(error).partition("\n")[0]
        raise ScoringError(f"{source.file}: column {source.key!r} cannot be read: {problem}") from error


def _have_blanks(keys: Any) -> bool:
    """Return whether a key of text is empty, or begins or ends with blanks."""
    if not _is_text(keys.type):
        return False
    trimmed = pc.utf8_trim(keys, BLANKS)
    return bool(pc.any(pc.or_(pc.not_equal(trimmed, keys), pc.equal(trimmed, ""))).as_py())


def _array(file: str, near: Path, card: ModelCard, target: Path, output: Output) -> Source:
    """Return the array `x` of a .npz file, which is at a path; of a compressed one, a copy in the folder of the run."""
    try:
        with zipfile.ZipFile(near) as archive:
            names = archive.namelist()
            member = f"{'sequences' if 'sequences.npy' in names else 'x'}.npy"
            if member not in names:
                raise ScoringError(f"{file}: expected an array x of sequences, got {', '.join(names)}")
            has_lengths = "lengths.npy" in names
            if has_lengths:
                with archive.open("lengths.npy") as opened:
                    of_lengths, _, kind = _header(opened)
            info = archive.getinfo(member)
            path, begin = str(near.absolute()), _begin(near, info.header_offset)
            if info.compress_type != zipfile.ZIP_STORED:
                with archive.open(member) as packed, output.writing(), target.open("wb") as plain:
                    shutil.copyfileobj(packed, plain, 2**20)
                path, begin = str(target.absolute()), 0
        with Path(path).open("rb") as opened:
            opened.seek(begin)
            shape, is_fortran, dtype = _header(opened)
            offset = opened.tell()
    except UNREADABLE as error:
        raise ScoringError(f"{file}: not a readable .npz file: {error}") from error
    if dtype.kind not in "biuf" or is_fortran or not _fits(shape, card):
        least = "at most " if card.variable_length else ""
        order = "in Fortran's order, " if is_fortran else ""
        raise ScoringError(
            f"{file}: expected x of numbers of shape (n, {least}{card.timesteps}, {card.features}), got {order}"
            f"{dtype} of shape {shape}"
        )
    if has_lengths and (of_lengths != shape[:1] or kind.kind not in "iu"):
        raise ScoringError(f"{file}: expected lengths ({shape[0]},) of integers, got {of_lengths} of {kind}")
    if len(shape) == 2:
        shape = (*shape, 1)
    lengths = str(near.absolute()) if has_lengths else ""
    return Source(file, path, "array", dtype=dtype.str, shape=shape, offset=offset, lengths=lengths)


def _fits(shape: tuple[int, ...], card: ModelCard) -> bool:
    if len(shape) == 2:
        shape = (*shape, 1)
    if len(shape) != 3 or shape[2] != card.features:
        return False
    return 0 < shape[1] <= card.timesteps if card.variable_length else shape[1] == card.timesteps


def _begin(file: Path, header: int) -> int:
    """Return where the bytes of a file in a zip archive begin, given the place of its header."""
    with file.open("rb") as archive:
        archive.seek(header + ZIP_LENGTHS)
        lengths = archive.read(4)
    return header + ZIP_HEADER + int.from_bytes(lengths[:2], "little") + int.from_bytes(lengths[2:], "little")


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Return the shape of an array, whether it is in Fortran's order, and its type."""
    form: Any = np.lib.format  # numpy gives its functions no types
    read = form.read_array_header_1_0 if form.read_magic(file) == (1, 0) else form.read_array_header_2_0
    shape, is_fortran, dtype = read(file)
    return shape, is_fortran, dtype
