"""Rotary position embedding: queries and keys are rotated so that their scores see differences of positions alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from fractal_core._arguments import INT32_MAX, flag, integer
from fractal_core._torch import checks
from fractal_core._torch.dtypes import accumulation_dtype
from fractal_core._torch.recent import Recent
from fractal_core.errors import DTypeError, InvalidArgumentError, ShapeError
from fractal_core.nn.rotary import angles
from fractal_core.nn.rotary.angles import Decay, Turns, turns, without_autocast
from fractal_core.nn.rotary.arguments import Originals, settled
from fractal_core.nn.rotary.bases import HouseholderBasis, basis_of
from fractal_core.nn.rotary.frequencies import FixedFrequencies, LearnedFrequencies
from fractal_core.nn.rotary.layouts import checked_layout
from fractal_core.nn.rotary.modes import rotary_modes
from fractal_core.nn.rotary.original_calls import OriginalCalls

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fractal_core.nn.rotary.scaling import RotaryScaling

__all__ = ["RotaryEmbedding"]

_XPOS = Decay(smoothing=0.4, length=512.0)


class RotaryEmbedding(OriginalCalls, nn.Module):
    """Rotates queries and keys by their positions: `score(q at m, k at n)` depends on `n - m` alone.

    Position p turns a vector by `R(p) = U · blockdiag(rot(θ_i(p))) · U^T` with `θ_i(p) = sum_a p_a w_{a,i}`: the form
    of all continuous families of rotations with `R(m)^T R(n) = R(n - m)`. Angles are in float64, their cosines and
    sines in float32 (float64 for float64 tokens), and the result has the dtype of the tokens. Nothing is a buffer,
    nothing changes with the calls.

    Source: J. Su et al., "RoFormer" (2021); C. Schenck et al., "Learning the RoPEs" (2025), for the general form; Y.
    Sun et al., "A Length-Extrapolatable Transformer" (2022), for `xpos`.

    Args:
        dim: d, size of a head.
        base: frequency i of an axis with F of them is `base ** (-i / F)` radians a position; above 1.
        n_axes: axes of a position. Each has a run of the frequencies; `grid_positions` makes positions of a grid.
        rotary_dim: the first `rotary_dim` entries turn, the others stay; all of them where None.
        mode: what an angle does to a block of entries: "rope" (2), "quaternion3" (3), "quaternion4" (4), or a name that
            a plug-in registered with `rotary_modes`.
        basis: U, learned: None for the identity, "givens", "cayley" or "householder".
        proj_dim: m: instead of the first entries, the components along m learned orthonormal directions P turn:
            `x + P (R(p) - I) P^T x`. None for no projection.
        learned_freq: the frequencies are parameters.
        layout: of the pairs of "rope": "interleaved" (2i, 2i + 1), or "half" (i, i + rotary_dim / 2).
        xpos: queries are multiplied by `zeta ** (p / 512)` and keys by `zeta ** (-p / 512)`, so that scores decay with
            the distance to earlier keys; for one axis. In float32 good for positions below 30,000.
        scaling: `LinearScaling`, `NTKScaling`, `YaRNScaling`, `Llama3Scaling`, another `RotaryScaling`, or the
            `rope_parameters` dict of a Hugging Face config.
        theta: the original's name of `base`.
        num_freqs: the original's number of frequencies: rotary_dim is that many blocks.
        theta_rescale_factor: the original's name of `NTKScaling(factor)`.
        use_quaternion: True is `mode="quaternion3"`; without a `rotary_dim` the last `dim % 3` entries stay.
        rot_scale: with `rot_count` the original's number of rotated blocks, `round(rot_scale * rot_count)`.
        rot_count: see rot_scale.
        use_projection: True is `proj_dim=3`, unless that is given.
        proj_scale: None or 1.

    Raises:
        InvalidArgumentError: a value out of range, or arguments that contradict each other.
        DTypeError: a value of another type.
        PluginError: a mode that is not known or did not load.
    """

    def __init__(
        self,
        dim: int,
        *,
        base: float = 10000.0,
        n_axes: int = 1,
        rotary_dim: int | None = None,
        mode: str = "rope",
        basis: str | None = None,
        proj_dim: int | None = None,
        learned_freq: bool = False,
        layout: str = "interleaved",
        xpos: bool = False,
        scaling: RotaryScaling | Mapping[str, object] | None = None,
        theta: float | None = None,
        num_freqs: int | None = None,
        theta_rescale_factor: float | None = None,
        use_quaternion: bool | None = None,
        rot_scale: float | None = None,
        rot_count: int | None = None,
        use_projection: bool | None = None,
        proj_scale: float | None = None,
    ) -> None:
        super().__init__()
        originals = Originals(
            theta, num_freqs, theta_rescale_factor, use_quaternion, rot_scale, rot_count, use_projection, proj_scale
        )
        given = settled(dim, base, mode, rotary_dim, proj_dim, scaling, originals)
        if given.proj_dim is not None and basis is not None:
            raise InvalidArgumentError("basis", repr(basis), f"None with proj_dim = {given.proj_dim}: P is the basis")
        self.dim, self.rotary_dim, self.proj_dim, self.mode = given.dim, given.rotary_dim, given.proj_dim, given.mode
        self.layout = checked_layout(layout)
        # A mode without layouts does not take the argument, and is refused by its name.
        self.turn = rotary_modes.create(
            self.mode, dim=self.rotary_dim, **({} if layout == "interleaved" else {"layout": layout})
        )
        count = self.rotary_dim // self.turn.block
        self.n_axes = integer("n_axes", n_axes, 1, INT32_MAX)
        if self.n_axes > count:
            raise InvalidArgumentError("n_axes", self.n_axes, f"at most {count}, the number of frequencies")
        self.xpos = flag("xpos", xpos)
        if self.xpos and self.n_axes > 1:
            raise InvalidArgumentError("xpos", True, "False with several axes, which have no one direction to decay in")
        fixed = FixedFrequencies(given.base, count, self.n_axes, given.scaling)
        self.fixed = fixed
        self.learned = LearnedFrequencies(fixed) if flag("learned_freq", learned_freq) else None
        self.basis = basis_of(basis, self.rotary_dim)
        self.projection = None if self.proj_dim is None else HouseholderBasis(self.dim, self.proj_dim)
        self._tables: Recent[Turns] = Recent(4)

    def extra_repr(self) -> str:
        """What `repr` shows beside the parts."""
        shown = f"{self.dim}, mode={self.mode!r}, base={self.fixed.base:g}, rotary_dim={self.rotary_dim}"
        shown += f", n_axes={self.n_axes}" if self.n_axes > 1 else ""
        shown += f", layout={self.layout!r}" if self.mode == "rope" else ""
        shown += f", proj_dim={self.proj_dim}" if self.proj_dim is not None else ""
        shown += f", scaling={self.fixed.scaling}" if self.fixed.scaling is not None else ""
        return shown + (", xpos=True" if self.xpos else "")

    def no_weight_decay(self) -> set[str]:
        """Names of all parameters: decay would pull frequencies, axes and angles to values that mean nothing."""
        return {name for name, _ in self.named_parameters()}

    def frequencies(self, device: torch.device | str = "cpu") -> Tensor:
        """The frequencies w, (n_axes, count), float64, radians a step; with gradients where they are learned."""
        source = self.fixed if self.learned is None else self.learned
        return source.values(torch.device(device))

    def forward(
        self, q: Tensor, k: Tensor, positions: Tensor | None = None, offset: int | Tensor = 0
    ) -> tuple[Tensor, Tensor]:
        """Rotate queries and keys.

        Args:
            q: (..., n, d), any float dtype.
            k: (..., n, d), the dtype of q; its leading axes may differ, as with fewer key heads.
            positions: (n,) for one axis, or (..., n, n_axes), which broadcasts to q and k; integers, float32 or
                float64. None for offset, offset + 1, ..., with one axis.
            offset: without positions, that of the first token: an integer, or (B,) integers, one for each row of the
                batch, as in decoding with caches of different lengths.

        Returns:
            q and k as they were, but rotated.

        Raises:
            ShapeError: a shape that does not fit.
            DTypeError: a tensor of another dtype.
            InvalidArgumentError: positions and an offset, or no positions for several axes.
        """
        self._check("q", q)
        self._check("k", k)
        if k.ndim != q.ndim or k.shape[-2] != q.shape[-2]:
            allowed = f"as many axes as q, {q.ndim}, and its length and size: (..., {q.shape[-2]}, {self.dim})"
            raise ShapeError("k", tuple(k.shape), allowed)
        if k.dtype != q.dtype or k.device != q.device:
            raise DTypeError("k", f"{k.dtype} on {k.device}", f"those of q, {q.dtype} on {q.device}")
        where = self._where(q, positions, offset)
        if isinstance(where, Tensor):
            self._where(k, positions, offset)
        table = self._table(q, where)
        directions = self._directions(q)
        return self._rotated(q, table, directions, key=False), self._rotated(k, table, directions, key=True)

    def rotate(
        self, x: Tensor, positions: Tensor | None = None, offset: int | Tensor = 0, *, key: bool = False
    ) -> Tensor:
        """Rotate queries alone, or keys alone.

        Args:
            x: (..., n, d), any float dtype.
            positions: as for `forward`.
            offset: as for `forward`.
            key: x are keys; makes a difference with `xpos` only.

        Raises:
            ShapeError: a shape that does not fit.
            DTypeError: a tensor of another dtype.
            InvalidArgumentError: positions and an offset, or no positions for several axes.
        """
        self._check("x", x)
        key = flag("key", key)
        table = self._table(x, self._where(x, positions, offset))
        return self._rotated(x, table, self._directions(x), key=key)

    def _check(self, name: str, x: Tensor) -> None:
        checks.floating(name, x)
        if x.ndim < 2 or x.shape[-1] != self.dim:
            raise ShapeError(name, tuple(x.shape), f"(..., length, {self.dim})")

    def _where(self, x: Tensor, positions: Tensor | None, offset: int | Tensor) -> int | Tensor:
        """Positions (..., n, n_axes), or the first of consecutive ones."""
        offset = angles.checked_offset(offset)
        if positions is not None:
            if isinstance(offset, Tensor) or offset != 0:
                raise InvalidArgumentError("offset", offset, "0 with positions, which say where each token is")
            return angles.checked_positions(positions, self.n_axes, x.shape[:-1], x.device)
        if self.n_axes > 1:
            raise InvalidArgumentError("positions", None, f"(..., {x.shape[-2]}, {self.n_axes}), as of grid_positions")
        return angles.consecutive(offset, x.shape[:-1], x.device) if isinstance(offset, Tensor) else offset

    def _table(self, x: Tensor, where: int | Tensor) -> Turns:
        """Cosines and sines for the tokens of x; those of consecutive positions and fixed frequencies are kept."""
        dtype = accumulation_dtype(x.dtype)

        def make() -> Turns:
            places = where if isinstance(where, Tensor) else angles.consecutive(where, x.shape[:-1], x.device)
            return turns(places, self.frequencies(x.device), dtype, decay=_XPOS if self.xpos else None)

        if isinstance(where, Tensor) or self.learned is not None or not _is_plain(x):
            return make()
        return self._tables.get((x.shape[-2], where, x.device, dtype, torch.is_inference_mode_enabled()), make)

    def _directions(self, x: Tensor) -> Tensor | None:
        """U or P, (rotary_dim | d, rotary_dim) of the dtype that x is rotated in, or None for the identity."""
        source = self.basis if self.projection is None else self.projection
        if source is None:
            return None
        with without_autocast(x.device):
            return source(accumulation_dtype(x.dtype))

    def _rotated(self, x: Tensor, table: Turns, directions: Tensor | None, *, key: bool) -> Tensor:
        given = x.to(table.cos.dtype)
        if directions is None:
            turned = self._turned(given[..., : self.rotary_dim], table, key)
        else:
            with without_autocast(x.device):
                if self.projection is not None:
                    along = given @ directions
                    return (given + (self._turned(along, table, key) - along) @ directions.T).to(x.dtype)
                turned = self._turned(given[..., : self.rotary_dim] @ directions, table, key) @ directions.T
        if self.rotary_dim < self.dim:
            turned = torch.cat((turned, given[..., self.rotary_dim :]), -1)
        return turned.to(x.dtype)

    def _turned(self, x: Tensor, table: Turns, key: bool) -> Tensor:
        """Blocks turned and scaled, in the coordinates of U."""
        with without_autocast(x.device):
            turned = self.turn(x, table.cos, table.sin)
        if table.scale is not None:
            turned = turned * self.turn.spread(1 / table.scale if key else table.scale)
        factor = 1.0 if self.fixed.scaling is None else self.fixed.scaling.attention_factor
        return turned if factor == 1 else turned * factor


def _is_plain(x: Tensor) -> bool:
    """Whether what is made for x may serve later calls: no compiler, transform or mode of torch looks on."""
    transformed = torch._C._are_functorch_transforms_active()  # pyright: ignore[reportPrivateUsage]
    traced = torch.compiler.is_compiling() or torch.jit.is_tracing()  # pyright: ignore[reportPrivateImportUsage]
    return type(x) in {Tensor, nn.Parameter} and not transformed and not traced
