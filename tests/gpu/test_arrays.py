"""Arrays that stay on the GPU, and element-wise kernels on both kinds."""

from __future__ import annotations

import copy
import pickle

import fractal_core as fc
import numpy as np
import pytest
from fractal_core.errors import DTypeError, GpuDeviceLostError, ShapeError

OPS = {"add": np.add, "multiply": np.multiply, "relu": lambda x: np.maximum(x, 0), "gelu": None}


def gelu(x):
    from math import erf, sqrt

    return np.array([v * (1 + erf(v / sqrt(2))) / 2 for v in x.ravel().astype(float)]).reshape(x.shape)


@pytest.mark.parametrize("shape", [(), (0,), (1,), (255,), (257,), (3, 0, 2), (4, 5, 6)])
@pytest.mark.parametrize("op", OPS)
def test_both_kinds_of_arrays_give_the_same(op, shape):
    rng = np.random.default_rng(1)
    inputs = [rng.standard_normal(shape).astype(np.float32) for _ in range(2 if op in {"add", "multiply"} else 1)]
    host = getattr(fc.gpu, op)(*inputs)
    resident = getattr(fc.gpu, op)(*map(fc.gpu.array, inputs))
    assert isinstance(resident, fc.gpu.GpuArray)
    assert host.shape == resident.shape == shape
    assert host.dtype == resident.dtype == np.float32
    np.testing.assert_array_equal(host, resident.numpy())
    wanted = (OPS[op] or gelu)(*inputs)
    np.testing.assert_allclose(host, wanted, rtol=5e-6, atol=1e-6 if op == "gelu" else 0)


def test_strided_and_foreign_inputs():
    x = np.arange(24, dtype=np.float32).reshape(4, 6)
    np.testing.assert_array_equal(fc.gpu.add(x.T[::2], x.T[1::2]), x.T[::2] + x.T[1::2])
    np.testing.assert_array_equal(fc.gpu.array(x[:, ::3]).numpy(), x[:, ::3])
    read_only = x.copy()
    read_only.flags.writeable = False
    np.testing.assert_array_equal(fc.gpu.relu(read_only), x)


@pytest.mark.parametrize("dtype", ["float32", "int32", "uint32"])
def test_an_array_says_what_it_is(dtype):
    x = np.arange(12, dtype=dtype).reshape(3, 4)
    array = fc.gpu.array(x)
    assert (array.shape, array.dtype, array.ndim, array.size, array.nbytes) == ((3, 4), x.dtype, 2, 12, 48)
    assert len(array) == 3
    assert repr(array) == f"GpuArray(shape=(3, 4), dtype={dtype})"
    with pytest.raises(TypeError, match="no length"):
        len(fc.gpu.array(np.zeros((), dtype)))
    np.testing.assert_array_equal(np.asarray(array), x)
    assert np.asarray(array, dtype="float64").dtype == np.float64
    writable = np.array(array)
    writable[0, 0] = 9
    np.testing.assert_array_equal(array.numpy(), x)


def test_copies_and_pickles():
    x = np.arange(6, dtype=np.int32).reshape(2, 3)
    on_gpu = fc.gpu.array(x)
    assert copy.copy(on_gpu) is on_gpu
    assert copy.deepcopy([on_gpu])[0] is on_gpu
    back = pickle.loads(pickle.dumps(on_gpu))
    assert (back.shape, back.dtype) == (on_gpu.shape, on_gpu.dtype)
    np.testing.assert_array_equal(back.numpy(), x)


def test_dlpack_hands_over_the_cpus_memory():
    torch = pytest.importorskip("torch")
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    array = fc.gpu.array(x)
    assert array.__dlpack_device__() == (1, 0)
    tensor = torch.from_dlpack(array)
    np.testing.assert_array_equal(tensor.numpy(), x)
    tensor += 1
    np.testing.assert_array_equal(array.numpy(), x)
    np.testing.assert_array_equal(np.from_dlpack(array), x)
    for refused in ({"stream": 1}, {"copy": False}, {"dl_device": (2, 0)}):
        with pytest.raises(BufferError):
            array.__dlpack__(**refused)
    if np.lib.NumpyVersion(np.__version__) >= "2.0.0":
        with pytest.raises(ValueError, match="without a copy"):
            np.asarray(array, copy=False)


def test_what_is_refused():
    x = np.ones(4, np.float32)
    a = fc.gpu.array(x)
    with pytest.raises(DTypeError, match="float32"):
        fc.gpu.relu(np.ones(4))
    with pytest.raises(DTypeError, match="left"):
        fc.gpu.add([1, 2], x)
    with pytest.raises(DTypeError, match="values: got float64"):
        fc.gpu.array(np.ones(4))
    with pytest.raises(DTypeError, match="float32"):
        fc.gpu.relu(fc.gpu.array(np.ones(4, np.int32)))
    for mixed in ((a, x), (x, a)):
        with pytest.raises(DTypeError, match="both on the GPU"):
            fc.gpu.add(*mixed)
    for pair in ((x, x[:2]), (a, fc.gpu.array(x[:2]))):
        with pytest.raises(ShapeError, match="right"):
            fc.gpu.multiply(*pair)
    with pytest.raises(DTypeError):
        fc.gpu.array(x.astype(">f4"))


def test_sizes_over_the_limit_are_refused_before_anything_is_taken():
    largest = fc.gpu.device().buffer_bytes
    huge = np.lib.stride_tricks.as_strided(np.zeros(1, np.uint8), (largest + 4,), (1,))
    assert huge.nbytes > largest
    before = fc.gpu.memory()
    buffer = fc.gpu.array(np.zeros(4, np.int32)).buffer
    with pytest.raises(ShapeError, match="shape"):
        buffer.read([largest], "float32")
    with pytest.raises(DTypeError, match="dtype"):
        buffer.read([4], "float64")
    assert fc.gpu.memory().peak >= before.peak


def test_arrays_of_a_lost_device_say_so():
    x = np.ones(4, np.float32)
    old = fc.gpu.array(x)
    fc.gpu.reset()
    for call in (old.numpy, lambda: fc.gpu.relu(old), lambda: np.asarray(old)):
        with pytest.raises(GpuDeviceLostError, match="lost"):
            call()
    new = fc.gpu.array(x)
    assert new.buffer.generation > old.buffer.generation
    np.testing.assert_array_equal(fc.gpu.relu(new).numpy(), x)
    with pytest.raises(GpuDeviceLostError):
        fc.gpu.add(new, old)
