"""Move the drawings out of the pages, so that a page fetches only those that it shows."""

import base64
import hashlib
import os.path
import re
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

from geobasin.files import atomic_path

_DRAWING = re.compile(
    r'<img (?P<words>[^>]*?)src="data:image/svg\+xml;base64,(?P<data>[A-Za-z0-9+/=]+)"'
)
_SIZE = re.compile(rb'viewBox="0 0 (?P<width>[\d.]+) (?P<height>[\d.]+)"')


def moved(page: str, folder: str, drawings: dict[str, bytes]) -> str:
    """Let a page refer to the SVG drawings that it holds.

    A browser fetches a lazy picture when it comes near the screen, and never while it is hidden:
    of every figure's two drawings the page gets the one for its mode. The size holds the
    picture's place until it is there.

    Args:
        page: the HTML of a page.
        folder: the address, seen from the page, of the folder that the drawings will lie in.
        drawings: receives the drawings by file name.

    Returns:
        The HTML without them; a page that holds none comes back as it is.
    """

    def refer(found: re.Match[str]) -> str:
        drawing = base64.b64decode(found["data"])
        name = f"{hashlib.sha256(drawing).hexdigest()[:20]}.svg"
        drawings[name] = drawing
        size = _SIZE.search(drawing)
        box = f' width="{float(size[1]):.0f}" height="{float(size[2]):.0f}"' if size else ""
        return f'<img {found["words"]}src="{folder}/{name}" loading="lazy"{box}'

    return _DRAWING.sub(refer, page)


def _move_all(app: Sphinx, error: Exception | None) -> None:
    if error is not None or app.builder.format != "html":
        return
    site = Path(app.outdir)
    drawings: dict[str, bytes] = {}
    (site / "_images").mkdir(exist_ok=True)
    for path in site.rglob("*.html"):
        page = path.read_text(encoding="utf-8")
        folder = Path(os.path.relpath(site / "_images", path.parent)).as_posix()
        if (lighter := moved(page, folder, drawings)) != page:
            path.write_text(lighter, encoding="utf-8")
    for name, drawing in drawings.items():
        with atomic_path(site / "_images" / name) as temporary:
            temporary.write_bytes(drawing)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension.

    Args:
        app: the running Sphinx.

    Returns:
        The extension's metadata.
    """
    app.connect("build-finished", _move_all)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
