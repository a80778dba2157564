"""The SIMD level that the environment names, from fresh interpreters."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from fractal_core import _native

SHOW = "from fractal_core import _native; print(_native.thread_info()['simd'])"
ATTEND = """
import hashlib, numpy as np
from fractal_core import _native, patterns
q = np.random.default_rng(0).standard_normal((1, 2, 100, 24), dtype=np.float32)
key = patterns.create("window", radius=9).index_set(100).handle
print(np.abs(_native.attention_forward(q, q, q, int(key[0]), "f32", 0.2)[0]).sum())
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
    done = run(ATTEND, FRACTAL_CORE_SIMD=name)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert "InvalidArgumentError: FRACTAL_CORE_SIMD" in last
    assert f'"{name}"' in last
    assert "scalar" in last


def test_levels_agree():
    sums = [float(run(ATTEND, **chosen).stdout) for chosen in ({}, {"FRACTAL_CORE_SIMD": "scalar"})]
    assert sums[0] == pytest.approx(sums[1], rel=1e-5)


def test_chains_count_their_work():
    once = _native.fma_chains(10, 1)
    assert once % (2 * 12 * 10) == 0
    assert _native.fma_chains(30, 4, "serial") == 12 * once
