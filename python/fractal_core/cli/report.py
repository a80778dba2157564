"""`fractal-core patterns NAME`: what one pattern costs and reaches at a length."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from fractal_core import patterns
from fractal_core.cli.console import bytes_text, console, facts, print_json
from fractal_core.cli.failures import blamed
from fractal_core.errors import InvalidArgumentError
from fractal_core.patterns.spec import parameter

__all__ = ["parameters", "report", "show_report"]


def show_report(text: str, params: Sequence[str], *, n: int, causal: bool, layers: int, as_json: bool) -> None:
    """Prints what a pattern costs and reaches at a length."""
    found = report(text, parameters(params), n=n, causal=causal, layers=layers)
    if as_json:
        print_json(found)
        return
    reach: dict[str, Any] = found["reach"]
    shares: list[float] = reach["shares"]
    ends = f"more than {layers}" if len(shares) >= layers else f"never: it stays at {shares[-1]:.1%}"
    whole = f"{reach['layers']}" if reach["layers"] else ends
    stable = "yes" if found["prefix_stable"] else "no: a longer sequence changes the keys of earlier positions"
    rows: dict[str, object] = {
        "length": f"{n} queries and keys{', causal' if causal else ''}",
        "keys per query": f"{found['keys_mean']:.1f} mean, {found['keys_max']} at most",
        "edges": f"{found['edges']} ({found['density']:.2%} of all pairs)",
        "edges in tiles": _tiles(found),
        "index memory": "unknown" if found["index_bytes"] is None else bytes_text(found["index_bytes"]),
        "layers to full reach": whole,
        "reach by layer": "  ".join(f"{share:.1%}" for share in shares),
        "prefix stable": stable,
        "built in": f"{found['build_ms']:.1f} ms",
    }
    console().print(facts(found["pattern"], rows))


def _tiles(found: dict[str, Any]) -> str:
    if found["tile_share"] is None:
        return "unknown"
    fill = "" if found["tile_fill"] is None else f", tiles filled to {found['tile_fill']:.1%}"
    return f"{found['tile_share']:.1%}{fill}"


def report(text: str, params: Mapping[str, object], *, n: int, causal: bool, layers: int) -> dict[str, Any]:
    """What a pattern costs and reaches, as plain values.

    Args:
        text: Name of a pattern, or a specification; parameters go with a name only.
        params: Parameters of a named pattern.
        n: Queries and keys, at least 1.
        causal: Leave out the keys after each query.
        layers: Layers to follow the reach over, at least 1.

    Raises:
        PluginError: An unknown name, or a plug-in that did not load.
        InvalidArgumentError: A parameter, the length or the layers out of range.
    """
    if params and text not in patterns.names():
        raise InvalidArgumentError("param", ", ".join(params), "a name as PATTERN; a specification holds its own")
    with blamed(text):
        pattern = patterns.create(text, **params)
        began = time.perf_counter()
        found = pattern.index_set(n, n, causal=causal)
        took = time.perf_counter() - began
        cost = found.report()
    reach = found.reach(layers)
    return {
        "pattern": pattern.spec,
        "n": n,
        "causal": causal,
        "edges": found.nnz,
        "density": found.nnz / (n * (n + 1) / 2 if causal else n * n),
        "keys_mean": cost.keys_mean,
        "keys_max": cost.keys_max,
        "tile_share": cost.tile_share,
        "tile_fill": cost.tile_fill,
        "index_bytes": cost.index_bytes,
        "reach": {"layers": reach.layers, "shares": [float(share) for share in reach.shares]},
        "prefix_stable": not pattern.length_dependent,
        "build_ms": took * 1e3,
    }


def parameters(words: Sequence[str]) -> dict[str, object]:
    """Parameters from `key=value` words; values are Python literals, `32x32` a shape, anything else text."""
    params: dict[str, object] = {}
    for word in words:
        found = parameter(word)
        if found is None or found[0] in params:
            raise InvalidArgumentError("param", repr(word), "key=value, such as radius=32, each key once")
        params[found[0]] = found[1]
    return params
