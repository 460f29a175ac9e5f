"""A chart: a title and shapes, to show in a notebook or to save as SVG or PNG."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, NamedTuple

from service.charts.text import FONT_SIZE, LINE, TITLE_SIZE, wrapped

#: Colours of text and axes, of grid lines, and of whiskers.
INK, GRID, WHISKER = "#222222", "#e5e8ee", "#333333"

Anchor = Literal["start", "middle", "end"]
Point = tuple[float, float]
#: Space beside texts at the left and right edge, and above the first one.
MARGIN: Final = 12
SUFFIXES: Final = (".svg", ".png")


class Boxes(NamedTuple):
    """Filled rectangles of one colour, each as x, y, width and height."""

    boxes: tuple[tuple[float, float, float, float], ...]
    colour: str


class Line(NamedTuple):
    """A line through points; `dash` is the length of its dashes and gaps, 0 for none."""

    points: tuple[Point, ...]
    colour: str
    width: float = 1
    dash: float = 0


class Area(NamedTuple):
    """A filled polygon."""

    points: tuple[Point, ...]
    colour: str


class Text(NamedTuple):
    """One line of text.

    Attributes:
        x: the place of its anchor.
        y: the place of its baseline.
        turned: whether it is written from bottom to top.
        full: the text before it was cut; empty if it was not.
    """

    x: float
    y: float
    text: str
    anchor: Anchor = "start"
    size: int = FONT_SIZE
    turned: bool = False
    colour: str = INK
    full: str = ""


Shape = Boxes | Line | Area | Text


@dataclass(frozen=True)
class Chart:
    """A picture of shapes on white. Notebooks show it.

    Attributes:
        title: its title in one line.
        width: its width in pixels of an SVG; a PNG has twice as many.
        height: its height in the same unit.
        shapes: its contents, those behind others first.
    """

    title: str
    width: float
    height: float
    shapes: tuple[Shape, ...]

    @property
    def svg(self) -> str:
        """The chart as SVG."""
        from service.charts.svg import svg

        return svg(self)

    def png(self) -> bytes:
        """Return the chart as PNG.

        Raises:
            NoFont: no installed font has all characters of a text.
        """
        from service.charts.png import png

        return png(self)

    def save(self, path: str | Path) -> None:
        """Write the chart to a file whose name ends with `.svg` or `.png`.

        Raises:
            ValueError: the name ends otherwise.
            NoFont: no installed font has all characters of a text of a PNG.
            OSError: the file cannot be written.
        """
        path = Path(path)
        if path.suffix not in SUFFIXES:
            raise ValueError(f"expected a name that ends with {' or '.join(SUFFIXES)}, got {path.name!r}")
        path.write_bytes(self.png() if path.suffix == ".png" else self.svg.encode())

    def _repr_svg_(self) -> str:
        return self.svg


def headline(title: str, width: float) -> tuple[list[Shape], float]:
    """Return the title of a picture of some width, in as many lines as it needs, and where it ends."""
    lines = wrapped(title, width - 2 * MARGIN, TITLE_SIZE)
    tops = [MARGIN - 4.0 + LINE * (number + 1) for number in range(len(lines))]
    return [Text(MARGIN, top, line, size=TITLE_SIZE) for top, line in zip(tops, lines, strict=True)], tops[-1]
