"""The model card: what a version's graph cannot say about itself. Training writes it, the service reads it."""

from typing import Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, FiniteFloat, JsonValue, model_validator

from service.artifact.layout import NAME_PATTERN

Task = Literal["binary", "multiclass", "regression"]


class CardPart(BaseModel):
    """Anything on the card: immutable, and tolerant of fields that a newer training program adds."""

    model_config = ConfigDict(frozen=True)


class Target(CardPart):
    """What the model predicts."""

    task: Task = Field(description="Kind of prediction.", examples=["binary"])
    classes: tuple[str, ...] | None = Field(
        None, description="Class names in the order of the model's outputs; none for regression.", examples=[["0", "1"]]
    )

    names: tuple[str, ...] | None = Field(
        None, description="Name of each number that is predicted; none for classes.", examples=[None]
    )

    @property
    def outputs(self) -> int | None:
        """How many numbers the model answers for a sequence; none where the card of a regression does not name them."""
        regression = len(self.names) if self.names else None
        return {"binary": 1, "multiclass": len(self.classes or ()), "regression": regression}[self.task]

    @model_validator(mode="after")
    def _classes_fit_task(self) -> Self:
        count = len(self.classes) if self.classes is not None else None
        fits = {"binary": count == 2, "multiclass": count is not None and count > 2, "regression": count is None}
        if not fits[self.task]:
            expected = {"binary": "2 classes", "multiclass": "at least 3 classes", "regression": "no classes"}
            raise ValueError(f"a {self.task} target has {expected[self.task]}, got {count}")
        if self.names is not None and self.task != "regression":
            raise ValueError(f"a {self.task} target has classes rather than names, got {', '.join(self.names)}")
        return self


class AttentionProfile(CardPart):
    """Attention averaged over many sequences."""

    sequences: int = Field(ge=1, description="How many sequences the profile averages.", examples=[30000])
    mean: tuple[float, ...] = Field(
        description="Mean attention per timestep; sums to 1.", examples=[[0.1, 0.2, 0.6, 0.1]]
    )
    spread: tuple[float, ...] = Field(
        description="Standard deviation of attention per timestep, over the sequences.",
        examples=[[0.01, 0.02, 0.05, 0.01]],
    )
    peak: int = Field(ge=0, description="Index of the timestep with the highest mean attention.", examples=[2])
    sum_error: float = Field(
        ge=0, description="Largest distance from 1 of any sequence's attention sum.", examples=[2.4e-7]
    )


class Importance(CardPart):
    """How much the prediction depends on each timestep: permutation importance, over held-out sequences."""

    metric: str = Field(description="Metric whose drop is measured; higher is better.", examples=["accuracy"])
    drop: tuple[float, ...] = Field(
        description="Per timestep, how far the metric drops once its values are exchanged between sequences.",
        examples=[[0.0, 0.01, 0.49, 0.0]],
    )
    spread: tuple[float, ...] = Field(
        description="Standard deviation of that drop, over the repetitions.", examples=[[0.0, 0.001, 0.002, 0.0]]
    )
    sequences: int = Field(ge=1, description="How many sequences it was measured on.", examples=[5000])
    repetitions: int = Field(ge=1, description="How many times each timestep was exchanged.", examples=[1])

    @property
    def mass(self) -> tuple[float, ...] | None:
        """The share of each timestep in all drops; none where the metric never drops."""
        positive = [max(drop, 0.0) for drop in self.drop]
        total = sum(positive)
        return tuple(drop / total for drop in positive) if total > 0 else None


class Agreement(CardPart):
    """Whether attention lies where importance does."""

    rank_correlation: float | None = Field(
        ge=-1,
        le=1,
        description="Spearman's rank correlation of mean attention and importance over the timesteps, both over the "
        "sequences that have them; none where either is the same everywhere.",
        examples=[0.63],
    )
    top: tuple[int, ...] = Field(
        description="The most important timesteps, the most important first: a tenth of all, at least one, but "
        "none whose importance is not above 0.",
        examples=[[2]],
    )
    attention: float = Field(ge=0, description="Share of attention that lies on them.", examples=[0.6])
    importance: float | None = Field(
        ge=0, description="Share of importance that lies on them; none where no timestep has any.", examples=[0.98]
    )


class Repeats(CardPart):
    """What other seeds come to: each is a model of its own, trained on the same data; the first is this version."""

    seeds: tuple[int, ...] = Field(description="Seed of each training.", examples=[[0, 1, 2]])
    metrics: dict[str, tuple[float, ...]] = Field(
        description="Metrics on held-out data, one value a seed.", examples=[{"accuracy": [0.999, 1.0, 0.998]}]
    )
    attention: tuple[float, ...] = Field(
        description="Mean of the attention profiles, per timestep.", examples=[[0.1, 0.2, 0.6, 0.1]]
    )
    attention_spread: tuple[float, ...] = Field(
        description="Standard deviation of the attention profiles, over the seeds.", examples=[[0.01, 0.02, 0.1, 0.01]]
    )
    importance: tuple[float, ...] = Field(
        description="Mean of the importances, per timestep.", examples=[[0.0, 0.01, 0.49, 0.0]]
    )
    importance_spread: tuple[float, ...] = Field(
        description="Standard deviation of the importances, over the seeds.", examples=[[0.0, 0.01, 0.001, 0.0]]
    )


