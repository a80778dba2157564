"""Bad inputs of the analyzer, from the text to the file: each a typed error, and nothing half-written."""

from __future__ import annotations

import numpy as np
import pytest
from fractal_core.analysis import (
    AttentionMaps,
    FractalAttentionAnalyzer,
    Settings,
    analyze_maps,
    capture,
    capture_batch,
    load_maps,
    save_maps,
)
from fractal_core.errors import DTypeError, FractalError, InvalidArgumentError, ModelError, ShapeError
from noisy_attention import weights

torch = pytest.importorskip("torch")

LONG = "word " * 400
OK = np.arange(5, 45)


def live(make, kind="gpt2", **more):
    return FractalAttentionAnalyzer(make(kind), **more)


def arrays(array, support="causal", **more):
    return analyze_maps(AttentionMaps.from_arrays(array, support), **more)


def poisoned(make):
    model = make("gpt2")
    with torch.no_grad():
        model.transformer.wte.weight[:] = float("nan")
    return model


def fused_for_good(make):
    model = make("gpt2")
    model.set_attn_implementation("sdpa")
    model._can_set_attn_implementation = lambda: False
    return model


def some():
    return AttentionMaps.from_arrays(weights(2, 40), "causal")


def figures(folder):
    (folder / "taken").write_text("")
    try:
        analyze_maps(some(), save_dir=folder / "taken")
    finally:
        (folder / "taken").unlink()


WITH_MODEL = [
    ("no text", InvalidArgumentError, lambda m, t: live(m, tokenizer=t).analyze("")),
    ("no tokenizer", InvalidArgumentError, lambda m, t: live(m).analyze("text")),
    ("too long a text", InvalidArgumentError, lambda m, t: live(m, tokenizer=t).analyze(LONG)),
    ("too many tokens", InvalidArgumentError, lambda m, t: live(m).analyze(np.full(257, 5))),
    ("too long for RoBERTa", InvalidArgumentError, lambda m, t: live(m, "roberta").analyze(np.full(65, 5))),
    ("no tokens", InvalidArgumentError, lambda m, t: live(m).analyze(np.zeros(0, np.int64))),
    ("no list", InvalidArgumentError, lambda m, t: live(m).analyze([])),
    ("an unknown token", InvalidArgumentError, lambda m, t: live(m).analyze([5, 600])),
    ("a negative token", InvalidArgumentError, lambda m, t: live(m).analyze([5, -1])),
    ("tokens that are fractions", DTypeError, lambda m, t: live(m).analyze(np.array([1.5, 2.5]))),
    ("a number", DTypeError, lambda m, t: live(m).analyze(7)),
    ("nothing", DTypeError, lambda m, t: live(m).analyze(None)),
    ("several texts for one", InvalidArgumentError, lambda m, t: live(m, tokenizer=t).analyze(["a", "b"])),
    (
        "one of three is too long",
        InvalidArgumentError,
        lambda m, t: live(m, tokenizer=t).analyze_batch(["a", LONG, "b"]),
    ),
    ("a mapping without input", InvalidArgumentError, lambda m, t: live(m).analyze({"attention_mask": [[1]]})),
    ("three axes", ShapeError, lambda m, t: live(m).analyze({"input_ids": OK[None, None]})),
    ("a mask of another length", ShapeError, lambda m, t: capture(m("gpt2"), mask(np.ones((1, 7), np.int64)))),
    ("padding alone", InvalidArgumentError, lambda m, t: capture(m("gpt2"), mask(np.zeros((1, 40), np.int64)))),
    ("a mask of four axes", ShapeError, lambda m, t: capture(m("gpt2"), mask(np.ones((1, 1, 40, 40), np.int64)))),
    ("a target without a decoder", InvalidArgumentError, lambda m, t: capture(m("gpt2"), OK, target=OK)),
    ("two targets", InvalidArgumentError, lambda m, t: capture(m("bart"), both(), target=OK)),
    ("text for a vision model", InvalidArgumentError, lambda m, t: capture(m("vit"), OK)),
    ("an image of another size", ModelError, lambda m, t: capture(m("vit"), {"pixel_values": np.ones((1, 3, 9, 9))})),
    ("a model without attention", ModelError, lambda m, t: live(m, "mamba").analyze(OK)),
    ("attention that stays fused", ModelError, lambda m, t: capture(fused_for_good(m), OK)),
    ("fused, and not to be switched", ModelError, lambda m, t: capture(sdpa(m), OK, switch=False)),
    ("NaN in the weights", InvalidArgumentError, lambda m, t: capture(poisoned(m), OK)),
    ("no model", DTypeError, lambda m, t: capture("gpt2", OK)),
    ("a module without configuration", DTypeError, lambda m, t: capture(torch.nn.Linear(2, 2), OK)),
    ("an unknown layer", InvalidArgumentError, lambda m, t: live(m).analyze(OK, layer_idx=2)),
    ("an unknown name of a layer", InvalidArgumentError, lambda m, t: live(m).analyze(OK, layer_idx="cross 0")),
    ("an unknown head", InvalidArgumentError, lambda m, t: live(m).analyze(OK, head_idx=4)),
    ("half a head", DTypeError, lambda m, t: live(m).analyze(OK, head_idx=0.5)),
    ("half a layer", DTypeError, lambda m, t: live(m).analyze(OK, layer_idx=0.5)),
    ("an unknown measure", InvalidArgumentError, lambda m, t: live(m).analyze_all(OK, ["universality"])),
    ("one scale", InvalidArgumentError, lambda m, t: live(m).analyze(OK, settings=Settings(scales=(4,)))),
    (
        "scales beyond the matrix",
        InvalidArgumentError,
        lambda m, t: live(m).analyze(OK, settings=Settings(scales=(1, 99))),
    ),
    ("the median", InvalidArgumentError, lambda m, t: live(m).analyze(OK, settings=Settings(foreground=("median", 1)))),
    ("an empty set", FractalError, lambda m, t: live(m).analyze(OK, settings=Settings(foreground=float("nan")))),
    ("a support that is not there", InvalidArgumentError, lambda m, t: capture(m("gpt2"), OK, support="diagonal")),
    ("a support too narrow", InvalidArgumentError, lambda m, t: capture(m("bert"), OK, support="causal")),
    ("a support of another size", ShapeError, lambda m, t: capture(m("bert"), OK, support=np.ones((9, 9), bool))),
    ("no texts", InvalidArgumentError, lambda m, t: live(m).analyze_batch([])),
    ("no batch", InvalidArgumentError, lambda m, t: live(m).analyze_batch([OK], batch_size=0)),
    ("no draws", InvalidArgumentError, lambda m, t: live(m).compare_models(m("gpt2"), OK, nulls=0)),
    ("a negative seed", InvalidArgumentError, lambda m, t: live(m).compare_models(m("gpt2"), OK, seed=-1)),
    ("a yes in words", DTypeError, lambda m, t: live(m, force_eager_attention="yes")),
]

