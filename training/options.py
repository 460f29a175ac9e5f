"""The options of the commands of `python -m training`, with defaults and descriptions."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    field_validator,
    model_validator,
)

from service.artifact.card import Task
from service.engines import EngineChoice
from service.problems import NAME_IN_WORDS, NAME_PATTERN, did_you_mean, in_plain_words
from service.tables.dialect import Dialect
from training import TrainingError
from training.command_line import flag_of, is_tuple, read_arguments

Architecture = Literal["after_lstm", "before_lstm", "additive", "multiplicative", "inception", "minirocket"]
ArchitectureChoice = Literal[Architecture, "auto"]
Loss = Literal["mean_squared_error", "mean_absolute_error", "huber"]
#: A model, or a version of it.
CONTINUED_PATTERN = rf"{NAME_PATTERN.removesuffix('$')}(/[1-9][0-9]*)?$"
#: The sources of synthetic data.
SYNTHETIC = ("recurrent", "decoy", "add-two-numbers", "find-max")
#: Why options contradict cross-validation.
WHY_NOT_BOTH = {
    "test_data": "as each part of the data is held out in turn",
    "test_split": "as each part of the data is held out in turn",
    "repeats": "as each part already has a fit of its own",
    "window": "as later windows would predict earlier ones; windows are held out by time",
    "continue_": "as the published version may know the sequences that are held out",
}
TaskChoice = Literal["auto", "classification", "regression", "multilabel"]


class CommandLine(BaseModel):
    """Base class of options that a command line or keyword arguments set."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    #: The command, the fields below each heading of its help, and the fields that are given without a flag.
    program: ClassVar[str]
    groups: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    positional: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def from_command_line(cls, arguments: Sequence[str]) -> Self:
        """Parse arguments. Other options keep their defaults.

        Raises:
            SystemExit: an option is wrong; the message has one line.
        """
        try:
            return cls._checked(read_arguments(cls, arguments, cls.program, cls.groups, cls.positional), flag_of)
        except TrainingError as error:
            raise SystemExit(f"error: {error} (see {cls.program} --help)") from None

    @classmethod
    def from_keywords(cls, values: Mapping[str, Any]) -> Self:
        """Return options from values by the names of their fields. Other options keep their defaults.

        Raises:
            TrainingError: a name is unknown, or a value is wrong.
        """
        return cls._checked(values, str)

    @classmethod
    def _checked(cls, values: Mapping[str, Any], shown: Callable[[str], str]) -> Self:
        for name in values:
            if name not in cls.model_fields:
                raise TrainingError(f"expected an option, got {name!r}{did_you_mean(name, cls.model_fields)}")
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            # A list with a wrong entry counts as empty, too.
            wrong_inside = {one["loc"][0] for one in error.errors() if len(one["loc"]) > 1}
            problems = [
                in_plain_words({**one, "loc": (*map(shown, map(str, one["loc"][:1])), *one["loc"][1:])}, "options")
                for one in error.errors()
                if one["type"] != "too_short" or one["loc"][0] not in wrong_inside
            ]
        raise TrainingError("; ".join(problems))

    @model_validator(mode="before")
    @classmethod
    def _one_text_is_a_tuple(cls, values: Any) -> Any:
        """A single name may stand for a tuple of one name."""
        if not isinstance(values, dict):
            return values
        return {
            name: (value,) if isinstance(value, str) and name in cls.model_fields and is_tuple(cls, name) else value
            for name, value in values.items()
        }


