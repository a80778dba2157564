"""Attention by forces between points, over the edges of an index set: the public entry to the op."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, overload

import torch
from torch import Tensor

from fractal_core._arguments import flag
from fractal_core._torch import checks
from fractal_core._torch.dtypes import accumulation_dtype
from fractal_core.errors import DTypeError, InvalidArgumentError, ShapeError
from fractal_core.nn import _functorch
from fractal_core.nn._arrays import with_room
from fractal_core.nn._empty import checked_lists, connected
from fractal_core.nn._force import force, of_heads
from fractal_core.nn._inputs import keys_of
from fractal_core.nn.ops import refuse_tangents

if TYPE_CHECKING:
    from fractal_core.index_sets import IndexSet

__all__ = ["force_attention"]


@overload
def force_attention(
    e: Tensor,
    r: Tensor,
    v: Tensor,
    directions: Tensor,
    index_set: IndexSet | Tensor,
    *,
    q: Tensor | None = None,
    k: Tensor | None = None,
    tau: Tensor | float = 1.0,
    length: Tensor | float = 1.0,
    scale: float | None = None,
    eps: float = 1e-6,
    key_padding_mask: Tensor | None = None,
    q_offset: int | None = None,
    return_lse: Literal[False] = False,
) -> Tensor: ...


@overload
def force_attention(
    e: Tensor,
    r: Tensor,
    v: Tensor,
    directions: Tensor,
    index_set: IndexSet | Tensor,
    *,
    q: Tensor | None = None,
    k: Tensor | None = None,
    tau: Tensor | float = 1.0,
    length: Tensor | float = 1.0,
    scale: float | None = None,
    eps: float = 1e-6,
    key_padding_mask: Tensor | None = None,
    q_offset: int | None = None,
    return_lse: Literal[True],
) -> tuple[Tensor, Tensor]: ...


def force_attention(
    e: Tensor,
    r: Tensor,
    v: Tensor,
    directions: Tensor,
    index_set: IndexSet | Tensor,
    *,
    q: Tensor | None = None,
    k: Tensor | None = None,
    tau: Tensor | float = 1.0,
    length: Tensor | float = 1.0,
    scale: float | None = None,
    eps: float = 1e-6,
    key_padding_mask: Tensor | None = None,
    q_offset: int | None = None,
    return_lse: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """Attention whose scores are forces between points, over the edges of an index set, with gradients for all inputs.

    Query i stands at e_i and key j at r_j, d_ij = |e_i - r_j|. Head h has the score

        s_ijh = tau_h * (e_i - r_j) . w_h / (d_ij + eps) * exp(-d_ij / (sqrt(C) * length_h))  [+ scale * q_ih . k_jh]

    and the output is softmax_j(s_ijh) v_jh over the keys of i. The unit vectors are never made: their component along
    w_h is (a_ih - c_jh) / d_ij with a = e w^T and c = r w^T. Neither scores nor distances are kept: the backward pass
    computes them again. Moving all points alike changes nothing, nor does rotating them together with the directions.
    A query without any key gives output 0, gradient 0 and lse -inf. Where e_i = r_j the unit vector is 0; the gradient
    of a coordinate along w_h is then that of a slope of tau_h / eps, which is finite. Batch, queries, keys and edges
    may be 0 in number. Runs on the CPU, in float32 (float64 for float64), also under autocast; equal bit for bit for
    every number of threads.

    Args:
        e: (B, H|1, Nq, C), points of the queries, float32, float64, bfloat16 or float16; heads share them where 1.
        r: (B, H|1, Nk, C), points of the keys, the dtype and the heads of e.
        v: (B, H, Nk, Dv), the dtype of e.
        directions: (H, C), w, any float dtype.
        index_set: which keys each query attends to; n_keys is Nk, n_queries is at least Nq. In its place (B|1, H|1, Nq,
            K) int32 or int64 lists of keys, -1 a pad, that may change at every call (`CurveNeighbors` makes some); by
            head only where e is. A key that is listed twice counts twice.
        q: (B, H, Nq, D), the dtype of e; needs k.
        k: (B, H, Nk, D), the dtype of e; needs q.
        tau: (H,) or a number, factor of the forces.
        length: (H,) or a number, above 0: how far forces reach, in units of sqrt(C).
        scale: factor of the dot products of q and k, finite; 1 / sqrt(D) where None.
        eps: added to distances in the denominator, a finite number above 0.
        key_padding_mask: (B, Nk) bool, True where a key is to be ignored.
        q_offset: query i takes row i + q_offset of the index set; n_queries - Nq where None.
        return_lse: also give the natural log-sum-exp of the scores, which takes part in the gradient.

    Returns:
        (B, H, Nq, Dv) in the dtype of e; with return_lse also (B, H, Nq), float32 (float64 for float64).

    Raises:
        DTypeError: a tensor is of another dtype, or an argument of another type, than listed.
        ShapeError: shapes do not fit together, or a width is 0.
        InvalidArgumentError: a value is out of its range, a tensor is not on the CPU, or one of q and k is missing.
        KeyIndexError: lists hold a key that there is not.
        NotImplementedError: under a transform of `torch.func`, or forward-mode differentiation.

    Source: the score is of the seed's `RelativeForce`, with the two identities and the length scale that make it run.
    """
    return_lse = flag("return_lse", return_lse)
    batch, heads, n, m, width = _sizes(e, r, v, directions)
    exact = accumulation_dtype(e.dtype)
    dots, factor = _dots(q, k, scale, (batch, heads, n, m), e.dtype)
    strength, reach = _constants(tau, length, heads, exact)
    eps = checks.positive("eps", eps)
    if key_padding_mask is not None:
        key_padding_mask = checks.boolean("key_padding_mask", key_padding_mask, (batch, m))
    keys = keys_of(index_set, q_offset, (batch, e.shape[1], n, m))
    refuse_tangents([t for t in (e, r, v, directions, *dots, strength, reach) if t is not None])
    if _functorch.is_active():
        raise NotImplementedError("force_attention has no rule for torch.func; use torch.autograd")
    if 0 in (batch, heads, n, m) or (keys.ndim == 4 and keys.shape[3] == 0):
        checked_lists(keys, m)
        tensors = (e, r, v, directions, *dots, strength, reach)
        out, lse = e.new_zeros((batch, heads, n, v.shape[3])), e.new_full((batch, heads, n), -math.inf, dtype=exact)
        out, lse = connected(out, tensors), connected(lse, tensors)
        return (out, lse) if return_lse else out
    with torch.autocast("cpu", enabled=False):
        points, w = (e.to(exact), r.to(exact)), directions.to(exact)
        a, c = (with_room(_along, x, w) for x in points)
        rate = 1.0 / (reach * math.sqrt(width))
        q, k = (None if t is None else t.to(exact) for t in dots)
        out, lse = force(*points, v.to(exact), a, c, strength, rate, q, k, keys, key_padding_mask, factor, eps)
    out = of_heads(out).to(e.dtype)
    return (out, of_heads(lse)) if return_lse else out


def _along(points: Tensor, w: Tensor) -> Tensor:
    """Coordinates (B, G, N, H / G) of points (B, G, N, C) along the directions (H, C)."""
    return points @ w.T if points.shape[1] == 1 else torch.einsum("bhnc,hc->bhn", points, w)[..., None]


def _sizes(e: Tensor, r: Tensor, v: Tensor, directions: Tensor) -> tuple[int, int, int, int, int]:
    """Batch, heads, queries, keys and coordinates."""
    e, r, v = (checks.tensor(name, t) for name, t in (("e", e), ("r", r), ("v", v)))
    for name, t in (("e", e), ("r", r), ("v", v)):
        if t.ndim != 4:
            raise ShapeError(name, tuple(t.shape), "4 dimensions: (batch, heads, length, width)")
        if t.dtype != e.dtype:
            raise DTypeError(name, t.dtype, f"the dtype of e, {e.dtype}")
        if t.shape[3] == 0:
            raise ShapeError(name, tuple(t.shape), "a width of at least 1")
    batch, groups, n, width = e.shape
    heads, m = v.shape[1], v.shape[2]
    if groups not in {1, heads}:
        raise ShapeError("e", tuple(e.shape), f"1 or {heads} heads, as v")
    checks.shaped("r", r, (batch, groups, m, width))
    checks.shaped("v", v, (batch, heads, m, v.shape[3]))
    checks.shaped("directions", checks.tensor("directions", directions), (heads, width))
    return batch, heads, n, m, width


def _dots(
    q: Tensor | None, k: Tensor | None, scale: float | None, sizes: tuple[int, int, int, int], dtype: torch.dtype
) -> tuple[tuple[Tensor | None, Tensor | None], float]:
    """The queries and keys, if there are any, and the factor of their dot products."""
    if q is None or k is None:
        for name, given, other in (("q", q, "k"), ("k", k, "q")):
            if given is not None:
                raise InvalidArgumentError(other, None, f"a tensor where {name} is one")
        if scale is not None:
            raise InvalidArgumentError("scale", scale, "None without q and k")
        return (None, None), 1.0
    batch, heads, n, m = sizes
    q, k = checks.tensor("q", q), checks.tensor("k", k)
    size = q.shape[-1] if q.ndim else 0
    for name, t, length in (("q", q, n), ("k", k, m)):
        checks.shaped(name, t, (batch, heads, length, size))
        if t.dtype != dtype:
            raise DTypeError(name, t.dtype, f"the dtype of e, {dtype}")
    if size == 0:
        raise ShapeError("q", tuple(q.shape), "a head size of at least 1")
    return (q, k), size**-0.5 if scale is None else checks.finite("scale", scale)


def _constants(tau: Tensor | float, length: Tensor | float, heads: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Strengths and lengths of all heads."""
    found: list[Tensor] = []
    for name, given in (("tau", tau), ("length", length)):
        if isinstance(given, Tensor):
            checks.shaped(name, checks.tensor(name, given), (heads,))
            found.append(given.to(dtype))
            continue
        value = checks.finite(name, given) if name == "tau" else checks.positive(name, given)
        found.append(torch.full((heads,), value, dtype=dtype))
    return found[0], found[1]
