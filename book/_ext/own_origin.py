"""Keep every request of a page on its own origin, and load no file that has nothing to do."""

import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.errors import ExtensionError

# The package's name has hyphens, so it can be found but not written as an import.
_MATHJAX_PACKAGE = "sphinx-mathjax-offline"
# One by one instead of MathJax's bundle: that one adds a menu of 0.4 MB, which makes every formula
# a stop of the tab key and offers speech that the bundle does not bring along.
_MATHJAX_START = "startup.js"
_MATHJAX_PARTS = ("core", "input/tex", "output/chtml", "a11y/assistive-mml")
# The metrics of the fonts, which the output asks for by itself.
_MATHJAX_METRICS = "output/chtml/fonts/tex"
_MATHJAX_FONTS = "output/chtml/fonts/woff-v2"


def mathjax_folder() -> Path:
    """Where the installed MathJax lies.

    Returns:
        The folder with ``startup.js`` in it.

    Raises:
        ExtensionError: the package that brings MathJax is not installed.
    """
    spec = find_spec(_MATHJAX_PACKAGE)
    if spec is None or spec.origin is None:
        raise ExtensionError(f"{_MATHJAX_PACKAGE} is missing; install geobasin[book]")
    return Path(spec.origin).parent / "static" / "mathjax"


def _use_local_mathjax(_: Sphinx, config: Config) -> None:
    config["mathjax_path"] = f"mathjax/{_MATHJAX_START}"
    config["mathjax3_config"] = {
        **(config["mathjax3_config"] or {}),
        "loader": {"load": list(_MATHJAX_PARTS)},
    }


def _copy_mathjax(app: Sphinx, error: Exception | None) -> None:
    if error is not None or app.builder.format != "html":
        return
    source = mathjax_folder()
    target = Path(app.outdir) / "_static" / "mathjax"
    files = [
        source / _MATHJAX_START,
        *(source / f"{part}.js" for part in (*_MATHJAX_PARTS, _MATHJAX_METRICS)),
        *(source / _MATHJAX_FONTS).glob("*.woff"),
    ]
    # Nothing of another version or another selection stays behind.
    shutil.rmtree(target, ignore_errors=True)
    for file in files:
        copy = target / file.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)


def _drop_files(
    app: Sphinx, page: str, template: str, context: dict[str, Any], tree: nodes.document | None
) -> None:
    body = context.get("body", "")
    has_formulas = 'class="math' in body or 'class="amsmath' in body
    # By a part of the file's name: whether the page has something for it to do.
    has_use = {
        "mathjax": has_formulas,
        "design": "sd-" in body,
        "thebe": False,
        "://": False,
    }

    def is_wanted(file: Any) -> bool:
        # Scripts written into the page have no file name; they ask for nothing.
        name = str(getattr(file, "filename", file) or "")
        # Jupyter Book loads thebe's set-up twice on every page, with or without a launch button.
        if "thebe" in str(getattr(file, "attributes", "")):
            return False
        return all(used for part, used in has_use.items() if part in name)

    for kind in ("script_files", "css_files"):
        context[kind] = [file for file in context[kind] if is_wanted(file)]


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension.

    Args:
        app: the running Sphinx.

    Returns:
        The extension's metadata.
    """
    app.connect("config-inited", _use_local_mathjax)
    # Late, so that it sees what the other extensions have added to the page.
    app.connect("html-page-context", _drop_files, priority=900)
    app.connect("build-finished", _copy_mathjax)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
