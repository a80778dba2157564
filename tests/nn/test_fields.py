"""The soft Julia op: schema, fake, gradients, the field itself."""

from __future__ import annotations

import fractal_core as fc
import pytest
import torch
from fractal_core.nn.fields import julia_soft_escape, julia_soft_escape_backward

pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")


def arguments(dtype=torch.float64):
    points = torch.complex(torch.linspace(-1.2, 1.3, 7, dtype=dtype), torch.linspace(0.9, -0.4, 7, dtype=dtype))
    c = torch.tensor(-0.7 + 0.27j, dtype=points.dtype)
    radius, smoothness = torch.tensor(2.0, dtype=dtype), torch.tensor(1.5, dtype=dtype)
    return tuple(t.requires_grad_() for t in (points, c, radius, smoothness))


def test_equals_the_numpy_floor():
    points, c, radius, smoothness = (t.detach() for t in arguments())
    got = julia_soft_escape(points, c, radius, smoothness, 20)
    expected = fc.fields.julia_soft_escape(points.numpy(), c.item(), 20, radius=2.0, smoothness=1.5)
    assert torch.equal(got, torch.from_numpy(expected))


def test_gradcheck_by_points_c_radius_and_smoothness():
    assert torch.autograd.gradcheck(lambda *a: julia_soft_escape(*a, 6), arguments())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_opcheck(dtype):
    args = arguments(dtype)
    torch.library.opcheck(julia_soft_escape, (*args, 6))
    detached = tuple(a.detach() for a in args)
    torch.library.opcheck(julia_soft_escape_backward, (torch.ones(7, dtype=dtype), *detached, 6))
