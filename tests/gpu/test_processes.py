"""Forked children, threads, Ctrl-C, and machines without a driver: each in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import fractal_core as fc
import numpy as np
import pytest

BEGIN = """
import json, os, signal, sys, threading, time
import numpy as np
import fractal_core as fc
from fractal_core import _native, errors
fc.gpu.set_options(allow_software=True)
x = np.linspace(-1, 1, 1000, dtype=np.float32)
"""


def run(program: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", BEGIN + program],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **environment},
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


FORK = """
array, result = fc.gpu.array(x), fc.gpu.relu(x)
child = os.fork()
if child == 0:
    signal.alarm(30)
    try:
        for call in (array.numpy, lambda: fc.gpu.relu(array)):
            try:
                call()
                os._exit(2)
            except errors.GpuForkError:
                pass
        assert np.array_equal(result, np.maximum(x, 0))
        assert fc.gpu.memory().allocated == 0
        if sys.argv[1:] == ["error"]:
            fc.gpu.set_options(on_fork="error")
            try:
                fc.gpu.relu(x)
                os._exit(3)
            except errors.GpuForkError as error:
                assert "spawn" in str(error)
        else:
            assert np.array_equal(fc.gpu.relu(x), np.maximum(x, 0))
        del array, result
        os._exit(0)
    except BaseException as error:
        print(repr(error), file=sys.stderr, flush=True)
        os._exit(1)
assert os.waitpid(child, 0)[1] == 0
assert np.array_equal(result, np.maximum(x, 0))
assert np.array_equal(fc.gpu.relu(array).numpy(), np.maximum(x, 0))
print("well")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.parametrize("answer", ["reopen", "error"])
def test_a_forked_child_leaves_its_parents_device_alone(answer: str):
    assert "well" in run(FORK.replace("sys.argv[1:]", repr([answer])))


def test_multiprocessing_children_that_do_not_ask_for_the_gpu():
    program = """
import multiprocessing
fc.gpu.relu(x)
if "fork" in multiprocessing.get_all_start_methods():
    with multiprocessing.get_context("fork").Pool(2) as pool:
        print(pool.map(abs, [-1, -2, 3]))
else:
    print([1, 2, 3])
"""
    assert "[1, 2, 3]" in run(program)


def test_four_threads_compute_at_once():
    program = """
wrong = []
def work(number):
    for i in range(50):
        y = np.full(1000 + 37 * number + i, number, np.float32)
        if not np.array_equal(fc.gpu.multiply(fc.gpu.add(y, y), y), 2 * y * y):
            wrong.append((number, i))
threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
[t.start() for t in threads]; [t.join() for t in threads]
print(json.dumps([wrong, fc.gpu.memory().allocated]))
"""
    assert json.loads(run(program).splitlines()[-1]) == [[], 0]


def test_other_threads_run_while_the_gpu_computes():
    program = """
array = fc.gpu.array(np.ones(1 << 22, np.float32))
fc.gpu.gelu(array).numpy()
ticks, stop = [], threading.Event()
def tick():
    while not stop.is_set():
        ticks.append(time.monotonic()); time.sleep(0.001)
thread = threading.Thread(target=tick); thread.start()
before = len(ticks)
for _ in range(3):
    array = fc.gpu.gelu(array)
array.numpy()
during = len(ticks) - before
stop.set(); thread.join()
print(during > 0)
"""
    assert "True" in run(program)


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_ctrl_c_within_a_long_wait():
    program = """
signal.signal(signal.SIGINT, signal.default_int_handler)
software = fc.gpu.device().kind == "software"
array = fc.gpu.array(np.ones(1 << 22, np.float32))
fc.gpu.gelu(array).numpy()
sent = []
def interrupt():
    time.sleep(0.1); sent.append(time.monotonic()); os.kill(os.getpid(), signal.SIGINT)
try:
    threading.Thread(target=interrupt, daemon=True).start()
    for _ in range(40 if software else 20_000):
        result = fc.gpu.gelu(array)
    result.numpy()
    print("not interrupted")
except KeyboardInterrupt:
    print("interrupted", bool(sent))
assert np.array_equal(fc.gpu.relu(x), np.maximum(x, 0))
print("and went on", fc.gpu.memory().mapped)
"""
    out = run(program)
    assert "interrupted True" in out
    assert "and went on 0" in out


