"""RoPE's two layouts of pairs, and rotation by given angles.

Interleaved pairs are entries (2i, 2i + 1), as in the paper and in `rotary-embedding-torch`; half pairs are entries
(i, i + d / 2), as in Hugging Face's models.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from fractal_core._arguments import INT32_MAX, integer
from fractal_core._torch import checks
from fractal_core._torch.dtypes import accumulation_dtype
from fractal_core.errors import InvalidArgumentError, ShapeError

__all__ = ["LAYOUTS", "checked_layout", "rotate_by", "rotate_pairs"]

LAYOUTS = ("interleaved", "half")


def checked_layout(layout: str) -> str:
    """`layout`, if it is one.

    Raises:
        InvalidArgumentError: it is not.
    """
    if layout not in LAYOUTS:
        raise InvalidArgumentError("layout", repr(layout), " or ".join(map(repr, LAYOUTS)))
    return layout


def rotate_pairs(x: Tensor, cos: Tensor, sin: Tensor, layout: str) -> Tensor:
    """Each pair turned by its angle; a positive angle turns the first entry towards the second.

    Args:
        x: (..., n, d), float32 or float64.
        cos: (..., n, d / 2) of the dtype of x, broadcasts to it; so does sin.
        sin: see cos.
        layout: "interleaved" or "half".
    """
    if layout == "half":
        # The other entry of each pair is half a vector further on, cyclically.
        signed = torch.cat((-sin, sin), -1)
        return torch.addcmul(x * torch.cat((cos, cos), -1), x.roll(x.shape[-1] // 2, -1), signed)
    pairs = cast("Tensor", x.unflatten(-1, (-1, 2)))
    if torch.compiler.is_compiling() or x.device.type not in {"cpu", "cuda", "meta"}:
        # A compiler fuses this; it has no code for complex numbers.
        signed = torch.cat((-sin[..., None], sin[..., None]), -1)
        return torch.addcmul(pairs * cos[..., None], pairs.flip(-1), signed).flatten(-2)
    even = x.storage_offset() % 2 == 0 and all(stride % 2 == 0 for stride in x.stride()[:-1])
    if not even or x.stride(-1) != 1:
        pairs = pairs.clone(memory_format=torch.contiguous_format)
    return torch.view_as_real(torch.view_as_complex(pairs) * torch.complex(cos, sin)).flatten(-2)


def rotate_by(
    x: Tensor,
    angles: Tensor,
    *,
    layout: str = "interleaved",
    start_index: int = 0,
    freq_ranges: Tensor | None = None,
) -> Tensor:
    """Rotate pairs by angles of one's own, such as ones that depend on the content.

    Scores of vectors that are rotated so depend on positions only as the angles do: nothing makes them relative.

    Args:
        x: (..., n, d), any float dtype.
        angles: (..., F), radians, broadcasts to the leading axes of x; computed in its own dtype where that is wider
            than float32, else in float32.
        layout: "interleaved" or "half", of the 2 F entries from `start_index` on; others stay.
        start_index: from 0 on.
        freq_ranges: (R,): each angle counts R times, multiplied by each of these, first angle first.

    Returns:
        (..., n, d), the dtype of x.

    Raises:
        ShapeError: angles that do not broadcast to x, or more of them than x has pairs.
        DTypeError: an argument is no float tensor, or `start_index` no integer.
        InvalidArgumentError: `start_index` or `layout` is out of range.
    """
    x, angles = checks.floating("x", x), checks.floating("angles", angles)
    checked_layout(layout)
    if x.ndim == 0 or angles.ndim == 0:
        raise ShapeError("x" if x.ndim == 0 else "angles", (), "at least one axis")
    wide = accumulation_dtype(angles.dtype)
    angles = angles.to(wide)
    if freq_ranges is not None:
        ranges = checks.floating("freq_ranges", freq_ranges)
        if ranges.ndim != 1:
            raise ShapeError("freq_ranges", tuple(ranges.shape), "one axis")
        angles = (angles[..., None] * ranges.to(wide)).flatten(-2)
    width = 2 * angles.shape[-1]
    start = integer("start_index", start_index, 0, INT32_MAX)
    if start + width > x.shape[-1]:
        allowed = f"at most {x.shape[-1] - start} entries, 2 for each angle, from start_index = {start} on"
        raise ShapeError("angles", tuple(angles.shape), allowed)
    leading, own = x.shape[:-1], angles.shape[:-1]
    pairs = zip(reversed(own), reversed(leading), strict=False)
    if len(own) > len(leading) or any(size not in {1, wanted} for size, wanted in pairs):
        raise ShapeError("angles", tuple(angles.shape), f"what broadcasts to {(*leading, angles.shape[-1])}")
    dtype = accumulation_dtype(x.dtype)
    part = x[..., start : start + width].to(dtype)
    turned = rotate_pairs(part, angles.cos().to(dtype), angles.sin().to(dtype), layout).to(x.dtype)
    return torch.cat((x[..., :start], turned, x[..., start + width :]), -1)
