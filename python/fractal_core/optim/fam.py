"""Frequency-adaptive momentum: an average of gradients whose memory follows their spectrum."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch.optim.optimizer import ParamsT

from fractal_core.optim.adaptive import AdaptiveOptimizer, Rate, Signal
from fractal_core.optim.lists import arithmetic
from fractal_core.optim.momenta import Members, corrected, weights

if TYPE_CHECKING:
    import torch

    from fractal_core.optim.bands import Layout

__all__ = ["FAM", "SimpleFAM"]


class FAM(AdaptiveOptimizer):
    """Gradient descent along an average of gradients, whose momentum is adapted to each parameter's spectrum.

    In step t, for a parameter p with gradient g: `m = a m + (1 - a) g`, then `p = p - lr m`; a is `alpha` until
    `fam_start_step`, then what `rule` makes of the bands `B = beta B + (1 - beta) b`, b being the shares of the power
    spectrum of g (docs/optim.md).

    The spectrum is one of space, along the rows of the gradient in the order in which its entries lie, or one of time,
    of the last 32 gradients at 128 entries. Momentum is a filter in time; the order of a weight's entries often
    means nothing. Neither was seen to help (docs/fam-results.md).

    `exp_avg` starts at 0: without `bias_correction` the first steps are short, unlike those of torch's SGD, whose
    average starts at the first gradient.

    Args:
        params: parameters, groups, or pairs of names and parameters; real floats. A group may hold any argument below
            but `differentiable`.
        lr: learning rate, at least 0; a tensor of one value stays where it is.
        alpha: momentum, 0 <= alpha < 1.
        beta: memory of the bands, 0 <= beta < 1.
        eps: at least 0; added to the sum of amplitudes where a rule asks for those, as in the seed.
        weight_decay: at least 0.
        decoupled: decay shrinks parameters by `1 - lr * weight_decay`; otherwise it adds to the gradient.
        n_bands: bands asked for, at least 1; there are no more than bins.
        band_layout: `linear`, `log` or `halves` (`band_edges`); None for the handler's own.
        fam_start_step: steps with momentum `alpha`, at least 0.
        min_size: parameters of no more entries keep momentum `alpha`.
        update_every: steps from one spectrum to the next, at least 1.
        signal: `spatial`, `temporal`, or `none` for momentum `alpha` throughout.
        rule: a name of `fc.optim.momentum_rules`; `calibrated` changes nothing on white noise.
        handler: `default`, `conv`, `attention` or `embedding`: how bands are cut and which are watched.
        delta: largest change of momentum, at least 0, of the calibrated rule.
        alpha_min: its lowest momentum, below 1; if `alpha` is lower, that is.
        alpha_max: its highest momentum, below 1; if `alpha` is higher, that is.
        bias_correction: divide m by 1 less the product of all momenta so far.
        maximize: ascend.
        foreach: torch's multi-tensor kernels, or not; None as torch's own optimizers decide.
        capturable: keep counts of steps on the parameter's device, and decide nothing on the host.
        differentiable: let gradients pass through the step, at fixed momenta.
        state_dtype: dtype of `exp_avg`; None for the parameter's. `bands` are float32, or float64 for float64.

    Raises:
        InvalidArgumentError: a value out of its range, or an unknown name.
        DTypeError: a value of a wrong type; complex or integer parameters.
        PluginError: an unknown rule.
    """

    def __init__(  # noqa: PLR0917
        self,
        params: ParamsT,
        lr: Rate = 1e-3,
        alpha: float = 0.9,
        beta: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        *,
        decoupled: bool = True,
        n_bands: int = 8,
        band_layout: Layout | None = None,
        fam_start_step: int = 100,
        min_size: int = 256,
        update_every: int = 1,
        signal: Signal = "spatial",
        rule: str = "calibrated",
        handler: str = "default",
        delta: float = 0.08,
        alpha_min: float = 0.5,
        alpha_max: float = 0.98,
        bias_correction: bool = False,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        state_dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(params, locals())

    def _update(self, group: dict[str, Any], found: Members, momenta: dict[int, Tensor]) -> None:
        lists = arithmetic(group["foreach"], found.params, differentiable=group["differentiable"])
        lr = group["lr"]
        for places, weight in weights(group["alpha"], momenta, found.exp_avgs):
            lists.lerp_([found.exp_avgs[i] for i in places], [found.grads[i] for i in places], weight)
        if group["weight_decay"] != 0 and group["decoupled"]:
            lists.mul_(found.params, 1 - lr * group["weight_decay"])
        if group["bias_correction"]:
            lists.add_scaled_(found.params, found.exp_avgs, corrected(group, found, momenta))
        else:
            lists.add_scaled_(found.params, found.exp_avgs, -lr)


class SimpleFAM(FAM):
    """FAM with two bands, the lower and the upper half of the bins, for parameters of more than 1000 entries.

    The seed's `SimpleFAM`: `alpha + 0.05 h` at most 0.98, h being the upper share of amplitude, is `rule="seed"`; by
    default it is the calibrated rule with `delta=0.05`.

    Args:
        params: as for `FAM`.
        lr: learning rate, at least 0.
        alpha: momentum, 0 <= alpha < 1.
        beta: memory of the bands, 0 <= beta < 1.
        rule: a name of `fc.optim.momentum_rules`.
        signal: `spatial`, `temporal` or `none`.
        fam_start_step: steps with momentum `alpha`, at least 0.
        weight_decay: at least 0, decoupled.
        maximize: ascend.
        foreach: as for `FAM`.
        capturable: as for `FAM`.

    Raises:
        InvalidArgumentError: a value out of its range, or an unknown name.
        DTypeError: a value of a wrong type; complex or integer parameters.
        PluginError: an unknown rule.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: Rate = 1e-3,
        alpha: float = 0.9,
        beta: float = 0.99,
        *,
        rule: str = "calibrated",
        signal: Signal = "spatial",
        fam_start_step: int = 100,
        weight_decay: float = 0.0,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
    ) -> None:
        super().__init__(
            params,
            lr,
            alpha,
            beta,
            weight_decay=weight_decay,
            n_bands=2,
            fam_start_step=fam_start_step,
            min_size=1000,
            signal=signal,
            rule=rule,
            handler="simple",
            delta=0.05,
            maximize=maximize,
            foreach=foreach,
            capturable=capturable,
        )
