"""The torch ops over the force kernel: `torch.ops.fractal_core.force_attention` and its backward.

Letters: B batches, H heads, G groups of heads that share their points (1 or H), Nq queries, Nk keys, C coordinates of a
point, D and Dv head sizes. The ops check nothing that the kernel checks; `fractal_core.nn.force_attention` raises the
typed errors. A second derivative is not registered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from fractal_core import _native
from fractal_core._calls import Force, ForceGradients, ForceSaved
from fractal_core._torch import library, threads
from fractal_core.nn._arrays import NAMES, array, bits, fresh, keys, maybe, with_room

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["ForceCall", "force", "of_heads"]

Nine = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]


class ForceCall(NamedTuple):
    """The arguments of the ops, in the order of their schema; float32 or float64, all of one."""

    e: Tensor
    """(B, G, Nq, C), points of the queries."""
    r: Tensor
    """(B, G, Nk, C), points of the keys."""
    v: Tensor
    """(B, H, Nk, Dv)."""
    a: Tensor
    """(B, G, Nq, H / G), coordinates of the queries' points along each head's direction."""
    c: Tensor
    """(B, G, Nk, H / G), those of the keys' points."""
    strength: Tensor
    """(H,), factor of the forces."""
    rate: Tensor
    """(H,), not negative: forces decline as exp(-rate * distance)."""
    q: Tensor | None
    """(B, H, Nq, D), or None."""
    k: Tensor | None
    """(B, H, Nk, D), or None."""
    index_set: Tensor
    """As for `ops.Call`: a handle, or lists of keys (B|1, G|1, Nq, K)."""
    key_padding_mask: Tensor | None
    """(B, Nk) bool, True where a key is to be ignored, or None."""
    scale: float
    """Factor of the dot products of q and k."""
    eps: float
    """Added to distances in the denominator."""

    def by_head(self, n: int, *width: int) -> tuple[int, ...]:
        """(B, G, n, H / G, *width)."""
        batch, groups = self.e.shape[:2]
        return batch, groups, n, self.v.shape[1] // groups, *width

    def native(self) -> Force:
        """What the kernels take."""
        return Force(
            array(self.e),
            array(self.r),
            array(self.v),
            array(self.a.contiguous()),
            array(self.c.contiguous()),
            array(self.strength.contiguous()),
            array(self.rate.contiguous()),
            keys(self.index_set),
            NAMES[self.e.dtype],
            None if self.q is None else array(self.q),
            None if self.k is None else array(self.k),
            maybe(self.key_padding_mask),
            self.scale,
            self.eps,
            threads.executor(),
            torch.get_num_threads(),
        )


_DIFFERENTIABLE = 9
"""The first so many fields of `ForceCall` have gradients."""
_SCHEMA = (
    "Tensor e, Tensor r, Tensor v, Tensor a, Tensor c, Tensor strength, Tensor rate, Tensor? q, Tensor? k, "
    "Tensor index_set, Tensor? key_padding_mask, float scale, float eps"
)


def _outputs(call: ForceCall, fresh: Callable[[Tensor, Sequence[int]], Tensor] = fresh) -> tuple[Tensor, Tensor]:
    n = call.e.shape[2]
    return fresh(call.e, call.by_head(n, call.v.shape[3])), call.e.new_empty(call.by_head(n))


def _force(*args: Any) -> tuple[Tensor, Tensor]:  # noqa: ANN401
    """Attention by forces over the edges of an index set.

    Args:
        *args: Those of `ForceCall`.

    Returns:
        (out, lse): (B, G, Nq, H / G, Dv), and the natural log-sum-exp (B, G, Nq, H / G), -inf where a query has no key;
        both fresh and contiguous.
    """
    call = ForceCall(*args)
    out, lse = with_room(_outputs, call)
    _native.force_forward(call.native(), bits(out), bits(lse))
    return out, lse


def _force_fake(*args: Any) -> tuple[Tensor, Tensor]:  # noqa: ANN401
    return _outputs(ForceCall(*args), Tensor.new_empty)


force = library.define("force_attention", _force, _force_fake, f"({_SCHEMA}) -> (Tensor, Tensor)")


def _gradients(call: ForceCall, fresh: Callable[[Tensor, Sequence[int]], Tensor] = fresh) -> Nine:
    n, m = call.e.shape[2], call.r.shape[2]
    dots = (
        call.e.new_empty(0) if given is None else fresh(call.e, call.by_head(length, given.shape[3]))
        for given, length in ((call.q, n), (call.k, m))
    )
    return (
        fresh(call.e, call.e.shape),
        fresh(call.e, call.r.shape),
        fresh(call.e, call.by_head(m, call.v.shape[3])),
        *(call.e.new_empty(given.shape) for given in (call.a, call.c, call.strength, call.rate)),
        *dots,
    )  # pyright: ignore[reportReturnType]


def _force_backward(dout: Tensor, dlse: Tensor | None, out: Tensor, lse: Tensor, *args: Any) -> Nine:  # noqa: ANN401
    """Vector-Jacobian product of `force`.

    Args:
        dout: (B, G, Nq, H / G, Dv), gradient of out, any strides.
        dlse: (B, G, Nq, H / G), gradient of lse, any strides, or None.
        out: As `force` returned it.
        lse: As `force` returned it.
        *args: As for `force`.

    Returns:
        Gradients of e, r, v, a, c, strength, rate, q and k; those of v, q and k as (B, G, N, H / G, width), of q and k
        that were not given of shape (0,).
    """
    call = ForceCall(*args)
    grads = with_room(_gradients, call)
    saved = ForceSaved(array(out.contiguous()), array(lse.contiguous()), array(dout.contiguous()), maybe(dlse))
    into = [bits(grad) for grad in grads[:7]]
    given = (None if tensor is None else bits(grad) for tensor, grad in zip((call.q, call.k), grads[7:], strict=True))
    _native.force_backward(call.native(), saved, ForceGradients(*into, *given))
    return grads


def _force_backward_fake(*args: Any) -> Nine:  # noqa: ANN401
    return _gradients(ForceCall(*args[4:]), Tensor.new_empty)


force_backward = library.define(
    "force_attention_backward",
    _force_backward,
    _force_backward_fake,
    f"(Tensor dout, Tensor? dlse, Tensor out, Tensor lse, {_SCHEMA}) -> ({', '.join(['Tensor'] * 9)})",
)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:  # noqa: ANN401
    *tensors, scale, eps = inputs
    ctx.settings = (scale, eps)
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*output, *tensors)


def of_heads(grouped: Tensor) -> Tensor:
    """(B, G, N, H / G, ...) as (B, H, N, ...)."""
    return grouped.transpose(2, 3).flatten(1, 2)


def _backward(ctx: Any, dout: Tensor | None, dlse: Tensor | None) -> tuple[Tensor | None, ...]:  # noqa: ANN401
    nothing = (None,) * (len(ForceCall._fields) - _DIFFERENTIABLE)
    if dout is None and dlse is None:
        return (None,) * len(ForceCall._fields)
    out, lse, *tensors = ctx.saved_tensors
    call = ForceCall(*tensors, *ctx.settings)
    if dout is None:
        dout = torch.zeros_like(out)
    de, dr, dv, da, dc, dstrength, drate, dq, dk = force_backward(dout, dlse, out, lse, *call)
    dots = (None, None) if call.q is None else (of_heads(dq), of_heads(dk))
    return de, dr, of_heads(dv), da, dc, dstrength, drate, *dots, *nothing


library.register_autograd("force_attention", _backward, _setup_context)
library.refuse_autograd("force_attention_backward")
