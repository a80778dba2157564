"""A page in the browser for the attention of one model, or of two: `fractal-core dashboard`.

`create_app` makes a Dash application that runs without a network; it is meant for one user on their own machine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fractal_core.dashboard.app import create_app, load, serve

__all__ = ["create_app", "load", "serve"]


def __getattr__(name: str) -> Any:  # noqa: ANN401
    if name in __all__:
        from importlib import import_module

        return getattr(import_module(f"{__name__}.app"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
