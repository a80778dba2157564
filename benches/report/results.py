"""What was measured: rows with their verdicts, the machine, crossover lengths, and the plain form of all."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import Enum
from typing import Any

from fractal_core.bench.clock import Spread, Times, stays_faster

__all__ = ["Crossover", "Results", "Row", "Verdict"]


class Verdict(str, Enum):
    """What a row says of its bar."""

    MET = "met"
    SHORT = "short"
    MISSING = "not measured"
    SHOWN = "shown"
    """There is no bar; the row informs."""


@dataclass(frozen=True)
class Row:
    """One measured quantity.

    Attributes:
        name: Measurement and row, such as `window-forward/dense`.
        what: What was measured, with sizes.
        peer: What it is compared with.
        unit: `x` for how many times faster than the peer, else what the value counts.
        value: Ratio of medians, or the count; None where it could not be measured.
        low: Lowest of a single pair, where there are pairs.
        high: Highest of a single pair, where there are pairs.
        ours_ms: Median of ours, milliseconds.
        peer_ms: Median of the peer, milliseconds.
        bar: What the value must reach; None informs only.
        at_most: The value must not be above the bar, instead of not below.
        limit: The value that the hardware would allow, where known.
        note: What runs between the calls, or why there is no value.
    """

    name: str
    what: str
    peer: str
    unit: str = "x"
    value: float | None = None
    low: float | None = None
    high: float | None = None
    ours_ms: float | None = None
    peer_ms: float | None = None
    bar: float | None = None
    at_most: bool = False
    limit: float | None = None
    note: str = ""

    @classmethod
    def faster(
        cls,
        name: str,
        what: str,
        peer: str,
        times: Times,
        *,
        ours: str = "ours",
        theirs: str,
        bar: float | None = None,
        limit: float | None = None,
        note: str = "",
    ) -> Row:
        """How many times as long the peer's call takes."""
        value, low, high = times.ratio(ours, theirs)
        return cls(
            name, what, peer, "x", value, low, high, times.ms(ours), times.ms(theirs), bar, limit=limit, note=note
        )

    @classmethod
    def share(cls, name: str, what: str, peer: str, spread: Spread, *, bar: float | None = None, note: str = "") -> Row:
        """A share of what the hardware can do, 0 to 1."""
        return cls(name, what, peer, "of peak", *spread, bar=bar, limit=1.0, note=note)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; an infinite value, which JSON has not, as the text `inf`."""
        value = "inf" if self.value is not None and math.isinf(self.value) else self.value
        return {**asdict(self), "value": value, "verdict": self.verdict.value}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Row:
        """The row that `to_dict` wrote."""
        found: dict[str, Any] = {k: v for k, v in plain.items() if k != "verdict"}
        if found["value"] == "inf":
            found["value"] = math.inf
        return cls(**found)

    @property
    def verdict(self) -> Verdict:
        """Whether the bar is met."""
        if self.value is None:
            return Verdict.MISSING
        if self.bar is None:
            return Verdict.SHOWN
        met = self.value <= self.bar if self.at_most else self.value >= self.bar
        return Verdict.MET if met else Verdict.SHORT

    @property
    def margin(self) -> float | None:
        """The value over its bar, turned so that 1 and more is met; None without a value or a bar."""
        if self.value is None or self.bar is None:
            return None
        if self.at_most:
            return self.bar / self.value if self.value > 0 else float("inf")
        return self.value / self.bar


@dataclass(frozen=True)
class Crossover:
    """From which length on sparse attention is faster than dense.

    Attributes:
        pattern: Specification of the pattern.
        peer: What it is compared with.
        dtype: Of q, k and v.
        direction: `forward` or `forward + backward`.
        tokens: The first length measured from which on it is faster at all longer ones, None if there is none.
        scanned: The lengths measured.
        ratios: How many times faster at each of them.
    """

    pattern: str
    peer: str
    dtype: str
    direction: str
    tokens: int | None
    scanned: tuple[int, ...]
    ratios: tuple[float, ...]

    @classmethod
    def of(
        cls,
        pattern: str,
        *,
        peer: str,
        dtype: str,
        direction: str,
        scanned: Sequence[int],
        ratios: Sequence[float],
    ) -> Crossover:
        """The crossover of ratios at increasing lengths."""
        tokens = stays_faster(scanned, ratios)
        return cls(pattern, peer, dtype, direction, tokens, tuple(scanned), tuple(ratios))


@dataclass
class Results:
    """One run.

    Attributes:
        machine: Facts of machine and software.
        rows: In the order of the measurements.
        crossovers: Where dense attention stops being faster.
        seconds: How long the run took.
    """

    machine: dict[str, Any]
    rows: list[Row] = field(default_factory=list["Row"])
    crossovers: list[Crossover] = field(default_factory=list["Crossover"])
    seconds: float = 0.0

    def take(self, found: Row | Crossover) -> None:
        """Adds what a measurement found."""
        if isinstance(found, Row):
            self.rows.append(found)
        else:
            self.crossovers.append(found)

    @property
    def failed(self) -> list[Row]:
        """Rows that fall short of their bar or could not be measured."""
        return [row for row in self.rows if row.verdict in {Verdict.SHORT, Verdict.MISSING}]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "machine": self.machine,
            "seconds": self.seconds,
            "rows": [row.to_dict() for row in self.rows],
            "crossovers": [asdict(crossover) for crossover in self.crossovers],
        }

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Results:
        """The run that `to_dict` wrote."""
        rows = [Row.from_dict(row) for row in plain["rows"]]
        crossovers = [
            Crossover(scanned=tuple(c.pop("scanned")), ratios=tuple(c.pop("ratios")), **c)
            for c in map(dict[str, Any], plain["crossovers"])
        ]
        return cls(dict(plain["machine"]), rows, crossovers, plain["seconds"])
