"""Hints on choices that training made for the person, and on what the data lack."""

import warnings
from collections.abc import Iterable
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold, cross_val_score
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from training.command_line import flag_of
from training.data import SMALLEST_DEVIATION, Dataset, Indices, LabelledSequences, SourceData
from training.options import Options, TaskChoice

#: More integers than this are probably numbers; fewer whole numbers are probably classes.
MANY_CLASSES, FEW_NUMBERS = 20, 20
#: Fewest sequences of a class, and fewest to fit.
FEWEST_OF_CLASS, FEWEST_TO_FIT = 10, 100
#: A feature with one value in this fraction of the timesteps is nearly constant.
NEARLY_CONSTANT = 0.995
#: A column of a table is drowned if it deviates by less than this fraction of the deviation of all its columns.
DROWNED = 0.01
#: Score of one feature by itself, from which on it may be a leak. It is balanced accuracy for classes, R² for numbers.
DECIDES_ALONE = 0.98
#: Sequences and values that are looked at, features that are tried alone, and the fewest sequences for that.
MOST_SEQUENCES, MOST_VALUES, MOST_FEATURES, FEWEST_FOR_LEAKS, MOST_LEAK_CLASSES = 500, 500_000, 50, 50, 50
FOLDS = 3
MOST_NAMED = 3
#: Options that an architecture does not read.
UNREAD: Final = {
    "minirocket": (
        "units", "cell", "layers", "bidirectional", "dropout", "epochs", "batch_size", "learning_rate", "patience",
        "loss", "validation_split",
    ),
    "inception": ("cell", "layers", "bidirectional"),
}  # fmt: skip


