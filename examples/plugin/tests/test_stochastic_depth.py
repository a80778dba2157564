"""The router is found by its name, and does what stochastic depth does."""

import fractal_core as fc
import pytest

torch = pytest.importorskip("torch")


def made(**options):
    return fc.nn.routers.create("stochastic-depth", dims=8, **options)


def test_found_by_its_name():
    assert fc.nn.routers.info("stochastic-depth").origin.startswith("fractal-attn-koch")
    layer = fc.nn.MyelinatedLayer(8, 2, router="stochastic-depth", rate=0.7)
    assert {node.router.rate for node in layer.nodes} == {0.7}
    assert layer(torch.randn(2, 5, 8)).shape == (2, 5, 8)


def test_whole_samples_are_kept_at_its_rate():
    torch.manual_seed(0)
    routing = made(rate=0.3)(torch.ones(20000, 3, 8))
    assert torch.equal(routing.keep, routing.keep[:, :1].expand(-1, 3))
    assert routing.keep.float().mean().item() == pytest.approx(0.3, abs=0.015)
    assert torch.equal(routing.gate, routing.keep.float())


def test_eval_is_the_mean():
    routing = made(rate=0.3).eval()(torch.ones(2, 3, 8))
    assert routing.keep is None
    assert (routing.gate == 0.3).all()


def test_a_rate_out_of_range():
    with pytest.raises(fc.errors.InvalidArgumentError, match="rate: got 0"):
        made(rate=0)
