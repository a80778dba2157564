"""Where large results of the attention ops lie: in huge pages that are used again."""

from __future__ import annotations

import copy
import io
import multiprocessing
import resource
import sys

import fractal_core as fc
import pytest
import torch

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="huge pages are asked for on Linux alone")

N = 8192
SHAPE = (1, 4, N, 64)
HUGE_PAGE = 2 << 20


@pytest.fixture(scope="module")
def index_set() -> fc.IndexSet:
    return fc.pattern("window", radius=8).index_set(N)


def run(index_set: fc.IndexSet, *, grad: bool = False) -> torch.Tensor:
    q, k, v = (torch.ones(SHAPE, requires_grad=grad) for _ in range(3))
    return fc.nn.sparse_attention(q, k, v, index_set)


def test_large_results_begin_at_a_huge_page(index_set: fc.IndexSet) -> None:
    q = torch.ones(SHAPE, requires_grad=True)
    out = fc.nn.sparse_attention(q, q.detach(), q.detach(), index_set)
    (dq,) = torch.autograd.grad(out.sum(), q)
    assert out.data_ptr() % HUGE_PAGE == 0
    assert dq.data_ptr() % HUGE_PAGE == 0
    assert out.is_contiguous()
    assert out.storage_offset() == 0
    assert out.untyped_storage().nbytes() == out.numel() * 4


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_every_dtype(index_set: fc.IndexSet, dtype: torch.dtype) -> None:
    q = torch.ones(SHAPE, dtype=dtype)
    out = fc.nn.sparse_attention(q, q, q, index_set)
    assert out.dtype == dtype
    assert torch.equal(out, q)
    assert out.data_ptr() % HUGE_PAGE == 0


def test_memory_of_dropped_results_is_used_again(index_set: fc.IndexSet) -> None:
    first = run(index_set)
    address = first.data_ptr()
    second = run(index_set)
    assert second.data_ptr() != address  # the first one lives
    del first
    assert run(index_set).data_ptr() == address


def test_a_view_keeps_the_memory(index_set: fc.IndexSet) -> None:
    row = run(index_set)[0, 0, 0]
    run(index_set).fill_(7)
    assert torch.equal(row, torch.ones(64))


def test_results_can_be_changed_copied_and_saved(index_set: fc.IndexSet) -> None:
    out = run(index_set)
    out.mul_(2)
    file = io.BytesIO()
    torch.save(out, file)
    assert len(file.getvalue()) < 1.01 * out.numel() * 4
    file.seek(0)
    assert torch.equal(torch.load(file), out)
    assert torch.equal(copy.deepcopy(out), out)


def test_a_training_loop_faults_no_pages_in(index_set: fc.IndexSet) -> None:
    tensors = [torch.ones(SHAPE, requires_grad=True) for _ in range(3)]
    dout = torch.ones(SHAPE)

    def step() -> None:
        torch.autograd.grad(fc.nn.sparse_attention(*tensors, index_set), tensors, dout)

    for _ in range(3):
        step()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        step()
    # The results of a step are 8192 pages of 4 KiB.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before < 10 * 400


def in_child(queue: multiprocessing.Queue[float], index_set: fc.IndexSet) -> None:
    torch.set_num_threads(1)  # OpenMP's threads do not survive a fork
    queue.put(float(run(index_set).sum()))


def test_a_forked_child_has_its_own(index_set: fc.IndexSet) -> None:
    out = run(index_set)
    del out
    context = multiprocessing.get_context("fork")
    queue: multiprocessing.Queue[float] = context.Queue()
    child = context.Process(target=in_child, args=(queue, index_set))
    child.start()
    assert queue.get(timeout=60) == float(torch.ones(SHAPE).sum())
    child.join()
    assert torch.equal(run(index_set), torch.ones(SHAPE))
