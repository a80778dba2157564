"""The report: one HTML file that needs nothing beside it, on paper, phone and in the dark."""

from __future__ import annotations

from datetime import datetime, timezone
from html import escape
from importlib.resources import files
from itertools import pairwise
from pathlib import Path

from fractal_core._files import written
from fractal_core.demo.charts import Line, line_chart
from fractal_core.demo.gallery import LENGTH, exhibit, exhibits
from fractal_core.demo.images import LAYER_COLOURS
from fractal_core.demo.results import Run
from fractal_core.demo.summary import LIMIT, Summary, spread_text

__all__ = ["html", "write_report"]


def write_report(summary: Summary, path: Path) -> None:
    """Writes the page to a temporary name beside `path` and renames it, so that no half page is ever seen."""
    with written(path) as file:
        file.write(html(summary).encode())


def html(summary: Summary) -> str:
    """The whole page as text."""
    style = (files("fractal_core.demo") / "page.css").read_text(encoding="utf-8")
    sections = [
        _head(summary),
        _figures(summary),
        _curves(summary),
        _table(summary),
        _pairs(summary),
        _reach(summary),
        _gallery(summary),
        _samples(summary),
        _foot(summary),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>fractal_core: dense and fractal attention side by side</title>\n<style>\n{style}</style></head>\n"
        f"<body><main>\n{''.join(sections)}</main></body></html>\n"
    )


def _head(summary: Summary) -> str:
    s = summary.settings
    text = "Python's language reference" if s.text is None else escape(Path(s.text).name)
    stopped = ""
    if summary.interrupted:
        stopped = '<p class="warning">Stopped by Ctrl-C: this page holds what was finished until then.</p>'
    return (
        "<h1>Dense and fractal attention, side by side</h1>"
        f"<p>One small byte-level language model, trained twice on {text}: same weights to begin with, same bytes in "
        f'the same order. One attends to <span class="dense-ink">every earlier byte</span>, the other to '
        f'<span class="sparse-ink"><code>{escape(summary.pattern)}</code></span>.</p>'
        f'<p class="soft">{s.layers} layers, width {s.dim}, {s.heads} heads, context {s.context} bytes, '
        f"{s.batch * s.context} bytes a step, {s.steps} steps, seed {s.seed}.</p>{stopped}\n"
    )


def _figure(name: str, value: str, aside: str) -> str:
    return (
        f'<div class="figure"><div class="name">{name}</div><div class="value">{value}</div>'
        f'<div class="aside">{aside}</div></div>'
    )


def _figures(summary: Summary) -> str:
    dense, sparse = summary.runs
    tiles: list[str] = []
    speed = summary.speed
    if speed is not None:
        low, high = speed.quartiles
        aside = f"{_versus(_milliseconds(dense), _milliseconds(sparse))}<br>half of {speed.count} pairs: "
        tiles.append(_figure("a training step", f"{speed.median:.2f}× as fast", f"{aside}{low:.2f}–{high:.2f}×"))
    for title, found, unit in (("steps", summary.by_step, ""), ("seconds", summary.by_second, " s")):
        if found is not None:
            name = (
                f"bits per byte after {found.at:.0f} {title}" if not unit else f"bits per byte after {found.at:.0f} s"
            )
            change = f"{found.sparse - found.dense:+.3f}".replace("-", "−")
            tiles.append(_figure(f"held-out {name}", change, _versus(f"{found.dense:.3f}", f"{found.sparse:.3f}")))
    share = summary.cost["keys_mean"] / summary.dense_keys
    keys = _versus(f"{summary.dense_keys:.0f}", f"{summary.cost['keys_mean']:.0f}")
    tiles.append(_figure("keys per query", f"{share:.1%}", keys))
    leaks = [run.facts["leak"]["exact"] for run in summary.runs if "leak" in run.facts]
    if leaks:
        cuts = "logits and gradients, three cuts"
        tiles.append(_figure("leak from the future", "exactly 0" if all(leaks) else "not zero", cuts))
    return f'<div class="figures">{"".join(tiles)}</div>\n'


def _milliseconds(run: Run) -> str:
    return "–" if run.step_ms is None else f"{run.step_ms:.0f} ms"


def _versus(dense: str, sparse: str) -> str:
    return (
        f'<span class="dense-ink">{dense}</span> <span class="soft">→</span> <span class="sparse-ink">{sparse}</span>'
    )


