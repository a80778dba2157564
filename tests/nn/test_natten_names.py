"""The names that NATTEN 0.21.7 gives its functions' and modules' arguments, in order, with its defaults."""

from __future__ import annotations

import inspect

import fractal_core as fc
import pytest
import torch

RULES = {"kernel_size": inspect.Parameter.empty, "stride": 1, "dilation": 1, "is_causal": False}
PERFORMANCE = {
    "backward_use_pt_reduction": False,
    "run_persistent_kernel": True,
    "kernel_schedule": None,
    "torch_compile": False,
}
TENSORS = dict.fromkeys(("query", "key", "value"), inspect.Parameter.empty)
SHAPES = ("backend", "q_tile_shape", "kv_tile_shape", "backward_q_tile_shape", "backward_kv_tile_shape")
SIZES = ("backend", "q_tile_size", "kv_tile_size", "backward_q_tile_size", "backward_kv_tile_size")
LENGTHS = (
    "seqlens_Q", "seqlens_KV", "cumulative_seqlen_Q", "cumulative_seqlen_KV", "max_seqlen_Q", "max_seqlen_KV",
)  # fmt: skip
NEIGHBOURS = {
    **TENSORS,
    **RULES,
    **dict.fromkeys(("scale", "additional_keys", "additional_values", "attention_kwargs", *SHAPES)),
    "backward_kv_splits": None,
    **PERFORMANCE,
    "return_lse": False,
}
LAYER = {
    "embed_dim": inspect.Parameter.empty,
    "num_heads": inspect.Parameter.empty,
    **RULES,
    "qkv_bias": True,
    "qk_scale": None,
    "proj_drop": 0.0,
}
NAMES = {
    "na1d": NEIGHBOURS,
    "na2d": NEIGHBOURS,
    "na3d": NEIGHBOURS,
    "attention": {
        **TENSORS,
        "is_causal": False,
        **dict.fromkeys(("scale", *LENGTHS, *SIZES, "backward_kv_splits")),
        **PERFORMANCE,
        "return_lse": False,
    },
    "merge_attentions": {
        "outputs": inspect.Parameter.empty,
        "lse_tensors": inspect.Parameter.empty,
        "torch_compile": True,
        "use_autograd_fix": True,
    },
    "NeighborhoodAttention1D": LAYER,
    "NeighborhoodAttention2D": LAYER,
    "NeighborhoodAttention3D": LAYER,
}


@pytest.mark.parametrize("name", NAMES)
def test_arguments(name):
    ours = inspect.signature(getattr(fc.nn, name)).parameters.values()
    named = {p.name: p.default for p in ours if p.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD}
    assert list(named.items()) == list(NAMES[name].items())
    assert {p.name for p in ours} - named.keys() <= {"device"}


SPEED = {
    "backend": "cutlass-fna",
    "backward_use_pt_reduction": True,
    "run_persistent_kernel": False,
    "kernel_schedule": "pp",
    "torch_compile": True,
}


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_what_chooses_natten_kernels_is_without_effect(axes):
    function = getattr(fc.nn, f"na{axes}d")
    x, more = torch.randn(1, *(5,) * axes, 2, 4), torch.randn(1, 3, 2, 4)
    tiles = dict.fromkeys((*SHAPES[1:], "backward_kv_splits"), (8,) * axes)
    keywords = {"backend": "flex-fmha", "torch_compile": True, "q_tile_size": 64}
    expected = function(x, x, x, 3, additional_keys=more, additional_values=more)
    got = function(
        x, x, x, 3, additional_keys=more, additional_values=more, attention_kwargs=keywords, **SPEED, **tiles
    )
    torch.testing.assert_close(got, expected, rtol=0, atol=0)


def test_what_chooses_natten_kernels_is_without_effect_when_dense():
    x = torch.randn(1, 6, 2, 4)
    got = fc.nn.attention(x, x, x, **SPEED, **dict.fromkeys((*SIZES[1:], "backward_kv_splits"), 64))
    torch.testing.assert_close(got, fc.nn.attention(x, x, x), rtol=0, atol=0)
