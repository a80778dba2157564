"""Patterns as the package uses them: a base class, an adapter for other objects, unions and intersections.

They are one file since they depend on each other: `|` on any pattern makes a union, and a union adapts its parts.
"""
# pyright: reportIncompatibleVariableOverride=false, reportIncompatibleMethodOverride=false

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from fractal_core._arguments import INT32_MAX, flag, integer
from fractal_core.errors import DTypeError, FractalError, InvalidArgumentError, PluginError
from fractal_core.index_sets import IndexSet
from fractal_core.patterns.protocol import check_span

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    import numpy.typing as npt

    from fractal_core.index_sets import Report
    from fractal_core.patterns.protocol import Pattern

__all__ = ["Intersection", "PatternBase", "Union", "adapt", "spec_of"]


def spec_of(name: str, params: Mapping[str, object]) -> str:
    """A name and its parameters as `fractal_core.patterns.parse` reads them."""
    listed = ",".join(f"{key}={value!r}".replace(" ", "") for key, value in params.items())
    return f"{name}:{listed}" if listed else name


class PatternBase:
    """Base of the built-in patterns and a convenience for others: write `index_set`, override what differs.

    A frozen dataclass that derives from it takes its `params` from its fields. `|` and `&` make unions and
    intersections.
    """

    name: str = ""
    length_dependent: bool = False
    symmetric: bool = True
    includes_self: bool = True
    length: int | None = None

    @property
    def params(self) -> Mapping[str, object]:
        """The parameters it was made with, by name."""
        return {f.name: getattr(self, f.name) for f in fields(self)} if is_dataclass(self) else {}

    @property
    def spec(self) -> str:
        """The text that `fractal_core.patterns.parse` makes this pattern from."""
        return spec_of(self.name, self.params)

    def index_set(self, n_queries: int, n_keys: int | None = None, *, causal: bool = False) -> IndexSet:
        """The keys of the last `n_queries` of `n_keys` positions; see `Pattern.index_set`."""
        raise NotImplementedError

    def report(
        self, n_queries: int, n_keys: int | None = None, *, causal: bool = False, predict: bool = False
    ) -> Report:
        """Cost and reach of `index_set` with the same arguments; see `IndexSet.report`."""
        report = adapt(self).index_set(n_queries, n_keys, causal=causal).report(predict=predict)
        return replace(report, prefix_stable=not self.length_dependent)

    def bias(self, n_keys: int) -> npt.NDArray[np.floating] | None:
        """No bias."""
        return None

    def __or__(self, other: Pattern) -> PatternBase:
        """Keys of either pattern."""
        return Union(self, adapt(other, argument="other"))

    def __and__(self, other: Pattern) -> PatternBase:
        """Keys of both patterns."""
        return Intersection(self, adapt(other, argument="other"))


# --- other objects ---------------------------------------------------------------------------------------------------


def adapt(
    pattern: object,
    *,
    argument: str = "pattern",
    origin: str = "",
    name: str = "",
    params: Mapping[str, object] | None = None,
) -> PatternBase:
    """A checked pattern: our own as it is, any other object in an adapter, made once.

    Args:
        pattern: what has an `index_set`.
        argument: name of the argument that it was given as.
        origin: what errors call it; its type by default.
        name: the name it was asked for by, where it has none of its own.
        params: the parameters it was made with, where it has no `params`.

    Raises:
        DTypeError: an object without `index_set`.
        PluginError: a flag of the wrong kind; names the pattern.
    """
    made_by = type(pattern)
    if issubclass(made_by, PatternBase) and made_by.__module__.startswith("fractal_core."):
        return cast("PatternBase", pattern)
    if not callable(getattr(pattern, "index_set", None)):
        raise DTypeError(argument, made_by.__name__, "a pattern (with `index_set`) or the name of one")
    origin = origin or f"pattern of type {made_by.__module__}.{made_by.__qualname__}"
    adapter = _AdaptedDataclass if is_dataclass(pattern) else _Adapted
    adapted = adapter(_Original(pattern, origin, name, dict(params or {})))
    for member in ("name", "params", "length_dependent", "symmetric", "includes_self", "length", "bias"):
        getattr(adapted, member)
    return adapted


