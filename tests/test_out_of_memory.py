"""Sizes that come from the caller and that memory has no room for: a typed refusal, and a process that computes on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the address space has no limit to set")

# Calls of a size: one that 10 GB do not hold, and a small one.
TOO_LARGE = {
    "mask": ("window({}).to_mask()", "10**6", "300"),
    "padded lists": ("fc.pattern('window', radius=2**11).index_set({}).to_padded()", "2**21", "64"),
    "indices": ("fc.pattern('window', radius=2**10).index_set({}).indices", "2**20 + 2**19", "64"),
    "indices of runs": ("fc.IndexSet.from_segments([0, {0}]).indices", "2**16 - 1", "64"),
    "indptr": ("fc.IndexSet.from_offsets([0, 1], {}, q_offset=1).indptr", "2**31 - 1", "64"),
    "indptr of too many pairs": ("window({}).indptr", "2**31 - 1", "64"),
    "transpose": ("fc.IndexSet.from_segments([0, {}]).transpose()", "2**17", "64"),
    "union of two forms": ("window({0}) | fc.IndexSet.from_segments([0, {0}])", "2**21", "64"),
    "union of offsets": (
        "fc.IndexSet.from_offsets([0], {0}) | fc.IndexSet.from_offsets([0], {0}, q_offset=1)",
        "2**31 - 1",
        "64",
    ),
    "intersection": (
        "fc.IndexSet.from_offsets([0], {0}) & fc.IndexSet.from_offsets([0], {0}, q_offset=1)",
        "2**31 - 1",
        "64",
    ),
    "causal part": ("fc.IndexSet.from_segments([0, {}]).causal(0)", "2**31 - 1", "64"),
    "blocks": ("window({}).to_block_mask((1, 1)).kv_indices.numpy()", "2**31 - 1", "64"),
    "window": ("fc.pattern('window', radius={0}).index_set({0} + 1)", "2**31 - 2", "60"),
    "cantor, base 2": ("fc.pattern('cantor', base=2).index_set({})", "2**31 - 1", "64"),
    "cantor samples": ("fc.pattern('cantor_samples', depth=6).index_set({})", "2**31 - 1", "64"),
    "sierpinski": ("fc.pattern('sierpinski').index_set({})", "2**31 - 1", "64"),
    "sierpinski of few": ("fc.pattern('sierpinski').index_set({})", "2**25", "64"),
    "dragon": ("fc.pattern('dragon').index_set({})", "2**31 - 1", "64"),
    "hilbert": ("fc.pattern('hilbert').index_set({})", "2**31 - 1", "64"),
    "hilbert in a box": ("fc.pattern('hilbert', shape=({0}, {0})).index_set({0} ** 2)", "46340", "8"),
    "neighborhood": ("fc.pattern('neighborhood', shape=({0},), kernel_size=3).index_set({0})", "2**31 - 1", "64"),
    "neighborhood in a plane": (
        "fc.pattern('neighborhood', shape=({0}, {0}), kernel_size=3).index_set({0} ** 2)",
        "46340",
        "8",
    ),
    "random": ("fc.pattern('random').index_set({})", "2**31 - 1", "64"),
    "random, many keys": ("fc.pattern('random', k=2**14).index_set({}, causal=True)", "2**20", "64"),
    "random or window": ("(fc.pattern('random', k=3) | fc.pattern('window')).index_set({})", "2**31 - 1", "64"),
    "julia": ("fc.pattern('julia').index_set({})", "2**31 - 1", "64"),
    "hilbert order of a square": ("fc.curves.hilbert_order(({0}, {0}))", "2**16", "8"),
    "hilbert order of a box": ("fc.curves.hilbert_order(({0}, {0} - 1))", "2**16", "8"),
    "hilbert order in space": ("fc.curves.hilbert_order(({0}, {0}, 3))", "2**15", "4"),
    "morton order": ("fc.curves.morton_order(({0}, {0}))", "2**16", "8"),
    "dragon vertices": ("fc.curves.dragon_vertices({})", "2**32", "64"),
    "grid": ("fc.fields.grid(({0}, {0}))", "2**16", "8"),
    "digit offsets": ("fc.sets.digit_offsets({}, 2, (0, 1))", "2**40", "64"),
    "digit offsets without 0": ("fc.sets.digit_offsets({}, 10, range(1, 10))", "10**12", "640"),
    "bias x heads": ("attention(spread({}, 2), two, key_bias())", "2**13", "2"),
    "padding x heads": ("attention(spread({}, 2), two, key_padding_mask=hidden())", "2**13", "2"),
    "outputs": ("attention(spread({}, 2**20), fc.IndexSet.from_offsets([0], 2**20))", "2**9", "2"),
}

# Calls that need more than a few megabytes beyond what they are given.
WITHOUT_ROOM = {
    "from_csr": ("np.arange(2**21 + 1), np.arange(2**21)", "fc.IndexSet.from_csr(*it, 2**21)"),
    "from_runs": ("np.arange(2**21 + 1)", "fc.IndexSet.from_runs(it, it[:-1], np.ones(2**21, int), 2**21)"),
    "from_mask": ("np.ones((2**12, 2**12), bool)", "fc.IndexSet.from_mask(it)"),
    "from_padded": ("np.arange(2**22).reshape(-1, 2)", "fc.IndexSet.from_padded(it, 2**22)"),
    "from_segments": ("np.arange(2**21)", "fc.IndexSet.from_segments(it)"),
    "from_offsets": ("np.arange(2**21)", "fc.IndexSet.from_offsets(it, 2).indices"),
    "transpose": ("listed()", "it.transpose()"),
    "union": ("listed()", "it | window(2**18)"),
    "intersection": ("listed(), listed().transpose()", "it[0] & it[1]"),
    "causal part": ("listed()", "it.causal(0)"),
    "reach": ("fc.pattern('random', k=3).index_set(2**15)", "np.array(it.reach(3).shares)"),
    "reach of offsets": ("fc.IndexSet.from_offsets([0, 1], 2**27)", "np.array(it.reach(2).shares)"),
    "plan": ("listed(), spread(1, 2**18)", "attention(it[1], it[0])"),
    "plan of offsets": (
        "fc.IndexSet.from_offsets(range(0, 2**15, 2), 2**15), spread(1, 2**15)",
        "attention(it[1], it[0])",
    ),
    "plan of runs": (
        "fc.IndexSet.from_segments(np.arange(0, 2**20 + 1, 2)), spread(1, 2**20)",
        "attention(it[1], it[0])",
    ),
    "plan of lists": ("torch.arange(2**20).reshape(1, 1, -1, 4) % 2**18, spread(1, 2**18)", "attention(it[1], it[0])"),
    "bias of pairs": (
        "few := listed(), spread(1, 2**18), torch.zeros(1, few.nnz)",
        "attention(it[1], it[0], edge_bias=it[2])",
    ),
    "backward": (
        "q := spread(1, 2**18).clone().requires_grad_(), with_gradient(attention(q, listed()), q)",
        "backward(*it[1])",
    ),
    "backward with biases": (
        "few := listed(), key := torch.zeros(1, 1, 2**18, requires_grad=True), "
        "edge := torch.zeros(1, few.nnz, requires_grad=True), "
        "with_gradient(attention(spread(1, 2**18), few, key, edge_bias=edge), key, edge)",
        "backward(*it[3])",
    ),
    "forces": ("spread(1, 2**18), listed(), torch.zeros(1, 1, 2**18, 1)", "forces(*it)"),
    "forces, backward": (
        "x := spread(1, 2**18).clone().requires_grad_(), "
        "with_gradient(forces(x, listed(), torch.zeros(1, 1, 2**18, 1)), x)",
        "backward(*it[1])",
    ),
    "halves": ("spread(16, 2**15).bfloat16(), window(2**15)", "attention(*it)"),
    "ordered queries": (
        "spread(8, 2**16).contiguous(), fc.pattern('neighborhood', shape=(2**8, 2**8), kernel_size=3).index_set(2**16)",
        "attention(*it)",
    ),
    "one query": ("spread(64, 1), fc.IndexSet.from_csr([0, 2**20], np.arange(2**20), 2**20)", "attention(*it)"),
    "julia_escape": ("points()", "fc.fields.julia_escape(it, -1)"),
    "julia_escape of a strided array": ("points()", "fc.fields.julia_escape(it[::-1], -1)"),
    "julia_escape_vjp": ("points()", "fc.fields.julia_escape_vjp(it.real, it, -1)"),
    "mandelbrot_escape": ("points()", "fc.fields.mandelbrot_escape(it)"),
    "julia_soft_escape": ("points()", "fc.fields.julia_soft_escape(it, -1)"),
    "julia_potential": ("points()", "fc.fields.julia_potential(it, -1)"),
    "julia_potential_vjp": ("points()", "fc.fields.julia_potential_vjp(it.real, it, -1)"),
    "cantor points": ("20", "fc.sets.cantor_points(it)"),
    "hilbert codes": ("np.zeros((2**21, 2), int)", "fc.curves.hilbert_encode(it, 20)"),
}

PROGRAM = """
import hashlib, json, re, resource, sys
import numpy as np
import torch
import fractal_core as fc
import fractal_core.nn

