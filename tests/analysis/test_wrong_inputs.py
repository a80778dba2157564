"""Bad inputs of the analysis, from the text to the file: each a typed error, and nothing half-written."""

from __future__ import annotations

import numpy as np
import pytest
from fractal_core.analysis import (
    AttentionMaps,
    FractalAttentionAnalyzer,
    capture,
    faithfulness,
    from_bertviz,
    from_cache,
    measure,
    to_bertviz,
    token_scores,
    write_report,
)
from fractal_core.dimension import EdgeWeights
from fractal_core.errors import DTypeError, FractalError, InvalidArgumentError, KeyIndexError, ShapeError
from fractal_core.index_sets import IndexSet

torch = pytest.importorskip("torch", reason="the torch extra is not installed")
pytest.importorskip("transformers", reason="the hf extra is not installed")

IDS = torch.arange(4, 40)[None]
LONG = "golden " * 200


def attention(n=40, heads=2):
    weights = np.tri(n) * np.random.default_rng(0).random((heads, n, n))
    return weights / weights.sum(-1, keepdims=True)


def maps():
    return AttentionMaps.from_arrays(attention(), "causal")


def sparse():
    index_set = IndexSet.from_offsets([0], 40)
    return AttentionMaps.from_arrays([EdgeWeights(index_set, np.ones((1, 40)))])


def arrays(array, support="causal"):
    return AttentionMaps.from_arrays(array, support)


def poisoned(make):
    model = make("gpt2")
    with torch.no_grad():
        model.transformer.wte.weight[:] = float("nan")
    return model


def fused_for_good(make):
    model = make("gpt2")
    model.set_attn_implementation("sdpa")
    model.set_attn_implementation = None
    return model


def fused(make):
    model = make("gpt2")
    model.set_attn_implementation("sdpa")
    return FractalAttentionAnalyzer(model, force_eager_attention=False, tokenizer=lambda *_, **__: {"input_ids": IDS})


def live(make, tokenizer=None, kind="gpt2"):
    return FractalAttentionAnalyzer(make(kind), tokenizer=tokenizer)


WITH_MODEL = [
    ("no text", InvalidArgumentError, lambda m, t, s: live(m, t).analyze("")),
    ("no tokenizer", DTypeError, lambda m, t, s: live(m).analyze(s)),
    ("too long a text", InvalidArgumentError, lambda m, t, s: live(m, t).analyze(LONG)),
    ("a number for a text", DTypeError, lambda m, t, s: live(m, t).analyze(7)),
    ("nothing for a text", DTypeError, lambda m, t, s: live(m, t).analyze(None)),
    ("bytes for a text", DTypeError, lambda m, t, s: live(m, t).analyze(b"golden")),
    ("no tokens kept", InvalidArgumentError, lambda m, t, s: live(m, t).maps(s, max_tokens=0)),
    ("half a token kept", DTypeError, lambda m, t, s: live(m, t).maps(s, max_tokens=1.5)),
    ("a text for several", DTypeError, lambda m, t, s: live(m, t).analyze_batch(s)),
    ("one of three too long", InvalidArgumentError, lambda m, t, s: live(m, t).analyze_batch([s, LONG, s])),
    ("an unknown layer", KeyIndexError, lambda m, t, s: live(m, t).analyze(s, layer_idx=2)),
    ("a layer before the first", KeyIndexError, lambda m, t, s: live(m, t).analyze(s, layer_idx=-3)),
    ("an unknown head", KeyIndexError, lambda m, t, s: live(m, t).analyze(s, head_idx=3)),
    ("half a head", DTypeError, lambda m, t, s: live(m, t).analyze(s, head_idx=0.5)),
    ("a layer in words", DTypeError, lambda m, t, s: live(m, t).analyze(s, layer_idx="last")),
    ("an unknown measure", InvalidArgumentError, lambda m, t, s: live(m, t).measure(s, "universality")),
    ("an unknown layer of a table", KeyIndexError, lambda m, t, s: live(m, t).measure(s, layers=[7])),
    ("an unknown name of a layer", KeyIndexError, lambda m, t, s: live(m, t).measure(s, layers=["cross 0"])),
    ("a model without attention", FractalError, lambda m, t, s: live(m, t, "mamba").analyze(s)),
    (
        "a fused model that stays so",
        InvalidArgumentError,
        lambda m, t, s: capture(fused_for_good(m), {"input_ids": IDS}),
    ),
    ("a fused model, not to be switched", InvalidArgumentError, lambda m, t, s: fused(m).analyze(s)),
    ("NaN in the weights", InvalidArgumentError, lambda m, t, s: capture(poisoned(m), {"input_ids": IDS})),
    ("no model", DTypeError, lambda m, t, s: capture("gpt2", {"input_ids": IDS})),
    ("a module without configuration", DTypeError, lambda m, t, s: capture(torch.nn.Linear(2, 2), {"input_ids": IDS})),
    ("a number for a model", DTypeError, lambda m, t, s: FractalAttentionAnalyzer(7)),
    ("a model that is not there", InvalidArgumentError, lambda m, t, s: FractalAttentionAnalyzer("./no/such/model")),
    ("settings for a live model", InvalidArgumentError, lambda m, t, s: FractalAttentionAnalyzer(m("gpt2"), dtype="f")),
    ("a yes in words", DTypeError, lambda m, t, s: FractalAttentionAnalyzer(m("gpt2"), force_eager_attention="yes")),
    ("two inputs for one", InvalidArgumentError, lambda m, t, s: capture(m("gpt2"), {"input_ids": IDS.expand(2, -1)})),
    ("too few tokens' names", ShapeError, lambda m, t, s: capture(m("gpt2"), {"input_ids": IDS}, tokens=["a"])),
    ("one draw", InvalidArgumentError, lambda m, t, s: live(m, t).compare_models(live(m, t), s, draws=1)),
    ("a negative seed", InvalidArgumentError, lambda m, t, s: live(m, t).compare_models(live(m, t), s, seed=-1)),
    ("too few scores", ShapeError, lambda m, t, s: faithfulness(m("gpt2"), IDS[0], [1.0], filler=0, rng=rng())),
    ("no generator", DTypeError, lambda m, t, s: faithfulness(m("gpt2"), IDS[0], IDS[0], filler=0, rng=0)),
]