class _Original(NamedTuple):
    """An object from elsewhere, with what it need not know itself."""

    pattern: Any
    origin: str
    """What errors call it."""
    name: str
    """The name it was asked for by."""
    params: Mapping[str, object]
    """The parameters it was made with."""

    def member(self, name: str, default: object, check: Callable[[str, Any], object]) -> Any:  # noqa: ANN401
        """The object's own member, checked, or the default where it has none."""
        try:
            value = getattr(self.pattern, name)
        except AttributeError:
            if inspect.getattr_static(self.pattern, name, None) is not None:  # a property that failed
                raise
            return default
        try:
            return check(name, value)
        except FractalError as error:
            raise PluginError(f"{self.origin}: {error}") from error

    def overrides(self, name: str) -> bool:
        """Whether it has a member of this name that is not the base's."""
        found = inspect.getattr_static(self.pattern, name, None)
        return found is not None and found is not vars(PatternBase)[name]


class _Adapted(PatternBase):
    """An object from elsewhere as a pattern: calls checked before and after, missing members at their safe value.

    Everything else is the object's own: attributes, `repr`, equality, hash, copies, pickles, and `isinstance`.
    """

    def __init__(self, original: _Original) -> None:
        object.__setattr__(self, "_adapted", original)

    if TYPE_CHECKING:

        @property
        def _adapted(self) -> _Original: ...

    # --- what a pattern is ---------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """Its own, else the name it was asked for by, else that of its type."""
        own = self._adapted
        return own.member("name", "", _text) or own.name or type(own.pattern).__name__

    @property
    def params(self) -> Mapping[str, object]:
        """Its own, else those it was made with."""
        return self._adapted.member("params", self._adapted.params, _mapping)

    @property
    def length_dependent(self) -> bool:
        """Its own; True by default."""
        return self._adapted.member("length_dependent", True, flag)

    @property
    def symmetric(self) -> bool:
        """Its own; False by default."""
        return self._adapted.member("symmetric", False, flag)

    @property
    def includes_self(self) -> bool:
        """Its own; False by default."""
        return self._adapted.member("includes_self", False, flag)

    @property
    def length(self) -> int | None:
        """Its own; by default None, any number of keys."""
        return self._adapted.member("length", None, _length)

    @property
    def spec(self) -> str:
        """Its own, else its name and parameters."""
        return str(self._adapted.pattern.spec) if self._adapted.overrides("spec") else spec_of(self.name, self.params)

    @property
    def bias(self) -> Callable[[int], npt.NDArray[np.floating] | None]:
        """Its own; no bias by default."""
        return self._adapted.member("bias", _no_bias, _function)

    def index_set(self, n_queries: int, n_keys: int | None = None, *, causal: bool = False) -> IndexSet:
        """The keys of the last `n_queries` of `n_keys` positions, both checked, and so is what comes back.

        Raises:
            InvalidArgumentError, DTypeError: sizes that no pattern takes, or not this one; its own method is not
            called.
            PluginError: it did not return an index set of these sizes.
        """
        n_queries, n_keys = check_span(n_queries, n_keys)
        causal, length, own = flag("causal", causal), self.length, self._adapted
        if length is not None and n_keys != length:
            raise InvalidArgumentError("n_keys", n_keys, f"{length}, the one length of {own.origin}")
        made: object = own.pattern.index_set(n_queries, n_keys, causal=causal)
        call = f"{own.origin}: index_set({n_queries}, {n_keys}, causal={causal})"
        if not isinstance(made, IndexSet):
            raise PluginError(f"{call} gave a {type(made).__name__}, not an IndexSet")
        if made.shape != (n_queries, n_keys):
            raise PluginError(f"{call} gave an IndexSet of shape {made.shape}, not {(n_queries, n_keys)}")
        return made

    def report(
        self, n_queries: int, n_keys: int | None = None, *, causal: bool = False, predict: bool = False
    ) -> Report:
        """Its own, else cost and reach of `index_set`."""
        if not self._adapted.overrides("report"):
            return PatternBase.report(self, n_queries, n_keys, causal=causal, predict=predict)
        more = {"predict": True} if predict else {}
        return self._adapted.pattern.report(n_queries, n_keys, causal=causal, **more)

    # --- what is the object's own --------------------------------------------------------------------------------

    @property
    def __class__(self) -> type:  # pyright: ignore[reportIncompatibleMethodOverride]
        return type(cast("object", self._adapted.pattern))

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        if name == "_adapted":
            raise AttributeError(name)
        return getattr(self._adapted.pattern, name)

    def __setattr__(self, name: str, value: object) -> None:
        setattr(self._adapted.pattern, name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self._adapted.pattern, name)

    def __dir__(self) -> list[str]:
        return sorted({*dir(self._adapted.pattern), *dir(PatternBase)})

    def __repr__(self) -> str:
        return repr(self._adapted.pattern)

    def __eq__(self, other: object) -> bool:
        return self._adapted.pattern == (other._adapted.pattern if isinstance(other, _Adapted) else other)

    def __hash__(self) -> int:
        return hash(self._adapted.pattern)

    def __copy__(self) -> PatternBase:
        return type(self)(self._adapted._replace(pattern=copy.copy(self._adapted.pattern)))

    def __reduce_ex__(self, protocol: object) -> tuple[type[_Adapted], tuple[_Original]]:
        return type(self), (self._adapted,)


