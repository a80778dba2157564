"""The tutorial's own programs run, and learn."""

from __future__ import annotations

import pytest
import torch
from fractal_core.nn import (
    CantorSetAttention,
    DragonCurveAttention,
    FractalConfig,
    HilbertCurveAttention,
    JuliaSetAttention,
    UnifiedFractalAttention,
)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


D = 8


def inputs(batch, n_keys, dim=D):
    g = torch.Generator().manual_seed(7)
    shapes = ((batch, 1, dim), (batch, n_keys, dim), (batch, n_keys, dim))
    return tuple(torch.randn(s, generator=g) for s in shapes)


def test_quick_start():
    attention = UnifiedFractalAttention(FractalConfig())
    query, key, value = inputs(batch=4, n_keys=256, dim=128)
    output = attention(query, key, value, torch.tensor([0.5]))
    assert output.shape == (4, 128)
    assert torch.isfinite(output).all()


def test_calls_of_the_four_patterns():
    config = FractalConfig()
    query, key, value = inputs(batch=4, n_keys=256)
    outputs = (
        HilbertCurveAttention(config)(query, key, value, torch.tensor([[128]])),
        CantorSetAttention(config)(query, key, value, torch.tensor([0.5])),
        DragonCurveAttention(config)(query, key, value),
        JuliaSetAttention(config)(query, key, value),
    )
    for output in outputs:
        assert output.shape == (4, D)
        assert torch.isfinite(output).all()


class Block(torch.nn.Module):
    """Example 1: each position asks in turn."""

    def __init__(self, hidden_dim):
        super().__init__()
        self.attention = UnifiedFractalAttention(FractalConfig())
        self.norm1, self.norm2 = torch.nn.LayerNorm(hidden_dim), torch.nn.LayerNorm(hidden_dim)
        self.ffn = torch.nn.Sequential(
            torch.nn.Linear(hidden_dim, 4 * hidden_dim), torch.nn.GELU(), torch.nn.Linear(4 * hidden_dim, hidden_dim)
        )

    def forward(self, x, t):
        attended = [self.attention(x[:, i : i + 1], x, x, t).unsqueeze(1) for i in range(x.shape[1])]
        x = self.norm1(x + torch.cat(attended, dim=1))
        return self.norm2(x + self.ffn(x))


def test_example_1_runs():
    x = inputs(batch=2, n_keys=24, dim=32)[1]
    out = Block(32)(x, torch.tensor([0.5]))
    assert out.shape == x.shape
    assert torch.isfinite(out).all()


def test_example_1_trains_until_the_loss_has_fallen():
    """Learns to give out the value of the position before, in one call for all positions."""
    x = inputs(batch=8, n_keys=32, dim=16)[1]
    target = x.roll(1, dims=1)
    block = Block(16)
    block.forward = lambda x, t: block.norm2((y := block.norm1(x + block.attention(x, x, x, t))) + block.ffn(y))
    losses = train(block, lambda: torch.nn.functional.mse_loss(block(x, torch.tensor([0.5])), target), 40, 1e-2)
    assert losses[-1] < 0.5 * losses[0]


def train(module, loss_of, steps, rate):
    optimizer = torch.optim.AdamW(module.parameters(), lr=rate)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = loss_of()
        loss.backward()
        for name, p in module.named_parameters():
            assert p.grad is not None, name
            assert torch.isfinite(p.grad).all(), name
        optimizer.step()
        losses.append(loss.item())
    return losses


class Classifier(torch.nn.Module):
    """Example 2."""

    def __init__(self, dim, classes):
        super().__init__()
        self.julia_attn = JuliaSetAttention(FractalConfig())
        self.output_proj = torch.nn.Linear(dim, classes)

    def forward(self, x):
        return self.output_proj(self.julia_attn(x.mean(dim=1, keepdim=True), x, x))


def test_example_2_runs_ten_epochs():
    model = Classifier(128, 10)

    def loss_of():
        x, labels = torch.randn(32, 100, 128), torch.randint(0, 10, (32,))
        return torch.nn.functional.cross_entropy(model(x), labels)

    losses = train(model, loss_of, 10, 1e-3)
    assert [1.5 < loss < 3.5 for loss in losses] == [True] * 10


def test_example_2_trains_until_the_loss_has_fallen():
    model = Classifier(16, 4)
    labels = torch.arange(32) % 4
    x = torch.randn(32, 50, 16)
    x[:, :, :4] += torch.nn.functional.one_hot(labels, 4)[:, None]
    before = {name: p.detach().clone() for name, p in model.julia_attn.named_parameters()}
    losses = train(model, lambda: torch.nn.functional.cross_entropy(model(x), labels), 100, 2e-2)
    assert losses[-1] < 0.3 * losses[0]
    for name, p in model.julia_attn.named_parameters():
        assert not torch.equal(p, before[name]), name
