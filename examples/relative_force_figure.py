"""The picture of docs/relative-force.md: `python examples/relative_force_figure.py`."""

from __future__ import annotations

from pathlib import Path

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

OUT = Path(__file__).resolve().parents[1] / "docs" / "relative-force.png"


def scores(away: Tensor, direction: Tensor, length: float) -> Tensor:
    """Scores of keys that stand `-away` from the query."""
    distance = away.square().sum(-1).sqrt()
    return away @ direction / (distance + 1e-6) * torch.exp(-distance / length)


def deviation(width: int, *, scaled: bool) -> float:
    """Of the scores of random points in so many dimensions."""
    generator = torch.Generator().manual_seed(width)
    away = torch.randn(4096, width, generator=generator) - torch.randn(4096, width, generator=generator)
    direction = torch.randn(width, generator=generator)
    return float(scores(away.double(), direction.double(), width**0.5 if scaled else 1.0).std())


def main() -> None:
    """Draws."""
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    line = torch.linspace(-3.0, 3.0, 121)
    key = torch.stack(torch.meshgrid(line, line, indexing="xy"), -1)
    direction = torch.tensor([0.9, 0.5])
    field = scores(-key, direction, 2**0.5)
    image = left.imshow(field, extent=(-3, 3, -3, 3), origin="lower", cmap="RdBu_r", vmin=-1, vmax=1)
    left.arrow(0, 0, *direction.tolist(), width=0.04, color="black", length_includes_head=True)
    left.text(1.0, 0.55, "w")
    left.set_title("score by the place of the key; the query at 0", fontsize=9)
    left.set_xlabel("r - e", fontsize=8)
    figure.colorbar(image, ax=left)
    widths = [2**power for power in range(1, 11)]
    for scaled, name in ((True, "length in units of sqrt(C)"), (False, "no unit")):
        right.loglog(widths, [deviation(width, scaled=scaled) for width in widths], marker=".", label=name)
    right.set_ylim(1e-12, 10)
    right.set_title("deviation of the scores of random points", fontsize=9)
    right.set_xlabel("dimensions C", fontsize=8)
    right.legend(fontsize=8)
    figure.savefig(OUT, dpi=100)


if __name__ == "__main__":
    main()