class Options(CommandLine):
    """Train a sequence model with attention and publish it as the next version of <artifacts>/<name>/.

    Without options: 300,000 synthetic sequences of 20 timesteps and 2 features whose label is written into
    timestep 10, and one epoch of the after-LSTM attention model. `python -m training import` publishes a
    model of your own, `compare` prints versions side by side, `check` says whether the service would serve
    one, `prune` removes old ones, `--version` prints the version.
    """

    program = "python -m training"
    #: The order of the help. A test fails for an option that is in no group.
    groups = {
        "Data": ("data", "test_data", "task", "test_split"),
        "Tables": (
            "target_column", "sequence_column", "timestep_column", "feature_columns", "drop_columns", "static_columns",
            "group_column", "time_feature", "window", "horizon", "stride", "delimiter", "decimal", "thousands",
            "encoding", "missing", "date_format", "header",
        ),
        "Learning": (
            "architecture", "budget", "shared_attention", "units", "cell", "layers", "bidirectional", "dropout",
            "epochs", "batch_size", "learning_rate", "patience",
            "loss", "balanced", "class_weight", "validation_split", "seed", "continue_", "resume", "jobs",
            "ray", "tensorboard",
        ),
        "Judging": ("cross_validate", "repeats", "publish_anyway"),
        "Publishing": ("name", "artifacts"),
        "Synthetic data": ("sequences", "timesteps", "features", "attention_column"),
    }  # fmt: skip

    architecture: ArchitectureChoice | None = Field(
        None,
        description="auto (the default for your data) tries several on parts of the training data. after_lstm (the "
        "default for synthetic data) and before_lstm: attention over the states or the inputs of an LSTM, with one "
        "distribution per unit; additive (Bahdanau) or multiplicative (Luong): one distribution; inception: over the "
        "features of convolutions; minirocket: over the evidence of fixed kernels, fitted in seconds",
    )
    shared_attention: bool = Field(
        default=False, description="after_lstm, before_lstm: all units use the mean of their distributions"
    )
    data: str = Field(
        "recurrent",
        description="training data: recurrent, decoy, add-two-numbers or find-max (synthetic), aeon:NAME (a data set "
        "of the aeon package, with its published split) or a .npz, .ts, .csv or .parquet file",
    )
    test_data: str | None = Field(
        None,
        description="another file of the same format, or another table beside a table, held out for the card's metrics "
        "instead of --test-split",
    )
    task: TaskChoice = Field(
        "auto",
        description="classification, regression, multilabel (a class for each of several columns of 0 and 1), or "
        "auto: strings, booleans and integers are classes, other numbers are predicted as numbers",
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
    static_columns: tuple[str, ...] | None = Field(
        None, description="tables: columns that do not change with time, such as the type of a machine"
    )
    group_column: str | None = Field(
        None, description="tables: column of a group, such as a patient; a group is either fitted or held out"
    )
    time_feature: bool = Field(
        default=False, description="tables of one row a timestep: the time since the row before is a feature"
    )
    window: int | None = Field(
        None, ge=1, description="tables: cut a long series into sequences of this number of rows"
    )
    horizon: int = Field(1, ge=1, description="windows: number of rows after the window to predict")
    stride: int = Field(1, ge=1, description="windows: rows between the starts of two windows")
    delimiter: str | None = Field(
        None, min_length=1, max_length=1, description="CSV: character between cells; found in the file if absent"
    )
    decimal: Literal[".", ","] | None = Field(None, description="CSV: decimal separator; found in the file if absent")
    thousands: str | None = Field(
        None,
        min_length=1,
        max_length=1,
        description="CSV: character between thousands, such as a space, , or '; found in the file if absent",
    )
    encoding: str | None = Field(
        None, description="CSV: encoding, such as latin-1; UTF-8 or UTF-16, else Windows-1252 if absent"
    )
    missing: tuple[str, ...] | None = Field(
        None, description="tables: further words for a missing number, such as -999,unknown"
    )
    date_format: str | None = Field(
        None, description="tables: format of the times as text, such as %d/%m/%Y; found in the table if absent"
    )
    header: bool = Field(default=True, description="CSV: the first row holds the names of the columns")
    name: str | None = Field(
        None,
        pattern=NAME_PATTERN,
        description=f"name of the model: {NAME_IN_WORDS}; without it, the name of the model to continue, or of the "
        "architecture",
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
    units: int = Field(32, ge=1, description="units of a recurrent layer, or filters of inception")
    cell: Literal["lstm", "gru"] = Field(
        "lstm", description="recurrent layers: LSTM, or GRU, which has fewer weights for the same units"
    )
    layers: int = Field(1, ge=1, description="recurrent layers on top of each other")
    bidirectional: bool = Field(default=False, description="a second recurrent layer reads each sequence from its end")
    dropout: float = Field(0.0, ge=0, lt=1, description="fraction of a layer's outputs that each step leaves out")
    validation_split: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="fraction of the training data that is not fitted but validated on after each epoch; the epoch "
        "with the lowest loss on it is published; without it, 0.1, or 0 for fewer than 100 sequences of your data",
    )
    test_split: float = Field(0.2, gt=0, lt=1, description="files: fraction to hold out for the card's metrics")
    budget: float = Field(
        5.0,
        gt=0,
        description="minutes for --architecture auto: 60 % for the choice, the rest for the last fit, which takes "
        "about as long as the trial of the chosen one",
    )
    seed: int = Field(0, ge=0, lt=2**32, description="the same seed and options give the same weights on one machine")
    repeats: int = Field(
        1,
        ge=1,
        description="number of seeds to train with, counting from --seed; the model of the first is published, and its "
        "card says how far metrics, attention and importance differ between seeds",
    )
    cross_validate: int | None = Field(
        None,
        ge=2,
        description="number of parts of your data; each is predicted by a model of the others, for the card's metrics, "
        "instead of --test-split; a model of all data is published",
    )
    continue_: str | None = Field(
        None,
        pattern=CONTINUED_PATTERN,
        title="MODEL[/VERSION]",
        description="start from the weights of a published version, the newest if only the model is given; options "
        "that you do not give are those of that version, --data included",
    )
    resume: bool = Field(
        default=False, description="continue a killed training with the same options, to the same weights"
    )
    jobs: int = Field(
        1,
        ge=1,
        description="number of processes for the fits of --repeats, --cross-validate and --architecture auto; the "
        "results are the same",
        exclude=True,  # it changes no weight
    )
    ray: str | None = Field(
        None,
        title="ADDRESS",
        description="address of a Ray cluster that runs these fits in place of --jobs; auto: the one of this machine, "
        "local: a new one",
        exclude=True,  # it changes no weight
    )
    publish_anyway: bool = Field(
        default=False,
        description="publish the model even if it is not better than always predicting the most frequent class, the "
        "mean or the last value",
        exclude=True,  # it changes no weight, so a checkpoint stays usable
    )
    tensorboard: Path | None = Field(None, description="folder for TensorBoard's logs")
    sequences: int | None = Field(
        None,
        ge=10,
        description="synthetic data: number of sequences; 300000 if absent (add-two-numbers: 20000, others: 100000)",
    )
    timesteps: int | None = Field(
        None, ge=1, description="synthetic data: timesteps in a sequence; 20, or 10 for find-max, if absent"
    )
    features: int | None = Field(None, ge=1, description="recurrent data: features at each timestep; 2 if absent")
    attention_column: int = Field(10, ge=0, description="recurrent, decoy: timestep that the label is written into")

    @model_validator(mode="after")
    def _patience_needs_validation(self) -> Self:
        if self.patience is not None and self.validation_split == 0:
            raise ValueError("--patience needs validation data: expected a --validation-split above 0, got 0")
        return self

    @model_validator(mode="after")
    def _cross_validation_is_the_only_judgement(self) -> Self:
        if self.cross_validate is None:
            return self
        for name in ("test_data", "test_split", "repeats", "window", "continue_"):
            if getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"--cross-validate: expected no {flag_of(name)}, {WHY_NOT_BOTH[name]}")
        if self.data in SYNTHETIC:
            raise ValueError(f"--cross-validate: expected your data, got the synthetic data {self.data}")
        return self

    @model_validator(mode="after")
    def _fits_run_in_one_place(self) -> Self:
        if self.ray is not None and self.jobs != 1:
            raise ValueError("--ray: expected no --jobs, as the cluster decides how many processes there are")
        return self

    @field_validator("target_column", "feature_columns", "drop_columns", "static_columns")
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
    def architecture_or_default(self) -> ArchitectureChoice:
        """The architecture: `--architecture`, or the default for the data."""
        return self.architecture or ("after_lstm" if self.data in SYNTHETIC else "auto")

    @property
    def dialect(self) -> Dialect:
        """How the text of tables is read, as far as the options say."""
        targets, keys = self.target_column or (), (self.sequence_column, self.group_column)
        chosen = (*(self.static_columns or ()), *targets, self.timestep_column)
        return Dialect(
            header=self.header,
            delimiter=self.delimiter,
            decimal=self.decimal,
            thousands=self.thousands,
            encoding=self.encoding,
            missing=self.missing or (),
            date_format=self.date_format,
            used=None if self.feature_columns is None else {*self.feature_columns, *filter(None, chosen)},
            left_out={*(self.drop_columns or ()), *filter(None, keys)}.difference(targets),
        )

    @property
    def model_name(self) -> str:
        """The name of the published model."""
        if self.continue_ is not None and self.name is None:
            return self.continue_.partition("/")[0]
        return self.name or self.architecture_or_default.replace("_", "-")


