"""The options of the commands of `python -m training`, with defaults and descriptions."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, Field, PositiveFloat, PositiveInt, ValidationError, field_validator, model_validator
from pydantic_settings import CliApp, CliPositionalArg, SettingsConfigDict, SettingsError

from service.artifact.layout import NAME_PATTERN
from service.problems import in_plain_words

Architecture = Literal["after_lstm", "before_lstm", "additive", "multiplicative", "inception"]
Loss = Literal["mean_squared_error", "mean_absolute_error", "huber"]
#: The sources of synthetic data.
SYNTHETIC = ("recurrent", "add-two-numbers", "find-max")
TaskChoice = Literal["auto", "classification", "regression"]


class CommandLine(BaseModel):
    """Base class of options that a command line sets."""

    model_config = SettingsConfigDict(
        frozen=True,
        cli_prog_name="python -m training",
        cli_kebab_case=True,
        cli_hide_none_type=True,
        cli_implicit_flags=True,
    )

    @classmethod
    def from_command_line(cls, arguments: Sequence[str]) -> Self:
        """Parse arguments. Other options keep their defaults.

        Raises:
            SystemExit: an option is wrong; the message has one line.
        """
        try:
            return CliApp.run(cls, cli_args=list(arguments))
        except ValidationError as error:
            problems = "; ".join(
                in_plain_words({**one, "loc": _as_flag(one["loc"])}, "options") for one in error.errors()
            )
        except SettingsError:  # of the only option that is no single value
            problems = "--class-weight: expected CLASS=WEIGHT"
        raise SystemExit(f"error: {problems} (see {cls.model_config['cli_prog_name']} --help)")


def _as_flag(place: tuple[str | int, ...]) -> tuple[str | int, ...]:
    """Return the place of a wrong value, with the name of its option as a flag."""
    return (f"--{str(place[0]).replace('_', '-')}", *place[1:]) if place else ()


class Options(CommandLine):
    """Train a sequence model with attention and publish it as the next version of <artifacts>/<name>/.

    Without options: 300,000 synthetic sequences of 20 timesteps and 2 features whose label is written into
    timestep 10, and one epoch of the after-LSTM attention model. `python -m training compare` prints
    versions side by side, `python -m training prune` removes old ones, `--version` prints the version.
    """

    architecture: Architecture = Field(
        "after_lstm",
        description="position and scoring of attention: over the states or the inputs of an LSTM, with one "
        "distribution per unit; or additive (Bahdanau) or multiplicative (Luong), with one distribution; or over the "
        "features of convolutions (inception), with one distribution",
    )
    shared_attention: bool = Field(
        default=False, description="after_lstm, before_lstm: all units use the mean of their distributions"
    )
    data: str = Field(
        "recurrent",
        description="training data: recurrent, add-two-numbers or find-max (synthetic), aeon:NAME (a data set of "
        "the aeon package, with its published split) or a .npz, .ts, .csv or .parquet file",
    )
    test_data: str | None = Field(
        None, description="another file of the same format, held out for the card's metrics instead of --test-split"
    )
    task: TaskChoice = Field(
        "auto",
        description="classification, regression, or auto: strings, booleans and integers are classes, other numbers "
        "are predicted as numbers",
    )
    target_column: tuple[str, ...] | None = Field(
        None, description="tables: column to predict, or several columns of numbers, separated by commas"
    )
    sequence_column: str | None = Field(
        None,
        description="tables of one row a timestep: column that identifies the sequence of a row; without it, one row "
        "is a sequence",
    )
    timestep_column: str | None = Field(
        None, description="tables of one row a timestep: column that orders the rows of a sequence"
    )
    feature_columns: tuple[str, ...] | None = Field(
        None, description="tables: columns with the values of sequences; all other columns if absent"
    )
    drop_columns: tuple[str, ...] | None = Field(None, description="tables: columns to ignore")
    name: str | None = Field(
        None, pattern=NAME_PATTERN, description="name of the model; the architecture's name if absent"
    )
    artifacts: Path = Field(Path("artifacts"), description="folder to publish in", exclude=True)
    epochs: int | None = Field(
        None,
        ge=1,
        description="passes over the training data, at most; without it, a number that suits the data (synthetic: 1)",
    )
    batch_size: int | None = Field(
        None,
        ge=1,
        description="sequences in one step of the optimizer; without it, 16 to 128, more for more data "
        "(synthetic: 128)",
    )
    patience: int | None = Field(
        None,
        ge=1,
        description="stop after this number of epochs without a lower loss on the validation data; without it and "
        "--epochs, a fifth of the epochs (synthetic: no early end)",
    )
    loss: Loss = Field(
        "mean_squared_error",
        description="regression: loss to minimise, in units of each number's standard deviation; mean_absolute_error "
        "and huber are less sensitive to outliers, and scale numbers by their quartiles",
    )
    balanced: bool = Field(default=False, description="give all classes the same total weight")
    class_weight: dict[str, PositiveFloat] = Field(
        default={}, description="CLASS=WEIGHT: weight of each sequence of a class, once for each class; 1 if absent"
    )
    learning_rate: float | None = Field(
        None,
        gt=0,
        description="constant step size of Adam; without it, one that falls from 0.003 to 0, with AdamW (synthetic: "
        "constant, 0.001)",
    )
    units: int = Field(32, ge=1, description="units of the LSTM, or filters of inception")
    layers: int = Field(1, ge=1, description="LSTMs on top of each other")
    bidirectional: bool = Field(default=False, description="a second LSTM reads each sequence from its end")
    dropout: float = Field(0.0, ge=0, lt=1, description="fraction of the LSTM's outputs that each step leaves out")
    validation_split: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="fraction of the training data that is not fitted but validated on after each epoch; the epoch "
        "with the lowest loss on it is published; without it, 0.1, or 0 for fewer than 100 sequences of your data",
    )
    test_split: float = Field(0.2, gt=0, lt=1, description="files: fraction to hold out for the card's metrics")
    seed: int = Field(0, ge=0, lt=2**32, description="the same seed and options give the same weights on one machine")
    repeats: int = Field(
        1,
        ge=1,
        description="number of seeds to train with, counting from --seed; the model of the first is published, and its "
        "card says how far metrics, attention and importance differ between seeds",
    )
    resume: bool = Field(
        default=False, description="continue a killed training with the same options, to the same weights"
    )
    tensorboard: Path | None = Field(None, description="folder for TensorBoard's logs")
    sequences: int | None = Field(
        None, ge=10, description="synthetic data: number of sequences; 300000, 20000 or 100000 if absent"
    )
    timesteps: int | None = Field(
        None, ge=1, description="synthetic data: timesteps in a sequence; 20, 20 or 10 if absent"
    )
    features: int | None = Field(None, ge=1, description="recurrent data: features at each timestep; 2 if absent")
    attention_column: int = Field(10, ge=0, description="recurrent data: timestep that the label is written into")

    @model_validator(mode="after")
    def _patience_needs_validation(self) -> Self:
        if self.patience is not None and self.validation_split == 0:
            raise ValueError("--patience needs validation data: expected a --validation-split above 0, got 0")
        return self

    @field_validator("target_column", "feature_columns", "drop_columns")
    @classmethod
    def _columns_are_named_once(cls, columns: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if columns is not None and len(set(columns)) < len(columns):
            raise ValueError("expected each column once")
        return columns

    @property
    def seeds(self) -> range:
        """The seeds of all trainings."""
        return range(self.seed, self.seed + self.repeats)

    @property
    def model_name(self) -> str:
        """The name of the published model."""
        return self.name or self.architecture.replace("_", "-")


class Prune(CommandLine):
    """Remove old versions of a model: all but the newest undamaged ones and the one in the file <model>/pin."""

    model_config = SettingsConfigDict(cli_prog_name="python -m training prune")

    name: CliPositionalArg[str] = Field(pattern=NAME_PATTERN, description="name of the model")
    keep: int = Field(ge=1, description="number of newest versions to keep")
    artifacts: Path = Field(Path("artifacts"), description="folder that the model is published in")


class Compare(CommandLine):
    """Print versions of a model side by side."""

    model_config = SettingsConfigDict(cli_prog_name="python -m training compare")

    name: CliPositionalArg[str] = Field(pattern=NAME_PATTERN, description="name of the model")
    versions: tuple[PositiveInt, ...] = Field(
        default=(), description="version numbers, such as 1,3; the newest if absent"
    )
    last: int = Field(4, ge=1, description="number of newest versions")
    artifacts: Path = Field(Path("artifacts"), description="folder that the model is published in")
