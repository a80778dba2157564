"""The same numbers as `rotary-embedding-torch` (interleaved) and Hugging Face's models (half)."""

from __future__ import annotations

import pytest
import torch
from fractal_core.nn import LinearScaling, Llama3Scaling, NTKScaling, RotaryEmbedding, YaRNScaling, rotate_by


def randn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def peer():
    return pytest.importorskip("rotary_embedding_torch")


@pytest.fixture(scope="module")
def rules():
    return pytest.importorskip("transformers.modeling_rope_utils").ROPE_INIT_FUNCTIONS


@pytest.mark.parametrize("dim", [8, 64])
@pytest.mark.parametrize("offset", [0, 37])
def test_rotary_embedding_torch(peer, dim, offset):
    x = randn(2, 4, 100, dim)
    want = peer.RotaryEmbedding(dim).rotate_queries_or_keys(x, offset=offset)
    torch.testing.assert_close(RotaryEmbedding(dim).rotate(x, offset=offset), want, rtol=0, atol=5e-5)
    # Its angles are in float32. In float64 the two agree to rounding.
    frequencies = RotaryEmbedding(dim).frequencies()[0]
    exact = peer.RotaryEmbedding(dim, custom_freqs=frequencies).double()
    want = exact.rotate_queries_or_keys(x.double(), offset=offset)
    torch.testing.assert_close(RotaryEmbedding(dim).rotate(x.double(), offset=offset), want, rtol=0, atol=1e-6)
    torch.testing.assert_close(RotaryEmbedding(dim).rotate(x, offset=offset).double(), want, rtol=0, atol=1e-6)


def test_its_interpolation_and_rescaling(peer):
    x = randn(1, 2, 20, 16).double()
    for ours, theirs in (
        (LinearScaling(4), {"interpolate_factor": 4.0}),
        (NTKScaling(4), {"theta_rescale_factor": 4.0}),
    ):
        want = peer.RotaryEmbedding(16, **theirs).double().rotate_queries_or_keys(x)
        torch.testing.assert_close(RotaryEmbedding(16, scaling=ours).rotate(x), want, rtol=0, atol=5e-6)


def test_its_xpos_scores(peer):
    """It centres the exponents in the length, which no score sees; ours start at position 0, as decoding needs."""
    q, k = randn(1, 2, 30, 16).double(), randn(1, 2, 30, 16, seed=1).double()
    a, b = peer.RotaryEmbedding(16, use_xpos=True).double().rotate_queries_and_keys(q, k)
    c, d = RotaryEmbedding(16, xpos=True)(q, k)
    torch.testing.assert_close(c @ d.mT, a @ b.mT, rtol=0, atol=5e-6)


def test_its_axes(peer):
    x = randn(2, 5, 7, 24).double()
    theirs = peer.RotaryEmbedding(12).double()
    want = peer.apply_rotary_emb(theirs.get_axial_freqs(5, 7), x)
    rows, columns = torch.meshgrid(torch.arange(5), torch.arange(7), indexing="ij")
    places = torch.stack((rows, columns), -1)
    torch.testing.assert_close(RotaryEmbedding(24, n_axes=2).rotate(x, places), want, rtol=0, atol=5e-6)


@pytest.mark.parametrize("ranges", [None, torch.tensor([1.0, 0.5])])
def test_its_learned_rotations(peer, ranges):
    x, angles = randn(2, 6, 16), randn(6, 3, seed=1)
    if ranges is None:
        want = peer.apply_learned_rotations(angles, x, start_index=2)
    else:
        # It multiplies the angles by the ranges as written, without an axis for them; this is what its name says.
        want = peer.apply_learned_rotations((angles[..., None] * ranges).flatten(-2), x, start_index=2)
    torch.testing.assert_close(rotate_by(x, angles, start_index=2, freq_ranges=ranges), want, rtol=0, atol=1e-6)


