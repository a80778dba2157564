"""Rules of scaling by the entries of a Hugging Face config."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

from fractal_core.errors import DTypeError, InvalidArgumentError
from fractal_core.nn.rotary.scaling import LinearScaling, Llama3Scaling, RotaryScaling, YaRNScaling

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["scaling_of"]

_KINDS: dict[str, tuple[Callable[..., RotaryScaling], dict[str, str]]] = {
    "linear": (LinearScaling, {"factor": "factor"}),
    "yarn": (
        YaRNScaling,
        {
            "factor": "factor",
            "original_max_position_embeddings": "original_length",
            "beta_fast": "beta_fast",
            "beta_slow": "beta_slow",
            "attention_factor": "attention",
            "truncate": "truncate",
        },
    ),
    "llama3": (
        Llama3Scaling,
        {
            "factor": "factor",
            "original_max_position_embeddings": "original_length",
            "low_freq_factor": "low_freq_factor",
            "high_freq_factor": "high_freq_factor",
        },
    ),
}
"""Hugging Face's names of rules and of their numbers."""


def scaling_of(given: object) -> RotaryScaling | None:
    """A rule, None, or the rule that a `rope_parameters` (or `rope_scaling`) dict of a Hugging Face config names.

    Of a dict, `rope_theta` is not read: it is `base`.

    Raises:
        InvalidArgumentError: a dict with another `rope_type` than default, linear, yarn and llama3, or with entries
            that the rule does not have. "dynamic" is `NTKScaling.dynamic`, whose length the caller names.
        DTypeError: neither a rule nor a dict.
    """
    if given is None:
        return None
    if not isinstance(given, Mapping):
        if not isinstance(given, RotaryScaling):
            raise DTypeError("scaling", type(given).__name__, "None, a rule such as YaRNScaling, or a dict")
        return given
    entries = dict(cast("Mapping[str, object]", given))
    kind = entries.pop("rope_type", entries.pop("type", None))
    entries.pop("type", None)
    entries.pop("rope_theta", None)
    if kind == "default":
        return None
    if not isinstance(kind, str) or kind not in _KINDS:
        allowed = f"default, {', '.join(_KINDS)}; for dynamic NTK, NTKScaling.dynamic(factor, length, original_length)"
        raise InvalidArgumentError("scaling", f"rope_type = {kind!r}", allowed)
    rule, names = _KINDS[kind]
    unknown = [name for name in entries if name not in names]
    if unknown:
        raise InvalidArgumentError("scaling", f"{unknown[0]!r}", f"entries of {kind!r}: {', '.join(names)}")
    wanted = {names[name]: value for name, value in entries.items() if value is not None}
    missing = [name for name in list(names)[: 1 if kind == "linear" else 2] if names[name] not in wanted]
    if missing:
        raise InvalidArgumentError("scaling", f"no {missing[0]!r}", f"a number, which {kind!r} needs")
    return rule(**wanted)
