"""The model card describes a version beyond its graph. Training writes it and the service reads it."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Final, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue, WithJsonSchema, model_validator

from service.problems import NAME_PATTERN

#: A SHA-256 in hexadecimal digits.
SHA256_PATTERN: Final = "^[0-9a-f]{64}$"
Task = Literal["binary", "multiclass", "multilabel", "regression"]

#: Largest magnitude of a number. Sums and squares of such numbers are finite.
LARGEST: Final = 1e100
#: Largest number of type float32.
LARGEST_FLOAT32: Final = 3.4028234663852886e38
#: Largest integer that a float holds exactly.
LARGEST_INTEGER: Final = 2**53

Number = Annotated[float, Field(ge=-LARGEST, le=LARGEST)]
Size = Annotated[float, Field(ge=0, le=LARGEST)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Float32 = Annotated[float, Field(ge=-LARGEST_FLOAT32, le=LARGEST_FLOAT32)]
#: Lower and upper end. Generators of clients know this JSON schema, but not that of a tuple of two types.
Interval = Annotated[
    tuple[Size, Size],
    WithJsonSchema({"type": "array", "items": {"type": "number", "minimum": 0}, "minItems": 2, "maxItems": 2}),
]
Index = Annotated[int, Field(ge=0, le=LARGEST_INTEGER)]
Count = Annotated[int, Field(ge=1, le=LARGEST_INTEGER)]
#: float32 holds each integer of such a magnitude, and rounds no other number to one of them.
Token = Annotated[int, Field(gt=-(2**24), lt=2**24)]
#: The axis of the sources of attention.
LAYER: Final = "layer"
#: Most axes of a source.
MOST_AXES: Final = 16
#: The axis of the output steps.
STEP: Final = "step"
#: Entries of a vocabulary that stand for any other word, most preferred first.
UNKNOWN_WORDS: Final = ("[UNK]", "<unk>", "<UNK>")


class CardPart(BaseModel):
    """Base of all parts of the card. Parts are immutable, and ignore fields that a newer training program adds."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)


class Target(CardPart):
    """Kind and names of the predictions."""

    task: Task = Field(description="Kind of prediction.", examples=["binary"])
    classes: tuple[str, ...] | None = Field(
        None,
        description="Class names in the order of the model's outputs; null for regression. With the task `multilabel` "
        "any number of them are true at once.",
        examples=[["0", "1"]],
    )
    names: tuple[str, ...] | None = Field(
        None, description="Names of the predicted numbers; null for classes.", examples=[None]
    )

    steps: Count | None = Field(
        None,
        description="Number of output steps of a model whose output is a sequence; null for one prediction for each "
        "sequence.",
        examples=[None],
    )

    @property
    def outputs(self) -> int | None:
        """Number of outputs for each sequence or output step; None for a regression whose outputs have no names."""
        regression = len(self.names) if self.names else None
        classes = len(self.classes or ())
        return {"binary": 1, "multiclass": classes, "multilabel": classes, "regression": regression}[self.task]

    @model_validator(mode="after")
    def _classes_fit_task(self) -> Self:
        count = len(self.classes) if self.classes is not None else None
        fewest = {"binary": 2, "multiclass": 3, "multilabel": 2}
        fits = count is None if self.task == "regression" else count is not None and count >= fewest[self.task]
        if not fits or (self.task == "binary" and count != 2):
            expected = {
                "binary": "2 classes",
                "multiclass": "at least 3 classes",
                "multilabel": "at least 2 classes",
                "regression": "no classes",
            }
            raise ValueError(f"a {self.task} target has {expected[self.task]}, got {count}")
        if self.names is not None and self.task != "regression":
            raise ValueError(f"a {self.task} target has classes rather than names, got {', '.join(self.names)}")
        return self


class TokenRange(CardPart):
    """A range of integers."""

    least: Token = Field(description="Smallest token.", examples=[0])
    most: Token = Field(description="Largest token.", examples=[9999])

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if self.least > self.most:
            raise ValueError(f"expected least of at most {self.most}, which is most, got {self.least}")
        return self


