"""Boxes drawn into pictures, with what is in them."""

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from vlfuse.types import Box

COLOURS = ("#d62728", "#1f77b4", "#2ca02c", "#9467bd", "#ff7f0e", "#17becf", "#e377c2", "#8c564b")
LETTER = 10  # pixels of a small picture; larger ones have larger letters
PER_LETTER = 50  # pixels of the picture's short side for each of a letter
LEGIBLE = 320  # pixels of the short side; in a smaller picture letters hide what they name
LONGEST = 4 * LEGIBLE  # pixels of the long side of what is enlarged


def legible(picture: Image.Image, boxes: Sequence[tuple[Box, str]]) -> tuple[Image.Image, list[tuple[Box, str]]]:
    """A small picture a whole number of times larger, and its boxes with it; others, and long thin ones, as they are."""
    times = max(1, min(-(-LEGIBLE // min(picture.size)), LONGEST // max(picture.size)))
    larger = picture.resize((times * picture.width, times * picture.height), Image.Resampling.BICUBIC)
    return larger, [((times * x0, times * y0, times * x1, times * y1), text) for (x0, y0, x1, y1), text in boxes]


def draw_boxes(picture: Image.Image, boxes: Sequence[tuple[Box, str]], numbers: Sequence[int] = ()) -> None:
    """Draw into an RGB picture, in its pixels. numbers: of the colours, by default one after the other."""
    size = max(LETTER, min(picture.size) // PER_LETTER)
    pen, font, thick = ImageDraw.Draw(picture), ImageFont.load_default(size), max(1, size // 8)
    for place, ((x0, y0, x1, y1), text) in enumerate(boxes):
        colour = COLOURS[(numbers[place] if numbers else place) % len(COLOURS)]
        pen.rectangle((x0, y0, max(x0, x1 - 1), max(y0, y1 - 1)), outline=colour, width=thick)
        fitting = text[: max(8, int((x1 - x0) / (0.6 * size)))]
        pen.text((x0 + 2, y0 + 1), fitting, fill=colour, font=font, stroke_width=thick, stroke_fill="white")
