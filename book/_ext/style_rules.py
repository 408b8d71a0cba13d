"""Leave the rules of a style sheet out that no page of the book can use."""

import re
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

import tinycss2
from sphinx.application import Sphinx

_WORD = re.compile(r"[\w-]+")
# What a script puts together: a name's beginning before a closing quote or a value.
_BEGINNING = re.compile(r"([A-Za-z][\w-]*-)(?=[\"'`]|\$\{)")
_GROUPS = ("media", "supports")


class Names:
    """The words of the pages and their scripts, among them every class that they can have.

    Args:
        pages: the HTML of all pages.
        scripts: the JavaScript of all scripts that they load.
    """

    def __init__(self, pages: Iterable[str], scripts: Iterable[str]) -> None:
        self._words: set[str] = set()
        self._beginnings: set[str] = set()
        for text in pages:
            self._words.update(_WORD.findall(text))
        for text in scripts:
            self._words.update(_WORD.findall(text))
            self._beginnings.update(_BEGINNING.findall(text))

    def __contains__(self, name: str) -> bool:
        known = all(word in self._words for word in _WORD.findall(name))
        return known or name.startswith(tuple(self._beginnings))


def _selectors(tokens: list[Any]) -> list[list[Any]]:
    """Split what stands before a rule's brace at its commas."""
    parts: list[list[Any]] = [[]]
    for token in tokens:
        if token == ",":
            parts.append([])
        else:
            parts[-1].append(token)
    return parts


def _can_match(selector: list[Any], names: Names) -> bool:
    """Tell whether all classes that a selector asks for exist.

    Those inside ``:not()``, ``:is()`` and their kind are left alone: they need not exist.
    """
    return all(
        token.value in names
        for dot, token in pairwise(selector)
        if dot == "." and token.type == "ident"
    )


def _kept(rules: list[Any], names: Names) -> list[str]:
    kept = []
    for rule in rules:
        if rule.type == "qualified-rule":
            alive = [part for part in _selectors(rule.prelude) if _can_match(part, names)]
            if alive:
                head = ",".join(tinycss2.serialize(part).strip() for part in alive)
                kept.append(f"{head}{{{tinycss2.serialize(rule.content)}}}")
        elif rule.type == "at-rule" and rule.lower_at_keyword in _GROUPS:
            inner = _kept(tinycss2.parse_rule_list(rule.content), names)
            if inner:
                head = f"@{rule.at_keyword}{tinycss2.serialize(rule.prelude)}"
                kept.append(f"{head}{{{''.join(inner)}}}")
        # A comment that opens with an exclamation mark holds a licence; browsers skip an error.
        elif rule.type != "error" and (rule.type != "comment" or rule.value.startswith("!")):
            kept.append(tinycss2.serialize([rule]))
    return kept


def needed(sheet: str, names: Names) -> str:
    """Keep of a style sheet what the pages can use.

    Args:
        sheet: CSS.
        names: the classes that exist.

    Returns:
        The CSS without the selectors that ask for another class, and without comments that are no
        licences. Pages look the same with it.
    """
    return "".join(_kept(tinycss2.parse_stylesheet(sheet), names))


def _trim_all(app: Sphinx, error: Exception | None) -> None:
    if error is not None or app.builder.format != "html":
        return
    site = Path(app.outdir)
    static = site / "_static"
    pages = [
        path.read_text(encoding="utf-8")
        for path in site.rglob("*.html")
        if not path.is_relative_to(static)
    ]
    loaded = "\n".join(pages)
    scripts = [
        path.read_text(encoding="utf-8") for path in static.rglob("*.js") if path.name in loaded
    ]
    names = Names(pages, scripts)
    for path in static.rglob("*.css"):
        sheet = path.read_text(encoding="utf-8")
        path.write_text(needed(sheet, names), encoding="utf-8")


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension.

    Args:
        app: the running Sphinx.

    Returns:
        The extension's metadata.
    """
    # Late: the other extensions still take scripts and drawings out of the pages.
    app.connect("build-finished", _trim_all, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
