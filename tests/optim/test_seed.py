"""The seed's names and arguments, without its faults: F4, F6, F8, F10, F12, F13, F14, F15, F17 and F19.

F13 (a handler that swallows every exception) and F19 (a text that speaks of another optimizer) cannot occur: nothing is
caught, and there is no such fallback; `test_errors_reach_the_caller` holds the first.
"""

from __future__ import annotations

import copy
import gc
import json

import pytest
import torch
from fractal_core.errors import DTypeError, InvalidArgumentError, ShapeError
from fractal_core.optim import (
    AttentionFrequencyHandler,
    ConvFrequencyHandler,
    EmbeddingFrequencyHandler,
    FAMOptimizer,
    FrequencyHandler,
    band_edges,
    get_parameter_groups,
    momentum_rules,
)
from fractal_core.optim.rules import rule_of

HANDLERS = [FrequencyHandler, ConvFrequencyHandler, AttentionFrequencyHandler, EmbeddingFrequencyHandler]


def net():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(40, 40), torch.nn.Linear(40, 40))


def train(model, optimizer, steps):
    for step in range(steps):
        generator = torch.Generator().manual_seed(step)
        for p in model.parameters():
            p.grad = torch.randn(p.shape, generator=generator)
        optimizer.step()


def test_the_printed_construction():
    model = net()
    optimizer = FAMOptimizer(get_parameter_groups(model, lr=1e-4), debug=True)
    train(model, optimizer, 2)
    positional = FAMOptimizer(
        model.parameters(), 1e-3, 0.9, 0.99, 1e-8, 0, 8, 100, True, 256, False, "./fam_debug", 1000
    )
    group = positional.param_groups[0]
    assert (group["rule"], group["signal"], group["decoupled"]) == ("seed", "spatial", False)


def test_silence_and_no_files(tmp_path, monkeypatch, capfd):
    """F12, F14: prints in the constructor and the step, files made by the constructor and by `__del__`."""
    monkeypatch.chdir(tmp_path)
    model = net()
    optimizer = FAMOptimizer(model.parameters(), debug=True, fam_start_step=2)
    train(model, optimizer, 12)
    del optimizer
    gc.collect()
    assert capfd.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []


def test_debug_records_every_parameter_and_is_written_when_asked(tmp_path):
    """F12: parameters of different groups shared a name, and records stopped after the first file."""
    model = net()
    groups = [{"params": [("a", model[0].weight)]}, {"params": [("b", model[1].weight)]}]
    optimizer = FAMOptimizer(groups, debug=True, debug_dir=tmp_path / "made", debug_interval=20, fam_start_step=3)
    train(model, optimizer, 40)
    first = optimizer.dump_debug_info()
    assert first == tmp_path / "made" / "fam_debug.json"
    train(model, optimizer, 10)
    assert optimizer.dump_debug_info() is None
    train(model, optimizer, 10)
    found = json.loads(optimizer.dump_debug_info(force=True).read_text())
    assert found["step"] == 60
    assert set(found["parameters"]) == {"a", "b"}
    for record in found["parameters"].values():
        assert record["steps"] == [10, 20, 30, 40, 50, 60]
        assert all(sum(bands) == pytest.approx(1, abs=1e-5) for bands in record["bands"])


def test_without_debug_there_is_nothing_to_write(tmp_path):
    model = net()
    optimizer = FAMOptimizer(model.parameters(), debug_dir=tmp_path)
    assert optimizer.spectra is None
    for one in (optimizer, copy.deepcopy(FAMOptimizer(model.parameters(), debug=True, debug_dir=tmp_path))):
        assert one.spectra is None
        with pytest.raises(InvalidArgumentError, match=r"^debug: got False"):
            one.dump_debug_info()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("names", "handler"),
    [
        (["fc.weight"], "default"),
        (["norm.bias"], "default"),
        (["embed.weight"], "embedding"),
        (["layers.0.self_attn.in_proj_weight"], "attention"),
        (["encoder.conv1.weight"], "conv"),
        (["layers.0.linear1.weight", "layers.0.self_attn.weight"], "attention"),
    ],
)
@pytest.mark.parametrize("way", ["names", "pairs"])
def test_handlers_by_name(names, handler, way):
    """F4: a variable of the same name made every group one of attention."""
    params = [torch.nn.Parameter(torch.zeros(2)) for _ in names]
    group = {"params": params, "names": names} if way == "names" else {"params": list(zip(names, params, strict=True))}
    assert FAMOptimizer([group]).param_groups[0]["handler"] == handler
    assert FAMOptimizer([{**group, "handler": "conv"}]).param_groups[0]["handler"] == "conv"


def test_layer_boost_has_no_effect():
    """F15: it had none; that is documented, and the type is checked."""
    found = []
    for boost in (True, False):
        model = net()
        train(model, FAMOptimizer(model.parameters(), lr=0.1, fam_start_step=1, layer_boost=boost), 4)
        found.append(model[0].weight.detach())
    assert torch.equal(*found)
    with pytest.raises(DTypeError, match=r"^layer_boost"):
        FAMOptimizer(net().parameters(), layer_boost=1)
    with pytest.raises(DTypeError, match=r"^debug_dir"):
        FAMOptimizer(net().parameters(), debug_dir=3)


