"""State: exact resume, copies, distributed checkpoints, no host reads, no randomness. Faults F3, F9, F10 and F11."""

from __future__ import annotations

import copy
import io
import itertools
import pickle
import subprocess
import sys

import pytest
import torch
from fractal_core.optim import FAM, FAMAdamW, FAMOptimizer, SimpleFAM
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)
from torch.utils._python_dispatch import TorchDispatchMode

CLASSES = [FAM, FAMAdamW, SimpleFAM, FAMOptimizer]
EARLY = {"fam_start_step": 2}


def model(dtype=torch.float32, seed=0):
    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Linear(40, 60), torch.nn.Linear(60, 40)).to(dtype)


def train(net, optimizer, steps, start=0):
    for step in range(start, start + steps):
        generator = torch.Generator().manual_seed(step)
        for p in net.parameters():
            p.grad = torch.randn(p.shape, generator=generator).cumsum(-1).to(p.dtype)
        optimizer.step()


def same(a, b):
    return all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))


def saved(optimizer):
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def variants():
    for cls in (FAM, FAMAdamW):
        for signal, dtype in itertools.product(["spatial", "temporal"], [torch.float32, torch.bfloat16, torch.float64]):
            yield pytest.param(cls, {"signal": signal}, dtype, id=f"{cls.__name__}-{signal}-{dtype}")
    yield pytest.param(FAM, {"bias_correction": True, "state_dtype": torch.float32}, torch.bfloat16, id="state_dtype")
    yield pytest.param(FAM, {"capturable": True, "update_every": 3}, torch.float32, id="capturable")
    yield pytest.param(SimpleFAM, {}, torch.float32, id="simple")
    yield pytest.param(FAMOptimizer, {}, torch.float32, id="seed")


@pytest.mark.parametrize(("cls", "settings", "dtype"), list(variants()))
def test_resume_is_exact(cls, settings, dtype):
    """Spectra of bfloat16 parameters stay float32, which torch's own loading would round."""
    whole, first = model(dtype), model(dtype)
    train(whole, cls(whole.parameters(), lr=0.1, **EARLY, **settings), 9)
    optimizer = cls(first.parameters(), lr=0.1, **EARLY, **settings)
    train(first, optimizer, 5)
    second = copy.deepcopy(first)
    resumed = cls(second.parameters(), lr=7.0, **settings)
    resumed.load_state_dict(saved(optimizer))
    for p, q in zip(first.parameters(), second.parameters(), strict=True):
        for name, value in optimizer.state[p].items():
            assert resumed.state[q][name].dtype == value.dtype
            assert torch.equal(resumed.state[q][name], value), name
    train(second, resumed, 4, start=5)
    assert same(whole, second)


@pytest.mark.parametrize("cls", CLASSES)
@pytest.mark.parametrize("way", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))], ids=["deepcopy", "pickle"])
def test_copies_go_on_alike(cls, way):
    """F10: copies of the seed's optimizer had no settings and raised at their first step and when collected."""
    net = model()
    optimizer = cls(net.parameters(), lr=0.1, **EARLY)
    train(net, optimizer, 4)
    other = way(optimizer)
    train(net, optimizer, 3, start=4)
    twin = torch.nn.Module()
    twin.kept = torch.nn.ParameterList([p for group in other.param_groups for p in group["params"]])
    train(twin, other, 3, start=4)
    assert same(net, twin)


@pytest.mark.parametrize("cls", CLASSES)
def test_state_is_tensors_and_groups_are_plain(cls):
    """F11: a text and a dict in the state broke distributed checkpoints."""
    net = model()
    optimizer = cls(net.named_parameters(), lr=0.1, **EARLY)
    train(net, optimizer, 4)
    for state in optimizer.state.values():
        assert all(isinstance(value, torch.Tensor) for value in state.values())
        assert state["step"].shape == ()
        assert state["step"].item() == 4
    for group in optimizer.param_groups:
        plain = {name: value for name, value in group.items() if name not in {"params", "param_names"}}
        assert all(value is None or isinstance(value, (int, float, str)) for value in plain.values())


@pytest.mark.parametrize("cls", [FAM, FAMAdamW])
@pytest.mark.parametrize("flat", [False, True])
def test_distributed_checkpoints(cls, flat):
    """F11: flattened, too, into a fresh optimizer."""
    options = StateDictOptions(flatten_optimizer_state_dict=flat)
    net = model()
    optimizer = cls(net.parameters(), lr=0.1, **EARLY)
    train(net, optimizer, 5)
    kept = copy.deepcopy(get_optimizer_state_dict(net, optimizer, options=options))
    other = copy.deepcopy(net)
    resumed = cls(other.parameters(), lr=0.1, **EARLY)
    set_optimizer_state_dict(other, resumed, kept, options=options)
    train(net, optimizer, 3, start=5)
    train(other, resumed, 3, start=5)
    assert same(net, other)


def test_hooks_around_loading_are_obeyed():
    """A hook may hand another state to `load_state_dict`, as torch says."""
    net = model()
    optimizer = FAM(net.parameters(), lr=0.1, **EARLY)
    train(net, optimizer, 5)
    kept = optimizer.state_dict()
    other = FAM(copy.deepcopy(net).parameters(), lr=0.1)

    def zeroed(_, given):
        given = copy.deepcopy(given)
        for state in given["state"].values():
            state["exp_avg"].zero_()
        return given

    other.register_load_state_dict_pre_hook(zeroed)
    other.load_state_dict(kept)
    assert all(not state["exp_avg"].any() for state in other.state.values())
    assert len(other._optimizer_load_state_dict_pre_hooks) == 1
    assert len(other._optimizer_load_state_dict_post_hooks) == 0


