"""The loading of the source that `--data` names, and its split into training and test data."""

from pathlib import Path

import numpy as np

from training import TrainingError
from training.data import Dataset, LabelledSequences, Scale, SequenceStore, SourceData, lengths_of, parts_of
from training.options import Options
from training.sources import archives, arrays, synthetic
from training.sources.targets import encode
from training.tables import reading as tables


def load(options: Options) -> Dataset:
    """Load the dataset that `--data` names."""
    rng = np.random.default_rng(options.seed)
    if options.data in synthetic.RECIPES:
        _refuse_test_data(options)
        return synthetic.load(options, rng)
    return _split(_read(options), options, rng)


def _read(options: Options) -> SourceData:
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
        case ".csv" | ".tsv" | ".txt" | ".gz" | ".parquet":
            return tables.read(_files(options), options)
    raise TrainingError(
        f"--data: expected recurrent, add-two-numbers, find-max, aeon:NAME or a .npz, .ts, .csv or .parquet file, "
        f"got {options.data!r}"
    )


def _refuse_test_data(options: Options) -> None:
    if options.test_data is not None:
        raise TrainingError(f"--test-data: {options.data} has held-out data of its own, got {options.test_data}")


def _files(options: Options) -> dict[str, Path]:
    """Return the file to fit and, if given, the file to hold out, by their names in error messages."""
    named = {"--data": options.data, "--test-data": options.test_data}
    files = {f"{flag} {name}": Path(name) for flag, name in named.items() if name is not None}
    suffix = Path(options.data).suffix
    if options.test_data is not None and Path(options.test_data).suffix != suffix:
        raise TrainingError(f"--test-data {options.test_data}: expected a {suffix} file, as --data is one")
    for where, path in files.items():
        if path.is_dir():
            raise TrainingError(f"{where}: expected a file, got a directory")
        if not path.exists():
            raise TrainingError(f"{where}: no such file")
    return files


def _split(source: SourceData, options: Options, rng: np.random.Generator) -> Dataset:
    target, y = encode(source, options.task)
    everything = LabelledSequences(source.x, y, groups=source.groups)
    n, fitted = len(everything), source.fitted
    if fitted is None:
        order = rng.permutation(n)
        held_out = round(n * options.test_split)
        if not 0 < held_out < n:
            raise TrainingError(
                f"--data {options.data}: expected enough sequences to hold out {options.test_split:.0%}, got {n}"
            )
        train, test = everything.take(order[held_out:]), everything.take(order[:held_out])
    else:  # shuffle: a file is often sorted by class, and its end becomes the validation data
        train, test = everything.take(rng.permutation(fitted)), everything.take(slice(fitted, None))
    variable_length, missing_values = _gaps(source.x)
    return Dataset(
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
    )


def _gaps(x: SequenceStore) -> tuple[bool, bool]:
    """Return whether some sequence ends early, and whether some value is missing before the end."""
    variable_length = missing_values = False
    for part in parts_of(x):
        lengths = lengths_of(part)
        before_end = np.arange(part.shape[1]) < lengths[:, np.newaxis]  # (n, timesteps)
        variable_length |= not before_end.all()
        missing_values |= bool(np.isnan(part[before_end]).any())
    return variable_length, missing_values
