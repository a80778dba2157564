"""Tabular Q-learning as a module: which of a few settings pays, learned from rewards that a trainer gives.

Letters: S states, A actions.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from fractal_core._arguments import INT32_MAX, INT64_MAX, flag, integer, real
from fractal_core._torch import checks
from fractal_core.errors import DTypeError, InvalidArgumentError, ShapeError

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Refiner"]


class Refiner(nn.Module):
    """A table of what each action is worth in each state, and an epsilon-greedy choice among them.

    It works on Python numbers outside of any graph: choose before a batch, observe after it. The default discount of 0
    makes it a contextual bandit, which is what a choice of settings per batch is: the next batch does not depend on it.

    Source: C. Watkins and P. Dayan, "Q-learning" (1992).

    Args:
        states: S.
        actions: A.
        alpha: step of the updates, above 0 to 1; the reciprocal of the visits where None, which averages.
        gamma: discount of later rewards, 0 to 1.
        epsilon: share of choices at random while exploring, 0 to 1.
        initial: value of all entries at first; one above any reward makes every action be tried.
        default: action of ties where nothing is drawn; A - 1 where None, which a list of settings from small to
            large makes the full one.
        seed: of the generator that all draws come from.

    Attributes:
        q: (S, A) float64, the values, a buffer.
        visits: (S, A) int64, a buffer.

    Both stay on the CPU in their dtypes when the module around is moved or cast. The state dict holds the generator,
    too.

    Raises:
        DTypeError: an argument is of another type than listed.
        InvalidArgumentError: a value is out of its range.
    """

    q: Tensor
    visits: Tensor

    def __init__(
        self,
        states: int,
        actions: int,
        alpha: float | None = 0.1,
        gamma: float = 0.0,
        epsilon: float = 0.1,
        *,
        initial: float = 0.0,
        default: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.states = integer("states", states, 1, INT32_MAX)
        self.actions = integer("actions", actions, 1, INT32_MAX)
        self.alpha = None if alpha is None else _share("alpha", alpha)
        if self.alpha == 0.0:
            raise InvalidArgumentError("alpha", alpha, "above 0 to 1, or None")
        self.gamma, self.epsilon = _share("gamma", gamma), _share("epsilon", epsilon)
        self.default = self.actions - 1 if default is None else integer("default", default, 0, self.actions - 1)
        table = (self.states, self.actions)
        self.register_buffer("q", torch.full(table, checks.finite("initial", initial), dtype=torch.float64))
        self.register_buffer("visits", torch.zeros(table, dtype=torch.int64))
        self._generator = torch.Generator().manual_seed(integer("seed", seed, 0, INT64_MAX))

    # --- what it does --------------------------------------------------------------------------------------------

    def act(self, state: int, *, explore: bool | None = None) -> int:
        """The action for a state.

        Args:
            state: 0 to S - 1.
            explore: draw a random action with probability epsilon, and among equal best ones; whether the module is in
                training where None. Otherwise the best action, `default` among equal best ones if it is one of them,
                else the first: the same at every call.

        Raises:
            InvalidArgumentError: a state out of range.
        """
        row = self.q[integer("state", state, 0, self.states - 1)]
        exploring = self.training if explore is None else flag("explore", explore)
        if exploring and self.epsilon > 0 and float(torch.rand((), generator=self._generator)) < self.epsilon:
            return self._drawn(self.actions)
        best = cast("list[int]", (row == row.max()).nonzero().flatten().tolist())
        if exploring:
            return best[self._drawn(len(best))]
        return self.default if self.default in best else best[0]

    def observe(
        self, state: int, action: int, reward: float, next_state: int | None = None, *, done: bool = False
    ) -> None:
        """Learn from a reward: `q += alpha (reward + gamma max q[next_state] - q)`. In eval it changes nothing.

        Args:
            state: 0 to S - 1.
            action: 0 to A - 1.
            reward: finite, given by the trainer, such as what the loss fell by, less the cost of the action.
            next_state: 0 to S - 1; `state` where None.
            done: nothing follows.

        Raises:
            InvalidArgumentError: a value out of range.
        """
        state = integer("state", state, 0, self.states - 1)
        action = integer("action", action, 0, self.actions - 1)
        after = state if next_state is None else integer("next_state", next_state, 0, self.states - 1)
        target = checks.finite("reward", reward)
        if not flag("done", done):
            target += self.gamma * float(self.q[after].max())
        if not self.training:
            return
        self.visits[state, action] += 1
        step = 1.0 / int(self.visits[state, action]) if self.alpha is None else self.alpha
        self.q[state, action] += step * (target - self.q[state, action])

    # The names that the idea came with.
    choose_action = act
    update = observe

    @staticmethod
    def discretize(values: Sequence[float], edges: Sequence[Sequence[float]]) -> int:
        """The number of the state that a few statistics are in, by the bin of each.

        Args:
            values: (k,) numbers, not NaN.
            edges: for each of them the inner edges of its bins, ascending, such as quantiles of a sample; a value on an
                edge is in the upper bin.

        Returns:
            0 up to the product of the numbers of bins, less 1; the last statistic counts fastest.

        Raises:
            ShapeError: as many lists of edges as values are not given.
            InvalidArgumentError: edges that do not ascend, or a value that is NaN.
        """
        if len(values) != len(edges):
            raise ShapeError("edges", f"{len(edges)} lists", f"{len(values)}, one for each value")
        state = 0
        for value, inner in zip(values, edges, strict=True):
            number, steps = real("values", value), [real("edges", edge) for edge in inner]
            if math.isnan(number):
                raise InvalidArgumentError("values", number, "numbers")
            if not all(low < high for low, high in pairwise(steps)):
                raise InvalidArgumentError("edges", steps, "ascending")
            state = state * (len(steps) + 1) + bisect_right(steps, number)
        return state

    def _drawn(self, below: int) -> int:
        return int(torch.randint(below, (), generator=self._generator))

    # --- how it is kept ------------------------------------------------------------------------------------------

    def get_extra_state(self) -> Tensor:
        """The state of the generator."""
        return self._generator.get_state()

    def set_extra_state(self, state: object) -> None:
        """Set the state of the generator."""
        if not isinstance(state, Tensor):
            raise DTypeError("state", type(state).__name__, "the state of a generator, a tensor")
        self._generator.set_state(state.cpu())

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_generator": self._generator.get_state()}

    def __setstate__(self, state: dict[str, object]) -> None:
        held = state.pop("_generator")
        super().__setstate__(state)
        self._generator = torch.Generator()
        self.set_extra_state(held)

    def _apply(self, fn: Callable[..., Tensor], recurse: bool = True) -> Self:
        del fn, recurse  # the table is the host's, whatever the tensors around it become
        return self

    def extra_repr(self) -> str:
        """What `repr` shows."""
        return f"{self.states}, {self.actions}, alpha={self.alpha}, gamma={self.gamma}, epsilon={self.epsilon}"


def _share(argument: str, value: float) -> float:
    number = checks.finite(argument, value)
    if not 0.0 <= number <= 1.0:
        raise InvalidArgumentError(argument, number, "0 to 1")
    return number
