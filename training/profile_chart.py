"""The attention profile as a bar chart, with importance beside it."""

import io

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from service.artifact.card import ModelCard

ATTENTION_COLOUR, PEAK_COLOUR, IMPORTANCE_COLOUR, WHISKER_COLOUR, TEXT_COLOUR = (
    "#c3d2e6",
    "#4c8bd6",
    "#e2a35c",
    "#333333",
    "#222222",
)
#: More labels than this and every other one, or fewer, is drawn.
MOST_LABELS = 25
#: Width of a bar, of the distance between two timesteps, alone and beside another.
ALONE, BESIDE = 0.8, 0.4


def draw_profile(card: ModelCard, suffix: str) -> bytes:
    """Draw the mean attention of each timestep with its spread, the peak picked out, and importance beside it.

    Args:
        card: what to draw: `attention`, and `importance` and `repeats` where there are any.
        suffix: file format: `svg` or `png`.
    """
    timesteps = np.arange(card.timesteps)
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    axes = figure.add_subplot()
    mass = card.importance.mass if card.importance else None
    width = BESIDE if mass else ALONE
    capsize = 2 if card.timesteps <= MOST_LABELS else 0  # else they would touch each other
    axes.bar(
        timesteps - (width / 2 if mass else 0),
        card.attention.mean,
        width,
        yerr=_whiskers(card),
        color=[PEAK_COLOUR if t == card.attention.peak else ATTENTION_COLOUR for t in timesteps],
        ecolor=WHISKER_COLOUR,
        error_kw={"elinewidth": 1, "capsize": capsize},
        label="attention",
    )
    if card.importance and mass:
        label = f"importance ({card.importance.metric} drops by up to {max(card.importance.drop):.2g})"
        axes.bar(timesteps + width / 2, mass, width, color=IMPORTANCE_COLOUR, label=label)
        axes.legend(frameon=False, labelcolor=TEXT_COLOUR)
    every = -(-len(timesteps) // MOST_LABELS)
    axes.set_xticks(timesteps[::every], card.timestep_labels[::every])
    axes.set_xlim(-0.7, len(timesteps) - 0.3)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("timestep", color=TEXT_COLOUR)
    axes.set_ylabel("fraction", color=TEXT_COLOUR)
    axes.set_title(_title(card), fontsize=10, color=TEXT_COLOUR, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#e5e8ee")
    axes.set_axisbelow(True)
    buffer = io.BytesIO()
    # The same profile draws the same file: no date, and no random identifiers in the SVG.
    with matplotlib.rc_context({"svg.hashsalt": card.name, "svg.fonttype": "none", "font.family": "sans-serif"}):
        figure.savefig(buffer, format=suffix, dpi=150, metadata={"Date": None} if suffix == "svg" else None)
    return buffer.getvalue()


def _whiskers(card: ModelCard) -> list[np.ndarray]:
    """One standard deviation down and up: over the seeds where there are several, else over the sequences."""
    mean = np.array(card.attention.mean)
    spread = np.array(card.repeats.attention_spread if card.repeats else card.attention.spread)
    return [np.minimum(spread, mean), spread]  # a weight is never below 0, so neither is its whisker


def _title(card: ModelCard) -> str:
    over = f"{len(card.repeats.seeds)} seeds" if card.repeats else "the sequences"
    return (
        f"{card.name}: mean over {card.attention.sequences:,} held-out sequences, "
        f"whiskers ±1 standard deviation over {over}"
    )
