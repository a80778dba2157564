"""Rules that stretch rotary frequencies, so that a model reads longer texts than it was trained on.

A rule is a frozen value. None looks at the length of a call: what a token is turned by depends on its position alone,
so that cached keys stay right as a text grows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from fractal_core._arguments import flag
from fractal_core._torch import checks

__all__ = [
    "LinearScaling",
    "Llama3Scaling",
    "NTKScaling",
    "RotaryScaling",
    "YaRNScaling",
    "inverse_powers",
]


def inverse_powers(base: float, count: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """RoPE's frequencies, `base ** (-i / count)` for i in 0 .. count - 1: shape (count,), radians a position."""
    exponents = torch.arange(count, device=device, dtype=dtype) / count
    return torch.pow(base, -exponents)


@runtime_checkable
class RotaryScaling(Protocol):
    """What `RotaryEmbedding` takes as `scaling`."""

    @property
    def attention_factor(self) -> float:
        """What rotated queries and keys are multiplied by; scores grow by its square."""
        ...

    def frequencies(self, base: float, count: int, device: torch.device, dtype: torch.dtype) -> Tensor:
        """The frequencies, (count,) of `dtype` on `device`, radians a position, highest first."""
        ...


@dataclass(frozen=True)
class LinearScaling:
    """Position interpolation: every frequency divided by `factor`, as if positions were closer together.

    Source: S. Chen et al., "Extending Context Window of Large Language Models via Positional Interpolation" (2023).

    Attributes:
        factor: 1 or more.

    Raises:
        InvalidArgumentError: `factor` is below 1 or not finite.
    """

    factor: float
    attention_factor = 1.0

    def __post_init__(self) -> None:
        """Check."""
        _keep(self, "factor", checks.at_least("factor", self.factor, 1.0))

    def frequencies(self, base: float, count: int, device: torch.device, dtype: torch.dtype) -> Tensor:
        """See `RotaryScaling`."""
        return inverse_powers(base, count, device, dtype) / self.factor


@dataclass(frozen=True)
class NTKScaling:
    """NTK-aware scaling: the base grows by `factor ** (d / (d - 2))` for d = 2 · count entries.

    The highest frequency, 1, stays; the lowest is divided by `factor`.

    Source: bloc97, "NTK-Aware Scaled RoPE" (2023); B. Peng et al., "YaRN" (2023), section 3.1.

    Attributes:
        factor: 1 or more.

    Raises:
        InvalidArgumentError: `factor` is below 1 or not finite.
    """

    factor: float
    attention_factor = 1.0

    def __post_init__(self) -> None:
        """Check."""
        _keep(self, "factor", checks.at_least("factor", self.factor, 1.0))

    @classmethod
    def dynamic(cls, factor: float, length: float, original_length: float) -> NTKScaling:
        """The rule of "dynamic NTK" for one length, which the caller names once for a whole text.

        Raises:
            InvalidArgumentError: `factor` is below 1, or a length below 1.
        """
        factor = checks.at_least("factor", factor, 1.0)
        length = checks.at_least("length", length, 1.0)
        trained = checks.at_least("original_length", original_length, 1.0)
        return cls(factor * max(length, trained) / trained - (factor - 1))

    def frequencies(self, base: float, count: int, device: torch.device, dtype: torch.dtype) -> Tensor:
        """See `RotaryScaling`."""
        grown = base if count == 1 else base * self.factor ** (count / (count - 1))
        return inverse_powers(grown, count, device, dtype)


@dataclass(frozen=True)
class YaRNScaling:
    """YaRN: high frequencies stay, low ones are divided by `factor`, with a ramp between them; scores are sharpened.

    A frequency stays where it makes more than `beta_fast` turns in `original_length` positions, and is divided by
    `factor` where it makes fewer than `beta_slow`.

    Source: B. Peng et al., "YaRN: Efficient Context Window Extension of Large Language Models" (2023).

    Attributes:
        factor: 1 or more.
        original_length: positions that the model was trained on, 1 or more.
        beta_fast: turns, above `beta_slow`.
        beta_slow: turns, above 0.
        attention: factor of rotated queries and keys, above 0; None for the paper's `0.1 ln(factor) + 1`.
        truncate: ends of the ramp are rounded outwards to whole frequencies, as in the authors' code.

    Raises:
        InvalidArgumentError: a number is out of its range.
    """

    factor: float
    original_length: float
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    attention: float | None = None
    truncate: bool = True

    def __post_init__(self) -> None:
        """Check."""
        for name, least in (("factor", 1.0), ("original_length", 1.0)):
            _keep(self, name, checks.at_least(name, getattr(self, name), least))
        for name, beyond in (("beta_slow", 0.0), ("beta_fast", self.beta_slow)):
            _keep(self, name, checks.above(name, getattr(self, name), beyond))
        if self.attention is not None:
            _keep(self, "attention", checks.above("attention", self.attention, 0.0))
        _keep(self, "truncate", flag("truncate", self.truncate))

    @property
    def attention_factor(self) -> float:
        """What rotated queries and keys are multiplied by."""
        return 0.1 * math.log(self.factor) + 1.0 if self.attention is None else self.attention

    def frequencies(self, base: float, count: int, device: torch.device, dtype: torch.dtype) -> Tensor:
        """See `RotaryScaling`."""
        plain = inverse_powers(base, count, device, dtype)
        low, high = self._ramp(base, count)
        ramp = ((torch.arange(count, device=device, dtype=dtype) - low) / (high - low)).clamp(0, 1)
        return plain * (1 - ramp) + plain / self.factor * ramp

    def _ramp(self, base: float, count: int) -> tuple[float, float]:
        """The frequencies between which the ramp rises, as places in the list of `count`."""

        def place(turns: float) -> float:
            return count * math.log(self.original_length / (turns * 2 * math.pi)) / math.log(base)

        low, high = place(self.beta_fast), place(self.beta_slow)
        if self.truncate:
            low, high = math.floor(low), math.ceil(high)
        low, high = max(low, 0), min(high, 2 * count - 1)
        return (low, high + 0.001) if low == high else (low, high)


@dataclass(frozen=True)
class Llama3Scaling:
    """Llama 3.1's rule: as YaRN's, with the ramp by wavelength and without a factor of scores.

    Source: "The Llama 3 Herd of Models" (2024) and its published code.

    Attributes:
        factor: 1 or more.
        original_length: positions that the model was trained on, 1 or more.
        low_freq_factor: turns in that length below which a frequency is divided, above 0.
        high_freq_factor: turns above which it stays, above `low_freq_factor`.

    Raises:
        InvalidArgumentError: a number is out of its range.
    """

    factor: float
    original_length: float
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    attention_factor = 1.0

    def __post_init__(self) -> None:
        """Check."""
        for name, least in (("factor", 1.0), ("original_length", 1.0)):
            _keep(self, name, checks.at_least(name, getattr(self, name), least))
        for name, beyond in (("low_freq_factor", 0.0), ("high_freq_factor", self.low_freq_factor)):
            _keep(self, name, checks.above(name, getattr(self, name), beyond))

    def frequencies(self, base: float, count: int, device: torch.device, dtype: torch.dtype) -> Tensor:
        """See `RotaryScaling`."""
        plain = inverse_powers(base, count, device, dtype)
        turns = self.original_length * plain / (2 * math.pi)
        kept = ((turns - self.low_freq_factor) / (self.high_freq_factor - self.low_freq_factor)).clamp(0, 1)
        return plain * kept + plain / self.factor * (1 - kept)


def _keep(rule: object, name: str, value: object) -> None:
    object.__setattr__(rule, name, value)
