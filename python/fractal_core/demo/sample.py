"""Text from a trained model, byte after byte."""

from __future__ import annotations

import torch

from fractal_core.demo.model import Cache, LanguageModel

__all__ = ["sample"]


@torch.no_grad()
def sample(
    model: LanguageModel, prompt: bytes, count: int, *, seed: int, temperature: float = 0.8, streaming: bool = True
) -> bytes:
    """Writes on after a prompt.

    Args:
        model: The model; left in evaluation mode.
        prompt: What it reads first, at least one byte; with `count` no more than the context.
        count: Bytes to write.
        seed: Seed of the draws.
        temperature: Divisor of the logits, above 0.
        streaming: Keep keys and values and read one byte at a time; else read everything again for each byte, as a
            pattern needs whose keys change when the sequence grows.

    Returns:
        `count` bytes.
    """
    model.eval()
    generator = torch.Generator().manual_seed(seed)
    text = list(prompt)
    cache = Cache(len(model.blocks)) if streaming else None
    unread = text
    for _ in range(count):
        logits = model(torch.tensor([unread if streaming else text]), cache)[0, -1]
        drawn = int(torch.multinomial((logits / temperature).softmax(-1), 1, generator=generator))
        text.append(drawn)
        unread = [drawn]
    return bytes(text[len(prompt) :])