@pytest.mark.parametrize("cls", CLASSES)
def test_no_randomness(cls):
    """F3: the seed drew rows and columns from the global generator in each step."""
    net = model()
    optimizer = cls(net.parameters(), lr=0.1, **EARLY)
    before = torch.get_rng_state()
    train(net, optimizer, 5)
    assert torch.equal(torch.get_rng_state(), before)


PROGRAM = """
import sys, hashlib, torch
from fractal_core.optim import FAM, FAMAdamW
found = hashlib.sha256()
for cls in (FAM, FAMAdamW):
    torch.manual_seed(0)
    p = torch.nn.Parameter(torch.randn(200, 90))
    optimizer = cls([p], lr=0.1, handler="attention", rule="seed", fam_start_step=2)
    torch.manual_seed(int(sys.argv[1]))
    for step in range(12):
        p.grad = torch.randn(200, 90, generator=torch.Generator().manual_seed(step)).cumsum(-1)
        optimizer.step()
    found.update(p.detach().numpy().tobytes())
print(found.hexdigest())
"""


def test_two_processes_of_other_seeds_agree(capsys, monkeypatch):
    """F3: so do the ranks of a distributed run."""
    other = subprocess.run([sys.executable, "-c", PROGRAM, "1"], capture_output=True, text=True, check=True)
    monkeypatch.setattr(sys, "argv", ["program", "2"])
    exec(PROGRAM, {})
    assert len(other.stdout) > 60
    assert capsys.readouterr().out == other.stdout


class Reads(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("settings", [{}, {"capturable": True}, {"signal": "temporal"}, {"update_every": 2}], ids=str)
@pytest.mark.parametrize("cls", [FAM, FAMAdamW])
def test_the_host_reads_nothing(cls, settings):
    """F9: the seed read a number for each band of each parameter in each step."""
    net = model()
    optimizer = cls(net.parameters(), lr=0.1, rule="seed", foreach=True, **EARLY, **settings)
    train(net, optimizer, 3)
    for p in net.parameters():
        p.grad = torch.randn(p.shape)
    with Reads() as reads:
        optimizer.step()
        p.sum().item()
    assert reads.count == 1


def test_capturable_steps_never_come_to_the_host():
    """On the meta device nothing can be read: a step that would branch on a value raises."""
    p = torch.nn.Parameter(torch.empty(40, 50, device="meta"))
    p.grad = torch.empty(40, 50, device="meta")
    for cls, signal in itertools.product((FAM, FAMAdamW), ("spatial", "temporal")):
        optimizer = cls([p], lr=0.1, capturable=True, signal=signal, update_every=2)
        optimizer.step()
        assert optimizer.state[p]["step"].is_meta
        assert optimizer.state[p]["bands"].shape == (8,)


def test_half_precision_parameters_have_spectra_in_float32():
    net = model(torch.bfloat16)
    optimizer = FAM(net.parameters(), lr=0.01, **EARLY, bias_correction=True)
    train(net, optimizer, 4)
    state = optimizer.state[net[0].weight]
    assert state["exp_avg"].dtype == torch.bfloat16
    assert state["bands"].dtype == torch.float32
    assert state["alpha_prod"].dtype == torch.float32
    assert state["bands"].sum().item() == pytest.approx(1, abs=1e-6)
    net = model(torch.bfloat16)
    kept = FAM(net.parameters(), lr=0.01, state_dtype=torch.float32)
    train(net, kept, 3)
    assert kept.state[net[0].weight]["exp_avg"].dtype == torch.float32


def test_hooks_of_steps_and_groups_that_come_later():
    net = model()
    optimizer = FAM([net[0].weight], lr=0.1, n_bands=5, **EARLY)
    optimizer.add_param_group({"params": [net[1].weight], "lr": 0.2, "handler": "conv"})
    assert optimizer.param_groups[1]["n_bands"] == 5
    assert optimizer.param_groups[1]["lr"] == 0.2
    seen = []
    optimizer.register_step_pre_hook(lambda *_: seen.append("before"))
    optimizer.register_step_post_hook(lambda *_: seen.append("after"))
    train(net, optimizer, 1)
    assert seen == ["before", "after"]


def test_named_parameters_keep_their_names():
    net = model()
    optimizer = FAM(net.named_parameters(), lr=0.1)
    assert optimizer.parameter_names() == ["0.weight", "0.bias", "1.weight", "1.bias"]
    assert FAM(net.parameters(), lr=0.1).parameter_names() == ["0.0", "0.1", "0.2", "0.3"]


def test_settings_missing_from_an_old_pickle_are_filled():
    net = model()
    optimizer = FAM(net.parameters(), lr=0.1)
    kept = optimizer.__getstate__()
    del kept["param_groups"][0]["update_every"]
    other = FAM.__new__(FAM)
    other.__setstate__(kept)
    assert other.param_groups[0]["update_every"] == 1


def test_gradients_of_other_layouts_of_memory():
    """Channels last: the same numbers in other places."""
    a, b = (torch.nn.Parameter(torch.randn(16, 8, 5, 5, generator=torch.Generator().manual_seed(0))) for _ in "ab")
    one, two = FAM([a], lr=0.1, fam_start_step=0), FAM([b], lr=0.1, fam_start_step=0)
    for step in range(4):
        a.grad = torch.randn(16, 8, 5, 5, generator=torch.Generator().manual_seed(step))
        b.grad = a.grad.to(memory_format=torch.channels_last)
        one.step()
        two.step()
    torch.testing.assert_close(a, b, atol=1e-6, rtol=0)
