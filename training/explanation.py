"""The explanation of some answers: attention and importance, to compute with and to look at."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.artifact.card import ModelCard
from service.artifact.missing import absent
from service.artifact.tensors import Array
from service.artifact.tokens import are_plain, word_of, words_of
from service.charts.answer_charts import ANSWER_CHARTS, Answer, AnswerChart
from service.charts.card_charts import LEAST_EFFECT
from service.charts.chart import Chart
from training import TrainingError


@dataclass(frozen=True)
class Explanation:
    """The answers for n sequences with their explanations. Notebooks show the charts of the first one.

    Attributes:
        title: the model and its version.
        card: the model card.
        names: `(n,)`, a name for each sequence.
        sequences: `(n, timesteps, features)`, padded with NaN.
        prediction: `(n, outputs)`, the probabilities or the numbers.
        label: `(n,)`, the class; None for numbers.
        attention: `(n, timesteps)`, which sums to 1; None for a model without attention.
        importance: `(n, timesteps)`, how far the prediction moves without each timestep; None if it was not asked for.
        feature_importance: `(n, features)`, the same for features.
        cell_importance: `(n, timesteps, features)`, the same for features at timesteps.
    """

    title: str
    card: ModelCard = field(repr=False)
    names: Sequence[str] = field(repr=False)
    sequences: Array = field(repr=False)
    prediction: Array = field(repr=False)
    label: NDArray[Any] | None = field(repr=False)
    attention: Array | None = field(repr=False)
    importance: Array | None = field(repr=False)
    feature_importance: Array | None = field(repr=False)
    cell_importance: Array | None = field(repr=False)

    def plot(self, chart: AnswerChart = "timesteps", sequence: int = 0) -> Chart:
        """Return a chart of one answer, which notebooks show; `save("chart.png")` writes it to a file.

        Args:
            chart: `timesteps`, the sequence with attention and importance below it; `features`, importance of features;
                `cells`, importance of features at timesteps.
            sequence: the index of the sequence.

        Raises:
            TrainingError: there is no such chart or sequence, or the explanation lacks what it shows.
        """
        if chart not in ANSWER_CHARTS:
            raise TrainingError(f"chart: expected one of {', '.join(ANSWER_CHARTS)}, got {chart!r}")
        if not 0 <= sequence < len(self.sequences):
            raise TrainingError(f"sequence: expected an index below {len(self.sequences)}, got {sequence!r}")
        drawn = ANSWER_CHARTS[chart].draw(self._answer(sequence))
        if drawn is None:
            raise TrainingError(f'the explanation has no {ANSWER_CHARTS[chart].shows}; importance="both" measures all')
        return drawn

    def _repr_html_(self) -> str:
        answer = self._answer(0)
        drawn = [drawing.draw(answer) for name, drawing in ANSWER_CHARTS.items() if name != "features"]
        return "".join(chart.svg for chart in drawn if chart is not None)

    def _answer(self, index: int) -> Answer:
        """Return what the charts of a sequence show, without the absent timesteps at its end."""
        card = self.card
        length = int(np.flatnonzero(~absent(self.sequences[index : index + 1])[0])[-1]) + 1

        def of(values: Array | None) -> Array | None:
            return None if values is None else values[index]

        def until_end(values: Array | None) -> Array | None:
            return None if values is None else values[index, :length]

        return Answer(
            title=f"{self.title}, {self.names[index]}{self._predicted(index)}",
            timesteps=self._words(index, length) or card.timestep_labels[:length],
            features=card.feature_labels,
            lines=() if card.tokens else [f for f in card.varying if card.feature_labels[f] not in card.categories],
            sequence=self.sequences[index, :length],
            attention=until_end(self.attention),
            importance=until_end(self.importance),
            feature_importance=of(self.feature_importance),
            cell_importance=until_end(self.cell_importance),
            least=_least(card),
        )

    def _predicted(self, index: int) -> str:
        """Return the prediction for the title: the class, or the numbers; nothing for an output that is a sequence."""
        if self.card.target.steps is not None:
            return ""
        if self.label is None:
            return f": {', '.join(f'{number:.4g}' for number in self.prediction[index].tolist())}"
        label = self.label[index]
        return f": {', '.join(label) or 'no class'}" if isinstance(label, list) else f": {label}"

    def _words(self, index: int, length: int) -> list[str]:
        """Return the words of a sequence of tokens of a vocabulary; nothing for other sequences."""
        words = words_of(self.card) if are_plain(self.card) else None
        if words is None:
            return []
        found = (word_of(token, words) for token in self.sequences[index, :length, 0].tolist())
        return ["" if word is None else str(word) for word in found]


def _least(card: ModelCard) -> float:
    """Return the change of a prediction that a scale reaches at least: of numbers a share of their deviation."""
    if card.target.task != "regression" or (card.target.outputs or 0) > 1:
        return LEAST_EFFECT  # several numbers count in units of their deviation
    return LEAST_EFFECT * card.target_deviation[0] if card.target_deviation else 0.0
