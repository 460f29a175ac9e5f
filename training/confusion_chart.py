"""The chart of the confusion matrix."""

import numpy as np
from matplotlib.figure import Figure

from service.artifact.card import ModelCard
from training.profile_chart import TEXT_COLOUR, saved

#: Most classes whose counts are written into the cells; with more, labels are left out, too.
MOST_COUNTED, MOST_LABELS = 30, 40
#: Most characters of a class's name.
LONGEST_NAME = 20


def draw_confusion(card: ModelCard, suffix: str) -> bytes | None:
    """Draw the confusion matrix: true classes by row, predicted ones by column, each row shaded by its fractions.

    Return the content of an `svg` or `png` file; None if the card has no confusion matrix.
    """
    if card.judgement is None or card.judgement.confusion is None:
        return None
    counts = np.array(card.judgement.confusion)
    fractions = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    classes = [_shortened(name) for name in card.target.classes or ()]
    side = 3.2 + 0.32 * min(len(classes), MOST_LABELS)
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(fractions, cmap="Blues", vmin=0, vmax=1)
    if len(classes) <= MOST_COUNTED:
        for (row, column), count in np.ndenumerate(counts):
            if count:
                colour = "white" if fractions[row, column] > 0.5 else TEXT_COLOUR
                axes.text(column, row, f"{count:,}", ha="center", va="center", fontsize=8, color=colour)
    every = -(-len(classes) // MOST_LABELS)
    ticks = range(0, len(classes), every)
    axes.set_xticks(ticks, classes[::every], rotation=90 if max(map(len, classes)) > 3 else 0, fontsize=8)
    axes.set_yticks(ticks, classes[::every], fontsize=8)
    axes.set_xlabel("predicted class", color=TEXT_COLOUR)
    axes.set_ylabel("true class", color=TEXT_COLOUR)
    axes.set_title(f"{card.name}: {counts.sum():,} held-out sequences", fontsize=10, color=TEXT_COLOUR, loc="left")
    return saved(figure, card.name, suffix)


def _shortened(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"