class Tokens(TokenRange):
    """The integers that a sequence consists of. They may stand for words."""

    ranges: dict[str, TokenRange] = Field(
        default={},
        description="Narrower ranges of single features, by the feature's label.",
        examples=[{"segment": {"least": 0, "most": 1}}],
    )
    pad: Token | None = Field(None, description="Token by which the graph replaces absent timesteps.", examples=[0])
    vocabulary: dict[str, Token] | None = Field(
        None,
        description="Token of each word, which may be posted in place of it. Other words have the token of the entry "
        f"{', '.join(UNKNOWN_WORDS[:-1])} or {UNKNOWN_WORDS[-1]}, and are refused without one.",
        examples=[{"[UNK]": 1, "the": 2, "cat": 3}],
    )

    @property
    def unknown(self) -> int | None:
        """Token of words that the vocabulary does not have; None if they are refused."""
        vocabulary = self.vocabulary or {}
        return next((vocabulary[word] for word in UNKNOWN_WORDS if word in vocabulary), None)

    @model_validator(mode="after")
    def _are_in_range(self) -> Self:
        named = {"pad": self.pad} if self.pad is not None else {}
        ends = {
            f"ranges.{label}.{name}": end
            for label, one in self.ranges.items()
            for name, end in one.model_dump().items()
        }
        for name, token in {**named, **ends, **(self.vocabulary or {})}.items():
            if not self.least <= token <= self.most:
                raise ValueError(f"{name[:80]!r}: expected a token from {self.least} to {self.most}, got {token}")
        return self


class Timing(CardPart):
    """How training turned the times of rows into timesteps. Rows that are missing between others are absent timesteps.

    A sequence begins at the first of `times` if all its times are among them, else at its own first time.
    """

    unit: Literal["number", "seconds", "months"] = Field(
        description="Unit of the times: numbers as they are, or points in time in seconds or months.",
        examples=["seconds"],
    )
    times: tuple[Number, ...] = Field(
        default=(),
        description="Time of each timestep; empty if sequences begin at different times, or each row is a timestep.",
        examples=[[0, 1, 2]],
    )
    step: Size | None = Field(None, description="Time between two timesteps; null for uneven times.", examples=[86400])
    formats: tuple[str, ...] = Field(
        default=(),
        description="Formats of the times as text, as of strptime; empty for numbers and ISO 8601.",
        examples=[["%d.%m.%Y"]],
    )

    @property
    def has_steps(self) -> bool:
        """Whether times become timesteps. Without, each row is a timestep, and times only order the rows."""
        return self.step is not None or bool(self.times)


class TableFormat(CardPart):
    """How training read the table of a version. The service reads posted tables in the same way."""

    sequence_column: str | None = Field(
        None,
        description="Column that identifies the sequence of a row; null for tables of one row a sequence.",
        examples=["machine"],
    )
    timestep_column: str | None = Field(
        None, description="Column that orders the rows of a sequence.", examples=["date"]
    )
    timing: Timing | None = Field(None, description="How times become timesteps; null if the rows have no times.")
    windows: bool = Field(
        default=False,
        description="Whether sequences are windows of longer series. Of a posted series, the last window is used.",
        examples=[False],
    )
    time_feature: str | None = Field(
        None,
        description="Feature that is the time since the row before. Posted tables have no such column.",
        examples=["time since the last row"],
    )
    header: bool = Field(
        default=True,
        description="Whether the first row of CSV has the names of the columns; else the columns are 0, 1 and so on.",
        examples=[True],
    )
    target_columns: tuple[str, ...] = Field(
        default=(), description="Columns of the labels. The service ignores them.", examples=[["outcome"]]
    )
    static_columns: tuple[str, ...] = Field(
        default=(),
        description="Columns that do not change with time. A wide table has one column for each.",
        examples=[["site"]],
    )
    other_columns: tuple[str, ...] = Field(
        default=(), description="Columns that training left out. The service ignores them.", examples=[["id"]]
    )
    delimiter: str = Field(
        ",", min_length=1, max_length=1, description="Character between the cells of a row.", examples=[","]
    )
    decimal: Literal[".", ","] = Field(".", description="Decimal mark of the numbers.", examples=["."])
    thousands: str = Field(
        "", max_length=1, description="Character between the thousands of the numbers, if any.", examples=[","]
    )
    missing: tuple[str, ...] = Field(
        default=(), description="Words for a missing value, beside those that the service knows.", examples=[["-9"]]
    )


class AttentionProfile(CardPart):
    """Attention averaged over many sequences."""

    sequences: Count = Field(description="Number of sequences in the average.", examples=[30000])
    mean: tuple[Size, ...] = Field(
        description="Mean attention per timestep; sums to 1.", examples=[[0.1, 0.2, 0.6, 0.1]]
    )
    spread: tuple[Size, ...] = Field(
        description="Standard deviation of attention per timestep, over the sequences.",
        examples=[[0.01, 0.02, 0.05, 0.01]],
    )
    peak: Index = Field(description="Index of the timestep with the highest mean attention.", examples=[2])
    sum_error: Size = Field(description="Largest distance of a sequence's attention sum from 1.", examples=[2.4e-7])


