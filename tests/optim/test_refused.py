"""What is refused, by name. Fault F15: rates of -1 and momenta of 7 were taken; complex gradients lost a part."""

from __future__ import annotations

import math

import pytest
import torch
from fractal_core.errors import DTypeError, InvalidArgumentError, PluginError
from fractal_core.optim import FAM, FAMAdamW, FAMOptimizer, SimpleFAM

P = [torch.nn.Parameter(torch.zeros(3))]

VALUES = [
    ("lr", -1.0), ("lr", math.nan), ("lr", math.inf), ("lr", torch.zeros(2)), ("alpha", 7), ("alpha", 1.0),
    ("alpha", -0.1), ("beta", 1.0), ("eps", -1e-9), ("weight_decay", -0.1), ("n_bands", 0), ("fam_start_step", -1),
    ("min_size", -1), ("update_every", 0), ("delta", -0.1), ("alpha_min", 0.99), ("alpha_max", 1.0),
    ("signal", "spectral"), ("handler", "mlp"), ("band_layout", "cubic"),
]  # fmt: skip
TYPES = [
    ("lr", "fast"), ("lr", True), ("lr", torch.tensor(1)), ("alpha", None), ("n_bands", 2.5), ("n_bands", True),
    ("decoupled", 1), ("bias_correction", "yes"), ("maximize", 1), ("foreach", 1), ("capturable", None),
    ("signal", 3), ("rule", 3), ("handler", None), ("state_dtype", "float32"), ("state_dtype", torch.int64),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), VALUES, ids=str)
def test_values(name, value):
    with pytest.raises(InvalidArgumentError, match=rf"^{name}: got ") as caught:
        FAM(P, **{name: value})
    assert type(caught.value) is InvalidArgumentError


@pytest.mark.parametrize(("name", "value"), TYPES, ids=str)
def test_types(name, value):
    with pytest.raises(DTypeError, match=rf"^{name}: got "):
        FAM(P, **{name: value})


@pytest.mark.parametrize("cls", [FAM, FAMAdamW, SimpleFAM, FAMOptimizer])
def test_every_class_checks(cls):
    with pytest.raises(InvalidArgumentError, match=r"^lr"):
        cls(P, lr=-1)
    with pytest.raises(DTypeError, match=r"^alpha"):
        cls(P, alpha="much")


def test_beta2():
    with pytest.raises(InvalidArgumentError, match=r"^beta2"):
        FAMAdamW(P, beta2=1.0)


def test_an_unknown_rule():
    with pytest.raises(PluginError, match=r"unknown momentum rule 'astrology'; known: calibrated, seed"):
        FAM(P, rule="astrology")


def test_foreach_is_not_differentiable():
    with pytest.raises(InvalidArgumentError, match=r"^foreach"):
        FAM(P, foreach=True, differentiable=True)


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
def test_complex_parameters_are_refused_by_name(dtype):
    wave = torch.nn.Parameter(torch.zeros(3, dtype=dtype))
    with pytest.raises(DTypeError, match=r"params: got wave: torch.complex"):
        FAM([("plain", P[0]), ("wave", wave)])
    with pytest.raises(DTypeError, match=r"params: got parameter 0: torch.complex"):
        FAM([wave])


def test_a_group_that_is_refused_is_not_added():
    optimizer = FAM(P)
    with pytest.raises(InvalidArgumentError, match=r"^alpha"):
        optimizer.add_param_group({"params": [torch.nn.Parameter(torch.zeros(2))], "alpha": 2.0})
    assert len(optimizer.param_groups) == 1


@pytest.mark.parametrize("cls", [FAM, FAMAdamW, FAMOptimizer])
def test_sparse_gradients_are_refused_before_anything_changes(cls):
    table = torch.nn.Embedding(10, 4, sparse=True)
    plain = torch.nn.Parameter(torch.ones(3))
    optimizer = cls([("plain", plain), ("table", table.weight)], lr=0.1)
    plain.grad = torch.ones(3)
    table(torch.tensor([1, 2])).sum().backward()
    with pytest.raises(InvalidArgumentError, match=r"gradient of table: got layout torch.sparse_coo"):
        optimizer.step()
    torch.testing.assert_close(plain.detach(), torch.ones(3), atol=0, rtol=0)
