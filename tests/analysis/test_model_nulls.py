"""The architecture with other weights, the text in another order."""

from __future__ import annotations

import numpy as np
import pytest
from fractal_core.analysis import capture, random_model, shuffled_tokens
from fractal_core.errors import DTypeError, InvalidArgumentError

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")


@pytest.mark.parametrize("name", ["gpt2", "bert"])
def test_other_weights_in_the_same_place(model, name):
    net = model(name).double()
    before = torch.random.get_rng_state()
    other, again = random_model(net, seed=3), random_model(net, seed=3)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert type(other) is type(net)
    assert not other.training
    pairs = list(zip(net.parameters(), other.parameters(), again.parameters(), strict=True))
    assert all(a.shape == b.shape and a.dtype == b.dtype for a, b, _ in pairs)
    assert all(torch.equal(b, c) for _, b, c in pairs)
    assert not all(torch.equal(a, b) for a, b, _ in pairs)
    maps = capture(other, {"input_ids": torch.arange(2, 20)[None]})
    assert maps.layers[0].shape == (18, 18)


def test_tokens_in_another_order():
    ids = np.array([0, 5, 6, 7, 8, 9, 9, 1])
    found = shuffled_tokens(ids, rng=np.random.default_rng(0), keep=[0, 1])
    assert found[[0, -1]].tolist() == [0, 1]
    assert sorted(found) == sorted(ids)
    assert not np.array_equal(found, ids)
    assert ids.tolist() == [0, 5, 6, 7, 8, 9, 9, 1]


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda m: random_model("gpt2", seed=0), DTypeError),
        (lambda m: random_model(m, seed=-1), InvalidArgumentError),
        (lambda m: shuffled_tokens([], rng=np.random.default_rng()), InvalidArgumentError),
        (lambda m: shuffled_tokens([1.5], rng=np.random.default_rng()), DTypeError),
        (lambda m: shuffled_tokens([1], rng=3), DTypeError),
    ],
)
def test_what_is_refused(model, call, error):
    with pytest.raises(error):
        call(model("gpt2"))
