"""Line charts as inline SVG: no script, colours from the page's style sheet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

__all__ = ["Line", "line_chart"]

WIDTH, HEIGHT = 460, 300
LEFT, RIGHT, TOP, BOTTOM = 44, 14, 14, 44


@dataclass(frozen=True)
class Line:
    """One line of a chart.

    Attributes:
        points: (x, y) in the data's units, x increasing.
        style: CSS class that gives the colour, such as `dense`.
        label: Text for the legend; empty for none.
        faint: Draw thin, pale and without dots.
    """

    points: Sequence[tuple[float, float]]
    style: str
    label: str = ""
    faint: bool = False


def line_chart(
    lines: Sequence[Line],
    *,
    x_title: str,
    y_title: str,
    x: tuple[float, float],
    y: tuple[float, float],
    percent: bool = False,
) -> str:
    """An SVG element that shows the lines within the ranges; what lies outside is cut off.

    Args:
        lines: Drawn in order.
        x_title: Text below the horizontal axis.
        y_title: Text over the vertical axis.
        x: Range of the horizontal axis, the first below the second.
        y: Range of the vertical axis, the first below the second.
        percent: Write the vertical axis in percent.
    """
    (x0, x1), (y0, y1) = x, y
    width, height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def across(value: float) -> float:
        return LEFT + width * (value - x0) / (x1 - x0)

    def down(value: float) -> float:
        return TOP + height * (1 - (value - y0) / (y1 - y0))

    name = "c" + "".join(ch for ch in x_title + y_title if ch.isalnum())
    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(y_title)} by {escape(x_title)}">']
    parts.append(
        f'<clipPath id="{name}"><rect x="{LEFT}" y="{TOP - 4}" width="{width + 5}" height="{height + 8}"/></clipPath>'
    )
    for tick in _ticks(y0, y1, 6):
        at = down(tick)
        text = f"{tick:.0%}" if percent else f"{tick:g}"
        parts.append(f'<path class="grid" d="M{LEFT} {at:.1f}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text class="tick" x="{LEFT - 7}" y="{at + 4:.1f}" text-anchor="end">{text}</text>')
    for tick in _ticks(x0, x1, 6):
        parts.append(
            f'<text class="tick" x="{across(tick):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{tick:g}</text>'
        )
    parts.append(f'<path class="axis" d="M{LEFT} {TOP + height}H{WIDTH - RIGHT}"/>')
    parts.append(
        f'<text class="title" x="{LEFT + width / 2}" y="{HEIGHT - 6}" text-anchor="middle">{escape(x_title)}</text>'
    )
    parts.append(f'<g clip-path="url(#{name})">')
    for line in lines:
        if not line.points:
            continue
        path = "L".join(f"{across(px):.1f} {down(py):.1f}" for px, py in line.points)
        parts.append(f'<path class="line {line.style}{" faint" if line.faint else ""}" d="M{path}"/>')
        if not line.faint:
            parts.extend(
                f'<circle class="dot {line.style}" cx="{across(px):.1f}" cy="{down(py):.1f}" r="3"/>'
                for px, py in line.points
            )
    parts.append("</g></svg>")
    return "".join(parts)


def _ticks(low: float, high: float, most: int) -> list[float]:
    """Round numbers between two values, at most about `most` of them."""
    raw = (high - low) / most
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(step * i, 10) for i in range(first, math.floor(high / step + 1e-9) + 1)]
