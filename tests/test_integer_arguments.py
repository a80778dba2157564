"""One rule for integers: every public argument that takes an int takes NumPy's, too, and takes no bool."""

from __future__ import annotations

import inspect
import pkgutil
import re
from collections.abc import Callable, Iterator
from typing import Any

import fractal_core as fc
import numpy as np
import pytest
from fractal_core import IndexSet, _arguments, curves, fields, sets
from fractal_core.errors import DTypeError
from fractal_core.patterns import check_span, registry

torch = pytest.importorskip("torch", reason="the torch extra is not installed")
nn = fc.nn

POINTS = np.zeros(3, complex)
GRAD = np.ones(3)
IMAGE = torch.ones(1, 4, 4, 1, 2)
TOKENS = torch.ones(1, 1, 4, 2)
MANY = torch.ones(1, 1, 8, 2)
MASK = np.ones((2, 2), dtype=bool)
HELD = IndexSet.from_offsets([0, 1], 8)
ACTS = ("act", "choose_action")
GRID = np.random.default_rng(0).random((40, 40))
SERIES = np.random.default_rng(0).random(200)


def slopes(found: Any) -> np.ndarray:
    """The numbers of a result."""
    return np.asarray(found.values if hasattr(found, "values") else getattr(found, "alpha", found).value)


BARE = type(
    "Bare", (), {"index_set": lambda _self, n, m, *, causal: fc.pattern("dragon").index_set(n, m, causal=causal)}
)


class Bare:
    def index_set(self, n_queries: int, n_keys: int, *, causal: bool) -> IndexSet:
        return fc.pattern("dragon").index_set(n_queries, n_keys, causal=causal)


def cache(capacity: Any = 4) -> Any:
    made = nn.KeyValueCache(capacity)
    made.append(TOKENS, TOKENS, None)
    return made


def stream() -> Any:
    made = nn.MyelinatedCache()
    nn.MyelinatedLayer(4, 2, 1)(torch.ones(1, 2, 4), kv_cache=made)
    return made


def near(axes: int, argument: str) -> Callable[[Any], Any]:
    given = torch.ones(1, *[4] * axes, 1, 2)
    function = getattr(nn, f"na{axes}d")
    return lambda n: function(given, given, given, **{"kernel_size": 3, argument: n})


WEIGHT = torch.nn.Parameter(torch.ones(3))


def grouped(name: str, argument: str) -> Callable[[Any], Any]:
    return lambda n: getattr(fc.optim, name)([WEIGHT], **{argument: n}).param_groups[0][argument]


def scheduled(name: str, argument: str) -> Callable[[Any], Any]:
    """The rates of some steps; other arguments leave room for 5."""
    given = {
        "WarmupPlateauCosine": {"warmup": 2, "total": 9 if argument == "plateau_until" else 6},
        "FAMScheduler": {"warmup_epochs": 2, "max_epochs": 6},
        "FAMScheduler2": {"warmup_steps": 2, "total_steps": 9 if argument == "decay_start_step" else 6},
    }[name]

    def call(n: Any) -> Any:
        sgd = torch.optim.SGD([{"params": [WEIGHT], "initial_lr": 0.1}], lr=0.1)
        schedule = getattr(fc.optim, name)(sgd, **{**given, argument: n})
        found = [sgd.param_groups[0]["lr"]]
        for _ in range(3):
            sgd.step()
            schedule.step()
            found.append(sgd.param_groups[0]["lr"])
        return found

    return call