class _AdaptedDataclass(_Adapted):
    """The same for a dataclass, since `dataclasses.replace` and `fields` look at the type."""

    @property
    def __dataclass_fields__(self) -> dict[str, Any]:
        return self._adapted.pattern.__dataclass_fields__


def _no_bias(n_keys: int) -> None:
    """The bias of a pattern that has none."""


def _function(name: str, value: object) -> object:
    if not callable(value):
        raise DTypeError(name, repr(value), "a method")
    return value


def _length(name: str, value: Any) -> int | None:  # noqa: ANN401
    return None if value is None else integer(name, value, 1, INT32_MAX)


def _mapping(name: str, value: object) -> object:
    if not isinstance(value, Mapping):
        raise DTypeError(name, repr(value), "a mapping")
    return cast("object", value)


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise DTypeError(name, repr(value), "text")
    return value


# --- joins -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, repr=False)
class _Join(PatternBase):
    one: PatternBase
    other: PatternBase

    sign = ""

    def __post_init__(self) -> None:
        both = adapt(self.one, argument="one"), adapt(self.other, argument="other")
        lengths = {p.length for p in both} - {None}
        if len(lengths) > 1:
            first, second = (p.length for p in both)
            raise InvalidArgumentError("other", f"a pattern for {second} keys", f"one for {first}, as here")
        members = {
            "one": both[0],
            "other": both[1],
            "name": self.sign.join(p.name for p in both),
            "length": next(iter(lengths), None),
            "length_dependent": any(p.length_dependent for p in both),
            "symmetric": all(p.symmetric for p in both),
            "includes_self": (any if self.sign == "|" else all)(p.includes_self for p in both),
        }
        for name, value in members.items():
            object.__setattr__(self, name, value)

    @property
    def params(self) -> Mapping[str, object]:
        """None of its own; the two patterns keep theirs."""
        return {}

    @property
    def spec(self) -> str:
        """The text that `fractal_core.patterns.parse` makes this pattern from."""
        grouped = (f"({p.spec})" if self.sign == "&" and isinstance(p, Union) else p.spec for p in self._both)
        return self.sign.join(grouped)

    @property
    def _both(self) -> tuple[PatternBase, PatternBase]:
        return self.one, self.other

    def bias(self, n_keys: int) -> npt.NDArray[np.floating] | None:
        """The sum of the biases of both, or None where neither has one."""
        biases = [bias for bias in (p.bias(n_keys) for p in self._both) if bias is not None]
        return sum(biases[1:], biases[0]) if biases else None

    def __repr__(self) -> str:
        return f"({self.one!r} {self.sign} {self.other!r})"


class Union(_Join):
    """Keys of either pattern."""

    sign = "|"

    def index_set(self, n_queries: int, n_keys: int | None = None, *, causal: bool = False) -> IndexSet:
        """The keys of either pattern for the last `n_queries` of `n_keys` positions."""
        one = self.one.index_set(n_queries, n_keys, causal=causal)
        return one | self.other.index_set(n_queries, n_keys, causal=causal)


class Intersection(_Join):
    """Keys of both patterns."""

    sign = "&"

    def index_set(self, n_queries: int, n_keys: int | None = None, *, causal: bool = False) -> IndexSet:
        """The keys of both patterns for the last `n_queries` of `n_keys` positions."""
        one = self.one.index_set(n_queries, n_keys, causal=causal)
        return one & self.other.index_set(n_queries, n_keys, causal=causal)