WITH_ARRAYS = [
    ("NaN", InvalidArgumentError, lambda p: arrays(np.full((40, 40), np.nan))),
    ("one infinity", InvalidArgumentError, lambda p: arrays(np.where(np.eye(40) > 0, np.inf, attention()[0]))),
    ("negative weights", InvalidArgumentError, lambda p: arrays(-attention())),
    ("one row", ShapeError, lambda p: arrays(np.ones(40))),
    ("no row", ShapeError, lambda p: arrays(np.ones((0, 40)))),
    ("no key", ShapeError, lambda p: arrays(np.ones((40, 0)))),
    ("rows of another sum", InvalidArgumentError, lambda p: arrays(attention() * 0.309)),
    ("the wrong support", InvalidArgumentError, lambda p: arrays(attention().swapaxes(1, 2), "causal")),
    ("an unknown support", InvalidArgumentError, lambda p: arrays(attention(), "diagonal")),
    ("a support of another size", ShapeError, lambda p: arrays(attention(), np.ones((9, 9), bool))),
    ("words for weights", DTypeError, lambda p: arrays(np.full((40, 40), "x"))),
    ("complex weights", DTypeError, lambda p: arrays(attention() + 0j)),
    ("no layer", InvalidArgumentError, lambda p: AttentionMaps(())),
    ("a layer that is not there", KeyIndexError, lambda p: maps().layer(3)),
    ("a kind that is not there", InvalidArgumentError, lambda p: maps().of("cross")),
    ("provenance that no file holds", DTypeError, lambda p: arrays_with(object()).save(p / "maps.npz")),
    ("another ending", InvalidArgumentError, lambda p: maps().save(p / "maps.json")),
    ("a broken file", InvalidArgumentError, lambda p: broken(p)),  # noqa: PLW0108
    ("a file of something else", InvalidArgumentError, lambda p: foreign(p, values=np.ones(3))),
    ("a file with half a map", InvalidArgumentError, lambda p: foreign(p, about=np.array('{"schema": 1}'))),
    ("a file of a later schema", InvalidArgumentError, lambda p: foreign(p, about=np.array('{"schema": 99}'))),
    ("maps that are none", DTypeError, lambda p: measure(attention(), "D1")),
    ("another ending of a report", InvalidArgumentError, lambda p: write_report(maps(), p / "page.pdf")),
    ("a report of one draw", ShapeError, lambda p: write_report(maps(), p / "page.html", draws=1)),
    ("a picture of sparse heads", DTypeError, lambda p: to_bertviz(sparse())),
    ("a rollout of sparse heads", DTypeError, lambda p: token_scores(sparse(), "rollout")),
    ("an unknown score", InvalidArgumentError, lambda p: token_scores(maps(), "gradient")),
    ("two inputs from BertViz", ShapeError, lambda p: from_bertviz([torch.zeros(2, 1, 5, 5)])),
    ("nothing from BertViz", InvalidArgumentError, lambda p: from_bertviz([])),
    ("a cache without patterns", InvalidArgumentError, lambda p: from_cache({"hook_embed": 0})),
    ("a cache with a gap", InvalidArgumentError, lambda p: from_cache({"blocks.1.attn.hook_pattern": attention()})),
]


def rng():
    return np.random.default_rng(0)


def arrays_with(thing):
    return AttentionMaps.from_arrays(attention(), "causal", provenance={"thing": thing})


def broken(folder):
    maps().save(folder / "maps.npz")
    whole = (folder / "maps.npz").read_bytes()
    (folder / "maps.npz").write_bytes(whole[: len(whole) // 2])
    try:
        AttentionMaps.load(folder / "maps.npz")
    finally:
        (folder / "maps.npz").unlink()


def foreign(folder, **content):
    np.savez(folder / "maps.npz", **content)
    try:
        AttentionMaps.load(folder / "maps.npz")
    finally:
        (folder / "maps.npz").unlink()


@pytest.mark.parametrize(("name", "error", "call"), WITH_MODEL, ids=[name for name, *_ in WITH_MODEL])
def test_of_models(name, error, call, model, tokenizer, text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error) as caught:
        call(model, tokenizer, text)
    assert isinstance(caught.value, FractalError)
    assert "allowed" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "error", "call"), WITH_ARRAYS, ids=[name for name, *_ in WITH_ARRAYS])
def test_of_arrays(name, error, call, tmp_path):
    with pytest.raises(error) as caught:
        call(tmp_path)
    assert isinstance(caught.value, FractalError)
    assert "allowed" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_one_bad_text_of_a_batch_leaves_whole_figures_alone(model, tokenizer, text, tmp_path):
    analyzer = FractalAttentionAnalyzer(model("gpt2"), tokenizer=tokenizer)
    with pytest.raises(InvalidArgumentError, match="at most 128"):
        analyzer.analyze_batch([text, LONG], save_dir=tmp_path)
    assert not list(tmp_path.rglob(".*"))
    assert not (tmp_path / "text_001").exists()