CALLS: dict[str, tuple[int, Callable[[Any], Any]]] = {
    "curves.dragon_turns n": (4, curves.dragon_turns),
    "curves.dragon_vertices n": (4, curves.dragon_vertices),
    "curves.hilbert_encode order": (4, lambda n: curves.hilbert_encode([[1, 2]], n)),
    "curves.hilbert_decode order": (4, lambda n: curves.hilbert_decode([7], n)),
    "curves.hilbert_decode ndim": (3, lambda n: curves.hilbert_decode([7], 4, n)),
    "curves.hilbert_order shape": (4, lambda n: curves.hilbert_order((n, 3))),
    "curves.morton_encode order": (4, lambda n: curves.morton_encode([[1, 2]], n)),
    "curves.morton_decode order": (4, lambda n: curves.morton_decode([7], n)),
    "curves.morton_decode ndim": (3, lambda n: curves.morton_decode([7], 4, n)),
    "curves.morton_order shape": (4, lambda n: curves.morton_order((n, 4))),
    "sets.cantor_points depth": (4, sets.cantor_points),
    "sets.digit_offsets n": (40, sets.digit_offsets),
    "sets.digit_offsets base": (4, lambda n: sets.digit_offsets(40, n)),
    "sets.digit_offsets digits": (1, lambda n: sets.digit_offsets(40, 3, (0, n))),
    "fields.grid shape": (4, lambda n: fields.grid((n, 3))),
    "fields.julia_escape max_iter": (9, lambda n: fields.julia_escape(POINTS, 0j, n)),
    "fields.julia_escape_vjp max_iter": (9, lambda n: fields.julia_escape_vjp(GRAD, POINTS, 0j, n)),
    "fields.julia_potential max_iter": (9, lambda n: fields.julia_potential(POINTS, 0j, n)),
    "fields.julia_potential_vjp max_iter": (9, lambda n: fields.julia_potential_vjp(GRAD, POINTS, 0j, n)),
    "fields.julia_soft_escape max_iter": (9, lambda n: fields.julia_soft_escape(POINTS, 0j, max_iter=n)),
    "fields.julia_soft_escape_vjp max_iter": (9, lambda n: fields.julia_soft_escape_vjp(GRAD, POINTS, 0j, max_iter=n)),
    "fields.mandelbrot_escape max_iter": (9, lambda n: fields.mandelbrot_escape(POINTS, n)),
    "nn.FractalAttention embed_dim": (252, lambda n: nn.FractalAttention(n, 2, "window").qkv.weight.shape),
    "nn.FractalAttention num_heads": (2, lambda n: nn.FractalAttention(252, n, "window").qkv.weight.shape),
    "nn.FractalAttention num_kv_heads": (
        84,
        lambda n: nn.FractalAttention(252, 84, "window", num_kv_heads=n).qkv.weight.shape,
    ),
    "nn.FractalAttention.prepare n_queries": (4, lambda n: nn.FractalAttention(4, 2, "window").prepare(n)),
    "nn.FractalAttention.prepare n_keys": (4, lambda n: nn.FractalAttention(4, 2, "window").prepare(2, n)),
    **{
        f"nn.FractalConfig {name}": (7, lambda n, name=name: nn.FractalConfig(**{name: n}))
        for name in (
            "hilbert_window_size",
            "hilbert_order",
            "cantor_depth",
            "cantor_num_scales",
            "dragon_iterations",
            "julia_iterations",
        )
    },
    "nn.KeyValueCache capacity": (4, lambda n: len(cache(n))),
    "nn.KeyValueCache.truncate length": (3, lambda n: cache().truncate(n)),
    "nn.KeyValueCache.reorder rows": (0, lambda n: cache().reorder([n])),
    "nn.KeyValueCache.repeat times": (2, lambda n: cache().repeat(n)),
    **{
        f"nn.{name} {argument}": (
            {"dims": 252, "embed_dim": 252, "head_dim": 3, "hops": 3, "max_dist": 9}.get(argument, 7),
            lambda n, name=name, argument=argument, needed=needed: repr(
                getattr(nn, name)(**{**{a: {"dims": 252, "embed_dim": 252}.get(a, 7) for a in needed}, argument: n})
            ),
        )
        for name, needed, optional in (
            ("ActRouter", ("dims",), ()),
            ("AlwaysRouter", ("dims",), ()),
            ("GumbelRouter", ("dims",), ()),
            ("KeyUpdate", ("dims", "kv_heads", "head_dim"), ()),
            ("KeyUpdateAttention", ("embed_dim", "num_heads"), ("num_kv_heads",)),
            ("MyelinatedLayer", ("dims", "head"), ("layerA", "max_dist")),
            ("PonderRouter", ("dims",), ()),
            ("TopKRouter", ("dims",), ()),
            ("WorkingMemory", ("dims",), ()),
            ("WormAttention", ("dims", "head"), ("segments", "hops")),
        )
        for argument in (*needed, *optional)
    },
    "nn.MyelinatedCache capacity": (4, lambda n: len(nn.MyelinatedCache(n))),
    "nn.MyelinatedCache.reorder rows": (0, lambda n: len(stream().reorder([n]) or "")),
    "nn.NumericalStability.stable_softmax dim": (1, lambda n: nn.NumericalStability.stable_softmax(IMAGE[0, 0, 0], n)),
    **{
        f"nn.na{axes}d {argument}": (1, near(axes, argument))
        for axes in (1, 2, 3)
        for argument in ("kernel_size", "stride", "dilation")
    },
    "nn.CompactRotation dim": (8, lambda n: nn.CompactRotation(n).pairs),
    "nn.CompactRotation rot_pairs": (3, lambda n: nn.CompactRotation(8, [(0, n)]).pairs),
    "nn.CompactRotation rot_count": (2, lambda n: nn.CompactRotation(8, rot_count=n).pairs),
    "nn.CompactRotation.q_rotate axis_idx": (1, lambda n: nn.CompactRotation.q_rotate(torch.ones(3), 0.5, n)),
    "nn.CompactRotation.q_rotate dims": (3, lambda n: nn.CompactRotation.q_rotate(torch.ones(3), 0.5, 1, n)),
    "nn.RotaryEmbedding dim": (8, lambda n: repr(nn.RotaryEmbedding(n))),
    **{
        f"nn.RotaryEmbedding {name}": (2, lambda n, name=name: repr(nn.RotaryEmbedding(8, **{name: n})))
        for name in ("n_axes", "num_freqs", "proj_dim", "rot_count", "rotary_dim")
    },
    "nn.RotaryEmbedding.forward offset": (3, lambda n: nn.RotaryEmbedding(2)(TOKENS, TOKENS, offset=n)[0]),
    "nn.RotaryEmbedding.rotate offset": (3, lambda n: nn.RotaryEmbedding(2).rotate(TOKENS, offset=n)),
    "nn.RotaryMode dim": (4, lambda n: nn.RotaryMode(n).dim),
    "nn.givens_apply pairs": (1, lambda n: nn.givens_apply(torch.ones(2), [(0, n)], torch.ones(1))),
    "nn.grid_positions shape": (3, lambda n: nn.grid_positions((n, 2))),
    "nn.rotate_by start_index": (2, lambda n: nn.rotate_by(torch.ones(8), torch.ones(2), start_index=n)),
    **{
        f"nn.NeighborhoodAttention{axes}D {argument}": (
            {"embed_dim": 252, "num_heads": 7}.get(argument, 3),
            lambda n, axes=axes, argument=argument: repr(
                getattr(nn, f"NeighborhoodAttention{axes}D")(
                    **{"embed_dim": 252, "num_heads": 7, "kernel_size": 3, argument: n}
                )
            ),
        )
        for axes in (1, 2, 3)
        for argument in ("embed_dim", "num_heads", "kernel_size", "stride", "dilation")
    },
    **{
        f"nn.attention max_seqlen_{side}": (
            4,
            lambda n, side=side: nn.attention(
                *[TOKENS.transpose(1, 2)] * 3,
                **{f"cumulative_seqlen_{s}": torch.tensor([0, 4]) for s in ("Q", "KV")},
                **{f"max_seqlen_{side}": n},
            ),
        )
        for side in ("Q", "KV")
    },
    "nn.sparse_attention q_offset": (
        3,
        lambda n: nn.sparse_attention(TOKENS, *[TOKENS.repeat(1, 1, 2, 1)] * 2, HELD, q_offset=n),
    ),
    "nn.attention_stats q_offset": (
        3,
        lambda n: nn.attention_stats(TOKENS, TOKENS.repeat(1, 1, 2, 1), HELD, q_offset=n).entropy,
    ),
    "nn.force_attention q_offset": (
        3,
        lambda n: nn.force_attention(TOKENS, *[TOKENS.repeat(1, 1, 2, 1)] * 2, TOKENS[0, :, 0], HELD, q_offset=n),
    ),
    **{
        f"nn.RelativeForce {name}": (
            value,
            lambda n, name=name: repr(nn.RelativeForce(**{"dims": 252, "heads": 2, name: n})),
        )
        for name, value in (("dims", 252), ("heads", 84), ("hop_levels", 2))
    },
    "nn.RelativeForce.prepare length": (4, lambda n: nn.RelativeForce(4, 2, pattern="window").prepare(n)),
    **{
        f"nn.CurveNeighbors {name}": (2, lambda n, name=name: nn.CurveNeighbors(**{name: n}))
        for name in ("neighbors", "window", "global_tokens", "axes", "bits", "blocks")
    },
    "nn.AdaptiveSpan dims": (252, lambda n: nn.AdaptiveSpan(n, 2).q.weight.shape),
    "nn.AdaptiveSpan head": (84, lambda n: nn.AdaptiveSpan(252, n).span().shape),
    "nn.AdaptiveSpan max_dist": (9, lambda n: nn.AdaptiveSpan(4, 2, n).span.max_span),
    "nn.AdaptiveSpan.forward max_dist": (
        1,
        lambda n: nn.AdaptiveSpan(2, 1, 3, project=False)(MANY[0].cumsum(1), max_dist=n),
    ),
    "nn.AdaptiveSpan.prepare n_queries": (4, lambda n: nn.AdaptiveSpan(4, 2).prepare(n)),
    "nn.AdaptiveSpan.prepare n_keys": (4, lambda n: nn.AdaptiveSpan(4, 2).prepare(2, n)),
    "nn.EncoderLayerConfig dims": (252, lambda n: nn.EncoderLayerConfig(n, 2)),
    "nn.EncoderLayerConfig head": (84, lambda n: nn.EncoderLayerConfig(252, n)),
    "nn.EncoderLayerConfig mlp_ratio": (3, lambda n: nn.EncoderLayerConfig(4, 2, mlp_ratio=n)),
    **{
        f"nn.IntegratedAttention {name}": (
            value,
            lambda n, name=name: repr(
                nn.IntegratedAttention(
                    **{"dims": 252, "head": 2, "max_dist": 99, "win_size": 5, "max_span": 9, name: n}
                )
            ),
        )
        for name, value in (
            ("dims", 252),
            ("head", 84),
            ("max_dist", 50),
            ("win_size", 7),
            ("max_span", 12),
            ("stride", 3),
            ("steps", 2),
        )
    },
    "nn.IntegratedAttention.choose_preset state": (
        1,
        lambda n: nn.IntegratedAttention(4, 2, refiner=nn.Refiner(2, 3)).choose_preset(n),
    ),
    "nn.IntegratedAttention.use_preset preset": (1, lambda n: nn.IntegratedAttention(4, 2).use_preset(n)),
    "nn.Predictor dims": (4, lambda n: nn.Predictor(n).linear.weight.shape),
    "nn.Predictor outputs": (4, lambda n: nn.Predictor(4, outputs=n).linear.weight.shape),
    "nn.Refiner states": (4, lambda n: nn.Refiner(n, 2).q.shape),
    "nn.Refiner actions": (4, lambda n: nn.Refiner(2, n).q.shape),
    "nn.Refiner default": (3, lambda n: nn.Refiner(2, 9, default=n).default),
    "nn.Refiner seed": (3, lambda n: nn.Refiner(2, 999, epsilon=1.0, seed=n).act(0)),
    **{f"nn.Refiner.{name} state": (1, lambda n, name=name: getattr(nn.Refiner(2, 9), name)(n)) for name in ACTS},
    **{
        f"nn.Refiner.{name} {argument}": (
            1,
            lambda n, name=name, argument=argument: getattr(nn.Refiner(2, 2), name)(
                **{"state": 0, "action": 0, "reward": 1.0, argument: n}
            ),
        )
        for name in ("observe", "update")
        for argument in ("state", "action", "next_state")
    },
    **{
        f"nn.Residual {name}": (value, lambda n, name=name: repr(nn.Residual(**{"dims": 252, "head": 2, name: n})))
        for name, value in (("dims", 252), ("head", 84), ("ctx", 5), ("layer_idx", 5), ("mlp_ratio", 2))
    },
    **{
        f"nn.SlidingWindowAttention {name}": (
            value,
            lambda n, name=name: (
                nn.SlidingWindowAttention(**{"dims": 252, "head": 6, "num_kv_heads": 3, name: n}).widths
            ),
        )
        for name, value in (("dims", 252), ("head", 12), ("window", 5), ("scales", 3), ("num_kv_heads", 2))
    },
    **{
        f"nn.{name}.prepare {argument}": (
            4,
            lambda n, name=name, argument=argument: getattr(nn, name)(4, 2).prepare(**{"n_queries": 2, argument: n}),
        )
        for name in ("IntegratedAttention", "Residual")
        for argument in ("n_queries", "n_keys", "n_source")
    },
    "nn.Span heads": (4, lambda n: nn.Span(n, 9).heads),
    "nn.Span max_span": (4, lambda n: nn.Span(2, n).max_span),
    "nn.create_encoder_layers num_layers": (2, lambda n: nn.create_encoder_layers(n, 8).configs),
    "nn.create_encoder_layers dims": (8, lambda n: nn.create_encoder_layers(1, n).configs),
    "nn.create_encoder_layers seed": (2, lambda n: nn.create_encoder_layers(1, 8, seed=n).configs),
    "nn.sample_encoder_config num_layers": (2, lambda n: nn.sample_encoder_config(n, 8, 0)),
    "nn.sample_encoder_config dims": (8, lambda n: nn.sample_encoder_config(2, n, 0)),
    "nn.sample_encoder_config seed": (2, lambda n: nn.sample_encoder_config(2, 8, n)),
    "nn.sample_encoder_config heads": (2, lambda n: nn.sample_encoder_config(2, 8, 0, heads=(n,))),
    "nn.sample_encoder_config mlp_ratios": (2, lambda n: nn.sample_encoder_config(2, 8, 0, mlp_ratios=(n,))),
    "nn.slide_win win_size": (2, lambda n: nn.slide_win(MANY[0].cumsum(1), n)),
    "nn.slide_win heads": (2, lambda n: nn.slide_win(MANY[0].cumsum(1), 3, heads=n)),
    "patterns.Pattern.index_set n_queries": (4, lambda n: nn.patterns.resolve(Bare()).index_set(n)),
    "patterns.Pattern.index_set n_keys": (4, lambda n: nn.patterns.resolve(Bare()).index_set(2, n)),
    "patterns.PatternBase.report n_queries": (4, lambda n: fc.pattern("window").report(n)),
    "patterns.PatternBase.report n_keys": (4, lambda n: fc.pattern("window").report(2, n)),
    "patterns.check_span n_queries": (4, lambda n: check_span(n, None)),
    "patterns.check_span n_keys": (4, lambda n: check_span(2, n)),
    "IndexSet.from_csr n_keys": (4, lambda n: IndexSet.from_csr([0, 1], [0], n)),
    "IndexSet.from_offsets n": (4, lambda n: IndexSet.from_offsets([0], n)),
    "IndexSet.from_offsets n_keys": (4, lambda n: IndexSet.from_offsets([0], 4, n)),
    "IndexSet.from_offsets q_offset": (4, lambda n: IndexSet.from_offsets([0], 4, 8, n)),
    "IndexSet.from_padded n_keys": (4, lambda n: IndexSet.from_padded([[0]], n)),
    "IndexSet.from_segments window": (4, lambda n: IndexSet.from_segments([0, 8], window=n)),
    "patterns.PerHead.index_set n_queries": (4, lambda n: fc.patterns.per_head(["window"]).index_set(n)),
    "patterns.PerHead.index_set n_keys": (4, lambda n: fc.patterns.per_head(["window"]).index_set(2, n)),
    "patterns.PerHead.bias n_keys": (4, lambda n: fc.patterns.per_head(["window"]).bias(n)),
    "IndexSet.from_runs n_keys": (4, lambda n: IndexSet.from_runs([0, 1], [0], [2], n)),
    "IndexSet.from_blocks block_size": (200, lambda n: IndexSet.from_blocks(MASK, n)),
    "IndexSet.from_blocks n_queries": (3, lambda n: IndexSet.from_blocks(MASK, 2, n)),
    "IndexSet.from_blocks n_keys": (3, lambda n: IndexSet.from_blocks(MASK, 2, 3, n)),
    "IndexSet.to_block_mask block_size": (4, lambda n: HELD.to_block_mask(n).shape),
    "IndexSet.reach layers": (4, HELD.reach),
    "IndexSet.report layers": (4, HELD.report),
    "IndexSet.report heads": (4, lambda n: HELD.report(heads=n)),
    "IndexSet.report head_dim": (4, lambda n: HELD.report(head_dim=n)),
    "IndexSet.report threads": (4, lambda n: HELD.report(threads=n)),
    "IndexSet.causal q_offset": (4, HELD.causal),
    "IndexSet.rows start": (4, lambda n: HELD.rows(n, 8)),
    "IndexSet.rows stop": (4, lambda n: HELD.rows(0, n)),
    "IndexSet.prefix n_queries": (4, HELD.prefix),
    "IndexSet.prefix n_keys": (4, lambda n: HELD.prefix(4, n)),
    "IndexSet.with_order order": (0, lambda n: IndexSet.from_offsets([0], 1).with_order([n])),
    **{
        f"patterns.{name} {argument}": (n, lambda n, name=name, argument=argument: fc.pattern(name, **{argument: n}))
        for name, argument, n in (
            ("cantor", "base", 4),
            ("cantor_samples", "depth", 4),
            ("dragon", "radius", 4),
            ("hilbert", "window", 5),
            ("julia", "window", 4),
            ("julia", "neighbours", 4),
            ("julia", "max_iter", 4),
            ("neighborhood", "kernel_size", 4),
            ("neighborhood", "stride", 4),
            ("neighborhood", "dilation", 4),
            ("random", "k", 4),
            ("random", "seed", 4),
            ("window", "radius", 4),
        )
    },
    "dimension.FractalInterpolation.graph levels": (
        2,
        lambda n: fc.dimension.FractalInterpolation([0, 1, 2], [0, 1, 0], 0.5).graph(n)[1],
    ),
    "dimension.box_dimension origins": (1, lambda n: fc.dimension.box_dimension(GRID > 0.5, origins=[(0, n)]).value),
    **{
        f"dimension.{name} scales": (
            16,
            lambda n, name=name: slopes(getattr(fc.dimension, name)(SERIES, scales=[8, n])),
        )
        for name in ("dfa", "mfdfa")
    },
    **{
        f"dimension.{name} scales": (
            4,
            lambda n, name=name: slopes(
                getattr(fc.dimension, name)(GRID > 0.5 if name == "box_dimension" else GRID, scales=[2, n])
            ),
        )
        for name in (
            "box_dimension",
            "differential_box_dimension",
            "lacunarity",
            "madogram",
            "renyi_dimension",
            "singularity_spectrum",
            "variogram",
        )
    },
    "dimension.surface_mfdfa scales": (8, lambda n: slopes(fc.dimension.surface_mfdfa(GRID, scales=[4, n]))),
    "dimension.correlation_dimension theiler": (
        2,
        lambda n: slopes(fc.dimension.correlation_dimension(GRID, theiler=n)),
    ),
    "dimension.correlation_sum theiler": (2, lambda n: fc.dimension.correlation_sum(GRID, [1.0, 2.0], theiler=n)),
    "dimension.dfa order": (2, lambda n: slopes(fc.dimension.dfa(SERIES, order=n))),
    "dimension.mfdfa order": (2, lambda n: slopes(fc.dimension.mfdfa(SERIES, order=n))),
    "dimension.surface_mfdfa order": (2, lambda n: slopes(fc.dimension.surface_mfdfa(GRID, order=n))),
    "dimension.higuchi_dimension kmax": (8, lambda n: slopes(fc.dimension.higuchi_dimension(SERIES, kmax=n))),
    "dimension.interpolated_rows every": (4, lambda n: fc.dimension.interpolated_rows(GRID, every=n)),
    "dimension.position_weights n": (4, fc.dimension.position_weights),
    **{
        f"dimension.row_statistics {name}": (
            4,
            lambda n, name=name: getattr(
                fc.dimension.row_statistics(GRID, **{name: n}),
                {"top_k": "top_k_mass", "sinks": "sink", "local": "local"}[name],
            ),
        )
        for name in ("top_k", "sinks", "local")
    },
    **{
        f"optim.{name} {argument}": (4, grouped(name, argument))
        for name, arguments in {
            "FAM": ("n_bands", "fam_start_step", "min_size", "update_every"),
            "FAMAdamW": ("n_bands", "fam_start_step", "min_size", "update_every"),
            "FAMOptimizer": ("n_bands", "fam_start_step", "min_size"),
            "SimpleFAM": ("fam_start_step",),
        }.items()
        for argument in arguments
    },
    "optim.FAMOptimizer debug_interval": (
        4,
        lambda n: fc.optim.FAMOptimizer([WEIGHT], debug_interval=n).param_groups[0]["lr"],
    ),
    "optim.Spectra every": (2, lambda n: fc.optim.Spectra(fc.optim.FAM([WEIGHT]), every=n).names()),
    "optim.FrequencyHandler.analyze n_bands": (
        3,
        lambda n: fc.optim.FrequencyHandler().analyze(torch.arange(9.0).sin(), n),
    ),
    "optim.band_edges n_bins": (9, lambda n: fc.optim.band_edges(n, 3)),
    "optim.band_edges n_bands": (3, lambda n: fc.optim.band_edges(9, n)),
    **{
        f"optim.{name} {argument}": (5, scheduled(name, argument))
        for name, arguments in {
            "WarmupPlateauCosine": ("warmup", "total", "plateau_until", "last_epoch"),
            "FAMScheduler": ("warmup_epochs", "max_epochs", "last_epoch"),
            "FAMScheduler2": ("warmup_steps", "total_steps", "decay_start_step", "last_epoch"),
        }.items()
        for argument in arguments
    },
    "patterns.cantor digits": (1, lambda n: fc.pattern("cantor", digits=(0, n))),
    "patterns.hilbert shape": (4, lambda n: fc.pattern("hilbert", shape=(n, 4))),
    "patterns.neighborhood shape": (16, lambda n: fc.pattern("neighborhood", shape=(n, 16))),
    **{
        f"patterns.{name}.index_set {argument}": (
            256 if name == "neighborhood" else 4,
            lambda n, name=name, argument=argument: fc.pattern(name).index_set(
                **{"n_queries": 2 if argument == "n_keys" else n, argument: n}
            ),
        )
        for name in registry.BUILTIN
        for argument in ("n_queries", "n_keys")
    },
}

