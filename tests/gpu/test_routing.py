"""`device="auto"`: costs fitted to a few calls take the right device for others, and what is decided is told."""

from __future__ import annotations

import json
import logging
import math

import fractal_core as fc
import numpy as np
import pytest
from fractal_core.errors import GpuTimeoutError, GpuUnavailableError, InvalidArgumentError
from fractal_core.gpu import costs, probes, route, store
from fractal_core.gpu.device import Adapter
from fractal_core.gpu.router import Router

pytestmark = pytest.mark.without_gpu

CARD = Adapter(0, "A Card", "discrete", "vulkan", "driver 1", None)
IN_SOFTWARE = Adapter(0, "llvmpipe", "software", "vulkan", "Mesa", None)


class Machine:
    """Two devices whose times are not what the model says: threads start late, a GPU fills up, every call has noise."""

    def __init__(self, seed: int, start: float, rate: float, link: float) -> None:
        self.rng = np.random.default_rng(seed)
        self.start, self.rate, self.link = start, rate, link
        self.measured: list[tuple[str, str, tuple[int, ...]]] = []

    def exact(self, op: str, device: str, size: tuple[int, ...]) -> float:
        features = probes.OPS[op].features(*size)
        work = sum(count for name, count in features.items() if name != "bytes")
        if device == "cpu":
            threads = 1.0 if work < 3e4 else 2.0
            return 3e-6 + work / (4e8 * threads) + features["bytes"] / 2e10
        filled = work / (work + 2e5)
        return self.start + features["bytes"] / self.link + work / (self.rate * max(filled, 0.05))

    def __call__(self, op: str, device: str, size: tuple[int, ...]) -> float:
        self.measured.append((op, device, size))
        return self.exact(op, device, size) * float(self.rng.uniform(1.0, 1.06))

    def router(self, **rest) -> Router:
        return Router(self, lambda op: probes.OPS[op].sizes, lambda op, size: probes.OPS[op].features(*size), **rest)


def held_out(op: str) -> list[tuple[int, ...]]:
    """Sizes that are not measured, from tiny to large."""
    if op.startswith("attention"):
        return [(n, k, 0) for n in (128, 512, 1500, 3000) for k in (8, 32, 100)]
    if op.startswith(("hilbert", "morton")):
        return [(int(n), 2, order) for n in np.geomspace(100, 3e6, 12) for order in (4, 12, 20)]
    return [(int(n), steps) for n in np.geomspace(50, 2e6, 14) for steps in (8, 24, 100, 256)]


@pytest.mark.parametrize(
    ("start", "rate", "link"),
    [(1e-4, 2e11, 8e9), (3e-5, 5e9, 2e10), (4e-4, 3e12, 2e10), (1e-4, 4e8, 5e9)],
    ids=["card", "integrated", "far away", "weak"],
)
@pytest.mark.parametrize("op", probes.OPS)
def test_sizes_that_were_not_measured_take_the_better_device(op, start, rate, link):
    right = total = 0
    taken = set()
    for seed in range(5):
        machine = Machine(seed, start, rate, link)
        router = machine.router()
        for size in held_out(op):
            found = router.predict(op, probes.OPS[op].features(*size))
            times = {device: machine.exact(op, device, size) for device in ("cpu", "gpu")}
            right += times[found.device] <= 1.1 * min(times.values())
            total += 1
            taken.add(found.device)
    assert right >= 0.95 * total, f"{right} of {total}"


def test_both_devices_are_taken_where_each_is_better():
    router = Machine(0, 1e-4, 2e11, 8e9).router()
    assert router.predict("julia_escape", probes.field_features(64, 16)).device == "cpu"
    assert router.predict("julia_escape", probes.field_features(1 << 20, 256)).device == "gpu"


def test_an_op_is_measured_once_and_what_is_known_is_not():
    machine, kept = Machine(0, 1e-4, 2e11, 8e9), {}
    router = machine.router(learnt=kept.__setitem__)
    for _ in range(3):
        router.predict("morton_encode", probes.codec_features(1000, 2, 8))
    assert len(machine.measured) == 2 * len(probes.OPS["morton_encode"].sizes)
    again = Machine(1, 1e-4, 2e11, 8e9)
    given = probes.codec_features(1000, 2, 8)
    assert again.router(known=kept).predict("morton_encode", given) == router.predict("morton_encode", given)
    assert not again.measured


def test_a_fit_finds_the_rates():
    calls = [{"a": a, "b": b} for a, b in [(1, 0), (10, 3), (100, 7), (5, 50), (0, 0)]]
    found = costs.fit(calls, [0.5 + 2 * c["a"] + 0.25 * c["b"] for c in calls])
    assert found.fixed == pytest.approx(0.5)
    assert found.rates == pytest.approx({"a": 2, "b": 0.25})
    assert found.seconds({"a": 3, "unknown": 7}) == pytest.approx(6.5)


def test_no_rate_is_negative():
    found = costs.fit([{"a": 1}, {"a": 2}, {"a": 3}], [3.0, 2.0, 1.0])
    assert found.fixed > 0
    assert found.rates == {"a": 0.0}
    alone = costs.fit([{}], [2.0])
    assert (alone.fixed, alone.rates) == (pytest.approx(2.0), {})


