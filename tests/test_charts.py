"""The charts of a card: valid XML, small, the same for the same card, and laid out for PNG without overlaps."""

import io
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from itertools import combinations

import numpy as np
import pytest
from PIL import Image

from service.artifact.card import CrossValidation, ModelCard
from service.charts.card_charts import CARD_CHARTS, PEAK_COLOUR, CardChart
from service.charts.chart import WHISKER, Boxes, Chart, Text
from service.charts.fonts import NoFont
from service.charts.panels import DOT
from service.charts.text import printable, width_of
from tests.charts import LABELS, described, gallery
from tests.samples import card

#: Most bytes of an SVG of 2,000 timesteps.
MOST_BYTES = 100_000


@pytest.fixture(scope="module")
def charts() -> dict[str, Chart]:
    return gallery()


def drawn(of: ModelCard, kind: CardChart) -> Chart:
    chart = CARD_CHARTS[kind].draw(of, "m version 3")
    assert chart is not None
    return chart


def texts(chart: Chart) -> list[str]:
    """Return all text of a chart."""
    root = ET.fromstring(chart.svg)  # noqa: S314 - drawn a moment ago
    return ["".join(one.itertext()) for one in root.iter("{http://www.w3.org/2000/svg}text")]


def box(text: Text) -> tuple[float, float, float, float]:
    """Return left, top, right and bottom of a text, by the estimate of its width."""
    width = width_of(text.text, text.size)
    start = {"start": 0.0, "middle": -width / 2, "end": -width}[text.anchor]
    up, down = 0.9 * text.size, 0.2 * text.size
    if text.turned:
        return text.x - up, text.y - start - width, text.x + down, text.y - start
    return text.x + start, text.y - up, text.x + start + width, text.y + down


def overlapping(chart: Chart) -> Iterator[tuple[Text, Text]]:
    boxed = [(one, box(one)) for one in chart.shapes if isinstance(one, Text)]
    for (one, a), (other, b) in combinations(boxed, 2):
        if min(a[2], b[2]) > max(a[0], b[0]) and min(a[3], b[3]) > max(a[1], b[1]):
            yield one, other


def test_each_chart_is_small_and_valid_xml(charts: dict[str, Chart]) -> None:
    """Even of 2,000 timesteps and 300 features, and with labels that look like markup."""
    assert len(charts) == len(LABELS) * len(CARD_CHARTS)
    for name, chart in charts.items():
        root = ET.fromstring(chart.svg)  # noqa: S314 - drawn a moment ago
        assert root.findtext("{http://www.w3.org/2000/svg}title"), name
        assert len(chart.svg) < MOST_BYTES, name


def test_no_two_texts_overlap_by_the_estimate(charts: dict[str, Chart]) -> None:
    """The estimate is on the safe side for each font, so this holds in each PNG, too."""
    for name, chart in charts.items():
        assert list(overlapping(chart)) == [], name
        for one in chart.shapes:
            if isinstance(one, Text):
                left, top, right, bottom = box(one)
                assert left >= 0, (name, one)
                assert top >= 0, (name, one)
                assert right <= chart.width, (name, one)
                assert bottom <= chart.height, (name, one)


@pytest.mark.parametrize("kind", CARD_CHARTS)
def test_a_png_is_twice_as_large(kind: CardChart) -> None:
    """It has the title of the chart, and the same card gives the same file."""
    one = described(*LABELS["few"])
    chart = drawn(one, kind)
    content = chart.png()
    assert content == drawn(one, kind).png()
    picture = Image.open(io.BytesIO(content))
    assert picture.size == (2 * chart.width, 2 * chart.height)
    assert picture.info["Title"] == chart.title