INNER = re.compile(
    r"nn\.\w+Attention\.(edges|samples|log_bias|neighbours) "  # steps of the tutorial's forward passes
    r"|nn\.\w+Scaling\.frequencies "  # asked by an embedding, which has counted them
    r"|dimension\.Partition cuts|nn\.Routing at_most"  # of a result
    r"|nn\.MyelinatedCache\.begun "  # asked by a layer, which has counted its layers
    r"|nn\.\w+_encoder\w* rotary"  # a function of an int
    r"|patterns\.(Pattern|PatternBase)\.bias |patterns\.PatternBase\.index_set "  # written by authors, checked before
)


def public() -> Iterator[str]:
    """Every public function and method with each of its arguments that may be an int, by its annotation."""
    found: dict[str, Any] = {"IndexSet": IndexSet}
    for module in (curves, sets, fields, nn, fc.optim, fc.patterns, fc.dimension):
        found |= {f"{module.__name__.removeprefix('fractal_core.')}.{n}": getattr(module, n) for n in module.__all__}
    found |= {f"patterns.{name}": pkgutil.resolve_name(target) for name, target in registry.BUILTIN.items()}
    for name, thing in list(found.items()):
        if inspect.isclass(thing):
            methods = {n: getattr(m, "__func__", m) for n, m in vars(thing).items() if not n.startswith("_")}
            found |= {f"{name}.{n}": m for n, m in methods.items() if inspect.isfunction(m)}
    for name, thing in found.items():
        if inspect.isclass(thing) or inspect.isfunction(thing):
            for argument in inspect.signature(thing).parameters.values():
                if re.search(r"\b(int|SupportsIndex)\b", str(argument.annotation)):
                    yield f"{name} {argument.name}"


