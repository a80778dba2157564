"""Where names lead: built-ins and plug-ins on one road, each loaded when asked for, failing alone.

A `Registry` holds one kind of part: patterns, routers, spans, rotary modes or rules of momentum, by the group of entry
points that plug-ins declare it in.
"""

from __future__ import annotations

import inspect
import os
from dataclasses import asdict, dataclass, field
from importlib.metadata import EntryPoint, distributions
from typing import TYPE_CHECKING, Generic, TypeAlias, TypeVar, cast

from fractal_core._locks import ForkSafeLock
from fractal_core.errors import DTypeError, InvalidArgumentError, PluginError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

__all__ = ["PartInfo", "Registry", "discovered"]

Part = TypeVar("Part")
Found: TypeAlias = tuple[list[EntryPoint], list[str]]
"""Entry points of plug-ins, and what could not be read."""

_lock = ForkSafeLock()
"""Held while a registry changes, never while a plug-in or metadata is read."""


@dataclass(frozen=True)
class PartInfo:
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


class Registry(Generic[Part]):
    """Parts of one kind by name.

    A name declared twice goes to the built-in, else to the distribution whose name sorts first, at every start the
    same; `info` lists the others. Reading names imports nothing.

    Args:
        kind: what a part is called in messages, such as `pattern`.
        group: the group of entry points that plug-ins declare parts in.
        builtin: `module:object` by name; no plug-in can shadow one.
        accept: takes what a factory made and says whether it is such a part.
        must_be: in words, what `accept` asks for.
        declared: entry points of plug-ins, or a function that finds them and says what it could not read; called when
            a name that is no built-in is first asked for. By default all installed distributions are asked;
            FRACTAL_CORE_PLUGINS=0 leaves them out. Only metadata is read until a part is asked for.
    """

    def __init__(
        self,
        kind: str,
        group: str,
        builtin: Mapping[str, str],
        *,
        accept: Callable[[object], bool] = lambda made: True,
        must_be: str = "",
        declared: Iterable[EntryPoint] | Callable[[], Found] | None = None,
    ) -> None:
        self.kind, self.group = kind, group
        self._accept, self._must_be = accept, must_be
        self._builtin = {name: EntryPoint(name, target, group) for name, target in builtin.items()}
        self._find = _finder(group, declared)
        self._scanned: tuple[dict[str, list[EntryPoint]], tuple[str, ...]] | None = None
        self._factories: dict[str, Callable[..., object]] = {}
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
        """Distributions whose metadata could not be read, each with the reason; they may declare more parts."""
        return self._scan()[1]

    def names(self) -> list[str]:
        """All names, sorted; nothing is imported."""
        return sorted(self._declared.keys() | self._registered)

    def register(self, name: str, factory: Callable[..., object]) -> None:
        """Makes `factory(**params)` the part of a new name, for this process.

        Raises:
            PluginError: the name is taken.
            DTypeError: a name that is no text, or a factory that cannot be called.
        """
        if not isinstance(name, str) or not name:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise DTypeError("name", repr(name), "a text that is not empty")
        if not callable(factory):
            raise DTypeError("factory", type(factory).__name__, f"a callable that makes a {self.kind}")
        self._scan()
        with _lock:
            taken = name in self.names()
            if not taken:
                self._factories[name] = factory
                self._registered.add(name)
        if taken:
            raise PluginError(f"{self.kind} {name!r} is already registered ({self._origin(name)})")

    def create(self, name: str, /, **params: object) -> Part:
        """The part of a name, made with its parameters.

        Raises:
            PluginError: an unknown name, or a plug-in that did not load, or one that made something else than such a
                part; says which distribution failed and why.
            InvalidArgumentError: a parameter that the part does not have, or a value out of its range.
            DTypeError: a name that is no text.
        """
        if not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise DTypeError("name", type(name).__name__, f"the name of a {self.kind}")
        factory = self._load(name)
        known = _parameters(factory)
        for param, value in params.items():
            if known is not None and param not in known:
                raise InvalidArgumentError(param, repr(value), f"parameters of {name!r}: {_listed(known)}")
        missing = [] if known is None else [p for p, default in known.items() if default is ... and p not in params]
        if missing:
            raise InvalidArgumentError(missing[0], "nothing", f"a value, which {self.kind} {name!r} needs")
        return self._checked(factory(**params), name, params)

    def _checked(self, made: object, name: str, params: dict[str, object]) -> Part:
        """What a factory made, once it is known to be such a part."""
        del params
        if not self._accept(made):
            where = f"{self.kind} {name!r} ({self._origin(name)})"
            raise PluginError(f"{where} made a {type(made).__name__}, which is not {self._must_be}")
        return cast("Part", made)

    def info(self, name: str) -> PartInfo:
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
            return PartInfo(name, origin, target, error=str(error), shadowed=shadowed)
        if not target:
            target = f"{getattr(factory, '__module__', '?')}:{getattr(factory, '__qualname__', repr(factory))}"
        summary = (inspect.getdoc(factory) or "").partition("\n")[0]
        return PartInfo(name, origin, target, summary, _parameters(factory) or {}, shadowed=shadowed)

    def _require(self, name: str) -> None:
        if name in self._builtin or name in self._registered or name in self._declared:
            return
        unread = "".join(f"; not read: {what}" for what in self.unreadable())
        raise PluginError(f"unknown {self.kind} {name!r}; known: {', '.join(self.names())}{unread}")

    def _origin(self, name: str) -> str:
        if name in self._registered:
            return "registered"
        return "built-in" if name in self._builtin else _distribution(self._declared[name][0])

    def _load(self, name: str) -> Callable[..., object]:
        self._require(name)
        if name not in self._factories:
            ep = self._builtin.get(name) or self._declared[name][0]
            where = f"{self.kind} {name!r} of {self._origin(name)} ({ep.value})"
            try:
                if ep.pattern.match(ep.value) is None:
                    raise ValueError(f"{ep.value!r} is no module:object")
                factory = ep.load()
            except (Exception, SystemExit) as error:
                raise PluginError(f"{where} did not load: {type(error).__name__}: {error}") from error
            if not callable(factory):
                raise PluginError(
                    f"{where} did not load: it is a {type(factory).__name__}, not a factory of {self.kind}s"
                )
            return self._factories.setdefault(name, factory)
        return self._factories[name]


def _finder(group: str, declared: Iterable[EntryPoint] | Callable[[], Found] | None) -> Callable[[], Found]:
    if declared is None:
        return lambda: discovered(group)
    return declared if callable(declared) else lambda: (list(declared), list[str]())


def discovered(group: str) -> Found:
    """Entry points of a group in all distributions, each read alone; of two of one name the first on the path counts.

    Raises:
        InvalidArgumentError: FRACTAL_CORE_PLUGINS is neither 0 nor 1.
    """
    setting = os.environ.get("FRACTAL_CORE_PLUGINS", "1")
    if setting not in {"0", "1"}:
        raise InvalidArgumentError("FRACTAL_CORE_PLUGINS", repr(setting), "0 (built-ins only) or 1")
    found: list[EntryPoint] = []
    unreadable: list[str] = []
    seen: set[str] = set()
    for dist in distributions() if setting == "1" else ():
        try:
            points = [ep for ep in dist.entry_points if ep.group == group]
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


def _parameters(factory: Callable[..., object]) -> dict[str, object] | None:
    """Defaults by name, or None where any name is taken."""
    try:
        signature = inspect.signature(factory)
    except (TypeError, ValueError):
        return None
    if any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values()):
        return None
    return {p.name: ... if p.default is p.empty else p.default for p in signature.parameters.values()}
