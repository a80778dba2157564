"""Pictures of patterns for the report: a matrix of small numbers and a palette."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from io import BytesIO

import numpy as np
from numpy.typing import NDArray

__all__ = ["LAYER_COLOURS", "data_uri", "png", "reach_map"]

# The layer that first connects a pair, 1 to 6 and later; readable on white and on near-black.
LAYER_COLOURS = ("#3155e6", "#1f9bcf", "#35b98b", "#a3cc3e", "#eec23c", "#ef8f3f")


def reach_map(mask: NDArray[np.bool_], layers: int = len(LAYER_COLOURS)) -> NDArray[np.uint8]:
    """The first layer at which each query knows of each key, when layers of one mask are stacked.

    Args:
        mask: Shape (n, n), True where the query attends to the key.
        layers: Layers to follow.

    Returns:
        Shape (n, n), uint8: 1 for the pairs of the mask and the diagonal, up to `layers`, 0 for what stays unreached.
    """
    step = (mask | np.eye(len(mask), dtype=bool)).astype(np.float32)
    first = step.astype(np.uint8)
    reached = step
    for layer in range(2, layers + 1):
        reached = (step @ reached > 0).astype(np.float32)
        first[(first == 0) & (reached > 0)] = layer
    return first


def png(values: NDArray[np.uint8], colours: Sequence[str]) -> bytes:
    """A PNG, a pixel a value; 0 is transparent.

    Args:
        values: Shape (height, width), uint8 in [0, len(colours)].
        colours: Colours of the values 1, 2, ..., as `#rrggbb`.

    Returns:
        The file's bytes.
    """
    from matplotlib import image
    from matplotlib.colors import ListedColormap

    file = BytesIO()
    colour_map = ListedColormap(["#00000000", *colours])
    image.imsave(file, values, vmin=0, vmax=len(colours), cmap=colour_map, format="png")
    return file.getvalue()


def data_uri(image: bytes) -> str:
    """The picture as text for the `src` of an HTML image."""
    return "data:image/png;base64," + base64.b64encode(image).decode()
