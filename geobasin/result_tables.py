"""Sealed ladders and runs as a page shows them: few columns, and intervals in words."""

from collections.abc import Mapping, Sequence

import pandas as pd

from geobasin.claims import Interval
from geobasin.ladder import OURS, LadderResult
from geobasin.stage4_folder import StageRun
from geobasin.stage_runs import cells_table

_DIFFERENCE = ["difference", "difference_low", "difference_high"]


def rivals_table(ladder: LadderResult) -> pd.DataFrame:
    """The other methods of a ladder beside GeoFractalDavid.

    Args:
        ladder: with GeoFractalDavid among its methods.

    Returns:
        A row for each method that is no variant of GeoFractalDavid, in words: ``accuracy`` in per
        cent, and its ``difference`` to GeoFractalDavid's, in percentage points with the 95 %
        interval over resampled rows.
    """
    table = ladder.table()
    rivals = table[~table.index.str.startswith(OURS)]
    return pd.DataFrame(
        {
            "accuracy (%)": (100 * rivals["accuracy"]).map("{:.2f}".format),
            "difference (points)": _points(rivals),
        }
    )


def variants_table(ladders: Mapping[str, LadderResult]) -> pd.DataFrame:
    """GeoFractalDavid's own variants on several sets of features.

    Args:
        ladders: by the name of the features, each with GeoFractalDavid and the same variants.

    Returns:
        A row for each variant and a column for each set: percentage points over the whole model,
        with the 95 % interval over resampled rows, in words.
    """
    columns = {}
    for name, ladder in ladders.items():
        table = ladder.table()
        variants = table[table.index.str.startswith(f"{OURS}, ")]
        columns[name] = _points(variants.set_axis(variants.index.str.removeprefix(f"{OURS}, ")))
    return pd.DataFrame(columns)


def heads_table(runs: Sequence[StageRun]) -> pd.DataFrame:
    """Heads, losses and optimisers of the stage beside the linear head trained with Adam.

    Args:
        runs: as for :func:`geobasin.stage_runs.cells_table`.

    Returns:
        A row for each head, loss and optimiser, in words: ``accuracy`` in per cent and its
        difference to the first row in percentage points, with 95 % intervals over the seeds.
    """
    cells = cells_table(runs)
    share = cells[["accuracy", "low", "high"]].apply(
        lambda row: "{:.2f} ({:.2f} to {:.2f})".format(*100 * row), axis=1
    )
    words = pd.DataFrame({"accuracy (%)": share, "difference (points)": _points(cells)})
    words.iloc[0, 1] = ""
    names = pd.Index([", ".join(cell) for cell in cells.index], name="head, loss, optimiser")
    return words.set_axis(names)


def _points(table: pd.DataFrame) -> "pd.Series[str]":
    return table[_DIFFERENCE].apply(lambda row: Interval(*row).points(), axis=1)