def test_without_a_font_there_is_no_png(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says which characters are missing and what to do; the SVG has them."""
    monkeypatch.setattr("service.charts.fonts.FOLDERS", ())
    chart = drawn(described(*LABELS["korean"]), "features")
    with pytest.raises(NoFont, match="no installed font has all characters of a text with '호'"):
        chart.png()
    assert "온도 감지기 0호" in texts(chart)


def test_characters_that_join_others_are_drawn() -> None:
    """Persian words and families of emoji need them; control characters and halves of characters are spaces."""
    for text in ("می\u200cخواهم", "👩\u200d👩\u200d👧"):
        assert printable(text) == text
    assert printable("a\nb\x00c\u2028d\ud800e\uffff") == "a b c d e "


@pytest.mark.parametrize(
    ("character", "width"),
    [("&", 0.78), ("©", 1.0), ("¬", 0.838), ("Ŵ", 0.989), ("Ǆ", 1.422), ("Љ", 1.094), ("Ѽ", 1.18)],
)
def test_widths_are_at_least_those_of_a_wide_font(character: str, width: float) -> None:
    """The numbers were measured in DejaVu Sans."""
    assert width_of(character, 1) >= width


def test_a_diagram_says_how_many_weights_were_trained() -> None:
    """The summary has their number alone."""
    few = described(*LABELS["few"])
    assert few.training is not None
    weights = sum(layer.weights for layer in few.layers)
    assert drawn(few, "diagram").title.endswith(f"{weights:,} weights, 1 of them trained")
    training = few.training.model_copy(update={"parameters": weights})
    assert drawn(few.model_copy(update={"training": training}), "diagram").title.endswith(f"{weights:,} weights")


def test_a_cut_label_keeps_its_whole_text() -> None:
    """It is shown as a tooltip; beginning and end of the label are written."""
    labels, _ = LABELS["long"]
    chart = drawn(described(*LABELS["long"]), "importance")
    cut = [one for one in chart.shapes if isinstance(one, Text) and one.full]
    assert [one.full for one in cut] == labels
    for one in cut:
        beginning, end = one.text.split("…")
        assert one.full.startswith(beginning)
        assert one.full.endswith(end)
    assert f"<title>{labels[0]}</title>" in chart.svg


def whiskers(chart: Chart) -> list[tuple[float, float]]:
    """Return top and bottom of each whisker."""
    boxes = [one for one in chart.shapes if isinstance(one, Boxes) and one.colour == WHISKER]
    return [(y, y + height) for one in boxes for _, y, _, height in one.boxes]


def test_each_panel_says_what_its_whiskers_are_over() -> None:
    """They are over the seeds if there are several, else over the sequences and the repetitions."""
    several = described(*LABELS["few"])
    chart = drawn(several, "training")
    assert chart.title == "m version 3: mean over 30,000 held-out sequences"
    assert sum("whiskers ±1 standard deviation over 3 seeds" in text for text in texts(chart)) == 2
    assert "each seed" in texts(chart)
    one = drawn(several.model_copy(update={"repeats": None}), "training")
    assert sum("over the sequences" in text for text in texts(one)) == 1
    assert sum("over 3 repetitions" in text for text in texts(one)) == 1
    assert "each seed" not in texts(one)


def test_a_chart_of_several_seeds_has_their_means() -> None:
    """The whiskers of attention lie around the mean, and the dots of two seeds at their ends."""
    several = described(*LABELS["few"])
    assert several.repeats is not None
    profiles = np.array(several.repeats.profiles[:2])
    update = {
        "profiles": profiles.tolist(),
        "attention": profiles.mean(axis=0),
        "attention_spread": profiles.std(axis=0),
    }
    chart = drawn(several.model_copy(update={"repeats": several.repeats.model_copy(update=update)}), "training")
    dots = [
        y + DOT / 2 for one in chart.shapes if isinstance(one, Boxes) for _, y, *size in one.boxes if size == [DOT, DOT]
    ]
    seeds = np.array(dots[1:]).reshape(2, -1)  # the first stands in the legend
    ends = np.array(whiskers(chart)[: profiles.shape[1]])
    np.testing.assert_allclose(ends, np.sort(seeds, axis=0).T)


def test_only_what_no_fit_used_is_held_out() -> None:
    """A cross-validated version is fitted on all sequences, and an imported one on unknown ones."""
    one = described(*LABELS["few"])
    validated = one.model_copy(update={"cross_validation": CrossValidation(folds=2, metrics={})})
    kinds: tuple[CardChart, ...] = ("training", "importance", "features", "cells")
    for kind in kinds:
        assert "held-out sequences" in drawn(one, kind).title
        assert drawn(validated, kind).title.endswith("000 sequences")
        assert drawn(one.model_copy(update={"training": None}), kind).title.endswith("000 examples")
    assert "held-out sequences" in drawn(validated, "confusion").title  # each was predicted by the model of its fold
    assert drawn(one.model_copy(update={"training": None}), "confusion").title.endswith("examples")


def test_faithfulness_has_its_intervals_in_the_legend() -> None:
    """They stand behind the mean over the fractions, for each order and measure."""
    found = texts(drawn(described(*LABELS["few"]), "faithfulness"))
    assert sum(text.endswith("(0 to 1)") for text in found) == 6
    assert "by attention: 0.24 (0 to 1)" in found


def test_the_peak_of_many_timesteps_is_marked() -> None:
    """A band has a bar in the stronger colour there, as bars have."""
    chart = drawn(described(*LABELS["many"]), "training")
    marked = [one for one in chart.shapes if isinstance(one, Boxes) and one.colour == PEAK_COLOUR]
    assert [len(one.boxes) for one in marked] == [1]


def test_counts_of_the_confusion_matrix_are_written_where_they_fit() -> None:
    """Few classes have counts in their cells; many have fewer labels and no counts."""
    few = described(*LABELS["few"])
    assert few.judgement is not None
    assert few.judgement.confusion is not None
    counts = [f"{count:,}" for row in few.judgement.confusion for count in row if count]
    written = texts(drawn(few, "confusion"))
    assert [text for text in written if text.replace(",", "").isdigit()] == counts
    assert written.count("a") == 2
    many = texts(drawn(described(*LABELS["many"]), "confusion"))
    assert not any(text.isdigit() for text in many)
    assert len(many) < 300


def test_losses_have_their_best_epoch_marked() -> None:
    """Other metrics are not drawn."""
    chart = drawn(described(*LABELS["few"]), "learning")
    assert {"loss", "validation loss"} <= set(texts(chart))
    assert "accuracy" not in texts(chart)
    assert chart.title.endswith("the best one, 6, is marked")


def test_curves_of_faithfulness_have_a_legend() -> None:
    """A line for each order, and the verdict as the title."""
    chart = drawn(described(*LABELS["few"]), "faithfulness")
    assert sum(text.startswith("by attention: ") for text in texts(chart)) == 2
    assert sum(text.startswith("at random: ") for text in texts(chart)) == 2
    assert chart.title == "m version 3: Attention finds only a part of what matters here: read importance beside it."


def test_a_diagram_has_each_layer_below_those_that_it_reads() -> None:
    """Names, kinds and shapes are in the boxes."""
    of = described(*LABELS["few"])
    chart = drawn(of, "diagram")
    heights = {one.text: one.y for one in chart.shapes if isinstance(one, Text)}
    for layer in of.layers:
        assert all(heights[source] < heights[layer.name] for source in layer.inputs)
    assert "(?, 3, 32), 1,024 weights" in texts(chart)


@pytest.mark.parametrize("kind", [kind for kind in CARD_CHARTS if kind != "training"])
def test_a_card_without_something_has_no_chart_of_it(kind: CardChart) -> None:
    """There is nothing to draw."""
    assert CARD_CHARTS[kind].draw(card(), "m") is None
