"""Write the output-free .ipynb twins of the chapters, for Colab and Binder.

Run it with ``make notebooks`` whenever a chapter has changed; only chapters are edited by hand.
"""

import hashlib
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import jupytext  # type: ignore[import-untyped]
import nbformat
import yaml
from myst_blocks import nested
from plain_markdown import Book, Writer
from pybtex.backends.markdown import Backend  # type: ignore[import-untyped]
from pybtex.database import parse_file  # type: ignore[import-untyped]
from pybtex.style.formatting.plain import Style  # type: ignore[import-untyped]

from geobasin.errors import GeoBasinError
from geobasin.files import write_text

_HIDDEN = {"hide-input", "hide-cell", "remove-input", "remove-cell"}
_GLUE = "from myst_nb import glue"
_PRINTED_GLUE = """
# On the book's page these values stand in the sentences; here they are printed, by name.
def glue(name, value, display=False):
    print(f"{name} = {value}")
""".strip()
_INSTALL = """
# Written by "make notebooks" from @PAGE@.md; change that file, not this one.
# The cell installs GeoBasin where it is missing.
from importlib.util import find_spec
from pathlib import Path

REPOSITORY = "@ADDRESS@"  # the address that "git clone" takes

if find_spec("geobasin") is None:
    if not Path("../pyproject.toml").exists():
        if not REPOSITORY:
            raise ModuleNotFoundError(
                "GeoBasin is not installed: open this notebook inside a clone of its repository, "
                "or write the repository's address into REPOSITORY, and run this cell again"
            )
        !git clone --quiet --depth 1 {REPOSITORY} geobasin-clone
        %cd -q geobasin-clone/book
    %pip install --quiet "..[all]"
""".strip()


def _sources(path: Path) -> tuple[dict[str, tuple[str, str]], dict[str, str]]:
    """Read the bibliography: author and year of every entry, and the entry in Markdown."""
    entries = parse_file(str(path)).entries
    short = {}
    for key, entry in entries.items():
        people = [
            " ".join(
                name.render_as("text")
                for name in (*person.rich_prelast_names, *person.rich_last_names)
            )
            for person in entry.persons.get("author", entry.persons.get("editor", []))
        ]
        author = " and ".join(people) if len(people) < 3 else f"{people[0]} et al."
        short[key] = (author or key, entry.fields.get("year", "undated"))
    alike = Counter(short.values())
    seen: Counter[tuple[str, str]] = Counter()
    for key, (author, year) in short.items():
        if alike[author, year] > 1:
            short[key] = (author, f"{year}{chr(ord('a') + seen[author, year])}")
            seen[author, year] += 1
    backend = Backend()
    formatted = Style().format_entries(entries.values())
    # The backend escapes every sign that could mean something somewhere; these mean nothing here.
    return short, {
        entry.key: re.sub(r"\\([.()-])", r"\1", entry.text.render(backend)).replace("\n", " ")
        for entry in formatted
    }


def _chapter_numbers(contents: Any) -> dict[str, str]:
    """Number the chapters of _toc.yml as Sphinx does; an unnumbered page has an empty number."""
    numbers = {Path(contents["root"]).name: ""}
    count = 0
    for part in contents.get("parts", [contents]):
        for chapter in part.get("chapters", []):
            count += 1 if part.get("numbered") else 0
            numbers[Path(chapter["file"]).name] = f"{count}." if part.get("numbered") else ""
    return numbers


def _survey(chapters: dict[str, Any], numbers: dict[str, str]) -> Book:
    """Learn every chapter's title and what its labels are called on the page."""
    book = Book()
    counts: Counter[tuple[str, str]] = Counter()
    pages = [*(page for page in numbers if page in chapters), *sorted(chapters.keys() - numbers)]
    for page in pages:
        texts = [cell.source for cell in chapters[page].cells if cell.cell_type == "markdown"]
        title = re.search(r"^# +(.+)$", "\n".join(texts), re.MULTILINE)
        book.titles[page] = title[1].strip() if title else page
        if len(texts) < len(chapters[page].cells):
            book.twins.add(page)
        number = numbers.get(page, "")
        for block in (block for text in texts for block in nested(text)):
            kind = block.name.removesuffix("-start")
            label = block.options.get("label")
            if kind not in ("math", "exercise") or label is None:
                continue
            if label in book.labels:
                raise GeoBasinError(f"{page}.md: the label {label} is taken; choose another")
            counts[kind, number] += 1
            place = f"{number}{counts[kind, number]}"
            book.labels[label] = (page, f"({place})" if kind == "math" else f"Exercise {place}")
        for label, heading in re.findall(r"^\(([\w:-]+)\)=\n+#+ +(.+)$", "\n".join(texts), re.M):
            book.labels[label] = (page, heading.strip())
    return book


