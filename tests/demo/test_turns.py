"""The two models' turns: one works while the other waits, in changing order, and the figures are the blocks' own."""

import contextlib
import dataclasses
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fractal_core.demo.results import Pair, Spread
from fractal_core.demo.runner import run_models
from fractal_core.demo.settings import Settings
from fractal_core.errors import FractalError

TINY = Settings(steps=12, context=64, dim=16, layers=1, heads=2, checkpoints=3, held_out_sequences=1, sample_bytes=4)
WORKER = [sys.executable, "-m", "fractal_core.demo.worker"]
CHILDREN = Path(f"/proc/self/task/{os.getpid()}/children")
needs_proc = pytest.mark.skipif(not CHILDREN.exists(), reason="the system lists no children")


def job(model, settings=TINY):
    return {"settings": settings.to_dict(), "model": model}


def told(*orders):
    """What a worker says to orders that all lie ready, and then the end of stdin."""
    lines = "".join(json.dumps(order) + "\n" for order in orders)
    done = subprocess.run(WORKER, input=lines, capture_output=True, text=True, timeout=120, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def kinds(events):
    return [event["event"] for event in events]


@pytest.fixture(scope="module")
def turns():
    """One real run: what happened in order, and its outcome."""
    log = []
    outcome = run_models(
        TINY, lambda run, event: log.append((run.name, event["event"])), lambda pair: log.append(("pair", pair.first))
    )
    return log, outcome


def test_a_worker_waits_for_each_order():
    assert kinds(told(job("dense"))) == ["ready", "held_out", "paused"]
    events = kinds(told(job("dense"), {"steps": 1}, {"steps": 3}))
    assert [kind for kind in events if kind != "held_out"] == [
        "ready",
        "paused",
        *["step"],
        "paused",
        *["step"] * 3,
        "paused",
    ]


def test_each_pair_is_one_block_of_each_in_changing_order(turns):
    log, outcome = turns
    assert [pair.first for pair in outcome.pairs] == ["dense", "sparse", "dense", "sparse"]
    assert [pair.steps for pair in outcome.pairs] == [3, 3, 3, 2]  # the first step warms up and belongs to no pair
    order, since = [], []
    for name, kind in log:
        if name == "pair":
            order.append(since[:2])
            since = []
        elif kind == "step" and (not since or since[-1] != name):
            since.append(name)
    # What the sparse one spends of the dense one's seconds runs on into the next pair, which it begins.
    assert [names[-2:] for names in order[1:]] == [["sparse", "dense"], ["dense", "sparse"], ["sparse", "dense"]]


def test_blocks_hold_the_seconds_of_their_own_steps(turns):
    _, outcome = turns
    first = 1
    for pair in outcome.pairs:
        assert pair.dense == pytest.approx(sum(outcome.dense.took[first : first + pair.steps]))
        first += pair.steps
    assert first == len(outcome.dense.steps) == TINY.steps
    took = outcome.sparse.took
    for pair in outcome.pairs:
        sums = [sum(took[i : i + pair.steps]) for i in range(1, len(took))]
        assert any(pair.sparse == pytest.approx(total) for total in sums)


def test_the_sparse_model_uses_up_the_dense_ones_seconds(turns):
    _, outcome = turns
    took = outcome.sparse.took
    assert len(took) >= TINY.steps
    longest = took[0]
    for seconds in took[1:]:  # what the worker expects of a step
        longest = 0.8 * longest + 0.2 * seconds
    assert outcome.sparse.seconds + longest > outcome.dense.seconds
    assert outcome.sparse.finished
    assert outcome.dense.finished


def test_turns_change_no_loss():
    straight = told(job("sparse"), {"steps": 12}, {"finish": True})
    in_turns = told(
        job("sparse"),
        {"steps": 1},
        {"steps": 3},
        {"until": 0.0, "measure": True},
        *[{"steps": 4}] * 2,
        {"finish": True},
    )

    def losses(events):
        return [(e["event"], e["step"], e["bits"]) for e in events if e["event"] in {"step", "held_out"}]

    assert len(losses(straight)) >= 12 + 3
    assert losses(in_turns) == losses(straight)
    written = [next(e for e in events if e["event"] == "trained")["order"] for events in (straight, in_turns)]
    assert written[0] == written[1] != ""


def test_steps_past_the_asked_ones_are_measured_when_told_to():
    events = told(
        job("sparse"), {"steps": 12}, {"steps": 2}, {"until": 0.0, "measure": True}, {"until": 0.0, "measure": True}
    )
    assert [e["step"] for e in events if e["event"] == "held_out"][-2:] == [12, 14]


def test_the_spread_is_that_of_the_blocks():
    pairs = [
        Pair("dense", 3, 6.0, 3.0),
        Pair("sparse", 3, 9.0, 3.0),
        Pair("dense", 2, 8.0, 2.0),
        Pair("sparse", 1, 5.0, 1.0),
    ]
    spread = Spread.of([pair.ratio for pair in pairs])
    assert spread == Spread(4, 3.5, (2.75, 4.25), (2.0, 5.0))
    assert spread.median == statistics.median([2.0, 3.0, 4.0, 5.0])
    assert Spread.of([2.0]) == Spread(1, 2.0, (2.0, 2.0), (2.0, 2.0))
    assert Spread.of([]) is None


def test_a_single_step_has_no_pair():
    outcome = run_models(dataclasses.replace(TINY, steps=1, checkpoints=2), lambda *_: None, lambda _: None)
    assert outcome.pairs == []
    assert outcome.dense.finished


@needs_proc
def test_a_refusal_ends_both_workers(tmp_path):
    text = tmp_path / "short.txt"
    text.write_bytes(b"abc")
    before = set(CHILDREN.read_text().split())
    with pytest.raises(FractalError, match="at least"):
        run_models(TINY.with_text(str(text)), lambda *_: None, lambda _: None)
    assert set(CHILDREN.read_text().split()) <= before


def alive(process):
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@needs_proc
@pytest.mark.parametrize("victim", ["dense", "sparse"])
def test_the_death_of_a_worker_ends_the_other(victim):
    """Whether it works or waits when it dies."""
    workers = []

    def kill(run, event):
        if run.name == "sparse" and event["event"] == "step" and not workers:
            workers.extend(sorted(int(x) for x in CHILDREN.read_text().split() if "demo.worker" in command(x)))
            os.kill(workers[victim == "sparse"], signal.SIGKILL)

    def command(process):
        with contextlib.suppress(OSError):
            return Path(f"/proc/{process}/cmdline").read_text()
        return ""

    title = "dense" if victim == "dense" else "window"
    with pytest.raises(FractalError, match=rf"{title}.* failed \(exit code -9\)"):
        run_models(dataclasses.replace(TINY, steps=2000), kill, lambda _: None)
    assert len(workers) == 2
    assert not any(alive(worker) for worker in workers)


@needs_proc
@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_an_end_of_the_command_ends_both_workers(tmp_path, end):
    """Ctrl-C leaves a whole report of what was done; a kill, which nobody can catch, leaves no worker and no file."""
    small = ["--context", "128", "--dim", "32", "--layers", "1", "--steps", "3000"]
    process = subprocess.Popen(
        [sys.executable, "-m", "fractal_core.cli", "demo", *small, "--out", str(tmp_path), "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "NO_COLOR": "1"},
        # A shell's background job ignores SIGINT, and a child would inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
    )
    for line in process.stderr:
        if line.startswith("pair 2"):
            break
    workers = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert len(workers) == 2
    process.send_signal(end)
    process.communicate(timeout=60)
    for _ in range(600):
        if not any(map(alive, workers)):
            break
        time.sleep(0.1)
    assert not any(map(alive, workers))
    files = sorted(path.name for path in tmp_path.iterdir())
    if end == signal.SIGKILL:
        assert files == []
        return
    assert process.returncode == 130
    assert files == ["report.html", "results.json"]
    figures = json.loads((tmp_path / "results.json").read_text())
    assert len(figures["paired"]["blocks"]) >= 2
    assert all(figures["runs"][name]["steps"] >= 7 for name in ("dense", "sparse"))