def test_the_table_has_every_public_argument_that_takes_an_int():
    assert {name for name in public() if not INNER.match(name)} == set(CALLS)


def plain(value: Any) -> str:
    """What tells two results apart."""
    return repr(value.tolist() if isinstance(value, np.ndarray | torch.Tensor) else value)


@pytest.mark.parametrize("kind", [np.int64, np.uint8])
@pytest.mark.parametrize("name", CALLS)
def test_numpy_integers_are_taken(name: str, kind: type[np.integer]):
    value, call = CALLS[name]
    if value > np.iinfo(kind).max:
        kind = np.uint16
    assert plain(call(kind(value))) == plain(call(value))


@pytest.mark.parametrize("value", [True, np.True_, np.array(True), torch.tensor(True)], ids=repr)
@pytest.mark.parametrize("name", CALLS)
def test_bools_are_refused_by_name(name: str, value: object):
    with pytest.raises(DTypeError) as caught:
        CALLS[name][1](value)
    assert caught.value.argument == name.rpartition(" ")[2]


@pytest.mark.parametrize("words", ["5", "nan", b"5", bytearray(b"5")])
def test_numbers_in_words_are_no_numbers(words):
    for read in (_arguments.real, _arguments.complex_number):
        with pytest.raises(DTypeError, match="ratio"):
            read("ratio", words)
