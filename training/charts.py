"""The attention profile as a bar chart."""

import io

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from service.inference.card import AttentionProfile

BAR, PEAK, WHISKER, INK = "#c3d2e6", "#4c8bd6", "#333333", "#222222"
#: More labels than this and every other one, or fewer, is drawn.
MOST_LABELS = 25


def bar_chart(profile: AttentionProfile, timestep_labels: tuple[str, ...], title: str, suffix: str) -> bytes:
    """Draw the mean attention of each timestep with its spread, the peak picked out.

    Args:
        profile: what to draw.
        timestep_labels: one per timestep.
        title: what it belongs to.
        suffix: file format: `svg` or `png`.
    """
    timesteps = np.arange(len(profile.mean))
    mean, spread = np.array(profile.mean), np.array(profile.spread)
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    axes = figure.add_subplot()
    colors = [PEAK if t == profile.peak else BAR for t in timesteps]
    # A weight is never below 0, so neither is its whisker.
    whiskers = [np.minimum(spread, mean), spread]
    axes.bar(timesteps, mean, yerr=whiskers, color=colors, ecolor=WHISKER, error_kw={"elinewidth": 1, "capsize": 2})
    every = -(-len(timesteps) // MOST_LABELS)
    axes.set_xticks(timesteps[::every], timestep_labels[::every])
    axes.set_xlim(-0.7, len(timesteps) - 0.3)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("timestep", color=INK)
    axes.set_ylabel("attention (fraction)", color=INK)
    axes.set_title(
        f"{title}: mean over {profile.sequences:,} held-out sequences, whiskers ±1 standard deviation",
        fontsize=10,
        color=INK,
        loc="left",
    )
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#e5e8ee")
    axes.set_axisbelow(True)
    buffer = io.BytesIO()
    # The same profile draws the same file: no date, and no random identifiers in the SVG.
    with matplotlib.rc_context({"svg.hashsalt": title, "svg.fonttype": "none", "font.family": "sans-serif"}):
        figure.savefig(buffer, format=suffix, dpi=150, metadata={"Date": None} if suffix == "svg" else None)
    return buffer.getvalue()
