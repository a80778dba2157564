"""Blocks and stacks of them: the formula, settings drawn by a seed and kept as JSON; A26 and A27."""

from __future__ import annotations

import json

import fractal_core as fc
import pytest
import torch
from fractal_core.errors import InvalidArgumentError
from fractal_core.nn import (
    EncoderLayerConfig,
    KeyValueCache,
    Residual,
    build_encoder,
    create_encoder_layers,
    sample_encoder_config,
)
from fractal_core.nn.layers.residual import ACTIVATIONS
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

B, N, M, E, H = 3, 17, 9, 16, 4


def drawn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def attended(part, x, source, mask=None):
    q, k, v = (t.unflatten(2, (H, -1)).transpose(1, 2) for t in (part.q(x), part.k(source), part.v(source)))
    return part.out(scaled_dot_product_attention(q, k, v, mask).transpose(1, 2).flatten(2))


def reference(block, x, xa, mask):
    """Pre-norm, one skip for each part."""
    normed = block.attention_norm(x)
    x = x + attended(block.attention, normed, normed, mask)
    if xa is not None:
        x = x + attended(block.cross, block.cross_norm(x), xa)
    first, act, last = block.mlp
    return x + last(act(first(block.mlp_norm(x))))


FAR = torch.arange(N)[:, None] - torch.arange(N)[None, :]


@pytest.mark.parametrize("cross", [False, True])
@pytest.mark.parametrize("norm", ["layernorm", "rmsnorm"])
@pytest.mark.parametrize(
    ("settings", "mask"),
    [
        ({}, FAR < N),
        ({"decoder": True}, FAR >= 0),
        ({"ctx": 5}, FAR.abs() < 5),
        ({"ctx": 5, "decoder": True, "act": "relu"}, (FAR >= 0) & (FAR < 5)),
        ({"pattern": "cantor", "act": nn.SELU()}, torch.from_numpy(fc.pattern("cantor").index_set(N).to_mask())),
    ],
)
def test_a_block_is_the_formula(settings, mask, norm, cross):
    torch.manual_seed(0)
    block = Residual(E, H, norm=norm, cross_attention=cross, **settings).double()
    x, xa = drawn(B, N, E).requires_grad_(), drawn(B, M, E, seed=1) if cross else None
    found, wanted = block(x, xa), reference(block, x, xa, mask)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)
    into, weights = [x, *block.parameters()], drawn(B, N, E, seed=2)
    for one, other in zip(*(torch.autograd.grad(y, into, weights) for y in (found, wanted)), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)


def test_every_sample_gets_its_own():
    """A26: all samples got the attention of the first."""
    block, x = Residual(E, H).double(), drawn(B, N, E)
    changed = x.clone()
    changed[0] += 1
    moved = (block(changed) - block(x)).abs().amax((1, 2))
    assert moved[0] > 0.1
    assert (moved[1:] == 0).all()


def test_both_forms_of_the_constructor():
    """A27: the factory's keywords matched no block."""
    seed = Residual(dims=E, head=H, layer_idx=3, act=nn.LeakyReLU(), decoder=False, cross_attention=False)
    assert isinstance(seed.mlp[1], nn.LeakyReLU)
    assert "layer_idx=3" in repr(seed)
    other = Residual(E, H, 8, "gelu", True, False)
    assert other.cross is not None
    assert other.attention.sets.pattern.radius == 7
    with pytest.raises(InvalidArgumentError, match="debug"):
        Residual(E, H, debug=True)


def test_activations_are_a_blocks_own():
    """A27: one instance was shared by all blocks."""
    act = nn.PReLU()
    blocks = [Residual(E, H, act=act) for _ in range(2)]
    assert len({id(module) for module in (act, *(block.mlp[1] for block in blocks))}) == 3
    assert all(type(Residual(E, H, act=name).mlp[1]) is kind for name, kind in ACTIVATIONS.items())


def test_decoder_of_a_call():
    block, x = Residual(E, H).double(), drawn(B, N, E)
    assert not torch.equal(block(x), block(x, decoder=True))
    causal = Residual(E, H, decoder=True).double()
    causal.load_state_dict(block.state_dict())
    torch.testing.assert_close(causal(x), block(x, decoder=True), rtol=0, atol=0)


@pytest.mark.parametrize("settings", [{}, {"ctx": 4}, {"pattern": "cantor"}])
def test_decoding_is_the_full_pass(settings):
    block, x = Residual(E, H, decoder=True, **settings).double().eval(), drawn(B, N, E)
    cache = KeyValueCache(2)
    parts = [block(piece, kv_cache=cache) for piece in x.split([3, 0, 1, 13], 1)]
    torch.testing.assert_close(torch.cat(parts, 1), block(x), rtol=0, atol=1e-12)