class Import(CommandLine):
    """Check a model of another program on examples, and publish it as the next version of <artifacts>/<name>/.

    MODEL is a .keras, .h5 or .onnx file, or the directory of a SavedModel.
    """

    program = "python -m training import"
    groups = {
        "Examples": (
            "data", "target_column", "sequence_column", "timestep_column", "feature_columns", "static_columns",
            "drop_columns",
        ),
        "Model": ("attention", "prediction", "task", "classes", "pad", "vocabulary", "custom"),
        "Publishing": ("name", "artifacts"),
    }  # fmt: skip
    positional = ("model",)

    model: str = Field(description="file or directory of the model")
    data: str = Field(
        description="examples that the model was not trained on: a file that training reads, or a .npz or .npy file "
        "without labels"
    )
    name: str = Field(pattern=NAME_PATTERN, description=f"name of the model in the service: {NAME_IN_WORDS}")
    attention: tuple[str, ...] = Field(
        default=(),
        description="layers, outputs or tensors that are distributions over the timesteps; none for a model without "
        "attention; found if absent",
    )
    prediction: str | None = Field(None, description="output that is the prediction, if the model has several")
    task: Literal[Task, "auto"] = Field(
        "auto",
        description="kind of prediction; logits become probabilities with binary, multiclass and multilabel; auto: "
        "as the outputs and the labels show",
    )
    classes: tuple[str, ...] = Field(default=(), description="names of the classes in the order of the outputs")
    pad: float = Field(0.0, description="value, or token, that fills up shorter sequences")
    vocabulary: Path | None = Field(
        None,
        title="FILE",
        description="words of the tokens: a text file with one word a line from token 0 on, or JSON",
    )
    custom: str | None = Field(None, description="module of Python with the author's own layers; it is imported")
    target_column: tuple[str, ...] | None = Field(None, description="tables: columns to predict")
    sequence_column: str | None = Field(None, description="tables of one row a timestep: column of the sequence")
    timestep_column: str | None = Field(None, description="tables of one row a timestep: column of the time")
    feature_columns: tuple[str, ...] | None = Field(
        None, description="tables: columns with the values, in the order of the model's inputs"
    )
    static_columns: tuple[str, ...] | None = Field(None, description="tables: columns that do not change with time")
    drop_columns: tuple[str, ...] | None = Field(None, description="tables: columns to ignore")
    artifacts: Path = Field(Path("artifacts"), description="folder to publish in")

    @property
    def reading(self) -> Options:
        """The options with which training reads the examples."""
        shared = ("data", "target_column", "sequence_column", "timestep_column", "feature_columns", "static_columns",
                  "drop_columns")  # fmt: skip
        return Options.from_keywords({name: getattr(self, name) for name in shared})


