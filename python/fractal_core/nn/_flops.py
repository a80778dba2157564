"""What `torch.utils.flop_counter` counts for the attention ops: two for each multiply-add over the edges.

As for torch's own attention, the forward pass is two products (scores, output), the backward pass five (scores again,
and those of dP, dV, dQ and dK); statistics of the weights are one (scores), their backward pass three (scores again, dQ
and dK). Exponentials and idle lanes do not count.
"""

from __future__ import annotations

import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import PathFinder
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from fractal_core import _native
from fractal_core.nn import _travel

if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

__all__ = ["announce"]

_COUNTER = "torch.utils.flop_counter"


def _edges(index_set: Tensor, q: Tensor) -> int:
    """Edges of all batches and heads."""
    heads = q.shape[0] * q.shape[1]
    if index_set.ndim == 1:
        return heads * _native.edges_of(_travel.key(index_set))
    if index_set.ndim == 2:
        return heads // index_set.numel() * sum(_native.edges_of(int(key)) for key in index_set.flatten())
    batch, kv_heads = index_set.shape[:2]
    listed = int((index_set >= 0).sum())
    return listed * (q.shape[0] // batch) * (q.shape[1] // kv_heads)


def _forward(q: Tensor, k: Tensor, v: Tensor, index_set: Tensor, *_: Any, **__: Any) -> int:  # noqa: ANN401
    del k
    return 2 * _edges(index_set, q) * (q.shape[3] + v.shape[3])


def _backward(*args: Any, **_: Any) -> int:  # noqa: ANN401
    q, _, v, index_set = args[5:9]
    return 2 * _edges(index_set, q) * (3 * q.shape[3] + 2 * v.shape[3])


def _statistics(q: Tensor, k: Tensor, index_set: Tensor, *_: Any, **__: Any) -> int:  # noqa: ANN401
    del k
    return 2 * _edges(index_set, q) * q.shape[3]


def _statistics_backward(*args: Any, **_: Any) -> int:  # noqa: ANN401
    q, _, index_set = args[3:6]
    return 2 * _edges(index_set, q) * 3 * q.shape[3]


def _register(counter: ModuleType) -> None:
    ops = torch.ops.fractal_core
    counter.register_flop_formula([ops.attention, ops.attention_forward], get_raw=True)(_forward)
    counter.register_flop_formula(ops.attention_backward, get_raw=True)(_backward)
    counter.register_flop_formula(ops.attention_statistics, get_raw=True)(_statistics)
    counter.register_flop_formula(ops.attention_statistics_backward, get_raw=True)(_statistics_backward)


class _AtImport(MetaPathFinder):
    """Registers the ops when torch's counter is imported: importing it here would take a quarter of a second."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != _COUNTER:
            return None
        sys.meta_path.remove(self)
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            loader, execute = spec.loader, spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                execute(module)
                _register(module)

            loader.exec_module = exec_module
        return spec


def announce() -> None:
    """Register the ops with torch's counter, now or when it is imported."""
    if _COUNTER in sys.modules:
        _register(sys.modules[_COUNTER])
    else:
        sys.meta_path.insert(0, _AtImport())
