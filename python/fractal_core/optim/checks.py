"""What a parameter group may hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from fractal_core._arguments import INT32_MAX, flag, integer
from fractal_core._torch import checks
from fractal_core.errors import DTypeError, InvalidArgumentError
from fractal_core.optim.bands import LAYOUTS
from fractal_core.optim.rules import HANDLERS, rule_of

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["SIGNALS", "check_group", "learning_rate", "named"]

SIGNALS = ("spatial", "temporal", "none")
_FLAGS = ("decoupled", "bias_correction", "maximize", "capturable", "differentiable")
_COUNTS = {"n_bands": 1, "fam_start_step": 0, "min_size": 0, "update_every": 1}


def check_group(group: dict[str, Any]) -> None:
    """Refuses what a group may not hold, and gives numbers their plain form.

    Raises:
        InvalidArgumentError: a value out of its range, or an unknown name.
        DTypeError: a value of a wrong type, or parameters that are complex or no floats.
        PluginError: an unknown rule.
    """
    learning_rate("lr", group["lr"])
    for name in ("alpha", "beta", "beta2"):
        if name in group:
            group[name] = checks.fraction(name, group[name])
    for name in ("eps", "weight_decay", "delta"):
        group[name] = checks.nonnegative(name, group[name])
    low, high = (checks.fraction(name, group[name]) for name in ("alpha_min", "alpha_max"))
    if low > high:
        raise InvalidArgumentError("alpha_min", low, f"at most alpha_max = {high}")
    group["alpha_min"], group["alpha_max"] = low, high
    for name, least in _COUNTS.items():
        group[name] = integer(name, group[name], least, INT32_MAX)
    for name in _FLAGS:
        if name in group:
            group[name] = flag(name, group[name])
    if group["foreach"] is not None:
        group["foreach"] = flag("foreach", group["foreach"])
    if group["foreach"] and group.get("differentiable"):
        raise InvalidArgumentError("foreach", True, "None or False with differentiable=True")
    _one_of("signal", group["signal"], SIGNALS)
    _one_of("handler", group["handler"], HANDLERS)
    if group["band_layout"] is not None:
        _one_of("band_layout", group["band_layout"], LAYOUTS)
    _state_dtype(group["state_dtype"])
    if not isinstance(group["rule"], str):
        raise DTypeError("rule", type(group["rule"]).__name__, "the name of a momentum rule")
    rule_of(group["rule"])
    for name, parameter in named(group):
        if parameter.is_complex():
            raise DTypeError("params", f"{name}: {parameter.dtype}", "real parameters; take torch.view_as_real of it")
        if not parameter.is_floating_point():
            raise DTypeError("params", f"{name}: {parameter.dtype}", "parameters of a float dtype")


def named(group: dict[str, Any]) -> list[tuple[str, Tensor]]:
    """The parameters of a group with their names, or their places where they have none."""
    names = group.get("param_names") or [f"parameter {i}" for i in range(len(group["params"]))]
    return list(zip(names, group["params"], strict=True))


def learning_rate(name: str, value: object) -> None:
    """Refuses a rate below 0; the value of a tensor is not read.

    Raises:
        InvalidArgumentError: below 0 or not finite, or a tensor of several values.
        DTypeError: neither a number nor a float tensor.
    """
    if isinstance(value, Tensor):
        if value.numel() != 1:
            raise InvalidArgumentError(name, f"a tensor of shape {tuple(value.shape)}", "one value")
        if not value.is_floating_point():
            raise DTypeError(name, value.dtype, "a float dtype")
        return
    checks.nonnegative(name, value)


def _one_of(name: str, value: object, allowed: Collection[str]) -> None:
    if not isinstance(value, str):
        raise DTypeError(name, repr(value), "a text")
    if value not in allowed:
        raise InvalidArgumentError(name, repr(value), " or ".join(allowed))


def _state_dtype(value: object) -> None:
    if value is not None and not (isinstance(value, torch.dtype) and value.is_floating_point):
        raise DTypeError("state_dtype", repr(value), "None or a float dtype of torch")
