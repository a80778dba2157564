"""Results lie where the GPU left them, read-only, for as long as somebody has them."""

from __future__ import annotations

import gc
import resource
import sys

import fractal_core as fc
import numpy as np
import pytest

N = 100_000


@pytest.fixture
def values():
    return np.random.default_rng(0).standard_normal(N).astype(np.float32)


def test_a_result_is_the_mapped_memory_itself(values):
    before = fc.gpu.counts()
    result = fc.gpu.relu(values)
    assert type(result.base).__name__ == "GpuResult"
    assert not result.flags.owndata
    assert result.ctypes.data % 64 == 0
    assert fc.gpu.memory().mapped == values.nbytes
    staged = fc.gpu.counts().staged - before.staged
    assert staged == (0 if fc.gpu.device().unified_memory else values.nbytes)
    np.testing.assert_array_equal(result, np.maximum(values, 0))
    # A view holds the memory, too.
    part = result[10:20]
    wanted = np.maximum(values[10:20], 0)
    del result
    assert fc.gpu.memory().mapped == values.nbytes
    np.testing.assert_array_equal(part, wanted)
    del part
    assert fc.gpu.memory().mapped == 0


def test_nobody_writes_a_result(values):
    result = fc.gpu.add(values, values)
    with pytest.raises(ValueError, match="read-only"):
        result[0] = 1
    with pytest.raises(ValueError, match="WRITEABLE"):
        result.flags.writeable = True
    copy = result.copy()
    copy[0] = 1


def test_a_result_outlives_its_device(values):
    result = fc.gpu.multiply(values, values)
    fc.gpu.reset()
    np.testing.assert_array_equal(result, values * values)
    assert fc.gpu.relu(values).max() == values.max(), "the next call opens a device"
    np.testing.assert_array_equal(result, values * values)


def test_a_loop_of_results_takes_no_more_memory(values):
    array = fc.gpu.array(values)
    for _ in range(20):
        fc.gpu.relu(array).numpy()
    gc.collect()
    scale = 1 if sys.platform == "darwin" else 1024
    held, rss = fc.gpu.memory(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale
    for _ in range(1000):
        fc.gpu.relu(array).numpy()
        fc.gpu.relu(values)
    now = fc.gpu.memory()
    assert (now.misses - held.misses, now.mapped) == (1, 0) or now.misses == held.misses
    assert now.peak - held.peak <= 4 * values.nbytes
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale - rss < 32 << 20


def test_results_beyond_the_bound_are_copied(values):
    fc.gpu.set_options(mapped_bytes=2 * values.nbytes)
    kept = [fc.gpu.relu(values) for _ in range(4)]
    assert [type(x.base).__name__ == "GpuResult" for x in kept] == [True, True, False, False]
    assert fc.gpu.memory().mapped == 2 * values.nbytes
    assert all(np.array_equal(x, kept[0]) for x in kept)


def test_memory_comes_back_and_can_be_freed(values):
    array = fc.gpu.array(values)
    assert fc.gpu.memory().allocated >= values.nbytes
    assert 0 < fc.gpu.memory().internal_fragmentation < 0.5
    del array
    now = fc.gpu.memory()
    assert (now.allocated, now.requested, now.internal_fragmentation) == (0, 0, 0)
    assert now.cached > 0
    assert now.external_fragmentation == 1
    fc.gpu.trim()
    assert (fc.gpu.memory().cached, fc.gpu.memory().freed) == (0, fc.gpu.memory().misses)
