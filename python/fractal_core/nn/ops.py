"""The torch ops over the attention kernel: `torch.ops.fractal_core.attention` and its backward.

Letters: B batches, H query heads, Hkv key heads (H is a multiple), Nq queries, Nk keys, D and Dv head sizes, E edges.
The ops check nothing that the kernel checks; `fractal_core.nn.sparse_attention` raises the typed errors.
A second derivative is not registered.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import forward_ad

from fractal_core import _native
from fractal_core._calls import Attention, Gradients, Modifiers, Saved
from fractal_core._torch import library, threads
from fractal_core._torch.dtypes import accumulation_dtype
from fractal_core.gpu import probes, route
from fractal_core.nn import _travel
from fractal_core.nn._arrays import NAMES, array, bits, fresh, keys, maybe, with_room
from fractal_core.nn._stacks import has_parts, parts, put

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = [
    "Call",
    "accumulation_dtype",
    "attend",
    "attention",
    "attention_backward",
    "attention_forward",
    "input_gradients",
    "refuse_tangents",
    "saved_call",
    "setup_context",
]


def _outputs(q: Tensor, v: Tensor, fresh: Callable[[Tensor, Sequence[int]], Tensor] = fresh) -> tuple[Tensor, Tensor]:
    """Where `attention` writes: memory that starts at a cache line."""
    batch, heads, length, _ = q.shape
    out = fresh(q, (batch, heads, length, v.shape[3]))
    return out, q.new_empty((batch, heads, length), dtype=accumulation_dtype(q.dtype))


class Call(NamedTuple):
    """The arguments of the ops that attend, in the order of their schema."""

    q: Tensor
    """(B, H, Nq, D), float32, float64, bfloat16 or float16."""
    k: Tensor
    """(B, Hkv, Nk, D), the dtype of q."""
    v: Tensor
    """(B, Hkv, Nk, Dv), the dtype of q."""
    index_set: Tensor
    """(1,) int64, `torch.from_numpy(IndexSet.handle)`; it keeps the set alive until the backward pass. Or all of the
    set as `_travel.handle` writes it for programs that are saved. Or (B|1, H|1), a handle for each batch entry and
    head. Or (B|1, Hkv|1, Nq, K) int32 or int64, lists of keys in which -1 is a pad."""
    key_bias: Tensor | None
    """(B|1, H|1, Nk) in the accumulation dtype, added to the scaled scores, or None."""
    edge_bias: Tensor | None
    """(H|1, E) or (B, H|1, E) in the accumulation dtype, edges in row order, or None."""
    key_padding_mask: Tensor | None
    """(B, Nk) bool, True where a key is to be ignored, or None."""
    seed: Tensor | None
    """(1,) int64, non-negative; needed where dropout_p > 0."""
    scale: float
    """Factor of the scores."""
    dropout_p: float
    """Probability that an attention weight is dropped, 0 <= dropout_p < 1."""
    device: str = "cpu"
    """"cpu", "gpu" or "auto"; "cpu" with `distances` or `sinks`."""
    distances: Tensor | None = None
    """(H|1, L) in the accumulation dtype, added to the scores by distance, or None."""
    places: Tensor | None = None
    """(Nq + Nk,) int32, where the queries and the keys stand, or None: query i at i, key j at j."""
    sinks: Tensor | None = None
    """(H,) in the accumulation dtype, logits that join the denominator alone, or None."""
    origin: int = 0
    """The entry of `distances` of a query and a key at one place."""
    soft_cap: float = 0.0
    """The scaled scores are capped to `soft_cap * tanh(score / soft_cap)`, where it is above 0."""

    def differentiable(self) -> list[Tensor]:
        """The tensors that have a gradient."""
        given = (self.q, self.k, self.v, self.key_bias, self.edge_bias, self.distances, self.sinks)
        return [t for t in given if t is not None]

    def modifiers(self) -> Modifiers | None:
        """The modifiers of the scores, if there are any."""
        if self.distances is None and self.sinks is None and self.soft_cap == 0.0:
            return None
        n = self.q.shape[2]
        queries, keys = (None, None) if self.places is None else (array(self.places)[:n], array(self.places)[n:])
        cap = self.soft_cap if self.soft_cap > 0.0 else None
        return Modifiers(cap, maybe(self.distances), self.origin, queries, keys, maybe(self.sinks))

    def native(self) -> Attention:
        """What the kernels take, on the CPU."""
        return Attention(
            array(self.q),
            array(self.k),
            array(self.v),
            keys(self.index_set),
            NAMES[self.q.dtype],
            self.scale,
            maybe(self.key_bias),
            maybe(self.edge_bias),
            maybe(self.key_padding_mask),
            self.dropout_p,
            0 if self.seed is None else int(self.seed),
            threads.executor(),
            torch.get_num_threads(),
            modifiers=self.modifiers(),
        )


TENSORS = ("q", "k", "v", "index_set", "key_bias", "edge_bias", "key_padding_mask", "seed", "distances", "places",
           "sinks")  # fmt: skip
"""The fields of `Call` that are tensors; the others are settings."""
SETTINGS = tuple(name for name in Call._fields if name not in TENSORS)


def saved_call(tensors: Sequence[Tensor | None], settings: Sequence[Any]) -> Call:
    """The call of what `TENSORS` and `SETTINGS` name."""
    return Call(**dict(zip(TENSORS, tensors, strict=True)), **dict(zip(SETTINGS, settings, strict=True)))  # type: ignore[arg-type]


@lru_cache(maxsize=256)
def _plan_counts(key: int) -> tuple[int, int]:
    """Of a set's plan, which does not change; no two sets have one key."""
    return _native.plan_counts_of(key)


