"""Reads the asset graph that the Dagster UI draws, by its geometry: which box an arrow leaves and which it enters."""

import re
from dataclasses import dataclass

from playwright.sync_api import Page, sync_playwright

CHROMIUM_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
SLOW_MS, STILL_MS = 120_000, 500
_NODES = """() => [...document.querySelectorAll('foreignObject:not(.group)')].filter(e => e.textContent).map(e => ({
    text: e.textContent, x: +e.getAttribute('x'), y: +e.getAttribute('y'),
    width: +e.getAttribute('width'), height: +e.getAttribute('height')}))"""
_ARROWS = "() => [...document.querySelectorAll('path[stroke]')].map(e => e.getAttribute('d'))"
_ARROW = re.compile(r"M(?P<x0>[\d.]+),(?P<y0>[\d.]+)C.*?(?P<x1>[\d.]+),(?P<y1>[\d.]+)$")


@dataclass(frozen=True)
class Lineage:
    assets: frozenset[str]
    edges: frozenset[tuple[str, str]]


def read_lineage(url: str, *, chromium: str, names: list[str], picture: str | None = None) -> Lineage:
    """Open the global lineage of a Dagster UI with every group unfolded; optionally keep a picture of it."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(CHROMIUM_FLAGS))
        page = browser.new_page(viewport={"width": 2600, "height": 1100})
        page.add_init_script("localStorage.setItem('communityNux', '1')")
        page.set_default_timeout(SLOW_MS)
        page.goto(f"{url}/asset-groups")
        page.wait_for_selector("foreignObject")
        page.keyboard.press("Alt+e")
        for name in names:
            page.locator("foreignObject:not(.group)", has_text=name).first.wait_for(state="attached")
        _settle(page)
        lineage = _drawn(page, names)
        if picture:
            page.screenshot(path=picture)
        browser.close()
    return lineage


def _settle(page: Page) -> None:
    """Wait until the animated layout has come to rest: until it is the same half a second later."""
    before: object = None
    for _ in range(SLOW_MS // STILL_MS):
        page.wait_for_timeout(STILL_MS)
        now = page.evaluate(_NODES), page.evaluate(_ARROWS)
        if now == before and now[1]:
            return
        before = now
    raise AssertionError("the lineage goes on moving")


def _drawn(page: Page, names: list[str]) -> Lineage:
    boxes = {}
    for node in page.evaluate(_NODES):
        for name in sorted(names, key=len, reverse=True):
            if node["text"].startswith(name):
                boxes[name] = node
                break

    def box_at(x: float, y: float, *, slack: float = 12) -> str | None:
        for name, box in boxes.items():
            inside_x = box["x"] - slack <= x <= box["x"] + box["width"] + slack
            if inside_x and box["y"] - slack <= y <= box["y"] + box["height"] + slack:
                return name
        return None

    edges = set()
    for path in page.evaluate(_ARROWS):
        if arrow := _ARROW.match(path or ""):
            source = box_at(float(arrow["x0"]), float(arrow["y0"]))
            target = box_at(float(arrow["x1"]), float(arrow["y1"]))
            if source and target:
                edges.add((source, target))
    return Lineage(assets=frozenset(boxes), edges=frozenset(edges))
