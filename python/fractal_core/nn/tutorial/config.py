"""The settings of the tutorial's classes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

from fractal_core._arguments import complex_number, flag, integer
from fractal_core.errors import DTypeError, InvalidArgumentError

__all__ = ["FractalConfig"]


@dataclass(frozen=True)
class FractalConfig:
    """What the tutorial's classes are built from, checked once and never changed.

    Args:
        hilbert_window_size: side of the square of cells around the query, odd.
        hilbert_order: sequences of at most 4 ** order keys, 1 to 15.
        cantor_depth: steps of the middle-thirds construction, 1 to 16: at most 2 ** depth samples at the widest scale.
        cantor_num_scales: how many sample sets around a query, 1 to 16; each spans a third of the one before.
        cantor_temperature: of the softmax over the scales, above 0.
        dragon_iterations: foldings of the finest dragon, 1 to 20; one scale for each folding.
        dragon_smoothing: the least weight of a key beside 1, above 0, at most 1.
        julia_c: the parameter that learning starts from, real and imaginary part from -2 to 2.
        julia_iterations: iterates of the soft escape count, 1 to 2 ** 20.
        julia_escape_radius: the radius that learning starts from, 1e-3 to 1e3.
        use_cuda_kernels: False; the kernels of this package run on the CPU, and True is refused rather than ignored.
        cache_fractals: keep index sets and other constants of the lengths that were used last.
        blend_temperature: divides the gates of the patterns in `UnifiedFractalAttention`, above 0.

    Raises:
        InvalidArgumentError: a value outside its range.
        DTypeError: a value of another type.
    """

    hilbert_window_size: int = 7
    hilbert_order: int = 10
    cantor_depth: int = 8
    cantor_num_scales: int = 3
    cantor_temperature: float = 1.0
    dragon_iterations: int = 12
    dragon_smoothing: float = 0.1
    julia_c: complex = -0.7 + 0.27j
    julia_iterations: int = 64
    julia_escape_radius: float = 2.0
    use_cuda_kernels: bool = False
    cache_fractals: bool = True
    blend_temperature: float = 1.0

    def __post_init__(self) -> None:
        ranges = {
            "hilbert_window_size": 1023,
            "hilbert_order": 15,
            "cantor_depth": 16,
            "cantor_num_scales": 16,
            "dragon_iterations": 20,
            "julia_iterations": 2**20,
        }
        for name, high in ranges.items():
            object.__setattr__(self, name, integer(name, getattr(self, name), 1, high))
        if self.hilbert_window_size % 2 == 0:
            raise InvalidArgumentError("hilbert_window_size", self.hilbert_window_size, "an odd number of cells")
        _within("cantor_temperature", self.cantor_temperature, 0.0, math.inf)
        _within("blend_temperature", self.blend_temperature, 0.0, math.inf)
        _within("dragon_smoothing", self.dragon_smoothing, 0.0, 1.0)
        _within("julia_escape_radius", self.julia_escape_radius, 0.999e-3, 1e3)
        for name in ("use_cuda_kernels", "cache_fractals"):
            object.__setattr__(self, name, flag(name, getattr(self, name)))
        if self.use_cuda_kernels:
            raise InvalidArgumentError("use_cuda_kernels", True, "False: the kernels of this package run on the CPU")
        c = cast("object", self.julia_c)
        if isinstance(c, bool) or not isinstance(c, (int, float, complex)):
            raise DTypeError("julia_c", repr(c), "a number")
        c = complex_number("julia_c", c)
        if not (abs(c.real) <= 2 and abs(c.imag) <= 2):
            raise InvalidArgumentError("julia_c", c, "real and imaginary part from -2 to 2")
        object.__setattr__(self, "julia_c", c)


def _within(name: str, value: object, above: float, most: float) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise DTypeError(name, repr(value), "a float")
    if not (above < value <= most and math.isfinite(value)):
        raise InvalidArgumentError(name, value, f"a finite number, {above:g} < {name} <= {most:g}")
