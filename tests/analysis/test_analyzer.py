"""The seed's analyzer: real numbers of one head, of all, of several texts, of two models, and their files."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from fractal_core import dimension
from fractal_core.analysis import (
    AttentionMaps,
    DeviceManager,
    FractalAttentionAnalyzer,
    Settings,
    Table,
    analyze_maps,
    capture,
    export_results,
    measure,
)
from fractal_core.errors import DTypeError, InvalidArgumentError, ModelError
from noisy_attention import weights

TEXT = "The golden ratio appears in nature and mathematics. " * 4


@pytest.fixture(scope="module")
def analyzer(folder):
    return FractalAttentionAnalyzer(str(folder / "gpt2"))


@pytest.fixture(scope="module")
def results(analyzer):
    return analyzer.analyze(TEXT, layer_idx=1, head_idx=2)


def test_one_head_has_the_numbers_of_its_attention(analyzer, results):
    maps = capture(analyzer.model, TEXT, analyzer.tokenizer)
    array = maps.layers[1].weights[2]
    np.testing.assert_array_equal(results["attention"], array)
    box = dimension.box_dimension(array, "causal", foreground=("mass", 0.9))
    d1 = dimension.renyi_dimension(array, "causal", q=1)
    assert results["fractal_dimension"] == results["dimensions"]["box"]["value"] == float(box)
    assert results["dimensions"]["D1"]["value"] == pytest.approx(float(d1), abs=1e-12)
    assert results["dimensions"]["D1"]["reasons"] == list(d1.reasons)
    entropy = dimension.row_statistics(array, "causal").summary()["entropy"].mean
    assert results["metrics"]["entropy"] == pytest.approx(float(entropy), abs=1e-9)
    assert results["metrics"]["forward_flow"] == 0
    assert (results["layer_idx"], results["head_idx"]) == (1, 2)
    assert results["support"] == results["kind"] == "causal"
    assert "".join(results["tokens"]) == TEXT
    assert results["n_tokens"] == len(results["tokens"]) >= 32
    assert results["analysis_time"] > 0
    assert results["provenance"]["attention_implementation"] == "eager"
    np.testing.assert_allclose(results["transformed_attention"].sum(axis=1), 1, atol=1e-6)
    assert not np.triu(results["transformed_attention"], 1).any()


def test_places_are_those_that_were_used(analyzer):
    last = analyzer.analyze(TEXT)
    assert (last["layer_idx"], last["head_idx"]) == (1, 0)
    assert analyzer.analyze(TEXT, layer_idx="layer 0", head_idx=-1)["head_idx"] == 3
    for wrong in ({"layer_idx": 99}, {"layer_idx": -99}, {"head_idx": 99}, {"layer_idx": "layer 9"}):
        with pytest.raises(InvalidArgumentError):
            analyzer.analyze(TEXT, **wrong)


def test_a_live_model_a_folder_and_arrays_agree(analyzer, results):
    live = FractalAttentionAnalyzer(analyzer.model, tokenizer=analyzer.tokenizer)
    again = live.analyze(TEXT, layer_idx=1, head_idx=2)
    assert again["fractal_dimension"] == results["fractal_dimension"]
    by_ids = FractalAttentionAnalyzer(analyzer.model).analyze(analyzer.attention(TEXT).ids, 1, 2)
    assert by_ids["metrics"] == results["metrics"]
    maps = AttentionMaps.from_arrays(results["attention"], "causal")
    assert analyze_maps(maps)["fractal_dimension"] == pytest.approx(results["fractal_dimension"], abs=1e-12)
    assert live.analyze(maps)["model_name"] == "arrays"


def test_everything_from_one_pass(analyzer):
    calls = []
    handle = analyzer.model.transformer.register_forward_hook(lambda *_: calls.append(1))
    found = analyzer.analyze_all(TEXT, ["box", "D1", "entropy"])
    handle.remove()
    assert calls == [1]
    assert isinstance(found["table"], Table)
    assert len(found["table"]) == 2 * 4 * 3
    want = measure(analyzer.attention(TEXT), ["box", "D1", "entropy"])
    np.testing.assert_array_equal(found["table"]["value"], want["value"])
    assert 0 < found["forward_time"] <= found["analysis_time"]


def test_few_tokens(analyzer):
    for text in ("a", "Hi!", TEXT[:40]):
        found = analyzer.analyze(text)
        assert np.isnan(found["fractal_dimension"])
        assert any("below 32" in reason for reason in found["dimensions"]["box"]["reasons"])
        assert np.isfinite(found["metrics"]["entropy"])
    assert np.isfinite(analyzer.analyze(TEXT[:40], settings=Settings(force=True))["fractal_dimension"])


def test_figures(analyzer, tmp_path):
    pytest.importorskip("matplotlib")
    found = analyzer.analyze(TEXT, return_visualizations=True, save_dir=tmp_path / "new" / "output")
    names = ["attention", "comparison", "dimension", "metrics"]
    assert sorted(p.name for p in (tmp_path / "new" / "output").iterdir()) == [
        f"layer1_head0_{name}.png" for name in names
    ]
    assert sorted(found["visualizations"]) == ["attention_matrix", "fractal_comparison", "fractal_dimension", "metrics"]
    assert "visualizations" not in analyzer.analyze(TEXT)


def test_several_texts(analyzer, tmp_path):
    texts = [TEXT, "Second sentence to analyze.", TEXT + "Third sentence to analyze."]
    found = analyzer.analyze_batch(texts, batch_size=2)
    assert [r["text_index"] for r in found] == [0, 1, 2]
    for text, result in zip(texts, found, strict=True):
        alone = analyzer.analyze(text)
        assert result["n_tokens"] == alone["n_tokens"]
        for name, value in alone["metrics"].items():
            assert result["metrics"][name] == pytest.approx(value, abs=1e-5)
    analyzer.analyze_batch(["One.", "Two."], save_dir=tmp_path)
    assert len(list(tmp_path.iterdir())) == 2 * 4
    entropy = [r["metrics"]["entropy"] for r in found]
    said = found.aggregate["entropy"]
    assert said["n"] == 3
    assert said["mean"] == pytest.approx(np.mean(entropy))
    assert said["std"] == pytest.approx(np.std(entropy, ddof=1))
    assert min(entropy) <= said["interval"][0] <= said["mean"] <= said["interval"][1] <= max(entropy)
    assert found.aggregate["fractal_dimension"]["n"] == 2
    assert found.aggregate == found.aggregate
    assert said["lengths"] == sorted({r["n_tokens"] for r in found})
    for wrong, error in (([], InvalidArgumentError), ("text", DTypeError), (["a", ""], InvalidArgumentError)):
        with pytest.raises(error):
            analyzer.analyze_batch(wrong)


def test_two_models_at_one_length(analyzer, folder, make, tokenizer):
    found = analyzer.compare_models(other_model_name=str(folder / "distilgpt2"), text=TEXT, nulls=9)
    first, second = found["model_1"], found["model_2"]
    assert found["n_tokens"][0] == found["n_tokens"][1]
    assert found["cut"] == [0, 0]
    assert found["dimension_difference"] == first["fractal_dimension"] - second["fractal_dimension"]
    assert first["name"] == str(folder / "gpt2")
    null = first["null"]
    assert null["draws"] == 9
    assert 0.1 <= null["p"] <= 1
    assert null["z"] == pytest.approx((first["fractal_dimension"] - null["mean"]) / null["std"])
    assert analyzer.compare_models(analyzer, TEXT, nulls=9, seed=3)["dimension_difference"] == 0


def test_the_longer_input_is_cut(analyzer, make):
    transformers = pytest.importorskip("transformers")
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = Tokenizer(models.WordLevel({"[UNK]": 0, "the": 1}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    coarse = transformers.PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]")
    found = analyzer.compare_models(make("bert"), TEXT, other_tokenizer=coarse, nulls=2)
    n = len(coarse(TEXT)["input_ids"])
    assert found["n_tokens"] == [n, n]
    assert found["cut"] == [len(analyzer.tokenizer(TEXT)["input_ids"]) - n, 0]
    assert "cut" in found["rule"]
    given = analyzer.compare_models(make("bert"), np.arange(40), nulls=2)
    assert given["n_tokens"] == [40, 40]


def test_fused_models_are_switched_or_refused(make, tokenizer, folder):
    model = make("llama")
    model.set_attn_implementation("sdpa")
    assert FractalAttentionAnalyzer(model, tokenizer=tokenizer).analyze(TEXT)["metrics"]["forward_flow"] == 0
    with pytest.raises(ModelError, match="gives no weights"):
        FractalAttentionAnalyzer(model, force_eager_attention=False, tokenizer=tokenizer).analyze(TEXT)
    loaded = FractalAttentionAnalyzer(str(folder / "gpt2"), force_eager_attention=False)
    with pytest.raises(ModelError, match="gives no weights"):
        loaded.analyze(TEXT)


@pytest.mark.parametrize("kind", ["bert", "bart", "t5"])
def test_other_kinds_of_models(kind, make, tokenizer):
    found = FractalAttentionAnalyzer(make(kind), tokenizer=tokenizer).analyze(TEXT, layer_idx=0)
    assert found["kind"] == "encoder"
    assert np.isfinite(found["fractal_dimension"])
    if kind != "bert":
        cross = FractalAttentionAnalyzer(make(kind), tokenizer=tokenizer).analyze(
            TEXT, layer_idx="cross 0", target="A sentence of its own, long enough to be seen."
        )
        assert cross["attention"].shape[0] == len(cross["query_tokens"]) != len(cross["tokens"])


# Files.


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def rows_of(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def no_strings_for_numbers(value):
    if isinstance(value, dict):
        return all(no_strings_for_numbers(v) for v in value.values())
    if isinstance(value, list):
        return all(no_strings_for_numbers(v) for v in value)
    if isinstance(value, str):
        try:
            float(value)
        except ValueError:
            return True
        return False
    return True


def test_json(analyzer, results, tmp_path):
    analyzer.export_results(results, tmp_path / "output.json", format="json")
    found = read(tmp_path / "output.json")
    assert found["schema"] == 1
    body = found["results"]
    assert body["fractal_dimension"] == results["fractal_dimension"]
    assert body["metrics"] == pytest.approx(results["metrics"])
    assert no_strings_for_numbers({k: v for k, v in body.items() if "tokens" not in k and k != "provenance"})
    assert body["provenance"]["model"] == results["model_name"]
    assert "attention" not in body
    analyzer.export_results(results, tmp_path / "all.json", arrays=True)
    np.testing.assert_array_equal(read(tmp_path / "all.json")["results"]["attention"], results["attention"])


def test_numbers_that_are_not_finite_are_null(analyzer, tmp_path):
    analyzer.export_results(analyzer.analyze("a"), tmp_path / "short.json")
    assert read(tmp_path / "short.json")["results"]["fractal_dimension"] is None


def test_csv_and_parquet_hold_the_same(analyzer, results, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    batch = analyzer.analyze_batch([TEXT, TEXT + "More."])
    comparison = analyzer.compare_models(analyzer, TEXT, nulls=2)
    for name, given in (("one", results), ("batch", batch), ("two", comparison), ("all", analyzer.analyze_all(TEXT))):
        analyzer.export_results(given, tmp_path / f"{name}.csv", "csv")
        analyzer.export_results(given, tmp_path / f"{name}.parquet", "parquet")
        rows = rows_of(tmp_path / f"{name}.csv")
        table = parquet.read_table(tmp_path / f"{name}.parquet")
        assert [float(row["value"]) for row in rows] == pytest.approx(table["value"].to_pylist(), nan_ok=True)
        assert {row["schema"] for row in rows} == {"1"}
        assert json.loads(table.schema.metadata[b"fractal_attn"])["schema"] == 1
    assert len({row["text_index"] for row in rows_of(tmp_path / "batch.csv")}) == 2


def test_npz(analyzer, results, tmp_path):
    analyzer.export_results(results, tmp_path / "output.npz", "npz")
    with np.load(tmp_path / "output.npz", allow_pickle=False) as found:
        for name in ("attention", "transformed_attention", "golden_ratio_scored"):
            np.testing.assert_array_equal(found[name], results[name])
        assert float(found["fractal_dimension"]) == results["fractal_dimension"]
        assert found["tokens"].tolist() == results["tokens"]
        assert json.loads(found["description"].tobytes())["results"]["n_tokens"] == results["n_tokens"]
    analyzer.export_results([results, results], tmp_path / "two", "npz")
    with np.load(tmp_path / "two", allow_pickle=False) as found:
        np.testing.assert_array_equal(found["1_attention"], results["attention"])


def test_batches_tell_their_aggregate(analyzer, tmp_path):
    batch = analyzer.analyze_batch([TEXT, TEXT + "More."])
    analyzer.export_results(batch, tmp_path / "batch.json")
    found = read(tmp_path / "batch.json")
    assert len(found["results"]) == 2
    assert found["aggregate"]["entropy"]["mean"] == pytest.approx(batch.aggregate["entropy"]["mean"])


def test_a_table_alone(tmp_path):
    table = measure(AttentionMaps.from_arrays(weights(2, 40), "causal"))
    export_results(table, tmp_path / "table.csv", "csv")
    rows = rows_of(tmp_path / "table.csv")
    assert [float(row["value"]) for row in rows] == pytest.approx(table["value"].tolist(), nan_ok=True)


@pytest.mark.parametrize(
    ("error", "given", "path", "form"),
    [
        (InvalidArgumentError, {}, "x.xml", "xml"),
        (InvalidArgumentError, {}, "", "json"),
        (InvalidArgumentError, {}, "no/such/folder/x.json", "json"),
        (DTypeError, 7, "x.json", "json"),
        (DTypeError, "results", "x.json", "json"),
        (InvalidArgumentError, [], "x.json", "json"),
        (DTypeError, {"a": object()}, "x.json", "json"),
        (DTypeError, {"a": 1}, "x.csv", "csv"),
        (DTypeError, [{"a": 1}], "x.parquet", "parquet"),
    ],
)
def test_a_refused_export_leaves_nothing(error, given, path, form, tmp_path):
    with pytest.raises(error):
        export_results(given, tmp_path / path, form)
    assert list(tmp_path.iterdir()) == []


def test_a_refused_export_keeps_the_old_file(tmp_path):
    (tmp_path / "x.json").write_text("before")
    with pytest.raises(DTypeError):
        export_results({"a": object()}, tmp_path / "x.json")
    assert (tmp_path / "x.json").read_text() == "before"


# Devices.


def test_devices():
    torch = pytest.importorskip("torch")
    manager = DeviceManager(prefer_gpu=False)
    assert manager.device == torch.device("cpu")
    assert manager.get_device_config(7_000_000_000) == {}
    said = DeviceManager.log_memory_usage("start")
    assert said["stage"] == "start"
    assert said["process_bytes"] > 10_000_000
    manager.device = torch.device("cuda")
    assert manager.get_device_config(1_000_000_000) == {}
    assert manager.get_device_config(7_000_000_000) == {"dtype": torch.float16}
    with pytest.raises(InvalidArgumentError, match="at most"):
        manager.get_device_config(70_000_000_000)
    for wrong in ({"device": "tpu9"}, {"device": "cuda:99"}, {"max_gpu_memory_gb": 0}):
        with pytest.raises(InvalidArgumentError):
            DeviceManager(**wrong)
    with pytest.raises(DTypeError):
        DeviceManager(prefer_gpu="yes")