class AttentionSource(CardPart):
    """A tensor of the original model whose distributions over time are units of `attention_vec`."""

    tensor: str = Field(description="Name of the layer, output or tensor.", examples=["attention_1"])
    axes: dict[str, Count] = Field(
        max_length=MOST_AXES,
        description="Names and sizes of its axes beside batch and timesteps. Its units are their combinations in "
        "row-major order; without axes it is one unit. An axis `step` goes over the output steps.",
        examples=[{"head": 4, "query": 20}],
    )

    @property
    def units(self) -> int:
        """Number of its units."""
        return math.prod(self.axes.values())

    @model_validator(mode="after")
    def _no_axis_is_a_layer(self) -> Self:
        if LAYER in self.axes:
            raise ValueError(f"axes: expected no axis {LAYER!r}, which is the index of the source")
        return self


def shares(drops: Iterable[float]) -> tuple[float, ...] | None:
    """Return the share of each drop in the sum of the positive ones; None if there are none."""
    positive = [max(drop, 0.0) for drop in drops]
    total = sum(positive)
    return tuple(drop / total for drop in positive) if total > 0 else None


class Importance(CardPart):
    """Permutation importance: how much predictions depend on each timestep, over held-out sequences."""

    metric: str = Field(description="Metric whose drop is measured; higher is better.", examples=["accuracy"])
    drop: tuple[Number, ...] = Field(
        description="Drop of the metric when the values of a timestep are exchanged between sequences, per timestep.",
        examples=[[0.0, 0.01, 0.49, 0.0]],
    )
    spread: tuple[Number, ...] = Field(
        description="Standard deviation of the drop, over the repetitions.", examples=[[0.0, 0.001, 0.002, 0.0]]
    )
    sequences: Count = Field(description="Number of sequences that it was measured on.", examples=[5000])
    repetitions: Count = Field(description="Number of times that each timestep was exchanged.", examples=[1])
    groups: Count | None = Field(
        None,
        description="Number of groups of neighbouring timesteps that were exchanged together, in long sequences; null "
        "if each timestep was exchanged by itself.",
        examples=[None],
    )

    @property
    def mass(self) -> tuple[float, ...] | None:
        """Share of each timestep in the sum of all drops; None if the metric never drops."""
        return shares(self.drop)


class FeatureImportance(CardPart):
    """Permutation importance: how much predictions depend on each feature, over held-out sequences."""

    metric: str = Field(description="Metric whose drop is measured; higher is better.", examples=["accuracy"])
    drop: tuple[Number, ...] = Field(
        description="Drop of the metric when whole columns of a feature, with all their timesteps, are exchanged "
        "between sequences, per feature.",
        examples=[[0.49, 0.0]],
    )
    spread: tuple[Number, ...] = Field(
        description="Standard deviation of the drop, over the repetitions.", examples=[[0.002, 0.001]]
    )
    sequences: Count = Field(description="Number of sequences that it was measured on.", examples=[5000])
    repetitions: Count = Field(description="Number of times that each feature was exchanged.", examples=[1])

    @property
    def mass(self) -> tuple[float, ...] | None:
        """Share of each feature in the sum of all drops; None if the metric never drops."""
        return shares(self.drop)


class CellImportance(CardPart):
    """Permutation importance: how much predictions depend on each feature at each timestep."""

    metric: str = Field(description="Metric whose drop is measured; higher is better.", examples=["accuracy"])
    drop: tuple[tuple[Number, ...], ...] = Field(
        description="Drop of the metric when the values of a feature at a timestep are exchanged between sequences, "
        "`(timesteps, features)`.",
        examples=[[[0.0, 0.0], [0.01, 0.0], [0.49, 0.0], [0.0, 0.0]]],
    )
    sequences: Count = Field(description="Number of sequences that it was measured on.", examples=[1000])
    repetitions: Count = Field(description="Number of times that each cell was exchanged.", examples=[1])
    groups: Count | None = Field(
        None,
        description="Number of groups of neighbouring timesteps of one feature that were exchanged together; null if "
        "each cell was exchanged by itself.",
        examples=[None],
    )

    @property
    def mass(self) -> tuple[tuple[float, ...], ...] | None:
        """Share of each cell in the sum of all drops, `(timesteps, features)`; None if the metric never drops."""
        mass = shares(drop for row in self.drop for drop in row)
        if mass is None:
            return None
        features = len(self.drop[0])
        return tuple(mass[start : start + features] for start in range(0, len(mass), features))


