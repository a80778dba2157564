"""Segments of diffused attention that pass something on or not, by a potential that use strengthens."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, NamedTuple, overload

import torch
from torch import Tensor, nn

from fractal_core._arguments import INT32_MAX, flag, integer
from fractal_core._torch import checks
from fractal_core._torch.dtypes import at_least_single
from fractal_core.errors import InvalidArgumentError
from fractal_core.nn._tokens import blanked, ignored, joined, token_mask, tokens
from fractal_core.nn.layers._pattern_sets import PatternSets
from fractal_core.nn.layers._sheath import Sheath
from fractal_core.nn.layers._whole import attend_all
from fractal_core.nn.layers.memory import WorkingMemory
from fractal_core.nn.routing.straight import bernoulli, masked_mean, sample_mean

if TYPE_CHECKING:
    from fractal_core.patterns import Pattern

__all__ = ["WormAttention", "WormPath"]

_START = 2.0
"""The potential's input at the start, before any token is read: segments pass on."""
_PACE = 0.1
"""Share of a training step in the persistent potential."""


class WormPath(NamedTuple):
    """What went through."""

    passed: Tensor
    """(S, B, N) or, where not causal, (S, B, 1): 1 where a segment passed its output on, else 0; with gradients."""
    potential: Tensor
    """The potentials, of the same shape."""