def test_costs_are_kept_by_machine(tmp_path, monkeypatch):
    monkeypatch.setenv("FRACTAL_CORE_CACHE_DIR", str(tmp_path / "new"))
    assert store.load("one") == {}
    cost = {"cpu": costs.Cost(1e-6, {"steps": 2.0}), "gpu": costs.Cost(1e-4, {"bytes": 0.5})}
    store.save("one", "julia_escape", cost)
    store.save("one", "morton_encode", cost)
    store.save("two", "julia_escape", cost)
    assert store.load("one") == {"julia_escape": cost, "morton_encode": cost}
    assert store.load("three") == {}
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["routes.json"]
    for broken in ("", "[]", "{", json.dumps({"one": 3}), json.dumps({"one": {"x": {"cpu": {}}}})):
        (tmp_path / "new" / "routes.json").write_text(broken)
        assert store.load("one") == {}
        store.save("one", "julia_escape", cost)
        assert store.load("one") == {"julia_escape": cost}
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FRACTAL_CORE_CACHE_DIR", str(tmp_path / "file" / "below"))
    store.save("one", "julia_escape", cost)
    assert store.load("one") == {}


# --- which device a call runs on -----------------------------------------------------------------------------------


@pytest.fixture
def card(monkeypatch, tmp_path):
    """A card that is taken for real, and whose costs are those of a machine."""
    monkeypatch.setenv("FRACTAL_CORE_CACHE_DIR", str(tmp_path))
    monkeypatch.delenv("FRACTAL_CORE_BACKEND", raising=False)
    monkeypatch.setattr(route, "_adapter", lambda: (CARD, ""))
    router = Machine(0, 1e-4, 2e11, 8e9).router()
    monkeypatch.setattr(route, "_router", lambda adapter: router)


def go(device: str, points: int, gpu=lambda: "gpu", refused=None):
    features = probes.field_features(points, 256)
    return route.run("julia_escape", device, lambda: features, cpu=lambda: "cpu", gpu=gpu, refused=refused)


@pytest.mark.usefixtures("card")
def test_auto_takes_the_device_that_is_expected_to_be_faster(caplog):
    with caplog.at_level(logging.DEBUG, "fractal_core.gpu"):
        assert (go("auto", 16), go("auto", 1 << 20)) == ("cpu", "gpu")
    told = fc.gpu.last_route()
    assert told.device == "gpu"
    assert told.seconds["gpu"] < told.seconds["cpu"]
    assert "ms on A Card" in told.reason
    assert [record.getMessage().split(":")[0] for record in caplog.records] == [
        "julia_escape on the cpu",
        "julia_escape on the gpu",
    ]
    explained = fc.gpu.explain_route("julia_escape", (1024, 1024), max_iter=256)
    assert explained == told


@pytest.mark.usefixtures("card")
def test_what_the_gpu_cannot_do_runs_on_the_cpu_and_says_why():
    assert go("auto", 1 << 20, refused="no such shader") == "cpu"
    assert fc.gpu.last_route().reason == "no such shader"


@pytest.mark.usefixtures("card")
def test_a_gpu_that_fails_is_told_and_the_cpu_takes_over_with_auto_alone(caplog):
    def failing():
        raise GpuTimeoutError("too long")

    assert go("auto", 1 << 20, failing) == "cpu"
    assert fc.gpu.last_route().reason == "the GPU failed: too long"
    assert "too long" in caplog.text
    if fc.gpu.built():
        with pytest.raises(GpuTimeoutError):
            go("gpu", 1 << 20, failing)


def test_the_environment_decides(monkeypatch):
    monkeypatch.setattr(route, "_adapter", lambda: (IN_SOFTWARE, ""))
    monkeypatch.setenv("FRACTAL_CORE_BACKEND", "cpu")
    assert go("auto", 1 << 20) == "cpu"
    monkeypatch.setenv("FRACTAL_CORE_BACKEND", "gpu")
    assert go("auto", 16) == "gpu"
    monkeypatch.setenv("FRACTAL_CORE_BACKEND", "auto")
    assert go("auto", 1 << 20) == "cpu"
    assert "llvmpipe computes on the CPU" in fc.gpu.last_route().reason
    monkeypatch.setenv("FRACTAL_CORE_BACKEND", "tpu")
    with pytest.raises(InvalidArgumentError, match="FRACTAL_CORE_BACKEND"):
        go("auto", 16)


def test_a_machine_without_an_adapter(monkeypatch):
    monkeypatch.setattr(route, "_adapter", lambda: (None, "no adapter was found"))
    monkeypatch.setenv("FRACTAL_CORE_BACKEND", "gpu")
    with pytest.raises(GpuUnavailableError, match="no adapter was found"):
        go("auto", 1 << 20)
    monkeypatch.delenv("FRACTAL_CORE_BACKEND")
    assert go("auto", 1 << 20) == "cpu"


@pytest.mark.usefixtures("card")
@pytest.mark.parametrize(
    ("op", "shape", "sizes", "argument"),
    [
        ("fft", (4,), {}, "op"),
        ("attention", (4, 4), {}, "shape"),
        ("attention", (1, 1, 4, 4), {"max_iter": 3}, "max_iter"),
        ("julia_escape", (4,), {"order": 3}, "order"),
        ("julia_escape", (-4,), {}, "shape"),
        ("hilbert_encode", (), {}, "shape"),
        ("hilbert_encode", (4, 2), {"order": -1}, "order"),
    ],
)
def test_questions_about_nothing_are_refused(op, shape, sizes, argument):
    with pytest.raises(InvalidArgumentError, match=f"^{argument}: "):
        fc.gpu.explain_route(op, shape, **sizes)


@pytest.mark.usefixtures("card")
@pytest.mark.parametrize("op", probes.OPS)
def test_every_op_is_explained(op):
    shape = (1, 8, 4096, 64) if op.startswith("attention") else (1000, 2)
    told = fc.gpu.explain_route(op, shape)
    assert told.op == op
    assert all(math.isfinite(seconds) and seconds > 0 for seconds in told.seconds.values())


@pytest.mark.parametrize("op", probes.OPS)
def test_probes_run_on_the_cpu(op):
    assert 0 < probes.measure(op, "cpu", probes.OPS[op].sizes[0], seconds=0.0) < 10