class Removal(CardPart):
    """How far predictions move when timesteps are taken away, or alone are kept, in one order.

    Absent timesteps are not counted. The card's `baseline` replaces a timestep that is taken away. Predictions of
    classes move by the share of probability at other classes, a number by the difference, and several numbers by the
    mean of their differences in units of their standard deviations.
    Source: DeYoung et al., ERASER, 2020.
    """

    order: Literal["attention", "importance", "random"] = Field(
        description="What ranks the timesteps of a sequence, highest first.", examples=["attention"]
    )
    comprehensiveness: tuple[Size, ...] = Field(
        description="How far the prediction moves when the top fraction of the timesteps is taken away, for each "
        "fraction; mean over the sequences. High means that these timesteps matter.",
        examples=[[0.3, 0.31, 0.31, 0.32, 0.4]],
    )
    sufficiency: tuple[Size, ...] = Field(
        description="How far the prediction moves when only the top fraction of the timesteps is kept, for each "
        "fraction; mean over the sequences. Low means that these timesteps are enough.",
        examples=[[0.2, 0.2, 0.1, 0.05, 0.01]],
    )
    comprehensiveness_area: Size = Field(description="Mean of `comprehensiveness`.", examples=[0.33])
    sufficiency_area: Size = Field(description="Mean of `sufficiency`.", examples=[0.11])
    comprehensiveness_interval: Interval = Field(
        description="95 % interval of `comprehensiveness_area`, over resamples of the sequences, or of their groups.",
        examples=[[0.3, 0.36]],
    )
    sufficiency_interval: Interval = Field(
        description="95 % interval of `sufficiency_area`, over resamples of the sequences.", examples=[[0.09, 0.13]]
    )


class Faithfulness(CardPart):
    """Whether attention and importance find the timesteps that matter, on held-out data."""

    sequences: Index = Field(
        description="Number of sequences that it was measured on; 0 if the model or its sequences are too large, which "
        "`verdict` says. Then `fractions` and `removals` are empty.",
        examples=[200],
    )
    fractions: tuple[Fraction, ...] = Field(
        description="Fractions of the present timesteps, at least one timestep each.",
        examples=[[0.01, 0.05, 0.1, 0.2, 0.5]],
    )
    removals: tuple[Removal, ...] = Field(
        description="Results of each order: `attention`, if the model has any, `importance` and `random`. They have an "
        "entry for each of the fractions.",
        examples=[
            [
                {
                    "order": "attention",
                    "comprehensiveness": [0.3, 0.31, 0.31, 0.32, 0.4],
                    "sufficiency": [0.2, 0.2, 0.1, 0.05, 0.01],
                    "comprehensiveness_area": 0.33,
                    "sufficiency_area": 0.11,
                    "comprehensiveness_interval": [0.3, 0.36],
                    "sufficiency_interval": [0.09, 0.13],
                }
            ]
        ],
    )
    attention_finds: Literal["what matters", "part of it", "no more than chance"] | None = Field(
        description="What the order of attention finds, between a random order and the best one; null for a model "
        "without attention, if no order finds more than chance, and if it was not measured.",
        examples=["part of it"],
    )
    verdict: str = Field(
        description="The same as a sentence.",
        examples=["Attention finds only a part of what matters here: read importance beside it."],
    )
    metric: str = Field(description="Metric of `uniform` and `permuted`.", examples=["accuracy"])
    uniform: Number | None = Field(
        None,
        description="The metric if all present timesteps have the same attention; null for models without attention, "
        "and for imported ones. Source: Jain and Wallace, Attention is not Explanation, 2019, and Wiegreffe and "
        "Pinter, Attention is not not Explanation, 2019.",
        examples=[0.71],
    )
    permuted: Number | None = Field(
        None,
        description="The metric if the present timesteps of each sequence exchange their attention at random; null as "
        "`uniform` is.",
        examples=[0.52],
    )

    @model_validator(mode="after")
    def _removals_have_all_fractions(self) -> Self:
        for one in self.removals:
            for name in ("comprehensiveness", "sufficiency"):
                if (got := len(getattr(one, name))) != len(self.fractions):
                    raise ValueError(f"{name} of {one.order}: expected {len(self.fractions)} entries, got {got}")
        return self


class Agreement(CardPart):
    """Agreement of attention with importance: whether they are high at the same timesteps."""

    rank_correlation: float | None = Field(
        ge=-1,
        le=1,
        description="Spearman's rank correlation of mean attention and importance over the timesteps, each averaged "
        "over the sequences in which the timestep is present. It is null if either is the same at all timesteps.",
        examples=[0.63],
    )
    top: tuple[Index, ...] = Field(
        description="The most important tenth of the timesteps, at least one, most important first. Only timesteps of "
        "positive importance are listed.",
        examples=[[2]],
    )
    attention: Size = Field(description="Share of attention on these timesteps.", examples=[0.6])
    importance: Size | None = Field(
        description="Share of importance on these timesteps; null if none is positive.", examples=[0.98]
    )


