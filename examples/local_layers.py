"""Figures of docs/adaptive-span.md, docs/sliding-window.md and docs/integrated.md.

    python examples/local_layers.py [FOLDER]

Trains one head for some seconds; the folder is docs unless given.
"""

from __future__ import annotations

import sys
from pathlib import Path

import fractal_core as fc
import matplotlib.pyplot as plt
import numpy as np
import torch
from fractal_core.nn import AdaptiveSpan
from torch.nn.functional import cross_entropy, one_hot

DISTANCE = 20
INK, BLUE, RED, GREY = "#222222", "#3366aa", "#bb4433", "#999999"


def spans_while_copying(cost, *, steps=600, n=48, words=6):
    """The span of one head at each step, while it learns to give the token DISTANCE places back."""
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    layer = AdaptiveSpan(32, 1, n, ramp=16.0)
    read = torch.nn.Linear(32, words)
    angles = torch.arange(n)[:, None] * torch.tensor([0.05, 0.11, 0.23, 0.5, 1.1])
    places = torch.cat([angles.sin(), angles.cos()], 1)
    optimizer = torch.optim.Adam([*layer.parameters(), *read.parameters()], lr=0.02)
    spans = []
    for _ in range(steps):
        spans.append(layer.span().item())
        given = torch.randint(words, (16, n), generator=generator)
        x = torch.zeros(16, n, 32)
        x[..., :words], x[..., words : words + 10] = 2.0 * one_hot(given, words), 2.0 * places
        loss = cross_entropy(read(layer(x))[:, DISTANCE:].flatten(0, 1), given[:, :-DISTANCE].flatten())
        (loss + layer.loss(cost)).backward()
        optimizer.step()
        optimizer.zero_grad()
        layer.clamp_()
    return spans


def plain(ax):
    """No frame but the axes."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(labelsize=8)


def adaptive_span(path):
    """The factor by distance, and spans in training."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(7.5, 2.6), layout="constrained")
    distance = np.arange(81)
    for span, colour in ((0, GREY), (16, BLUE), (48, RED)):
        left.plot(distance, np.clip((16 + span - distance) / 16, 0, 1), color=colour, label=f"span {span}")
    left.set(xlabel="distance", ylabel="factor of the weight", title="ramp of 16 keys")
    for cost, colour in ((0.0, BLUE), (0.0001, RED), (0.001, GREY)):
        right.plot(spans_while_copying(cost), color=colour, label=f"cost {cost:g} a key")
    for place in (DISTANCE, DISTANCE - 16):
        right.axhline(place, color=INK, lw=0.8, ls=":")
    right.set(xlabel="step", ylabel="span", title=f"copying from {DISTANCE} places back", ylim=0)
    for ax in (left, right):
        plain(ax)
        ax.title.set_fontsize(9)
        ax.legend(frameon=False, fontsize=8, loc="upper right", bbox_to_anchor=(1, 0.92))
    figure.savefig(path, dpi=110)


def masks(path, panels, *, width):
    """Panels of (title, factors by query and key) side by side."""
    figure, axes = plt.subplots(1, len(panels), figsize=(width, 2.2), layout="constrained")
    for ax, (title, values) in zip(axes, panels, strict=True):
        ax.imshow(values, cmap="Blues", vmin=0, vmax=1.3, interpolation="nearest", aspect="auto")
        ax.set_title(title, fontsize=9)
        ax.set(xlabel="key", xticks=[], yticks=[])
    axes[0].set_ylabel("query")
    figure.savefig(path, dpi=110)


def sliding_window(path, n=48):
    """Keys of heads of four widths."""
    layer = fc.nn.SlidingWindowAttention(64, 8, window=4, scales=4)
    stack = layer.prepare(n)
    panels = [(f"heads {h + 1}, {h + 2}: {layer.widths[h]}", stack[0, h].to_mask()) for h in (0, 2, 4, 6)]
    masks(path, panels, width=7.5)


def integrated(path, n=48):
    """Keys of the local part, and of three global ones."""
    far = np.arange(n)[:, None] - np.arange(n)[None, :]
    ramp = np.clip((6 + 8 - far) / 6, 0, 1) * (far >= 0)
    runs = np.arange(n)[None, :] // 6 * 6 + 5 <= np.arange(n)[:, None]
    cantor = fc.pattern("cantor").index_set(n, causal=True).to_mask()
    panels = [
        ("local: span 8, ramp 6", ramp),
        ('"full", max_dist 32', (far >= 0) & (far <= 32)),
        ('"summaries" of 6', runs),
        ('"cantor"', cantor),
    ]
    masks(path, panels, width=7.5)


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1] / "docs"
    adaptive_span(folder / "adaptive-span.png")
    sliding_window(folder / "sliding-window.png")
    integrated(folder / "integrated.png")
