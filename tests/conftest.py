"""What tests share: how examples are drawn, and a real browser cut off from the network."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from hypothesis import settings
from ipywidgets.embed import embed_data
from playwright.sync_api import Browser, Page, Route, TimeoutError, sync_playwright

# Examples are drawn anew on a developer's machine and are the same in every gate run; a busy
# machine is no failure, so no example has a deadline.
settings.register_profile("developer", deadline=None)
settings.register_profile("gate", deadline=None, derandomize=True)
settings.load_profile("gate" if os.environ.get("CI") else "developer")

_HOST = Path(__file__).parents[1] / "book" / "_static" / "widget-host.js"
_NAMES = ("chromium", "chromium-browser", "google-chrome")
_ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
# Formulas are set and every live figure has taken its place (or said that it needs a kernel).
_READY = """() => (!document.querySelector('script[src*="mathjax"]') || window.gbMathReady)
  && [...document.querySelectorAll('script[type="application/vnd.jupyter.widget-view+json"]')]
    .every((view) => view.nextElementSibling?.childNodes.length > 0)"""
_CALL = """async ([source, name, given]) => {
  const address = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
  return (await import(address))[name](...given);
}"""
_AWAIT_MATH = "() => window.MathJax?.startup?.promise?.then(() => { window.gbMathReady = true; })"


@dataclass
class Visit:
    """An open page and what went wrong on it.

    Attributes:
        page: the page, ready to be used.
        foreign: addresses asked for outside the page's own origin; none of them was fetched.
        faults: errors and warnings of the console, and files that could not be loaded.
    """

    page: Page
    foreign: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


def _wait_until_ready(visit: Visit) -> None:
    try:
        visit.page.wait_for_function(_READY, timeout=20_000)
    except TimeoutError as error:
        raise AssertionError(f"the page never got ready: {visit.faults}") from error


Browse = Callable[..., AbstractContextManager[Visit]]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """A headless chromium; module scope, since Playwright keeps an event loop while it lives."""
    program = next((found for name in _NAMES if (found := shutil.which(name))), None)
    if program is None:
        words = "no chromium on this machine; apt-get install chromium to run the browser tests"
        if os.environ.get("CI") == "true":
            pytest.fail(words)
        pytest.skip(words)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(_ARGUMENTS))
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def browse(chromium: Browser) -> Browse:
    """Opens pages: ``with browse(address, own=prefix, width=390, mode="dark") as visit``."""

    @contextmanager
    def open_page(
        address: str,
        own: str,
        width: int = 1280,
        mode: str = "light",
        javascript: bool = True,
        motion: bool = False,
    ) -> Iterator[Visit]:
        context = chromium.new_context(
            viewport={"width": width, "height": 900},
            color_scheme=mode,
            # Where nothing moves by itself, a change seen by a test is the test's own doing.
            reduced_motion="no-preference" if motion else "reduce",
            java_script_enabled=javascript,
            has_touch=width < 500,
        )
        visit = Visit(context.new_page())

        def admit(route: Route) -> None:
            if route.request.url.startswith(own):
                route.continue_()
            else:
                visit.foreign.append(route.request.url)
                route.abort()

        def hear(kind: str, words: str) -> None:
            if kind in ("error", "warning"):
                visit.faults.append(f"{kind}: {words}")

        context.route("**/*", admit)
        visit.page.on("console", lambda message: hear(message.type, message.text))
        visit.page.on("pageerror", lambda error: hear("error", str(error)))
        visit.page.on("requestfailed", lambda request: hear("error", f"failed {request.url}"))
        try:
            visit.page.goto(address, wait_until="load")
            if javascript:
                visit.page.evaluate(_AWAIT_MATH)
                _wait_until_ready(visit)
            yield visit
        finally:
            context.close()

    return open_page


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Keep the access log out of the tests' output."""


@pytest.fixture(scope="module")
def serve() -> Iterator[Callable[[Path], str]]:
    """Serves folders on this machine: ``serve(folder)`` gives the address it answers at."""
    servers: list[ThreadingHTTPServer] = []

    def start(folder: Path) -> str:
        handler = partial(_Quiet, directory=str(folder))
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        servers.append(server)
        Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def show(browse: Browse, tmp_path: Path) -> Callable[..., AbstractContextManager[Visit]]:
    """Shows widgets on a bare page with the book's page host, as a build would have saved them."""

    def write(
        *widgets: Any, mode: str = "light", width: int = 800, motion: bool = False
    ) -> AbstractContextManager[Visit]:
        saved = embed_data(views=list(widgets), drop_defaults=False)
        views = "".join(
            f'<div class="cell_output">{_still(widget)}<script type="application/vnd.jupyter'
            f'.widget-view+json">{_inline(view)}</script></div>'
            for widget, view in zip(widgets, saved["view_specs"], strict=True)
        )
        page = tmp_path / "page.html"
        page.write_text(
            f'<!doctype html><html data-theme="{mode}"><meta charset="utf-8"><body>{views}'
            '<script type="application/vnd.jupyter.widget-state+json">'
            f"{_inline(saved['manager_state'])}</script>"
            f'<script defer src="{_HOST.as_uri()}"></script>',
            encoding="utf-8",
        )
        return browse(page.as_uri(), own="file://", width=width, motion=motion)

    return write


def _inline(value: Any) -> str:
    return json.dumps(value).replace("</", "<\\/")


def _still(widget: Any) -> str:
    drawing = widget.still()._repr_mimebundle_() if hasattr(widget, "still") else {}
    return f'<div class="text_html">{drawing.get("text/html", "")}</div>'


@pytest.fixture(scope="module")
def script_call(chromium: Browser) -> Callable[..., Any]:
    """Calls a function of a live figure's script: ``script_call(source, name, *arguments)``."""
    page = chromium.new_page()

    def run(source: str, name: str, *arguments: Any) -> Any:
        return page.evaluate(_CALL, [source, name, list(arguments)])

    return run
