"""Where names of patterns lead: built-ins and plug-ins on one road, each loaded when asked for, failing alone."""

from __future__ import annotations

import inspect
import os
from dataclasses import asdict, dataclass, field
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, cast

from fractal_core.errors import DTypeError, InvalidArgumentError, PluginError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from fractal_core.patterns.protocol import Pattern

__all__ = ["BUILTIN", "GROUP", "PatternInfo", "PatternRegistry", "installed"]

GROUP = "fractal_core.patterns"
BUILTIN = tuple(
    EntryPoint(name, f"fractal_core.patterns.{name}:{name.title().replace('_', '')}", GROUP)
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
)


@dataclass(frozen=True)
class PatternInfo:
    """What is known of one name; a plug-in that does not load has an `error` and no more."""

    name: str
    origin: str
    """`built-in`, `registered`, or the distribution that declares it, with its version."""
    target: str
    """Where the factory lives, `module:object`."""
    summary: str = ""
    parameters: dict[str, object] = field(default_factory=dict[str, object])
    """Defaults by name; a parameter without one is `...`."""
    error: str | None = None
    shadowed: tuple[str, ...] = ()
    """Declarations of the same name that lost to this one."""

    def to_dict(self) -> dict[str, object]:
        """All fields, for printing."""
        return asdict(self)


class PatternRegistry:
    """Patterns by name.

    A name declared twice goes to the built-in, else to the distribution whose name sorts first, at every start the
    same; `info` lists the others. Reading names imports nothing.

    Args:
        declared: entry points of plug-ins. Only their metadata is read until one is asked for.
        builtin: entry points that no plug-in can shadow.
    """

    def __init__(self, declared: Iterable[EntryPoint], builtin: Iterable[EntryPoint] = BUILTIN) -> None:
        self._builtin = {ep.name: ep for ep in builtin}
        self._declared: dict[str, list[EntryPoint]] = {name: [ep] for name, ep in self._builtin.items()}
        for ep in sorted(declared, key=_place):
            known = self._declared.setdefault(ep.name, [])
            if ep not in known:
                known.append(ep)
        self._factories: dict[str, Callable[..., Pattern]] = {}
        self._registered: set[str] = set()

    def names(self) -> list[str]:
        """All names, sorted; nothing is imported."""
        return sorted(self._declared.keys() | self._registered)

    def register(self, name: str, factory: Callable[..., Pattern]) -> None:
        """Makes `factory(**params)` the pattern of a new name, for this process.

        Raises:
            PluginError: the name is taken.
            DTypeError: a name that is no text, or a factory that cannot be called.
        """
        if not isinstance(name, str) or not name:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise DTypeError("name", repr(name), "a text that is not empty")
        if not callable(factory):
            raise DTypeError("factory", type(factory).__name__, "a callable that makes a pattern")
        if name in self.names():
            raise PluginError(f"pattern {name!r} is already registered ({self._origin(name)})")
        self._factories[name] = factory
        self._registered.add(name)

    def create(self, name: str, /, **params: object) -> Pattern:
        """The pattern of a name.

        Raises:
            PluginError: an unknown name, or a plug-in that did not load; says which distribution failed and why.
            InvalidArgumentError: a parameter that the pattern does not have, or a value out of its range.
        """
        factory = self._load(name)
        known = _parameters(factory)
        for param, value in params.items():
            if known is not None and param not in known:
                raise InvalidArgumentError(param, repr(value), f"parameters of {name!r}: {_listed(known)}")
        missing = [] if known is None else [p for p, default in known.items() if default is ... and p not in params]
        if missing:
            raise InvalidArgumentError(missing[0], "nothing", f"a value, which pattern {name!r} needs")
        pattern = factory(**params)
        if not callable(getattr(pattern, "index_set", None)):
            raise PluginError(
                f"pattern {name!r} ({self._origin(name)}) made a {type(pattern).__name__} without index_set"
            )
        return pattern

    def info(self, name: str) -> PatternInfo:
        """What is known of a name. Imports the one plug-in asked for; its failure is reported, not raised.

        Raises:
            PluginError: an unknown name.
        """
        self._require(name)
        points = self._declared.get(name, [])
        origin, shadowed = self._origin(name), tuple(_described(ep) for ep in points[1:])
        target = points[0].value if points else ""
        try:
            factory = self._load(name)
        except PluginError as error:
            return PatternInfo(name, origin, target, error=str(error), shadowed=shadowed)
        if not target:
            target = f"{getattr(factory, '__module__', '?')}:{getattr(factory, '__qualname__', repr(factory))}"
        summary = (inspect.getdoc(factory) or "").partition("\n")[0]
        return PatternInfo(name, origin, target, summary, _parameters(factory) or {}, shadowed=shadowed)

    def _require(self, name: str) -> None:
        if name not in self._declared and name not in self._registered:
            raise PluginError(f"unknown pattern {name!r}; known: {', '.join(self.names())}")

    def _origin(self, name: str) -> str:
        if name in self._registered:
            return "registered"
        return "built-in" if name in self._builtin else _distribution(self._declared[name][0])

    def _load(self, name: str) -> Callable[..., Pattern]:
        self._require(name)
        if name not in self._factories:
            ep = self._declared[name][0]
            where = f"pattern {name!r} of {self._origin(name)} ({ep.value})"
            try:
                factory = ep.load()
            except (Exception, SystemExit) as error:
                raise PluginError(f"{where} did not load: {type(error).__name__}: {error}") from error
            if not callable(factory):
                raise PluginError(f"{where} did not load: it is a {type(factory).__name__}, not a factory of patterns")
            self._factories[name] = cast("Callable[..., Pattern]", factory)
        return self._factories[name]


def installed() -> PatternRegistry:
    """A registry of what is installed; FRACTAL_CORE_PLUGINS=0 leaves all plug-ins out.

    Raises:
        InvalidArgumentError: FRACTAL_CORE_PLUGINS is neither 0 nor 1.
    """
    setting = os.environ.get("FRACTAL_CORE_PLUGINS", "1")
    if setting not in {"0", "1"}:
        raise InvalidArgumentError("FRACTAL_CORE_PLUGINS", repr(setting), "0 (built-ins only) or 1")
    return PatternRegistry(entry_points(group=GROUP) if setting == "1" else ())


def _distribution(ep: EntryPoint) -> str:
    dist = ep.dist
    return "an unknown distribution" if dist is None else f"{dist.name} {dist.version}"


def _place(ep: EntryPoint) -> tuple[str, str]:
    return _distribution(ep), ep.value


def _described(ep: EntryPoint) -> str:
    return f"{ep.value} of {_distribution(ep)}"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"


def _parameters(factory: Callable[..., Pattern]) -> dict[str, object] | None:
    """Defaults by name, or None where any name is taken."""
    try:
        signature = inspect.signature(factory)
    except (TypeError, ValueError):
        return None
    if any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values()):
        return None
    return {p.name: ... if p.default is p.empty else p.default for p in signature.parameters.values()}