torch.set_num_threads(2)
two = fc.IndexSet.from_csr([0, 1, 2], [0, 5], 2**20)


def window(n):
    return fc.pattern("window").index_set(n)


def listed():
    return fc.pattern("random", k=15).index_set(2**18)


def points():
    return np.linspace(-2, 2, 2**21).astype(complex)


def spread(heads, n):
    return torch.linspace(-1, 1, 16).expand(1, heads, n, 16)


def key_bias():
    return torch.linspace(0, 1, 2**20).expand(1, 1, -1)


def hidden():
    return torch.arange(2**20).expand(1, -1) == 5


def attention(q, keys, bias=None, **rest):
    n = q.shape[2] if isinstance(keys, torch.Tensor) else keys.n_keys
    k = q[:, :1, :1].expand(1, 1, n, 16)
    return fc.nn.sparse_attention(q, k, k, keys, bias=bias, **rest)


def forces(e, keys, shifts):
    v, one, handle = e[:, :, :1].detach().expand(e.shape), torch.ones(1), torch.from_numpy(keys.handle)
    return fc.nn._force.force(e, v, v, shifts, shifts, one, one, None, None, handle, None, 1.0, 1e-6)[0]


def with_gradient(out, *inputs):
    return out, inputs, torch.ones_like(out)


