"""The bar chart shows the profile, and the same profile draws the same file."""

import xml.etree.ElementTree as ET

from service.inference.card import AttentionProfile
from training.charts import bar_chart

PROFILE = AttentionProfile(sequences=1234, mean=(0.2, 0.7, 0.1), spread=(0.3, 0.1, 0.0), peak=1, sum_error=0)
LABELS = ("mon", "tue", "wed")


def test_the_svg_holds_labels_and_title() -> None:
    """As text, so that they can be searched and read aloud."""
    root = ET.fromstring(bar_chart(PROFILE, LABELS, "sales", "svg"))  # noqa: S314 - written a moment ago
    texts = {element.text for element in root.iter("{http://www.w3.org/2000/svg}text")}
    assert set(LABELS) <= texts
    assert any("sales" in (text or "") and "1,234 held-out sequences" in (text or "") for text in texts)


def test_the_same_profile_draws_the_same_file() -> None:
    """No date, no random identifiers."""
    for suffix in ("svg", "png"):
        assert bar_chart(PROFILE, LABELS, "sales", suffix) == bar_chart(PROFILE, LABELS, "sales", suffix)


def test_many_timesteps_are_labelled_sparsely() -> None:
    """A thousand labels would be a black bar."""
    many = AttentionProfile(sequences=1, mean=(0.001,) * 1000, spread=(0.0,) * 1000, peak=0, sum_error=0)
    root = ET.fromstring(bar_chart(many, tuple(map(str, range(1000))), "long", "svg"))  # noqa: S314
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert "0" in texts
    assert len(texts) < 60
