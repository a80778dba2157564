"""Learned orthogonal matrices, by parameters that may take any value: Givens, Cayley and Householder.

Each starts at the identity, or at its negative, under which rotations are the same.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from fractal_core.errors import InvalidArgumentError
from fractal_core.nn.rotary.layouts import rotate_pairs

__all__ = ["BASES", "CayleyBasis", "GivensBasis", "HouseholderBasis", "basis_of"]


class GivensBasis(nn.Module):
    """U as a mesh of d layers of rotations of neighbouring coordinates, d (d - 1) / 2 angles: every rotation.

    Source: W. Clements et al., "Optimal design for universal multiport interferometers" (2016), the real case.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.theta = nn.Parameter(torch.zeros(dim * (dim - 1) // 2))

    def forward(self, dtype: torch.dtype) -> Tensor:
        """U, (d, d) of `dtype`."""
        theta = self.theta.to(dtype)
        rows = torch.eye(self.dim, dtype=dtype, device=theta.device)
        cos, sin, used = theta.cos(), theta.sin(), 0
        for layer in range(self.dim):
            first = layer % 2
            pairs = (self.dim - first) // 2
            last, angles = first + 2 * pairs, slice(used, used + pairs)
            turned = rotate_pairs(rows[:, first:last], cos[angles], sin[angles], "interleaved")
            rows = torch.cat((rows[:, :first], turned, rows[:, last:]), 1)
            used += pairs
        return rows.T


class CayleyBasis(nn.Module):
    """`U = (I - A)^-1 (I + A)` for a skew A, d (d - 1) / 2 entries: every rotation without a half turn.

    Source: A. Cayley (1846).
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.skew = nn.Parameter(torch.zeros(dim * (dim - 1) // 2))

    def forward(self, dtype: torch.dtype) -> Tensor:
        """U, (d, d) of `dtype`."""
        lower = _lower(self.skew.to(dtype), self.dim, self.dim)
        skew = lower - lower.T
        one = torch.eye(self.dim, dtype=dtype, device=skew.device)
        return cast("Tensor", torch.linalg.solve(one - skew, one + skew))


class HouseholderBasis(nn.Module):
    """U as the first m columns of a product of m reflections, vector i with zeros above entry i and 1 there.

    With m = d that is every orthogonal matrix up to the signs of its columns, which rotations do not see but for their
    sense; with m < d it is every choice of m orthonormal directions.

    Source: A. Householder (1958); LAPACK's `orgqr`.
    """

    def __init__(self, dim: int, columns: int | None = None) -> None:
        super().__init__()
        self.dim, self.columns = dim, dim if columns is None else columns
        m = self.columns
        self.vectors = nn.Parameter(torch.zeros(m * (2 * dim - m - 1) // 2))

    def forward(self, dtype: torch.dtype) -> Tensor:
        """U, (d, m) of `dtype`."""
        lower = _lower(self.vectors.to(dtype), self.dim, self.columns)
        return cast("Tensor", torch.linalg.householder_product(lower, 2 / (1 + lower.square().sum(0))))


def _lower(entries: Tensor, rows: int, columns: int) -> Tensor:
    """(rows, columns) with the entries below the diagonal, zeros elsewhere."""
    r, c = torch.tril_indices(rows, columns, -1, device=entries.device)
    return entries.new_zeros(rows, columns).index_put((r, c), entries)


BASES: dict[str, type[GivensBasis] | type[CayleyBasis] | type[HouseholderBasis]] = {
    "givens": GivensBasis,
    "cayley": CayleyBasis,
    "householder": HouseholderBasis,
}


def basis_of(name: str | None, dim: int) -> GivensBasis | CayleyBasis | HouseholderBasis | None:
    """The basis of a name, or None.

    Raises:
        InvalidArgumentError: another name.
    """
    if name is None:
        return None
    if name not in BASES:
        raise InvalidArgumentError("basis", repr(name), f"None or one of {', '.join(BASES)}")
    return BASES[name](dim)
