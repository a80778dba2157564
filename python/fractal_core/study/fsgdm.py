"""Momentum as a filter in time that is moved along a schedule: FSGDM, written from the paper's formula."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.optim import Optimizer

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["FSGDM", "momentum_at"]


def momentum_at(step: int, total: int, c: float = 0.033, stages: int = 300) -> float:
    """`u(t) = s / (s + c total)`, s being the first step of the stage that step t, from 0 on, is in."""
    length = total / stages
    start = int(step / length) * length
    return start / (start + c * total)


class FSGDM(Optimizer):
    """`m = u(t) m + v g`, `p = p - lr m`, with `u` by `momentum_at`.

    Source: X. Li et al., "On the Performance Analysis of Momentum Method: A Frequency Domain Perspective" (ICLR 2025),
    with its defaults c = 0.033, v = 1 and 300 stages.

    Args:
        params: parameters.
        lr: learning rate.
        total: steps of the whole run.
        c: scale of the schedule.
        v: weight of the gradient.
        stages: of the schedule.
    """

    def __init__(  # noqa: PLR0917
        self,
        params: Iterable[Tensor],
        lr: float,
        total: int,
        c: float = 0.033,
        v: float = 1.0,
        stages: int = 300,
    ) -> None:
        super().__init__(params, {"lr": lr, "total": total, "c": c, "v": v, "stages": stages, "count": 0})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # noqa: ANN401  # pyright: ignore[reportIncompatibleMethodOverride]
        """One step; takes no closure."""
        del closure
        for group in self.param_groups:
            momentum = momentum_at(group["count"], group["total"], group["c"], group["stages"])
            group["count"] += 1
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                average = state.setdefault("average", torch.zeros_like(p))
                average.mul_(momentum).add_(p.grad, alpha=group["v"])
                p.add_(average, alpha=-group["lr"])
