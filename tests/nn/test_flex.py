"""FlexAttention's published examples: each line of the table in docs/modifiers.md against FlexAttention itself."""

from __future__ import annotations

import re
from pathlib import Path

import fractal_core as fc
import pytest
import torch
from fractal_core.nn import modifiers, sparse_attention
from torch.nn.attention.flex_attention import AuxRequest, create_block_mask, flex_attention

N, H, D = 64, 4, 16
PAGE = Path(__file__).resolve().parents[2] / "docs" / "modifiers.md"
BOTH = re.compile(r"^\| ([^|`]+) \| `((?:[^`])+)` \| (?:`([^`]+)` )?\|$", re.MULTILINE)
ROWS = {
    name: (index_set.replace(r"\|", "|"), keywords)
    for name, index_set, keywords in BOTH.findall(PAGE.read_text("utf-8"))
}

pytestmark = pytest.mark.filterwarnings("ignore:flex_attention called without:UserWarning")

G = torch.Generator().manual_seed(0)
DOCUMENT = torch.bucketize(torch.arange(N), torch.tensor([20, 33]), right=True)
PADDING = torch.rand(2, N, generator=G) < 0.2
PADDING[:, 0] = False
SLOPES = modifiers.alibi_slopes(H).double()
TABLE, GRID = torch.randn(H, 11, generator=G).double(), torch.randn(H, 15, 15, generator=G).double()
BUCKETS, KEYS = torch.randn(32, H, generator=G).double(), torch.randn(2, H, N, generator=G).double()
PAIRS, SINK = torch.randn(H, N, N, generator=G).double(), torch.randn(H, generator=G).double()
AT = torch.stack([torch.arange(N) // 8, torch.arange(N) % 8])
BUCKET_OF = modifiers.t5_buckets((torch.arange(N)[:, None] - torch.arange(N)).flatten(), 32).reshape(N, N)


def near(i, j):
    return ((AT[0][i] - AT[0][j]).abs() <= 2) & ((AT[1][i] - AT[1][j]).abs() <= 1)


def causal(b, h, i, j):
    return i >= j


def capped(s):
    return 3.0 * torch.tanh(s / 3.0)


FLEX = {
    "no change": (None, None),
    "causal": (None, causal),
    "sliding window": (None, lambda b, h, i, j: (i >= j) & (i - j <= 8)),
    "dilated sliding window": (None, lambda b, h, i, j: (i >= j) & (i - j < 24) & ((i - j) % 3 == 0)),
    "prefix LM": (None, lambda b, h, i, j: (j <= i) | (j < 10)),
    "document": (None, lambda b, h, i, j: DOCUMENT[i] == DOCUMENT[j]),
    "document, causal": (None, lambda b, h, i, j: (DOCUMENT[i] == DOCUMENT[j]) & (i >= j)),
    "global tokens beside a window": (None, lambda b, h, i, j: ((i - j).abs() < 5) | (j < 4) | (i < 4)),
    "neighbourhood of a picture": (None, lambda b, h, i, j: near(i, j)),
    "any block mask": (None, lambda b, h, i, j: (i * 7 + j * 3) % 5 < 2),
    "padding": (None, lambda b, h, i, j: (i >= j) & ~PADDING[b, j]),
    "relative position": (lambda s, b, h, i, j: s + (i - j), causal),
    "ALiBi": (lambda s, b, h, i, j: s + SLOPES[h] * (j - i), causal),
    "ALiBi, both sides": (lambda s, b, h, i, j: s - SLOPES[h] * (j - i).abs(), None),
    "soft cap": (lambda s, b, h, i, j: capped(s), causal),
    "soft cap and ALiBi": (lambda s, b, h, i, j: capped(s) + SLOPES[h] * (j - i), causal),
    "learned table of distances": (
        lambda s, b, h, i, j: s + TABLE[h, (i - j).clamp(-5, 5) + 5],
        lambda b, h, i, j: (i >= j) & (i - j <= 8),
    ),
    "T5's buckets": (lambda s, b, h, i, j: s + BUCKETS[BUCKET_OF[i, j], h], None),
    "Swin's table": (lambda s, b, h, i, j: s + GRID[h, AT[0][i] - AT[0][j] + 7, AT[1][i] - AT[1][j] + 7], None),
    "bias of each key": (lambda s, b, h, i, j: s + KEYS[b, h, j], causal),
    "bias of each pair": (lambda s, b, h, i, j: s + PAIRS[h, i, j], None),
    "bias of each head": (lambda s, b, h, i, j: s + TABLE[h, 0], causal),
    "attention sink": (None, causal),
}


def test_every_line_has_its_test():
    assert list(ROWS) == list(FLEX)


@pytest.mark.parametrize("name", FLEX)
def test_a_line_is_what_flex_attention_gives(name):
    score_mod, mask_mod = FLEX[name]
    block_mask = None if mask_mod is None else create_block_mask(mask_mod, 2, None, N, N, device="cpu", BLOCK_SIZE=16)
    q, k, v = (torch.randn(2, H, N, D, generator=torch.Generator().manual_seed(i)).double() for i in range(3))
    asked = AuxRequest(lse=True)
    wanted, aux = flex_attention(q, k, v, score_mod=score_mod, block_mask=block_mask, return_aux=asked)
    if name == "attention sink":
        wanted = wanted * torch.sigmoid(aux.lse - SINK[:, None])[..., None]
    if name == "any block mask":
        block_mask = create_block_mask(mask_mod, None, None, N, N, device="cpu", BLOCK_SIZE=16)
    i, j = torch.arange(N)[:, None].numpy(), torch.arange(N)[None].numpy()
    names = {"fc": fc, "torch": torch, "n": N, "h": H, "i": i, "j": j, "near": near(i, j).numpy(), "padding": PADDING,
             "table": TABLE, "buckets": BUCKETS, "grid": GRID, "keys": KEYS, "pairs": PAIRS, "sink": SINK,
             "block_mask": block_mask, **vars(modifiers)}  # fmt: skip
    index_set, keywords = ROWS[name]
    found = sparse_attention(q, k, v, eval(index_set, names), **eval(f"dict({keywords})", names))
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-6 if name == "any block mask" else 1e-12)
