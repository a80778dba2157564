"""Working memory against its definition, term by term. A8 (a pooled mean of all tokens leaked the future)."""

from __future__ import annotations

import fractal_core as fc
import pytest
import torch
from fractal_core.errors import DTypeError, InvalidArgumentError, ShapeError
from fractal_core.nn import MemoryState, WorkingMemory


def made(mode, dims=5):
    torch.manual_seed(0)
    return WorkingMemory(dims, mode).double()


def tokens(batch=2, length=11, dims=5, seed=1):
    return torch.randn(batch, length, dims, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def defined(memory, x, counts):
    """sum a^(t-s) x_s / sum a^(t-s) over the tokens that count, (B, N, E)."""
    decay = torch.ones(x.shape[2], dtype=x.dtype)
    if memory.mode == "ema":
        decay = 1 / (1 + torch.exp(-memory.decay_logits))
    out = torch.zeros_like(x)
    for b in range(x.shape[0]):
        for t in range(x.shape[1]):
            shares = [(decay ** (t - s), x[b, s]) for s in range(t + 1) if counts[b][s]]
            if shares:
                out[b, t] = sum(w * v for w, v in shares) / sum(w for w, _ in shares)
    return out


@pytest.mark.parametrize("mode", ["mean", "ema"])
@pytest.mark.parametrize("masked", [True, False])
def test_the_definition(mode, masked):
    memory, x = made(mode), tokens()
    mask = torch.rand(2, 11, generator=torch.Generator().manual_seed(0)) > 0.4 if masked else None
    expected = defined(memory, x, torch.ones(2, 11, dtype=torch.bool) if mask is None else mask)
    found, state = memory(x, mask=mask)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-13)
    torch.testing.assert_close(state.total / state.weight, expected[:, -1:], rtol=0, atol=1e-13)
    whole, _ = memory(x, mask=mask, causal=False)
    torch.testing.assert_close(whole, expected[:, -1:], rtol=0, atol=1e-13)


@pytest.mark.parametrize("mode", ["mean", "ema"])
def test_a_stream_goes_on_where_it_was(mode):
    memory, x = made(mode), tokens()
    mask = torch.rand(2, 11, generator=torch.Generator().manual_seed(0)) > 0.4
    state, pieces = None, []
    for part, given in zip(x.split([0, 4, 1, 0, 6], 1), mask.split([0, 4, 1, 0, 6], 1), strict=True):
        piece, state = memory(part, mask=given, state=state)
        pieces.append(piece)
    torch.testing.assert_close(torch.cat(pieces, 1), memory(x, mask=mask)[0], rtol=0, atol=1e-13)


@pytest.mark.parametrize("mode", ["mean", "ema"])
def test_nothing_leaks_and_everything_learns(mode):
    memory, x = made(mode), tokens().requires_grad_()
    found, _ = memory(x)
    (grad,) = torch.autograd.grad(found[:, 6].sum(), x, retain_graph=True)
    assert not grad[:, 7:].any()
    assert grad[:, :7].all()
    found.square().sum().backward()
    assert all(p.grad.abs().min() > 0 for p in memory.parameters())


def test_it_stays_a_mean():
    """A plain recurrence from 0 would give (1 - a) x at the first token."""
    memory = made("ema")
    found, _ = memory(torch.ones(1, 600, 5, dtype=torch.float64))
    torch.testing.assert_close(found, torch.ones_like(found))


def test_the_gradient_of_the_decays():
    memory, x = made("ema", 3), tokens(1, 5, 3)

    def of(logits):
        return torch.func.functional_call(memory, {"decay_logits": logits}, (x,))[0]

    assert torch.autograd.gradcheck(of, memory.decay_logits.detach().clone().requires_grad_())


@pytest.mark.parametrize("mode", ["mean", "ema"])
def test_sizes_of_0_and_halves(mode):
    memory = made(mode)
    for shape in ((0, 3, 5), (2, 0, 5)):
        found, state = memory(torch.zeros(shape, dtype=torch.float64))
        assert found.shape == shape
        assert state.total.shape == (shape[0], 1, 5)
    assert not memory(torch.zeros(2, 0, 5, dtype=torch.float64), causal=False)[0].any()
    halves = torch.ones(1, 1000, 5, dtype=torch.bfloat16)
    found, _ = memory.bfloat16()(halves)
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, halves)  # sums in bfloat16 would stop at 256


@pytest.mark.parametrize(
    ("argument", "error", "call"),
    [
        ("mode", InvalidArgumentError, lambda: WorkingMemory(5, "sum")),
        ("dims", InvalidArgumentError, lambda: WorkingMemory(0)),
        ("x", ShapeError, lambda: made("mean")(tokens(dims=4))),
        ("mask", DTypeError, lambda: made("mean")(tokens(), mask=torch.ones(2, 11))),
        ("mask", ShapeError, lambda: made("mean")(tokens(), mask=torch.ones(2, 4, dtype=torch.bool))),
        ("state", InvalidArgumentError, lambda: made("mean")(tokens(), state=made("mean")(tokens())[1], causal=False)),
        ("state", ShapeError, lambda: made("mean")(tokens(3), state=made("mean")(tokens())[1])),
        ("causal", DTypeError, lambda: made("mean")(tokens(), causal=1)),
    ],
)
def test_wrong_calls(argument, error, call):
    with pytest.raises(error) as caught:
        call()
    assert caught.value.argument == argument


def test_its_state_is_public():
    assert fc.nn.MemoryState is MemoryState
    assert MemoryState._fields == ("total", "weight")