def _features(call: Call) -> dict[str, float]:
    """What routing goes by."""
    batch, heads, n, d = call.q.shape
    kv_heads, n_keys = call.k.shape[1:3]
    if call.index_set.ndim == 1:
        plan = _plan_counts(int(_travel.key(call.index_set)))
    else:
        plan = (0, n * call.index_set.shape[3])
    width = d + call.v.shape[3]
    return probes.attention_features(batch, heads, kv_heads, (n, n_keys), width, plan, call.q.itemsize)


def _forward(call: Call, *results: Tensor) -> None:
    """Runs the forward pass into its results: output, log-sum-exp, and its rounding error if that is asked for."""
    if not has_parts(call):
        into = [bits(result) for result in results]
        _launch("attention", call, lambda native: _native.attention_forward(native, *into))
        return
    for part in parts(call):
        into = [part.of(result) for result in results]
        found = [
            to if to.is_contiguous() else torch.empty_like(to, memory_format=torch.contiguous_format) for to in into
        ]
        _forward(part.call, *found)
        for to, of_part in zip(into, found, strict=True):
            put(to, of_part, add=False)


def _launch(op: str, call: Call, kernel: Callable[[Attention], None]) -> None:
    """Runs a kernel on the device of a call."""
    native = call.native()
    if call.device == "cpu":
        kernel(native)
        return
    refused = "float64 is computed on the CPU" if call.q.dtype == torch.float64 else None
    route.run(
        op,
        call.device,
        lambda: _features(call),
        cpu=lambda: kernel(native),
        gpu=lambda: kernel(native._replace(device="gpu")),
        refused=refused,
    )


_SCHEMA = (
    "Tensor q, Tensor k, Tensor v, Tensor index_set, Tensor? key_bias, Tensor? edge_bias, Tensor? key_padding_mask, "
    'Tensor? seed, float scale, float dropout_p, str device="cpu", Tensor? distances=None, Tensor? places=None, '
    "Tensor? sinks=None, int origin=0, float soft_cap=0.0"
)


