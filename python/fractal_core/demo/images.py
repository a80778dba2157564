"""Pictures of patterns as PNG bytes: a matrix of small numbers and a palette, and nothing but the standard library."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Sequence

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
    """A palette PNG whose entry 0 is transparent.

    Args:
        values: Shape (height, width), uint8 in [0, len(colours)].
        colours: Colours of the values 1, 2, ..., as `#rrggbb`.

    Returns:
        The file's bytes.
    """
    height, width = values.shape
    palette = b"\0\0\0" + b"".join(bytes.fromhex(colour[1:]) for colour in colours)
    rows = np.zeros((height, width + 1), dtype=np.uint8)  # a filter byte of 0 before each row
    rows[:, 1:] = values
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
        (b"PLTE", palette),
        (b"tRNS", b"\0"),
        (b"IDAT", zlib.compress(rows.tobytes(), 9)),
        (b"IEND", b""),
    )
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


def data_uri(image: bytes) -> str:
    """The picture as text for the `src` of an HTML image."""
    return "data:image/png;base64," + base64.b64encode(image).decode()
