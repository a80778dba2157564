"""What FAM and FAMAdamW share: state, spectra and the momentum of each parameter in a step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeAlias, overload

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.optimizer import ParamsT

from fractal_core._torch.dtypes import accumulation_dtype
from fractal_core.errors import InvalidArgumentError
from fractal_core.optim import spectrum
from fractal_core.optim.checks import check_group, named
from fractal_core.optim.momenta import (
    Members,
    batches,
    momentum_of,
    overwrite,
    remember,
    sample_length,
    smoothed,
)

__all__ = ["AdaptiveOptimizer", "Rate", "Signal"]

Rate: TypeAlias = "float | Tensor"
Signal = Literal["spatial", "temporal", "none"]

_NO_SETTINGS = ("self", "params", "__class__")
_ANALYSIS = ("bands", "ring", "alpha_prod")
"""State that keeps a dtype of its own, whatever the parameter's."""


class AdaptiveOptimizer(Optimizer):
    """Momentum by the spectrum of the gradient; what is done with it is a subclass's `_update`.

    All settings are plain values in `param_groups`, and state is tensors only, so that copies, pickles, `state_dict`
    and distributed checkpoints are whole.
    """

    _second_moment = False

    def __init__(self, params: ParamsT, given: dict[str, Any]) -> None:
        """Take the arguments of a subclass's constructor, `locals()`, as the settings."""
        super().__init__(params, {name: value for name, value in given.items() if name not in _NO_SETTINGS})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Adds a group; what it does not say is as the optimizer was made.

        Raises:
            InvalidArgumentError: a value out of its range.
            DTypeError: a value of a wrong type, or parameters that are complex or no floats.
        """
        super().add_param_group(param_group)
        try:
            check_group(self.param_groups[-1])
        except Exception:
            self.param_groups.pop()
            raise

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            for name, value in self.defaults.items():
                group.setdefault(name, value)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Loads what `state_dict` gave, bit for bit: torch alone would cast bands to the dtype of the parameters."""
        given: dict[str, Any] = {}
        before = self.register_load_state_dict_pre_hook(lambda _, found: given.update(found))
        after = self.register_load_state_dict_post_hook(lambda _: self._restore_all(given), prepend=True)
        try:
            super().load_state_dict(state_dict)
        finally:
            before.remove()
            after.remove()

    def _restore_all(self, given: dict[str, Any]) -> None:
        kept: dict[Any, dict[str, Any]] = given["state"]
        for saved, group in zip(given["param_groups"], self.param_groups, strict=True):
            for key, parameter in zip(saved["params"], group["params"], strict=True):
                for name, value in kept.get(key, {}).items():
                    self._restore(group, parameter, name, value)

    def _restore(self, group: dict[str, Any], parameter: Tensor, name: str, value: object) -> None:
        if not isinstance(value, Tensor):
            return
        device, dtype = parameter.device, group["state_dtype"] or parameter.dtype
        if name in _ANALYSIS:
            dtype = accumulation_dtype(parameter.dtype)
        elif name == "step":
            device, dtype = _step_device(group, parameter), torch.float32
        self.state[parameter][name] = value.detach().to(device=device, dtype=dtype, copy=True)

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """One step.

        Args:
            closure: computes the loss and its gradients again.

        Returns:
            What the closure gave.

        Raises:
            InvalidArgumentError: a gradient is sparse; nothing was changed.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        with torch.set_grad_enabled(self.defaults["differentiable"]):
            found: list[tuple[dict[str, Any], Members]] = []
            for group in self.param_groups:
                members = Members([], [], [], [], [], [], [], [], [])
                self._init_group(group, *members)
                found.append((group, members))
            for group, members in found:
                if members.params:
                    self._step_group(group, members)
        return loss

    def _init_group(  # noqa: PLR0917
        self,
        group: dict[str, Any],
        params: list[Tensor],
        grads: list[Tensor],
        steps: list[Tensor],
        exp_avgs: list[Tensor],
        exp_avg_sqs: list[Tensor],
        prods: list[Tensor],
        adaptive: list[int],
        bands: list[Tensor],
        rings: list[Tensor],
    ) -> None:
        """Fills the lists of `Members`. torch's compiler knows a method of this name, and runs it, not tracing it."""
        for name, parameter in named(group):
            gradient = parameter.grad
            if gradient is None:
                continue
            if gradient.layout is not torch.strided:
                raise InvalidArgumentError(f"gradient of {name}", f"layout {gradient.layout}", "a dense gradient")
            state = self.state[parameter]
            if not state:
                self._init_state(group, parameter, state)
            if "bands" in state:
                adaptive.append(len(params))
                bands.append(state["bands"])
                if "ring" in state:
                    rings.append(state["ring"])
            if "alpha_prod" in state:
                prods.append(state["alpha_prod"])
            if "exp_avg_sq" in state:
                exp_avg_sqs.append(state["exp_avg_sq"])
            params.append(parameter)
            grads.append(gradient)
            steps.append(state["step"])
            exp_avgs.append(state["exp_avg"])

    def _init_state(self, group: dict[str, Any], parameter: Tensor, state: dict[str, Tensor]) -> None:
        dtype, device = accumulation_dtype(parameter.dtype), parameter.device
        state["step"] = torch.zeros((), dtype=torch.float32, device=_step_device(group, parameter))
        state["exp_avg"] = torch.zeros_like(
            parameter, dtype=group["state_dtype"] or parameter.dtype, memory_format=torch.preserve_format
        )
        if self._second_moment:
            state["exp_avg_sq"] = torch.zeros_like(state["exp_avg"])
        if group["bias_correction"]:
            state["alpha_prod"] = torch.ones((), dtype=dtype, device=device)
        samples = sample_length(group, parameter)
        if samples >= 2:
            count = min(group["n_bands"], samples // 2)
            state["bands"] = torch.zeros(count, dtype=dtype, device=device)
            if group["signal"] == "temporal":
                width = min(spectrum.PROBE, parameter.numel())
                state["ring"] = torch.zeros(spectrum.WINDOW, width, dtype=dtype, device=device)

    def _step_group(self, group: dict[str, Any], found: Members) -> None:
        torch._foreach_add_(found.steps, 1)  # pyright: ignore[reportPrivateUsage, reportPrivateImportUsage]
        grads = found.grads
        if group["maximize"]:
            grads = [-g for g in grads]
        if group["weight_decay"] != 0 and not group["decoupled"]:
            grads = [g.add(p, alpha=group["weight_decay"]) for g, p in zip(grads, found.params, strict=True)]
        with torch.no_grad():
            momenta = self._momenta(group, found._replace(grads=grads))
        dtyped = [g.to(m.dtype) for g, m in zip(grads, found.exp_avgs, strict=True)]
        self._update(group, found._replace(grads=dtyped), momenta)

    def _update(self, group: dict[str, Any], found: Members, momenta: dict[int, Tensor]) -> None:
        """Changes parameters and state.

        Args:
            group: the settings.
            found: parameters and state; gradients have the dtype of `exp_avgs`.
            momenta: the momentum of those that have one of their own; `alpha` is that of the others.
        """
        raise NotImplementedError

    def _momenta(self, group: dict[str, Any], found: Members) -> dict[int, Tensor]:
        """Takes in the spectra and gives momenta, no axes, by place in the lists."""
        momenta: dict[int, Tensor] = {}
        read = False if torch.compiler.is_compiling() else not group["capturable"]
        for places in batches(group, found).values():
            members = [found.adaptive[i] for i in places]
            gradients = [found.grads[m] for m in members]
            past = remember([found.rings[i] for i in places], gradients) if found.rings else None
            steps = torch.stack([found.steps[m] for m in members])
            since = steps - (group["fam_start_step"] + 1)
            started, due = since >= 0, (since >= 0) & (since % group["update_every"] == 0)
            if read:
                # Counts lie in the memory of the host: what is not due is left out there.
                begun, now = started.tolist(), due.tolist()
                if not any(begun):
                    continue
            else:
                begun = now = [True] * len(members)
            device = gradients[0].device
            bands = torch.stack([found.bands[i] for i in places])
            if any(now):
                bands = smoothed(group, gradients, past, bands, None if read and all(now) else due.to(device))
                overwrite([found.bands[i] for i in places], bands)
            momentum = momentum_of(group, bands, sample_length(group, gradients[0]))
            if not read:
                momentum = torch.where(started.to(device), momentum, group["alpha"])
            momenta |= {m: a for m, a, on in zip(members, momentum.unbind(), begun, strict=True) if on}
        return momenta

    def parameter_names(self) -> list[str]:
        """Names of all parameters, `group.place` for those that have none."""
        return [name for name, _, _ in self._everyone()]

    @torch.no_grad()
    def readings(self) -> dict[str, tuple[Tensor, Tensor, Tensor]]:
        """Step, bands (n,) and momentum of the last step, of each parameter that has a spectrum, by name.

        Copies, on the devices where they lie; nothing is read.
        """
        found: dict[str, tuple[Tensor, Tensor, Tensor]] = {}
        for name, group, parameter in self._everyone():
            state = self.state.get(parameter, {})
            if "bands" in state:
                momentum = momentum_of(group, state["bands"][None], sample_length(group, parameter))[0]
                started = state["step"].to(parameter.device) > group["fam_start_step"]
                found[name] = (
                    state["step"].clone(),
                    state["bands"].clone(),
                    torch.where(started, momentum, group["alpha"]),
                )
        return found

    def _everyone(self) -> list[tuple[str, dict[str, Any], Tensor]]:
        found: list[tuple[str, dict[str, Any], Tensor]] = []
        for number, group in enumerate(self.param_groups):
            names = group.get("param_names") or [f"{number}.{i}" for i in range(len(group["params"]))]
            found += [(name, group, p) for name, p in zip(names, group["params"], strict=True)]
        return found


def _step_device(group: dict[str, Any], parameter: Tensor) -> torch.device:
    """Counts of steps lie with the host, as torch's do, unless a captured graph has to change them."""
    return parameter.device if group["capturable"] or parameter.is_meta else torch.device("cpu")
