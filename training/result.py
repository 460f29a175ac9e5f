"""The result of a training: a published version, to look at and to predict with."""

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from service.artifact.card import Faithfulness, ModelCard
from service.artifact.classes import chosen
from service.artifact.distances import units_of
from service.artifact.gate import Verified, open_verified
from service.artifact.layout import CARD, versions_of
from service.artifact.missing import absent, refused
from service.artifact.occlusion import MEASURED, REPLACEMENTS, ImportanceOf, Occlusions, Replacement, replacements_of
from service.artifact.tensors import ATTENTION, CELL_IMPORTANCE, FEATURE_IMPORTANCE, IMPORTANCE, PREDICTION, Array
from service.artifact.version import Artifact
from service.charts.card_charts import CARD_CHARTS, CardChart
from service.charts.chart import Chart
from service.engines import opener
from training import TrainingError
from training.explanation import Explanation
from training.in_memory import Frame, frame_like, is_frame, numbers_of, sequences_of, sequences_of_frame
from training.summary import summary

#: Number of sequences in one forward pass.
BATCH_SIZE: Final = 1024
#: The outputs of `Result.predict` for arrays, besides `PREDICTION` and `ATTENTION`.
LABEL: Final = "label"


@dataclass(frozen=True)
class Result:
    """A published version of a model. Notebooks show its summary and its chart.

    Attributes:
        directory: `<artifacts>/<name>/<version>`.
        card: the model card, with everything that is known about the version.
    """

    directory: Path
    card: ModelCard = field(repr=False)

    @classmethod
    def of(cls, directory: Path) -> "Result":
        """Return a version, or the newest version of a model.

        Raises:
            TrainingError: the directory is neither.
            ArtifactError: a file of the version is missing or was changed.
        """
        if not (directory / CARD).exists():
            versions = versions_of(directory) if directory.is_dir() else []
            if not versions:
                raise TrainingError(f"expected the directory of a version or of a model, got {directory}")
            directory /= str(versions[-1])
        return cls(directory, Artifact(directory).read().card())

    @property
    def metrics(self) -> Mapping[str, float]:
        """The metrics on the held-out sequences, by name."""
        return self.card.metrics

    @property
    def history(self) -> Mapping[str, tuple[float, ...]]:
        """The losses and metrics after each epoch, by name: `history["loss"]` has one number for each epoch."""
        return self.card.training.history if self.card.training else {}

    @property
    def faithfulness(self) -> Faithfulness | None:
        """Whether attention and importance find the timesteps that matter; its `verdict` is a sentence."""
        return self.card.faithfulness

    def predict(self, data: Any) -> Any:
        """Predict with the published version, as the service does.

        For a frame of pandas or polars or a table of pyarrow with the columns of training (without the target, if
        it is not known), return a frame of the same kind with a row for each sequence, in the order of their first
        rows. The path of such a table, `"new.csv"`, is read as training reads it, and gives a frame of pandas. Its
        columns are the sequence column if there is one, `prediction`, which is a class or a number (several numbers:
        `prediction NAME` each), and `probability NAME` for each class.

        For arrays `(n, timesteps, features)`, lists of sequences of different lengths, or one sequence `(timesteps,
        features)`, which is n = 1, return a dictionary of arrays: `prediction (n, outputs)`, the probabilities or the
        numbers; `attention (n, timesteps)`, which sums to 1, if the model has any; and `label (n,)` for classes. If
        the output is a sequence, predictions are `(n, steps, outputs)` and labels `(n, steps)`.

        Raises:
            TrainingError: a column is missing, the sequences do not have the shape of training, or a value is wrong.
            ArtifactError: a file of the version is missing or was changed.
        """
        if isinstance(data, str | Path):
            return pa.table(self._columns(Path(data))).to_pandas()
        if is_frame(data):
            return frame_like(data, self._columns(data))
        outputs: dict[str, NDArray[Any]] = {**self._run(self._sequences(data))}
        if self.card.target.classes is not None:
            outputs[LABEL] = self._labels(outputs[PREDICTION])
        return outputs

    def explain(
        self, data: Any, importance: ImportanceOf = "both", replacement: Replacement = "baseline"
    ) -> Explanation:
        """Predict, and measure what each prediction depends on, as the service does for `"importance"` in a request.

        The importance of a part is how far the prediction moves when the part is replaced. `both` runs the model once
        more for each timestep, for each feature and for each of both, so long sequences take time.

        Args:
            data: sequences, as for `predict`.
            importance: `timesteps`, `features`, or `both`, which includes features at timesteps.
            replacement: `baseline`, the card's typical values; or `marginal`, the values of up to 8 sequences that the
                version keeps, which takes as many times longer. Importance is the mean over them.

        Raises:
            TrainingError: the data are wrong, as for `predict`, the card has no baseline, or the version keeps a single
                sequence, which has no `marginal`.
            ArtifactError: a file of the version is missing or was changed.
        """
        if importance not in MEASURED:
            raise TrainingError(f"importance: expected one of {', '.join(MEASURED)}, got {importance!r}")
        if replacement not in REPLACEMENTS:
            raise TrainingError(f"replacement: expected one of {', '.join(REPLACEMENTS)}, got {replacement!r}")
        if self.card.baseline is None:
            raise TrainingError(f"{self.directory} has no baseline on its card, which importance needs: train it again")
        replacements = replacements_of(self.card, self._verified.golden)
        if replacement not in replacements:
            raise TrainingError(
                f"replacement: expected 'baseline', as {self.directory} keeps a single sequence, got {replacement!r}"
            )
        if isinstance(data, str | Path) or is_frame(data):
            x, names = sequences_of_frame(Path(data) if isinstance(data, str) else data, self.card)
        else:
            x, names = self._sequences(data), None
        found = self._run(x)
        prediction = found[PREDICTION]
        units = units_of(self.card.target, self._verified.golden.prediction, self.card.target_deviation)
        for name in MEASURED[importance]:
            occlusions = Occlusions(x, replacements[replacement], name, self.card.varying)
            changed = self._run_parts(occlusions, (PREDICTION,))[PREDICTION]
            found[name] = occlusions.importance(prediction, changed, self.card.target, units)
        return Explanation(
            title=self._title,
            card=self.card,
            names=[f"sequence {index}" for index in range(len(x))]
            if names is None
            else list(map(str, names.to_pylist())),
            sequences=x,
            prediction=prediction,
            label=None if self.card.target.classes is None else self._labels(prediction),
            attention=found.get(ATTENTION),
            importance=found.get(IMPORTANCE),
            feature_importance=found.get(FEATURE_IMPORTANCE),
            cell_importance=found.get(CELL_IMPORTANCE),
        )

    def plot(self, chart: CardChart = "training") -> Chart:
        """Return a chart of the version, which notebooks show; `save("chart.png")` writes it to a file.

        Args:
            chart: `training`, attention of each timestep with importance below it; `importance` alone; `features` and
                `cells`, importance of features, over all timesteps and at each; `faithfulness`, how far predictions
                move when timesteps are taken away; `confusion`, the confusion matrix; `learning`, losses by epoch;
                `diagram`, the layers.

        Raises:
            TrainingError: there is no such chart, or the version lacks what it shows.
        """
        if chart not in CARD_CHARTS:
            raise TrainingError(f"chart: expected one of {', '.join(CARD_CHARTS)}, got {chart!r}")
        drawn = CARD_CHARTS[chart].draw(self.card, self._title)
        if drawn is None:
            raise TrainingError(f"{self.directory} has no {CARD_CHARTS[chart].shows} on its card")
        return drawn

    def _repr_html_(self) -> str:
        if self.card.attention is None:
            return f"<pre>{html.escape(str(self))}</pre>"
        return f"<pre>{html.escape(str(self))}</pre>{self.plot().svg}"

    def __str__(self) -> str:
        return summary(self.directory)

    @property
    def _title(self) -> str:
        return f"{self.card.name} version {self.directory.name}"

    @cached_property
    def _verified(self) -> Verified:
        return open_verified(Artifact(self.directory).read(), opener("onnx", threads=1))

    def _columns(self, frame: Frame | Path) -> dict[str, Any]:
        """Return the columns of the answer to a frame or a file, by name."""
        x, names = sequences_of_frame(frame, self.card)
        prediction = self._run(x)[PREDICTION]
        target = self.card.target
        table = self.card.table
        key = table.sequence_column if table else self.card.training_options.get("sequence_column")
        columns: dict[str, Any] = {} if names is None else {str(key): names}
        if target.classes is not None:
            columns[PREDICTION] = self._labels(prediction)
            probabilities = self._probabilities(prediction)
            columns |= {f"probability {name}": probabilities[:, i] for i, name in enumerate(target.classes)}
        elif prediction.shape[1] == 1:
            columns[PREDICTION] = prediction[:, 0]
        else:
            columns |= {f"{PREDICTION} {name}": prediction[:, i] for i, name in enumerate(target.names or ())}
        return columns

    def _sequences(self, data: object) -> Array:
        """Return sequences `(n, timesteps, features)` with the shape of the card, padded with NaN."""
        card = self.card
        x = sequences_of(data, card.features)
        if x.shape[2] != card.features or not card.fewest_timesteps <= x.shape[1] <= card.timesteps:
            lengths = f"{'up to ' if card.variable_length else ''}{card.timesteps}"
            raise TrainingError(f"expected sequences (n, {lengths}, {card.features}), got {x.shape}")
        x = numbers_of(x, np.float32)
        return np.pad(x, ((0, 0), (0, card.timesteps - x.shape[1]), (0, 0)), constant_values=np.nan)

    def _run(self, x: Array) -> dict[str, Array]:
        """Return prediction `(n, outputs)` and attention `(n, timesteps)` of sequences of the card's shape.

        Raises:
            TrainingError: a value is infinite, or is missing where the card does not allow it.
        """
        wrong = refused(x, self.card)
        if wrong.any():
            i, t, f = np.argwhere(wrong)[0].tolist()
            raise TrainingError(f"sequence {i}, timestep {t}, feature {f}: expected a finite number, got {x[i, t, f]}")
        if (empty := absent(x).all(axis=1)).any():
            raise TrainingError(f"sequence {empty.argmax()}: expected at least one value, got none")
        if not len(x):
            raise TrainingError("expected at least one sequence, got none")
        return self._run_parts(x, (PREDICTION,) if self.card.attention is None else (PREDICTION, ATTENTION))

    def _run_parts(self, x: Array | Occlusions, wanted: Sequence[str]) -> dict[str, Array]:
        starts = range(0, len(x), BATCH_SIZE)
        parts = [self._verified.engine.run(np.asarray(x[start : start + BATCH_SIZE]), wanted) for start in starts]
        return {name: np.concatenate([part[name] for part in parts]) for name in wanted}

    def _probabilities(self, prediction: Array) -> Array:
        """Return the probability of each class, `(n, classes)`, or `(n, steps, classes)` as predictions have steps."""
        return (
            np.concatenate([1 - prediction, prediction], axis=-1) if self.card.target.task == "binary" else prediction
        )

    def _labels(self, prediction: Array) -> NDArray[Any]:
        """Return the likeliest class, or of several labels the list of the likely ones, `(n,)` or `(n, steps)`."""
        found = chosen(prediction, self.card.target.task)
        if self.card.target.task == "multilabel":
            likely = np.empty(prediction.shape[:-1], dtype=object)
            names = self.card.target.classes or ()
            for place in np.ndindex(likely.shape):
                likely[place] = [name for name, one in zip(names, found[place], strict=True) if one]
            return likely
        return np.array(self.card.target.classes)[found]
