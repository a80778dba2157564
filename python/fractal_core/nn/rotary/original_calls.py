"""The original's methods, by what they can honestly mean (docs/rotary.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from fractal_core._arguments import INT32_MAX, integer, real
from fractal_core._torch import checks
from fractal_core.errors import InvalidArgumentError
from fractal_core.nn.rotary.layouts import rotate_by
from fractal_core.nn.rotary.quaternions import quaternion_rotate

if TYPE_CHECKING:
    from typing import Protocol

    class _Embedding(Protocol):
        layout: str
        proj_dim: int | None

        def rotate(
            self, x: Tensor, positions: Tensor | None = None, offset: int | Tensor = 0, *, key: bool = False
        ) -> Tensor: ...


__all__ = ["OriginalCalls"]


class OriginalCalls:
    """The original's names of what `RotaryEmbedding` does."""

    def rotate_qk(
        self: _Embedding,
        t: Tensor,
        seq_dim: int | None = None,
        offset: int | Tensor = 0,
        scale: float | None = None,
    ) -> Tensor:
        """`rotate(t, offset=offset)`, with the length at axis `seq_dim`.

        Args:
            t: (..., n, d), any float dtype, or with n at another axis.
            seq_dim: axis of the length, not the last one; the last but one where None.
            offset: as for `forward`.
            scale: None or 1: another one changes lengths.

        Raises:
            InvalidArgumentError: an axis that t does not have, or another scale.
        """
        if scale is not None and real("scale", scale) != 1:
            raise InvalidArgumentError("scale", scale, "None or 1: a rotation keeps lengths; scale the scores instead")
        t = checks.floating("t", t)
        if seq_dim is None:
            return self.rotate(t, offset=offset)
        axis = integer("seq_dim", seq_dim, -t.ndim, t.ndim - 1)
        if axis % t.ndim == t.ndim - 1:
            raise InvalidArgumentError("seq_dim", axis, "another axis than the last, which is the size of a head")
        return self.rotate(t.movedim(axis, -2), offset=offset).movedim(-2, axis)

    def rotations(self: _Embedding, x: Tensor) -> Tensor:
        """`rotate(x)`: by position. One rotation for all positions, which no score sees, is `CompactRotation`."""
        return self.rotate(x)

    def project_and_rotate(self: _Embedding, x: Tensor) -> Tensor:
        """`rotate(x)`, of an embedding with a projection.

        Raises:
            InvalidArgumentError: the embedding has none.
        """
        if self.proj_dim is None:
            raise InvalidArgumentError("use_projection", False, "True, or proj_dim, for project_and_rotate")
        return self.rotate(x)

    def q_rotation(self, x: Tensor, theta: float | Tensor, u: Tensor, v: Tensor | None = None) -> Tensor:
        """`quaternion_rotate(x, theta, u)`.

        Raises:
            InvalidArgumentError: a `v`, which has no part in it.
        """
        if v is not None:
            raise InvalidArgumentError("v", "a tensor", "None: a rotation around u has no second vector")
        return quaternion_rotate(x, theta, u)

    def learned_rotations(
        self: _Embedding,
        rotations: Tensor,
        t: Tensor,
        start_index: int = 0,
        freq_ranges: Tensor | None = None,
    ) -> Tensor:
        """`rotate_by(t, rotations, ...)`, in this embedding's layout: angles of one's own, no relative scores."""
        start = integer("start_index", start_index, 0, INT32_MAX)
        return rotate_by(t, rotations, layout=self.layout, start_index=start, freq_ranges=freq_ranges)
