from __future__ import annotations

import math
import os

import numpy as np
import pytest

# Graphs that inductor kept of another version of the ops would be run as they are.
os.environ["TORCHINDUCTOR_FX_GRAPH_CACHE"] = os.environ["TORCHINDUCTOR_AUTOGRAD_CACHE"] = "0"

torch = pytest.importorskip("torch", reason="the torch extra is not installed")


def dense_attention(q, k, v, mask, *, bias=None, padding=None, scale=None, drop=None):
    """The oracle: masked attention with every score written out; (out, lse), SDPA's values for rows without keys.

    mask (Nq, Nk) bool; bias broadcasts to (B, H, Nq, Nk); drop holds the factors of the weights, same shape.
    """
    group = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
    scores = q @ k.transpose(-1, -2) * (1 / math.sqrt(q.shape[-1]) if scale is None else scale)
    if bias is not None:
        scores = scores + bias
    seen = torch.as_tensor(mask).expand(scores.shape)
    if padding is not None:
        seen = seen & ~padding[:, None, None, :]
    scores = scores.masked_fill(~seen, -torch.inf)
    some = seen.any(-1)
    safe = torch.where(some[..., None], scores, torch.zeros_like(scores))
    weights = torch.where(some[..., None], safe.softmax(-1), torch.zeros_like(safe))
    lse = torch.where(some, safe.logsumexp(-1), torch.full_like(safe[..., 0], -torch.inf))
    if drop is not None:
        weights = weights * drop
    return weights @ v, lse


@pytest.fixture
def dense():
    return dense_attention


@pytest.fixture
def random_mask():
    def make(n_queries, n_keys, seed=0, share=0.4, empty=True):
        rng = np.random.default_rng(seed)
        mask = rng.random((n_queries, n_keys)) < share
        mask[np.arange(n_queries), rng.integers(0, n_keys, n_queries)] = True
        if empty:
            mask[rng.integers(0, n_queries)] = False
        return mask

    return make


@pytest.fixture
def random_qkv():
    def make(batch=2, heads=4, kv_heads=2, n_queries=7, n_keys=9, dim=5, value_dim=3, *, dtype=torch.float64, seed=0):
        g = torch.Generator().manual_seed(seed)
        shapes = ((batch, heads, n_queries, dim), (batch, kv_heads, n_keys, dim), (batch, kv_heads, n_keys, value_dim))
        return tuple(torch.randn(s, generator=g, dtype=torch.float64).to(dtype).requires_grad_() for s in shapes)

    return make
