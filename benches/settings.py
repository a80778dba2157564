"""How long to measure."""

from __future__ import annotations

from dataclasses import dataclass

from fractal_core.errors import InvalidArgumentError

__all__ = ["Settings"]

_QUICK = 3


@dataclass(frozen=True)
class Settings:
    """How many rounds count, after one that warms up.

    Attributes:
        rounds: The same for every measurement, at least 1; None for each one's own number.
        quick: At most three rounds where no number was asked for.
    """

    rounds: int | None = None
    quick: bool = False

    def __post_init__(self) -> None:
        if self.rounds is not None and self.rounds < 1:
            raise InvalidArgumentError("rounds", self.rounds, "at least 1")

    def count(self, usual: int) -> int:
        """Rounds of a measurement that usually takes `usual` of them."""
        if self.rounds is not None:
            return self.rounds
        return min(usual, _QUICK) if self.quick else usual

    @property
    def described(self) -> str:
        """The rounds in words."""
        if self.rounds is not None:
            return f"{self.rounds} rounds each"
        return f"at most {_QUICK} rounds each" if self.quick else "each measurement's own number of rounds"
