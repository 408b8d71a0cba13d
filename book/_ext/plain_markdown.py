"""Turn the MyST of a chapter into the Markdown and MathJax that Jupyter shows by itself."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from myst_blocks import Block, blocks

from geobasin.errors import GeoBasinError

_TARGET = re.compile(r"\(([\w:-]+)\)=\s*")
_WORDS_AND_TARGET = re.compile(r"(.+?)\s*<(.+)>", re.DOTALL)
# A role, or a code span, which is left as it is. Neither goes past the end of its paragraph.
_ROLE_OR_CODE = re.compile(
    r"(?:\{(?P<role>[A-Za-z][\w:+-]*)\})?"
    r"(?<!`)(?P<ticks>`+)(?!`)(?P<content>(?:(?!\n\s*\n).)+?)(?<!`)(?P=ticks)(?!`)",
    re.DOTALL,
)
_ATTRIBUTES = re.compile(r"(?<=[\])`])\{[.#][^}`$]*\}")
_LINK_TO_SOURCE = re.compile(r"\]\(([\w-]+)\.md(?:#[\w-]*)?\)")

_NOTES = "admonition attention caution danger error hint important note seealso tip warning"
_ASIDES = {*_NOTES.split(), "margin", "sidebar", "topic", "epigraph"}
_FOLDS = {"dropdown", "toggle", "details"}


@dataclass
class Book:
    """What the chapters know of each other.

    Attributes:
        titles: the title of every page, by its name.
        twins: the names of the pages that have a twin.
        labels: for every label its page and the words that name it, "(1.2)" for an equation.
        citations: for every key its author and its year.
    """

    titles: dict[str, str] = field(default_factory=dict)
    twins: set[str] = field(default_factory=set)
    labels: dict[str, tuple[str, str]] = field(default_factory=dict)
    citations: dict[str, tuple[str, str]] = field(default_factory=dict)


class Writer:
    """Writes the cells of one chapter, in their order."""

    def __init__(self, page: str, book: Book) -> None:
        """Begin a chapter.

        Args:
            page: the name of the chapter.
            book: what the chapters know of each other.
        """
        self.cited: list[str] = []
        self._page = page
        self._book = book
        self._solution: str | None = None
        self._continued = False

    @property
    def in_solution(self) -> bool:
        """Whether the next cell belongs to the solution of an exercise."""
        return self._solution is not None

    def markdown(self, source: str) -> str:
        """Turn one cell into plain Markdown.

        Args:
            source: the cell's MyST.

        Returns:
            Markdown with MathJax, without anything that only MyST knows.

        Raises:
            GeoBasinError: a directive, a role or a label is not known.
        """
        shown: list[str] = []
        folded: list[str] = []
        for block in blocks(source):
            if block.name == "solution-start":
                self._solution, self._continued = self._named(block.argument), False
            elif block.name == "solution-end":
                shown.append(self._fold(folded))
                self._solution, folded = None, []
            else:
                (shown if self._solution is None else folded).append(self._write(block))
        if self._solution is not None:
            shown.append(self._fold(folded))
        return _join(shown)

    def _fold(self, parts: list[str]) -> str:
        body, continued = _join(parts), self._continued
        self._continued = True
        if not body:
            return "" if continued else f"**Solution of {self._solution}:** the folded cell below."
        return _details(f"Solution of {self._solution}{', continued' * continued}", body)

    def _write(self, block: Block) -> str:
        return "\n".join(f"{block.indent}{line}".rstrip() for line in self._lines(block))

    def _lines(self, block: Block) -> list[str]:
        body = "\n".join(block.lines)
        match block.name:
            case "text":
                return self._text(block.lines)
            case "code":
                return block.lines
            case "math":
                return self._formula(block)
            case "exercise-start" | "exercise":
                title = f"({block.argument})" if block.argument else ""
                title = f"{self._named(block.options.get('label', ''))} {title}".rstrip()
                return [f"**{title}**", "", *self._inner(body)]
            case "solution":
                title = f"Solution of {self._named(block.argument)}"
                return _details(title, "\n".join(self._inner(body))).split("\n")
            case "figure" | "image":
                image = f"![{block.options.get('alt', '')}]({block.argument})"
                return [image, "", *self._inner(body)]
            case "glue" | "glue:text":
                return [f"`{block.argument}`"]
            case "exercise-end" | "bibliography" | "tableofcontents" | "run-time" | "run-times":
                return []
        title = self._inline(block.argument) or block.name.capitalize()
        if block.name in _FOLDS:
            return _details(title, "\n".join(self._inner(body))).split("\n")
        if block.name in _ASIDES:
            return ["> " + line for line in (f"**{title}**", "", *self._inner(body))]
        raise self._unknown(f"directive {{{block.name}}}")

    def _inner(self, source: str) -> list[str]:
        return _join([self._write(block) for block in blocks(source)]).split("\n")

    def _formula(self, block: Block) -> list[str]:
        # A blank line would end the formula in Jupyter.
        lines = [line for line in block.lines if line.strip()]
        if any(r"\\" in line for line in lines) and not any(r"\begin{" in line for line in lines):
            lines = [r"\begin{split}", *lines, r"\end{split}"]
        if label := block.options.get("label"):
            lines.append(rf"\tag{{{self._named(label).strip('()')}}}")
        return ["$$", *lines, "$$"]

    def _text(self, lines: list[str]) -> list[str]:
        kept = [line for line in lines if not line.startswith("%") and not _TARGET.fullmatch(line)]
        return self._inline("\n".join(kept)).split("\n")

    def _inline(self, text: str) -> str:
        def replaced(match: re.Match[str]) -> str:
            if match["role"] is None:
                return match[0]
            return self._role(match["role"], " ".join(match["content"].split()))

        text = _ROLE_OR_CODE.sub(replaced, _ATTRIBUTES.sub("", text))
        return _LINK_TO_SOURCE.sub(lambda match: f"]({self._twin(match[1])})", text)

    def _role(self, role: str, content: str) -> str:
        pair = _WORDS_AND_TARGET.fullmatch(content)
        words, target = (pair[1], pair[2]) if pair else ("", content)
        plain: dict[str, Callable[[], str]] = {
            "math": lambda: f"${content}$",
            "sub": lambda: f"<sub>{content}</sub>",
            "sup": lambda: f"<sup>{content}</sup>",
            "kbd": lambda: f"`{content}`",
            "download": lambda: f"[{words or target}]({target})",
            "glue": lambda: f"`{content.partition(':')[0]}`",
            "glue:text": lambda: f"`{content.partition(':')[0]}`",
            "doc": lambda: self._link(target.removeprefix("/book/"), words),
            "eq": lambda: self._reference(target, words),
            "ref": lambda: self._reference(target, words),
            "cite": lambda: self._cite(content, "[{}]", "{} {}"),
            "cite:p": lambda: self._cite(content, "[{}]", "{} {}"),
            "cite:t": lambda: self._cite(content, "{}", "{} ({})"),
        }
        if role not in plain:
            raise self._unknown(f"role {{{role}}}")
        return plain[role]()

    def _cite(self, keys: str, around: str, form: str) -> str:
        shown = []
        for key in (key.strip() for key in keys.split(",")):
            if key not in self._book.citations:
                raise self._unknown(f"citation {key}")
            self.cited += [key] if key not in self.cited else []
            shown.append(form.format(*self._book.citations[key]))
        return around.format("; ".join(shown))

    def _reference(self, label: str, words: str) -> str:
        words = words or self._named(label)
        page = self._book.labels[label][0] if label in self._book.labels else self._page
        return words if page == self._page else self._link(page, words)

    def _link(self, page: str, words: str) -> str:
        if page not in self._book.titles:
            raise self._unknown(f"page {page}")
        words = words or self._book.titles[page]
        return f"[{words}]({self._twin(page)})" if page in self._book.twins else words

    def _twin(self, page: str) -> str:
        return f"{page}.ipynb" if page in self._book.twins else f"{page}.md"

    def _named(self, label: str) -> str:
        if label not in self._book.labels:
            raise self._unknown(f"label {label}")
        return self._book.labels[label][1]

    def _unknown(self, what: str) -> GeoBasinError:
        return GeoBasinError(
            f"{self._page}.md: the {what} is not known to the twins; "
            "correct it or teach book/_ext/plain_markdown.py to write it"
        )


def _join(parts: list[str]) -> str:
    return "\n\n".join(part.strip("\n") for part in parts if part.strip())


def _details(title: str, body: str) -> str:
    return f"<details>\n<summary>{title}</summary>\n\n{body}\n\n</details>"
