"""AdamW whose first momentum follows the spectrum of the gradient."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from fractal_core.optim.adaptive import AdaptiveOptimizer, Rate, Signal
from fractal_core.optim.lists import arithmetic
from fractal_core.optim.momenta import Members, corrected, weights

if TYPE_CHECKING:
    from fractal_core.optim.bands import Layout

__all__ = ["FAMAdamW"]


class FAMAdamW(AdaptiveOptimizer):
    """AdamW with the momentum of `FAM` in the place of its beta1.

    `m = a m + (1 - a) g`, `v = beta2 v + (1 - beta2) g^2`, `p = (1 - lr wd) p - lr m' / (sqrt(v') + eps)`, m' being m
    over 1 less the product of all momenta so far, and v' is v / (1 - beta2^t). With a constant momentum, as
    `signal="none"` has it, that is AdamW of torch with `betas=(alpha, beta2)`.

    Source: I. Loshchilov and F. Hutter, "Decoupled Weight Decay Regularization" (2019), for AdamW.

    Args:
        params: as for `FAM`.
        lr: learning rate, at least 0; a tensor of one value stays where it is.
        alpha: first momentum, 0 <= alpha < 1.
        beta: memory of the bands, 0 <= beta < 1.
        beta2: memory of squares, 0 <= beta2 < 1.
        eps: at least 0, added to the root of squares, and to sums of amplitudes where a rule asks for those.
        weight_decay: at least 0, decoupled.
        n_bands: as for `FAM`, and so the others.
        band_layout: `linear`, `log` or `halves`; None for the handler's own.
        fam_start_step: steps with momentum `alpha`, at least 0.
        min_size: parameters of no more entries keep momentum `alpha`.
        update_every: steps from one spectrum to the next, at least 1.
        signal: `spatial`, `temporal` or `none`.
        rule: a name of `fc.optim.momentum_rules`.
        handler: `default`, `conv`, `attention` or `embedding`.
        delta: largest change of momentum, at least 0, of the calibrated rule.
        alpha_min: its lowest momentum, below 1; if `alpha` is lower, that is.
        alpha_max: its highest momentum, below 1; if `alpha` is higher, that is.
        maximize: ascend.
        foreach: torch's multi-tensor kernels, or not; None as torch's own optimizers decide.
        capturable: keep counts of steps on the parameter's device, and decide nothing on the host.
        differentiable: let gradients pass through the step, at fixed momenta.
        state_dtype: dtype of `exp_avg` and `exp_avg_sq`; None for the parameter's.

    Raises:
        InvalidArgumentError: a value out of its range, or an unknown name.
        DTypeError: a value of a wrong type; complex or integer parameters.
        PluginError: an unknown rule.
    """

    _second_moment = True

    def __init__(  # noqa: PLR0917
        self,
        params: ParamsT,
        lr: Rate = 1e-3,
        alpha: float = 0.9,
        beta: float = 0.99,
        beta2: float = 0.999,
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        *,
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
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        state_dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(params, {**locals(), "decoupled": True, "bias_correction": True})

    def _update(self, group: dict[str, Any], found: Members, momenta: dict[int, Tensor]) -> None:
        lists = arithmetic(group["foreach"], found.params, differentiable=group["differentiable"])
        lr, beta2 = group["lr"], group["beta2"]
        for places, weight in weights(group["alpha"], momenta, found.exp_avgs):
            lists.lerp_([found.exp_avgs[i] for i in places], [found.grads[i] for i in places], weight)
        lists.mul_(found.exp_avg_sqs, beta2)
        lists.add_square_(found.exp_avg_sqs, found.grads, 1 - beta2)
        lists.mul_(found.params, 1 - lr * group["weight_decay"])
        roots = [(1 - beta2 ** step.to(v)).sqrt() for step, v in zip(found.steps, found.exp_avg_sqs, strict=True)]
        directions = lists.adam_directions(found.exp_avgs, found.exp_avg_sqs, roots, group["eps"])
        lists.add_scaled_(found.params, directions, corrected(group, found, momenta))
