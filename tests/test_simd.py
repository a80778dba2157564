"""The SIMD level that the environment names, from fresh interpreters."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from fractal_core import _native

SHOW = "from fractal_core import _native; print(_native.thread_info()['simd'])"
ATTEND = """
import fractal_core as fc, torch
q = torch.randn(1, 2, 100, 24, generator=torch.Generator().manual_seed(0))
print(fc.nn.sparse_attention(q, q, q, fc.pattern("window", radius=9).index_set(100)).abs().sum().item())
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


def test_levels_agree():
    pytest.importorskip("torch")
    sums = [float(run(ATTEND, **chosen).stdout) for chosen in ({}, {"FRACTAL_CORE_SIMD": "scalar"})]
    assert sums[0] == pytest.approx(sums[1], rel=1e-5)


def test_chains_count_their_work():
    once = _native.fma_chains(10, 1)
    assert once % (2 * 12 * 10) == 0
    assert _native.fma_chains(30, 4, "serial") == 12 * once
