"""Put a live figure's still drawing on the page beside it, for readers without JavaScript."""

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform

_VIEW = "application/vnd.jupyter.widget-view+json"
_STILL = "text/html"


class KeepStillDrawing(SphinxPostTransform):
    """Keep both forms of a widget's output where MyST-NB would keep the live one alone.

    On a page the still drawing comes first; the page host replaces it once the live figure is up.
    Other builders (PDF) are left to choose the PNG.
    """

    # Before MyST-NB picks one MIME type out of every bundle (priority 4).
    default_priority = 3

    def run(self, **_: Any) -> None:
        """Merge the still drawing into the live output of every bundle that has both."""
        if self.app.builder.format != "html":
            return
        for bundle in self.document.findall(nodes.container):
            if bundle.get("nb_element") != "mime_bundle":
                continue
            forms = {child["mime_type"]: child for child in bundle.children}
            if _VIEW in forms and _STILL in forms:
                forms[_VIEW].insert(0, forms[_STILL].children)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension.

    Args:
        app: the running Sphinx.

    Returns:
        The extension's metadata.
    """
    app.add_post_transform(KeepStillDrawing)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