class Lowering(CardPart):
    """Where `model.onnx` comes from and how close it is to the SavedModel."""

    opset: int = Field(ge=1, description="ONNX operator set of the graph.", examples=[18])
    error: float = Field(
        ge=0,
        description="Largest difference of any output from the SavedModel's, as measured at export; of predicted "
        "numbers in units of their standard deviation.",
        examples=[6e-8],
    )
    source_digest: str = Field(
        pattern=r"^[0-9a-f]{64}$", description="SHA-256 of the SavedModel that it was derived from."
    )


class TrainingRecord(CardPart):
    """How the version came to be."""

    options: dict[str, JsonValue] = Field(
        description="Options that the training program ran with.", examples=[{"epochs": 1, "seed": 0}]
    )
    libraries: dict[str, str] = Field(description="Library versions it ran on.", examples=[{"tensorflow": "2.21.0"}])
    sequences: int = Field(ge=1, description="Sequences that the weights were fitted on.", examples=[270000])
    parameters: int = Field(ge=1, description="Number of trained weights.", examples=[5541])
    epochs: int | None = Field(None, ge=1, description="Passes over them.", examples=[1])
    best_epoch: int | None = Field(
        None,
        ge=1,
        description="The one whose weights these are: that with the lowest loss on validation data.",
        examples=[1],
    )
    seconds: float = Field(ge=0, description="Duration of the fit, in seconds.", examples=[13.1])


class ModelCard(CardPart):
    """What a version's graph cannot say about itself."""

    name: str = Field(pattern=NAME_PATTERN, description="Name of the model.", examples=["after-lstm"])
    created: AwareDatetime = Field(description="When the version was exported.")
    architecture: str = Field(description="Name of the architecture.", examples=["after_lstm"])
    timesteps: int = Field(ge=1, description="Timesteps in a sequence; with `variable_length` at most.", examples=[20])
    features: int = Field(ge=1, description="Features at each timestep.", examples=[2])
    timestep_labels: tuple[str, ...] = Field(description="One label per timestep.", examples=[["0", "1", "2", "3"]])
    feature_labels: tuple[str, ...] = Field(description="One label per feature.", examples=[["0", "1"]])
    variable_length: bool = Field(
        default=False, description="Whether sequences may have fewer timesteps.", examples=[False]
    )
    missing_values: bool = Field(default=False, description="Whether values may be missing (null).", examples=[False])
    baseline: tuple[tuple[FiniteFloat, ...], ...] | None = Field(
        None,
        description="Mean of the sequences to fit, `(timesteps, features)`: what a timestep is replaced by to see how "
        "much a prediction depends on it.",
        examples=[[[0.0, 0.1]] * 4],
    )
    target: Target = Field(description="What the model predicts.")
    metrics: dict[str, float] = Field(description="Metrics on held-out data.", examples=[{"accuracy": 0.9999}])
    attention: AttentionProfile = Field(description="Attention profile over held-out data.")
    importance: Importance | None = Field(None, description="Importance of the timesteps, to compare attention with.")
    agreement: Agreement | None = Field(None, description="Whether attention lies where importance does.")
    repeats: Repeats | None = Field(None, description="What other seeds come to, where some were tried.")
    training: TrainingRecord = Field(description="How the version came to be.")
    lowering: Lowering | None = Field(None, description="The ONNX graph beside the SavedModel, where there is one.")

    @property
    def fewest_timesteps(self) -> int:
        """How many a sequence must have."""
        return 1 if self.variable_length else self.timesteps

    @model_validator(mode="after")
    def _lengths_agree(self) -> Self:
        lengths = {
            "timestep_labels": (len(self.timestep_labels), self.timesteps),
            "feature_labels": (len(self.feature_labels), self.features),
            "attention.mean": (len(self.attention.mean), self.timesteps),
            "attention.spread": (len(self.attention.spread), self.timesteps),
        }
        if self.importance is not None:
            lengths["importance.drop"] = (len(self.importance.drop), self.timesteps)
            lengths["importance.spread"] = (len(self.importance.spread), self.timesteps)
        if self.baseline is not None:
            lengths["baseline"] = (len(self.baseline), self.timesteps)
            lengths |= {f"baseline[{t}]": (len(step), self.features) for t, step in enumerate(self.baseline)}
        for field, (got, expected) in lengths.items():
            if got != expected:
                raise ValueError(f"{field}: expected {expected} entries, got {got}")
        highest = self.attention.mean.index(max(self.attention.mean))
        if self.attention.peak != highest:
            raise ValueError(
                f"attention.peak: expected {highest}, the highest of attention.mean, got {self.attention.peak}"
            )
        return self
