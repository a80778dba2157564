"""A model made to give its attention weights for a while, and put back as it was."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from fractal_core.errors import DTypeError, ModelError

if TYPE_CHECKING:
    from collections.abc import Generator

EAGER = "eager"


def implementation(model: Any) -> str:  # noqa: ANN401  # any model of transformers
    """What the model computes attention with, such as "sdpa"."""
    return str(getattr(model.config, "_attn_implementation", None) or EAGER)


@contextmanager
def weights_given(model: Any, *, switch: bool = True) -> Generator[str]:  # noqa: ANN401
    """The model in evaluation mode with attention that gives its weights; yields what it had before.

    Whatever happens inside, each module's mode and each configuration's implementation are put back.

    Raises:
        DTypeError: This is no model of transformers.
        ModelError: Its attention gives no weights, and cannot be switched or may not be.
    """
    if not callable(getattr(model, "modules", None)) or not hasattr(model, "config"):
        raise DTypeError("model", type(model).__name__, "a model of transformers")
    before = implementation(model)
    configs = _configs(model)
    kept = [(config, config._attn_implementation) for config in configs]
    modes = [(module, module.training) for module in model.modules()]
    fused = sorted({str(was) for _, was in kept if was not in {EAGER, None}})
    if fused and not switch:
        raise ModelError(
            f"{type(model).__name__} computes attention with {', '.join(fused)}, which gives no weights; allowed: "
            'attn_implementation="eager", or switching for the pass (force_eager_attention=True)'
        )
    try:
        if fused:
            _switch(model, fused)
        for module, _ in modes:
            module.training = False
        yield before
    finally:
        for module, mode in modes:
            module.training = mode
        for config, was in kept:
            _put(config, was)


def _configs(model: Any) -> list[Any]:  # noqa: ANN401
    """Every configuration in the model that names an implementation, the outermost first."""
    found: dict[int, Any] = {}

    def add(config: Any) -> None:  # noqa: ANN401
        if config is None or id(config) in found or not hasattr(config, "_attn_implementation"):
            return
        found[id(config)] = config
        for name in cast("dict[str, Any]", getattr(config, "sub_configs", None) or {}):
            add(getattr(config, name, None))

    for module in model.modules():
        add(getattr(module, "config", None))
    return list(found.values())


def _switch(model: Any, fused: list[str]) -> None:  # noqa: ANN401
    change = getattr(model, "set_attn_implementation", None)
    allowed = getattr(model, "_can_set_attn_implementation", lambda: True)
    if change is None or not allowed():
        raise ModelError(
            f"{type(model).__name__} computes attention with {', '.join(fused)}, which gives no weights, and cannot be "
            'switched; load it with attn_implementation="eager"'
        )
    try:
        change(EAGER)
    except (ValueError, ImportError, NotImplementedError) as error:
        raise ModelError(f"{type(model).__name__} refuses eager attention, which gives weights: {error}") from error
    left = sorted({str(config._attn_implementation) for config in _configs(model)} - {EAGER, "None"})
    if left:
        raise ModelError(f"a part of {type(model).__name__} stays with {', '.join(left)}, which gives no weights")


def _put(config: Any, value: str | None) -> None:  # noqa: ANN401
    # The public setter would write to every part below, too; each part has an entry of its own.
    if hasattr(config, "_attn_implementation_internal"):
        config._attn_implementation_internal = value
    else:
        config._attn_implementation = value
