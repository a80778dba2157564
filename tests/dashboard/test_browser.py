"""The page in a real browser: Debian's Chromium, driven by Playwright."""

from __future__ import annotations

import csv
import shutil
import threading
from importlib.util import find_spec

import numpy as np
import pytest
from fractal_core import dimension, pattern
from fractal_core.analysis import AttentionMaps, measure

CHROMIUM = shutil.which("chromium")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(
        find_spec("dash") is None or find_spec("playwright") is None or CHROMIUM is None,
        reason="dash, playwright or chromium is missing: `make test-browser` says what to install",
    ),
]


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield found
        found.close()


@pytest.fixture
def opened(browser):
    """Serves maps and opens their page; nothing outside of this machine may be asked for."""
    from fractal_core.dashboard import create_app
    from werkzeug.serving import make_server

    servers, pages = [], []

    def open_page(*maps):
        server = make_server("127.0.0.1", 0, create_app(*maps).server, threaded=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        context = browser.new_context(viewport={"width": 1400, "height": 1500}, accept_downloads=True)
        page = context.new_page()
        asked = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"http://127.0.0.1:{server.server_port}/")
        page.wait_for_selector("#grid .plotly .heatmaplayer image")
        page.wait_for_selector("#matrix .plotly .heatmaplayer image")
        pages.append((context, asked))
        return page

    yield open_page
    for context, asked in pages:
        assert all(url.startswith(("http://127.0.0.1:", "data:", "blob:")) for url in asked)
        context.close()
    for server in servers:
        server.shutdown()


def heads(layers=3, count=4, n=48, seed=0):
    logits = 2 * np.random.default_rng(seed).standard_normal((layers, count, n, n))
    weights = np.tri(n) * np.exp(logits)
    return AttentionMaps.from_arrays(
        weights / weights.sum(-1, keepdims=True),
        "causal",
        tokens=[f"t{i}" for i in range(n)],
        provenance={"model": f"m{seed}"},
    )


def at(page, graph, x, y):
    """Where a value of a figure is on the page."""
    return page.evaluate(
        """([id, x, y]) => {
            const gd = document.querySelector(`#${id} .js-plotly-plot`), l = gd._fullLayout;
            const box = gd.getBoundingClientRect();
            const px = (a, v) => a._offset + (a.type === 'category' ? a.c2p(a._categories.indexOf(v)) : a.d2p(v));
            return [box.left + px(l.xaxis, x), box.top + px(l.yaxis, y)];
        }""",
        [graph, x, y],
    )


def title(page, graph):
    return page.locator(f"#{graph} .gtitle").first.text_content()


def test_a_head_is_picked_and_its_numbers_are_right(opened, tmp_path):
    maps = heads()
    page = opened(maps)
    assert "m0: 3 layers of 4 heads" in page.locator("#about").text_content()
    page.mouse.click(*at(page, "grid", 2, "layer 1"))
    page.wait_for_function("document.querySelector('#matrix .gtitle').textContent.includes('layer 1, head 2')")
    table = measure(maps, ["D1", "gini", "sink"], layers=[1], heads=[2])
    for name in ("D1", "gini", "sink"):
        wanted = f"{table.where(measure=name)['value'][0]:.6g}"
        page.wait_for_function(f"document.querySelector('#value-{name}').textContent === '{wanted}'")
    assert f"D1 = {table.where(measure='D1')['value'][0]:.4f}" in title(page, "scaling")
    assert "row shuffles, p = " in title(page, "null")
    with page.expect_download() as download:
        page.click("#export")
    path = tmp_path / "table.csv"
    download.value.save_as(path)
    rows = list(csv.DictReader(path.read_text().splitlines()))
    exported = next(r for r in rows if (r["layer"], r["head"], r["measure"]) == ("1", "2", "gini"))
    assert float(exported["value"]) == table.where(measure="gini")["value"][0]
    page.screenshot(path=str(tmp_path / "page.png"))


def test_two_models_are_compared_and_files_are_loaded(opened, tmp_path):
    page = opened(heads(), heads(seed=1))
    page.click("#compare input")
    page.wait_for_function("document.querySelector('#grid .gtitle').textContent.includes('first less second')")
    heads(layers=2, seed=5).save(tmp_path / "maps.npz")
    page.fill("#source", str(tmp_path / "maps.npz"))
    page.click("#load")
    page.wait_for_function("document.querySelector('#about').textContent.includes('m5: 2 layers')")
    page.fill("#source", str(tmp_path / "missing.npz"))
    page.click("#load")
    page.wait_for_function("document.querySelector('#about').textContent.includes('not loaded')")


def test_sixteen_thousand_tokens(opened):
    n = 16_384
    index_set = pattern("window:radius=8|cantor:base=5").index_set(n, causal=True)
    keys = np.diff(index_set.indptr)
    values = np.repeat(1 / keys, keys)[None].astype(np.float32)
    maps = AttentionMaps.from_arrays([dimension.EdgeWeights(index_set, values)])
    page = opened(maps)
    assert "largest weight of 64 × 64" in title(page, "matrix")
    left, top = at(page, "matrix", 8000, 8000)
    page.mouse.move(left, top)
    page.mouse.down()
    right, bottom = at(page, "matrix", 8200, 8200)
    page.mouse.move(max(right, left + 40), max(bottom, top + 40), steps=8)
    page.mouse.up()
    page.wait_for_function("!document.querySelector('#matrix .gtitle').textContent.includes('64 × 64')")
    value = measure(maps, "D1")["value"][0]
    page.wait_for_function(f"document.querySelector('#value-D1').textContent === '{value:.6g}'")
