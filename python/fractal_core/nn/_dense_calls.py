"""Who asked to know about calls of dense attention, thread by thread: the counters of `dense_attention`."""

from __future__ import annotations

import threading
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["DenseCalls", "active", "always", "count", "counting", "passing_on"]


class DenseCalls:
    """What became of the calls of dense attention within a `dense_attention()`.

    Attributes:
        taken: how many ran on the kernel of this package.
        passed: how many went to torch's own attention, by reason.
    """

    def __init__(self) -> None:
        self.taken = 0
        self.passed: Counter[str] = Counter()

    @property
    def total(self) -> int:
        """All calls, of either kind."""
        return self.taken + sum(self.passed.values())

    def __repr__(self) -> str:
        return f"DenseCalls(taken={self.taken}, passed={dict(self.passed)})"

    def __str__(self) -> str:
        reasons = "; ".join(f"{number} × {reason}" for reason, number in self.passed.most_common())
        return f"{self.taken} of {self.total} calls taken" + (f", passed on to torch: {reasons}" if reasons else "")


class _Active(threading.local):
    def __init__(self) -> None:
        self.entered: list[tuple[DenseCalls, bool]] = []
        self.passing_on = False


_active = _Active()


def active() -> bool:
    """Whether calls of this thread are counted, and not one of them just on its way to torch."""
    return bool(_active.entered) and not _active.passing_on


def always() -> bool:
    """Whether the innermost counter of this thread wants every call that the kernel can take."""
    return bool(_active.entered) and _active.entered[-1][1]


def count(reason: str | None) -> None:
    """One call, passed on for a reason or taken, in all counters of this thread."""
    for calls, _ in _active.entered:
        if reason is None:
            calls.taken += 1
        else:
            calls.passed[reason] += 1


@contextmanager
def counting(calls: DenseCalls, every: bool) -> Generator[bool]:
    """Count for `calls` what this thread does meanwhile; gives whether others count already."""
    nested, entry = bool(_active.entered), (calls, every)
    _active.entered.append(entry)
    try:
        yield nested
    finally:
        _active.entered.remove(entry)


@contextmanager
def passing_on() -> Generator[None]:
    """A call on its way to torch is not caught and counted again."""
    before, _active.passing_on = _active.passing_on, True
    try:
        yield
    finally:
        _active.passing_on = before
