"""The optimizers that are compared, each ready for a model, a rate and a number of steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from fractal_core.optim import FAM, FAMAdamW, WarmupPlateauCosine, get_parameter_groups
from fractal_core.optim.adaptive import AdaptiveOptimizer
from fractal_core.study.fsgdm import FSGDM

__all__ = ["CONTENDERS", "Contender", "Setup", "adaptive", "contenders", "missing", "momenta"]

WARMUP = 10
"""One step in so many warms up; FAM adapts from then on."""


@dataclass
class Setup:
    """What trains a model; `scheduled` is False where an optimizer brings its own schedule."""

    optimizers: list[Optimizer]
    scheduled: bool = True
    before: Callable[[int], None] = lambda step: None
    """Called with the number of each step, from 0 on, before it."""

    def schedules(self, steps: int) -> list[WarmupPlateauCosine]:
        """Warm-up from 0 over the first tenth, then a cosine to 0."""
        if not self.scheduled:
            return []
        return [WarmupPlateauCosine(o, warmup=steps // WARMUP, total=steps) for o in self.optimizers]

    def mode(self, *, training: bool) -> None:
        """Lets schedule-free optimizers put the weights in place that training or measuring asks for."""
        for optimizer in self.optimizers:
            switch = getattr(optimizer, "train" if training else "eval", None)
            if switch is not None:
                switch()


@dataclass(frozen=True)
class Contender:
    """An optimizer of the study.

    Attributes:
        name: for programs.
        title: for people.
        rate: in the middle of the rates tried.
        make: from a model, a rate and a number of steps.
        adapts: it is a FAM, and is held against controls.
    """

    name: str
    title: str
    rate: float
    make: Callable[[nn.Module, float, int], Setup]
    adapts: bool = False


def _sgd(model: nn.Module, lr: float, steps: int) -> Setup:
    del steps
    return Setup([torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)])


def _adamw(model: nn.Module, lr: float, steps: int) -> Setup:
    del steps
    return Setup([torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.0)])


def _muon(model: nn.Module, lr: float, steps: int) -> Setup:
    """Muon for hidden matrices, AdamW at a tenth of the rate for the rest: Muon of torch takes matrices alone."""
    del steps
    outer = {id(p) for m in model.modules() if isinstance(m, nn.Embedding) for p in m.parameters()}
    matrices = [p for p in model.parameters() if p.ndim == 2 and id(p) not in outer]
    taken = {id(p) for p in matrices}
    rest = [p for p in model.parameters() if id(p) not in taken]
    made: list[Optimizer] = [torch.optim.Muon(matrices, lr=lr, weight_decay=0.0)]
    if rest:
        made.append(torch.optim.AdamW(rest, lr=lr / 10, weight_decay=0.0))
    return Setup(made)


def _schedule_free(name: str, model: nn.Module, lr: float, steps: int) -> Setup:
    import schedulefree  # pyright: ignore[reportMissingTypeStubs]

    kind: Any = getattr(schedulefree, name)
    return Setup([kind(model.parameters(), lr=lr, warmup_steps=steps // WARMUP)], scheduled=False)


def _fsgdm(model: nn.Module, lr: float, steps: int) -> Setup:
    return Setup([FSGDM(model.parameters(), lr=lr, total=steps)])


def adaptive(
    kind: type[AdaptiveOptimizer],
    settings: dict[str, Any],
    model: nn.Module,
    lr: float,
    steps: int,
    *,
    alone: bool = False,
) -> Setup:
    """A FAM over the groups of `get_parameter_groups`.

    Args:
        kind: the class.
        settings: its arguments.
        model: whose parameters.
        lr: rate.
        steps: of the run.
        alone: a group for each parameter.
    """
    groups = get_parameter_groups(model, lr=lr)
    if alone:
        groups = [{**group, "params": [pair]} for group in groups for pair in group["params"]]
    build = cast("Callable[..., AdaptiveOptimizer]", kind)
    fixed = {"weight_decay": 0.0, "fam_start_step": steps // WARMUP}
    return Setup([build(cast("Any", groups), lr, **fixed, **settings)])


def _fam(name: str, title: str, **settings: Any) -> Contender:  # noqa: ANN401
    return Contender(name, title, 1.0, partial(adaptive, FAM, settings), adapts=settings["signal"] != "none")


def _fam_adamw(name: str, title: str, **settings: Any) -> Contender:  # noqa: ANN401
    return Contender(name, title, 1e-2, partial(adaptive, FAMAdamW, settings), adapts=True)


CONTENDERS: tuple[Contender, ...] = (
    Contender("sgd", "SGD, momentum 0.9", 0.1, _sgd),
    _fam("ema", "average of gradients, fixed momenta", signal="none"),
    Contender("adamw", "AdamW", 1e-2, _adamw),
    Contender("muon", "Muon, AdamW for the rest", 3e-2, _muon),
    Contender("schedule-free-sgd", "schedule-free SGD", 1.0, partial(_schedule_free, "SGDScheduleFree")),
    Contender("schedule-free-adamw", "schedule-free AdamW", 1e-2, partial(_schedule_free, "AdamWScheduleFree")),
    Contender("fsgdm", "FSGDM", 3e-2, _fsgdm),
    _fam("fam-seed-spatial", "FAM, seed's rule, spatial", rule="seed", signal="spatial"),
    _fam("fam-seed-temporal", "FAM, seed's rule, temporal", rule="seed", signal="temporal"),
    _fam("fam-spatial", "FAM, calibrated, spatial", rule="calibrated", signal="spatial"),
    _fam("fam-temporal", "FAM, calibrated, temporal", rule="calibrated", signal="temporal"),
    _fam_adamw("fam-adamw-temporal", "FAMAdamW, calibrated, temporal", rule="calibrated", signal="temporal"),
)


def missing() -> dict[str, str]:
    """Contenders that cannot run here, and what to install."""
    found: dict[str, str] = {}
    try:
        import schedulefree  # pyright: ignore[reportMissingTypeStubs, reportUnusedImport]  # noqa: F401
    except ImportError:
        names = [c.name for c in CONTENDERS if c.name.startswith("schedule-free")]
        found |= dict.fromkeys(names, "pip install schedulefree")
    if not hasattr(torch.optim, "Muon"):
        found["muon"] = "a torch with torch.optim.Muon"
    return found


def contenders() -> list[Contender]:
    """Those that can run here."""
    absent = missing()
    return [c for c in CONTENDERS if c.name not in absent]


def momenta(setup: Setup) -> dict[str, Tensor]:
    """The momenta of the last step by parameter, where there are spectra."""
    optimizer = setup.optimizers[0]
    assert isinstance(optimizer, AdaptiveOptimizer)
    return {name: alpha for name, (_, _, alpha) in optimizer.readings().items()}