def _curves(summary: Summary) -> str:
    runs = [run for run in summary.runs if len(run.held_out) > 1]
    if not runs:
        return "<h2>Loss</h2><p>No checkpoint was reached.</p>"
    low = min(p.bits for run in runs for p in run.held_out)
    early = max(1, summary.settings.steps // 12)
    seen = [p.bits for run in runs for p in run.held_out if p.step >= early]
    bits = (low - 0.15, max([low + 0.6, *seen]) + 0.1)
    steps = max(run.held_out[-1].step for run in runs)
    seconds = max(run.held_out[-1].seconds for run in runs)
    charts = (
        ("Against training steps", "steps", float(steps), False),
        ("Against training time", "seconds", seconds, True),
    )
    drawn: list[str] = []
    for title, unit, end, timed in charts:
        lines = [_smooth(run, timed=timed) for run in runs]
        for run in runs:
            points = [(p.seconds if timed else float(p.step), p.bits) for p in run.held_out]
            lines.append(Line(points, run.name))
        if not timed and summary.by_step and steps > summary.by_step.at:
            at = summary.by_step.at
            lines.insert(0, Line([(at, bits[0]), (at, bits[1])], "mark", faint=True))
        chart = line_chart(lines, x_title=unit, y_title="bits per byte", x=(0.0, end), y=bits)
        drawn.append(f"<div><h3>{title}</h3>{chart}</div>")
    legend = "".join(f'<span class="{run.name}">{escape(run.title)}</span>' for run in runs)
    return (
        "<h2>Loss, in bits per byte</h2>"
        '<p class="soft">Dots: text that neither model trained on. Pale: the training text, smoothed. Lower is better. '
        "The dashed line marks the steps that both models made; beyond it the sparse one uses the dense one's time.</p>"
        f'<div class="pair">{"".join(drawn)}</div><div class="legend">{legend}</div>\n'
    )


def _smooth(run: Run, *, timed: bool) -> Line:
    wide = max(1, len(run.steps) // 24)
    points: list[tuple[float, float]] = []
    for i in range(wide - 1, len(run.steps)):
        span = run.steps[i + 1 - wide : i + 1]
        middle = span[len(span) // 2]
        points.append((middle.seconds if timed else float(middle.step), sum(p.bits for p in span) / len(span)))
    return Line(points, run.name, faint=True)


def _table(summary: Summary) -> str:
    rows = "".join(
        f'<tr><td>{escape(r.what)}</td><td class="number">{escape(r.dense)}</td>'
        f'<td class="number">{escape(r.sparse)}</td>'
        f'<td class="note">{escape(r.note)}</td></tr>'
        for r in summary.rows()
    )
    return (
        '<h2>Results</h2><div class="card scroll"><table><tr><th></th><th class="number dense-ink">dense</th>'
        f'<th class="number sparse-ink">sparse</th><th class="note"></th></tr>{rows}</table></div>\n'
    )


def _pairs(summary: Summary) -> str:
    speed = summary.speed
    if speed is None:
        return ""
    last = float(len(summary.pairs) + 1)
    flat = [Line([(0.0, at), (last, at)], style, faint=True) for at, style in ((1.0, "mark"), (speed.median, "sparse"))]
    dots = Line([(float(i), pair.ratio) for i, pair in enumerate(summary.pairs, 1)], "sparse")
    top = 1.1 * max(1.0, speed.range[1])
    chart = line_chart([*flat, dots], x_title="pair", y_title="times as fast", x=(0.0, last), y=(0.0, top))
    return (
        "<h2>Paired blocks</h2>"
        f'<p class="soft">The models trained in turns of {summary.settings.block_steps} steps while the other one '
        "waited, and took turns in going first, so that whatever else the machine did slowed both. Each dot: how many "
        "times as fast the sparse block of a pair was; pale: their median; dashed: as fast as dense. "
        f'{escape(spread_text(speed))}; median {speed.median:.2f}×.</p><div class="pair"><div>{chart}</div></div>\n'
    )


def _reach(summary: Summary) -> str:
    shares = summary.shares
    count = max(4, len(shares), summary.settings.layers)
    known = [*shares, *[shares[-1]] * (count - len(shares))]
    line = Line([(0.0, 0.0), *((float(i), share) for i, share in enumerate(known, 1))], "sparse")
    dense = Line([(0.0, 0.0), *((float(i), 1.0) for i in range(1, count + 1))], "dense")
    chart = line_chart(
        [dense, line],
        x_title="layers",
        y_title="earlier bytes in reach",
        x=(0.0, float(count)),
        y=(0.0, 1.0),
        percent=True,
    )
    cost = summary.cost
    layers = next((i for i, share in enumerate(shares, 1) if share >= 1.0), None)
    whole = f"after {layers} layers every byte can know of every earlier one" if layers else "some pairs stay apart"
    table = [
        ("edges", f"{cost['edges']}"),
        ("keys per query", f"{cost['keys_mean']:.1f} mean, {cost['keys_max']} at most"),
    ]
    if cost.get("tile_share") is not None:
        table.append(("edges in tiles", f"{cost['tile_share']:.1%}, filled to {cost['tile_fill']:.1%}"))
    if cost.get("index_bytes") is not None:
        table.append(("index memory", f"{cost['index_bytes']} bytes"))
    facts = "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in table)
    added = zip(LAYER_COLOURS, (b - a for a, b in pairwise((0.0, *shares))), strict=False)
    facts += "".join(
        f'<dt><i style="background:{colour}"></i>layer {i}</dt><dd>+{share:.1%}</dd>'
        for i, (colour, share) in enumerate(added, 1)
    )
    legend = '<div class="legend"><span class="dense">dense</span><span class="sparse">sparse</span></div>'
    return (
        "<h2>Reach by layer</h2>"
        f'<p class="soft">A query sees few keys, but those have seen others: {whole} '
        f"at context {summary.settings.context}.</p>"
        f'<div class="pair"><div><h3>Earlier bytes in reach</h3>{chart}{legend}</div>'
        f'<div><h3>What each layer adds <span class="soft">(picture: {LENGTH} bytes)</span></h3>'
        f'<div class="map">{_map(summary.pattern)}'
        f"<dl>{facts}</dl></div></div></div>\n"
    )


def _map(pattern: str) -> str:
    """The pattern's own reach map with the layers' colours beside it."""
    picture = exhibit(pattern).picture
    return f'<img src="{picture}" alt="reach map of {escape(pattern)}">' if picture else ""


def _gallery(summary: Summary) -> str:
    cards: list[str] = []
    for item in exhibits(summary.pattern):
        alt = escape(f"reach map of {item.name}")
        image = f'<img src="{item.picture}" width="{LENGTH}" height="{LENGTH}" alt="{alt}">' if item.picture else ""
        ours = ' class="ours"' if item.ours else ""
        caption = f"<figcaption><b>{escape(item.name)}</b>{escape(item.caption)}</figcaption>"
        cards.append(f"<figure{ours}>{image}{caption}</figure>")
    names = [f"layer {i}" for i in range(1, len(LAYER_COLOURS) + 1)]
    legend = "".join(
        f'<span class="block" style="--swatch:{colour}">{name}</span>'
        for name, colour in zip(names, LAYER_COLOURS, strict=True)
    )
    return (
        "<h2>Patterns</h2>"
        f'<p class="soft">Queries from top to bottom, keys from left to right, {LENGTH} bytes, causal. The colour is '
        "the layer that first connects a pair: layer 1 is the pattern itself. Empty below the diagonal: never within "
        f'{len(LAYER_COLOURS)} layers.</p><div class="legend">{legend}</div>'
        f'<div class="gallery">{"".join(cards)}</div>\n'
    )


def _samples(summary: Summary) -> str:
    samples = [(run, run.facts["sample"]) for run in summary.runs if "sample" in run.facts]
    if not samples:
        return ""
    cards = "".join(
        f'<div><h3 class="{run.name}-ink">{escape(run.title)}</h3>'
        f'<pre><span class="prompt">{escape(found["prompt"])}</span>{escape(found["text"])}</pre></div>'
        for run, found in samples
    )
    return (
        "<h2>What they write</h2>"
        f'<p class="soft">Pale: the held-out prompt. Temperature 0.8, same seed.</p><div class="pair">{cards}</div>\n'
    )


def _foot(summary: Summary) -> str:
    facts = "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in summary.machine.items())
    orders = {run.facts["trained"]["order"] for run in summary.runs if "trained" in run.facts}
    if len(summary.runs) == 2 and len(orders) == 1:
        facts += f"<dt>data order</dt><dd>sha256 {next(iter(orders))[:16]}…</dd>"
    points = "".join(
        f'<tr><td>{run.name}</td><td class="number">{p.step}</td><td class="number">{p.seconds:.1f}</td>'
        f'<td class="number">{p.bits:.4f}</td></tr>'
        for run in summary.runs
        for p in run.held_out
    )
    when = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    return (
        f"<h2>What this shows, and what not</h2><p>{escape(LIMIT)}</p>"
        f"<details><summary>All checkpoints</summary><div class='scroll'><table><tr><th>model</th>"
        f'<th class="number">step</th><th class="number">seconds</th><th class="number">bits per byte</th></tr>'
        f"{points}</table></div></details>"
        f"<footer>Made by <code>fractal-core demo</code> on {when} in {summary.seconds:.0f} s."
        f"<dl>{facts}</dl></footer>\n"
    )
