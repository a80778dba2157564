"""What a study is asked to do."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from fractal_core._arguments import INT32_MAX, integer
from fractal_core.errors import InvalidArgumentError

__all__ = ["TASKS", "StudySettings"]

TASKS = ("digits", "text", "copying", "quadratic-white", "quadratic-slow", "quadratic-fast")


@dataclass(frozen=True)
class StudySettings:
    """Everything that decides a study.

    Attributes:
        tasks: names of tasks, each once.
        seeds: runs of every optimizer at its chosen rate, at least 2; the verdict asks for 5.
        search_seeds: other seeds at every rate tried, at least 1.
        rates: rates tried at first, a factor of the root of 10 apart, at least 3.
        extensions: further rates at most, while the best lies at an edge, at least 0.
        scale: of the steps of every task, above 0, at most 1.
    """

    tasks: tuple[str, ...] = TASKS
    seeds: int = 5
    search_seeds: int = 2
    rates: int = 5
    extensions: int = 4
    scale: float = 1.0

    def __post_init__(self) -> None:
        for name in self.tasks:
            if name not in TASKS:
                raise InvalidArgumentError("task", repr(name), f"one of {', '.join(TASKS)}")
        if not self.tasks or len(set(self.tasks)) != len(self.tasks):
            raise InvalidArgumentError("task", ", ".join(self.tasks) or "none", "at least one, each once")
        for name, least in (("seeds", 2), ("search_seeds", 1), ("rates", 3), ("extensions", 0)):
            integer(name, getattr(self, name), least, INT32_MAX)
        if not 0 < self.scale <= 1:
            raise InvalidArgumentError("scale", self.scale, "0 < scale <= 1")

    @classmethod
    def quick(cls, tasks: tuple[str, ...] = TASKS) -> StudySettings:
        """A study of a minute, which shows that all of it runs, and nothing else."""
        return cls(tasks=tasks, seeds=2, search_seeds=1, rates=3, extensions=0, scale=0.08)

    def steps(self, usual: int) -> int:
        """Steps of a task that usually takes so many."""
        return max(10, round(self.scale * usual))

    def to_dict(self) -> dict[str, object]:
        """Plain JSON values."""
        return {**asdict(self), "tasks": list(self.tasks)}
