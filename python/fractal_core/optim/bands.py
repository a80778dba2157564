"""Bands of a one-sided spectrum: where they begin, and what share of white noise falls into each."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

from fractal_core._arguments import INT32_MAX, integer
from fractal_core.errors import InvalidArgumentError

__all__ = ["LAYOUTS", "Layout", "Spectrum", "band_edges", "cut", "white_shares"]

Layout = Literal["linear", "log", "halves"]
Spectrum = Literal["power", "amplitude"]

LAYOUTS = ("linear", "log", "halves")


def band_edges(n_bins: int, n_bands: int, layout: Layout = "linear") -> tuple[int, ...]:
    """Where the bands of a spectrum begin and end; every bin is in exactly one.

    Args:
        n_bins: bins K without that of the mean, at least 1: N // 2 for N samples.
        n_bands: bands asked for, at least 1; with fewer bins there are as many bands as bins.
        layout: `linear`: equal widths; `log`: widths that grow with frequency; `halves`: the lower and the upper
            half of the bins each in equal widths, half the bands in each.

    Returns:
        n + 1 increasing integers from 0 to K, n = min(n_bands, K).

    Raises:
        InvalidArgumentError: a number below 1, or an unknown layout.
    """
    bins = integer("n_bins", n_bins, 1, INT32_MAX)
    bands = integer("n_bands", n_bands, 1, INT32_MAX)
    if layout not in LAYOUTS:
        raise InvalidArgumentError("layout", repr(layout), " or ".join(LAYOUTS))
    return cut(bins, bands, layout)


def cut(bins: int, bands: int, layout: Layout) -> tuple[int, ...]:
    """`band_edges` without its checks."""
    n = min(bands, bins)
    if layout == "log":
        edges = [0]
        for j in range(1, n + 1):
            edges.append(max(edges[-1] + 1, min(bins - (n - j), round(bins ** (j / n)))))
        return tuple(edges)
    if layout == "halves" and n > 1:
        half, low = bins // 2, n // 2
        return (
            *(half * j // low for j in range(low)),
            *(half + (bins - half) * j // (n - low) for j in range(n - low + 1)),
        )
    return tuple(bins * j // n for j in range(n + 1))


def white_shares(n_samples: int, edges: tuple[int, ...], spectrum: Spectrum) -> tuple[float, ...]:
    """The expected share of each band in white noise of N samples; they sum to 1.

    Of power this is exact: each bin has two parts of the power, and that of an even N's highest frequency has one. Of
    amplitude all bins count alike, as the seed's do.
    """
    bins = n_samples // 2
    lost = 0.5 if spectrum == "power" and n_samples % 2 == 0 else 0.0
    return tuple((b - a - (lost if b == bins else 0.0)) / (bins - lost) for a, b in pairwise(edges))
