"""Layers of neighbourhood attention with NATTEN's names, arguments and parameters."""
# ruff: noqa: PLR0917  (NATTEN's arguments are positional)

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from fractal_core._arguments import INT32_MAX, flag, integer
from fractal_core._torch import checks
from fractal_core.errors import InvalidArgumentError, ShapeError
from fractal_core.gpu import route
from fractal_core.nn._heads_last import scale_of
from fractal_core.nn._neighborhoods import rules_of
from fractal_core.nn.neighborhood import na1d, na2d, na3d

__all__ = ["NeighborhoodAttention1D", "NeighborhoodAttention2D", "NeighborhoodAttention3D"]


class _NeighborhoodAttention(nn.Module):
    """Projections to queries, keys and values, neighbourhood attention, and a projection back."""

    na_dim = 0

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        kernel_size: int | tuple[int, ...],
        stride: int | tuple[int, ...] | None = 1,
        dilation: int | tuple[int, ...] | None = 1,
        is_causal: bool | tuple[bool, ...] | None = False,
        qkv_bias: bool = True,
        qk_scale: float | None = None,
        proj_drop: float = 0.0,
        *,
        device: str = "cpu",
    ) -> None:
        super().__init__()
        self.embed_dim = integer("embed_dim", embed_dim, 1, INT32_MAX)
        self.num_heads = integer("num_heads", num_heads, 1, INT32_MAX)
        if self.embed_dim % self.num_heads:
            raise InvalidArgumentError("num_heads", num_heads, f"a divisor of embed_dim = {embed_dim}")
        self.head_dim = self.embed_dim // self.num_heads
        rules = rules_of((1,) * self.na_dim, kernel_size, stride, dilation, is_causal)
        self.kernel_size = cast("tuple[int, ...]", rules.kernel_size)
        self.stride = cast("tuple[int, ...]", rules.stride)
        self.dilation = cast("tuple[int, ...]", rules.dilation)
        self.is_causal = cast("tuple[bool, ...]", rules.is_causal)
        self.scale = scale_of("qk_scale", qk_scale, self.head_dim)
        self.device = route.checked(device)
        self.qkv = nn.Linear(self.embed_dim, 3 * self.embed_dim, bias=flag("qkv_bias", qkv_bias))
        self.proj = nn.Linear(self.embed_dim, self.embed_dim)
        self.proj_drop = nn.Dropout(checks.fraction("proj_drop", proj_drop))

    def forward(self, x: Tensor) -> Tensor:
        """Attend.

        Args:
            x: (B, box, E), as many axes of the box as the name says.

        Returns:
            The shape of x.

        Raises:
            ShapeError: x has another shape.
            DTypeError: x is no float tensor.
            InvalidArgumentError: a window that does not fit into the box, or a stride above kernel_size.
        """
        x = checks.tensor("x", x)
        if x.ndim != self.na_dim + 2 or x.shape[-1] != self.embed_dim:
            box = ", ".join(("Z", "Y", "X")[3 - self.na_dim :])
            raise ShapeError("x", tuple(x.shape), f"(B, {box}, {self.embed_dim})")
        q, k, v = self.qkv(x).view(*x.shape[:-1], 3, self.num_heads, self.head_dim).unbind(-3)
        attend = (na1d, na2d, na3d)[self.na_dim - 1]
        rules = (self.kernel_size, self.stride, self.dilation, self.is_causal)
        out = attend(q, k, v, *rules, scale=self.scale, device=self.device)
        return self.proj_drop(self.proj(out.flatten(-2)))

    def extra_repr(self) -> str:
        """What `repr` shows beside the projections."""
        return (
            f"{self.embed_dim}, {self.num_heads}, kernel_size={self.kernel_size}, stride={self.stride}, "
            f"dilation={self.dilation}, is_causal={self.is_causal}"
            + ("" if self.device == "cpu" else f", device={self.device!r}")
        )


class NeighborhoodAttention1D(_NeighborhoodAttention):
    """Multi-head neighbourhood attention along a line, (B, N, E) -> (B, N, E); see `NeighborhoodAttention2D`."""

    na_dim = 1


class NeighborhoodAttention2D(_NeighborhoodAttention):
    """Multi-head neighbourhood attention in an image, (B, Y, X, E) -> (B, Y, X, E).

    Its arguments and parameters are those of `natten.NeighborhoodAttention2D`, whose state dicts load: qkv.weight
    (3 E, E), qkv.bias (3 E,), proj.weight (E, E), proj.bias (E,).

    Args:
        embed_dim: E, size of the tokens; a multiple of num_heads.
        num_heads: H.
        kernel_size: as for `na2d`, and so are the next three.
        stride: see kernel_size.
        dilation: see kernel_size.
        is_causal: see kernel_size.
        qkv_bias: the projection to queries, keys and values has a bias.
        qk_scale: factor of the scores, finite and not 0; 1 / sqrt(E / H) where None.
        proj_drop: share of the output's entries that is dropped in training, 0 <= proj_drop < 1.
        device: where attention is computed, "cpu", "gpu" or "auto", as for `sparse_attention`; parameters and tokens
            are the CPU's.

    Raises:
        DTypeError: an argument is of another type than listed.
        ShapeError: a rule has another number of entries than axes.
        InvalidArgumentError: a value out of its range, a scale of 0, or heads that do not divide embed_dim.
    """

    na_dim = 2


class NeighborhoodAttention3D(_NeighborhoodAttention):
    """Multi-head neighbourhood attention in a volume, (B, Z, Y, X, E) -> the same; see `NeighborhoodAttention2D`."""

    na_dim = 3
