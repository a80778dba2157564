"""Routers by name: built in, registered, from a plug-in, each checked when it is made and when it routes."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import fractal_core as fc
import pytest
import torch
from fractal_core._registry import Registry
from fractal_core.errors import DTypeError, InvalidArgumentError, PluginError, ShapeError
from fractal_core.nn import MyelinatedLayer, Router, Routing, routers


class Evens(torch.nn.Module):
    """Keeps tokens whose first channel is positive."""

    def __init__(self, dims: int) -> None:
        super().__init__()
        self.dims = dims

    def forward(self, x, *, state=None, mask=None, causal=True):
        keep = x[..., 0] > 0
        return Routing(keep, keep.to(x.dtype), x.new_zeros(()), state)


class Wrong(Evens):
    """Gives what it is told to."""

    def __init__(self, dims, result):
        super().__init__(dims)
        self.result = result

    def forward(self, x, **_):
        return self.result(x)


@pytest.fixture
def named():
    """A name that lives as long as the test."""
    routers.register("evens", Evens)
    yield "evens"
    routers._registered.discard("evens")
    routers._factories.pop("evens")


def test_names_and_what_is_known():
    assert {"act", "always", "gumbel", "ponder", "topk"} <= set(routers.names())
    info = routers.info("topk")
    assert info.origin == "built-in"
    assert info.parameters == {"dims": ..., "rate": 0.5}
    assert routers.group == "fractal_core.routers"


def test_a_registered_one_is_used_by_its_name(named):
    layer = MyelinatedLayer(8, 2, router=named, jump=False).eval()
    x = torch.randn(2, 5, 8)
    _, routing = layer(x, return_routing=True)
    h = layer.nodes[0].norm(x)
    assert torch.equal(routing.keep[0], h[..., 0] > 0)


def test_one_of_a_distribution(tmp_path, monkeypatch):
    (tmp_path / "routing_plugin.py").write_text(
        "import torch\n"
        "from fractal_core.nn import AlwaysRouter\n"
        "class Mine(AlwaysRouter):\n"
        "    '''Keeps all.'''\n"
        "def nothing(dims):\n"
        "    return dims\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    points = [EntryPoint(n, f"routing_plugin:{o}", routers.group) for n, o in (("mine", "Mine"), ("no", "nothing"))]
    registry = Registry(
        routers.kind, routers.group, {}, accept=routers._accept, must_be=routers._must_be, declared=points
    )
    assert type(registry.create("mine", dims=4)).__name__ == "Mine"
    with pytest.raises(PluginError, match=r"made a int, which is not an nn\.Module"):
        registry.create("no", dims=4)


def test_options_by_a_function():
    layer = MyelinatedLayer(8, 2, router=lambda dims: fc.nn.TopKRouter(dims, rate=0.2))
    assert {node.router.rate for node in layer.nodes} == {0.2}
    assert len({id(node.router) for node in layer.nodes}) == 3


def test_rate_and_threshold_reach_those_that_take_them():
    assert MyelinatedLayer(8, 2, 1, 0.3, rate=0.7).nodes[0].router.threshold == 0.3
    assert MyelinatedLayer(8, 2, 1, 0.3, rate=0.7).nodes[0].router.rate == 0.7
    assert MyelinatedLayer(8, 2, 1, 0.3, rate=0.7, router="topk").nodes[0].router.rate == 0.7
    assert MyelinatedLayer(8, 2, 1, 0.3, rate=0.7, router="act").nodes[0].router.epsilon == 0.01


def test_the_protocol_is_one_of_types():
    router: Router = Evens(4)
    assert router(torch.ones(1, 2, 4)).keep.all()


@pytest.mark.parametrize(
    ("error", "result"),
    [
        (DTypeError, lambda x: x),
        (DTypeError, lambda x: Routing(x[..., 0], x[..., 0], x.new_zeros(()))),
        (DTypeError, lambda x: Routing(x[..., 0] > 0, x[..., 0].double(), x.new_zeros(()))),
        (DTypeError, lambda x: Routing(x[..., 0] > 0, x[..., 0], 0.0)),
        (ShapeError, lambda x: Routing(x[0] > 0, x[..., 0], x.new_zeros(()))),
        (ShapeError, lambda x: Routing(x[..., 0] > 0, x, x.new_zeros(()))),
        (ShapeError, lambda x: Routing(x[..., 0] > 0, x[..., 0], x.new_zeros(3))),
    ],
)
def test_a_wrong_result_is_refused(error, result):
    layer = MyelinatedLayer(8, 2, router=lambda dims: Wrong(dims, result))
    with pytest.raises(error, match=r"^router: got"):
        layer(torch.randn(2, 5, 8))


@pytest.mark.parametrize(
    ("argument", "error", "call"),
    [
        ("dims", InvalidArgumentError, lambda: routers.create("gumbel", dims=0)),
        ("dims", InvalidArgumentError, lambda: routers.create("gumbel")),
        ("dims", DTypeError, lambda: routers.create("always", dims=1.5)),
        ("width", InvalidArgumentError, lambda: routers.create("topk", dims=4, width=2)),
        ("rate", InvalidArgumentError, lambda: routers.create("gumbel", dims=4, rate=0)),
        ("rate", InvalidArgumentError, lambda: routers.create("topk", dims=4, rate=1.5)),
        ("rate", DTypeError, lambda: routers.create("topk", dims=4, rate="half")),
        ("rate", InvalidArgumentError, lambda: routers.create("topk", dims=4, rate=float("nan"))),
        ("threshold", InvalidArgumentError, lambda: routers.create("gumbel", dims=4, threshold=1.0)),
        ("temperature", InvalidArgumentError, lambda: routers.create("gumbel", dims=4, temperature=0)),
        ("temperature", DTypeError, lambda: routers.create("ponder", dims=4, temperature=True)),
        ("epsilon", InvalidArgumentError, lambda: routers.create("act", dims=4, epsilon=1)),
        ("prior", InvalidArgumentError, lambda: routers.create("ponder", dims=4, prior=-0.1)),
        ("x", ShapeError, lambda: routers.create("gumbel", dims=4)(torch.ones(2, 3, 5))),
        ("x", ShapeError, lambda: routers.create("act", dims=4)(torch.ones(3, 4))),
        ("x", DTypeError, lambda: routers.create("topk", dims=4)(torch.ones(1, 3, 4, dtype=torch.int64))),
    ],
)
def test_wrong_calls(argument, error, call):
    with pytest.raises(error) as caught:
        call()
    assert caught.value.argument == argument


def test_an_unknown_name():
    with pytest.raises(PluginError, match="unknown router 'nowhere'; known: act, always"):
        MyelinatedLayer(8, 2, router="nowhere")
