"""The measurements by name, and the run over them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from fractal_core.errors import InvalidArgumentError

from benches.machine import facts, load
from benches.measurements import (
    alone,
    attention,
    curves,
    dense,
    dimension,
    force,
    gpu,
    julia,
    modifiers,
    optim,
    originals,
    predicted,
    rotary,
    scaling,
    soft_julia,
    statistics,
)
from benches.report.results import Crossover, Results, Row
from benches.settings import Settings

__all__ = ["MEASUREMENTS", "Measurement", "Take", "chosen", "run"]

Take = Callable[[Row | Crossover], None]


@dataclass(frozen=True)
class Measurement:
    """One measurement: what it is for people, and the function that yields its rows."""

    title: str
    measure: Callable[[Settings], Iterator[Row | Crossover]]


MEASUREMENTS: Mapping[str, Measurement] = {
    "window-forward": Measurement("a window, forward, against every peer", attention.window_forward),
    "window-training": Measurement("a window, forward + backward", attention.window_training),
    "avx2": Measurement("a window at the AVX2 level, in a process of its own", alone.avx2),
    "random": Measurement("random lists, against gathering in torch", attention.random_lists),
    "ladder": Measurement("a long causal ladder", attention.ladder),
    "dense": Measurement(
        "dense attention with torch's signature, forward + backward, against torch's own", dense.dense
    ),
    "modifiers": Measurement("modifiers of scores over a window, against the plain call", modifiers.modifiers),
    "edge-bias": Measurement("a bias of each edge, against the plain call", modifiers.edge_biases),
    "sets": Measurement("stacks of sets and windows within segments, against one window", modifiers.sets),
    "rotary": Measurement("rotary embedding of queries and keys, against every peer", rotary.rotary),
    "statistics": Measurement("statistics of the weights, against our forward pass", statistics.statistics),
    "force": Measurement("forces over neighbours, against gathering in torch", force.force),
    "dimension": Measurement("box counting, against the peer that counts boxes of attention", dimension.counting),
    "heads": Measurement("dimensions and row statistics of all heads of a model", dimension.heads),
    "model": Measurement("all heads of a model, against the original's call a head", alone.all_heads),
    "optim": Measurement("a step of the optimizers, against torch's own and the transform of a spectrum", optim.optim),
    "memory": Measurement("memory of a training step, in a process of its own", alone.memory),
    "neighbourhood": Measurement("a square neighbourhood of a picture", attention.neighbourhood),
    "threads": Measurement("two threads against one inside a training step", scaling.threads),
    "crossover": Measurement("the length at which sparse beats dense", scaling.crossover),
    "decode": Measurement("one query against a long cache, in a process of its own", alone.decode),
    "slope": Measurement("time by length", scaling.slope),
    "planning": Measurement("planning an index set", scaling.planning),
    "hilbert": Measurement("Hilbert codecs, in paired processes", curves.hilbert),
    "julia": Measurement("Julia fields, in paired processes", julia.julia),
    "soft-julia": Measurement("the soft Julia field with gradients", soft_julia.soft_julia),
    "tutorial": Measurement("the tutorial's own modules by their formulas", originals.originals),
    "predicted": Measurement("predicted against measured time", predicted.predicted),
    "gpu-dispatch": Measurement("one dispatch on the GPU", gpu.dispatch),
    "import": Measurement("the import", alone.import_time),
    "lengths": Measurement("when not to use it: crossovers by pattern, dtype and direction", scaling.lengths),
}


def chosen(only: Sequence[str]) -> list[str]:
    """The names to measure, in order: those asked for, or all.

    Raises:
        InvalidArgumentError: There is no measurement of that name.
    """
    for name in only:
        if name not in MEASUREMENTS:
            raise InvalidArgumentError("only", repr(name), f"one of {', '.join(MEASUREMENTS)}")
    return [name for name in MEASUREMENTS if not only or name in only]


def run(
    settings: Settings,
    only: Sequence[str] = (),
    *,
    begin: Callable[[str], None] | None = None,
    take: Take | None = None,
) -> Results:
    """Measures.

    Args:
        settings: How many rounds.
        only: Names of `MEASUREMENTS`; all of them when empty.
        begin: Called with the name of each measurement before it starts.
        take: Called with each row as it is found.

    Raises:
        InvalidArgumentError: There is no measurement of a name.
    """
    names = chosen(only)
    began = time.perf_counter()
    results = Results({**facts(), "rounds": settings.described})
    for name in names:
        if begin is not None:
            begin(name)
        for found in MEASUREMENTS[name].measure(settings):
            results.take(found)
            if take is not None:
                take(found)
    results.machine["load_after"] = load()
    results.seconds = time.perf_counter() - began
    return results
