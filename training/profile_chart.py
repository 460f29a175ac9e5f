"""The bar chart of the attention profile and of importance."""

import io
import warnings
from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.text import Text

from service.artifact.card import AttentionProfile, ModelCard
from training import TrainingError

ATTENTION_COLOUR, PEAK_COLOUR, IMPORTANCE_COLOUR = "#c3d2e6", "#4c8bd6", "#e2a35c"
WHISKER_COLOUR, TEXT_COLOUR = "#333333", "#222222"
#: Largest number of labels on the axis; with more timesteps, some labels are left out.
MOST_LABELS = 25
#: Most characters of all labels on a horizontal axis, and of one label.
MOST_CHARACTERS, LONGEST_LABEL = 90, 25
#: Families of fonts with the characters of many languages, which most systems install as one of these.
WIDE_FONTS = (
    "Noto Sans CJK KR",
    "Noto Sans CJK JP",
    "Noto Sans KR",
    "Noto Sans JP",
    "Noto Sans SC",
    "NanumGothic",
    "Malgun Gothic",
    "Apple SD Gothic Neo",
    "Microsoft YaHei",
    "WenQuanYi Zen Hei",
    "Arial Unicode MS",
    "Unifont",
)
#: Width of a bar as a fraction of the distance between timesteps: of a single bar, and of one of two.
SINGLE_WIDTH, PAIR_WIDTH = 0.8, 0.4


class ShownFigure(Figure):
    """A figure that notebooks show, without pyplot."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=100)
        return buffer.getvalue()


def draw_profile(card: ModelCard, suffix: str) -> bytes:
    """Return the content of an `svg` or `png` file with the figure of `profile_figure`."""
    return saved(profile_figure(card), card.name, suffix)


def profile_figure(card: ModelCard) -> Figure:
    """Draw mean and spread of attention for each timestep, with the peak highlighted, and importance beside it.

    Raises:
        TrainingError: the model has no attention.
    """
    profile = card.attention
    if profile is None:
        raise TrainingError(f"{card.name}: expected a model with attention to draw, got one without")
    timesteps = np.arange(card.timesteps)
    figure = ShownFigure(figsize=(8, 3.6), layout="constrained")
    axes = figure.add_subplot()
    mass = card.importance.mass if card.importance else None
    width = PAIR_WIDTH if mass else SINGLE_WIDTH
    capsize = 2 if card.timesteps <= MOST_LABELS else 0  # the caps of more bars would touch
    axes.bar(
        timesteps - (width / 2 if mass else 0),
        profile.mean,
        width,
        yerr=_whiskers(card, profile),
        color=[PEAK_COLOUR if t == profile.peak else ATTENTION_COLOUR for t in timesteps],
        ecolor=WHISKER_COLOUR,
        error_kw={"elinewidth": 1, "capsize": capsize},
        label="attention",
    )
    if card.importance and mass:
        label = f"importance ({card.importance.metric} drops by up to {max(card.importance.drop):.2g})"
        axes.bar(timesteps + width / 2, mass, width, color=IMPORTANCE_COLOUR, label=label)
        axes.legend(frameon=False, labelcolor=TEXT_COLOUR)
    longest = max(map(len, card.timestep_labels))
    # Labels side by side have room for so many characters. Longer ones are turned, and then have the room of a line.
    turned = longest * min(len(timesteps), MOST_LABELS) > MOST_CHARACTERS
    if turned:
        figure.set_figheight(4.8)
    every = -(-len(timesteps) // MOST_LABELS)
    labels = [_shortened(label) for label in card.timestep_labels[::every]]
    axes.set_xticks(timesteps[::every], labels, rotation=90 if turned else 0)
    axes.set_xlim(-0.7, len(timesteps) - 0.3)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("timestep", color=TEXT_COLOUR)
    axes.set_ylabel("fraction", color=TEXT_COLOUR)
    axes.set_title(_title(card, profile), fontsize=10, color=TEXT_COLOUR, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#e5e8ee")
    axes.set_axisbelow(True)
    return figure


def saved(figure: Figure, name: str, suffix: str) -> bytes:
    """Return the content of an `svg` or `png` file of a figure. The same figure and name give the same content.

    A character that the first font lacks is drawn with another one that is installed.
    """
    buffer = io.BytesIO()
    families = ["sans-serif", *_installed(WIDE_FONTS)]
    style = matplotlib.rc_context({"svg.hashsalt": name, "svg.fonttype": "none", "font.family": "sans-serif"})
    with style, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # no font has it: a box
        for text in figure.findobj(Text):
            text.set_fontfamily(families)
        # No date and no random identifiers.
        figure.savefig(buffer, format=suffix, dpi=150, metadata={"Date": None} if suffix == "svg" else None)
    return buffer.getvalue()


def _installed(families: Sequence[str]) -> list[str]:
    """Return those of some families of fonts that are installed."""
    return sorted(set(families) & set(font_manager.get_font_names()), key=families.index)


def _shortened(label: str) -> str:
    return label if len(label) <= LONGEST_LABEL else f"{label[: LONGEST_LABEL - 1]}…"


def _whiskers(card: ModelCard, profile: AttentionProfile) -> list[np.ndarray]:
    """Return one standard deviation down and up: over the seeds if there are several, else over the sequences."""
    mean = np.array(profile.mean)
    spread = np.array(card.repeats.attention_spread if card.repeats else profile.spread)
    return [np.minimum(spread, mean), spread]  # attention is never below 0


def _title(card: ModelCard, profile: AttentionProfile) -> str:
    over = f"{len(card.repeats.seeds)} seeds" if card.repeats else "the sequences"
    kind = "" if card.cross_validation else "held-out "  # else the model is fitted on all sequences
    return f"{card.name}: mean over {profile.sequences:,} {kind}sequences, whiskers ±1 standard deviation over {over}"
