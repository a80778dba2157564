"""The pattern keeps the rules of every pattern, and those of its own."""

import fractal_core as fc
import numpy as np
import pytest
from fractal_attn_koch import Koch
from fractal_core.testing import parametrize


@parametrize(Koch, lambda: Koch(levels=1))
def test_rules_of_every_pattern(check):
    check()


def test_found_by_its_name():
    assert fc.pattern("koch", levels=3) == Koch(levels=3)
    assert fc.patterns.info("koch").origin.startswith("fractal-attn-koch")


def test_three_of_four():
    offsets = Koch().index_set(4**6, causal=True).offsets
    assert all(set(np.base_repr(offset, 4)) <= set("013") for offset in offsets)
    assert offsets.size == 3**6


def test_two_layers_reach_everything():
    assert Koch().index_set(2048, causal=True).reach().layers == 2


def test_levels_out_of_range():
    with pytest.raises(fc.errors.InvalidArgumentError, match="levels: got 0"):
        Koch(levels=0)
