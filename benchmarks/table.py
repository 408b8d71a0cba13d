"""Writes the tables of benchmarks/README.md from the sealed results; no number is typed by hand."""

import sys
from pathlib import Path
from typing import Any

import pandas as pd

from geobasin.cost_tables import cost_tables
from geobasin.costs import machine_line, read_costs

HERE = Path(__file__).parent
COSTS = HERE.parent / "book" / "runs" / "costs"
README = HERE / "README.md"
BEGIN, END = "<!-- results -->\n", "<!-- end of results -->\n"


def tables(document: dict[str, Any]) -> str:
    """The results as Markdown.

    Args:
        document: what ``--results`` wrote.

    Returns:
        A line about the machine, and a table for each kind of result.
    """
    parts = [f"{machine_line(document)}\n"]
    for title, table in cost_tables(document).items():
        parts.append(f"### {title}\n\n{_markdown(table)}")
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


def _markdown(table: pd.DataFrame) -> str:
    whole = table.reset_index()
    rules = ["---", *["---:"] * (len(whole.columns) - 1)]
    rows = [list(whole.columns), rules, *whole.to_numpy().tolist()]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in rows)


if __name__ == "__main__":
    found = read_costs(COSTS)
    README.write_text(update(README.read_text(), found))
    print(tables(found), file=sys.stderr)
