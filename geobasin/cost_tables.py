"""Tables for pages of what steps cost, and of what was aimed at."""

from typing import Any

import pandas as pd

Result = dict[str, Any]


def cost_tables(document: dict[str, Any]) -> dict[str, pd.DataFrame]:
    """The costs, a table for each kind of benchmark.

    Args:
        document: as :func:`geobasin.costs.read_costs` gives it.

    Returns:
        By title, tables of text; the first column is the index. Times are those of the quickest
        turn, ratios are medians over the turns with the middle half of them in brackets.
    """
    tables = {}
    for kind, (title, columns, row) in _KINDS.items():
        rows = [row(result) for result in document["results"] if result["kind"] == kind]
        if rows:
            tables[title] = pd.DataFrame(rows, columns=list(columns)).set_index(columns[0])
    return tables


def aims_table(*documents: dict[str, Any]) -> pd.DataFrame:
    """What was aimed at before anything was built, and what came of it.

    Args:
        documents: each as :func:`geobasin.costs.read_costs` gives it; runs of the same benchmarks.

    Returns:
        A row for each aim that was measured: ``aim``, ``measured`` (one number a run, in the order
        of the runs) and ``reached``: yes, no, or in how many of the runs.
    """
    rows = {}
    for what, (kind, conditions, path, bound, at_least) in _AIMS.items():
        found = [
            _number(result, path)
            for document in documents
            for result in document["results"]
            if result["kind"] == kind and all(result[key] == conditions[key] for key in conditions)
        ]
        if not found:
            continue
        reached = sum(number >= bound if at_least else number <= bound for number in found)
        some = f"in {reached} of {len(found)} runs"
        rows[what] = {
            "aim": f"{'at least' if at_least else 'at most'} {bound:g}",
            "measured": ", ".join(f"{number:.3g}" for number in found),
            "reached": {0: "no", len(found): "yes"}.get(reached, some),
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("what")


def _number(result: Result, path: tuple[str, ...]) -> float:
    found: Any = result
    for key in path:
        found = found[key]
    return float(found)


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


def _extraction(result: Result) -> list[str]:
    rates = result["images_a_second"]
    return [result["encoder"], *(f"{rates[name]:.3g}" for name in ("own", "network", "decoding"))]


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
    "extraction": (
        "Features of photographs, images a second",
        ("encoder", "extraction", "network alone", "decoding alone, one core"),
        _extraction,
    ),
    "optimiser's step": (
        "Optimiser's step, ViT-Tiny",
        ("optimiser", "foreach AdamW", "own", _QUICKER),
        _optimiser,
    ),
}

_PUBLISHED = "published, batch 256"
_MEDIAN = ("times_quicker", "median")
# Kind, conditions, path to the number, bound, and whether it is a lower one.
_AIMS: dict[str, tuple[str, dict[str, Any], tuple[str, ...], float, bool]] = {
    "training step, rigid, times quicker than the formula": (
        "training step",
        {"size": _PUBLISHED, "simplices": "rigid"},
        _MEDIAN,
        8,
        True,
    ),
    "training step, free, times quicker than the formula": (
        "training step",
        {"size": _PUBLISHED, "simplices": "free"},
        _MEDIAN,
        1.8,
        True,
    ),
    "training step, free, share of its products": (
        "training step",
        {"size": _PUBLISHED, "simplices": "free"},
        ("share_of_the_products", "median"),
        0.75,
        True,
    ),
    "peak memory, rigid, times less than the formula": (
        "peak memory",
        {"simplices": "rigid"},
        ("times_less",),
        6,
        True,
    ),
    "peak memory, free, times less than the formula": (
        "peak memory",
        {"simplices": "free"},
        ("times_less",),
        3,
        True,
    ),
    "building the published model, seconds": (
        "initialisation",
        {"simplices": "free"},
        ("seconds", "own"),
        0.5,
        False,
    ),
    "one row through the model, rigid, times quicker than the formula": (
        "inference",
        {"rows": 1, "simplices": "rigid"},
        _MEDIAN,
        8,
        True,
    ),
    "a step of DCLR, times quicker than torch's foreach AdamW": (
        "optimiser's step",
        {"method": "DCLR"},
        _MEDIAN,
        0.8,
        True,
    ),
}