def find_hints(source: SourceData, dataset: Dataset, task: TaskChoice) -> tuple[str, ...]:
    """Return hints in whole sentences, for the summary and the card.

    Args:
        source: all sequences in their order.
        dataset: the same, split.
        task: the task that was asked for.
    """
    rng = np.random.default_rng(0)
    # One row of a sample costs as much as its values.
    most = max(FEWEST_FOR_LEAKS, min(MOST_SEQUENCES, MOST_VALUES // (source.x.shape[1] * source.x.shape[2])))
    some = dataset.train.take(np.sort(rng.permutation(len(dataset.train))[:most]))
    found = [*(_of_task(source, dataset) if task == "auto" else ()), *_of_counts(dataset)]
    x = some.x[:]
    if constant := _nearly_constant(x):
        found.append(
            f"{_named('feature', (dataset.feature_labels[f] for f in constant))} nearly always the same value: "
            "--drop-columns leaves out what says nothing"
        )
    if dataset.scale is not None:
        deviation = dataset.scale.deviation
        if small := np.flatnonzero((deviation > 0) & (deviation <= SMALLEST_DEVIATION)).tolist():
            found.append(
                f"{_named('feature', (dataset.feature_labels[f] for f in small))} values that differ by less than "
                f"{SMALLEST_DEVIATION:g}, which float32 hardly holds: multiply them first"
            )
    if drowned := _drowned(x, source, dataset):
        listed = ",".join(drowned[:MOST_NAMED]) + (",…" if len(drowned) > MOST_NAMED else "")
        found.append(
            f"{_named('column', drowned)} values that hardly differ on the scale that all columns share: "
            f"--static-columns {listed} gives each its own scale, if the columns are not one quantity over time"
        )
    if not source.ordered:  # the values of a growing series grow with its windows, and its last value says a lot
        if counting := _counting(source.x[:most]):
            found.append(
                f"{_named('feature', (_place(dataset, *one) for one in counting))} values that count up with the "
                "order of the rows, as an index does: leave them out with --drop-columns if they are one"
            )
        if leaks := _leaks(x, some, dataset):
            found.append(
                f"{_named('feature', leaks)} values that suffice alone to predict the target: check whether that is "
                "known before the outcome"
            )
    return tuple(found)


def hints_on_options(options: Options) -> list[str]:
    """Return a hint on the options that the architecture does not read, if some are given."""
    names = UNREAD.get(options.architecture_or_default, ())
    given = [flag_of(name) for name in names if getattr(options, name) != Options.model_fields[name].default]
    verb = "has" if len(given) == 1 else "have"
    return [f"{', '.join(given)} {verb} no effect on {options.architecture_or_default}"] if given else []


def _of_task(source: SourceData, dataset: Dataset) -> Iterable[str]:
    """Yield hints on the choice between classes and numbers."""
    labels, classes = source.labels, dataset.target.classes
    name = ", ".join(source.label_names[:MOST_NAMED]) or "target"
    if classes is not None and labels.dtype.kind in "iu" and labels.ndim == 1 and len(classes) > MANY_CLASSES:
        yield (
            f"{name}: {len(classes):,} different integers became a class each; --task regression predicts them as "
            "numbers"
        )
    if classes is not None or labels.dtype.kind not in "biuf":
        return
    distinct = np.unique(labels)
    if labels.ndim == 2 and labels.shape[1] > 1 and np.isin(distinct, (0, 1)).all():
        yield (
            f"{name}: {labels.shape[1]} columns of 0 and 1 are predicted as numbers; a single column with the name of "
            "the class predicts classes"
        )
    elif len(distinct) <= FEW_NUMBERS and (distinct == np.round(distinct)).all():
        yield (
            f"{name}: only {len(distinct)} different whole numbers, predicted as numbers; --task classification makes "
            "classes of them"
        )


def _of_counts(dataset: Dataset) -> Iterable[str]:
    """Yield hints on small numbers of sequences."""
    if (fitted := len(dataset.train)) < FEWEST_TO_FIT:
        yield f"there are only {fitted} sequences to fit: expect another result from other sequences"
    classes, y, held_out = dataset.target.classes, dataset.train.y, dataset.test.y
    if classes is None or y.ndim == 2:
        return
    counts, tested = (np.bincount(one, minlength=len(classes)) for one in (y, held_out))
    in_all = counts if dataset.test is dataset.train else counts + tested  # the same with cross-validation
    if len(rare := np.flatnonzero(in_all < FEWEST_OF_CLASS)):
        yield (
            f"{_named('class', (classes[c] for c in rare), 'es')} fewer than {FEWEST_OF_CLASS} sequences: too few to "
            "learn what they have in common"
        )
    if len(unseen := np.flatnonzero(counts == 0)):
        yield f"{_named('class', (classes[c] for c in unseen), 'es')} no sequence to fit: the model cannot learn it"
    if len(missing := np.flatnonzero(tested == 0)):
        yield f"{_named('class', (classes[c] for c in missing), 'es')} no held-out sequence: no metric counts it"


def _nearly_constant(x: NDArray[np.float32]) -> list[int]:
    """Return the features of `x (n, timesteps, features)` with one value almost everywhere."""
    found = []
    for f in range(x.shape[2]):
        values = x[:, :, f][~np.isnan(x[:, :, f])]
        _, counts = np.unique(values, return_counts=True)
        if len(values) and counts.max() >= NEARLY_CONSTANT * len(values):
            found.append(f)
    return found


def _drowned(x: NDArray[np.float32], source: SourceData, dataset: Dataset) -> list[str]:
    """Return the columns that the shared scale of a table of one row a sequence makes almost constant.

    `x (n, timesteps, features)` are some sequences. Such a table has one feature without a name, whose timesteps are
    the columns.
    """
    varying = [label for label in dataset.feature_labels if label not in dataset.static_labels]
    if source.table is None or source.ordered or varying != ["0"] or dataset.scale is None:
        return []
    feature = dataset.feature_labels.index("0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of columns without values
        deviation = np.nanstd(x[:, :, feature], axis=0, dtype=np.float64)  # (timesteps,)
    small = (deviation > 0) & (deviation < DROWNED * dataset.scale.deviation[feature])
    return [dataset.timestep_labels[t] for t in np.flatnonzero(small)]


def _counting(x: NDArray[np.float32]) -> list[tuple[int, int]]:
    """Return the timesteps and features of `x (n, timesteps, features)` with whole numbers that grow with each row.

    Of each feature only the first such timestep is returned.
    """
    if len(x) < FEWEST_OF_CLASS:
        return []
    whole = (x == np.round(x)).all(axis=0)  # NaN is not equal to itself
    grows = whole & (np.diff(x, axis=0) > 0).all(axis=0)  # (timesteps, features)
    return [(int(grows[:, f].argmax()), int(f)) for f in np.flatnonzero(grows.any(axis=0))]


def _leaks(x: NDArray[np.float32], some: LabelledSequences, dataset: Dataset) -> list[str]:
    """Return the names of the features, or of single values of them, that almost decide the target by themselves.

    A decision tree is fitted on a summary of one feature at a time, and then on the value that divides best. Its score
    is cross-validated.
    """
    y, groups = some.y, some.groups
    if x[0].size == 1:
        return []  # there is nothing else to predict from
    if y.ndim == 2 and (dataset.target.classes is not None or y.shape[1] > 1):
        return []
    y = y.reshape(len(y))
    if dataset.target.classes is not None:
        enough = np.bincount(y)[y] >= FOLDS
        x, y, groups = x[enough], y[enough], None if groups is None else groups[enough]
    distinct = len(np.unique(y))
    if len(y) < FEWEST_FOR_LEAKS or distinct < 2:
        return []
    if dataset.target.classes is not None and distinct > MOST_LEAK_CLASSES:
        return []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of features without values, and folds without a class
        leaks = {
            f: dataset.feature_labels[f]
            for f in range(min(x.shape[2], MOST_FEATURES) if x.shape[2] > 1 else 0)  # a single one has no others
            if _score(_summary(x[:, :, f]), y, groups, dataset) >= DECIDES_ALONE
        }
        columns = x.reshape(len(x), -1)
        first = _tree(dataset, leaves=2).fit(columns, y).feature_importances_.argmax()
        if first % x.shape[2] not in leaks and _score(columns[:, [first]], y, groups, dataset) >= DECIDES_ALONE:
            leaks[first] = _place(dataset, *divmod(int(first), x.shape[2]))
    return list(leaks.values())


def _summary(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return `(n, 6)` of `(n, timesteps)`: mean, deviation, extremes, first value, fraction of missing values."""
    columns = (
        *(function(values, axis=1, dtype=np.float64) for function in (np.nanmean, np.nanstd)),
        *(function(values, axis=1) for function in (np.nanmin, np.nanmax)),
        values[:, 0],
        np.isnan(values).mean(axis=1),
    )
    return np.stack(columns, axis=1)


def _tree(dataset: Dataset, leaves: int) -> DecisionTreeClassifier | DecisionTreeRegressor:
    tree = DecisionTreeRegressor if dataset.target.classes is None else DecisionTreeClassifier
    return tree(max_leaf_nodes=leaves, random_state=0)


def _score(columns: NDArray[np.floating], y: NDArray[np.float32], groups: Indices | None, dataset: Dataset) -> float:
    """Return how well a small tree predicts `y (n,)` from `columns (n, k)`, cross-validated."""
    classes = dataset.target.classes
    if classes is None:
        splits, scoring, leaves = (KFold if groups is None else GroupKFold), "r2", 100
    else:
        splits, scoring = (StratifiedKFold if groups is None else StratifiedGroupKFold), "balanced_accuracy"
        leaves = len(classes) + 2
    folds = splits(FOLDS, shuffle=True, random_state=0)
    scores = cross_val_score(_tree(dataset, leaves), columns, y, groups=groups, cv=folds, scoring=scoring)
    return float(scores.mean())


def _place(dataset: Dataset, timestep: int, feature: int) -> str:
    """Return the name of a value: the feature's, with the timestep's unless the sequences have one timestep."""
    label = dataset.feature_labels[feature]
    return label if dataset.train.x.shape[1] == 1 else f"{label} at timestep {dataset.timestep_labels[timestep]}"


def _named(noun: str, names: Iterable[str], plural: str = "s") -> str:
    """Return the subject and the verb of a sentence, such as "the features 'a', 'b' and 3 more have"."""
    first, count = list(map(repr, names)), 0
    if len(first) == 1:
        return f"the {noun} {first[0]} has"
    if len(first) > MOST_NAMED:
        first, count = first[:MOST_NAMED], len(first) - MOST_NAMED
    listed = f"{', '.join(first)} and {count:,} more" if count else f"{', '.join(first[:-1])} and {first[-1]}"
    return f"the {noun}{plural} {listed} have"
