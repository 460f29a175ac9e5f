"""The model card: what a version's graph cannot say about itself. Training writes it, the service reads it."""

from typing import Final, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue, model_validator

#: Plain names: they are directories, and parts of addresses.
NAME_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"

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

    @property
    def outputs(self) -> int | None:
        """How many numbers the model answers for a sequence, where the task decides that."""
        return {"binary": 1, "multiclass": len(self.classes or ()), "regression": None}[self.task]

    @model_validator(mode="after")
    def _classes_fit_task(self) -> Self:
        count = len(self.classes) if self.classes is not None else None
        fits = {"binary": count == 2, "multiclass": count is not None and count > 2, "regression": count is None}
        if not fits[self.task]:
            expected = {"binary": "2 classes", "multiclass": "at least 3 classes", "regression": "no classes"}
            raise ValueError(f"a {self.task} target has {expected[self.task]}, got {count}")
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


class Lowering(CardPart):
    """Where `model.onnx` comes from and how close it is to the SavedModel."""

    opset: int = Field(ge=1, description="ONNX operator set of the graph.", examples=[18])
    error: float = Field(
        ge=0,
        description="Largest difference of any output from the SavedModel's, as measured at export.",
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
    seconds: float = Field(ge=0, description="Duration of the fit, in seconds.", examples=[13.1])


class ModelCard(CardPart):
    """What a version's graph cannot say about itself."""

    name: str = Field(pattern=NAME_PATTERN, description="Name of the model.", examples=["after-lstm"])
    created: AwareDatetime = Field(description="When the version was exported.")
    architecture: str = Field(description="Name of the architecture.", examples=["after_lstm"])
    timesteps: int = Field(ge=1, description="Timesteps in a sequence.", examples=[20])
    features: int = Field(ge=1, description="Features at each timestep.", examples=[2])
    timestep_labels: tuple[str, ...] = Field(description="One label per timestep.", examples=[["0", "1", "2", "3"]])
    feature_labels: tuple[str, ...] = Field(description="One label per feature.", examples=[["0", "1"]])
    target: Target = Field(description="What the model predicts.")
    metrics: dict[str, float] = Field(description="Metrics on held-out data.", examples=[{"accuracy": 0.9999}])
    attention: AttentionProfile = Field(description="Attention profile over held-out data.")
    training: TrainingRecord = Field(description="How the version came to be.")
    lowering: Lowering | None = Field(None, description="The ONNX graph beside the SavedModel, where there is one.")

    @model_validator(mode="after")
    def _lengths_agree(self) -> Self:
        lengths = {
            "timestep_labels": (len(self.timestep_labels), self.timesteps),
            "feature_labels": (len(self.feature_labels), self.features),
            "attention.mean": (len(self.attention.mean), self.timesteps),
            "attention.spread": (len(self.attention.spread), self.timesteps),
        }
        for field, (got, expected) in lengths.items():
            if got != expected:
                raise ValueError(f"{field}: expected {expected} entries, got {got}")
        highest = self.attention.mean.index(max(self.attention.mean))
        if self.attention.peak != highest:
            raise ValueError(
                f"attention.peak: expected {highest}, the highest of attention.mean, got {self.attention.peak}"
            )
        return self
