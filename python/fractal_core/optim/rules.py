"""Rules of momentum: from the shares of bands to the momentum of a step.

A rule is a part with a name, in `momentum_rules`; plug-ins add theirs by the entry point group
`fractal_core.momentum_rules`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from fractal_core._registry import Registry

if TYPE_CHECKING:
    from fractal_core.optim.bands import Layout, Spectrum

__all__ = ["HANDLERS", "Calibrated", "Handler", "MomentumRule", "Reading", "Seed", "momentum_rules", "rule_of"]


class Handler(NamedTuple):
    """What is looked at for one kind of parameter."""

    layout: Layout
    """How bands are cut."""
    quarters: Literal[0, 1, 2, 3]
    """The bands from `quarters * n // 4` on are those that the calibrated rule watches."""


HANDLERS = {
    "default": Handler("linear", 2),
    "conv": Handler("log", 1),
    "attention": Handler("halves", 2),
    "embedding": Handler("linear", 3),
    "simple": Handler("linear", 2),
}
"""The seed's four kinds, and `simple`, that of `SimpleFAM`."""


class Reading(NamedTuple):
    """What a rule is given, for M parameters at once."""

    bands: Tensor
    """(M, n), float32 or float64: smoothed shares of the bands, lowest frequency first; each row sums to 1, or is
    all zeros as long as nothing was seen."""
    white: tuple[float, ...]
    """The n shares that white noise has."""
    alpha: float
    """The momentum to adapt, 0 <= alpha < 1."""
    handler: str
    """A name of `HANDLERS`."""
    delta: float
    """The largest change, at least 0."""
    alpha_min: float
    """Lowest momentum, at most `alpha`."""
    alpha_max: float
    """Highest momentum, at least `alpha`."""


@runtime_checkable
class MomentumRule(Protocol):
    """A rule. It must be a pure function of tensors: no host reads, no state, no randomness."""

    spectrum: Spectrum
    """Of what the bands are shares: `power` or `amplitude`."""

    def momentum(self, reading: Reading) -> Tensor:
        """(M,), the momentum of this step, 0 <= momentum < 1; rows without a spectrum are put right by the caller."""
        ...


class Calibrated:
    """Momentum that is `alpha` on white noise, higher above it and lower below.

    `h` is the share of the watched upper bands and `h0` that of white noise; `u = (h - h0) / (1 - h0)` above `h0` and
    `(h - h0) / h0` below, so `u` is in -1 ... 1, and the momentum is `alpha + delta * u` within the two bounds.
    """

    spectrum: Spectrum = "power"

    def momentum(self, reading: Reading) -> Tensor:
        """(M,)."""
        n = len(reading.white)
        first = HANDLERS[reading.handler].quarters * n // 4
        white = sum(reading.white[first:])
        if first == 0:  # all bands: their share is always 1
            return torch.full_like(reading.bands[..., 0], reading.alpha)
        excess = reading.bands[..., first:].sum(-1) - white
        u = torch.where(excess > 0, excess / (1 - white), excess / white)
        return (reading.alpha + reading.delta * u).clamp(reading.alpha_min, reading.alpha_max)


class Seed:
    """The seed's thresholds on shares of amplitude, for comparison only: white noise is above nearly all of them.

    Its caps can lower momentum and its floors raise it, as they did. What is not kept is what lost or mixed data: bins
    of the highest frequencies, the mean, and the order of entries.
    """

    spectrum: Spectrum = "amplitude"

    def momentum(self, reading: Reading) -> Tensor:
        """(M,)."""
        bands, alpha, n = reading.bands, reading.alpha, len(reading.white)
        high = bands[..., n // 2 :].sum(-1)
        top = bands[..., 3 * n // 4 :].sum(-1)
        if reading.handler == "simple":
            return (alpha + 0.05 * high).clamp(max=0.98)
        if reading.handler == "conv":
            middle = bands[..., n // 4 : 3 * n // 4].sum(-1)
            raised = _either(top > 0.3, min(0.95, alpha + 0.05), alpha, bands)
            return torch.where(middle > 0.4, min(0.97, alpha + 0.07), raised)
        if reading.handler == "attention":
            peak = bands.argmax(-1)
            raised = _either(peak > 3 * n // 4, min(0.98, alpha + 0.08), alpha, bands)
            return torch.where(peak < n // 4, max(0.85, alpha - 0.05), raised)
        if reading.handler == "embedding":
            return _either(top > 0.2, min(0.98, alpha + 0.08), alpha, bands)
        return _either(high > 0.3, min(0.95, alpha + 0.05), alpha, bands)


def _either(condition: Tensor, then: float, otherwise: float, like: Tensor) -> Tensor:
    """One of two numbers, in the dtype of `like`."""
    return torch.where(condition, torch.full_like(like[..., 0], then), otherwise)


def _is_rule(made: object) -> bool:
    return callable(getattr(made, "momentum", None)) and getattr(made, "spectrum", None) in {"power", "amplitude"}


momentum_rules: Registry[MomentumRule] = Registry(
    "momentum rule",
    "fractal_core.momentum_rules",
    {"calibrated": "fractal_core.optim.rules:Calibrated", "seed": "fractal_core.optim.rules:Seed"},
    accept=_is_rule,
    must_be="a momentum rule: an object with spectrum = 'power' or 'amplitude' and momentum(reading)",
)
"""Rules by name; `rule=` of the optimizers is one of them."""

_made: dict[str, MomentumRule] = {}


def rule_of(name: str) -> MomentumRule:
    """The rule of a name, made once.

    Raises:
        PluginError: an unknown name, or a plug-in that did not load.
    """
    found = _made.get(name)
    return _made.setdefault(name, momentum_rules.create(name)) if found is None else found
