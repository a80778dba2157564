"""What an adaptive momentum is held against: the same momenta without what is claimed to matter about them.

`matched` keeps their mean and takes away that they change; `shuffled` keeps every value and takes away when;
`placebo` keeps the machinery and looks at white noise; `permuted`, of what looks along the entries, takes away their
order, as the seed did.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from fractal_core.optim import FAM, FAMAdamW
from fractal_core.optim.adaptive import AdaptiveOptimizer
from fractal_core.optim.momenta import Members
from fractal_core.study.contenders import WARMUP, Contender, Setup, adaptive

__all__ = ["CONTROLS", "Momenta", "control_of", "controls_of", "mean_momentum"]

Momenta: TypeAlias = "Mapping[str, npt.NDArray[np.float64]]"
"""The momenta of a run by parameter, (T,) each."""

CONTROLS = ("matched", "shuffled", "placebo", "permuted")


def controls_of(contender: Contender) -> tuple[str, ...]:
    """The controls that a contender has: without an order that it looks at there is none to take away."""
    build: Any = contender.make
    return CONTROLS if build.args[1]["signal"] == "spatial" else CONTROLS[:-1]


def control_of(contender: Contender, control: str, seed: int, recorded: Sequence[Momenta]) -> Contender:
    """A contender's control for one seed.

    Args:
        contender: a FAM.
        control: a name of `CONTROLS`.
        seed: of the run.
        recorded: the momenta of the contender's own runs, that of seed 0 first.
    """
    build: Any = contender.make
    kind, settings = build.args
    name, title = f"{contender.name}/{control}", f"{contender.title}: {control}"
    if control in {"matched", "shuffled"}:
        made = _mean(recorded) if control == "matched" else _shuffled(recorded[seed], seed)
        return Contender(name, title, contender.rate, partial(_replayed, kind, made))
    changed = {"placebo": _PLACEBOS, "permuted": _PERMUTED}[control][kind]
    return Contender(name, title, contender.rate, partial(_seeded, changed, settings, seed))


def mean_momentum(recorded: Sequence[Momenta]) -> float:
    """The mean over runs, parameters and the steps after the start."""
    after = [values[len(values) // WARMUP :].mean() for run in recorded for values in run.values()]
    return float(np.mean(after)) if after else float("nan")


def _mean(recorded: Sequence[Momenta]) -> Momenta:
    found: dict[str, npt.NDArray[np.float64]] = {}
    for name, values in recorded[0].items():
        start = len(values) // WARMUP
        found[name] = values.copy()
        found[name][start:] = np.mean([run[name][start:] for run in recorded])
    return found


def _shuffled(recorded: Momenta, seed: int) -> Momenta:
    random = np.random.default_rng(seed)
    found: dict[str, npt.NDArray[np.float64]] = {}
    for name, values in recorded.items():
        start = len(values) // WARMUP
        found[name] = np.concatenate([values[:start], random.permutation(values[start:])])
    return found


def _replayed(kind: type[AdaptiveOptimizer], made: Momenta, model: nn.Module, lr: float, steps: int) -> Setup:
    setup = adaptive(kind, {"signal": "none"}, model, lr, steps, alone=True)
    groups = [(group, made.get(group["param_names"][0])) for group in setup.optimizers[0].param_groups]

    def before(step: int) -> None:
        for group, values in groups:
            if values is not None:
                group["alpha"] = float(values[step])

    setup.before = before
    return setup


def _seeded(  # noqa: PLR0917
    kind: type[AdaptiveOptimizer], settings: dict[str, Any], seed: int, model: nn.Module, lr: float, steps: int
) -> Setup:
    setup = adaptive(kind, settings, model, lr, steps)
    setattr(setup.optimizers[0], "chance", torch.Generator().manual_seed(seed))  # noqa: B010
    return setup


class _White(AdaptiveOptimizer):
    """Looks at white noise instead of gradients."""

    chance: torch.Generator

    def _momenta(self, group: dict[str, Any], found: Members) -> dict[int, Tensor]:
        noise = [torch.randn(g.shape, generator=self.chance, dtype=g.dtype) for g in found.grads]
        return super()._momenta(group, found._replace(grads=noise))


class _Permuted(AdaptiveOptimizer):
    """Looks at gradients whose entries are in another order each step."""

    chance: torch.Generator

    def _momenta(self, group: dict[str, Any], found: Members) -> dict[int, Tensor]:
        mixed = [g.flatten()[torch.randperm(g.numel(), generator=self.chance)].view(g.shape) for g in found.grads]
        return super()._momenta(group, found._replace(grads=mixed))


class _PlaceboFAM(_White, FAM):
    pass


class _PlaceboFAMAdamW(_White, FAMAdamW):
    pass


class _PermutedFAM(_Permuted, FAM):
    pass


class _PermutedFAMAdamW(_Permuted, FAMAdamW):
    pass


_PLACEBOS: dict[type[AdaptiveOptimizer], type[AdaptiveOptimizer]] = {FAM: _PlaceboFAM, FAMAdamW: _PlaceboFAMAdamW}
_PERMUTED: dict[type[AdaptiveOptimizer], type[AdaptiveOptimizer]] = {FAM: _PermutedFAM, FAMAdamW: _PermutedFAMAdamW}
