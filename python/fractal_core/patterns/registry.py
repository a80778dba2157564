"""Where names of patterns lead: built-ins and plug-ins on one road, each loaded when asked for, failing alone."""

from __future__ import annotations

import inspect
import os
from dataclasses import asdict, dataclass, field
from importlib.metadata import EntryPoint, distributions
from typing import TYPE_CHECKING, cast

from fractal_core._locks import ForkSafeLock
from fractal_core.errors import DTypeError, InvalidArgumentError, PluginError
from fractal_core.patterns.base import adapt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from fractal_core.patterns.base import PatternBase
    from fractal_core.patterns.protocol import Pattern

__all__ = ["BUILTIN", "GROUP", "PatternInfo", "PatternRegistry", "installed"]

_lock = ForkSafeLock()
"""Held while a registry changes, never while a plug-in or metadata is read."""

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
        declared: entry points of plug-ins, or a function that finds them and says what it could not read; it is
            called when a name that is no built-in is first asked for. Only metadata is read until one is asked for.
        builtin: entry points that no plug-in can shadow.
    """

    def __init__(
        self,
        declared: Iterable[EntryPoint] | Callable[[], tuple[list[EntryPoint], list[str]]],
        builtin: Iterable[EntryPoint] = BUILTIN,
    ) -> None:
        self._builtin = {ep.name: ep for ep in builtin}
        self._find = declared if callable(declared) else lambda: (list(declared), list[str]())
        self._scanned: tuple[dict[str, list[EntryPoint]], tuple[str, ...]] | None = None
        self._factories: dict[str, Callable[..., Pattern]] = {}
        self._registered: set[str] = set()

    def _scan(self) -> tuple[dict[str, list[EntryPoint]], tuple[str, ...]]:
        """Declarations by name, found on first use, and what could not be read."""
        if self._scanned is None:
            found, unreadable = self._find()
            declared = {name: [ep] for name, ep in self._builtin.items()}
            for ep in sorted(found, key=_place):
                known = declared.setdefault(ep.name, [])
                if ep not in known:
                    known.append(ep)
            with _lock:
                self._scanned = self._scanned or (declared, tuple(unreadable))
        return self._scanned

    @property
    def _declared(self) -> dict[str, list[EntryPoint]]:
        return self._scan()[0]

    def unreadable(self) -> tuple[str, ...]:
        """Distributions whose metadata could not be read, each with the reason; they may declare more patterns."""
        return self._scan()[1]

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
        self._scan()
        with _lock:
            taken = name in self.names()
            if not taken:
                self._factories[name] = factory
                self._registered.add(name)
        if taken:
            raise PluginError(f"pattern {name!r} is already registered ({self._origin(name)})")

    def create(self, name: str, /, **params: object) -> PatternBase:
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
        origin = f"pattern {name!r} ({self._origin(name)})"
        try:
            return adapt(pattern, origin=origin, name=name, params=params)
        except DTypeError:
            raise PluginError(f"{origin} made a {type(pattern).__name__} without index_set") from None

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
        if name in self._builtin or name in self._registered or name in self._declared:
            return
        unread = "".join(f"; not read: {what}" for what in self.unreadable())
        raise PluginError(f"unknown pattern {name!r}; known: {', '.join(self.names())}{unread}")

    def _origin(self, name: str) -> str:
        if name in self._registered:
            return "registered"
        return "built-in" if name in self._builtin else _distribution(self._declared[name][0])

    def _load(self, name: str) -> Callable[..., Pattern]:
        self._require(name)
        if name not in self._factories:
            ep = self._builtin.get(name) or self._declared[name][0]
            where = f"pattern {name!r} of {self._origin(name)} ({ep.value})"
            try:
                if ep.pattern.match(ep.value) is None:
                    raise ValueError(f"{ep.value!r} is no module:object")
                factory = ep.load()
            except (Exception, SystemExit) as error:
                raise PluginError(f"{where} did not load: {type(error).__name__}: {error}") from error
            if not callable(factory):
                raise PluginError(f"{where} did not load: it is a {type(factory).__name__}, not a factory of patterns")
            return self._factories.setdefault(name, cast("Callable[..., Pattern]", factory))
        return self._factories[name]


def installed() -> PatternRegistry:
    """A registry of what is installed; FRACTAL_CORE_PLUGINS=0 leaves all plug-ins out.

    Raises:
        InvalidArgumentError: FRACTAL_CORE_PLUGINS is neither 0 nor 1.
    """
    setting = os.environ.get("FRACTAL_CORE_PLUGINS", "1")
    if setting not in {"0", "1"}:
        raise InvalidArgumentError("FRACTAL_CORE_PLUGINS", repr(setting), "0 (built-ins only) or 1")
    return PatternRegistry(_discovered if setting == "1" else ())


def _discovered() -> tuple[list[EntryPoint], list[str]]:
    """Entry points of all distributions, each read alone; of two with one name the first on the path counts."""
    found: list[EntryPoint] = []
    unreadable: list[str] = []
    seen: set[str] = set()
    for dist in distributions():
        try:
            points = [ep for ep in dist.entry_points if ep.group == GROUP]
            if not points:
                continue
            name = str(dist.name)
            if name not in seen:
                found += [ep for ep in points if ep.name]
            seen.add(name)
        except Exception as error:  # anything may be wrong with somebody else's files
            where = getattr(dist, "_path", None)
            what = "a distribution" if where is None else where.name
            unreadable.append(f"{what} ({type(error).__name__}: {error})")
    return found, unreadable


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
