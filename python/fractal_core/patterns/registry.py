"""The registry of patterns: what a plug-in makes is wrapped in an adapter, which checks its calls."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fractal_core._registry import PartInfo, Registry
from fractal_core.errors import DTypeError, PluginError
from fractal_core.patterns.base import PatternBase, adapt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from importlib.metadata import EntryPoint

    from fractal_core._registry import Found

__all__ = ["BUILTIN", "GROUP", "PatternInfo", "PatternRegistry"]

GROUP = "fractal_core.patterns"
PatternInfo = PartInfo

BUILTIN = {
    name: f"fractal_core.patterns.{name}:{name.title().replace('_', '')}"
    for name in (
        "cantor",
        "cantor_samples",
        "dragon",
        "hilbert",
        "julia",
        "neighborhood",
        "random",
        "sierpinski",
        "window",
    )
}


class PatternRegistry(Registry[PatternBase]):
    """Patterns by name: built-ins and what plug-ins declare.

    Args:
        declared: entry points of plug-ins, or a function that finds them and says what it could not read; by default
            all installed distributions are asked (FRACTAL_CORE_PLUGINS=0 leaves them out).
    """

    def __init__(self, declared: Iterable[EntryPoint] | Callable[[], Found] | None = None) -> None:
        super().__init__("pattern", GROUP, BUILTIN, declared=declared)

    def _checked(self, made: object, name: str, params: dict[str, object]) -> PatternBase:
        origin = f"pattern {name!r} ({self._origin(name)})"
        try:
            return adapt(made, origin=origin, name=name, params=params)
        except DTypeError:
            raise PluginError(f"{origin} made a {type(made).__name__} without index_set") from None
