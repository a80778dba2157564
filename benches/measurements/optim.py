"""What a step of the optimizers costs, beside torch's own step and the one transform that a spectrum needs."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from fractal_core.bench.clock import interleaved
from fractal_core.optim import FAM, FAMAdamW
from fractal_core.optim.spectrum import sample
from torch import Tensor, nn

from benches.report.results import Row
from benches.settings import Settings

__all__ = ["optim"]

_BAR = 1.5


def optim(settings: Settings, *, width: int = 320, layers: int = 8, symbols: int = 1024) -> Iterator[Row]:
    """A step on the weights of a transformer, 10 million by default: with spectra, over torch's step and their rfft."""
    weights = _weights(width, layers, symbols)
    count = sum(p.numel() for p in weights)
    samples = _samples(weights)
    peers: dict[str, torch.optim.Optimizer] = {
        "SGD": torch.optim.SGD(weights, lr=1e-9, momentum=0.9, foreach=True),
        "AdamW": torch.optim.AdamW(weights, lr=1e-9, foreach=True),
    }
    ours: dict[str, tuple[torch.optim.Optimizer, str, float | None]] = {
        "spatial": (FAM(weights, lr=1e-9, fam_start_step=0), "SGD", _BAR),
        "temporal": (FAM(weights, lr=1e-9, fam_start_step=0, signal="temporal"), "SGD", None),
        "adamw": (FAMAdamW(weights, lr=1e-9, fam_start_step=0), "AdamW", None),
    }
    for name, (optimizer, peer, bar) in ours.items():

        def theirs(step: object = peers[peer].step) -> None:
            assert callable(step)
            step()
            for batch in samples:
                torch.fft.rfft(batch)

        def own(optimizer: torch.optim.Optimizer = optimizer) -> None:
            optimizer.step()

        times = interleaved({"theirs": theirs, "ours": own}, settings.count(15))
        value, low, high = times.ratio("theirs", "ours")
        yield Row(
            f"optim/{name}",
            f"a step of {type(optimizer).__name__}, {optimizer.defaults['signal']}, on {count / 1e6:.1f} M parameters "
            f"in {len(weights)} tensors: its time",
            f"torch's {peer}(foreach=True) and a batched rfft of the samples",
            "x",
            value,
            low,
            high,
            times.ms("ours"),
            times.ms("theirs"),
            bar,
            at_most=True,
        )


def _weights(width: int, layers: int, symbols: int) -> list[nn.Parameter]:
    """The tensors of a transformer, with gradients."""
    shapes: list[tuple[int, ...]] = [(symbols, width)]
    for _ in range(layers):
        shapes += [(3 * width, width), (width, width), (4 * width, width), (width, 4 * width)]
        shapes += [(3 * width,), (width,), (4 * width,), (width,), (width,), (width,)]
    generator = torch.Generator().manual_seed(0)
    found = [nn.Parameter(torch.randn(shape, generator=generator)) for shape in shapes]
    for parameter in found:
        parameter.grad = torch.randn(parameter.shape, generator=generator)
    return found


def _samples(weights: list[nn.Parameter]) -> list[Tensor]:
    """What the spatial signal transforms: the samples of one shape together."""
    shapes: dict[torch.Size, list[Tensor]] = {}
    for parameter in weights:
        assert parameter.grad is not None
        if parameter.numel() > 256:
            taken = sample(parameter.grad)
            shapes.setdefault(taken.shape, []).append(taken)
    return [torch.stack(taken) for taken in shapes.values()]