WITH_ARRAYS = [
    ("NaN", InvalidArgumentError, lambda p: arrays(np.full((40, 40), np.nan))),
    ("one NaN", InvalidArgumentError, lambda p: arrays(np.where(np.eye(40) > 0, np.nan, weights(1, 40)[0]))),
    ("infinity", InvalidArgumentError, lambda p: arrays(np.where(np.eye(40) > 0, np.inf, weights(1, 40)[0]))),
    ("negative weights", InvalidArgumentError, lambda p: arrays(-weights(1, 40))),
    ("one row", ShapeError, lambda p: arrays(np.ones(40))),
    ("no row", ShapeError, lambda p: arrays(np.ones((0, 40)))),
    ("no key", ShapeError, lambda p: arrays(np.ones((40, 0)))),
    ("rows of another sum", InvalidArgumentError, lambda p: arrays(weights(1, 40) * 0.309)),
    ("the wrong support", InvalidArgumentError, lambda p: arrays(weights(1, 40, causal=False))),
    ("words for weights", DTypeError, lambda p: arrays(np.full((40, 40), "x"))),
    ("complex weights", DTypeError, lambda p: arrays(weights(1, 40) + 0j)),
    ("a file that is not there", InvalidArgumentError, lambda p: load_maps(p / "maps.npz")),
    ("a folder for a file", InvalidArgumentError, load_maps),
    ("a folder that is not there", InvalidArgumentError, lambda p: save_maps(some(), p / "no" / "maps.npz")),
    ("figures in place of a file", InvalidArgumentError, figures),
    ("a number for a folder", DTypeError, lambda p: analyze_maps(some(), save_dir=7)),
]


def mask(array):
    return {"input_ids": OK[None], "attention_mask": array}


def both():
    return {"input_ids": OK[None], "decoder_input_ids": OK[None]}


def sdpa(make):
    model = make("gpt2")
    model.set_attn_implementation("sdpa")
    return model


def test_there_are_forty():
    assert len(WITH_MODEL) + len(WITH_ARRAYS) >= 40
    names = [name for name, *_ in [*WITH_MODEL, *WITH_ARRAYS]]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(("name", "error", "call"), WITH_MODEL, ids=[name for name, *_ in WITH_MODEL])
def test_of_models(name, error, call, make, tokenizer, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error) as caught:
        call(make, tokenizer)
    assert isinstance(caught.value, FractalError)
    assert len(str(caught.value)) > 20
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "error", "call"), WITH_ARRAYS, ids=[name for name, *_ in WITH_ARRAYS])
def test_of_arrays(name, error, call, tmp_path):
    with pytest.raises(error) as caught:
        call(tmp_path)
    assert isinstance(caught.value, FractalError)
    assert "allowed" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_one_bad_input_of_a_batch_leaves_no_figure(make, tokenizer, tmp_path):
    analyzer = FractalAttentionAnalyzer(make("gpt2"), tokenizer=tokenizer)
    with pytest.raises(InvalidArgumentError, match="empty text"):
        analyzer.analyze_batch(["A good text.", ""], save_dir=tmp_path, batch_size=1)
    with pytest.raises(InvalidArgumentError, match="at most 256"):
        capture_batch(analyzer.model, ["A good text.", LONG], tokenizer)
    assert list(tmp_path.iterdir()) == []