NO_DRIVER = """
assert fc.gpu.adapters() == ()
assert fc.devices() == ("cpu",)
for call in (fc.gpu.device, lambda: fc.gpu.relu(x), lambda: fc.gpu.array(x), fc.gpu.warmup, fc.device_info):
    try:
        call()
        sys.exit("no error")
    except errors.GpuUnavailableError as error:
        assert "no driver offers an adapter" in str(error), error
assert fc.gpu.memory() == fc.gpu.Memory(0, 0, 0, 0, 0, 0, 0, 0, 0.0, 0.0)
assert fc.gpu.trim() is None and fc.gpu.reset() is None
assert fc.device_info("cpu")["threads"] >= 1
field = fc.fields.julia_escape(fc.fields.grid((8, 8), (-1, 1, -1, 1)), -0.7 + 0.27j)
assert field.shape == (8, 8)
print("well")
"""


@pytest.mark.without_gpu
@pytest.mark.skipif(sys.platform != "linux", reason="how Vulkan finds drivers on Linux")
@pytest.mark.parametrize("broken", [False, True])
def test_a_machine_without_a_driver_and_one_with_a_broken_driver(broken, tmp_path):
    listed = tmp_path / "driver.json"
    if broken:
        driver = {"library_path": str(tmp_path / "driver.so"), "api_version": "1.3.0"}
        listed.write_text(json.dumps({"file_format_version": "1.0.0", "ICD": driver}))
        (tmp_path / "driver.so").write_text("no library")
    assert "well" in run(NO_DRIVER, VK_DRIVER_FILES=str(listed), VK_ICD_FILENAMES=str(listed))


@pytest.mark.without_gpu
def test_software_is_not_used_unless_allowed():
    program = """
fc.gpu.set_options(allow_software=False)
found = fc.gpu.adapters()
assert all(a.rejected for a in found if a.kind == "software")
if all(a.kind == "software" for a in found):
    assert fc.devices() == ("cpu",)
    try:
        fc.gpu.relu(x)
        sys.exit("it was used")
    except errors.GpuUnavailableError as error:
        assert not found or "FRACTAL_CORE_ALLOW_SOFTWARE" in str(error), error
print("well")
"""
    assert "well" in run(program)


@pytest.mark.without_gpu
@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("FRACTAL_CORE_ALLOW_SOFTWARE", "yes"),
        ("FRACTAL_CORE_GPU_API", "opengl"),
        ("FRACTAL_CORE_GPU_TIMEOUT", "0"),
        ("FRACTAL_CORE_POOL_MB", "-1"),
        ("FRACTAL_CORE_FORK", "no"),
    ],
)
def test_a_variable_that_says_something_else_is_refused_by_name(variable: str, text: str):
    program = "try:\n    fc.gpu.options()\nexcept fc.errors.InvalidArgumentError as e:\n    print(e)"
    done = subprocess.run(
        [sys.executable, "-c", f"import fractal_core as fc\n{program}"],
        capture_output=True,
        text=True,
        env={**os.environ, variable: text},
        check=True,
    )
    assert done.stdout.startswith(f'{variable}: got "{text}"')


@pytest.mark.without_gpu
def test_the_environment_sets_the_options():
    program = "import fractal_core as fc; print(tuple(fc.gpu.options()))"
    environment = {
        "FRACTAL_CORE_ADAPTER": "intel",
        "FRACTAL_CORE_GPU_API": "vulkan",
        "FRACTAL_CORE_ALLOW_SOFTWARE": "1",
        "FRACTAL_CORE_ALLOW_NONCOMPLIANT": "1",
        "FRACTAL_CORE_VALIDATE": "0",
        "FRACTAL_CORE_GPU_TIMEOUT": "5",
        "FRACTAL_CORE_POOL_MB": "3",
        "FRACTAL_CORE_MAPPED_MB": "7",
        "FRACTAL_CORE_FORK": "error",
        "FRACTAL_CORE_REQUIRE_GPU": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env={**os.environ, **environment}, check=True
    )
    wanted = ("intel", "vulkan", True, True, False, 5.0, 3 << 20, 7 << 20, "error", True)
    assert done.stdout.strip() == repr(wanted)


@pytest.mark.without_gpu
def test_importing_and_asking_opens_no_device():
    program = """
before = threading.active_count(), len(os.listdir("/proc/self/task")) if os.path.isdir("/proc/self/task") else 0
fc.gpu.memory(), fc.gpu.counts(), fc.gpu.options(), fc.gpu.trim(), fc.devices()
from fractal_core import _native
assert fc.gpu.counts() == fc.gpu.Counts(0, 0, 0, 0, 0)
print("well")
"""
    assert "well" in run(program)


def test_the_pool_of_this_process_is_the_one_that_was_asked():
    x = np.ones(10, np.float32)
    first = fc.gpu.counts()
    fc.gpu.relu(x)
    now = fc.gpu.counts()
    assert now.dispatches > first.dispatches
    assert now.submissions > first.submissions
    assert now.uploaded - first.uploaded >= x.nbytes