def _code(source: str, page: str) -> str:
    source = source.replace(_GLUE, _PRINTED_GLUE)
    if "myst_nb" in source:
        raise GeoBasinError(f"{page}.md: MyST-NB is no part of a twin; import it as '{_GLUE}' only")
    return source


def _notebook(page: str, source: Any, book: Book, entries: dict[str, str], address: str) -> str:
    """Write one twin.

    Args:
        page: the chapter's name.
        source: the chapter as jupytext reads it.
        book: what the chapters know of each other.
        entries: the bibliography's entries in Markdown, by key.
        address: where the repository can be cloned from, or nothing.

    Returns:
        The notebook's text, the same for the same chapter.
    """
    writer = Writer(page, book)
    install = _INSTALL.replace("@PAGE@", page).replace("@ADDRESS@", address)
    cells: list[tuple[str, str, dict[str, Any]]] = [("code", install, {})]
    for cell in source.cells:
        if cell.cell_type == "markdown":
            cells.append(("markdown", writer.markdown(cell.source), {}))
            continue
        tags = list(cell.metadata.get("tags", []))
        metadata: dict[str, Any] = {"tags": tags} if tags else {}
        if writer.in_solution or _HIDDEN & set(tags):
            metadata["jupyter"] = {"source_hidden": True}
        cells.append(("code", _code(cell.source, page), metadata))
    if writer.cited:
        shown = [f"- [{' '.join(book.citations[key])}] {entries[key]}" for key in writer.cited]
        cells.append(("markdown", "\n".join(["## Sources", "", *sorted(shown)]), {}))

    notebook = nbformat.v4.new_notebook(
        metadata={
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
    )
    seen: Counter[str] = Counter()
    for kind, text, metadata in cells:
        if not text:
            continue
        seen[text] += 1
        # nbformat draws cell ids at random; these are the same in every run.
        digest = hashlib.sha256(f"{page} {kind} {seen[text]} {text}".encode()).hexdigest()[:12]
        make = nbformat.v4.new_code_cell if kind == "code" else nbformat.v4.new_markdown_cell
        notebook.cells.append(make(text, metadata=metadata, id=digest))
    nbformat.validate(notebook)
    return str(nbformat.writes(notebook, version=4)).rstrip("\n") + "\n"


def twins(root: Path) -> dict[Path, str]:
    """Write the twins of a book's chapters, in memory.

    Args:
        root: the folder with ``_config.yml``, ``_toc.yml`` and ``book``.

    Returns:
        For every chapter with code the path of its twin and the twin's text.

    Raises:
        GeoBasinError: a chapter uses a directive, a role or a label that the twins do not know.
    """
    config = yaml.safe_load((root / "_config.yml").read_text(encoding="utf-8"))
    contents = yaml.safe_load((root / "_toc.yml").read_text(encoding="utf-8"))
    folder = root / "book"
    chapters = {
        path.stem: jupytext.read(str(path), fmt="md:myst") for path in sorted(folder.glob("*.md"))
    }
    book = _survey(chapters, _chapter_numbers(contents))
    book.citations, entries = _sources(folder / "references.bib")
    # Not from the environment: the twins are committed, and everyone has to write the same ones.
    address = (config.get("repository") or {}).get("url") or ""
    return {
        folder / f"{page}.ipynb": _notebook(page, chapters[page], book, entries, address)
        for page in sorted(book.twins)
    }


def main() -> None:
    """Write the twins that have changed, and say which."""
    try:
        for path, text in twins(Path(__file__).resolve().parents[2]).items():
            if not path.exists() or path.read_text(encoding="utf-8") != text:
                write_text(path, text)
                print(path.name)
    except GeoBasinError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
