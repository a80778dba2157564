"""Where numbers come from, as plain values that JSON can hold."""

from __future__ import annotations

from typing import Any

SCHEMA = 1
"""Version of the form of what is exported; raised when a reader would have to change."""


def version() -> str:
    """The version of this package; "unknown" where it runs from a folder."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as of

    try:
        return of("fractal-attn")
    except PackageNotFoundError:
        return "unknown"


def made_by(model: Any, transformers: str, torch: str, attention: str) -> dict[str, Any]:  # noqa: ANN401
    """The model, and the versions of what ran it."""
    config = model.config
    return {
        "source": "model",
        "model": str(getattr(config, "_name_or_path", "") or type(model).__name__),
        "architecture": type(model).__name__,
        "model_type": str(getattr(config, "model_type", "")),
        "revision": getattr(config, "_commit_hash", None),
        "dtype": str(getattr(model, "dtype", "")).removeprefix("torch."),
        "attention_implementation": attention,
        "read_with": "eager",
        "fractal_attn": version(),
        "transformers": transformers,
        "torch": torch,
    }
