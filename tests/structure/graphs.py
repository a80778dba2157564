"""Circles in a graph of imports."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

__all__ = ["circles", "folded"]

Node = TypeVar("Node")
Folder = TypeVar("Folder")


def circles(graph: Mapping[Node, Iterable[Node]]) -> list[list[Node]]:
    """Every set of nodes that all reach each other, by R. Tarjan's algorithm (1972)."""
    index: dict[Node, int] = {}
    low: dict[Node, int] = {}
    stack: list[Node] = []
    found: list[list[Node]] = []

    def visit(node: Node) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in graph.get(node, ()):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            at = stack.index(node)
            if len(stack) - at > 1:
                found.append(stack[at:])
            del stack[at:]

    for node in graph:
        if node not in index:
            visit(node)
    return found


def folded(graph: Mapping[Node, Iterable[Node]], folder: Callable[[Node], Folder]) -> dict[Folder, set[Folder]]:
    """The graph between folders."""
    between: dict[Folder, set[Folder]] = {}
    for node, others in graph.items():
        here = between.setdefault(folder(node), set())
        here |= {folder(other) for other in others} - {folder(node)}
    return between