def backward(out, inputs, gradient):
    return tuple(x.numpy() for x in torch.autograd.grad(out, inputs, gradient, retain_graph=True))


def limit(size):
    resource.setrlimit(resource.RLIMIT_AS, (size, resource.RLIM_INFINITY))


def taken():
    # A request that cannot be met has the allocator give back what it keeps for later.
    assert fc._native.huge_block(2**60) is None
    return int(re.search(r"VmSize:\\s+(\\d+)", open("/proc/self/status").read())[1]) << 10


def digest(made):
    if isinstance(made, (fc.IndexSet, torch.Tensor)):
        made = (made.indptr, made.indices) if isinstance(made, fc.IndexSet) else made.detach().float().numpy()
    arrays = made if isinstance(made, tuple) else (made,)
    return hashlib.sha256(b"".join(np.ascontiguousarray(a).tobytes() for a in arrays)).hexdigest()


def tried(call, it=None):
    try:
        return "made " + digest(eval(call))
    except (MemoryError, fc.errors.FractalError) as refused:
        return f"{type(refused).__name__}: {refused}"


def say(name, what):
    print(json.dumps([name, what]), flush=True)
"""

REFUSED = ("OutOfMemoryError: ", "_ArrayMemoryError: ", "MemoryError")


def outcomes(program: str, calls: object) -> tuple[str, dict[str, list[str]]]:
    """How a process ended, if not well, and what it said of each call before."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM + program, json.dumps(calls)],
        capture_output=True,
        text=True,
        timeout=300,
        # Blocks of a megabyte and more go back to the system at once, so that a limit bites whatever ran before.
        env={**os.environ, "MALLOC_MMAP_THRESHOLD_": str(1 << 20)},
        check=False,
    )
    said = dict(json.loads(line) for line in done.stdout.splitlines())
    ended = f"exit status {done.returncode} after {list(said)[-1:]}: {done.stderr[-2000:]}" if done.returncode else ""
    return ended, said


@cache
def too_large() -> tuple[str, dict[str, list[str]]]:
    return outcomes(
        """
calls = json.loads(sys.argv[1])
free = {name: tried(call.format(small)) for name, (call, _, small) in calls.items()}
limit(10**10)
for name, (call, large, small) in calls.items():
    say(name, [tried(call.format(large)), tried(call.format(small)), free[name]])
""",
        TOO_LARGE,
    )


@cache
def without_room() -> tuple[str, dict[str, list[str]]]:
    return outcomes(
        """
x = spread(4, 2**10).clone().requires_grad_()
backward(*with_gradient(attention(x, window(2**10)), x))
for name, (given, call) in json.loads(sys.argv[1]).items():
    said = []
    for room in (1, 6, 30, None):
        it = eval("(" + given + ")")
        if room is not None:
            limit(taken() + (room << 20))
        said.append(tried(call, it))
        limit(resource.RLIM_INFINITY)
        said.append(tried(call, it))
        del it
    say(name, said)
""",
        WITHOUT_ROOM,
    )


@pytest.mark.parametrize("call", TOO_LARGE)
def test_what_ten_gigabytes_do_not_hold_is_refused(call: str) -> None:
    ended, said = too_large()
    assert call in said, ended
    large, small, free = said[call]
    assert large.startswith("InvalidArgumentError: index_set" if "too many" in call else "OutOfMemoryError: "), large
    assert small == free
    assert small.startswith("made ")


@pytest.mark.parametrize("call", WITHOUT_ROOM)
def test_a_call_that_finds_no_room_is_refused_and_the_next_one_is_right(call: str) -> None:
    ended, said = without_room()
    assert call in said, ended
    *limited, _, right = said[call]
    assert right.startswith("made ")
    assert limited[0].startswith(REFUSED), limited[0]
    for found, again in zip(limited[::2], limited[1::2], strict=True):
        assert found == right or found.startswith(REFUSED), found
        assert again == right


def test_the_processes_lived_to_the_end() -> None:
    assert [too_large()[0], without_room()[0]] == ["", ""]
