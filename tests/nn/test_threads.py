"""Who runs the kernels: torch's OpenMP threads, the same bits on any number of threads, forked children, the GIL."""

import os
import subprocess
import sys
import threading

import fractal_core as fc
import numpy as np
import pytest
import torch
from fractal_core import _native
from fractal_core._calls import Attention
from fractal_core._torch import threads as torch_threads
from torch.utils.data import DataLoader, Dataset

N, WIDTH = 2048, 32


def inputs(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(1, 4, N, WIDTH, generator=generator, requires_grad=True) for _ in range(3)]


def both_passes(index_set):
    q, k, v = inputs()
    out, lse = fc.nn.sparse_attention(q, k, v, index_set, return_lse=True)
    gradients = torch.autograd.grad((out * out.detach().cos()).sum() + lse.sum(), (q, k, v))
    return [out.detach(), lse.detach(), *gradients]


@pytest.mark.skipif(sys.platform != "linux", reason="only torch's Linux wheel carries libgomp.so.1")
def test_calls_from_torch_run_on_torchs_own_threads():
    assert torch_threads.executor() == "openmp"
    assert "libgomp" in torch_threads.reason()
    assert _native.thread_info()["openmp"] is True


def test_a_runtime_that_is_not_loaded_is_not_attached(tmp_path):
    code = "from fractal_core import _native; print(_native.attach_openmp('/nowhere/libgomp.so.1'))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert found.stdout.strip() == "False"


@pytest.mark.parametrize("spec", ["window:radius=64|cantor:base=4", "random:k=24", "dragon:radius=2"])
def test_the_bits_do_not_depend_on_the_threads(spec):
    index_set = fc.pattern(spec).index_set(N, causal=True)
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 2, 4):
            torch.set_num_threads(count)
            results.append(both_passes(index_set))
    finally:
        torch.set_num_threads(threads)
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            assert torch.equal(a, b)


def test_every_executor_gives_the_same_bits():
    index_set = fc.pattern("window", radius=32).index_set(N)
    q, k, v = (x.detach().numpy() for x in inputs())
    key = int(index_set.handle[0])
    results = []
    for name in ("serial", "rayon", "openmp"):
        results.append((np.empty_like(q), np.empty_like(q[..., 0])))
        _native.attention_forward(Attention(q, k, v, key, "f32", 0.2, executor=name, threads=2), *results[-1])
    for out, lse in results[1:]:
        assert out.tobytes() == results[0][0].tobytes()
        assert lse.tobytes() == results[0][1].tobytes()


def test_an_unknown_executor_is_refused():
    index_set = fc.pattern("window", radius=2).index_set(8)
    x = torch.randn(1, 1, 8, 16).numpy()
    call = Attention(x, x, x, int(index_set.handle[0]), "f32", 1.0, executor="tbb")
    with pytest.raises(fc.errors.InvalidArgumentError) as refused:
        _native.attention_forward(call, np.empty_like(x), np.empty_like(x[..., 0]))
    assert refused.value.argument == "executor"


@pytest.mark.parametrize("asked", ["0", "many", "-2"])
def test_a_wrong_thread_count_in_the_environment_is_refused(asked):
    code = """
from fractal_core import _native, errors
try:
    _native.thread_info()
except errors.InvalidArgumentError as error:
    print(error.argument)
"""
    environment = {**os.environ, "FRACTAL_CORE_NUM_THREADS": asked}
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True, env=environment
    )
    assert found.stdout.strip() == "FRACTAL_CORE_NUM_THREADS"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_child_finishes_alone_with_the_same_result():
    # A fresh process, so that the fork copies no test runner. The child compares bytes: torch's own parallel ops,
    # unlike ours, hang in a child of a process whose OpenMP threads have run.
    code = """
import os, sys, warnings
warnings.simplefilter("ignore")
import torch
import fractal_core as fc
from fractal_core import _native
torch.manual_seed(0)
q, k, v = (torch.randn(1, 4, 2048, 32) for _ in range(3))
index_set = fc.pattern("window", radius=64).index_set(2048)
before = fc.nn.sparse_attention(q, k, v, index_set).numpy().tobytes()
_native.thread_info()
child = os.fork()
if child == 0:
    same = fc.nn.sparse_attention(q, k, v, index_set).numpy().tobytes() == before
    other = fc.pattern("dragon", radius=1).index_set(2048).nnz > 0
    os._exit(0 if same and other and _native.thread_info()["forked"] else 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    subprocess.run([sys.executable, "-c", code], timeout=100, check=True)


class Attended(Dataset):
    """Each item is attention over its own numbers, computed in the worker."""

    def __len__(self):
        return 4

    def __getitem__(self, item):
        generator = torch.Generator().manual_seed(item)
        q, k, v = (torch.randn(1, 4, 512, 32, generator=generator) for _ in range(3))
        index_set = fc.pattern("window", radius=16).index_set(512)
        return fc.nn.sparse_attention(q, k, v, index_set)[0]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_data_loader_workers_compute_the_same():
    data = Attended()
    here = torch.stack([data[i] for i in range(len(data))])
    (there,) = DataLoader(data, batch_size=4, num_workers=2)
    assert torch.equal(here, there)


def test_other_threads_run_while_a_kernel_does():
    index_set = fc.pattern("window", radius=256).index_set(16_384)
    x = torch.randn(1, 8, 16_384, 64).numpy()
    key = int(index_set.handle[0])
    started, done = threading.Event(), threading.Event()

    def kernel():
        started.set()
        call = Attention(x, x, x, key, "f32", 0.1, executor="serial")
        _native.attention_forward(call, np.empty_like(x), np.empty_like(x[..., 0]))
        done.set()

    worker = threading.Thread(target=kernel)
    worker.start()
    started.wait()
    turns = 0
    while not done.is_set():
        turns += 1
    worker.join()
    # Holding the GIL would leave at most the turns before the kernel began and after it ended.
    assert turns > 1000
