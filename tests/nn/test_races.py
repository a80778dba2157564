"""Threads that share one layer's stores of built values."""

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from fractal_core._torch import recent
from fractal_core._torch.recent import Recent
from fractal_core.nn import FractalAttention


@pytest.fixture
def busy_switching():
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def together(work, threads=8):
    barrier = threading.Barrier(threads)

    def run(seed):
        barrier.wait()
        return work(seed)

    with ThreadPoolExecutor(threads) as pool:
        return [done.result() for done in [pool.submit(run, seed) for seed in range(threads)]]


@pytest.mark.usefixtures("busy_switching")
def test_a_store_shared_by_threads_keeps_its_size_and_its_values():
    store = Recent(4)

    def work(seed):
        for i in range(20_000):
            key = (i * (seed + 1)) % 9
            assert store.get(key, lambda key=key: [key]) == [key]

    together(work)
    assert len(store) == 4


def test_of_values_made_at_once_all_threads_get_the_first():
    store, inside = Recent(4), threading.Barrier(8)

    def make():
        inside.wait()
        return object()

    assert len({id(value) for value in together(lambda _: store.get("key", make))}) == 1


def test_one_layer_in_eight_threads_over_forty_lengths():
    layer = FractalAttention(16, 2, "window:radius=3", causal=True).eval()
    inputs = [torch.randn(1, n, 16) for n in range(1, 41)]
    with torch.no_grad():
        right = [layer(x) for x in inputs]

        def work(seed):
            with torch.no_grad():
                return [(i, layer(inputs[i])) for i in (j * (2 * seed + 1) % 40 for j in range(40))]

        for found in together(work):
            for i, y in found:
                torch.testing.assert_close(y, right[i])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_lock_held_at_fork_does_not_stop_the_child():
    store = Recent(4)
    with recent._lock:
        child = os.fork()
        if child == 0:
            import signal

            signal.alarm(20)
            os._exit(0 if store.get("key", lambda: 7) == 7 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
