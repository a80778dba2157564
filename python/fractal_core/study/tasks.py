"""Tasks by name."""

from __future__ import annotations

from fractal_core.study.copying import Copying
from fractal_core.study.digits import Digits
from fractal_core.study.quadratic import Quadratic
from fractal_core.study.settings import TASKS
from fractal_core.study.task import Task
from fractal_core.study.text import Text

__all__ = ["task_of"]

_MEMORY = {"quadratic-white": 0.0, "quadratic-slow": 0.9, "quadratic-fast": -0.9}


def task_of(name: str) -> Task:
    """The task of a name of `TASKS`, with its data loaded.

    Raises:
        FractalError: something that it needs is not installed.
    """
    if name in _MEMORY:
        return Quadratic(name, _MEMORY[name])
    made: dict[str, type[Digits] | type[Text] | type[Copying]] = {"digits": Digits, "text": Text, "copying": Copying}
    assert set(made) | set(_MEMORY) == set(TASKS)
    return made[name]()
