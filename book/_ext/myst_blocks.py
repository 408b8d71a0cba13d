"""Split the MyST of a chapter into text, code, formulas and directives."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from geobasin.errors import GeoBasinError

_FENCE = re.compile(
    r"(?P<indent>\s*)(?P<mark>`{3,}|~{3,}|:{3,})(?:\{(?P<name>[^}]+)\})?(?P<rest>.*)"
)
_OPTION = re.compile(r":([\w-]+):\s*(.*)")
_DOLLARS = re.compile(r"\$\$(?P<body>.*?)\$\$\s*(?:\((?P<label>[\w:-]+)\))?", re.DOTALL)


@dataclass(frozen=True)
class Block:
    """One block of a chapter.

    Attributes:
        name: "text", "code" for a fence that is shown as it is, "math", or a directive's name.
        lines: what stands in it, options left out.
        argument: the rest of a directive's first line.
        options: a directive's options.
        indent: the white space before a fence that belongs to a list item.
    """

    name: str
    lines: list[str]
    argument: str = ""
    options: dict[str, str] = field(default_factory=dict)
    indent: str = ""


def _directive(name: str, argument: str, lines: list[str], indent: str) -> Block:
    options = {}
    rest = list(lines)
    while rest and (option := _OPTION.fullmatch(rest[0].strip())):
        options[option[1]] = option[2]
        rest.pop(0)
    return Block(name, rest, argument.strip(), options, indent)


def _formulas(lines: list[str]) -> Iterator[Block]:
    """Split running text at the formulas between double dollars that stand on their own lines."""
    text = "\n".join(lines)
    end = 0
    for match in _DOLLARS.finditer(text):
        before, after = text[end : match.start()], text[match.end() :]
        alone = not before.rpartition("\n")[2].strip() and not after.partition("\n")[0].strip()
        if alone and match["label"]:
            yield Block("text", before.split("\n"))
            yield Block("math", match["body"].split("\n"), options={"label": match["label"]})
            end = match.end()
    yield Block("text", text[end:].split("\n"))


def blocks(source: str) -> Iterator[Block]:
    """Split Markdown into its blocks.

    Args:
        source: the Markdown of one cell, or what stands in a directive.

    Yields:
        The blocks in their order; nested ones stay inside their outer block.

    Raises:
        GeoBasinError: a fence is never closed.
    """
    lines = source.split("\n")
    text: list[str] = []
    while lines:
        line = lines.pop(0)
        fence = _FENCE.fullmatch(line)
        # Back ticks after the fence mean a code span; a colon fence is always a directive.
        if not fence or "`" in fence["rest"] or (fence["mark"][0] == ":" and not fence["name"]):
            text.append(line)
            continue
        yield from _formulas(text)
        text = []
        mark, indent = fence["mark"], fence["indent"]
        closing = re.compile(rf"\s*{mark[0]}{{{len(mark)},}}\s*")
        size = next((i for i, later in enumerate(lines) if closing.fullmatch(later)), None)
        if size is None:
            raise GeoBasinError(f"{line.strip()} is never closed; add a line with {mark}")
        inner = [later.removeprefix(indent) for later in lines[:size]]
        del lines[: size + 1]
        if not fence["name"]:
            yield Block("code", [mark + fence["rest"], *inner, mark], indent=indent)
        elif fence["name"] in ("code", "code-block"):
            listing = _directive(fence["name"], fence["rest"], inner, indent)
            yield Block("code", [mark + listing.argument, *listing.lines, mark], indent=indent)
        else:
            yield _directive(fence["name"], fence["rest"], inner, indent)
    yield from _formulas(text)


def nested(source: str) -> Iterator[Block]:
    """Walk through all blocks, those inside others too.

    Args:
        source: Markdown.

    Yields:
        Every block, outer ones first.
    """
    for block in blocks(source):
        yield block
        if block.name not in ("text", "code", "math"):
            yield from nested("\n".join(block.lines))
