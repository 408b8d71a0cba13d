"""Writes the tables of benchmarks/README.md from results.json; no number is typed by hand."""

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULTS = HERE / "results.json"
README = HERE / "README.md"
BEGIN, END = "<!-- results -->\n", "<!-- end of results -->\n"

Result = dict[str, Any]


def tables(document: dict[str, Any]) -> str:
    """The results as Markdown.

    Args:
        document: what ``--results`` wrote.

    Returns:
        A line about the machine, and a table for each kind of result.
    """
    machine, versions = document["machine"], document["versions"]
    where = machine["gpu"] or f"{machine['cpu']}, {machine['cpu_count']} cores"
    head = (
        f"Measured on {document['date']}: {where}, {machine['torch_threads']} threads, "
        f"{machine['system']}, Python {versions['python']}, torch {versions['torch']}.\n"
    )
    parts = [head]
    for kind, (title, columns, row) in _KINDS.items():
        rows = [row(result) for result in document["results"] if result["kind"] == kind]
        if rows:
            parts.append(f"### {title}\n\n{_table(columns, rows)}")
    return "\n".join(parts)


def update(readme: str, document: dict[str, Any]) -> str:
    """The README with its tables made anew.

    Args:
        readme: its text, with both markers.
        document: the results.

    Returns:
        The text with everything between the markers replaced.
    """
    before, rest = readme.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n{tables(document)}\n{END}{after}"


def _table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = list(columns)
    rules = ["---", *["---:"] * (len(head) - 1)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (head, rules, *rows))


def _time(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{1000 * seconds:.3g} ms"


def _times(ratio: dict[str, float]) -> str:
    return f"{ratio['median']:.2f} ({ratio['low']:.2f} to {ratio['high']:.2f})"


def _training(result: Result) -> list[str]:
    seconds = result["seconds"]
    return [
        f"{result['size']}, {result['simplices']}",
        _time(seconds["reference"]),
        _time(seconds["own"]),
        _times(result["times_quicker"]),
        _time(seconds["products"]),
        f"{result['share_of_the_products']['median']:.0%}",
    ]


def _inference(result: Result) -> list[str]:
    seconds = result["seconds"]
    rows = "1 row" if result["rows"] == 1 else f"{result['rows']} rows"
    return [
        f"{rows}, {result['simplices']}",
        *(_time(seconds[name]) for name in ("reference", "own", "exported")),
        _times(result["times_quicker"]),
    ]


def _initialisation(result: Result) -> list[str]:
    seconds = result["seconds"]
    return [
        result["simplices"],
        _time(seconds["reference"]),
        _time(seconds["own"]),
        _times(result["times_quicker"]),
    ]


def _memory(result: Result) -> list[str]:
    used = result["bytes"]
    return [
        result["simplices"],
        *(f"{used[way]['step_bytes'] / 1e6:.0f} MB" for way in ("reference", "library")),
        f"{result['times_less']:.2f}",
        *(f"{used[way]['process_bytes'] / 1e6:.0f} MB" for way in ("reference", "library")),
    ]


def _rivals(result: Result) -> list[str]:
    seconds = result["seconds"]
    names = ("own", "MLP head", "logistic regression")
    return [result["simplices"], *(_time(seconds[name]) for name in names)]


def _optimiser(result: Result) -> list[str]:
    seconds = result["seconds"]
    return [
        result["method"],
        _time(seconds["foreach AdamW"]),
        _time(seconds["own"]),
        _times(result["times_quicker"]),
    ]


_QUICKER = "times quicker"
_KINDS = {
    "training step": (
        "Training step",
        ("size", "reference", "library", _QUICKER, "products alone", "their share"),
        _training,
    ),
    "inference": (
        "Inference",
        ("rows", "reference", "library", "exported", _QUICKER),
        _inference,
    ),
    "initialisation": (
        "Building the published model",
        ("simplices", "class by class", "library", _QUICKER),
        _initialisation,
    ),
    "peak memory": (
        "Peak memory of a training step, published, batch 1024",
        ("simplices", "reference", "library", "times less", "whole process", "library's"),
        _memory,
    ),
    "rivals": (
        "Training step next to the rivals, published, batch 256",
        ("simplices", "GeoFractalDavid", "MLP head", "logistic regression"),
        _rivals,
    ),
    "optimiser's step": (
        "Optimiser's step, ViT-Tiny",
        ("optimiser", "foreach AdamW", "own", _QUICKER),
        _optimiser,
    ),
}


if __name__ == "__main__":
    found = json.loads(RESULTS.read_text())
    README.write_text(update(README.read_text(), found))
    print(tables(found), file=sys.stderr)
