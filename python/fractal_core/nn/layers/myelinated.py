"""A stack of attention layers that share their projections, skip tokens, jump ahead and remember."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple, overload

import torch
from torch import Tensor, nn

from fractal_core import patterns
from fractal_core._arguments import INT32_MAX, flag, integer
from fractal_core._torch import checks
from fractal_core.errors import DTypeError, InvalidArgumentError
from fractal_core.nn.layers._pattern_sets import PatternSets
from fractal_core.nn.layers._sheath import Sheath
from fractal_core.nn.layers._stack import Reach, attend, call_of, chosen_of
from fractal_core.nn.layers.jumps import JumpPolicy
from fractal_core.nn.layers.memory import WorkingMemory
from fractal_core.nn.routing import routers
from fractal_core.nn.routing.protocol import checked

if TYPE_CHECKING:
    from fractal_core.nn.cache import Held as Tokens
    from fractal_core.nn.layers._stack import Call
    from fractal_core.nn.layers.memory import MemoryState
    from fractal_core.nn.layers.myelinated_cache import MyelinatedCache, Streams
    from fractal_core.nn.routing.protocol import RouterFactory
    from fractal_core.patterns import Pattern

__all__ = ["MyelinatedLayer", "MyelinatedRouting"]


class MyelinatedRouting(NamedTuple):
    """What was computed, and what to add to the training loss."""

    loss: Tensor
    """(): the sum of the routers' losses."""
    keep: Tensor
    """(L, B, N) bool: the tokens that each layer computed; its mean is the rate."""


class _Step(NamedTuple):
    """What one layer leaves beside x."""

    loss: Tensor
    keep: Tensor
    state: Tensor | None
    held: Tokens | None


class _Node(nn.Module):
    """What each layer has of its own: norm, gate, adapter and router."""

    def __init__(self, dims: int, router: nn.Module) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dims)
        self.gate = nn.Linear(dims, 1)
        self.adapter = nn.Linear(dims, dims)
        self.router = router