def test_masks():
    block, x, xa = Residual(E, H, cross_attention=True).double(), drawn(B, N, E), drawn(B, M, E, seed=1)
    mask, xa_mask = torch.ones(B, N, dtype=torch.bool), torch.ones(B, M, dtype=torch.bool)
    mask[1, 12:], xa_mask[2, 4:] = False, False
    noisy, other = x.clone(), xa.clone()
    noisy[1, 12:], other[2, 4:] = 7.0, -7.0
    wanted = block(x, xa, mask, xa_mask=xa_mask)[mask]
    torch.testing.assert_close(block(noisy, other, mask, xa_mask=xa_mask)[mask], wanted, rtol=0, atol=1e-12)


def test_dropout_is_for_training():
    block, x = Residual(E, H, dropout=0.5).double(), drawn(B, N, E)
    assert not torch.equal(block(x), block(x))
    block.eval()
    assert torch.equal(block(x), block(x))


# --- settings --------------------------------------------------------------------------------------------------------


def test_a_seed_is_a_list():
    one = sample_encoder_config(12, 64, 3)
    torch.manual_seed(5)
    assert one == sample_encoder_config(12, 64, 3) != sample_encoder_config(12, 64, 4)
    assert sample_encoder_config(5, 64, 3) == one[:5]


def test_all_knobs_vary_within_what_is_allowed():
    drawn_ones = sample_encoder_config(60, 64, 0, patterns=(None, "cantor"))
    assert {c.head for c in drawn_ones} == {4, 8, 16}
    assert {c.act for c in drawn_ones} == {"relu", "gelu", "selu", "leaky_relu"}
    assert {c.norm for c in drawn_ones} == {"layernorm", "rmsnorm"}
    assert {c.mlp_ratio for c in drawn_ones} == {2, 3, 4}
    assert {c.pattern for c in drawn_ones} == {None, "cantor"}
    shares = [c.dropout for c in drawn_ones]
    assert len(set(shares)) == 60
    assert 0.1 <= min(shares) < 0.15 < 0.25 < max(shares) <= 0.3


@pytest.mark.parametrize("dims", [512, 24, 20])
def test_a_head_that_does_not_divide_cannot_be(dims):
    """A27: with 12 heads of 512 features 1.8 % of the stacks could be made."""
    for seed in range(20):
        assert all(dims % c.head == 0 for c in sample_encoder_config(10, dims, seed, heads=(4, 8, 12)))
    with pytest.raises(InvalidArgumentError, match="heads"):
        sample_encoder_config(2, 7, 0)
    with pytest.raises(InvalidArgumentError, match="head"):
        EncoderLayerConfig(512, 12)


def test_json_builds_the_same_model():
    """A27: the architecture of a checkpoint could not be made again."""
    configs = sample_encoder_config(4, 32, 7, patterns=(None, "cantor:base=4", "window:radius=3"))
    model = build_encoder(configs)
    text = json.dumps([c.to_dict() for c in model.configs])
    again = build_encoder([EncoderLayerConfig.from_dict(c) for c in json.loads(text)])
    assert again.configs == tuple(configs)
    again.load_state_dict(model.state_dict())
    x = torch.randn(2, 11, 32, generator=torch.Generator().manual_seed(0))
    assert torch.equal(again.eval()(x), model.eval()(x))


def test_a_stack_is_a_list_and_runs():
    layers = create_encoder_layers(num_layers=3, dims=32)
    assert isinstance(layers, nn.ModuleList)
    assert [type(block) for block in layers] == [Residual] * 3
    assert [block.layer_idx for block in layers] == [0, 1, 2]
    x = drawn(2, 9, 32)
    layers.double().eval()
    wanted = x
    for block in layers:
        wanted = block(wanted)
    assert torch.equal(layers(x), wanted)
    assert len(create_encoder_layers().configs) == 10
    assert layers.configs == tuple(sample_encoder_config(3, 32, 0))


def test_cross_attention_in_a_stack():
    configs = [EncoderLayerConfig(E, H), EncoderLayerConfig(E, H, cross_attention=True)]
    model, x, xa = build_encoder(configs).double(), drawn(B, N, E), drawn(B, M, E, seed=1)
    torch.testing.assert_close(model(x, xa), model[1](model[0](x), xa), rtol=0, atol=0)
    assert build_encoder([])(x) is x
