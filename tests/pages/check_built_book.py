"""Walk every page of the built book in a real browser: ``make book`` first, then this file.

It is no part of ``make test``, which has no built book: run it as
``python -m pytest tests/pages/check_built_book.py``.
"""

from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe

SITE = Path(__file__).parents[2] / "_build" / "html"
PAGES = sorted(
    path.relative_to(SITE).as_posix()
    for path in SITE.rglob("*.html")
    if not path.is_relative_to(SITE / "_static") and path.name != "index.html"
)
VIEW = 'script[type="application/vnd.jupyter.widget-view+json"]'
# Bytes that a page asks for, as they lie on the disk, all drawings of its mode among them.
WEIGHT_LIMIT = 1_500_000
FONTS = (".woff", ".woff2", ".ttf")
UNFOLD = """async () => {
  for (const part of document.querySelectorAll("details")) part.open = true;
  for (const button of document.querySelectorAll(".toggle-button[aria-expanded=false]")) {
    button.click();
  }
  const moving = document.getAnimations().filter(({ effect }) => effect.getTiming().iterations < 9);
  await Promise.allSettled(moving.map(({ finished }) => finished));
}"""
LOAD_DRAWINGS = """async (mode) => {
  const shown = [...document.images].filter(
    ({ classList }) => classList.contains(`for-${mode}`) || !/for-(light|dark)/.test(classList),
  );
  for (const image of shown) image.loading = "eager";
  await Promise.all(shown.map((image) => image.decode()));
}"""
ASKED = """() => performance.getEntries()
  .filter(({ entryType }) => ["navigation", "resource"].includes(entryType))
  .map(({ name }) => name)
  .filter((name) => name.startsWith(location.origin))"""
AXE = Axe()


class Links(HTMLParser):
    """Collects what a page links to and what can be linked to in it."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.anchors: set[str] = set()
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("href", "src") and value:
                self.targets.append(value)
            elif name == "id" and value:
                self.anchors.add(value)


def test_the_book_is_built() -> None:
    assert SITE.joinpath("index.html").is_file(), "no built book here; run make book first"
    assert len(PAGES) > 5


@pytest.fixture(scope="module")
def address(serve: Callable[[Path], str]) -> str:
    return serve(SITE)


@pytest.mark.parametrize("mode", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("page", PAGES)
def test_page(browse: Any, address: str, page: str, width: int, mode: str) -> None:
    with browse(f"{address}/{page}", own=address, width=width, mode=mode) as visit:
        visit.page.evaluate(UNFOLD)
        visit.page.evaluate(LOAD_DRAWINGS, mode)
        assert visit.foreign == []
        assert visit.faults == []
        assert 0 < weight(visit.page) < WEIGHT_LIMIT
        assert barriers(visit.page) == []
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= width
        assert visit.page.locator("mjx-merror").count() == 0
        assert visit.page.locator("article img:not([alt]), article img[alt='']").count() == 0
        for plate in visit.page.locator("article .geobasin-plate").all():
            assert plate.locator(f".for-{mode}").count() == 1
        figures = visit.page.locator(".geobasin-live").all()
        assert len(figures) == visit.page.locator(VIEW).count(), "a live figure is not alive"
        for figure in figures:
            check_live_figure(visit.page, figure)


def weight(page: Any) -> int:
    """The bytes of everything that a page has asked for, fonts left out."""
    files = {SITE / unquote(urlsplit(name).path).lstrip("/") for name in page.evaluate(ASKED)}
    # Browsers ask for an icon by themselves; what a page misses has been heard from its console.
    here = [file for file in files if file.is_file() and file.suffix not in FONTS]
    return sum(file.stat().st_size for file in here)


def barriers(page: Any) -> list[str]:
    """What axe finds critical or serious on a page, with the first place of each."""
    found = AXE.run(page, options={"resultTypes": ["violations"], "preload": False})
    return [
        f"{finding['id']}: {finding['nodes'][0]['html']}"
        for finding in found.response["violations"]
        if finding["impact"] in ("critical", "serious")
    ]


def check_live_figure(page: Any, figure: Any) -> None:
    """Move every slider by keyboard and drag across the drawing: each must change the figure."""
    drawing = figure.locator("svg[role=img], canvas").first
    assert drawing.get_attribute("aria-label")
    for slider in figure.get_by_role("slider").all():
        before = figure.inner_html()
        slider.press("ArrowRight")
        slider.press("ArrowUp")
        assert figure.inner_html() != before
        assert slider.get_attribute("aria-valuetext")
    drawing.scroll_into_view_if_needed()
    box = drawing.bounding_box()
    before = figure.inner_html()
    page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 0.3 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.7 * box["width"], box["y"] + 0.4 * box["height"], steps=3)
    page.mouse.up()
    assert figure.inner_html() != before


@pytest.mark.parametrize("place", ["served", "from disk"])
def test_search_finds_a_chapter_by_a_word(browse: Any, address: str, place: str) -> None:
    own = address if place == "served" else SITE.as_uri()
    with browse(f"{own}/search.html?q=Cantor", own=own) as visit:
        found = visit.page.locator("#search-results li a[href*='book/cantor.html']").first
        found.wait_for()
        assert visit.foreign == []
        found.click()
        assert "/book/cantor.html" in visit.page.url
        visit.page.get_by_role("heading", level=1).wait_for()


@pytest.mark.parametrize("page", PAGES)
def test_links_within_the_book_lead_somewhere(page: str) -> None:
    links = Links(SITE / page)
    for target in links.targets:
        parts = urlsplit(target)
        if parts.scheme or parts.netloc:
            continue
        goal = (SITE / page).parent / unquote(parts.path) if parts.path else SITE / page
        assert goal.is_file(), f"{page} links to {target}"
        if parts.fragment and goal.suffix == ".html":
            assert unquote(parts.fragment) in Links(goal).anchors, f"{page} links to {target}"