class JudgedMetric(CardPart):
    """One metric on held-out data, beside its baseline: the same metric of a prediction that needs no model."""

    name: str = Field(description="Name of the metric; with several numbers, `METRIC of NAME`.", examples=["accuracy"])
    value: Number = Field(description="The model's metric.", examples=[0.94])
    baseline: Number = Field(description="The baseline's metric.", examples=[0.51])
    low: Number | None = Field(
        None,
        description="Lower end of the model's 95 % interval, over resamples of the held-out sequences; null if the "
        "metric was not resampled.",
        examples=[0.91],
    )
    high: Number | None = Field(None, description="Upper end of the interval.", examples=[0.97])
    better: Fraction | None = Field(
        None, description="Fraction of the resamples in which the model is better than the baseline.", examples=[1.0]
    )


class ClassScores(CardPart):
    """How well the model finds one class."""

    name: str = Field(description="Name of the class.", examples=["0"])
    precision: Fraction = Field(
        description="Fraction of the sequences predicted as this class that are of it; 0 if there are none.",
        examples=[0.95],
    )
    recall: Fraction = Field(
        description="Fraction of the sequences of this class that are predicted as it; 0 if there are none.",
        examples=[0.93],
    )
    f1: Fraction = Field(description="Harmonic mean of precision and recall.", examples=[0.94])
    support: Index = Field(description="Number of held-out sequences of this class.", examples=[100])


class Judgement(CardPart):
    """Whether the model is better than a prediction that needs no model, on held-out data."""

    metric: str = Field(description="Metric that decides.", examples=["accuracy"])
    baseline: Literal["most frequent class", "mean", "last value"] = Field(
        description="Prediction of the baseline: the most frequent class or the mean of the training data, or the last "
        "known value of the predicted feature.",
        examples=["most frequent class"],
    )
    beats_baseline: bool | None = Field(
        description="Whether the model is better than the baseline: true from 97.5 % of the resamples on, false below "
        "80 %, and null between them.",
        examples=[True],
    )
    verdict: str = Field(
        description="The same in a sentence.",
        examples=[
            "accuracy 0.94 (95 % interval 0.91 to 0.97) beats 0.51, the accuracy of always predicting the most "
            "frequent class"
        ],
    )
    metrics: tuple[JudgedMetric, ...] = Field(
        description="Metrics of model and baseline.",
        examples=[[{"name": "accuracy", "value": 0.94, "baseline": 0.51, "low": 0.91, "high": 0.97, "better": 1.0}]],
    )
    classes: tuple[ClassScores, ...] | None = Field(
        None,
        description="Scores of each class; null for numbers.",
        examples=[[{"name": "0", "precision": 0.95, "recall": 0.93, "f1": 0.94, "support": 100}]],
    )
    confusion: tuple[tuple[Index, ...], ...] | None = Field(
        None,
        description="Confusion matrix: the number of held-out sequences of each class, by row, that are predicted as "
        "each class, by column; null for numbers.",
        examples=[[[93, 7], [5, 95]]],
    )

    @property
    def main(self) -> JudgedMetric:
        """The metric that decides."""
        return next(one for one in self.metrics if one.name == self.metric)

    @model_validator(mode="after")
    def _metric_is_judged(self) -> Self:
        if self.metric not in {one.name for one in self.metrics}:
            raise ValueError(f"metrics: expected one of the name {self.metric!r}")
        return self


class Repeats(CardPart):
    """Results of training again with other seeds on the same data. The first seed is the one of this version."""

    seeds: tuple[Index, ...] = Field(description="Seed of each training.", examples=[[0, 1, 2]])
    metrics: dict[str, tuple[Number, ...]] = Field(
        description="Metrics on held-out data, one value per seed.", examples=[{"accuracy": [0.999, 1.0, 0.998]}]
    )
    attention: tuple[Number, ...] = Field(
        description="Mean of the attention profiles, per timestep.", examples=[[0.1, 0.2, 0.6, 0.1]]
    )
    attention_spread: tuple[Number, ...] = Field(
        description="Standard deviation of the attention profiles, over the seeds.", examples=[[0.01, 0.02, 0.1, 0.01]]
    )
    importance: tuple[Number, ...] = Field(
        description="Mean of the importances, per timestep.", examples=[[0.0, 0.01, 0.49, 0.0]]
    )
    importance_spread: tuple[Number, ...] = Field(
        description="Standard deviation of the importances, over the seeds.", examples=[[0.0, 0.01, 0.001, 0.0]]
    )
    profiles: tuple[tuple[Number, ...], ...] = Field(
        default=(),
        description="Attention profile of each seed, `(seeds, timesteps)`; none in earlier versions.",
        examples=[[[0.1, 0.2, 0.6, 0.1], [0.1, 0.1, 0.7, 0.1], [0.1, 0.3, 0.5, 0.1]]],
    )


