"""Attention followed while a model writes is the attention of what it wrote."""

from __future__ import annotations

import numpy as np
import pytest
from fractal_core import dimension
from fractal_core.analysis import FractalAttentionAnalyzer, GenerationStream, capture, measure
from fractal_core.errors import InvalidArgumentError, ModelError

torch = pytest.importorskip("torch")


@pytest.mark.parametrize("kind", ["gpt2", "llama", "gemma3", "mistral"])
def test_it_has_the_numbers_of_the_whole_text(kind, make, ids):
    model = make(kind)
    stream = GenerationStream(model, ids, max_new_tokens=30)
    steps = list(stream)
    written = stream.ids[: stream.layers[0][1].length]
    maps = capture(model, np.array(written))
    assert [s.length for s in steps] == list(range(40, 40 + len(steps)))
    assert stream.ids[40:] == [s.token_id for s in steps]
    names = ["box", "D1", "D2", "entropy", "sink", "previous", "induction", "distance"]
    found, want = stream.table(force=True), measure(maps, names)
    for name in names:
        # The cache computes a row alone, and so in another order than a whole pass does.
        np.testing.assert_allclose(found.grid(name), want.grid(name), atol=2e-5, err_msg=name)
    np.testing.assert_array_equal(found.where(measure="D1")["n_keys"], len(written))


def test_it_is_the_batch_value_of_the_rows_it_was_given(make, ids):
    rows = []
    model = make("gpt2")
    stream = GenerationStream(model, ids, max_new_tokens=25)
    hook = model.transformer.h[0].attn.register_forward_hook(lambda m, a, out: rows.append(out[1][0].numpy()))
    list(stream)
    hook.remove()
    n = stream.layers[0][1].length
    whole = np.zeros((4, n, n), np.float32)
    first = 0
    for part in rows:
        whole[:, first : first + part.shape[1], : part.shape[2]] = part
        first += part.shape[1]
    follower = stream.layers[0][1]
    for q in (1, 2):
        batch = dimension.renyi_dimension(whole, "causal", q=q, scales=follower.scales)
        np.testing.assert_allclose(follower.renyi_dimension(q).value, batch.value, rtol=0, atol=1e-12)
    batch = dimension.box_dimension(whole, "causal", foreground=("mass", 0.9), scales=follower.scales)
    np.testing.assert_allclose(follower.box_dimension().value, batch.value, rtol=0, atol=1e-12)


def test_it_writes_what_the_model_would(make, ids):
    model = make("llama")
    stream = GenerationStream(model, ids, max_new_tokens=8)
    list(stream)
    want = model.generate(
        torch.as_tensor(ids)[None], max_new_tokens=8, do_sample=False, attention_mask=torch.ones(1, 40)
    )
    assert stream.ids == want[0].tolist()[: len(stream.ids)]


def test_the_model_is_as_it_was_between_tokens(make, ids):
    model = make("llama").train()
    model.set_attn_implementation("sdpa")
    for _ in GenerationStream(model, ids, max_new_tokens=3):
        assert model.config._attn_implementation == "sdpa"
        assert model.training
    with pytest.raises(ModelError, match="gives no weights"):
        next(iter(GenerationStream(model, ids, switch=False)))


def test_the_next_token_may_be_chosen(folder):
    analyzer = FractalAttentionAnalyzer(str(folder / "gpt2"))
    wanted = iter(analyzer.tokenizer(" mathematics")["input_ids"])
    count = len(analyzer.tokenizer(" mathematics")["input_ids"])
    stream = analyzer.stream("The golden ratio", max_new_tokens=count, choose=lambda scores: next(wanted))
    assert "".join(step.token for step in stream) == " mathematics"


def test_wrong_calls(make, ids):
    for kind, more in (
        ("bart", {}),
        ("gpt2", {"max_new_tokens": 300}),
        ("gpt2", {"max_new_tokens": 0}),
        ("gpt2", {"q": (-1.0,)}),
    ):
        with pytest.raises(InvalidArgumentError):
            next(iter(GenerationStream(make(kind), ids, **more)))
    with pytest.raises(InvalidArgumentError, match="one step"):
        GenerationStream(make("gpt2"), ids).table()
    with pytest.raises(ModelError):
        next(iter(GenerationStream(make("bert"), ids)))
    with pytest.raises(InvalidArgumentError, match="several"):
        GenerationStream(make("gpt2"), [ids, ids])