def _gradients(
    call: Call, fresh: Callable[[Tensor, Sequence[int]], Tensor] = fresh
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Where `attention_backward` writes."""
    q, exact = call.q, accumulation_dtype(call.q.dtype)
    dkey_bias, ddistances, dsinks = (
        q.new_empty(0 if given is None else given.shape, dtype=exact)
        for given in (call.key_bias, call.distances, call.sinks)
    )
    dedge_bias = q.new_empty(0, dtype=exact) if call.edge_bias is None else fresh(call.edge_bias, call.edge_bias.shape)
    into = (fresh(q, q.shape), fresh(q, call.k.shape), fresh(q, call.v.shape))
    return *into, dkey_bias, dedge_bias, ddistances, dsinks


def _attention(*args: Any) -> tuple[Tensor, Tensor, Tensor]:  # noqa: ANN401
    """Softmax attention over the edges of an index set.

    Args:
        *args: those of `Call`.

    Returns:
        (out, lse, lse_rest): (B, H, Nq, Dv) in the dtype of q; the natural log-sum-exp (B, H, Nq) in the accumulation
        dtype, -inf where a query has no key; and its rounding error, which the backward pass needs: beside a maximum
        of -1e9, float32 keeps nothing of the sum. All are fresh and contiguous; lse_rest has no gradient.
    """
    call = Call(*args)
    out, lse = with_room(_outputs, call.q, call.v)
    rest = with_room(torch.empty_like, lse)
    _forward(call, out, lse, rest)
    return out, lse, rest


def _attention_forward(*args: Any) -> tuple[Tensor, Tensor]:  # noqa: ANN401
    call = Call(*args)
    out, lse = with_room(_outputs, call.q, call.v)
    _forward(call, out, lse)
    return out, lse


def _attention_fake(q: Tensor, k: Tensor, v: Tensor, *_: object) -> tuple[Tensor, Tensor, Tensor]:
    out, lse = _outputs(q, v, Tensor.new_empty)
    return out, lse, torch.empty_like(lse)


def _attention_forward_fake(q: Tensor, k: Tensor, v: Tensor, *_: object) -> tuple[Tensor, Tensor]:
    return _outputs(q, v, Tensor.new_empty)


attention = library.define("attention", _attention, _attention_fake, f"({_SCHEMA}) -> (Tensor, Tensor, Tensor)")
attention_forward = library.define(
    "attention_forward", _attention_forward, _attention_forward_fake, f"({_SCHEMA}) -> (Tensor, Tensor)"
)
"""The out and lse of `attention` for calls that need no gradient: without autograd's part of the dispatch, which costs
more than the arithmetic of a decode step."""


def _attention_backward(
    dout: Tensor,
    dlse: Tensor | None,
    out: Tensor,
    lse: Tensor,
    lse_rest: Tensor,
    *args: Any,  # noqa: ANN401
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Vector-Jacobian product of `attention`.

    Args:
        dout: (B, H, Nq, Dv), gradient of out, any strides.
        dlse: (B, H, Nq), gradient of lse, any strides, or None.
        out: (B, H, Nq, Dv), as `attention` returned it.
        lse: (B, H, Nq), as `attention` returned it.
        lse_rest: (B, H, Nq), as `attention` returned it.
        *args: as for `attention`.

    Returns:
        (dq, dk, dv, dkey_bias, dedge_bias, ddistances, dsinks), each in the shape and dtype of its input; what was not
        given has a gradient of shape (0,).
    """
    call = Call(*args)
    if has_parts(call):
        return _backward_of_parts(call, dout, dlse, (out, lse, lse_rest))
    dq, dk, dv, dkey_bias, dedge_bias, ddistances, dsinks = grads = with_room(_gradients, call)
    saved = Saved(
        array(out),
        array(lse.contiguous()),
        array(lse_rest.contiguous()),
        array(dout.to(call.q.dtype)),
        maybe(dlse),
    )
    into = Gradients(
        bits(dq),
        bits(dk),
        bits(dv),
        None if call.key_bias is None else bits(dkey_bias.zero_()),
        None if call.edge_bias is None else bits(dedge_bias.zero_()),
        None if call.distances is None else bits(ddistances.zero_()),
    )
    _launch("attention_backward", call, lambda native: _native.attention_backward(native, saved, into))
    if call.sinks is not None:
        dsinks.copy_(_sink_gradient(call.sinks, dout, dlse, out, lse, lse_rest))
    return grads


def _backward_of_parts(
    call: Call, dout: Tensor, dlse: Tensor | None, results: tuple[Tensor, Tensor, Tensor]
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The gradients of the parts; those of what parts share are added in their order, in the accumulation dtype."""
    exact = accumulation_dtype(call.q.dtype)
    grads = with_room(_gradients, call)
    dq, dk, dv, dkey_bias, dedge_bias, ddistances, dsinks = grads
    wide_k, wide_v = (torch.zeros(t.shape, dtype=exact) for t in (call.k, call.v))
    for summed in (dkey_bias, dedge_bias, ddistances, dsinks):
        summed.zero_()
    for part in parts(call):
        of_dlse = None if dlse is None else part.of(dlse)
        found = _attention_backward(part.of(dout), of_dlse, *(part.of(t).contiguous() for t in results), *part.call)
        put(part.of(dq), found[0], add=False)
        put(part.of_keys(wide_k), found[1], add=part.shared)
        put(part.of_keys(wide_v), found[2], add=part.shared)
        if call.key_bias is not None:
            put(part.of_some(dkey_bias), found[3], add=True)
        if call.edge_bias is not None:
            put(dedge_bias[part.batch.start], found[4], add=False)
        if call.distances is not None:
            put(part.of_heads(ddistances), found[5], add=True)
        if call.sinks is not None:
            put(part.of_heads(dsinks), found[6], add=True)
    dk.copy_(wide_k)
    dv.copy_(wide_v)
    return grads


def _sink_gradient(  # noqa: PLR0917
    sinks: Tensor, dout: Tensor, dlse: Tensor | None, out: Tensor, lse: Tensor, lse_rest: Tensor
) -> Tensor:
    """The share of each row's sum that a sink has, times what it takes from the row's output and adds to its lse."""
    share = ((sinks[:, None] - lse) - lse_rest).exp()
    # A sink of -inf over no key.
    share = share.where(lse > -torch.inf, 0.0)
    exact = lse.dtype
    change = -torch.einsum("bhnd,bhnd->bhn", dout.to(exact), out.to(exact))
    return (share * (change if dlse is None else change + dlse)).sum((0, 2))


def _attention_backward_fake(*args: Any) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:  # noqa: ANN401
    return _gradients(Call(*args[5:]), Tensor.new_empty)


attention_backward = library.define(
    "attention_backward",
    _attention_backward,
    _attention_backward_fake,
    f"(Tensor dout, Tensor? dlse, Tensor out, Tensor lse, Tensor lse_rest, {_SCHEMA})"
    " -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
)


def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:  # noqa: ANN401
    """Keeps a call and its results."""
    call = Call(*inputs)
    ctx.settings = tuple(getattr(call, name) for name in SETTINGS)
    ctx.mark_non_differentiable(output[2])
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*output, *(getattr(call, name) for name in TENSORS))


def input_gradients(call: Call, found: Sequence[Tensor]) -> tuple[Tensor | None, ...]:
    """What `attention_backward` gave, in the order of the fields of `Call`; None for those without a gradient."""
    names = ("q", "k", "v", "key_bias", "edge_bias", "distances", "sinks")
    given = {name: gradient for name, gradient in zip(names, found, strict=True) if getattr(call, name) is not None}
    return tuple(given.get(name) for name in Call._fields)


def _backward(ctx: Any, dout: Tensor | None, dlse: Tensor | None, _: None) -> tuple[Tensor | None, ...]:  # noqa: ANN401
    if dout is None and dlse is None:
        return (None,) * len(Call._fields)
    out, lse, rest, *tensors = ctx.saved_tensors
    call = saved_call(tensors, ctx.settings)
    if dout is None:
        dout = torch.zeros_like(out)
    return input_gradients(call, attention_backward(dout, dlse, out, lse, rest, *call))


library.register_autograd("attention", _backward, setup_context)
library.refuse_autograd("attention_backward")


def refuse_tangents(tensors: Sequence[Tensor]) -> None:
    """Forward-mode differentiation is an error: the ops would drop its tangents."""
    # The level is checked first, as checking each tensor costs as much as the rest of a small call.
    if forward_ad._current_level >= 0 and any(forward_ad.unpack_dual(t).tangent is not None for t in tensors):  # pyright: ignore[reportPrivateUsage]
        raise NotImplementedError("fractal_core has no forward-mode derivatives (jvp); use the gradients of backward")


def attend(*args: Any) -> tuple[Tensor, Tensor]:  # noqa: ANN401
    """The out and lse of `attention`, or of `attention_forward` where no gradient is needed.

    Args:
        *args: those of `Call`.

    Raises:
        NotImplementedError: A tensor carries a tangent of forward-mode differentiation, which the ops would drop.
    """
    tensors = Call(*args).differentiable()
    refuse_tangents(tensors)
    if torch.is_grad_enabled() and any(t.requires_grad for t in tensors):
        return attention(*args)[:2]
    return attention_forward(*args)
