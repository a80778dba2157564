"""The torch ops over the statistics kernels: `torch.ops.fractal_core.attention_statistics` and its backward.

Letters: B batches, H query heads, Hkv key heads (H is a multiple), Nq queries, Nk keys, D head size, E edges.
The ops check nothing that the kernel checks; `fractal_core.nn.attention_stats` raises the typed errors.
A second derivative is not registered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from torch import Tensor

from fractal_core import _native
from fractal_core._calls import Attention, Gradients, Statistics, StatisticsGradients
from fractal_core._torch import library
from fractal_core._torch.dtypes import accumulation_dtype
from fractal_core.nn._arrays import array, bits, fresh, maybe, with_room
from fractal_core.nn.ops import Call

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["attention_statistics", "attention_statistics_backward", "attention_weights"]

Four = tuple[Tensor, Tensor, Tensor, Tensor]


class StatisticsCall(NamedTuple):
    """The arguments of the ops, in the order of their schema; the first seven are those of `ops.Call`."""

    q: Tensor
    k: Tensor
    index_set: Tensor
    key_bias: Tensor | None
    edge_bias: Tensor | None
    key_padding_mask: Tensor | None
    scale: float
    first_position: int
    """Query i stands at key first_position + i."""

    def native(self) -> Attention:
        """What the kernels take."""
        biases = (self.key_bias, self.edge_bias, self.key_padding_mask)
        return Call(self.q, self.k, self.k, self.index_set, *biases, None, self.scale, 0.0).native()


_SCHEMA = (
    "Tensor q, Tensor k, Tensor index_set, Tensor? key_bias, Tensor? edge_bias, Tensor? key_padding_mask, float scale, "
    "int first_position"
)


def _outputs(q: Tensor, k: Tensor) -> Four:
    rows, exact = q.shape[:3], accumulation_dtype(q.dtype)
    entropy, maximum, distance = (q.new_empty(rows, dtype=exact) for _ in range(3))
    return entropy, maximum, distance, q.new_empty((*rows[:2], k.shape[2]), dtype=exact)


def _attention_statistics(*args: Any) -> Four:  # noqa: ANN401
    """Statistics of the softmax weights over the edges of an index set.

    Args:
        *args: those of `StatisticsCall`.

    Returns:
        (entropy, maximum, mean_distance, column_mass): (B, H, Nq) each and (B, H, Nk), fresh and contiguous, in the
        accumulation dtype. The maximum has no gradient.
    """
    call = StatisticsCall(*args)
    results = with_room(_outputs, call.q, call.k)
    _native.attention_statistics(call.native(), call.first_position, Statistics(*map(bits, results)))
    return results


def _attention_statistics_fake(q: Tensor, k: Tensor, *_: object) -> Four:
    return _outputs(q, k)


attention_statistics = library.define(
    "attention_statistics",
    _attention_statistics,
    _attention_statistics_fake,
    f"({_SCHEMA}) -> (Tensor, Tensor, Tensor, Tensor)",
)


def _gradients(call: StatisticsCall, fresh: Callable[[Tensor, Sequence[int]], Tensor] = fresh) -> Four:
    q, exact = call.q, accumulation_dtype(call.q.dtype)
    dkey_bias, dedge_bias = (
        q.new_empty(0 if bias is None else bias.shape, dtype=exact) for bias in (call.key_bias, call.edge_bias)
    )
    return fresh(q, q.shape), fresh(q, call.k.shape), dkey_bias, dedge_bias


def _attention_statistics_backward(
    dentropy: Tensor | None,
    dmean_distance: Tensor | None,
    dcolumn_mass: Tensor | None,
    *args: Any,  # noqa: ANN401
) -> Four:
    """Vector-Jacobian product of `attention_statistics`.

    Args:
        dentropy: (B, H, Nq), gradient of the entropy, any strides, or None.
        dmean_distance: (B, H, Nq), gradient of the mean distance, likewise.
        dcolumn_mass: (B, H, Nk), gradient of the column mass, likewise.
        *args: as for `attention_statistics`.

    Returns:
        (dq, dk, dkey_bias, dedge_bias), each in the shape and dtype of its input; a bias that was not given has a
        gradient of shape (0,).
    """
    call = StatisticsCall(*args)
    dq, dk, dkey_bias, dedge_bias = grads = with_room(_gradients, call)
    given = StatisticsGradients(maybe(dentropy), maybe(dmean_distance), maybe(dcolumn_mass))
    into = Gradients(
        bits(dq),
        bits(dk),
        None,
        None if call.key_bias is None else bits(dkey_bias.zero_()),
        None if call.edge_bias is None else bits(dedge_bias.zero_()),
    )
    _native.attention_statistics_backward(call.native(), call.first_position, given, into)
    return grads


def _attention_statistics_backward_fake(*args: Any) -> Four:  # noqa: ANN401
    return _gradients(StatisticsCall(*args[3:]), Tensor.new_empty)


attention_statistics_backward = library.define(
    "attention_statistics_backward",
    _attention_statistics_backward,
    _attention_statistics_backward_fake,
    f"(Tensor? dentropy, Tensor? dmean_distance, Tensor? dcolumn_mass, {_SCHEMA}) -> (Tensor, Tensor, Tensor, Tensor)",
)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Four) -> None:  # noqa: ANN401
    *tensors, ctx.scale, ctx.first_position = inputs
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*tensors)


def _backward(
    ctx: Any,  # noqa: ANN401
    dentropy: Tensor | None,
    _: None,
    dmean_distance: Tensor | None,
    dcolumn_mass: Tensor | None,
) -> tuple[Tensor | None, ...]:
    if dentropy is None and dmean_distance is None and dcolumn_mass is None:
        return (None,) * 8
    call = StatisticsCall._make((*ctx.saved_tensors, ctx.scale, ctx.first_position))
    dq, dk, dkey_bias, dedge_bias = attention_statistics_backward(dentropy, dmean_distance, dcolumn_mass, *call)
    biases = (None if call.key_bias is None else dkey_bias, None if call.edge_bias is None else dedge_bias)
    return (dq, dk, None, *biases, None, None, None)


library.register_autograd("attention_statistics", _backward, _setup_context)
library.refuse_autograd("attention_statistics_backward")


def _attention_weights(*args: Any) -> Tensor:  # noqa: ANN401
    """Weights of chosen rows.

    Args:
        *args: those of `StatisticsCall` but the last, then rows (R,) int64, of the index set, and their edges.

    Returns:
        (B, H, edges) in the accumulation dtype, row after row.
    """
    *of_call, rows, edges = args
    call = StatisticsCall._make((*of_call, 0))
    weights = with_room(_weights, call.q, edges)
    _native.attention_weights(call.native(), array(rows.contiguous()), bits(weights))
    return weights


def _weights(q: Tensor, edges: int) -> Tensor:
    return q.new_empty((*q.shape[:2], edges), dtype=accumulation_dtype(q.dtype))


def _attention_weights_fake(q: Tensor, *args: Any) -> Tensor:  # noqa: ANN401
    return _weights(q, args[-1])


attention_weights = library.define(
    "attention_weights",
    _attention_weights,
    _attention_weights_fake,
    f"({_SCHEMA.rpartition(', ')[0]}, Tensor rows, int edges) -> Tensor",
)
library.refuse_autograd("attention_weights")
