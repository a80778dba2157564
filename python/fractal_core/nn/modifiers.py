"""Modifiers of attention scores that follow a rule: no list of edges, and gradients to every parameter.

Whatever their order, the scaled scores are capped first (`SoftCap`), then all biases are added (`Alibi`,
`DistanceTable`, `T5Bias`, `DisplacementTable`, `SpanRamp`, and those of keys and edges), then keys are masked, and a
`Sink` joins the denominator. A query stands at the place of its row in the index set counted from the end, as in
`sparse_attention`; distance is its place less that of the key, so that earlier keys are at positive distances.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import torch
from torch import Tensor

from fractal_core._arguments import INT32_MAX, flag, integer, real
from fractal_core._torch import checks
from fractal_core.errors import InvalidArgumentError, ShapeError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "Alibi",
    "DisplacementTable",
    "DistanceTable",
    "Modifier",
    "Sink",
    "SoftCap",
    "SpanRamp",
    "T5Bias",
    "alibi_slopes",
    "t5_buckets",
]


@dataclass(frozen=True, eq=False)
class SoftCap:
    """`cap * tanh(score / cap)` in the place of each scaled score.

    Source: Gemma 2 (2024), after I. Bello et al. (2016).

    Attributes:
        cap: above 0.

    Raises:
        InvalidArgumentError: `cap` is not a finite number above 0.
    """

    cap: float

    def __post_init__(self) -> None:
        """Check."""
        cap = real("cap", self.cap)
        if not 0 < cap < math.inf:
            raise InvalidArgumentError("cap", cap, "a finite number above 0")
        object.__setattr__(self, "cap", cap)


@dataclass(frozen=True, eq=False)
class Sink:
    """A logit for each head that joins the denominator of the softmax and has no value: weights sum to less than 1.

    The log-sum-exp has it, too. A query without any key gives output 0, and the logit as its log-sum-exp.

    Source: G. Xiao et al., "Efficient Streaming Language Models with Attention Sinks" (2023); as gpt-oss has it (2025).

    Attributes:
        logits: (H,), any float dtype.

    Raises:
        ShapeError: not one axis.
    """

    logits: Tensor

    def __post_init__(self) -> None:
        """Check."""
        _floats("logits", self.logits, 1, "(H,)")


@dataclass(frozen=True, eq=False)
class Alibi:
    """Attention with linear biases: adds `-slope * |distance|`.

    Source: O. Press, N. Smith and M. Lewis, "Train Short, Test Long" (2021).

    Attributes:
        slopes: (H,), any float dtype; `alibi_slopes` has the published ones.

    Raises:
        ShapeError: not one axis.
    """

    slopes: Tensor

    def __post_init__(self) -> None:
        """Check."""
        _floats("slopes", self.slopes, 1, "(H,)")

    def table(self, distances: Tensor) -> Tensor:
        """(H, L) for distances (L,)."""
        return -self.slopes[:, None] * distances.abs().to(self.slopes.dtype)


def alibi_slopes(heads: int) -> Tensor:
    """The published slopes, (heads,), float32: `2^(-8 i / heads)` for i from 1 on, where heads are a power of 2.

    For other numbers those of the power below come first, then every second one of twice that power.

    Raises:
        InvalidArgumentError: `heads` is not 1 or more.
    """
    n = integer("heads", heads, 1, INT32_MAX)
    power = 1 << (n.bit_length() - 1)
    slopes = [2.0 ** (-8 * i / power) for i in range(1, power + 1)]
    slopes += [2.0 ** (-8 * i / (2 * power)) for i in range(1, 2 * power + 1, 2)][: n - power]
    return torch.tensor(slopes)


@dataclass(frozen=True, eq=False)
class DistanceTable:
    """A learned bias by distance: adds entry `R + distance`; beyond R the end entry of that side.

    Attributes:
        values: (H|1, 2 R + 1), any float dtype.

    Raises:
        ShapeError: not two axes, or an even number of entries.
    """

    values: Tensor

    def __post_init__(self) -> None:
        """Check."""
        _floats("values", self.values, 2, "(H|1, 2 R + 1)")
        _odd("values", self.values)

    @property
    def radius(self) -> int:
        """R."""
        return self.values.shape[1] // 2

    def table(self, distances: Tensor) -> Tensor:
        """(H|1, L) for distances (L,)."""
        return self.values.index_select(1, (distances + self.radius).clamp(0, 2 * self.radius))


@dataclass(frozen=True, eq=False)
class T5Bias:
    """T5's bias by buckets of distance: half of them exact, the others as wide as the logarithm of the distance.

    Source: C. Raffel et al., "Exploring the Limits of Transfer Learning" (2020).

    Attributes:
        weight: (buckets, H), any float dtype: the layout of `relative_attention_bias.weight`.
        bidirectional: half of the buckets are for keys after the query; False for decoders, whose later keys share
            bucket 0.
        max_distance: from here on all distances share the last bucket.

    Raises:
        InvalidArgumentError: a number is out of its range.
        ShapeError: not two axes.
    """

    weight: Tensor
    bidirectional: bool = True
    max_distance: int = 128

    def __post_init__(self) -> None:
        """Check."""
        _floats("weight", self.weight, 2, "(buckets, H)")
        flag("bidirectional", self.bidirectional)
        t5_buckets(torch.zeros(1, dtype=torch.int64), self.weight.shape[0], self.bidirectional, self.max_distance)

    def table(self, distances: Tensor) -> Tensor:
        """(H, L) for distances (L,)."""
        buckets = t5_buckets(distances, self.weight.shape[0], self.bidirectional, self.max_distance)
        return self.weight.index_select(0, buckets).T


def t5_buckets(distances: Tensor, buckets: int, bidirectional: bool = True, max_distance: int = 128) -> Tensor:
    """The bucket of each distance, (L,) int64 to (L,) int64; earlier keys are at positive distances.

    Raises:
        InvalidArgumentError: `buckets` is below 2 (4 where bidirectional), or `max_distance` not beyond the exact ones.
    """
    sides = 2 if flag("bidirectional", bidirectional) else 1
    count = integer("buckets", buckets, 2 * sides, INT32_MAX) // sides
    exact = count // 2
    most = integer("max_distance", max_distance, exact + 1, INT32_MAX)
    # Keys after the query have the second half, or distance 0.
    size = distances.abs() if sides == 2 else distances.clamp(min=0)
    wide = (size.clamp(min=1).float() / exact).log() / math.log(most / exact) * (count - exact)
    found = torch.where(size < exact, size, (exact + wide.long()).clamp(max=count - 1))
    return found + (distances < 0).long() * count if sides == 2 else found


@dataclass(frozen=True, eq=False)
class SpanRamp:
    """A learned span for each head: weights fall to 0 over a ramp beyond it.

    Weights are multiplied by `clamp((ramp + span - |distance|) / ramp, 0, 1)` before they are normalised, by adding its
    logarithm to the scores; beyond span + ramp they are exactly 0.

    Source: S. Sukhbaatar et al., "Adaptive Attention Span in Transformers" (2019).

    Attributes:
        spans: (H|1,), in keys, 0 or more; any float dtype.
        ramp: in keys, above 0.

    Raises:
        InvalidArgumentError: `ramp` is not a finite number above 0.
        ShapeError: not one axis.
    """

    spans: Tensor
    ramp: float = 32.0

    def __post_init__(self) -> None:
        """Check."""
        _floats("spans", self.spans, 1, "(H|1,)")
        if not 0 < real("ramp", self.ramp) < math.inf:
            raise InvalidArgumentError("ramp", self.ramp, "a finite number above 0")

    def table(self, distances: Tensor) -> Tensor:
        """(H|1, L) for distances (L,)."""
        share = (self.ramp + self.spans[:, None] - distances.abs().to(self.spans.dtype)) / self.ramp
        inside = share > 0
        # The logarithm of what is cut off has no gradient: NaN would reach the spans.
        return torch.where(inside, share.clamp(max=1).where(inside, share.new_ones(())).log(), -math.inf)


@dataclass(frozen=True, eq=False)
class DisplacementTable:
    """A learned bias by displacement on a 2-D or 3-D grid of tokens, row after row: Swin's, and NATTEN's `rpb`.

    Adds the entry `R + (place of the query - place of the key)` of each axis; beyond R the end entry of that side.
    Swin's `relative_position_bias_table` is `values` by `table.T.reshape(H, 2 w - 1, 2 w - 1)`; NATTEN's `rpb` counts
    the other way: `rpb.flip(1, 2)`.

    Source: Z. Liu et al., "Swin Transformer" (2021); A. Hassani et al., "Neighborhood Attention Transformer" (2022).

    Attributes:
        values: (H|1, 2 R + 1, 2 S + 1) or with a third such axis, any float dtype.
        shape: the grid, (height, width) or (depth, height, width): as many tokens as there are keys.

    Raises:
        InvalidArgumentError: a side of the grid is not 1 or more.
        ShapeError: axes that do not fit, or an even number of entries.
    """

    values: Tensor
    shape: Sequence[int]

    def __post_init__(self) -> None:
        """Check."""
        shape = tuple(integer("shape", side, 1, INT32_MAX) for side in self.shape)
        if len(shape) not in {2, 3}:
            raise ShapeError("shape", shape, "(height, width) or (depth, height, width)")
        object.__setattr__(self, "shape", shape)
        _floats("values", self.values, 1 + len(shape), "(H|1, 2 R + 1, 2 S + 1) with an entry range for each axis")
        _odd("values", self.values)

    def grid_table(self) -> Tensor:
        """(H|1, 2 height - 1, 2 width - 1): an entry for each displacement that the grid has."""
        found = self.values
        for axis, side in enumerate(self.shape, 1):
            radius = found.shape[axis] // 2
            wanted = torch.arange(1 - side, side) + radius
            found = found.index_select(axis, wanted.clamp(0, 2 * radius))
        return found


Modifier: TypeAlias = SoftCap | Sink | Alibi | DistanceTable | T5Bias | SpanRamp | DisplacementTable
"""What `sparse_attention` takes as a modifier."""


def _floats(argument: str, tensor: Tensor, ndim: int, allowed: str) -> None:
    checks.tensor(argument, tensor)
    if tensor.ndim != ndim or 0 in tensor.shape:
        raise ShapeError(argument, tuple(tensor.shape), allowed)


def _odd(argument: str, tensor: Tensor) -> None:
    if any(size % 2 == 0 for size in tensor.shape[1:]):
        raise ShapeError(argument, tuple(tensor.shape), "an odd number of entries on every axis after the first")