class Lowering(CardPart):
    """Origin of `model.onnx`, and its distance from the SavedModel, or from the program that was imported."""

    opset: Count = Field(description="ONNX operator set of the graph.", examples=[18])
    error: Size = Field(
        description="Largest difference of any output from the SavedModel's, or from those of the imported program, "
        "measured at export. For predicted numbers it is in units of their standard deviation.",
        examples=[6e-8],
    )
    source_digest: str | None = Field(
        None,
        pattern=SHA256_PATTERN,
        description="SHA-256 of the SavedModel that `model.onnx` was derived from; null if the version has none.",
        examples=["0" * 64],
    )


class Origin(CardPart):
    """Origin of an imported model."""

    format: Literal["keras", "savedmodel", "onnx"] = Field(description="Format of the file.", examples=["onnx"])
    file: str = Field(
        min_length=1, pattern="^[^/]*$", description="Name of the file or directory.", examples=["model.onnx"]
    )
    digest: str = Field(
        pattern=SHA256_PATTERN,
        description="SHA-256 of the file, or over the files of the directory.",
        examples=["0" * 64],
    )
    libraries: dict[str, str] = Field(
        default={}, description="Versions of the libraries of the import.", examples=[{"onnx": "1.20.1"}]
    )


class Scaling(CardPart):
    """Scaling inside the graph: numbers minus their mean, divided by their deviation unless it is 0."""

    mean: tuple[Number, ...] = Field(description="Mean of each feature.", examples=[[20.5, 0.1]])
    deviation: tuple[Size, ...] = Field(
        description="Standard deviation of each feature; 0 for a constant.", examples=[[3.2, 0.01]]
    )
    target_mean: tuple[Number, ...] = Field(
        default=(), description="Mean, or median, of each predicted number; none for classes.", examples=[[]]
    )
    target_deviation: tuple[Size, ...] = Field(
        default=(), description="Spread of each predicted number; none for classes.", examples=[[]]
    )


class TrainingRecord(CardPart):
    """Record of the training of a version."""

    options: dict[str, JsonValue] = Field(
        description="Options of the training program.", examples=[{"epochs": 1, "seed": 0}]
    )
    libraries: dict[str, str] = Field(description="Versions of its libraries.", examples=[{"tensorflow": "2.21.0"}])
    sequences: Count = Field(description="Number of sequences that the weights were fitted on.", examples=[270000])
    parameters: Count = Field(description="Number of trained weights.", examples=[5541])
    epochs: Count | None = Field(None, description="Number of passes over these sequences.", examples=[1])
    best_epoch: Count | None = Field(
        None,
        description="Epoch with the lowest loss on validation data. The version has the weights of this epoch.",
        examples=[1],
    )
    seconds: Size = Field(description="Duration of the fit, in seconds.", examples=[13.1])
    history: dict[str, tuple[Number, ...]] = Field(
        default={},
        description="Losses and metrics after each epoch, by name.",
        examples=[{"loss": [0.61, 0.22], "validation loss": [0.35, 0.2]}],
    )
    plan: dict[str, JsonValue] = Field(
        default={},
        description="Options about learning that the fit used: given by the person, or chosen for the data.",
        examples=[{"epochs": 150, "batch_size": 16, "learning_rate": 0.003}],
    )
    scaling: Scaling | None = Field(
        None, description="Scaling inside the graph; null for synthetic data, and for earlier versions."
    )
    continued_from: str | None = Field(
        None,
        description="Version whose weights the fit began with, as `MODEL/VERSION`; null for random weights.",
        examples=[None],
    )


class Layer(CardPart):
    """One layer of a Keras model, or another operation of its graph."""

    name: str = Field(description="Name of the layer.", examples=["lstm"])
    kind: str = Field(description="Class of the layer.", examples=["LSTM"])
    shape: tuple[Index | None, ...] = Field(
        description="Shape of its output, null for an axis of any size; of several outputs, the first one's.",
        examples=[[None, 20, 32]],
    )
    inputs: tuple[str, ...] = Field(
        description="Names of the layers that it computes from. They are listed before it.", examples=[["sequence"]]
    )
    weights: Index = Field(description="Number of its weights.", examples=[4480])


class CrossValidation(CardPart):
    """Cross-validation: each part of the data was predicted by a model that was fitted on the others."""

    folds: Annotated[int, Field(ge=2, le=LARGEST_INTEGER)] = Field(description="Number of parts.", examples=[5])
    metrics: dict[str, tuple[Number, ...]] = Field(
        description="Metrics of each part.", examples=[{"accuracy": [0.9, 0.95, 0.9, 1.0, 0.95]}]
    )
    epochs: tuple[Count, ...] = Field(
        default=(),
        description="Best epoch of the model of each part. The version was fitted for the median of them; none for "
        "models without epochs.",
        examples=[[12, 15, 11, 14, 13]],
    )