class _Failing:
    spectrum = "power"

    def momentum(self, reading):
        raise MemoryError("none left")


def test_errors_reach_the_caller(capfd):
    """F13: whatever went wrong was printed and left behind."""
    if "failing" not in momentum_rules.names():
        momentum_rules.register("failing", _Failing)
    model = net()
    optimizer = FAMOptimizer(model.parameters(), fam_start_step=0)
    optimizer.param_groups[0]["rule"] = "failing"
    with pytest.raises(MemoryError, match=r"none left"):
        train(model, optimizer, 1)
    assert rule_of("failing").spectrum == "power"
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("kind", HANDLERS)
def test_analyze_gives_shares_of_amplitude(kind, numpy_shares):
    x = torch.randn(300, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    layout = {"conv": "log", "attention": "halves"}.get(kind.handler, "linear")
    for bands in (1, 8, 12, 500):
        found = kind().analyze(x, bands)
        assert len(found) == min(bands, 150)
        assert all(isinstance(share, float) for share in found)
        assert found == pytest.approx(numpy_shares(x.numpy()[None], bands, layout, "amplitude", 1e-8), abs=1e-10)


@pytest.mark.parametrize("kind", HANDLERS)
def test_short_samples_and_one_band(kind):
    """F5, F6: a sample of 20 had bands of nothing, one band divided by zero, the highest tone had no band."""
    assert sum(kind().analyze(torch.randn(20), 12)) == pytest.approx(1, abs=1e-5)
    assert kind().analyze(torch.randn(20), 1) == pytest.approx([1], abs=1e-5)
    nyquist = torch.tensor([1.0, -1.0] * 100)
    assert kind().analyze(nyquist, 8)[-1] == pytest.approx(1, abs=1e-5)
    assert kind().analyze(torch.zeros(20), 4) == [0.0] * 4
    assert 0.8 < kind().get_adaptive_momentum([1.0], 0.9) < 1


def test_momenta_of_the_seed():
    flat = [1 / 8] * 8
    assert FrequencyHandler().get_adaptive_momentum(flat, 0.9) == pytest.approx(0.95)
    assert FrequencyHandler().get_adaptive_momentum([1, *[0] * 7], 0.9) == pytest.approx(0.9)
    assert ConvFrequencyHandler().get_adaptive_momentum(flat, 0.9) == pytest.approx(0.97)
    assert ConvFrequencyHandler().get_adaptive_momentum([0.5, *[0] * 6, 0.5], 0.9) == pytest.approx(0.95)
    assert AttentionFrequencyHandler().get_adaptive_momentum([0.6, *[0.05] * 7], 0.9) == pytest.approx(0.85)
    assert AttentionFrequencyHandler().get_adaptive_momentum([*[0.05] * 7, 0.6], 0.9) == pytest.approx(0.98)
    assert AttentionFrequencyHandler().get_adaptive_momentum([0, 0, 0, 1, 0, 0, 0, 0], 0.9) == pytest.approx(0.9)
    assert EmbeddingFrequencyHandler().get_adaptive_momentum(flat, 0.9) == pytest.approx(0.98)
    # F8 is part of the seed's rule, and kept for comparison: its cap lowers, its floor raises.
    assert FrequencyHandler().get_adaptive_momentum(flat, 0.99) == pytest.approx(0.95)
    assert AttentionFrequencyHandler().get_adaptive_momentum([0.6, *[0.05] * 7], 0.8) == pytest.approx(0.85)


def test_white_noise_is_above_the_seeds_thresholds():
    """F1, the reason not to use it: 200 of 200 samples of white noise fire."""
    fired = dict.fromkeys(HANDLERS, 0)
    for seed in range(200):
        x = torch.randn(4096, generator=torch.Generator().manual_seed(seed))
        for kind in HANDLERS:
            fired[kind] += kind().get_adaptive_momentum(kind().analyze(x, 8), 0.9) > 0.94
    assert [fired[kind] for kind in HANDLERS if kind is not AttentionFrequencyHandler] == [200] * 3
    assert band_edges(2048, 8)[4] == 1024


@pytest.mark.parametrize(
    ("argument", "kind", "call"),
    [
        ("grad_sample", DTypeError, lambda h: h.analyze([1.0, 2.0], 2)),
        ("grad_sample", DTypeError, lambda h: h.analyze(torch.zeros(8, dtype=torch.complex64), 2)),
        ("grad_sample", DTypeError, lambda h: h.analyze(torch.zeros(8, dtype=torch.int64), 2)),
        ("grad_sample", ShapeError, lambda h: h.analyze(torch.zeros(1), 2)),
        ("n_bands", InvalidArgumentError, lambda h: h.analyze(torch.zeros(8), 0)),
        ("eps", InvalidArgumentError, lambda h: h.analyze(torch.zeros(8), 2, -1)),
        ("base_alpha", InvalidArgumentError, lambda h: h.get_adaptive_momentum([1.0], 1.0)),
        ("band_values", ShapeError, lambda h: h.get_adaptive_momentum([], 0.9)),
        ("band_values", DTypeError, lambda h: h.get_adaptive_momentum(["much"], 0.9)),
    ],
)
def test_wrong_calls_of_handlers(argument, kind, call):
    for handler in HANDLERS:
        with pytest.raises(kind, match=f"^{argument}"):
            call(handler())
