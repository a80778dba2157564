"""Ours against torch's attention at tiny sizes: who is measured, who is not and why; nothing timed is asserted."""

from __future__ import annotations

import fractal_core as fc
import pytest
import torch
from fractal_core.bench import compare
from fractal_core.bench.case import Case
from fractal_core.bench.clock import stays_faster
from fractal_core.bench.compare import DTYPES, Problem, against, scan
from fractal_core.bench.peers import PeerError, causal, dense, flex, masked
from fractal_core.errors import InvalidArgumentError, OutOfMemoryError

TINY = Problem(48, 2, 8, rounds=3)


def window(problem: Problem) -> fc.IndexSet:
    return fc.pattern("window", radius=4).index_set(problem.n, causal=problem.causal)


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize(("name", "peer"), [("dense", "SDPA dense"), ("masked", "SDPA with the mask")])
def test_a_peer_is_measured_with_its_spread(name, peer, backward):
    problem = Problem(48, 2, 8, backward=backward, rounds=3)
    found = against(problem, window(problem), name)
    assert (found.name, found.peer, found.note) == (name, peer, "")
    assert 0 < found.ratio.low <= found.ratio.high
    assert found.ratio.value == pytest.approx(found.peer_ms / found.ours_ms)
    assert found.to_dict()["ratio"] == found.ratio.value


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_is_measured(dtype):
    problem = Problem(48, 2, 8, dtype, rounds=1)
    assert against(problem, window(problem), "dense").ratio is not None
    assert problem.case(window(problem)).q.dtype is DTYPES[dtype]


def test_causal_is_compared_with_causal_attention():
    problem = Problem(48, 2, 8, causal=True, rounds=1)
    assert against(problem, window(problem), "dense").peer == "SDPA, is_causal=True"


def test_peers_compute_what_ours_does():
    case = Case(fc.pattern("window", radius=4).index_set(20, causal=True), heads=2, width=8)
    everything = fc.IndexSet.from_mask(torch.ones(20, 20).numpy() > 0)
    below = fc.pattern("window", radius=20).index_set(20, causal=True)
    for attend, index_set in ((masked(case.index_set), case.index_set), (dense, everything), (causal, below)):
        expected = fc.nn.sparse_attention(case.q, case.k, case.v, index_set)
        torch.testing.assert_close(attend(case.q, case.k, case.v), expected, rtol=1e-5, atol=1e-5)


def test_training_takes_the_gradients_of_all_inputs():
    case = Case(fc.pattern("window", radius=4).index_set(20), heads=2, width=8)
    ours, theirs = (case.training(attend)() for attend in (case.ours, masked(case.index_set)))
    assert len(ours) == 3
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_no_dense_mask_is_made_of_a_long_sequence(monkeypatch):
    def refuse(self):
        raise AssertionError("a mask was made")

    monkeypatch.setattr(compare, "MASKED_UP_TO", 47)
    monkeypatch.setattr(fc.IndexSet, "to_mask", refuse)
    found = against(TINY, window(TINY), "masked")
    assert found.ratio is None
    assert "48 × 48" in found.note
    assert found.to_dict()["ratio"] is None


@pytest.mark.slow
@pytest.mark.parametrize("spec", ["window:radius=9", "random:k=9"])
def test_flex_attention_computes_what_ours_does(spec):
    case = Case(fc.pattern(spec).index_set(300), heads=2, width=16)
    found, expected = (case.forward(attend)() for attend in (flex(case.index_set.to_block_mask()), case.ours))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_no_compiler_is_a_result_that_says_so(monkeypatch):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", "")
    found = against(TINY, window(TINY), "flex")
    assert found.ratio is None
    assert "compiler" in found.note


@pytest.mark.parametrize(
    ("error", "note"),
    [
        (PeerError("no such thing"), "no such thing"),
        (RuntimeError("no such thing\nat all"), "RuntimeError: no such thing"),
        (MemoryError("too much"), "MemoryError: too much"),
    ],
)
def test_a_peer_that_fails_is_a_result_that_says_why(monkeypatch, error, note):
    def fail(q, k, v):
        raise error

    monkeypatch.setattr(compare, "dense", fail)
    assert against(TINY, window(TINY), "dense") == compare.Compared("dense", "SDPA dense", note=note)


def test_ours_that_fails_is_an_error_and_no_result(monkeypatch):
    def fail(self, q, k, v):
        raise RuntimeError("ours")

    monkeypatch.setattr(Case, "ours", fail)
    with pytest.raises(RuntimeError, match="ours"):
        against(TINY, window(TINY), "dense")


def test_lengths_double_up_to_the_problems_own(monkeypatch):
    monkeypatch.setattr(compare, "SHORT", 0.0)
    asked = []

    def make(n):
        asked.append(n)
        if n == 128:
            raise InvalidArgumentError("n", n, "another length")
        return fc.pattern("window", radius=4).index_set(n)

    found = scan(Problem(300, 1, 8, rounds=1), make, 7.5)
    assert asked == [64, 128, 256]
    assert found.lengths == (64, 256, 300)
    assert found.ratios[-1] == 7.5
    assert found.without == (128,)
    assert found.crossover == stays_faster(found.lengths, found.ratios)
    assert scan(TINY, make, 0.5) == compare.Scan((48,), (0.5,))
    assert scan(TINY, make, 0.5).crossover is None


@pytest.mark.parametrize("change", [{"n": 0}, {"heads": 0}, {"dim": 2**31}, {"rounds": 0}, {"dtype": "int8"}])
def test_a_problem_out_of_range_is_refused(change):
    with pytest.raises(InvalidArgumentError, match=rf"^{next(iter(change))}: got"):
        Problem(**change)


def test_inputs_beyond_memory_are_a_typed_error():
    index_set = fc.pattern("window", radius=1).index_set(1024)
    with pytest.raises(OutOfMemoryError, match="1024 tokens"):
        Problem(1024, 2**30, 2**20).case(index_set)