class WormAttention(nn.Module):
    """S segments of diffused attention, each of which decides whether to pass its output on.

    The seed has one sentence of this and no code; what follows is our reading. With A the attention weights of segment
    s over LN(x_s), V its values and R hops:

    - diffusion: Z_0 = V, Z_(r+1) = (1 - tau) A Z_r + tau V, so that R hops of attention cost R products and no A^r;
    - potential: p_s = lambda p_(s-1) + (1 - lambda) (w_s [pool x_s, pool Z] + b_s) + kappa (2 z_(s-1) - 1);
    - decision: z_s = 1 with probability sigmoid(p_s) in training, by a straight-through Gumbel-sigmoid; 1 where p_s > 0
      in eval; x_(s+1) = x_s + z_s W_o Z_R.

    A used path grows easier to use, an unused one harder: kappa >= 0. |p_s| stays within sup |w f + b| + kappa /
    (1 - lambda). Pools are means: of each token's prefix where causal, so that each token decides for itself; else of
    the sample. The first segment has no z before it.

    Source: the diffusion is that of G. Wang et al., "Multi-hop Attention Graph Neural Network" (MAGNA, 2021).

    Args:
        dims: E, a multiple of head.
        head: H.
        segments: S, 1 or more.
        hops: R, 0 or more; 0 passes the values themselves on.
        tau: 0 < tau <= 1, the share of V in each hop; 1 leaves V.
        leak: lambda at the start, 0 < leak < 1; learned.
        kappa: at the start, 0 or more; learned, but where it is 0, which switches it off.
        shared: one set of projections for all segments.
        causal: no token attends to, or decides by, a later one.
        pattern: which keys a token attends to, as `FractalAttention` takes; None for all.
        persistent: p_0 is a buffer, the running mean of the last potential over training; else p_0 = 0. Training steps
            then change it, and so each other.
        temperature: of the softened draw, above 0.

    Raises:
        DTypeError: an argument is of another type than listed.
        InvalidArgumentError: a value is out of its range, or head does not divide dims.
        PluginError: the pattern is not known, or did not load.
    """

    start: Tensor | None

    def __init__(
        self,
        dims: int,
        head: int,
        segments: int = 3,
        *,
        hops: int = 3,
        tau: float = 0.15,
        leak: float = 0.5,
        kappa: float = 0.1,
        shared: bool = False,
        causal: bool = True,
        pattern: Pattern | str | None = None,
        persistent: bool = False,
        temperature: float = 1.0,
    ) -> None:
        super().__init__()
        self.dims, self.head = integer("dims", dims, 1, INT32_MAX), integer("head", head, 1, INT32_MAX)
        if self.dims % self.head:
            raise InvalidArgumentError("head", self.head, f"a divisor of dims = {self.dims}")
        self.segments, self.hops = integer("segments", segments, 1, INT32_MAX), integer("hops", hops, 0, INT32_MAX)
        self.tau, leak = checks.share("tau", tau), checks.share("leak", leak, below=True)
        kappa = checks.nonnegative("kappa", kappa)
        self.causal, self.temperature = flag("causal", causal), checks.positive("temperature", temperature)
        self._sets = None if pattern is None else PatternSets(pattern)
        sheaths = 1 if flag("shared", shared) else self.segments
        self.norms = nn.ModuleList(nn.LayerNorm(self.dims) for _ in range(self.segments))
        self.sheaths = nn.ModuleList(Sheath(self.dims, self.head) for _ in range(sheaths))
        self.potentials = nn.ModuleList(nn.Linear(2 * self.dims, 1) for _ in range(self.segments))
        for linear in self.potentials:
            assert isinstance(linear, nn.Linear)
            nn.init.constant_(linear.bias, _START)
        self.pool = WorkingMemory(self.dims) if self.causal else None
        self.leak_logit = nn.Parameter(torch.tensor(math.log(leak / (1 - leak))))
        # With one segment there is no decision before another.
        learned = kappa > 0 and self.segments > 1
        self.kappa_raw = nn.Parameter(torch.tensor(kappa + math.log(-math.expm1(-kappa)))) if learned else None
        self.register_buffer("start", torch.zeros(()) if flag("persistent", persistent) else None)

    def extra_repr(self) -> str:
        """What `repr` shows beside the segments."""
        return f"segments={self.segments}, hops={self.hops}, tau={self.tau}, causal={self.causal}"

    @property
    def leak(self) -> Tensor:
        """lambda, () in (0, 1)."""
        return self.leak_logit.sigmoid()

    @property
    def kappa(self) -> Tensor:
        """(), 0 or more."""
        return self.leak_logit.new_zeros(()) if self.kappa_raw is None else nn.functional.softplus(self.kappa_raw)

    @overload
    def forward(self, x: Tensor, mask: Tensor | None = None, *, return_path: Literal[False] = False) -> Tensor: ...

    @overload
    def forward(
        self, x: Tensor, mask: Tensor | None = None, *, return_path: Literal[True]
    ) -> tuple[Tensor, WormPath]: ...

    def forward(
        self, x: Tensor, mask: Tensor | None = None, *, return_path: bool = False
    ) -> Tensor | tuple[Tensor, WormPath]:
        """Pass x through the segments.

        Args:
            x: (B, N, E), any float dtype; B and N may be 0.
            mask: (B, N) bool, True where a token takes part as a key and in pools.
            return_path: also give decisions and potentials.

        Returns:
            (B, N, E) in the dtype of x; with return_path also a `WormPath`.

        Raises:
            ShapeError: x or the mask has another shape.
            DTypeError: x is of no float dtype, or the mask is not bool.
        """
        tokens("x", x, self.dims)
        flag("return_path", return_path)
        if mask is not None:
            token_mask("mask", mask, x)
        leak, kappa = at_least_single(self.leak), at_least_single(self.kappa)
        start = self.start
        potential = leak.new_zeros(()) if start is None else at_least_single(start)
        passed: list[Tensor] = []
        potentials: list[Tensor] = []
        for segment in range(self.segments):
            sheath = self.sheaths[segment % len(self.sheaths)]
            assert isinstance(sheath, Sheath)
            h = self.norms[segment](x)
            diffused = self._diffused(sheath, h, mask)
            pools = torch.cat((self._pooled(x, mask), self._pooled(diffused, mask)), 2)
            drive = at_least_single(self.potentials[segment](pools).squeeze(2))
            potential = leak * potential + (1 - leak) * drive
            if passed:
                potential = potential + kappa * (2 * passed[-1] - 1)
            z = bernoulli(potential, self.temperature, self.training)
            x = x + z[..., None].to(x.dtype) * sheath.o(diffused)
            passed.append(z)
            potentials.append(potential)
        if start is not None and self.training and potential.numel():
            with torch.no_grad():
                counted = None if mask is None or not self.causal else mask
                start.lerp_(masked_mean(potential, counted).to(start.dtype), _PACE)
        return (x, WormPath(torch.stack(passed), torch.stack(potentials))) if return_path else x

    def _diffused(self, sheath: Sheath, h: Tensor, mask: Tensor | None) -> Tensor:
        """Z_R, (B, N, E)."""
        q = sheath.queries(h)
        k, v = sheath.keys_values(h)
        padding = ignored(mask)
        k = blanked(padding, k)
        z = v
        for _ in range(self.hops):
            seen = blanked(padding, z)
            z = (1 - self.tau) * attend_all(q, k, seen, self.causal, mask, self._sets) + self.tau * v
        return joined(z)

    def _pooled(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """(B, N, E), or (B, 1, E) where not causal."""
        if self.pool is None:
            return sample_mean(x, mask)
        return self.pool(x, mask=mask)[0]