class MyelinatedLayer(nn.Module):
    """L attention layers around one set of projections, in which tokens skip layers.

    Layer i, token t, with h = LN_i(x): a router keeps the token or not, z, and
    `x += z g_i(h) Adapter_i(Attention(h))`, where keys are the kept tokens, g_i is a sigmoid and the projections q, k,
    v and o (the sheath) are those of all layers. Then m = memory(x), and a policy on m draws how far to jump, 1 to 3
    layers, each jump adding a learned mix of x0 and m (`JumpPolicy`). Last, `x += sigmoid(w x + b) MLP(LN(x))`.

    With is_causal=True routers, memory and policy see no later token: jumps are drawn for each token from its prefix.
    With is_causal=False they are drawn for each sample. In eval mode skipped tokens cost nothing in attention: kept
    ones are brought together, layer by layer, which needs a look at their number. Under `torch.compile`, and in
    training with routers whose gradient needs the skipped tokens' updates, all are computed and masked; "topk" always
    gathers.

    The idea of a myelinated stack is that of the seed this package grew from; the routers are published methods.

    Args:
        dims: E, size of the tokens; a multiple of head.
        head: H, number of heads.
        layerA: L, number of layers, 1 or more.
        sparsity_threshold: 0 < value < 1, given to a router that has a parameter `threshold`, as "gumbel" does: tokens
            of a smaller importance are skipped.
        max_dist: a token attends to keys at distances below this; longer sequences run as a window, on the sparse
            kernel. None for no limit.
        router: the name of a registered router (`fc.nn.routers`), made with dims, and with `rate` and `threshold` where
            it has such parameters; or a function of dims that makes one, called for each layer.
        rate: the share of tokens to keep, 0 < rate <= 1, for routers that have a parameter `rate`.
        jump: whether layers are jumped; with L = 1 there is nothing to jump.
        memory: mode of the `WorkingMemory`, "mean" or "ema".
        pattern: which keys a token attends to among the kept ones: a pattern as `FractalAttention` takes; None for all.
        temperature: of the jumps' softened draw, above 0.

    Raises:
        DTypeError: an argument is of another type than listed.
        InvalidArgumentError: a value is out of its range, or head does not divide dims.
        PluginError: the router or the pattern is not known, or did not load.
    """

    def __init__(
        self,
        dims: int,
        head: int,
        layerA: int = 3,
        sparsity_threshold: float = 0.1,
        max_dist: int | None = 512,
        *,
        router: str | RouterFactory = "gumbel",
        rate: float = 0.5,
        jump: bool = True,
        memory: str = "mean",
        pattern: Pattern | str | None = None,
        temperature: float = 1.0,
    ) -> None:
        super().__init__()
        self.dims, self.head = integer("dims", dims, 1, INT32_MAX), integer("head", head, 1, INT32_MAX)
        if self.dims % self.head:
            raise InvalidArgumentError("head", self.head, f"a divisor of dims = {self.dims}")
        self.layerA = integer("layerA", layerA, 1, INT32_MAX)
        self.sparsity_threshold = checks.share("sparsity_threshold", sparsity_threshold, below=True)
        self.max_dist = None if max_dist is None else integer("max_dist", max_dist, 1, INT32_MAX)
        make = _maker(router, checks.share("rate", rate), self.sparsity_threshold)
        near = None if self.max_dist is None else PatternSets(patterns.create("window", radius=self.max_dist - 1))
        self._reach = Reach(None if pattern is None else PatternSets(pattern), near, self.max_dist)
        self.sheath = Sheath(self.dims, self.head)
        self.nodes = nn.ModuleList(_Node(self.dims, make(self.dims)) for _ in range(self.layerA))
        temperature = checks.positive("temperature", temperature)
        jumps = flag("jump", jump) and self.layerA > 1
        if memory not in {"mean", "ema"}:
            raise InvalidArgumentError("memory", repr(memory), '"mean" or "ema"')
        self.policy = JumpPolicy(self.dims, self.layerA, temperature) if jumps else None
        self.memory = WorkingMemory(self.dims, memory) if jumps else None
        self.mlp_norm = nn.LayerNorm(self.dims)
        self.mlp_gate = nn.Linear(self.dims, 1)
        self.mlp = nn.Sequential(nn.Linear(self.dims, 4 * self.dims), nn.GELU(), nn.Linear(4 * self.dims, self.dims))

    @overload
    def forward(
        self,
        x: Tensor,
        xa: Tensor | None = None,
        mask: Tensor | None = None,
        kv_cache: MyelinatedCache | None = None,
        is_causal: bool = True,
        *,
        return_routing: Literal[False] = False,
    ) -> Tensor: ...

    @overload
    def forward(
        self,
        x: Tensor,
        xa: Tensor | None = None,
        mask: Tensor | None = None,
        kv_cache: MyelinatedCache | None = None,
        is_causal: bool = True,
        *,
        return_routing: Literal[True],
    ) -> tuple[Tensor, MyelinatedRouting]: ...

    def forward(
        self,
        x: Tensor,
        xa: Tensor | None = None,
        mask: Tensor | None = None,
        kv_cache: MyelinatedCache | None = None,
        is_causal: bool = True,
        *,
        return_routing: bool = False,
    ) -> Tensor | tuple[Tensor, MyelinatedRouting]:
        """Run the stack.

        Args:
            x: (B, N, E), any float dtype; B and N may be 0. With a cache, the N tokens that follow those of the cache.
            xa: (B, M, E), other tokens to attend to in place of x (cross attention): all of them, by every kept token.
            mask: bool, True where a key takes part, as in `scaled_dot_product_attention`: (B, N), or (B, M) with xa; or
                (B|1, N, N), (B|1, N, M) for pairs. Tokens that a mask of keys of x leaves out are skipped by all layers
                and not remembered.
            kv_cache: what was seen before x; x is added to it. The result then equals the last N rows of the full pass.
                Needs is_causal=True and no mask of pairs.
            is_causal: no token sees a later one; xa is seen whole.
            return_routing: also give the routers' loss, which training needs, and what was kept.

        Returns:
            (B, N, E) in the dtype of x; with return_routing also `MyelinatedRouting`.

        Raises:
            DTypeError: a tensor is of another dtype, or an argument of another type, than listed; or a router gave
                something else than a `Routing`.
            ShapeError: shapes that do not fit together.
            InvalidArgumentError: a cache with is_causal=False, a mask of pairs or a pattern that a longer sequence
                changes; a mask of pairs with a pattern.

        A call that raises leaves the cache as it was.
        """
        flag("return_routing", return_routing)
        call = call_of(self.sheath, self._reach, x, xa, mask, kv_cache, flag("is_causal", is_causal))
        streams = None if kv_cache is None else kv_cache.begun(self.layerA)
        after: list[tuple[Tokens | None, MemoryState | None]] = []
        x0, loss = x, x.new_zeros(())
        keeps: list[Tensor] = []
        state: Tensor | None = None
        arrived: list[Tensor | None] = [x.new_ones(x.shape[0], 1), *[None] * self.layerA]
        for layer in range(self.layerA):
            stream, active = None if streams is None else streams[layer], arrived[layer]
            assert active is not None
            x, step = self._step(call, layer, x, active, state, stream)
            state, loss = step.state, loss + step.loss
            keeps.append(step.keep)
            remembered = None
            lengths = [active]
            if self.policy is not None and self.memory is not None and layer < self.layerA - 1:
                before = None if stream is None else stream.memory
                memory, remembered = self.memory(x, mask=call.mask, state=before, causal=call.causal)
                chosen = self.policy(memory, layer, self.layerA)
                x = x + active[..., None] * self.policy.added(chosen, layer, x0, memory)
                lengths = [active * length for length in chosen.unbind(2)]
            for length, there in enumerate(lengths, 1):
                earlier = arrived[layer + length]
                arrived[layer + length] = there if earlier is None else earlier + there
            after.append((step.held, remembered))
        x = x + self.mlp_gate(x).sigmoid() * self.mlp(self.mlp_norm(x))
        if kv_cache is not None and streams is not None:
            for stream, (held, remembered) in zip(streams, after, strict=True):
                if held is not None:
                    stream.tokens.keep(held)
                stream.memory = remembered
            kv_cache.keep(streams)
        return (x, MyelinatedRouting(loss, torch.stack(keeps))) if return_routing else x

    def _step(  # noqa: PLR0917
        self, call: Call, layer: int, x: Tensor, active: Tensor, state: Tensor | None, stream: Streams | None
    ) -> tuple[Tensor, _Step]:
        """X after one layer's attention."""
        node = self.nodes[layer]
        assert isinstance(node, _Node)
        h = node.norm(x)
        routing = checked(node.router(h, state=state, mask=call.mask, causal=call.causal), h)
        keep = (active > 0).expand(x.shape[:2])
        everything = routing.keep is None and call.mask is None and (layer == 0 or self.policy is None)
        for one in (routing.keep, call.mask):
            keep = keep if one is None else keep & one
        chosen = chosen_of(routing, keep, everything, self.training)
        h = chosen.gather(h)
        past = None if stream is None else stream.tokens
        attended, held = attend(self.sheath, self._reach, call, h, chosen, keep, everything, past)
        gate = chosen.gather(routing.gate * active) * node.gate(h).sigmoid().squeeze(2)
        if chosen.order is not None:
            gate = gate * chosen.keep  # what fills up is no token that was skipped: no gate learns from it
        elif call.mask is not None:
            gate = gate * call.mask
        x = chosen.add(x, gate[..., None] * node.adapter(attended))
        return x, _Step(routing.loss, keep, routing.state, held)


def _maker(router: object, rate: float, threshold: float) -> RouterFactory:
    """What makes a router of a name, or the function that was given."""
    if isinstance(router, str):
        known = routers.info(router).parameters
        given = {name: value for name, value in (("rate", rate), ("threshold", threshold)) if name in known}
        return lambda dims: routers.create(router, dims=dims, **given)
    if not callable(router):
        raise DTypeError("router", type(router).__name__, "the name of a router, or a function of dims that makes one")

    def make(dims: int) -> nn.Module:
        made = router(dims)
        if not isinstance(made, nn.Module):
            raise DTypeError("router", f"a function that makes a {type(made).__name__}", "one that makes an nn.Module")
        return made

    return make
