"""What a demo run is asked to do, as one value that travels to the workers as JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

from fractal_core.errors import InvalidArgumentError

__all__ = ["DEFAULT_PATTERN", "Settings"]

DEFAULT_PATTERN = "window:radius=32|cantor:base=4"


@dataclass(frozen=True)
class Settings:
    """Everything that decides a run; two workers with equal settings and seed see the same bytes in the same order.

    Attributes:
        pattern: Pattern specification of the sparse model, such as ``window:radius=32|cantor:base=4``.
        steps: Optimiser steps compared at equal steps, at least 1.
        context: Bytes a sequence, at least 16.
        batch: Sequences a step, at least 1.
        block_steps: Steps that one model trains before it is the other one's turn, at least 1.
        dim: Model width, a multiple of ``2 * heads``.
        layers: Transformer blocks, at least 1.
        heads: Attention heads, at least 1.
        learning_rate: Peak rate of AdamW, after a linear warm-up.
        checkpoints: Held-out measurements over the steps, at least 2.
        held_out_sequences: Held-out sequences of `context` bytes that each measurement reads.
        sample_bytes: Bytes to write after the prompt.
        seed: Seed of the weights, of the data order and of the samples.
        text: Path of a text file, or None for the text that ships with Python.
    """

    pattern: str = DEFAULT_PATTERN
    steps: int = 100
    context: int = 4096
    batch: int = 1
    block_steps: int = 3
    dim: int = 128
    layers: int = 4
    heads: int = 4
    learning_rate: float = 4e-3
    checkpoints: int = 12
    held_out_sequences: int = 4
    sample_bytes: int = 400
    seed: int = 0
    text: str | None = None

    def __post_init__(self) -> None:
        one = ("steps", "batch", "block_steps", "layers", "heads")
        for name, least in (*((name, 1) for name in one), ("context", 16), ("seed", 0)):
            value = int(getattr(self, name))
            if value < least:
                raise InvalidArgumentError(name, value, f"an integer of at least {least}")
        if self.dim < 1 or self.dim % (2 * self.heads):
            raise InvalidArgumentError("dim", self.dim, f"a positive multiple of {2 * self.heads} (twice the heads)")

    def to_dict(self) -> dict[str, object]:
        """The settings as plain JSON values."""
        return asdict(self)

    def with_text(self, text: str | None) -> Settings:
        """The same settings for another text file."""
        return replace(self, text=text)
