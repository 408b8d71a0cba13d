"""What steps cost, as the benchmarks measured it, and what a whole training would."""

from pathlib import Path
from typing import Any

from geobasin.errors import GeoBasinError
from geobasin.files import read_json
from geobasin.seal import require_verified

RESULTS = "results.json"


def read_costs(folder: Path) -> dict[str, Any]:
    """Read a sealed results file of the benchmarks.

    Args:
        folder: as ``make benchmark`` left it.

    Returns:
        ``date``, ``machine``, ``versions`` and ``results``.

    Raises:
        GeoBasinError: the folder is not as it was sealed, or holds something else.
    """
    require_verified(folder)
    document = read_json(folder / RESULTS)
    if not isinstance(document, dict) or "results" not in document:
        raise GeoBasinError(f"{folder / RESULTS} holds no results; run make benchmark")
    return document


def machine_line(document: dict[str, Any]) -> str:
    """When and on what the costs were measured, as one sentence.

    Args:
        document: as :func:`read_costs` gives it.

    Returns:
        The sentence.
    """
    machine, versions = document["machine"], document["versions"]
    where = machine["gpu"] or f"{machine['cpu']}, {machine['cpu_count']} cores"
    threads = machine["torch_threads"]
    return (
        f"Measured on {document['date']}: {where}, {threads} thread{'' if threads == 1 else 's'}, "
        f"{machine['system']}, Python {versions['python']}, torch {versions['torch']}."
    )


def hours(document: dict[str, Any], size: str, simplices: str, rows: int, epochs: int) -> float:
    """How long training would take at the pace of the measured step, validation left out.

    Args:
        document: as :func:`read_costs` gives it.
        size: of a measured training step, as its table names it; it ends with the batch.
        simplices: ``"rigid"`` or ``"free"``.
        rows: to train on, >= 1.
        epochs: >= 1.

    Returns:
        Hours: epochs times rows over the batch, times the seconds of a step.

    Raises:
        GeoBasinError: that step was not measured.
    """
    for result in document["results"]:
        asked = ("training step", size, simplices)
        if (result["kind"], result.get("size"), result.get("simplices")) == asked:
            batch = int(size.split()[-1])
            seconds: float = result["seconds"]["own"]
            return epochs * rows / batch * seconds / 3600
    raise GeoBasinError(f"no training step of '{size}', {simplices}, was measured")


def extraction_rates(document: dict[str, Any]) -> dict[str, float]:
    """How many photographs a second become features.

    Args:
        document: as :func:`read_costs` gives it.

    Returns:
        Images a second: ``own``, all of it on the whole machine; ``network``, likewise with the
        images at hand; ``decoding``, on one core.

    Raises:
        GeoBasinError: that was not measured.
    """
    for result in document["results"]:
        if result["kind"] == "extraction":
            rates: dict[str, float] = result["images_a_second"]
            return rates
    raise GeoBasinError("no extraction was measured; run make benchmark")
