"""Routers: which tokens a layer computes, learned; built in, from plug-ins, or registered here (docs/routing.md)."""

from __future__ import annotations

from torch import nn

from fractal_core._registry import Registry
from fractal_core.nn.routing.always import AlwaysRouter
from fractal_core.nn.routing.gumbel import GumbelRouter
from fractal_core.nn.routing.halting import ActRouter, PonderRouter
from fractal_core.nn.routing.protocol import Router, Routing
from fractal_core.nn.routing.topk import TopKRouter

__all__ = ["ActRouter", "AlwaysRouter", "GumbelRouter", "PonderRouter", "Router", "Routing", "TopKRouter", "routers"]

routers: Registry[nn.Module] = Registry(
    "router",
    "fractal_core.routers",
    {
        "act": "fractal_core.nn.routing.halting:ActRouter",
        "always": "fractal_core.nn.routing.always:AlwaysRouter",
        "gumbel": "fractal_core.nn.routing.gumbel:GumbelRouter",
        "ponder": "fractal_core.nn.routing.halting:PonderRouter",
        "topk": "fractal_core.nn.routing.topk:TopKRouter",
    },
    accept=lambda made: isinstance(made, nn.Module),
    must_be="an nn.Module that routes as fractal_core.nn.Router says",
)