def test_hugging_face():
    llama = pytest.importorskip("transformers.models.llama.modeling_llama")
    config = llama.LlamaConfig(hidden_size=256, num_attention_heads=4, max_position_embeddings=256)
    q, k = randn(2, 4, 100, 64), randn(2, 2, 100, 64, seed=1)
    model = llama.LlamaRotaryEmbedding(config)
    model.inv_freq = RotaryEmbedding(64).frequencies()[0].float()
    cos, sin = model(q, torch.arange(100)[None])
    for got, want in zip(
        RotaryEmbedding(64, layout="half")(q, k), llama.apply_rotary_pos_emb(q, k, cos, sin), strict=True
    ):
        torch.testing.assert_close(got, want, rtol=0, atol=2e-5)
    # Its angles are float32; with ours it is the same function.
    angles = torch.arange(100)[:, None] * RotaryEmbedding(64).frequencies()[0]
    cos, sin = (torch.cat((t, t), -1)[None].float() for t in (angles.cos(), angles.sin()))
    for got, want in zip(
        RotaryEmbedding(64, layout="half")(q, k), llama.apply_rotary_pos_emb(q, k, cos, sin), strict=True
    ):
        torch.testing.assert_close(got, want, rtol=0, atol=1e-6)


RULES = {
    "linear": ({"factor": 8.0}, LinearScaling(8)),
    "yarn": ({"factor": 4.0, "original_max_position_embeddings": 4096}, YaRNScaling(4, 4096)),
    "yarn of its own numbers": (
        {
            "factor": 16.0,
            "original_max_position_embeddings": 2048,
            "beta_fast": 20.0,
            "beta_slow": 2.0,
            "attention_factor": 0.8,
            "truncate": False,
        },
        YaRNScaling(16, 2048, beta_fast=20, beta_slow=2, attention=0.8, truncate=False),
    ),
    "llama3": (
        {
            "factor": 8.0,
            "original_max_position_embeddings": 8192,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
        },
        Llama3Scaling(8, 8192),
    ),
}


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize(("head", "theta"), [(64, 10000.0), (128, 500000.0)])
def test_rules_of_long_texts(rules, name, head, theta):
    transformers = pytest.importorskip("transformers")
    kind, (entries, rule) = name.split()[0], RULES[name]
    parameters = {"rope_type": kind, **entries}
    config = transformers.LlamaConfig(
        hidden_size=4 * head,
        num_attention_heads=4,
        max_position_embeddings=65536,
        rope_parameters={**parameters, "rope_theta": theta},
    )
    want, factor = rules[kind](config, "cpu")
    for scaling in (rule, parameters, {**parameters, "rope_theta": theta}):
        rotary = RotaryEmbedding(head, base=theta, scaling=scaling, layout="half")
        torch.testing.assert_close(rotary.frequencies()[0].float(), want, rtol=1e-6, atol=1e-9)
        assert rotary.fixed.scaling.attention_factor == pytest.approx(factor, rel=1e-6)
    x = randn(1, 1, 5, head)
    turned = RotaryEmbedding(head, base=theta, scaling=rule, layout="half").rotate(x)
    torch.testing.assert_close(turned.norm(dim=-1), x.norm(dim=-1) * factor, rtol=1e-5, atol=0)


@pytest.mark.parametrize("length", [2048, 4096, 20000])
def test_dynamic_ntk_of_a_named_length(rules, length):
    transformers = pytest.importorskip("transformers")
    parameters = {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 10000.0}
    config = transformers.LlamaConfig(
        hidden_size=256, num_attention_heads=4, max_position_embeddings=2048, rope_parameters=parameters
    )
    want, _ = rules["dynamic"](config, "cpu", seq_len=length)
    got = RotaryEmbedding(64, scaling=NTKScaling.dynamic(4, length, 2048)).frequencies()[0]
    torch.testing.assert_close(got.float(), want, rtol=1e-6, atol=1e-9)


def test_ntk_keeps_the_highest_and_divides_the_lowest():
    """R14: d = 2 divided by zero in the original's rule."""
    plain, got = (RotaryEmbedding(16, scaling=s).frequencies()[0] for s in (None, NTKScaling(8)))
    assert got[0] == plain[0] == 1
    assert float(plain[-1] / got[-1]) == pytest.approx(8)
    assert RotaryEmbedding(2, scaling=NTKScaling(8)).frequencies().tolist() == [[1.0]]
