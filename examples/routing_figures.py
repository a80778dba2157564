"""Draws docs/myelinated.png and docs/worm.png: `python examples/routing_figures.py [folder] [--steps 240]`."""

from __future__ import annotations

import argparse
from pathlib import Path

import fractal_core as fc
import matplotlib as mpl
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

mpl.use("Agg")
from matplotlib import pyplot as plt

DIMS, LENGTH, RATE = 16, 32, 0.25
BLUE, GREY, RED = "#2166ac", "#999999", "#b2182b"


def batch(size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens, of which one of eight is marked, and what the last is to say: half the sum of the marked ones' values."""
    x = torch.randn(size, LENGTH, DIMS)
    marked = torch.rand(size, LENGTH).argsort(1) < LENGTH // 8
    x[..., 0] = marked * 3.0 - 1.5
    return x, (x[..., 2] * marked).sum(1) / 2


def trained(steps: int) -> tuple[list[float], list[tuple[int, float]], list[float]]:
    """The share of tokens kept at each step of training, at some steps in eval, and the losses."""
    torch.manual_seed(0)
    layer = fc.nn.MyelinatedLayer(DIMS, 2, 2, rate=RATE, jump=False)
    optimizer = torch.optim.Adam(layer.parameters(), lr=3e-3)
    drawn, decided, losses = [], [], []
    for step in range(steps):
        x, wanted = batch(32)
        out, routing = layer(x, return_routing=True)
        loss = (out[:, -1, 3] - wanted).square().mean()
        optimizer.zero_grad()
        (loss + 4 * routing.loss).backward()
        optimizer.step()
        losses.append(loss.item())
        drawn.append(routing.keep.float().mean().item())
        if step % 20 == 0:
            with torch.no_grad():
                decided.append((step, layer.eval()(x, return_routing=True)[1].keep.float().mean().item()))
            layer.train()
    return drawn, decided, losses


def work(rate: float, length: int, pattern: str | None) -> int:
    """Multiply-adds, twice, of a layer in eval, less its terminal MLP."""
    options = {"router": "topk", "jump": False, "max_dist": None, "pattern": pattern}
    layer = fc.nn.MyelinatedLayer(64, 4, rate=rate, **options).eval()
    layer.mlp = nn.Identity()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        layer(torch.zeros(1, length, 64), is_causal=False)
    return counter.get_total_flops()


def draw_myelinated(folder: Path, steps: int) -> None:
    """How the rate finds its target, and what work it saves."""
    drawn, decided, losses = trained(steps)
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 2.8), layout="constrained")
    left.plot(drawn, color=BLUE, lw=0.8, label="drawn in training")
    left.plot(*zip(*decided, strict=True), "o-", color=RED, ms=3, lw=1, label="decided in eval")
    left.axhline(RATE, ls=":", color=GREY, label="rate")
    left.set_xlabel("step of training")
    left.set_ylim(0, 1.02)
    first, last = losses[0], sum(losses[-20:]) / len(losses[-20:])
    left.set_title(f"share of tokens kept (loss of the task {first:.2f} → {last:.2f})", fontsize=9)
    left.legend(fontsize=8, frameon=False)
    rates = [0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0]
    for label, length, pattern, style in (
        ("dense, 256 tokens", 256, None, "o-"),
        ("dense, 2048 tokens", 2048, None, "s-"),
    ):
        whole = work(1.0, length, pattern)
        right.plot(rates, [work(rate, length, pattern) / whole for rate in rates], style, ms=3, label=label)
    right.plot(rates, rates, ":", color=GREY, label="proportional")
    right.set_xlabel("rate")
    right.set_title("work in attention layers, of that at rate 1", fontsize=9)
    right.legend(fontsize=8, frameon=False)
    figure.savefig(folder / "myelinated.png", dpi=110)
    plt.close(figure)


def draw_worm(folder: Path) -> None:
    """The weight of each distance after some hops over a window."""
    n, tau = 201, 0.15
    mask = torch.as_tensor(fc.pattern("window", radius=8).index_set(n).to_mask()).double()
    weights = mask / mask.sum(1, keepdim=True)
    figure, axes = plt.subplots(figsize=(6, 2.6), layout="constrained")
    operator = torch.eye(n, dtype=torch.float64)
    for hop in range(1, 5):
        operator = (1 - tau) * weights @ operator + tau * torch.eye(n, dtype=torch.float64)
        shown = operator[n // 2].clone()
        shown[n // 2] = torch.nan
        axes.plot(torch.arange(n) - n // 2, shown, label=f"{hop} hop{'s' if hop > 1 else ''}", lw=1.2)
    axes.set_xlim(-45, 45)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("distance (its own token, which has at least tau, is left out)")
    axes.set_ylabel("weight")
    axes.legend(fontsize=8, frameon=False)
    figure.savefig(folder / "worm.png", dpi=110)
    plt.close(figure)


def main() -> None:
    """Draw both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=Path(__file__).resolve().parents[1] / "docs")
    parser.add_argument("--steps", type=int, default=240)
    given = parser.parse_args()
    draw_myelinated(given.folder, given.steps)
    draw_worm(given.folder)


if __name__ == "__main__":
    main()
