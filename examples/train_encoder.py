"""The parts of the optimizations document at work together: rotary embedding, a drawn stack, FAM and its schedule.

A model of bytes learns Python's own language reference, which every Python has. The stack is drawn by a seed, its heads
turn by quaternions, the optimizer has the original's name and arguments, and its momenta are printed at the end.

python examples/train_encoder.py [STEPS]
"""

from __future__ import annotations

import sys

import fractal_core as fc
import torch
import torch.nn.functional as F  # noqa: N812
from fractal_core.demo.data import load_text
from torch import Tensor, nn

WIDTH, LAYERS, CONTEXT, BATCH = 64, 3, 64, 16


class Bytes(nn.Module):
    """The next byte at each place, from those before."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(256, WIDTH)
        self.layers = fc.nn.create_encoder_layers(
            LAYERS, WIDTH, seed=0, rotary=lambda size: fc.nn.RotaryEmbedding(size, use_quaternion=True)
        )
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, 256)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, N) bytes to logits (B, N, 256)."""
        x = self.embed(tokens)
        for block in self.layers:
            x = block(x, decoder=True)
        return self.head(self.norm(x))


def train(steps: int) -> tuple[list[float], fc.optim.FAMOptimizer]:
    """The loss of each step, nats a byte, and the optimizer."""
    torch.manual_seed(0)
    text = torch.tensor(list(load_text()))
    model = Bytes()
    optimizer = fc.optim.FAMOptimizer(
        fc.optim.get_parameter_groups(model, lr=1.0), fam_start_step=steps // 10, debug=True
    )
    scheduler = fc.optim.FAMScheduler(optimizer, warmup_epochs=max(1, steps // 10), max_epochs=steps)
    losses: list[float] = []
    for _ in range(steps):
        starts = torch.randint(len(text) - CONTEXT - 1, (BATCH, 1))
        rows = text[starts + torch.arange(CONTEXT + 1)]
        loss = F.cross_entropy(model(rows[:, :-1]).flatten(0, 1), rows[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        losses.append(loss.item())
    return losses, optimizer


def main(steps: int = 300) -> None:
    """Trains, and prints what became of the loss and of the momenta."""
    losses, optimizer = train(steps)
    for first in range(0, steps, max(1, steps // 10)):
        part = losses[first : first + max(1, steps // 10)]
        print(f"steps {first:4} to {first + len(part) - 1:4}: {sum(part) / len(part):.3f} nats a byte")
    for name, (_, _, momentum) in list(optimizer.readings().items())[:6]:
        print(f"momentum {momentum:.3f}  {name}")


if __name__ == "__main__":
    main(*(int(word) for word in sys.argv[1:]))
