"""Spectra of gradients of a small language model in training, as a picture.

python examples/gradient_spectra.py docs/spectra.png
"""

from __future__ import annotations

import sys

import fractal_core as fc
import torch
from fractal_core.study.text import Text

STEPS = 200
NAMES = ["embed.weight", "blocks.0.attn.weight", "blocks.1.up.weight"]


def main(path: str) -> None:
    """Trains, records and draws."""
    task = Text()
    model = task.model(seed=0)
    optimizer = fc.optim.FAMAdamW(
        fc.optim.get_parameter_groups(model, lr=1e-2), signal="temporal", fam_start_step=20, weight_decay=0.0
    )
    loss, generator = task.losses(model, seed=0), torch.Generator().manual_seed(0)
    with fc.optim.Spectra(optimizer, every=4, names=NAMES) as spectra:
        for _ in range(STEPS):
            optimizer.zero_grad()
            loss(generator).backward()
            optimizer.step()
    spectra.plot(NAMES).savefig(path, dpi=90)


if __name__ == "__main__":
    main(sys.argv[1])
