"""Ctrl-C within a long native call: KeyboardInterrupt soon, and a process that computes on."""

from __future__ import annotations

import subprocess
import sys

import pytest

CALLS = {
    "attention": "fc.nn.sparse_attention(q, q, q, full)",
    "attention, one head alone": "fc.nn.sparse_attention(q[:, :1], q[:, :1], q[:, :1], full)",
    "backward": "out.backward(torch.ones_like(out))",
    "forces": "fc.nn.force_attention(q, q, q, torch.ones(2, 64), full)",
    "plan": "fc.pattern('sierpinski').index_set(2**17).report(layers=1)",
    "random keys": "fc.pattern('random', k=400).index_set(2**19)",
    "sierpinski": "fc.pattern('sierpinski').index_set(2**18)",
    "reach": "fc.pattern('random', k=64).index_set(2**17).reach(64)",
    "reach of offsets": "fc.IndexSet.from_offsets(range(0, 2**27, 2**15), 2**27).reach(2**20)",
    "transpose": "all(listed.transpose().nnz for _ in range(10**6))",
    "union": "all((listed | listed.transpose()).nnz for _ in range(10**6))",
    # A Siegel disc: its orbits neither leave nor repeat.
    "julia": "fc.fields.julia_escape(fc.fields.grid((4000, 4000), (-1, 1, -1, 1)), -0.39054-0.58679j, max_iter=10**7)",
    "mandelbrot": "fc.fields.mandelbrot_escape(fc.fields.grid((4000, 4000), [-2, 1, -1.5, 1.5]), max_iter=10**7)",
    # Few points that stay for ever: one task, with nothing between tasks to look at.
    "julia, vjp": "fc.fields.julia_escape_vjp(np.ones(512), np.zeros(512), -0.1, 2**24)",
    "potential, vjp": "fc.fields.julia_potential_vjp(np.ones(512), np.zeros(512), -0.1, 2**24)",
    "soft julia": "fc.fields.julia_soft_escape(np.zeros(512), -0.1, 2**24, smoothness=100)",
    "soft julia, vjp": "fc.fields.julia_soft_escape_vjp(np.ones(512), np.zeros(512), -0.1, 2**24, smoothness=100)",
    "morton order": "fc.curves.morton_order((2**13, 2**14))",
    "dragon vertices": "fc.curves.dragon_vertices(2**28)",
}
PROGRAM = """
import os, signal, sys, threading, time
import numpy as np
import torch
import fractal_core as fc

# A shell that starts this in the background has it ignore SIGINT.
signal.signal(signal.SIGINT, signal.default_int_handler)
n = 40_000
torch.manual_seed(0)
call = sys.argv[1]
q = torch.randn(1, 2, n, 64, requires_grad=True) if "q" in call or "out" in call else None
full = fc.IndexSet.from_runs(np.arange(n + 1), np.zeros(n, int), np.full(n, n), n) if q is not None else None
listed = fc.pattern("random", k=64).index_set(2**17) if "listed" in call else None
if "out" in call:
    short = fc.IndexSet.from_runs(np.arange(n + 1), np.zeros(n, int), np.full(n, n), n)
    out = fc.nn.sparse_attention(q, q, q, short)
sent = []


def interrupt():
    time.sleep(float(sys.argv[2]))
    sent.append(time.monotonic())
    os.kill(os.getpid(), signal.SIGINT)


threading.Thread(target=interrupt, daemon=True).start()
try:
    eval(call)
except KeyboardInterrupt:
    took = time.monotonic() - sent[0]
else:
    sys.exit("the call ended before it was interrupted")
small = fc.nn.sparse_attention(*(torch.ones(1, 1, 64, 16),) * 3, fc.pattern("window", radius=3).index_set(64))
assert torch.equal(small, torch.ones(1, 1, 64, 16))
assert fc.pattern("random", k=3).index_set(5000).transpose().nnz == fc.pattern("random", k=3).index_set(5000).nnz
print(took)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT to itself")
@pytest.mark.parametrize("call", CALLS)
def test_ctrl_c_ends_a_long_call_soon(call: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, CALLS[call], "0.3"], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 0.5
