"""Curves as SVG: both axes by powers of ten, a line and a word for each series. By hand, since it is forty lines."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

WIDTH, HEIGHT = 460, 300
LEFT, RIGHT, TOP, BOTTOM = 56, 130, 34, 40
COLORS = ("#1f6feb", "#d1495b", "#2e8b57", "#b8860b")

#: By series: x and y of each point.
Series = Mapping[str, Sequence[tuple[float, float]]]


def curves(title: str, across: str, series: Series) -> str:
    """The text of an SVG file. Every x and y must be above 0."""
    points = [point for line in series.values() for point in line]
    xs, ys = _range([x for x, _ in points]), _range([y for _, y in points])

    def at(x: float, y: float) -> tuple[float, float]:
        right = LEFT + (math.log10(x) - xs[0]) / (xs[1] - xs[0]) * (WIDTH - LEFT - RIGHT)
        down = HEIGHT - BOTTOM - (math.log10(y) - ys[0]) / (ys[1] - ys[0]) * (HEIGHT - TOP - BOTTOM)
        return round(right, 1), round(down, 1)

    parts = [_text(LEFT, 18, title, "font-weight='bold'")]
    for power in range(math.ceil(xs[0]), math.floor(xs[1]) + 1):
        x, _ = at(10**power, 10 ** ys[0])
        parts.append(_line(x, TOP, x, HEIGHT - BOTTOM, "#ddd"))
        parts.append(_text(x, HEIGHT - BOTTOM + 15, _short(10**power), "text-anchor='middle'"))
    for power in range(math.ceil(ys[0]), math.floor(ys[1]) + 1):
        _, y = at(10 ** xs[0], 10**power)
        parts.append(_line(LEFT, y, WIDTH - RIGHT, y, "#ddd"))
        parts.append(_text(LEFT - 6, y + 4, _short(10**power), "text-anchor='end'"))
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, across, "text-anchor='middle'"))
    lowest = 0.0
    for color, (name, line) in zip(COLORS, sorted(series.items(), key=lambda each: -each[1][-1][1]), strict=False):
        places = [at(x, y) for x, y in line]
        path = " ".join(f"{x},{y}" for x, y in places)
        parts.append(f"<polyline points='{path}' fill='none' stroke='{color}' stroke-width='2'/>")
        parts += [f"<circle cx='{x}' cy='{y}' r='3' fill='{color}'/>" for x, y in places]
        lowest = max(lowest + 14, places[-1][1] + 4)  # words must not lie on each other
        parts.append(_text(WIDTH - RIGHT + 8, lowest, name, f"fill='{color}'"))
    size = f"width='{WIDTH}' height='{HEIGHT}' viewBox='0 0 {WIDTH} {HEIGHT}'"
    style = "font-family='sans-serif' font-size='11' fill='#333'"
    body = "\n".join(parts)
    background = "<rect width='100%' height='100%' fill='white'/>"
    return f"<svg xmlns='http://www.w3.org/2000/svg' {size} {style}>\n{background}\n{body}\n</svg>\n"


def _range(values: Sequence[float]) -> tuple[float, float]:
    """From the power of ten below the least to the one above the largest."""
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return low, max(high, low + 1)


def _short(value: float) -> str:
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def _text(x: float, y: float, text: str, more: str) -> str:
    return f"<text x='{x:g}' y='{y:g}' {more}>{escape(text)}</text>"


def _line(x1: float, y1: float, x2: float, y2: float, color: str) -> str:
    return f"<line x1='{x1:g}' y1='{y1:g}' x2='{x2:g}' y2='{y2:g}' stroke='{color}'/>"
