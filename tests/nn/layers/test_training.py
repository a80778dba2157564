"""Rotary embedding, FAM, its schedule and a drawn stack train together: the example of the documentation itself."""

import math

import pytest

from examples import train_encoder

torch = pytest.importorskip("torch", reason="the torch extra is not installed")


def test_the_example_learns():
    losses, optimizer = train_encoder.train(60)
    assert losses[0] > math.log(256) - 0.7
    assert sum(losses[-10:]) / 10 < losses[0] - 1.5
    assert all(math.isfinite(loss) for loss in losses)
    assert optimizer.spectra is not None
    assert optimizer.spectra.to_dict()
    assert {group["handler"] for group in optimizer.param_groups} >= {"default", "embedding"}
