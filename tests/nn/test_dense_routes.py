"""What becomes of calls of dense attention: routes, counters, models, and the rule by which torch's own is called."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from fractal_core.nn import _dense_masks, _dense_rule, dense_attention, scaled_dot_product_attention
from fractal_core.nn._dense_inputs import dense_inputs
from torch import nn


def drawn(*shapes, dtype=torch.float64, seed=0):
    g = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(s, generator=g, dtype=torch.float64).to(dtype).requires_grad_() for s in shapes)


def some(*shape, seed=0, share=0.4):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < share


def test_what_goes_to_torch_and_why():
    q, k, v = (t.detach() for t in drawn(*[(1, 2, 4, 8)] * 3))
    meta = torch.empty(1, 2, 4, 8, device="meta")

    class Own(torch.Tensor):
        pass

    with dense_attention(always=True) as calls:
        assert scaled_dot_product_attention(meta, meta, meta).is_meta
        scaled_dot_product_attention(q.as_subclass(Own), k, v)
        scaled_dot_product_attention(q[:, :, :0], k, v)
        assert not scaled_dot_product_attention(q, k[:, :, :0], v[:, :, :0]).any()
        scaled_dot_product_attention(q, k[:, :1], v, enable_gqa=True)
    assert calls.taken == 0
    assert dict(calls.passed) == {
        "not on the CPU": 1,
        "a subclass of Tensor": 1,
        "a size of 0": 2,
        "key and value of different numbers of heads": 1,
    }
    assert str(calls).startswith("0 of 5 calls taken, passed on to torch: 2 × a size of 0; ")


def test_the_context_routes_torchs_own_function():
    q, k, v = (t.detach() for t in drawn(*[(1, 2, 4, 8)] * 3))
    attention = nn.MultiheadAttention(8, 2, batch_first=True, dtype=torch.float64)
    with dense_attention(always=True) as calls:
        F.scaled_dot_product_attention(q, k, v, is_causal=True)
        F.scaled_dot_product_attention(query=q, key=k, value=v, attn_mask=some(4, 4), scale=0.5)
        out = attention(q[0], q[0], q[0], need_weights=False)[0]
        assert calls.total == 3
    torch.testing.assert_close(out, attention(q[0], q[0], q[0], need_weights=False)[0])
    F.scaled_dot_product_attention(q, k, v)
    assert (calls.taken, calls.total) == (3, 3)
    assert repr(calls) == "DenseCalls(taken=3, passed={})"


def test_an_encoder_layer_under_the_context():
    layer = nn.TransformerEncoderLayer(16, 2, 24, dropout=0.0, batch_first=True, dtype=torch.float64)
    x, padding = drawn((2, 9, 16))[0], torch.arange(9) >= torch.tensor([9, 5])[:, None]
    with dense_attention(always=True) as calls:
        out = layer(x, src_key_padding_mask=padding)
    assert (calls.taken, calls.total) == (1, 1)
    wanted = layer(x, src_key_padding_mask=padding)
    torch.testing.assert_close(out, wanted)
    grads = [torch.autograd.grad(y.sum(), (x, *layer.parameters())) for y in (out, wanted)]
    torch.testing.assert_close(*grads)


def test_contexts_nest_and_every_counter_counts():
    q, k, v = (t.detach() for t in drawn(*[(1, 2, 4, 8)] * 3))
    with dense_attention() as outer:
        with pytest.raises(ZeroDivisionError), dense_attention(always=True) as inner:  # noqa: PT012
            F.scaled_dot_product_attention(q, k, v)
            raise ZeroDivisionError
        F.scaled_dot_product_attention(q, k, v)
    F.scaled_dot_product_attention(q, k, v)
    assert (inner.taken, inner.total) == (1, 1)
    assert (outer.taken, outer.total) == (1, 2)
    assert next(iter(outer.passed)).startswith("torch is faster")


def test_threads_have_contexts_of_their_own():
    q, k, v = (t.detach() for t in drawn(*[(1, 2, 4, 8)] * 3))
    found = {}

    def run(name):
        with dense_attention(always=True) as calls:
            for _ in range(50):
                F.scaled_dot_product_attention(q, k, v, some(4, 4, seed=len(name)))
        found[name] = calls.taken

    threads = [threading.Thread(target=run, args=("x" * i,)) for i in range(1, 5)]
    with dense_attention(always=True) as here:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(found.values()) == [50] * 4
    assert here.total == 0


def model(kind):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    common = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3,
              "num_attention_heads": 4, "attn_implementation": "sdpa"}  # fmt: skip
    if kind == "llama":
        return transformers.LlamaForCausalLM(transformers.LlamaConfig(**common, num_key_value_heads=2)).eval()
    return transformers.BertForMaskedLM(transformers.BertConfig(**common)).eval()


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("kind", ["llama", "bert"])
def test_a_transformer_under_the_context(kind, padded):
    net = model(kind)
    ids = torch.randint(0, 64, (3, 21), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    if padded:
        mask[1, :5] = 0
        mask[2, :9] = 0
    seen = mask.bool()
    wanted = net(ids, attention_mask=mask).logits[seen]
    with dense_attention(always=True) as calls:
        given = net(ids, attention_mask=mask).logits[seen]
    assert (calls.taken, calls.total) == (3, 3)
    torch.testing.assert_close(given, wanted, rtol=1e-5, atol=1e-5)
    parameters = [p for p in net.parameters() if p.requires_grad]
    for g, w in zip(
        torch.autograd.grad(given.sum(), parameters, allow_unused=True),
        torch.autograd.grad(wanted.sum(), parameters, allow_unused=True),
        strict=True,
    ):
        if w is not None:
            torch.testing.assert_close(g, w, rtol=1e-3, atol=1e-4)


def test_generation_under_the_context():
    net = model("llama")
    ids = torch.randint(0, 64, (2, 9), generator=torch.Generator().manual_seed(0))
    asked = {"max_new_tokens": 6, "do_sample": False, "attention_mask": torch.ones_like(ids), "pad_token_id": 0}
    wanted = net.generate(ids, **asked)
    with dense_attention(always=True) as calls:
        given = net.generate(ids, **asked)
    assert torch.equal(given, wanted)
    assert (calls.taken, calls.total) == (18, 18)


# --- the rule --------------------------------------------------------------------------------------------------------

FASTER = {
    # batch, heads, key heads, queries, keys, head size, dtype, causal, training; the reason after "torch is faster: "
    "full": ((1, 4, 4, 512, 512, 64), torch.float32, False, True, None),
    "causal": ((1, 4, 4, 512, 512, 64), torch.bfloat16, True, True, None),
    "small": ((1, 4, 4, 128, 128, 64), torch.float32, False, False, "small"),
    "many small": ((32, 4, 4, 128, 128, 64), torch.float32, False, False, None),
    "one query": ((1, 8, 8, 1, 65536, 64), torch.float32, False, False, "small"),
    "one query, shared heads": ((1, 32, 8, 1, 8192, 64), torch.float32, False, False, None),
    "long": ((1, 1, 1, 8192, 8192, 128), torch.float32, False, True, None),
    "longer": ((1, 1, 1, 16384, 16384, 128), torch.float32, False, True, "a long training step"),
    "longer causal": ((1, 1, 1, 16384, 16384, 128), torch.float32, True, True, "a long training step"),
    "longer forward": ((1, 1, 1, 16384, 16384, 128), torch.float32, False, False, None),
    "long bfloat16": ((1, 1, 1, 2048, 2048, 64), torch.bfloat16, False, True, "a long training step"),
    "long bfloat16 causal": ((1, 1, 1, 2048, 2048, 64), torch.bfloat16, True, True, None),
    "longer float16": ((1, 1, 1, 16384, 16384, 128), torch.float16, False, True, None),
    "float64": ((1, 4, 4, 512, 512, 64), torch.float64, False, False, "float64 without causality"),
    "float64 causal": ((1, 4, 4, 512, 512, 64), torch.float64, True, False, None),
}


def sized(shape, dtype, training):
    batch, heads, kv_heads, n_queries, n_keys, width = shape
    q = torch.empty(batch, heads, n_queries, width, dtype=dtype, requires_grad=training)
    k, v = (torch.empty(batch, kv_heads, n_keys, width, dtype=dtype) for _ in range(2))
    return q, k, v


@pytest.mark.parametrize("name", FASTER)
def test_where_torch_is_faster(name, monkeypatch):
    shape, dtype, causal, training, reason = FASTER[name]
    monkeypatch.setattr(_dense_rule, "_has_tiles", lambda: False)
    q, k, v = sized(shape, dtype, training)
    given = dense_inputs(q, k, v, None, 0.0, causal, None, enable_gqa=True)
    wanted = None if reason is None else f"torch is faster: {reason}"
    assert _dense_rule.torch_is_faster(given, causal) == wanted
    monkeypatch.setattr(_dense_rule, "_has_tiles", lambda: True)
    if dtype == torch.bfloat16:
        assert _dense_rule.torch_is_faster(given, causal) == "torch is faster: bfloat16 in matrix tiles"


def test_where_torch_is_faster_under_a_mask():
    q, k, v = (t.detach() for t in drawn(*[(1, 8, 768, 64)] * 3, dtype=torch.float32))
    near = (torch.arange(768)[:, None] - torch.arange(768)).abs()
    window = torch.where(near <= 32, -near.float(), -torch.inf)
    with dense_attention() as calls:
        for mask in (near <= 700, near <= 32, window):
            scaled_dot_product_attention(q, k, v, mask)
        scaled_dot_product_attention(q, k, v, -near.float())
        scaled_dot_product_attention(q, k, v, -near.float().requires_grad_())
    assert calls.taken == 3
    assert dict(calls.passed) == {"torch is faster: a mask with values": 2}


def test_the_documents_have_the_rule():
    page = (Path(__file__).resolve().parents[2] / "docs/attention.md").read_text(encoding="utf-8")
    assert _dense_rule.SMALL == 2**25
    assert (_dense_rule.LONG, _dense_rule.LONG_MASKED, _dense_rule.LONG_BFLOAT16) == (2**20, 2**18, 2**16)
    assert "below 2²⁵" in page
    assert "above 2²⁰, or 2¹⁸ under a mask, or 2¹⁶ in bfloat16" in page
    assert f"fewer than {_dense_rule.SHORT} queries" in page
    assert f"more than {_dense_rule.SPARSE} of the product" in page
    assert f"more than {_dense_masks.MOST_SETS} different ones" in page
