"""The original's analyzer: every call of its documentation, with results that are what they say."""

from __future__ import annotations

import csv
import json
import math

import numpy as np
import pytest
from fractal_core import dimension
from fractal_core.analysis import DeviceManager, FractalAttentionAnalyzer, ModelLoader, capture, write_results
from fractal_core.errors import DTypeError, InvalidArgumentError, KeyIndexError

pytest.importorskip("torch")
pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def analyzer(folder):
    return FractalAttentionAnalyzer(model_name=str(folder), device_manager=None, force_eager_attention=True)


@pytest.fixture(scope="module")
def result(analyzer, text):
    return analyzer.analyze(text, layer_idx=-1, head_idx=2)


def test_a_result_is_that_of_the_models_own_weights(analyzer, result, text, tokenizer):
    weights = capture(analyzer.model, tokenizer(text, return_tensors="pt")).layers[1].weights[2]
    assert np.array_equal(result["attention"], weights)
    assert (result["layer_idx"], result["head_idx"], result["layer_name"]) == (1, 2, "layer 1")
    assert result["fractal_dimension"] == float(dimension.renyi_dimension(weights, "causal", q=1))
    assert result["metrics"]["fractal_dimension"] == result["fractal_dimension"]
    assert result["metrics"]["forward_flow"] == 0
    assert result["fit"]["baseline"] > result["fractal_dimension"] - 0.1
    assert result["fit"]["reliable"]
    assert result["tokens"] == text.split()
    assert np.allclose(result["transformed_attention"].sum(-1), 1)
    assert result["analysis_time"] > 0
    assert result["provenance"]["versions"]["fractal-attn"]


def test_a_short_text_has_no_dimension_and_says_why(analyzer):
    result = analyzer.analyze("The golden ratio appears in nature and mathematics.")
    assert len(result["tokens"]) == 9
    assert f"{result['fractal_dimension']:.4f}" == "nan"
    assert any("below 32" in reason for reason in result["fit"]["reasons"])
    assert result["metrics"]["entropy"] > 0


@pytest.mark.parametrize("words", [1, 9, 50, 100])
def test_pictures_at_every_length(analyzer, tmp_path, words):
    folder = tmp_path / "not" / "yet"
    result = analyzer.analyze(" ".join(["nature"] * words), return_visualizations=True, save_dir=folder)
    names = {path.name for path in folder.iterdir()}
    assert {"attention.png", "comparison.png", "metrics.png", "scales.png", "tokens.png"} <= names
    assert {f"{name}.png" for name in result["visualizations"]} == names
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in folder.iterdir())


def test_figures_belong_to_nobody_else(analyzer, text):
    import matplotlib as mpl
    import matplotlib.pyplot as plt

    before, numbers = dict(mpl.rcParams), plt.get_fignums()
    analyzer.analyze(text, return_visualizations=True)
    assert dict(mpl.rcParams) == before
    assert plt.get_fignums() == numbers


def test_a_batch_has_an_aggregate_and_a_folder_each(analyzer, tmp_path):
    texts = ["the golden ratio appears in nature " * 8, "a quick brown fox " * 10, "rivers run"]
    results = analyzer.analyze_batch(texts, save_dir=tmp_path)
    assert [len(result["tokens"]) for result in results] == [48, 40, 2]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["text_000", "text_001", "text_002"]
    aggregate = results.aggregate
    assert aggregate["fractal_dimension"]["texts"] == 2
    assert aggregate["fractal_dimension"]["mean"] == pytest.approx(
        np.mean([result["fractal_dimension"] for result in results[:2]])
    )
    assert aggregate["entropy"]["texts"] == 3
    with pytest.raises(DTypeError):
        analyzer.analyze_batch("one text")


def test_models_are_compared_at_one_length_beside_a_null(analyzer, model, tokenizer, text):
    other = FractalAttentionAnalyzer(model("llama"), tokenizer=tokenizer)
    found = analyzer.compare_models(other, text, draws=9, layer_idx=0)
    assert found["tokens"] == 80
    assert found["own_tokens"] == [80, 80]
    assert found["dimension_difference"] == pytest.approx(
        found["model_1"]["fractal_dimension"] - found["model_2"]["fractal_dimension"]
    )
    for side in (found["model_1"], found["model_2"]):
        assert side["null"]["draws"] == 9
        assert 0 < side["null"]["p"] <= 1
        assert side["null"]["std"] > 0


def test_encoder_decoders_are_read_by_their_decoder(model, tokenizer, text):
    analyzer = FractalAttentionAnalyzer(model("bart"), tokenizer=tokenizer)
    result = analyzer.analyze(text, layer_idx=2)
    assert result["layer_name"] == "decoder 2"
    assert result["metrics"]["forward_flow"] == 0
    maps = analyzer.maps(text, target="rivers run")
    assert maps.of("cross").layers[0].shape == (2, 80)
    assert maps.of("encoder").tokens == tuple(text.split())
    assert maps.of("decoder").tokens == ("rivers", "run")


def test_encoders_work_and_the_table_has_every_head(model, tokenizer, text):
    analyzer = FractalAttentionAnalyzer(model("bert"), tokenizer=tokenizer)
    assert analyzer.analyze(text)["metrics"]["forward_flow"] > 0.3
    table = analyzer.measure(text)
    assert table.grid("D1").shape == (2, 2)


