"""The study at a tiny size, its verdict on made-up results, its controls, FSGDM by hand, and the command."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from fractal_core.errors import FractalError, InvalidArgumentError
from fractal_core.optim import FAM
from fractal_core.study import contenders as studied
from fractal_core.study.contenders import CONTENDERS
from fractal_core.study.controls import control_of, controls_of
from fractal_core.study.digits import Digits
from fractal_core.study.fsgdm import FSGDM, momentum_at
from fractal_core.study.page import conclusion, markdown
from fractal_core.study.protocol import count_entries, run_study
from fractal_core.study.results import Entry, Spread, StudyResults, TaskResults
from fractal_core.study.settings import TASKS, StudySettings
from fractal_core.study.tasks import task_of
from fractal_core.study.text import Text
from fractal_core.study.training import Point, Run, train

BY_NAME = {contender.name: contender for contender in CONTENDERS}
TINY = StudySettings(tasks=("quadratic-fast",), seeds=2, search_seeds=1, rates=3, extensions=1, scale=0.05)


@pytest.fixture(scope="module")
def tiny():
    heard = []
    return run_study(TINY, lambda task, entry: heard.append((task, entry.name))), heard


def test_a_tiny_study_is_whole(tiny):
    results, heard = tiny
    assert len(heard) == count_entries(TINY)
    (task,) = results.tasks
    absent = set(results.missing)
    assert [entry.name for entry in task.entries] == [c.name for c in CONTENDERS if c.name not in absent]
    assert task.steps == 15
    for entry in task.entries:
        assert 3 <= len(entry.tried) <= 4
        assert entry.rate == min(entry.tried, key=lambda rate: entry.tried[rate])
        assert [run.seed for run in entry.runs] == [0, 1]
        assert all(math.isfinite(run.test) for run in entry.runs)
        assert entry.runs[0].curve[-1].step == 15
    for name, controls in task.controls.items():
        assert list(controls) == list(controls_of(BY_NAME[name]))
        assert all(control.rate == task.entry(name).rate for control in controls.values())
    assert results.useful() == []


def test_everything_is_repeated_from_a_seed(tiny):
    (task,) = tiny[0].tasks
    entry = task.entry("fam-temporal")
    again = train(task_of(task.name), BY_NAME["fam-temporal"], entry.rate, 1, 15)
    assert again.test == entry.runs[1].test
    assert [p.loss for p in again.curve] == [p.loss for p in entry.runs[1].curve]


def test_the_global_generator_is_left_alone():
    before = torch.get_rng_state()
    train(task_of("copying"), BY_NAME["adamw"], 1e-2, 0, 3)
    assert torch.equal(torch.get_rng_state(), before)


def test_results_are_json_and_a_page(tiny):
    results, _ = tiny
    plain = json.loads(json.dumps(results.to_dict()))
    assert plain["useful"] == []
    assert {e["name"] for e in plain["tasks"][0]["entries"]} >= {"ema", "fam-spatial"}
    page = markdown(results)
    assert page.startswith("# Does frequency-adaptive momentum help?")
    assert "**No verdict.** The rule asks for 5 seeds, and this study has 2." in page
    assert "| FAM, calibrated, spatial | permuted |" in page
    assert not re.search(r"\b(nan|inf)\b", page)


def entry(name, tests, title=""):
    runs = [Run(i, 0.1, [Point(5, 0.5, t + 1), Point(10, 1.0, t)], t) for i, t in enumerate(tests)]
    return Entry(name, title or name, {0.03: 3.0, 0.1: 1.0, 0.3: 2.0}, runs)


def made_up(*tasks, seeds=5):
    found = StudyResults({"seeds": seeds, "rates": 3, "search_seeds": 1, "extensions": 0}, {}, {})
    for name, kind, ours, theirs in tasks:
        task = TaskResults(name, kind, name, 10, {})
        task.entries = [entry("ema", theirs), entry("fam", ours, "the FAM")]
        task.controls = {"fam": {"matched": entry("fam/matched", theirs)}}
        found.tasks.append(task)
    return found


GOOD, BAD, WIDE = [1.0, 1.1, 1.2, 1.1, 1.0], [2.0, 2.1, 2.2, 2.1, 2.0], [0.0, 1.0, 2.0, 3.0, 4.0]


def test_the_rule():
    two = made_up(("a", "a", GOOD, BAD), ("b", "b", GOOD, BAD), ("c", "c", BAD, GOOD))
    assert two.verdict("fam")._asdict() == {"better": ("a", "b"), "worse": ("c",), "kinds": 2}
    assert two.useful() == ["fam"]
    assert "useful: the FAM" in conclusion(two)
    assert made_up(("a", "a", GOOD, BAD), ("b", "a", GOOD, BAD)).useful() == []  # two tasks of one kind
    assert made_up(("a", "a", GOOD, BAD), ("b", "b", GOOD, WIDE)).useful() == []  # within the spread
    assert made_up(("a", "a", GOOD, BAD), ("b", "b", GOOD, BAD), seeds=2).useful() == []
    assert "**FAM does not help.**" in conclusion(made_up(("a", "a", BAD, GOOD)))


def test_medians_spreads_and_targets():
    assert Spread.of([1.0, 2.0, 3.0, 4.0, 5.0]) == (3.0, 2.0)
    assert Spread.of([1.0, 2.0, math.inf, math.inf, math.inf]).median == math.inf
    assert Spread.of([math.inf] * 3) == (math.inf, 0.0)
    one = entry("x", [1.0, 1.0, 3.0])
    assert one.to_target(1.0) == (10.0, 1.0)
    assert one.to_target(0.5) == (math.inf, math.inf)
    assert not one.at_edge
    assert Entry("y", "y", {0.1: 1.0, 0.3: 2.0}, one.runs).at_edge


def test_fsgdm_by_hand():
    """u(t) = s / (s + c total), s the first step of the stage; 300 stages of one step here."""
    assert [momentum_at(t, 300) for t in (0, 1, 299)] == pytest.approx([0, 1 / 10.9, 299 / 308.9])
    assert momentum_at(299, 3000) == momentum_at(290, 3000) == pytest.approx(290 / (290 + 99))
    p = torch.nn.Parameter(torch.zeros(2, dtype=torch.float64))
    optimizer = FSGDM([p], lr=0.1, total=300)
    average, point = np.zeros(2), np.zeros(2)
    for t in range(20):
        g = np.array([1.0, math.sin(t)])
        p.grad = torch.tensor(g)
        optimizer.step()
        average = t / (t + 9.9) * average + g
        point = point - 0.1 * average
    np.testing.assert_allclose(p.detach().numpy(), point, atol=1e-12)


def recorded():
    rng = np.random.default_rng(0)
    return [{"0.weight": 0.8 + 0.1 * rng.random(20), "1.weight": 0.8 + 0.1 * rng.random(20)} for _ in range(2)]


@pytest.mark.parametrize("control", ["matched", "shuffled"])
def test_replayed_momenta_are_set_step_by_step(control):
    runs = recorded()
    made = control_of(BY_NAME["fam-temporal"], control, 1, runs)
    net = torch.nn.Sequential(torch.nn.Linear(20, 30), torch.nn.Linear(30, 20))
    setup = made.make(net, 0.1, 20)
    (optimizer,) = setup.optimizers
    assert isinstance(optimizer, FAM)
    found = {name: [] for name in runs[0]}
    for step in range(20):
        setup.before(step)
        for group in optimizer.param_groups:
            if group["param_names"][0] in found:
                found[group["param_names"][0]].append(group["alpha"])
    for name, values in found.items():
        if control == "matched":
            mean = np.mean([run[name][2:] for run in runs])
            np.testing.assert_allclose(values, [*runs[0][name][:2], *[mean] * 18])
        else:
            np.testing.assert_allclose(values[:2], runs[1][name][:2])
            assert sorted(values) == pytest.approx(sorted(runs[1][name]))
            assert values != pytest.approx(list(runs[1][name]))


def test_the_placebo_sees_noise_and_the_permuted_no_order():
    """Of the smoothest gradient there is: the placebo keeps alpha, and so does another order."""
    rows = torch.cos(2 * torch.pi * torch.arange(400) / 400).repeat(40, 1)
    found = {}
    for control in ("itself", "placebo", "permuted"):
        contender = BY_NAME["fam-spatial"]
        made = contender if control == "itself" else control_of(contender, control, 0, [])
        net = torch.nn.Linear(400, 40)
        (optimizer,) = made.make(net, 0.1, 10).optimizers
        for _ in range(8):
            net.weight.grad, net.bias.grad = rows.clone(), torch.zeros(40)
            optimizer.step()
        found[control] = optimizer.readings()["weight"][2].item()
    assert found["itself"] == pytest.approx(0.82, abs=1e-3)
    assert found["placebo"] == pytest.approx(0.9, abs=0.01)
    assert found["permuted"] == pytest.approx(0.9, abs=0.02)


def test_the_noise_of_the_quadratics_is_as_they_say():
    for name, memory in (("quadratic-white", 0.0), ("quadratic-slow", 0.9), ("quadratic-fast", -0.9)):
        task = task_of(name)
        point = task.model(0)
        loss = task.losses(point, 0)
        generator = torch.Generator().manual_seed(0)
        noise = []
        for _ in range(60):
            point.zero_grad()
            loss(generator).backward()
            p = next(point.parameters())
            noise.append(p.grad - task._curvature * p.detach())
        series = torch.stack(noise).flatten(1)
        assert series.std().item() == pytest.approx(0.5, rel=0.03)
        ratio = (series[1:] * series[:-1]).sum() / series.square().sum()
        assert ratio.item() == pytest.approx(memory, abs=0.03)


def test_losses_fall():
    pytest.importorskip("sklearn")
    for name, rate in (("text", 3e-2), ("copying", 3e-2), ("digits", 1e-2)):
        run = train(task_of(name), BY_NAME["adamw"], rate, 0, 30)
        assert run.curve[-1].loss < 0.98 * run.curve[0].loss, name
    assert run.accuracy is not None


def test_a_run_that_explodes_ends_as_infinite():
    run = train(task_of("quadratic-white"), BY_NAME["sgd"], 1e6, 0, 60)
    assert run.validation == run.test == math.inf


def test_the_text_is_known_by_its_digest():
    assert re.fullmatch(r"[0-9a-f]{64}", Text().facts["SHA-256"])


def test_what_is_missing_is_told(monkeypatch):
    """Digits say what to install, before anything runs; other packages cost their own rows."""
    import sys

    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(FractalError, match=r"digits needs scikit-learn: pip install scikit-learn"):
        Digits()
    monkeypatch.setitem(sys.modules, "schedulefree", None)
    monkeypatch.delattr(torch.optim, "Muon", raising=False)
    assert studied.missing().keys() == {"schedule-free-sgd", "schedule-free-adamw", "muon"}
    assert "muon" not in {contender.name for contender in studied.contenders()}


@pytest.mark.parametrize(
    ("argument", "kwargs"),
    [
        ("task", {"tasks": ("chess",)}),
        ("task", {"tasks": ()}),
        ("task", {"tasks": ("text", "text")}),
        ("seeds", {"seeds": 1}),
        ("search_seeds", {"search_seeds": 0}),
        ("rates", {"rates": 2}),
        ("extensions", {"extensions": -1}),
        ("scale", {"scale": 0}),
        ("scale", {"scale": 1.5}),
    ],
)
def test_wrong_settings(argument, kwargs):
    with pytest.raises(InvalidArgumentError, match=rf"^{argument}: got "):
        StudySettings(**kwargs)


def test_the_command(tmp_path, monkeypatch):
    testing = pytest.importorskip("typer.testing")
    from fractal_core.cli.app import app

    monkeypatch.chdir(tmp_path)
    call = ["optim-study", "--quick", "--task", "quadratic-white", "--scale", "0.03", "--write-docs"]
    refused = testing.CliRunner().invoke(app, call)
    assert refused.exit_code == 2
    Path("docs").mkdir()
    done = testing.CliRunner().invoke(app, [*call, "--out", "found"])
    assert done.exit_code == 0, done.output
    assert "No verdict." in done.output
    assert json.loads(Path("found/optim-study.json").read_text())["settings"]["tasks"] == ["quadratic-white"]
    assert Path("docs/fam-results.md").read_text().startswith("# Does frequency-adaptive momentum help?")


def test_the_page_in_the_documents_is_of_a_full_study():
    page = (Path(__file__).parents[2] / "docs" / "fam-results.md").read_text(encoding="utf-8")
    assert all(f"\n## {name}\n" in page for name in TASKS)
    assert "ran with 5 other seeds" in page
    assert "No verdict" not in page
    assert re.search(r"SHA-256: [0-9a-f]{64}", page)
