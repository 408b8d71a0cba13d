"""The tables of a comparison of optimisers as a page shows them."""

import math

import pandas as pd
from pandas.io.formats.style import Styler

from geobasin.compare_protocol import ABLATIONS, OURS
from geobasin.compare_result import Comparison

_UNKNOWN = "not measured"


def arms_table(comparison: Comparison, workload: str) -> Styler:
    """All arms on one workload beside the rival.

    Args:
        comparison: finished.
        workload: its name.

    Returns:
        A table for a page; its ``data`` is the DataFrame of words. A row for each optimiser, and
        none for the ablations: learning rate, validation loss in nat and its difference to the
        rival's with the 95 % interval, accuracy, median steps to the target with the number of
        seeds that missed it, and steps, seconds and, where they were measured, joules to the
        target over the rival's.
    """
    return _words(comparison.table(workload).drop(index=list(ABLATIONS)))


def ablations_table(comparison: Comparison, workload: str) -> Styler:
    """DCLR's ablations on one workload beside DCLR.

    Args:
        comparison: finished.
        workload: its name.

    Returns:
        As :func:`arms_table`, with DCLR in the rival's place.
    """
    return _words(comparison.ablation_table(workload))


def verdict_words(comparison: Comparison, workload: str) -> str:
    """DCLR beside the rival on one workload, in a sentence's words.

    Args:
        comparison: finished.
        workload: its name.

    Returns:
        The difference of the losses, and the ratio of the steps to the target or, where a seed of
        either missed it, how many did.
    """
    table, rival = comparison.table(workload), comparison.targets[workload].rival
    loss = comparison.loss_difference(workload, OURS, rival)
    told = f"{loss.mean:+.3f} nat ({loss.low:+.3f} to {loss.high:+.3f}) against {rival}"
    ratio = comparison.steps_ratio(workload)
    if math.isfinite(ratio.mean):
        return f"{told}, and {ratio.mean:.2f} ({ratio.low:.2f} to {ratio.high:.2f}) of its steps"
    seeds = len(comparison.results[workload][OURS])
    misses = table["misses"].to_dict()
    missed = " and ".join(f"{name} in {misses[name]}" for name in (OURS, rival))
    return f"{told}; no ratio of steps, for {missed} of {seeds} seeds missed the target"


def _words(table: pd.DataFrame) -> Styler:
    rows = [
        {
            "arm": arm,
            "lr": f"{row['lr']:g}",
            "loss (nat)": _number(row["loss"], "{:.3f}"),
            "difference": _interval(row, "loss_difference", "loss", "{:+.3f}"),
            "accuracy": f"{row['accuracy']:.3f}",
            "steps": _steps(row),
            "steps, ratio": _interval(row, "steps_ratio", "steps", "{:.2f}"),
            "seconds, ratio": _interval(row, "seconds_ratio", "seconds", "{:.2f}"),
            "joules, ratio": _number(row.get("joules_ratio", math.nan), "{:.2f}"),
        }
        for arm, row in table.iterrows()
    ]
    for row, (arm, numbers) in zip(rows, table.iterrows(), strict=True):
        if arm == numbers["against"]:
            row |= dict.fromkeys(("difference", *(n for n in row if "ratio" in n)), "")
    words = pd.DataFrame(rows)
    unmeasured = [name for name in words if set(words[name]) <= {_UNKNOWN, ""}]
    styled = words.drop(columns=unmeasured).style.hide(axis="index")
    return styled.set_table_attributes('class="dataframe geobasin-arms"')


def _steps(row: pd.Series) -> str:
    median = "never" if math.isinf(row["steps"]) else f"{row['steps']:.0f}"
    return f"{median}, {row['misses']:.0f} missed" if row["misses"] else median


def _number(value: float, form: str) -> str:
    if math.isnan(value):
        return _UNKNOWN
    return form.format(value) if math.isfinite(value) else "missed"


def _interval(row: pd.Series, name: str, short: str, form: str) -> str:
    mean, low, high = row[name], row[f"{short}_low"], row[f"{short}_high"]
    if not all(map(math.isfinite, (mean, low, high))):
        return "missed" if not math.isnan(high) else ""
    return f"{form.format(mean)} ({form.format(low)} to {form.format(high)})"
