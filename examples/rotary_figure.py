"""The figure of docs/rotary.md: `python examples/rotary_figure.py docs/rotary.png`.

Left: how far a score moves when both positions do, by the dtype that angles are computed in. Right: the score of equal
vectors by distance, plain and stretched four times, as means over intervals of distances.
"""

import itertools
import sys

import matplotlib as mpl
import numpy as np
import torch
from fractal_core.nn import LinearScaling, NTKScaling, RotaryEmbedding, YaRNScaling

mpl.use("Agg")
import matplotlib.pyplot as plt

D = 64


def drift(dtype: torch.dtype, shifts: np.ndarray) -> list[float]:
    """Largest change of scores at distances 1 to 64, over |q| |k|, when all positions grow by a shift."""
    q, k = (torch.randn(D, dtype=torch.float64, generator=torch.Generator().manual_seed(s)) for s in (0, 1))
    w = RotaryEmbedding(D).frequencies()[0]

    def scores(shift: int) -> torch.Tensor:
        places = torch.arange(65).to(torch.float64) + shift
        angles = (places.to(dtype)[:, None] * w.to(dtype)).double()
        turned = []
        for v in (q, k):
            a, b = v[0::2], v[1::2]
            turned.append(torch.cat((a * angles.cos() - b * angles.sin(), a * angles.sin() + b * angles.cos()), 1))
        return turned[0][:1] @ turned[1][1:].T

    still = scores(0)
    return [float((scores(int(s)) - still).abs().max() / (q.norm() * k.norm())) for s in shifts]


def ours(shifts: np.ndarray) -> list[float]:
    """The same by `RotaryEmbedding`, on float64 tokens."""
    q, k = (torch.randn(D, dtype=torch.float64, generator=torch.Generator().manual_seed(s)) for s in (0, 1))
    rotary = RotaryEmbedding(D)

    def scores(shift: int) -> torch.Tensor:
        return rotary.rotate(q[None], offset=shift) @ rotary.rotate(k.expand(64, D), offset=shift + 1).T

    still = scores(0)
    return [float((scores(int(s)) - still).abs().max() / (q.norm() * k.norm())) for s in shifts]


def main(path: str) -> None:
    """Draw."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    shifts = np.unique(np.logspace(0.5, 6, 45).astype(int))
    for dtype, name in ((torch.bfloat16, "bfloat16"), (torch.float32, "float32")):
        left.loglog(shifts, np.maximum(drift(dtype, shifts), 1e-17), label=f"angles in {name}")
    left.loglog(shifts, np.maximum(ours(shifts), 1e-17), label="RotaryEmbedding (float64)")
    left.set(xlabel="position", ylabel="change of a score / |q| |k|", title="same distance, later position")
    left.legend(fontsize=7)
    x = torch.ones(1, D, dtype=torch.float64) / D**0.5
    ends = np.unique(np.logspace(0, np.log2(32768), 40, base=2).astype(int))
    rules = {
        "plain": None,
        "linear": LinearScaling(4),
        "NTK": NTKScaling(4),
        "YaRN": YaRNScaling(4, 2048, attention=1.0),
    }
    for name, scaling in rules.items():
        scores = (RotaryEmbedding(D, scaling=scaling).rotate(x.expand(ends[-1], D)) @ x.T)[:, 0].numpy()
        means = [scores[a:b].mean() for a, b in itertools.pairwise(ends)]
        right.semilogx(ends[:-1], means, label=name, linewidth=1.2)
    right.set(xlabel="distance", ylabel="score, mean of an interval", title="equal vectors, stretched 4 times")
    right.legend(fontsize=7)
    figure.savefig(path, dpi=95)
    plt.close(figure)


if __name__ == "__main__":
    main(sys.argv[1])
