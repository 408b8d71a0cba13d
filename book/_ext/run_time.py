"""Say in every chapter how long its cells took when the page was built, and list it for all."""

import os
from collections.abc import Iterator
from typing import Any

from docutils import nodes
from myst_nb.sphinx_ import NbMetadataCollector  # type: ignore[import-untyped]
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.docutils import SphinxDirective


class RunTimeNode(nodes.General, nodes.Element):
    """Stands where the run time will be told, until the chapter has run."""


class RunTime(SphinxDirective):
    """The ``run-time`` directive: one paragraph, filled in after the cells have run."""

    def run(self) -> list[nodes.Node]:
        """Leave the place open."""
        return [RunTimeNode()]


class RunTimesNode(nodes.General, nodes.Element):
    """Stands where the run times of all pages will be listed."""


class RunTimes(SphinxDirective):
    """The ``run-times`` directive: a table of all pages with cells, in the order of the book."""

    def run(self) -> list[nodes.Node]:
        """Leave the place open."""
        return [RunTimesNode()]


class FillRunTimes(SphinxPostTransform):
    """Write what the build has measured into the open places."""

    # Before the builder meets a node that it does not know.
    default_priority = 8

    def run(self, **_: Any) -> None:
        """Fill every open place of one page."""
        for place in list(self.document.findall(RunTimeNode)):
            measured = NbMetadataCollector.get_exec_data(self.env, self.env.docname) or {}
            paragraph = nodes.paragraph(classes=["run-time"])
            paragraph += nodes.strong(text="Run time")
            paragraph += nodes.Text(f" {told(measured.get('runtime'), os.cpu_count())}")
            place.replace_self(paragraph)
        for place in list(self.document.findall(RunTimesNode)):
            place.replace_self(self._table())

    def _table(self) -> nodes.table:
        here = self.env.docname
        rows, whole = [_row("Page", "Seconds")], 0.0
        for page in _pages(self.env, self.env.config.root_doc):
            data = NbMetadataCollector.get_exec_data(self.env, page)
            if not data:
                continue
            seconds = data["runtime"]
            whole += seconds or 0.0
            address = self.app.builder.get_relative_uri(here, page)
            title = self.env.titles[page].astext()
            link = nodes.reference("", title, internal=True, refuri=address)
            rows.append(_row(link, "not measured" if seconds is None else f"{seconds:.1f}"))
        rows.append(_row("All pages", f"{whole:.1f}"))
        columns = [nodes.colspec(colwidth=width) for width in (3, 1)]
        head, body = nodes.thead("", rows[0]), nodes.tbody("", *rows[1:])
        return nodes.table("", nodes.tgroup("", *columns, head, body, cols=2))


def _row(name: str | nodes.Node, seconds: str) -> nodes.row:
    first = nodes.Text(name) if isinstance(name, str) else name
    cells = (nodes.paragraph("", "", first), nodes.paragraph("", seconds))
    return nodes.row("", *(nodes.entry("", cell) for cell in cells))


def _pages(env: BuildEnvironment, page: str) -> Iterator[str]:
    """Walk through the book as a reader would."""
    yield page
    for chapter in env.toctree_includes.get(page, []):
        yield from _pages(env, chapter)


def told(seconds: float | None, cores: int | None) -> str:
    """Put a chapter's run time into words.

    Args:
        seconds: what its cells took together; None where they were not run.
        cores: number of the machine's CPU cores, where it is known.

    Returns:
        The end of a sentence that began with "Run time".
    """
    if seconds is None:
        return "not measured: this page was built without running its cells."
    count = "less than a second" if seconds < 1 else f"{seconds:.0f} s"
    machine = f" with {cores} CPU core{'s' * (cores > 1)}" if cores else ""
    return f"{count} for all cells{machine}, measured when this page was built."


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension.

    Args:
        app: the running Sphinx.

    Returns:
        The extension's metadata.
    """
    app.add_node(RunTimeNode)
    app.add_node(RunTimesNode)
    app.add_directive("run-time", RunTime)
    app.add_directive("run-times", RunTimes)
    app.add_post_transform(FillRunTimes)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
