"""Charts as PNG, drawn by Pillow."""

import io
import math
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from service.charts.chart import Area, Boxes, Chart, Line, Point, Text
from service.charts.fonts import font_for
from service.charts.text import printable

if TYPE_CHECKING:
    from PIL import Image, ImageDraw

#: Pixels of a PNG per unit of an SVG; and how much larger it is drawn at first, for smooth edges.
SCALE, OVERSAMPLING = 2, 2
#: Most pixels that are drawn at first. Larger pictures are drawn without smooth edges, and then in half the size.
MOST_PIXELS: Final = 2**25


def png(chart: Chart) -> bytes:
    """Return a chart as the bytes of a PNG file, with its title as text.

    Raises:
        NoFont: no installed font has all characters of a text.
    """
    from PIL import Image, PngImagePlugin

    scale, drawn = _scales(chart)
    image = Image.new("RGB", (math.ceil(chart.width * drawn), math.ceil(chart.height * drawn)), "white")
    _draw(chart, image, drawn)
    about = PngImagePlugin.PngInfo()
    about.add_itxt("Title", chart.title)
    buffer = io.BytesIO()
    size = (math.ceil(chart.width * scale), math.ceil(chart.height * scale))
    image.resize(size, Image.Resampling.BOX).save(buffer, "PNG", pnginfo=about)
    return buffer.getvalue()


def _scales(chart: Chart) -> tuple[int, int]:
    """Return the pixels per unit of the picture, and those in which it is drawn at first."""
    for scale, drawn in ((SCALE, SCALE * OVERSAMPLING), (SCALE, SCALE)):
        if chart.width * chart.height * drawn**2 <= MOST_PIXELS:
            return scale, drawn
    return 1, 1


def _draw(chart: Chart, image: "Image.Image", scale: int) -> None:
    from PIL import ImageDraw

    draw = ImageDraw.Draw(image)
    for shape in chart.shapes:
        match shape:
            case Boxes(boxes, colour):
                for x, y, width, height in boxes:
                    if width > 0 and height > 0:
                        draw.rectangle([x * scale, y * scale, (x + width) * scale, (y + height) * scale], fill=colour)
            case Line():
                _draw_line(draw, shape, scale)
            case Area(points, colour):
                draw.polygon([(x * scale, y * scale) for x, y in points], fill=colour)
            case Text():
                _draw_text(image, draw, shape, scale)


def _draw_line(draw: "ImageDraw.ImageDraw", line: Line, scale: int) -> None:
    width = max(1, round(line.width * scale))
    points = [(x * scale, y * scale) for x, y in line.points]
    if not line.dash:
        draw.line(points, fill=line.colour, width=width, joint="curve")
        return
    dash, done = line.dash * scale, 0.0  # the length of the line so far
    for (x1, y1), (x2, y2) in pairwise(points):
        length = math.hypot(x2 - x1, y2 - y1)
        at = 0.0
        while at < length:
            end = min(length, at + dash - (done + at) % dash)
            if (done + at) // dash % 2 == 0:
                ends: list[Point] = [
                    (x1 + (x2 - x1) * part / length, y1 + (y2 - y1) * part / length) for part in (at, end)
                ]
                draw.line(ends, fill=line.colour, width=width)
            at = max(end, at + 1e-3)
        done += length


def _draw_text(image: "Image.Image", draw: "ImageDraw.ImageDraw", text: Text, scale: int) -> None:
    from PIL import Image, ImageDraw

    words = printable(text.text)
    font = font_for(words, text.size * scale)
    anchor = {"start": "ls", "middle": "ms", "end": "rs"}[text.anchor]
    x, y = text.x * scale, text.y * scale
    if not text.turned:
        draw.text((x, y), words, text.colour, font, anchor=anchor)
        return
    left, top, right, bottom = draw.textbbox((0, 0), words, font, anchor=anchor)
    mask = Image.new("L", (math.ceil(right - left), math.ceil(bottom - top)), 0)
    ImageDraw.Draw(mask).text((-left, -top), words, 255, font, anchor=anchor)
    # What was right of the anchor is above it now, and what was above it is left of it.
    image.paste(text.colour, (round(x + top), round(y - right)), mask.transpose(Image.Transpose.ROTATE_90))
