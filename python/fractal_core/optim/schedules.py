"""Learning rates that warm up, stay, and fall along a cosine."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from torch.optim.lr_scheduler import LRScheduler

from fractal_core._arguments import INT32_MAX, integer
from fractal_core.errors import InvalidArgumentError
from fractal_core.optim.checks import learning_rate

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Optimizer

__all__ = ["FAMScheduler", "FAMScheduler2", "WarmupPlateauCosine"]


class WarmupPlateauCosine(LRScheduler):
    """The rate climbs in a line to the group's own, stays there, and falls along a cosine.

    At step t, with b the group's rate: `start_lr + (b - start_lr) t / warmup` below `warmup`; b up to `plateau_until`;
    `eta_min + (b - eta_min) (1 + cos(pi (t - plateau_until) / (total - plateau_until))) / 2` up to `total`, and
    `eta_min` from then on. The rate at t depends on t alone.

    Source of the cosine: I. Loshchilov and F. Hutter, "SGDR" (2017).

    Args:
        optimizer: whose groups' rates change.
        warmup: steps of the climb, at least 0.
        total: the step at which the rate is `eta_min`, above `plateau_until`.
        plateau_until: the step at which the fall begins, at least `warmup`; None for `warmup`.
        start_lr: the rate at step 0, at least 0; without a climb it is not used.
        eta_min: the last rate, at least 0.
        last_epoch: the step to go on from; -1 for the start.

    Raises:
        InvalidArgumentError: numbers out of their order or below 0.
        DTypeError: numbers of a wrong type.
    """

    def __init__(  # noqa: PLR0917
        self,
        optimizer: Optimizer,
        warmup: int,
        total: int,
        plateau_until: int | None = None,
        start_lr: float = 0.0,
        eta_min: float = 0.0,
        last_epoch: int = -1,
    ) -> None:
        steps = ("warmup", warmup), ("total", total), ("plateau_until", plateau_until)
        self._begin(optimizer, *steps, ("start_lr", start_lr), eta_min, last_epoch)

    def _begin(  # noqa: PLR0917
        self,
        optimizer: Optimizer,
        warmup: tuple[str, int],
        total: tuple[str, int],
        plateau: tuple[str, int | None],
        start: tuple[str, float],
        eta_min: float,
        last_epoch: int,
    ) -> None:
        """Checks numbers under the names that a constructor gives them, and starts."""
        learning_rate(*start)
        learning_rate("eta_min", eta_min)
        self.warmup = integer(*warmup, 0, INT32_MAX)
        self.plateau_until = self.warmup if plateau[1] is None else integer(plateau[0], plateau[1], 0, INT32_MAX)
        if self.plateau_until < self.warmup:
            raise InvalidArgumentError(plateau[0], self.plateau_until, f"at least {warmup[0]} = {self.warmup}")
        self.total = integer(*total, 0, INT32_MAX)
        if self.total <= self.plateau_until:
            last = warmup[0] if plateau[1] is None else plateau[0]
            raise InvalidArgumentError(total[0], self.total, f"above {last} = {self.plateau_until}")
        self.start_lr, self.eta_min = float(start[1]), float(eta_min)
        super().__init__(optimizer, integer("last_epoch", last_epoch, -1, INT32_MAX))

    def get_lr(self) -> list[float | Tensor]:
        """The rates of the groups at the present step."""
        return [self._rate(base) for base in self.base_lrs]

    def _rate(self, base: float | Tensor) -> float | Tensor:
        t = self.last_epoch
        if t < self.warmup:
            return self.start_lr + (base - self.start_lr) * (t / self.warmup)
        if t <= self.plateau_until:
            return base * 1.0
        fallen = min(1.0, (t - self.plateau_until) / (self.total - self.plateau_until))
        return self.eta_min + (base - self.eta_min) * ((1 + math.cos(math.pi * fallen)) / 2)


class FAMScheduler(WarmupPlateauCosine):
    """`WarmupPlateauCosine` without a plateau, under the seed's names.

    Args:
        optimizer: whose groups' rates change.
        warmup_epochs: steps of the climb, at least 0.
        max_epochs: the step at which the rate is `eta_min`, above `warmup_epochs`.
        warmup_start_lr: the rate at step 0.
        eta_min: the last rate.
        last_epoch: the step to go on from; -1 for the start.

    Raises:
        InvalidArgumentError: numbers out of their order or below 0.
        DTypeError: numbers of a wrong type.
    """

    def __init__(  # noqa: PLR0917
        self,
        optimizer: Optimizer,
        warmup_epochs: int,
        max_epochs: int,
        warmup_start_lr: float = 1e-8,
        eta_min: float = 1e-8,
        last_epoch: int = -1,
    ) -> None:
        steps = ("warmup_epochs", warmup_epochs), ("max_epochs", max_epochs), ("plateau_until", None)
        self._begin(optimizer, *steps, ("warmup_start_lr", warmup_start_lr), eta_min, last_epoch)


class FAMScheduler2(WarmupPlateauCosine):
    """`WarmupPlateauCosine` under the seed's names for steps.

    Args:
        optimizer: whose groups' rates change.
        warmup_steps: steps of the climb, at least 0.
        total_steps: the step at which the rate is `eta_min`.
        decay_start_step: the step at which the fall begins, at least `warmup_steps`; None for that.
        warmup_start_lr: the rate at step 0.
        eta_min: the last rate.
        last_epoch: the step to go on from; -1 for the start.

    Raises:
        InvalidArgumentError: numbers out of their order or below 0.
        DTypeError: numbers of a wrong type.
    """

    def __init__(  # noqa: PLR0917
        self,
        optimizer: Optimizer,
        warmup_steps: int = 1000,
        total_steps: int = 100000,
        decay_start_step: int | None = None,
        warmup_start_lr: float = 1e-6,
        eta_min: float = 1e-6,
        last_epoch: int = -1,
    ) -> None:
        steps = ("warmup_steps", warmup_steps), ("total_steps", total_steps), ("decay_start_step", decay_start_step)
        self._begin(optimizer, *steps, ("warmup_start_lr", warmup_start_lr), eta_min, last_epoch)