class Check(CommandLine):
    """Say whether the service would serve a version, and why not."""

    program = "python -m training check"
    positional = ("directory",)

    directory: Path = Field(description="directory of a version, or of a model for its newest version")
    engine: EngineChoice = Field("auto", description="engine of the service")


class Prune(CommandLine):
    """Remove old versions of a model: all but the newest undamaged ones and the one in the file <model>/pin."""

    program = "python -m training prune"
    positional = ("name",)

    name: str = Field(pattern=NAME_PATTERN, description="name of the model")
    keep: int = Field(ge=1, description="number of newest versions to keep")
    artifacts: Path = Field(Path("artifacts"), description="folder that the model is published in")


class Compare(CommandLine):
    """Print versions side by side: of one model, or of several.

    NAMES are names of models, or versions of them such as after-lstm/2. One name alone stands for its newest versions;
    beside others, it stands for its newest one.
    """

    program = "python -m training compare"
    positional = ("names",)

    names: tuple[Annotated[str, Field(pattern=CONTINUED_PATTERN)], ...] = Field(
        min_length=1, description="names of models, or versions such as NAME/2"
    )
    versions: tuple[PositiveInt, ...] = Field(
        default=(), description="version numbers of a single name, such as 1,3; the newest if absent"
    )
    last: int = Field(4, ge=1, description="number of newest versions of a single name")
    format: Literal["table", "json", "csv"] = Field(
        "table", description="form of the output: for people, or a record or a row for each version"
    )
    artifacts: Path = Field(Path("artifacts"), description="folder that the model is published in")
