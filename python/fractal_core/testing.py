"""The public conformance suite: the rules of every pattern, built in or from a plug-in.

>>> import fractal_core as fc
>>> fc.testing.check_pattern(lambda: fc.pattern("cantor", base=5))

In a plug-in's test file, one test for each rule:

    @fractal_core.testing.parametrize(Koch, lambda: Koch(levels=3))
    def test_koch(check):
        check()
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING

import numpy as np

from fractal_core import _native
from fractal_core._calls import Attention, Gradients, Saved
from fractal_core.errors import DTypeError, PluginError
from fractal_core.patterns.base import PatternBase, adapt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy.typing as npt
    import pytest

    from fractal_core.index_sets import IndexSet
    from fractal_core.patterns import Pattern

    _Array = npt.NDArray[np.float64]
    _Mask = npt.NDArray[np.bool_]

__all__ = ["Check", "PatternCheckError", "check_pattern", "checks", "parametrize"]

LENGTHS = (1, 2, 3, 17, 64, 150)
"""Lengths that the rules try for a pattern that takes any."""
_SCALE = 0.5


class PatternCheckError(AssertionError):
    """A pattern that breaks a rule.

    Args:
        rule: name of the rule.
        broken: what the rule asks for.
        example: a counterexample.
    """

    def __init__(self, rule: str, broken: str, example: str) -> None:
        super().__init__(f"{rule}: {broken}; counterexample: {example}")
        self.rule = rule
        self.example = example


class _Subject:
    """A pattern under test and its index sets."""

    def __init__(self, factory: Callable[[], Pattern]) -> None:
        self.factory = factory
        self.pattern = self.made()
        self.lengths = LENGTHS if self.pattern.length is None else (self.pattern.length,)
        self.set: Callable[[int, int, bool], IndexSet] = cache(self._set)

    def made(self) -> PatternBase:
        """A pattern of the factory, as the package uses it."""
        pattern = self.factory()
        try:
            return adapt(pattern)
        except DTypeError:
            raise PluginError(f"{type(pattern).__name__} has no method index_set") from None

    def _set(self, n_queries: int, n_keys: int, causal: bool) -> IndexSet:
        return self.pattern.index_set(n_queries, n_keys, causal=causal)

    def full(self) -> Iterator[tuple[str, int, bool, IndexSet]]:
        """Whole sequences of every length: how it was made, length, causal, set."""
        for n in self.lengths:
            for causal in (False, True):
                yield f"index_set({n}, causal={causal})", n, causal, self.set(n, n, causal)


@dataclass(frozen=True)
class Check:
    """One rule on one pattern; calling it raises `PatternCheckError` where the rule is broken."""

    rule: str
    """Its name."""
    run: Callable[[], None]

    def __call__(self) -> None:
        """Runs the rule."""
        self.run()


def check_pattern(factory: Callable[[], Pattern]) -> None:
    """Checks a pattern against every rule.

    Args:
        factory: makes the pattern, without arguments; called more than once.

    Raises:
        PatternCheckError: names the first broken rule and shows a counterexample.
    """
    for check in checks(factory):
        check()


def checks(factory: Callable[[], Pattern]) -> list[Check]:
    """The rules as separate checks on the pattern that `factory` makes when the first of them runs."""
    subject = cache(partial(_Subject, factory))
    return [Check(rule.__name__.lstrip("_"), partial(_run, rule, subject)) for rule in _RULES]


def parametrize(*factories: Callable[[], Pattern]) -> pytest.MarkDecorator:
    """A pytest decorator that gives a test one `check` for each rule and factory; the test calls it."""
    import pytest

    every = [
        pytest.param(check, id=f"{getattr(factory, '__name__', 'pattern')}{number}-{check.rule}")
        for number, factory in enumerate(factories)
        for check in checks(factory)
    ]
    return pytest.mark.parametrize("check", every)


def _run(rule: Callable[[_Subject], tuple[str, str] | None], subject: Callable[[], _Subject]) -> None:
    try:
        broken = rule(subject())
    except PluginError as error:
        broken = "a pattern has flags of their kinds and an index_set that gives sets of the asked sizes", str(error)
    if broken is not None:
        raise PatternCheckError(rule.__name__.lstrip("_"), *broken)


def _makes_index_sets(s: _Subject) -> tuple[str, str] | None:
    for _ in s.full():  # the adapter checks the type and the sizes of the result
        pass
    return None


def _keys_sorted_unique_in_range(s: _Subject) -> tuple[str, str] | None:
    for made, n, _, index_set in s.full():
        indptr, indices = index_set.indptr, index_set.indices
        for i in range(n):
            row = indices[indptr[i] : indptr[i + 1]]
            if (np.diff(row) <= 0).any() or (row < 0).any() or (row >= n).any():
                return "the keys of a row increase and are in range", f"row {i} of {made} is {row.tolist()}"
    return None


def _rows_not_empty(s: _Subject) -> tuple[str, str] | None:
    for made, _, _, index_set in s.full():
        empty = np.flatnonzero(np.diff(index_set.indptr) == 0)
        if empty.size and s.pattern.includes_self:
            return "no row is empty unless includes_self is False", f"row {empty[0]} of {made}"
    return None


def _self_included(s: _Subject) -> tuple[str, str] | None:
    for made, _, _, index_set in s.full():
        missing = np.flatnonzero(~np.diagonal(index_set.to_mask()))
        if missing.size and s.pattern.includes_self:
            i = missing[0]
            return "each position attends to itself unless includes_self is False", f"({i}, {i}) not in {made}"
    return None


def _causal_looks_back(s: _Subject) -> tuple[str, str] | None:
    for made, _, causal, index_set in s.full():
        ahead = np.argwhere(np.triu(index_set.to_mask(), 1))
        if causal and ahead.size:
            return "causal keys are at or before their query", f"query {ahead[0][0]}, key {ahead[0][1]} in {made}"
    return None


def _causal_only_leaves_out(s: _Subject) -> tuple[str, str] | None:
    for n in s.lengths:
        expected: _Mask = np.tril(s.set(n, n, False).to_mask())
        example = _difference(s.set(n, n, True).to_mask(), expected)
        if example:
            return "causal=True only leaves out later keys", f"{example} in index_set({n}, causal=True)"
    return None


def _symmetric_if_flagged(s: _Subject) -> tuple[str, str] | None:
    for made, _, causal, index_set in s.full():
        mask = index_set.to_mask()
        turned: _Mask = np.transpose(mask)
        example = _difference(mask, turned)
        if s.pattern.symmetric and not causal and example:
            return "i attends to j where j attends to i, as symmetric says", f"{example} in {made}"
    return None


def _prefix_stable(s: _Subject) -> tuple[str, str] | None:
    if s.pattern.length_dependent:
        return None
    for _, n, causal, index_set in s.full():
        for shorter in (m for m in s.lengths if m < n):
            expected = s.set(shorter, shorter, causal).to_mask()
            example = _difference(index_set.to_mask()[:shorter, :shorter], expected)
            if example:
                return (
                    "rows stay when the sequence grows, unless length_dependent is True",
                    f"{example} of {n} positions, not of {shorter} (causal={causal})",
                )
    return None


def _last_rows_are_decode_rows(s: _Subject) -> tuple[str, str] | None:
    for _, n, causal, index_set in s.full():
        for last in sorted({1, (n + 1) // 2}):
            part = s.set(last, n, causal)
            made = f"index_set({last}, {n}, causal={causal})"
            example = _difference(part.to_mask(), index_set.to_mask()[n - last :])
            if example:
                return "fewer queries are the last rows of the whole", f"{example} in {made}"
    return None


def _deterministic(s: _Subject) -> tuple[str, str] | None:
    again = s.made()
    for made, n, causal, index_set in s.full():
        for pattern in (s.pattern, again):
            example = _difference(pattern.index_set(n, n, causal=causal).to_mask(), index_set.to_mask())
            if example:
                return "the same call gives the same set", f"{example} in {made}, called twice"
    return None


def _transpose_consistent(s: _Subject) -> tuple[str, str] | None:
    for made, _, _, index_set in s.full():
        expected: _Mask = np.transpose(index_set.to_mask())
        example = _difference(index_set.transpose().to_mask(), expected)
        if example:
            return "the transposed set has the transposed mask", f"{example} in {made}.transpose()"
        if index_set.transpose().transpose() != index_set:
            return "transposing twice changes nothing", made
    return None


def _attention_equals_dense(s: _Subject) -> tuple[str, str] | None:
    for made, n, _, index_set in s.full():
        q, k, v, dout = np.random.default_rng(n).normal(size=(4, 1, 1, n, 4))
        mask = index_set.to_mask()
        key = int(index_set.handle[0])
        out, dq, dk, dv = (np.empty_like(q) for _ in range(4))
        lse, rest = (np.empty(q.shape[:3]) for _ in range(2))
        call = Attention(q, k, v, key, "f64", _SCALE)
        _native.attention_forward(call, out, lse, rest)
        _native.attention_backward(call, Saved(out, lse, rest, dout), Gradients(dq, dk, dv))
        got = (out, lse, dq, dk, dv)
        names = ("out", "lse", "dq", "dk", "dv")
        for name, one, other in zip(names, got, _dense(q, k, v, dout, mask), strict=True):
            apart = np.abs(np.subtract(one, other, out=np.zeros_like(other), where=one != other)).max()
            if not apart <= (1e-12 if name in {"out", "lse"} else 1e-10):
                return "sparse attention equals dense masked attention in float64", f"{name} of {made} is {apart:g} off"
    return None


def _dense(q: _Array, k: _Array, v: _Array, dout: _Array, mask: _Mask) -> list[_Array]:
    """Output, log-sum-exp and the gradients of q, k, v straight from the definition; empty rows give 0 and -inf."""
    scores = np.where(mask, _SCALE * q @ np.swapaxes(k, -1, -2), -np.inf)
    top = np.maximum(scores.max(-1, keepdims=True), np.finfo(float).min)
    weights = np.exp(scores - top)
    total = weights.sum(-1, keepdims=True)
    with np.errstate(divide="ignore"):
        lse = (top + np.log(total))[..., 0]
    p = np.divide(weights, total, out=np.zeros_like(weights), where=total > 0)
    out = p @ v
    ds = _SCALE * p * (dout @ np.swapaxes(v, -1, -2) - (dout * out).sum(-1, keepdims=True))
    return [out, lse, ds @ k, np.swapaxes(ds, -1, -2) @ q, np.swapaxes(p, -1, -2) @ dout]


def _difference(got: _Mask, expected: _Mask) -> str:
    """The first (query, key) that differs, in words, or nothing."""
    apart = np.argwhere(got != expected)
    if not apart.size:
        return ""
    query, key = apart[0]
    return f"query {query} {'sees' if got[query, key] else 'misses'} key {key}"


_RULES = (
    _makes_index_sets,
    _keys_sorted_unique_in_range,
    _rows_not_empty,
    _self_included,
    _causal_looks_back,
    _causal_only_leaves_out,
    _symmetric_if_flagged,
    _prefix_stable,
    _last_rows_are_decode_rows,
    _deterministic,
    _transpose_consistent,
    _attention_equals_dense,
)
