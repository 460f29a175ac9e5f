"""Charts as SVG: plain XML without scripts, styles or identifiers. The same chart gives the same text."""

from collections.abc import Iterable
from html import escape
from typing import Final

from service.charts.chart import INK, Area, Boxes, Chart, Line, Point, Shape, Text
from service.charts.text import printable

#: The widths of texts are estimated for the widest of these fonts.
FONTS: Final = "Arial, Helvetica, 'Liberation Sans', 'DejaVu Sans', sans-serif"


def svg(chart: Chart) -> str:
    """Return a chart as an SVG document."""
    size = f'viewBox="0 0 {_of(chart.width)} {_of(chart.height)}" width="{_of(chart.width)}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} height="{_of(chart.height)}" role="img" '
        f'font-family="{FONTS}" fill="{INK}"><title>{_escaped(chart.title)}</title>'
        f'<path d="M0 0h{_of(chart.width)}v{_of(chart.height)}H0z" fill="#ffffff"/>'
        f"{''.join(map(_drawn, chart.shapes))}</svg>"
    )


def _drawn(shape: Shape) -> str:
    match shape:
        case Boxes(boxes, colour):
            drawn = "".join(f"M{_of(x)} {_of(y)}h{_of(w)}v{_of(h)}h-{_of(w)}z" for x, y, w, h in boxes)
            return f'<path d="{drawn}" fill="{colour}"/>'
        case Line(points, colour, width, dash):
            dashes = f' stroke-dasharray="{_of(dash)}"' if dash else ""
            return (
                f'<polyline points="{_points(points)}" fill="none" stroke="{colour}" '
                f'stroke-width="{_of(width)}"{dashes}/>'
            )
        case Area(points, colour):
            return f'<polygon points="{_points(points)}" fill="{colour}"/>'
        case Text():
            return _text(shape)


def _text(text: Text) -> str:
    place = f'x="{_of(text.x)}" y="{_of(text.y)}"'
    turned = f' transform="rotate(-90 {_of(text.x)} {_of(text.y)})"' if text.turned else ""
    colour = f' fill="{text.colour}"' if text.colour != INK else ""
    full = f"<title>{_escaped(text.full)}</title>" if text.full else ""
    return (
        f'<text {place} font-size="{text.size}" text-anchor="{text.anchor}"{turned}{colour}>'
        f"{full}{_escaped(text.text)}</text>"
    )


def _points(points: Iterable[Point]) -> str:
    return " ".join(f"{_of(x)},{_of(y)}" for x, y in points)


def _of(number: float) -> str:
    """Return a number with at most two decimals."""
    return f"{number:.2f}".rstrip("0").rstrip(".")


def _escaped(text: str) -> str:
    return escape(printable(text))
