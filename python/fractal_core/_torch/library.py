"""Ops of the namespace `torch.ops.fractal_core`, by torch's plain registration.

`torch.library.custom_op` would say the same in fewer words, but an op made by it imports torch's compiler at its first
call, which takes seconds; these do not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import torch

__all__ = ["define", "refuse_autograd", "register_autograd"]

R = TypeVar("R")

_LIBRARY = torch.library.Library("fractal_core", "FRAGMENT")


def define(
    name: str, function: Callable[..., R], fake: Callable[..., R], schema: str | None = None
) -> Callable[..., R]:
    """An op for CPU tensors that changes none of its arguments.

    Args:
        name: In the namespace.
        function: The kernel.
        fake: Gives fresh tensors of the results' shapes, dtypes and strides, from tensors without data.
        schema: Arguments and results in torch's words; None reads them from the annotations of `function`.

    Returns:
        The op, an `OpOverload`.
    """
    schema = torch.library.infer_schema(function, mutates_args=()) if schema is None else schema
    _LIBRARY.define(name + schema, tags=(torch.Tag.pt2_compliant_tag,))
    _LIBRARY.impl(name, function, "CPU")
    torch.library.register_fake(f"fractal_core::{name}", fake, lib=_LIBRARY)
    return cast("Callable[..., R]", getattr(torch.ops.fractal_core, name).default)


def register_autograd(name: str, backward: Callable[..., Any], setup_context: Callable[..., None]) -> None:
    """Lets an op have gradients, as `torch.library.register_autograd` does."""
    torch.library.register_autograd(f"fractal_core::{name}", backward, setup_context=setup_context, lib=_LIBRARY)


def refuse_autograd(name: str) -> None:
    """Lets a gradient of an op be an error that names it, as that of an op made by `custom_op` is."""

    def backward(*_: object) -> None:
        raise RuntimeError(f"fractal_core::{name} has no gradient of its own; second derivatives are not available")

    def setup_context(*_: object, **__: object) -> None:
        pass

    register_autograd(name, backward, setup_context)
