"""Repair the theme's pages: what they tell screen readers, and what they load twice."""

import re
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

# Every pair: what the theme and docutils write, and what stands in its place.
_REPAIRS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        # A list may hold list items alone, and doc-biblioentry is a role of the past.
        (r'role="doc-biblioentry"', 'role="listitem"'),
        # A spoken name has to hold the words that are seen, or voice control cannot find it.
        (r'<summary aria-label="[^"]*">', "<summary>"),
        (r'(<button class="btn search-button-field[^>]*?) title="[^"]*" aria-label="[^"]*"', r"\1"),
        (r'(<i class="theme-switch [^>]*?) title="[^"]*"', r'\1 aria-hidden="true"'),
        # The empty corner of a table heads nothing.
        (r"<th></th>", "<td></td>"),
        # What stands outside every landmark is skipped by those who move by landmarks.
        (
            r'<div id="pst-primary-sidebar" class=',
            '<div id="pst-primary-sidebar" role="region" aria-label="Book" class=',
        ),
        # 1.5 MB of script that draws the icons which the icon font already shows.
        (r'<script defer src="[^"]*/scripts/fontawesome\.js[^"]*"></script>', ""),
    )
)
# The theme searches as one types on any page, which is switched off: only the search page searches.
_SEARCH_SCRIPT = re.compile(
    r'\s*<script src="[^"]*(?:searchtools|language_data|searchindex)\.js"></script>'
)
_SEARCH_PAGE = '<div id="search-results">'


def repaired(page: str) -> str:
    """Make the repairs in one page.

    Args:
        page: the HTML that the theme has written.

    Returns:
        The HTML put right; a repaired page comes back as it is.
    """
    for pattern, replacement in _REPAIRS:
        page = pattern.sub(replacement, page)
    return page if _SEARCH_PAGE in page else _SEARCH_SCRIPT.sub("", page)


def _repair_all(app: Sphinx, error: Exception | None) -> None:
    if error is not None or app.builder.format != "html":
        return
    # The sidebar and the buttons come from templates that no page event hands out, hence the files.
    for path in Path(app.outdir).rglob("*.html"):
        page = path.read_text(encoding="utf-8")
        if (better := repaired(page)) != page:
            path.write_text(better, encoding="utf-8")


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension.

    Args:
        app: the running Sphinx.

    Returns:
        The extension's metadata.
    """
    app.connect("build-finished", _repair_all)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
