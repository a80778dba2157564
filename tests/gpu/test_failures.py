"""What goes wrong ends in its own error, with the process alive and the CPU at work."""

from __future__ import annotations

import fractal_core as fc
import numpy as np
import pytest
from fractal_core import _native, errors

X = np.ones(1 << 18, np.float32)


@pytest.fixture(autouse=True)
def new_device():
    """A device of its own, without the faults and verdicts of other tests."""
    fc.gpu.reset()
    yield
    fc.gpu.reset()


def test_memory_that_is_not_there_is_looked_for_once_more():
    fc.gpu.array(X)
    _native.gpu_inject("memory", 1, X.nbytes)
    np.testing.assert_array_equal(fc.gpu.array(np.ones(1 << 19, np.float32)).numpy(), 1)
    assert fc.gpu.memory().freed > 0, "what was kept was freed first"


def test_memory_that_is_not_there():
    _native.gpu_inject("memory", 2, X.nbytes)
    with pytest.raises(MemoryError) as caught:
        fc.gpu.array(X)
    assert isinstance(caught.value, errors.GpuOutOfMemoryError)
    assert isinstance(caught.value, errors.OutOfMemoryError)
    assert caught.value.argument == "memory of the GPU"
    assert str(X.nbytes) in str(caught.value)
    np.testing.assert_array_equal(fc.gpu.relu(X), X)


def test_calls_from_the_cpus_memory_are_cut_until_they_fit():
    fc.gpu.warmup()
    fc.gpu.trim()
    _native.gpu_inject("memory", 2, X.nbytes)
    result = fc.gpu.relu(X)
    assert result.flags.owndata or type(result.base).__name__ != "GpuResult"
    np.testing.assert_array_equal(result, X)


def test_a_device_that_is_lost_within_a_call_is_opened_once_more():
    before = fc.gpu.device().generation
    fc.gpu.reset()
    np.testing.assert_array_equal(fc.gpu.relu(X), X)
    assert fc.gpu.device().generation == before + 1


def test_a_wait_that_takes_too_long():
    array = fc.gpu.array(np.ones(1 << 22, np.float32))
    fc.gpu.gelu(array).numpy()
    fc.gpu.set_options(timeout=0.001)

    def far_too_much():
        for _ in range(20):  # on a busy machine the work may be done before its wait begins
            long = array
            for _ in range(60):
                long = fc.gpu.gelu(long)
            long.numpy()

    with pytest.raises(TimeoutError, match="FRACTAL_CORE_GPU_TIMEOUT") as caught:
        far_too_much()
    assert isinstance(caught.value, errors.GpuTimeoutError)
    fc.gpu.set_options(timeout=60.0)
    np.testing.assert_array_equal(fc.gpu.relu(X), X)


def test_an_adapter_that_computes_wrong_is_refused_by_name():
    name = fc.gpu.device().name
    _native.gpu_inject("result")
    for _ in range(2):
        with pytest.raises(errors.GpuUnavailableError, match="computes wrong") as caught:
            fc.gpu.relu(X)
        assert name in str(caught.value)
        assert "elementwise/binary: add" in str(caught.value)
    with pytest.raises(errors.GpuUnavailableError, match="computes wrong"):
        fc.gpu.warmup()
    fc.gpu.reset()
    assert fc.gpu.warmup() == fc.gpu.warmup(["elementwise"]) or "elementwise" in fc.gpu.warmup()


def test_every_error_is_one_of_the_tree():
    tree = [e for e in vars(errors).values() if isinstance(e, type) and issubclass(e, errors.GpuError)]
    assert len(tree) == 8
    assert all(issubclass(e, errors.FractalError) and issubclass(e, RuntimeError) for e in tree)


@pytest.mark.parametrize(
    ("changes", "argument"),
    [
        ({"timeout": 0}, "timeout"),
        ({"timeout": float("nan")}, "timeout"),
        ({"pool_bytes": -1}, "pool_bytes"),
        ({"mapped_bytes": None}, "mapped_bytes"),
        ({"allow_software": 1}, "allow_software"),
        ({"api": "opengl"}, "api"),
        ({"api": 3}, "api"),
        ({"on_fork": "hang"}, "on_fork"),
        ({"on_fork": None}, "on_fork"),
        ({"adapter": True}, "adapter"),
        ({"adaptor": "x"}, "adaptor"),
    ],
)
def test_options_out_of_range_are_refused_by_name(changes, argument):
    before = fc.gpu.options()
    with pytest.raises(errors.FractalError, match=rf"^{argument}: "):
        fc.gpu.set_options(**changes)
    assert fc.gpu.options() == before


def test_options_are_set_and_put_back():
    before = fc.gpu.set_options(pool_bytes=0, adapter=0, on_fork="error", timeout=5)
    assert fc.gpu.options()._asdict() == {
        **before._asdict(), "pool_bytes": 0, "adapter": "0", "on_fork": "error", "timeout": 5.0
    }  # fmt: skip
    array = fc.gpu.array(X)
    del array
    assert fc.gpu.memory().cached == 0, "nothing is kept"
    fc.gpu.set_options(**before._asdict())
    assert fc.gpu.options() == before
    fc.gpu.set_options(adapter="no such GPU")
    with pytest.raises(errors.GpuUnavailableError, match='another was asked for: "no such GPU"'):
        fc.gpu.relu(X)


def test_unknown_kernels_and_faults():
    with pytest.raises(errors.InvalidArgumentError, match="elementwise"):
        fc.gpu.warmup(["nothing"])
    with pytest.raises(errors.DTypeError, match="kernels"):
        fc.gpu.warmup("elementwise")
    with pytest.raises(errors.InvalidArgumentError, match="fault"):
        _native.gpu_inject("fire")
