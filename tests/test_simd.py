"""The SIMD level that the environment names, from fresh interpreters."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from fractal_core import _native

SHOW = "from fractal_core import _native; print(_native.thread_info()['simd'])"
ATTEND = """
import fractal_core as fc, torch
q = torch.randn(1, 2, 100, 24, generator=torch.Generator().manual_seed(0))
print(fc.nn.sparse_attention(q, q, q, fc.pattern("window", radius=9).index_set(100)).abs().sum().item())
"""
TRAIN = """
import fractal_core as fc, numpy as np, torch
from fractal_core import _native
index_set = fc.pattern("window:radius=9|cantor:base=4").index_set(100)
made = {}
for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.float16):
    drawn = torch.randn(4, 1, 2, 100, 24, generator=torch.Generator().manual_seed(0)).to(dtype)
    q, k, v = (x.requires_grad_() for x in drawn[:3].unbind())
    out = fc.nn.sparse_attention(q, k, v, index_set)
    gradients = torch.autograd.grad(out, (q, k, v), drawn[3])
    made[str(dtype).removeprefix("torch.")] = torch.stack([out, *gradients]).detach().double().numpy()
np.savez(path, **made)
print(_native.thread_info()["simd"])
"""


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if name != "FRACTAL_CORE_SIMD"}
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env={**kept, **environment}
    )


def test_every_machine_runs_scalar():
    done = run(SHOW, FRACTAL_CORE_SIMD="scalar")
    assert (done.stdout, done.stderr) == ("scalar\n", "")


@pytest.mark.parametrize("name", ["avx1024", "", "neon sse2"])
def test_an_unknown_level_is_refused_by_name(name: str):
    pytest.importorskip("torch")
    done = run(ATTEND, FRACTAL_CORE_SIMD=name)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert "InvalidArgumentError: FRACTAL_CORE_SIMD" in last
    assert f'"{name}"' in last
    assert "scalar" in last


def test_levels_agree_on_every_output_and_gradient(tmp_path: Path):
    pytest.importorskip("torch")
    refused = run(SHOW, FRACTAL_CORE_SIMD="no such level").stderr
    levels = refused.partition("what this machine runs: ")[2].split(", ")
    found = {}
    for level in map(str.strip, levels):
        done = run(f"path = {str(tmp_path / level)!r}\n{TRAIN}", FRACTAL_CORE_SIMD=level)
        assert (done.stdout, done.stderr) == (f"{level}\n", "")
        found[level] = np.load(tmp_path / f"{level}.npz")
    scalar = found.pop("scalar")
    assert set(scalar) == {"float32", "float64", "bfloat16", "float16"}
    for arrays in found.values():
        for dtype, tolerance in {"float32": 1e-5, "float64": 1e-13, "bfloat16": 2e-2, "float16": 2e-3}.items():
            assert np.abs(scalar[dtype]).max() > 0.1
            np.testing.assert_allclose(arrays[dtype], scalar[dtype], rtol=tolerance, atol=tolerance)


COUNT = """
import json
import fractal_core as fc, numpy as np
from fractal_core import _native

points = fc.fields.grid((20, 30), (-1.5, 1.5, -1.5, 1.5))
coords = np.arange(200, dtype=np.uint16).reshape(100, 2)
calls = {
    "escape": lambda: fc.fields.julia_escape(points, -0.7 + 0.27j),
    "mandelbrot": lambda: fc.fields.mandelbrot_escape(points),
    "soft escape": lambda: fc.fields.julia_soft_escape(points, -0.7 + 0.27j),
    "hilbert": lambda: fc.curves.hilbert_encode(coords, 8),
    "hilbert back": lambda: fc.curves.hilbert_decode(np.arange(100), 8),
    "morton": lambda: fc.curves.morton_encode(coords, 8),
    "peak": lambda: _native.fma_chains(10, 1),
}
"""
COUNT_TORCH = """
import torch
q = torch.ones(1, 2, 100, 24, requires_grad=True)
index_set = fc.pattern("window:radius=9|cantor:base=4").index_set(100)
out = fc.nn.sparse_attention(q, q, q, index_set)
calls |= {
    "attention": lambda: fc.nn.sparse_attention(q.detach(), q, q, index_set),
    "attention backward": lambda: out.sum().backward(),
    "attention over lists": lambda: fc.nn.sparse_attention(q, q, q, torch.zeros(1, 1, 100, 1, dtype=torch.int64)),
    "one query": lambda: fc.nn.sparse_attention(q[:, :, :1], q, q, fc.pattern("window", radius=9).index_set(1, 100)),
}
"""
SHOW_COUNTS = """
def counted(call):
    before = _native.simd_passes()
    call()
    return {name: passes - before[name] for name, passes in _native.simd_passes().items()}

print(json.dumps({name: counted(call) for name, call in calls.items()}))
"""


@pytest.mark.parametrize("level", list(_native.simd_passes()))
def test_every_kernel_runs_at_the_level_that_is_named(level: str):
    done = run(COUNT + (COUNT_TORCH if find_spec("torch") else "") + SHOW_COUNTS, FRACTAL_CORE_SIMD=level)
    assert done.stderr == ""
    for name, passes in json.loads(done.stdout).items():
        assert passes.pop(level) > 0, name
        assert set(passes.values()) <= {0}, name


def test_chains_count_their_work():
    once = _native.fma_chains(10, 1)
    assert once % (2 * 12 * 10) == 0
    assert _native.fma_chains(30, 4, "serial") == 12 * once
