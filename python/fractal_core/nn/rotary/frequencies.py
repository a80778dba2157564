"""How fast each part of a vector turns along each axis of positions: fixed by a formula, or learned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from fractal_core.nn.rotary.quaternions import unit
from fractal_core.nn.rotary.scaling import inverse_powers

if TYPE_CHECKING:
    from fractal_core.nn.rotary.scaling import RotaryScaling

__all__ = ["FixedFrequencies", "LearnedFrequencies", "wide_dtype"]


def wide_dtype(device: torch.device) -> torch.dtype:
    """What angles are computed in: float64, or float32 on a device without it."""
    return torch.float32 if device.type == "mps" else torch.float64


@dataclass(frozen=True)
class FixedFrequencies:
    """`base ** (-i / count)`, stretched by a rule; with several axes each has a run of its own, first axes first.

    Runs are as equal as they can be: the first ones are longer by one where `count` is no multiple of the axes. The
    values are made anew from these numbers at each use, so that no tensor is there to be rounded or left behind.

    Attributes:
        base: above 1.
        count: how many frequencies.
        n_axes: at most `count`.
        scaling: a rule, or None.
    """

    base: float
    count: int
    n_axes: int = 1
    scaling: RotaryScaling | None = None

    @property
    def runs(self) -> list[int]:
        """How many frequencies each axis has."""
        short, longer = divmod(self.count, self.n_axes)
        return [short + (axis < longer) for axis in range(self.n_axes)]

    def magnitudes(self, device: torch.device) -> Tensor:
        """(count,), radians a position, in the wide dtype."""
        dtype = wide_dtype(device)
        make = inverse_powers if self.scaling is None else self.scaling.frequencies
        return torch.cat([make(self.base, run, device, dtype) for run in self.runs])

    def directions(self, device: torch.device, dtype: torch.dtype) -> Tensor:
        """(n_axes, count): 1 where a frequency belongs to the axis, else 0."""
        owner = [axis for axis, run in enumerate(self.runs) for _ in range(run)]
        axes = torch.arange(self.n_axes, device=device)
        return (axes[:, None] == torch.tensor(owner, device=device)).to(dtype)

    def values(self, device: torch.device) -> Tensor:
        """(n_axes, count), radians a step along the axis, in the wide dtype."""
        return self.directions(device, wide_dtype(device)) * self.magnitudes(device)


class LearnedFrequencies(nn.Module):
    """Frequencies as parameters: the logarithm of each, and with several axes the direction it points in.

    They start as the fixed ones. One axis has one parameter, `log_freqs` (count,); several axes have `directions`
    (n_axes, count), too, of which only the direction of each column counts: angle i is `exp(log_freqs[i])` times the
    position along it. That is every family of commuting rotations (docs/rotary.md).
    """

    def __init__(self, fixed: FixedFrequencies) -> None:
        super().__init__()
        self.fixed = fixed
        self.log_freqs = nn.Parameter(torch.empty(fixed.count))
        self.directions = nn.Parameter(torch.empty(fixed.n_axes, fixed.count)) if fixed.n_axes > 1 else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Start as the fixed frequencies."""
        with torch.no_grad():
            device = self.log_freqs.device
            self.log_freqs.copy_(self.fixed.magnitudes(device).log())
            if self.directions is not None:
                self.directions.copy_(self.fixed.directions(device, self.directions.dtype))

    def values(self, device: torch.device) -> Tensor:
        """(n_axes, count), radians a step along the axis, in the wide dtype, with gradients."""
        dtype = wide_dtype(device)
        magnitudes = self.log_freqs.to(device, dtype).exp()
        if self.directions is None:
            return magnitudes[None]
        directions = self.directions.to(device, dtype)
        return unit(directions, dim=0) * magnitudes
