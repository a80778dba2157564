"""A myelinated stack written out token by token in float64: the oracle of its tests."""

from __future__ import annotations

import math

import torch
from fractal_core.nn import MyelinatedLayer


def linear(module, x):
    out = x @ module.weight.T
    return out if module.bias is None else out + module.bias


def layer_norm(module, x):
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.pow(2).mean(-1, keepdim=True) + module.eps).sqrt() * module.weight + module.bias


def sigmoid(x):
    return 1 / (1 + torch.exp(-x))


def attended(layer, h, t, keys, others=None):
    """Attention of token t of h (N, E) over `keys`, of h or of `others`; (E,)."""
    source = h if others is None else others
    q = linear(layer.sheath.q, h[t])
    size = layer.dims // layer.head
    out = torch.zeros(layer.dims, dtype=h.dtype)
    for head in range(layer.head):
        part = slice(head * size, (head + 1) * size)
        if not keys:
            continue
        scores = torch.stack([q[part] @ linear(layer.sheath.k, source[j])[part] for j in keys]) / math.sqrt(size)
        weights = torch.exp(scores - scores.max())
        weights = weights / weights.sum()
        out[part] = sum(w * linear(layer.sheath.v, source[j])[part] for w, j in zip(weights, keys, strict=True))
    return linear(layer.sheath.o, out)


def stack(layer, x, *, causal=True, mask=None, xa=None, allowed=None, decide=None):
    """The eval output of one sample x (N, E), and which tokens each layer kept.

    mask (N,) bool; allowed(t, j) whether token t may see key j; decide(node, h) the router's decisions, those of
    "gumbel" where None.
    """
    n, x0 = x.shape[0], x
    counts = [True] * n if mask is None or xa is not None else mask.tolist()
    active = [0] * n  # the layer that each token is due at
    keeps = []
    for i, node in enumerate(layer.nodes):
        h = layer_norm(node.norm, x)
        if decide is None:
            logits = linear(node.router.importance, h)[:, 0]
            importance = sigmoid(logits)
            gate = [float(v > layer.sparsity_threshold) for v in importance]
        else:
            gate = decide(node, h)
        keep = [gate[t] > 0 and counts[t] and active[t] == i for t in range(n)]
        keeps.append(keep)
        new = []
        for t in range(n):
            if not keep[t]:
                new.append(x[t])
                continue
            if xa is None:
                keys = [j for j in range(n) if keep[j] and (j <= t or not causal)]
            else:
                keys = [j for j in range(xa.shape[0]) if mask is None or mask[j]]
            keys = [j for j in keys if allowed is None or allowed(t, j)]
            y = linear(node.adapter, attended(layer, h, t, keys, xa))
            new.append(x[t] + gate[t] * sigmoid(linear(node.gate, h[t])) * y)
        x = torch.stack(new)
        last = i == len(layer.nodes) - 1
        if layer.policy is None or last:
            active = [i + 1 if a == i else a for a in active]
            continue
        policy = layer.policy
        stepped = []
        for t in range(n):
            seen = [s for s in range(t + 1 if causal else n) if counts[s]]
            memory = sum((x[s] for s in seen), torch.zeros_like(x[0])) / max(len(seen), 1)
            hidden = torch.clamp(linear(policy.net[0], memory), min=0)
            logits = linear(policy.net[2], hidden)[: len(layer.nodes) - i]
            jump = int(logits.argmax())
            share = sigmoid(policy.mix_logits[jump])
            due = active[t] == i
            stepped.append(x[t] + policy.beta[i] * (share * x0[t] + (1 - share) * memory) if due else x[t])
            if due:
                active[t] = i + 1 + jump
        x = torch.stack(stepped)
    hidden = linear(layer.mlp[0], layer_norm(layer.mlp_norm, x))
    gelu = hidden * 0.5 * (1 + torch.erf(hidden / math.sqrt(2)))
    return x + sigmoid(linear(layer.mlp_gate, x)) * linear(layer.mlp[2], gelu), keeps


def made(dims=12, head=3, layers=3, seed=0, restless=True, **options):
    """A layer in float64 in which tokens skip and jump and beta is not 0."""
    torch.manual_seed(seed)
    layer = MyelinatedLayer(dims, head, layers, **options).double()
    with torch.no_grad():
        for node in layer.nodes:
            if restless and hasattr(node.router, "importance"):
                node.router.importance.weight.mul_(4)
                node.router.importance.bias.sub_(1.7)
        if layer.policy is not None and restless:
            layer.policy.beta.uniform_(0.2, 0.6)
            layer.policy.net[2].weight.normal_(std=2.0)
            layer.policy.net[2].bias[0] -= 1.5
    return layer


def tokens(batch=2, length=8, dims=12, seed=1):
    return torch.randn(batch, length, dims, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
