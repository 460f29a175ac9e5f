"""The loading of the source that `--data` names, and its split into training and test data."""

from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from training import TrainingError
from training.continuation import published_classes, with_published
from training.data import Dataset, Indices, LabelledSequences, Scale, SequenceStore, SourceData, lengths_of, parts_of
from training.hints import find_hints, hints_on_options
from training.options import Options
from training.sources import archives, arrays, synthetic
from training.sources.targets import encode
from training.tables import reading as tables

#: Ends of the names of tables, each of which may have any of them.
TABLES: Final = (".csv", ".tsv", ".txt", ".gz", ".parquet")


def load(options: Options, frame: Any = None, arrays_in_memory: tuple[Any, Any] | None = None) -> Dataset:
    """Load the dataset that `--data` names, or the data given.

    Args:
        options: the options of the training.
        frame: a table of pandas, polars or pyarrow, in place of a file.
        arrays_in_memory: sequences `(n, timesteps, features)` and labels `(n,)` or `(n, numbers)`, in place of a file.

    Raises:
        TrainingError: the data cannot be read or do not suit the options.
    """
    options = with_published(options)
    rng = np.random.default_rng(options.seed)
    if frame is not None:
        return _split(tables.read({options.data: frame}, options), options, rng)
    if arrays_in_memory is not None:
        return _split(arrays.of_arrays(options.data, *arrays_in_memory), options, rng)
    if options.data in synthetic.RECIPES:
        _refuse_test_data(options)
        return synthetic.load(options, rng)
    return _split(read(options), options, rng)


def read(options: Options) -> SourceData:
    """Return all sequences of the file or data set that `--data` names.

    Raises:
        TrainingError: they cannot be read.
    """
    where = f"--data {options.data}"
    scheme, _, name = options.data.partition(":")
    if scheme == "aeon" and name:
        _refuse_test_data(options)
        return archives.read_dataset(where, name)
    match Path(options.data).suffix:
        case ".npz":
            return arrays.read(_files(options))
        case ".ts":
            return archives.read(_files(options))
        case suffix if suffix in TABLES:
            return tables.read(_files(options), options)
    raise TrainingError(
        f"--data: expected recurrent, decoy, add-two-numbers, find-max, aeon:NAME or a .npz, .ts, .csv, .tsv, .txt, "
        f".csv.gz or .parquet file, got {options.data!r}"
    )


def _refuse_test_data(options: Options) -> None:
    if options.test_data is not None:
        raise TrainingError(f"--test-data: {options.data} has held-out data of its own, got {options.test_data}")


def _files(options: Options) -> dict[str, Path]:
    """Return the file to fit and, if given, the file to hold out, by their names in error messages."""
    named = {"--data": options.data, "--test-data": options.test_data}
    files = {f"{flag} {name}": Path(name) for flag, name in named.items() if name is not None}
    suffix, other = Path(options.data).suffix, Path(options.test_data or options.data).suffix
    if suffix in TABLES and other not in TABLES:
        raise TrainingError(f"--test-data {options.test_data}: expected a table, as --data is one")
    if suffix not in TABLES and other != suffix:
        raise TrainingError(f"--test-data {options.test_data}: expected a {suffix} file, as --data is one")
    for where, path in files.items():
        if path.is_dir():
            raise TrainingError(f"{where}: expected a file, got a directory")
        if not path.exists():
            raise TrainingError(f"{where}: no such file")
    return files