def test_every_format_holds_the_numbers(analyzer, result, tmp_path):
    for name in ("json", "csv", "npz"):
        analyzer.export_results(result, tmp_path / f"output.{name}", format=name)
    body = json.loads((tmp_path / "output.json").read_text())
    assert body["schema"] == 1
    assert body["metrics"] == pytest.approx(result["metrics"])
    assert np.allclose(body["attention"], result["attention"], rtol=1e-6)
    assert body["fit"]["counts"] == result["fit"]["counts"]
    (row,) = csv.DictReader((tmp_path / "output.csv").read_text().splitlines())
    assert float(row["fractal_dimension"]) == result["fractal_dimension"]
    assert (row["layer"], row["head"], row["tokens"], row["schema"]) == ("1", "2", "80", "1")
    assert float(row["entropy"]) == result["metrics"]["entropy"]
    with np.load(tmp_path / "output.npz") as file:
        assert np.array_equal(file["attention"], result["attention"])
        assert file["tokens"].tolist() == result["tokens"]
        assert json.loads(str(file["about"]))["provenance"]["model"] == result["provenance"]["model"]
    assert len(list(tmp_path.iterdir())) == 3


def test_several_results_in_one_file(analyzer, tmp_path):
    results = analyzer.analyze_batch(["rivers run", "the golden ratio " * 20])
    analyzer.export_results(results, tmp_path / "a.csv", "csv")
    rows = list(csv.DictReader((tmp_path / "a.csv").read_text().splitlines()))
    assert [row["tokens"] for row in rows] == ["2", "60"]
    assert rows[0]["fractal_dimension"] == ""
    analyzer.export_results(results, tmp_path / "a.json", "json")
    assert len(json.loads((tmp_path / "a.json").read_text())["results"]) == 2
    analyzer.export_results(results, tmp_path / "a.npz", "npz")
    with np.load(tmp_path / "a.npz") as file:
        assert file["1.attention"].shape == (60, 60)


def test_nothing_is_half_written(analyzer, result, tmp_path):
    path = tmp_path / "output.json"
    path.write_text("before")
    for bad, error in ((object(), DTypeError), ({1, 2}, DTypeError)):
        with pytest.raises(error):
            analyzer.export_results({**result, "tokens": bad}, path)
    with pytest.raises(InvalidArgumentError, match="format"):
        analyzer.export_results(result, path, format="xml")
    with pytest.raises(InvalidArgumentError, match="results"):
        write_results([], path)
    with pytest.raises(FileNotFoundError):
        analyzer.export_results(result, tmp_path / "missing" / "a.json")
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("call", "error", "argument"),
    [
        (lambda a, t: a.analyze(t, layer_idx=99), KeyIndexError, "layer_idx"),
        (lambda a, t: a.analyze(t, layer_idx=-3), KeyIndexError, "layer_idx"),
        (lambda a, t: a.analyze(t, head_idx=3), KeyIndexError, "head_idx"),
        (lambda a, t: a.analyze(t, layer_idx=0.0), DTypeError, "layer_idx"),
        (lambda a, t: a.analyze(""), InvalidArgumentError, "text"),
        (lambda a, t: a.analyze(None), DTypeError, "text"),
        (lambda a, t: a.analyze(["a", "b"]), DTypeError, "text"),
        (lambda a, t: a.analyze("nature " * 129), InvalidArgumentError, "text"),
        (lambda a, t: a.measure(t, "beauty"), InvalidArgumentError, "measures"),
        (lambda a, t: a.compare_models(a, t, draws=1), InvalidArgumentError, "draws"),
        (lambda a, t: FractalAttentionAnalyzer("/no/such/folder"), InvalidArgumentError, "model_name"),
        (lambda a, t: FractalAttentionAnalyzer(7), DTypeError, "model_name"),
        (lambda a, t: FractalAttentionAnalyzer(a.model).analyze(t), DTypeError, "tokenizer"),
        (lambda a, t: FractalAttentionAnalyzer(a.model, dtype="float32"), InvalidArgumentError, "model_kwargs"),
        (lambda a, t: DeviceManager(device="cuda:0"), InvalidArgumentError, "device"),
        (lambda a, t: DeviceManager(max_gpu_memory_gb=0), InvalidArgumentError, "max_gpu_memory_gb"),
    ],
)
def test_what_is_refused(analyzer, text, call, error, argument):
    if argument == "device" and __import__("torch").cuda.is_available():
        pytest.skip("there is a CUDA device")
    with pytest.raises(error) as found:
        call(analyzer, text)
    assert found.value.argument == argument


def test_fused_attention_is_never_made_up(folder, text):
    analyzer = FractalAttentionAnalyzer(str(folder), force_eager_attention=False)
    assert analyzer.model.config._attn_implementation == "sdpa"
    with pytest.raises(InvalidArgumentError, match="sdpa, which makes no weights"):
        analyzer.analyze(text)


def test_a_broken_model_is_refused(tmp_path):
    (tmp_path / "config.json").write_text("{ broken")
    with pytest.raises(InvalidArgumentError, match="model_name"):
        ModelLoader().load_model(tmp_path)


def test_the_cpu_is_the_cpu():
    manager = DeviceManager(prefer_gpu=False)
    assert manager.device.type == "cpu"
    assert manager.get_device_config(10**12) == {}
    assert manager.log_memory_usage("here") == {}
    assert math.isfinite(manager.max_gpu_memory_gb)
