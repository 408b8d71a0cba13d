"""Keep every request of a page on its own origin, and load no script that has nothing to do."""

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
_MATHJAX_SCRIPT = "tex-chtml.js"
_MATHJAX_FONTS = Path("output/chtml/fonts/woff-v2")


def mathjax_folder() -> Path:
    """Where the installed MathJax lies.

    Returns:
        The folder with ``tex-chtml.js`` in it.

    Raises:
        ExtensionError: the package that brings MathJax is not installed.
    """
    spec = find_spec(_MATHJAX_PACKAGE)
    if spec is None or spec.origin is None:
        raise ExtensionError(f"{_MATHJAX_PACKAGE} is missing; install geobasin[book]")
    return Path(spec.origin).parent / "static" / "mathjax"


def _use_local_mathjax(_: Sphinx, config: Config) -> None:
    config["mathjax_path"] = f"mathjax/{_MATHJAX_SCRIPT}"


def _copy_mathjax(app: Sphinx, error: Exception | None) -> None:
    if error is not None or app.builder.format != "html":
        return
    source = mathjax_folder()
    target = Path(app.outdir) / "_static" / "mathjax"
    (target / _MATHJAX_FONTS).mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source / _MATHJAX_SCRIPT, target / _MATHJAX_SCRIPT)
    for font in (source / _MATHJAX_FONTS).glob("*.woff"):
        shutil.copyfile(font, target / _MATHJAX_FONTS / font.name)


def _drop_scripts(
    app: Sphinx, page: str, template: str, context: dict[str, Any], tree: nodes.document | None
) -> None:
    has_formulas = 'class="math' in context.get("body", "")

    def is_wanted(script: Any) -> bool:
        # Scripts written into the page have no file name; they ask for nothing.
        name = str(getattr(script, "filename", script) or "")
        if "mathjax" in name:
            return has_formulas
        # Jupyter Book loads thebe's set-up twice on every page, with or without a launch button.
        words = f"{name} {getattr(script, 'attributes', '')}"
        return "thebe" not in words and "://" not in name

    context["script_files"] = [script for script in context["script_files"] if is_wanted(script)]


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension.

    Args:
        app: the running Sphinx.

    Returns:
        The extension's metadata.
    """
    app.connect("config-inited", _use_local_mathjax)
    # Late, so that it sees what the other extensions have added to the page.
    app.connect("html-page-context", _drop_scripts, priority=900)
    app.connect("build-finished", _copy_mathjax)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
