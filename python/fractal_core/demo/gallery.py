"""Every registered pattern as a picture of what stacked layers of it connect."""

from __future__ import annotations

from dataclasses import dataclass

from fractal_core import patterns
from fractal_core.demo.images import LAYER_COLOURS, data_uri, png, reach_map
from fractal_core.errors import FractalError

__all__ = ["LENGTH", "Exhibit", "exhibit", "exhibits"]

LENGTH = 256


@dataclass(frozen=True)
class Exhibit:
    """One picture: a pattern's name, what is said under it, and the image, or why there is none."""

    name: str
    picture: str | None
    caption: str
    ours: bool = False


def exhibits(pattern: str) -> list[Exhibit]:
    """The given pattern first, then every registered one with its default parameters.

    A plug-in that does not load, or needs parameters, costs only its own picture.
    """
    return [exhibit(pattern, ours=True), *(exhibit(name) for name in patterns.names() if name != pattern)]


def exhibit(name: str, *, ours: bool = False) -> Exhibit:
    """The picture of one pattern, by name or specification."""
    try:
        pattern = patterns.create(name)
        found = pattern.index_set(LENGTH, LENGTH, causal=True)
        reach = found.reach(64)
    except Exception as error:  # a broken plug-in costs its own picture only
        what = str(error) if isinstance(error, FractalError) else f"{type(error).__name__}: {error}"
        return Exhibit(name, None, f"no picture: {what}", ours)
    far = f"full reach in {reach.layers}" if reach.layers else f"stays at {reach.share:.0%} of the pairs"
    if reach.layers:
        far += " layer" if reach.layers == 1 else " layers"
    picture = data_uri(png(reach_map(found.to_mask()), LAYER_COLOURS))
    return Exhibit(name, picture, f"{found.nnz / LENGTH:.1f} keys per query, {far}", ours)