class Trial(CardPart):
    """Result of one architecture in the choice among several."""

    architecture: str = Field(description="Name of the architecture.", examples=["minirocket"])
    metric: str = Field(description="Metric on held-out parts of the training data.", examples=["accuracy"])
    mean: Number | None = Field(description="Mean of the metric over the parts; null if given up.", examples=[0.97])
    spread: Size | None = Field(
        None, description="Standard deviation of the metric over the parts; null for one part.", examples=[0.01]
    )
    seconds: Size = Field(description="Duration of the trial, in seconds.", examples=[3.2])
    outcome: str = Field(description="Whether it was chosen, or why not.", examples=["chosen"])


def varying(feature_labels: Sequence[str], static_labels: Sequence[str]) -> list[int]:
    """Return the indices of the features that are not static; those of all features, if all are."""
    indices = [index for index, label in enumerate(feature_labels) if label not in static_labels]
    return indices or list(range(len(feature_labels)))


class ModelCard(CardPart):
    """Description of a version beyond its graph."""

    name: str = Field(pattern=NAME_PATTERN, description="Name of the model.", examples=["after-lstm"])
    created: AwareDatetime = Field(description="Time of the export.")
    architecture: str = Field(description="Name of the architecture.", examples=["after_lstm"])
    timesteps: Count = Field(description="Timesteps in a sequence; at most, with `variable_length`.", examples=[20])
    features: Count = Field(description="Features at each timestep.", examples=[2])
    timestep_labels: tuple[str, ...] = Field(description="One label per timestep.", examples=[["0", "1", "2", "3"]])
    feature_labels: tuple[str, ...] = Field(description="One label per feature.", examples=[["0", "1"]])
    categories: dict[str, tuple[str, ...]] = Field(
        default={},
        description="Values of each feature that is a category, by the feature's label. Sequences hold the index of a "
        "value; the number of values stands for any other value.",
        examples=[{}],
    )
    tokens: Tokens | None = Field(
        None, description="The integers that all values of the sequences are; null if the values are any numbers."
    )
    static_labels: tuple[str, ...] = Field(
        default=(),
        description="Features that do not change with time. They have the same value at each timestep of a sequence.",
        examples=[[]],
    )
    table: TableFormat | None = Field(
        None, description="How training read its table; null for data of another kind, and for earlier versions."
    )
    variable_length: bool = Field(
        default=False, description="Whether sequences may have fewer timesteps.", examples=[False]
    )
    missing_values: bool = Field(default=False, description="Whether values may be missing (null).", examples=[False])
    baseline: tuple[tuple[Float32, ...], ...] | None = Field(
        None,
        description="Mean of the training sequences, `(timesteps, features)`; of a category, the commonest index. It "
        "replaces values, to measure how much a prediction depends on them. It is not the baseline of `judgement`.",
        examples=[[[0.0, 0.1]] * 4],
    )
    target: Target = Field(description="Kind and names of the predictions.")
    metrics: dict[str, Number] = Field(description="Metrics on held-out data.", examples=[{"accuracy": 0.9999}])
    attention: AttentionProfile | None = Field(
        description="Attention profile over held-out data, with cross-validation over all data; null for a model "
        "without attention."
    )
    attention_from: tuple[AttentionSource, ...] = Field(
        default=(),
        description="Where the units of `attention_vec` come from, in their order. A request may ask for some of them.",
        examples=[[{"tensor": "attention_1", "axes": {"head": 4, "query": 20}}]],
    )
    importance: Importance | None = Field(None, description="Permutation importance of the timesteps.")
    feature_importance: FeatureImportance | None = Field(None, description="Permutation importance of the features.")
    cell_importance: CellImportance | None = Field(
        None, description="Permutation importance of each feature at each timestep."
    )
    agreement: Agreement | None = Field(None, description="Agreement of attention with importance.")
    faithfulness: Faithfulness | None = Field(
        None, description="Whether attention and importance find the timesteps that matter."
    )
    judgement: Judgement | None = Field(
        None, description="Whether the model is better than a prediction that needs no model."
    )
    cross_validation: CrossValidation | None = Field(
        None,
        description="Where metrics and judgement come from, if no sequences were held out from the published model.",
    )
    hints: tuple[str, ...] = Field(
        default=(),
        description="Sentences on choices that training made for the person, and on what the data lack.",
        examples=[[]],
    )
    trials: tuple[Trial, ...] = Field(
        default=(), description="Results of the architectures that training chose from.", examples=[[]]
    )
    repeats: Repeats | None = Field(None, description="Results of training again with other seeds, if that was done.")
    layers: tuple[Layer, ...] = Field(
        default=(),
        description="Layers of the Keras model; none for a model of another kind, and for earlier versions.",
        examples=[[{"name": "sequence", "kind": "InputLayer", "shape": [None, 20, 2], "inputs": [], "weights": 0}]],
    )
    training: TrainingRecord | None = Field(None, description="Record of the training; null for an imported model.")
    origin: Origin | None = Field(None, description="Origin of an imported model; null for one that was trained here.")
    lowering: Lowering | None = Field(None, description="Origin of `model.onnx`, if the version has one.")

    @property
    def fewest_timesteps(self) -> int:
        """Smallest number of timesteps that a sequence must have."""
        return 1 if self.variable_length else self.timesteps

    @property
    def varying(self) -> list[int]:
        """Indices of the features that change with time; of all, if none does."""
        return varying(self.feature_labels, self.static_labels)

    @property
    def target_deviation(self) -> tuple[float, ...]:
        """Spread of each predicted number in training; empty for classes, and if it is not known."""
        scaling = self.training.scaling if self.training is not None else None
        return scaling.target_deviation if scaling is not None else ()

    @property
    def training_options(self) -> Mapping[str, JsonValue]:
        """Options of the training program; none for an imported model."""
        return self.training.options if self.training is not None else {}

    @model_validator(mode="after")
    def _has_a_source(self) -> Self:
        if self.training is None and self.origin is None:
            raise ValueError("training, origin: expected one of them, got neither")
        return self

    @model_validator(mode="after")
    def _lengths_agree(self) -> Self:
        lengths = {
            "timestep_labels": (len(self.timestep_labels), self.timesteps),
            "feature_labels": (len(self.feature_labels), self.features),
        }
        if self.attention is not None:
            lengths["attention.mean"] = (len(self.attention.mean), self.timesteps)
            lengths["attention.spread"] = (len(self.attention.spread), self.timesteps)
        if self.importance is not None:
            lengths["importance.drop"] = (len(self.importance.drop), self.timesteps)
            lengths["importance.spread"] = (len(self.importance.spread), self.timesteps)
        if self.feature_importance is not None:
            lengths["feature_importance.drop"] = (len(self.feature_importance.drop), self.features)
            lengths["feature_importance.spread"] = (len(self.feature_importance.spread), self.features)
        if self.cell_importance is not None:
            drop = self.cell_importance.drop
            lengths["cell_importance.drop"] = (len(drop), self.timesteps)
            lengths |= {f"cell_importance.drop[{t}]": (len(row), self.features) for t, row in enumerate(drop)}
        for i, profile in enumerate(self.repeats.profiles if self.repeats is not None else ()):
            lengths[f"repeats.profiles[{i}]"] = (len(profile), self.timesteps)
        if self.baseline is not None:
            lengths["baseline"] = (len(self.baseline), self.timesteps)
            lengths |= {f"baseline[{t}]": (len(step), self.features) for t, step in enumerate(self.baseline)}
        for field, (got, expected) in lengths.items():
            if got != expected:
                raise ValueError(f"{field}: expected {expected} entries, got {got}")
        for t in self.agreement.top if self.agreement is not None else ():
            if t >= self.timesteps:
                raise ValueError(f"agreement.top: expected timesteps below {self.timesteps}, got {t}")
        return self

    @model_validator(mode="after")
    def _features_are_labelled(self) -> Self:
        if unknown := {*self.categories, *self.static_labels} - set(self.feature_labels):
            raise ValueError(f"categories, static_labels: expected labels of features, got {min(unknown)!r}")
        if self.tokens is not None and self.categories:
            raise ValueError("categories: expected none in a model of tokens")
        if self.tokens is not None and (unknown := set(self.tokens.ranges) - set(self.feature_labels)):
            raise ValueError(f"tokens.ranges: expected labels of features, got {min(unknown)!r}")
        return self

    @model_validator(mode="after")
    def _attention_agrees(self) -> Self:
        if self.attention is None:
            if self.attention_from or self.agreement is not None:
                raise ValueError("attention_from, agreement: expected none in a model without attention")
            return self
        highest = self.attention.mean.index(max(self.attention.mean))
        if self.attention.peak != highest:
            raise ValueError(
                f"attention.peak: expected {highest}, the highest of attention.mean, got {self.attention.peak}"
            )
        for source in self.attention_from:
            if source.axes.get(STEP, self.target.steps) != self.target.steps:
                raise ValueError(
                    f"attention_from: expected an axis {STEP!r} of target.steps ({self.target.steps}), got "
                    f"{source.axes[STEP]}"
                )
        return self