def _split(source: SourceData, options: Options, rng: np.random.Generator) -> Dataset:
    target, y = encode(source, options.task, published_classes(options))
    everything = LabelledSequences(source.x, y, groups=source.groups, spans=source.spans)
    n, fitted = len(everything), source.fitted
    if options.cross_validate is not None:
        train = test = everything.take(rng.permutation(_enough_for(options.cross_validate, source)))
    elif fitted is None:
        held_out = round(n * options.test_split)
        if not 0 < held_out < n:
            raise TrainingError(
                f"--data {options.data}: expected enough sequences to hold out {options.test_split:.0%}, got {n}"
            )
        classes = None if target.classes is None or y.ndim > 1 else y
        to_fit, to_hold_out = _hold_out(options, classes, source.groups, n, rng)
        train, test = everything.take(to_fit), everything.take(to_hold_out)
    elif source.ordered:
        train, test = everything.take(slice(0, fitted)), everything.take(slice(fitted, None))
    else:  # shuffle: a file is often sorted by class, and its end becomes the validation data
        train, test = everything.take(rng.permutation(fitted)), everything.take(slice(fitted, None))
    variable_length, missing_values = _gaps(source.x)
    dataset = Dataset(
        train=train,
        test=test,
        target=target,
        timestep_labels=source.timestep_labels[: source.x.shape[1]],
        feature_labels=source.feature_labels,
        variable_length=variable_length,
        missing_values=missing_values,
        scale=Scale.of(train.x),
        categories=source.categories,
        static_labels=source.static_labels,
        ordered=source.ordered,
        hints=source.hints,
        table=source.table,
        past=source.past,
    )
    hints = (*source.hints, *hints_on_options(options), *find_hints(source, dataset, options.task))
    return replace(dataset, hints=hints)


def _enough_for(folds: int, source: SourceData) -> int:
    """Return the number of sequences, if there is one or a group of them for each fold."""
    n = len(source.x)
    units, what = (n, "sequences") if source.groups is None else (len(np.unique(source.groups)), "groups")
    if units < folds:
        raise TrainingError(f"--cross-validate {folds}: expected at least as many {what}, got {units}")
    return n


def _hold_out(
    options: Options, classes: Indices | None, groups: Indices | None, n: int, rng: np.random.Generator
) -> tuple[Indices, Indices]:
    """Return the indices of the sequences to fit and to hold out, in random order.

    Each class has about the same share on both sides, and a class of two or more sequences is on both. Groups stay
    whole, and count as sequences do otherwise.
    """
    if groups is not None:
        _, units = np.unique(groups, return_inverse=True)
        if not units.any():
            raise TrainingError(f"--group-column {options.group_column}: expected at least two groups, got one")
        held_out = np.isin(units, _hold_out(options, _classes_of(units, classes), None, units.max() + 1, rng)[1])
        return rng.permutation(np.flatnonzero(~held_out)), rng.permutation(np.flatnonzero(held_out))
    order = rng.permutation(n)
    if classes is None:
        held = _number(n, options.test_split)
        return order[held:], order[:held]
    parts = [order[classes[order] == one] for one in np.unique(classes)]
    counts = _shares(np.array([len(part) for part in parts]), options.test_split)
    pairs = list(zip(parts, counts.tolist(), strict=True))
    fit = np.concatenate([part[count:] for part, count in pairs])
    return rng.permutation(fit), rng.permutation(np.concatenate([part[:count] for part, count in pairs]))


def _classes_of(groups: Indices, classes: Indices | None) -> Indices | None:
    """Return the class of each group, of several the rarest, so that rare classes are on both sides of a split."""
    if classes is None:
        return None
    rarest_first = np.argsort(np.bincount(classes)[classes], kind="stable")
    _, first = np.unique(groups[rarest_first], return_index=True)
    found: Indices = classes[rarest_first][first]
    return found


def _number(n: int, share: float) -> int:
    """Return how many of `n` are a share, but neither none nor all."""
    return min(max(1, round(n * share)), n - 1)


def _shares(sizes: NDArray[np.int64], share: float) -> NDArray[np.int64]:
    """Return how many of each class to hold out: their share, at least one of two, and as many in all as asked for."""
    least, most = np.where(sizes > 1, 1, 0), np.where(sizes > 1, sizes - 1, 1)
    counts: NDArray[np.int64] = np.clip(np.floor(sizes * share).astype(np.int64), least, most)
    for one in np.argsort(counts - sizes * share, kind="stable"):  # the largest remainders first
        if counts.sum() < _number(sizes.sum(), share) and counts[one] < most[one]:
            counts[one] += 1
    return counts


def _gaps(x: SequenceStore) -> tuple[bool, bool]:
    """Return whether some sequence ends early, and whether some value is missing before the end."""
    variable_length = missing_values = False
    for part in parts_of(x):
        lengths = lengths_of(part)
        before_end = np.arange(part.shape[1]) < lengths[:, np.newaxis]  # (n, timesteps)
        variable_length |= not before_end.all()
        missing_values |= bool(np.isnan(part[before_end]).any())
    return variable_length, missing_values
