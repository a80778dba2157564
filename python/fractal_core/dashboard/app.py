"""The application: what it shows and how it answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from fractal_core.analysis import AttentionMaps, FractalAttentionAnalyzer, Table, measure
from fractal_core.analysis.export import csv_text
from fractal_core.analysis.maps import LayerMaps
from fractal_core.analysis.shuffles import shuffle_test
from fractal_core.dashboard import figures
from fractal_core.dashboard.tiles import tile
from fractal_core.dimension import EdgeWeights, renyi_dimension
from fractal_core.errors import FractalError, InvalidArgumentError

__all__ = ["create_app", "load", "serve"]

MEASURES = ("D0", "D1", "D2", "normalized_entropy", "gini", "column_gini", "sink", "previous", "local", "distance")
_DRAWS = 49


@dataclass
class _Shown:
    """What the page shows: one model's attention, or two."""

    maps: list[AttentionMaps | None] = field(default_factory=lambda: [None, None])
    tables: list[Table | None] = field(default_factory=lambda: [None, None])

    def put(self, place: int, maps: AttentionMaps) -> None:
        self.maps[place], self.tables[place] = maps, measure(maps, MEASURES)

    def first(self) -> tuple[AttentionMaps, Table]:
        maps, table = self.maps[0], self.tables[0]
        if maps is None or table is None:
            raise InvalidArgumentError("maps", None, "attention: load a file or a model first")
        return maps, table


def _dash() -> Any:  # noqa: ANN401
    try:
        return import_module("dash")
    except ImportError as error:
        raise ImportError('the dashboard needs dash: pip install "fractal-attn[dashboard]"') from error


def load(source: str, text: str | None = None) -> AttentionMaps:
    """Attention from an NPZ file, or from a model by name or folder and a text.

    Raises:
        InvalidArgumentError: No such file or model, or a model without a text.
    """
    if Path(source).suffix == ".npz":
        return AttentionMaps.load(source)
    if not text:
        raise InvalidArgumentError("text", text, "a text, for a model")
    return FractalAttentionAnalyzer(source).maps(text)


def create_app(maps: AttentionMaps | None = None, other: AttentionMaps | None = None) -> Any:  # noqa: ANN401
    """A Dash application.

    Args:
        maps: What it shows at first; nothing until the page loads something.
        other: A second model's attention, to be compared.

    Returns:
        A `dash.Dash`, whose `server` any WSGI server runs. Everything it needs comes with it: no page is fetched.

    Raises:
        ImportError: dash is not installed.
    """
    dash = _dash()
    shown = _Shown()
    for place, given in enumerate((maps, other)):
        if given is not None:
            shown.put(place, given)
    app = dash.Dash("fractal_core", title="Attention", serve_locally=True, update_title=None)
    app.layout = _layout(dash, shown)
    _answer_loading(app, dash, shown)
    _answer_heads(app, dash, shown)
    return app


def _layout(dash: Any, shown: _Shown) -> Any:  # noqa: ANN401
    html, dcc = dash.html, dash.dcc
    controls = [
        html.H1("Attention, head by head"),
        html.P("Click a head; drag over its matrix to zoom, double-click to see all of it."),
        html.Div(
            [
                dcc.Input(id="source", placeholder="model name, folder, or maps.npz", style={"width": "22em"}),
                dcc.Input(id="text", placeholder="text for a model", style={"width": "28em"}),
                dcc.Dropdown(
                    [{"label": "first", "value": 0}, {"label": "second", "value": 1}],
                    0,
                    id="place",
                    clearable=False,
                    style={"width": "8em"},
                ),
                html.Button("Load", id="load"),
            ],
            style={"display": "flex", "gap": "0.5em"},
        ),
        html.P(_about(shown), id="about"),
        html.Div(
            [
                dcc.Dropdown(list(MEASURES), "D1", id="measure", clearable=False, style={"width": "16em"}),
                dcc.Checklist([{"label": "compare with the second", "value": "compare"}], [], id="compare"),
                html.Button("Export table (CSV)", id="export"),
                dcc.Download(id="download"),
            ],
            style={"display": "flex", "gap": "1em", "alignItems": "center"},
        ),
    ]
    wide = {"display": "grid", "gridTemplateColumns": "1fr 1fr", "gap": "0.5em"}
    pictures = [
        dcc.Graph(id="grid"),
        dcc.Graph(id="matrix"),
        dcc.Graph(id="scaling"),
        dcc.Graph(id="null"),
    ]
    return html.Div(
        [
            *controls,
            html.Div(pictures, style=wide),
            html.Table(id="numbers"),
            dcc.Store(id="head", data=[0, 0]),
            dcc.Store(id="loaded", data=0),
        ],
        style={"fontFamily": "system-ui, sans-serif", "maxWidth": "1300px", "margin": "0 auto", "padding": "1em"},
    )


def _about(shown: _Shown) -> str:
    said: list[str] = []
    for maps in shown.maps:
        if maps is not None:
            n, m = maps.layers[0].shape
            name = maps.provenance.get("model", maps.provenance.get("source", "attention"))
            said.append(f"{name}: {len(maps)} layers of {maps.layers[0].heads} heads, {n} queries, {m} keys")
    return "; ".join(said) or "nothing loaded"


def _answer_loading(app: Any, dash: Any, shown: _Shown) -> None:  # noqa: ANN401
    out, given, state = dash.Output, dash.Input, dash.State

    @app.callback(
        out("about", "children"),
        out("loaded", "data"),
        given("load", "n_clicks"),
        state("source", "value"),
        state("text", "value"),
        state("place", "value"),
        state("loaded", "data"),
        prevent_initial_call=True,
    )
    def load_it(_clicks: int, source: str | None, text: str | None, place: int, loaded: int) -> tuple[str, int]:
        try:
            shown.put(place, load((source or "").strip(), text))
        except (FractalError, OSError, ImportError) as error:
            return f"not loaded: {error}", loaded
        return _about(shown), loaded + 1

    @app.callback(
        out("download", "data"),
        given("export", "n_clicks"),
        prevent_initial_call=True,
    )
    def export(_clicks: int) -> dict[str, Any]:
        _, table = shown.first()
        return {"content": csv_text(table), "filename": "attention.csv", "type": "text/csv"}

    del load_it, export


def _answer_heads(app: Any, dash: Any, shown: _Shown) -> None:  # noqa: ANN401
    out, given, state = dash.Output, dash.Input, dash.State

    @app.callback(
        out("grid", "figure"),
        given("measure", "value"),
        given("compare", "value"),
        given("loaded", "data"),
    )
    def draw_grid(name: str, compare: list[str], _loaded: int) -> dict[str, Any]:
        if shown.maps[0] is None:
            return figures.empty("load attention to see its heads")
        _, table = shown.first()
        return figures.grid(table, name, shown.tables[1] if compare else None)

    @app.callback(out("head", "data"), given("grid", "clickData"), prevent_initial_call=True)
    def choose(clicked: dict[str, Any]) -> list[int]:
        maps, _ = shown.first()
        point = clicked["points"][0]
        names = [layer.name for layer in maps]
        return [names.index(point["y"]), int(point["x"])]

    @app.callback(
        out("matrix", "figure"),
        given("head", "data"),
        given("matrix", "relayoutData"),
        given("loaded", "data"),
        state("head", "data"),
    )
    def draw_matrix(_head: list[int], moved: dict[str, Any] | None, _loaded: int, at: list[int]) -> dict[str, Any]:
        if shown.maps[0] is None:
            return figures.empty("no head")
        maps, _ = shown.first()
        layer, head = _at(maps, at)
        # Another head is seen whole; a zoom of this one fetches the tile of what it shows.
        zoomed = dash.ctx.triggered_id == "matrix"
        x, y = (_seen(moved, axis) if zoomed else None for axis in ("xaxis", "yaxis"))
        found = tile(layer.head(head), y, x)
        tokens = maps.tokens if layer.kind != "cross" else None
        return figures.matrix(found, tokens, f"{layer.name}, head {head}", x, y)

    @app.callback(
        out("scaling", "figure"),
        out("null", "figure"),
        out("numbers", "children"),
        given("head", "data"),
        given("loaded", "data"),
    )
    def describe(at: list[int], _loaded: int) -> tuple[dict[str, Any], dict[str, Any], list[Any]]:
        if shown.maps[0] is None:
            return figures.empty("no head"), figures.empty("no head"), []
        maps, table = shown.first()
        layer, head = _at(maps, at)
        weights = layer.head(head)
        slope = renyi_dimension(weights, layer.support, q=1)
        rows = table.where(layer=at[0], head=head)
        cells = [
            dash.html.Tr(
                [dash.html.Th(row["measure"]), dash.html.Td(_text(row["value"]), id=f"value-{row['measure']}")]
            )
            for row in rows.rows()
        ]
        return figures.scaling(slope, "D1"), _null(layer, head), cells

    del draw_grid, choose, draw_matrix, describe


def _at(maps: AttentionMaps, at: list[int]) -> tuple[LayerMaps, int]:
    layer = maps.layers[min(at[0], len(maps) - 1)]
    return layer, min(at[1], layer.heads - 1)


def _text(value: float | None) -> str:
    return "–" if value is None else f"{value:.6g}"


def _seen(moved: dict[str, Any] | None, axis: str) -> tuple[float, float] | None:
    """The range of an axis that a view shows; None where it shows all."""
    if not moved:
        return None
    if f"{axis}.range" in moved:
        low, high = moved[f"{axis}.range"]
    elif f"{axis}.range[0]" in moved:
        low, high = moved[f"{axis}.range[0]"], moved[f"{axis}.range[1]"]
    else:
        return None
    return float(low), float(high)


def _null(layer: LayerMaps, head: int) -> dict[str, Any]:
    if isinstance(layer.weights, EdgeWeights):
        return figures.empty("row shuffles of sparse heads take seconds each: analyze --nulls")
    tested = shuffle_test(layer, head, _DRAWS, np.random.default_rng(0))
    if tested is None:
        return figures.empty("too few tokens for a dimension")
    test, drawn = tested
    return figures.null_figure(float(test.observed), drawn, float(test.p))


def serve(
    maps: AttentionMaps | None = None, other: AttentionMaps | None = None, *, host: str = "127.0.0.1", port: int = 8050
) -> None:
    """Runs the page until it is interrupted.

    Args:
        maps: As `create_app` takes them.
        other: As `create_app` takes them.
        host: Only this machine by default.
        port: Where.

    Raises:
        ImportError: dash is not installed.
    """
    create_app(maps, other).run(host=host, port=port, debug=False)
