"""The figure of a comparison of optimisers: validation loss, and steps to the target."""

import math

import numpy as np
from matplotlib.figure import Figure

from geobasin.compare_protocol import OURS, STANDARD
from geobasin.compare_result import Comparison
from geobasin.figures.style import Palette, Plate, axes

_STYLES = ("-", "--", "-.", ":")


def comparison_figure(comparison: Comparison) -> Plate:
    """Draw, for every workload, the validation loss of the standard optimisers and DCLR.

    Args:
        comparison: finished.

    Returns:
        The figure: a row for each workload; on its left the mean loss of the seeds, with the
        target; on its right every arm's steps over the rival's, with the 95 % interval, where
        every seed reached the target.
    """
    workloads = list(comparison.results)
    arms = (*STANDARD, OURS)
    curves = {
        (workload, arm): _mean_curve(comparison, workload, arm)
        for workload in workloads
        for arm in arms
    }
    tables = {workload: comparison.table(workload) for workload in workloads}

    def draw(palette: Palette) -> Figure:
        figure, panels = axes(palette, rows=2 * len(workloads), height=6.4 * len(workloads))
        for row, workload in enumerate(workloads):
            left, right = panels[2 * row], panels[2 * row + 1]
            target = comparison.targets[workload]
            for arm, style in zip(arms, _STYLES, strict=True):
                steps, losses = curves[workload, arm]
                left.plot(steps, losses, style, label=arm)
            left.axhline(target.loss, color=palette.muted, linewidth=1.0)
            left.set_title(f"{workload}; the line is the target")
            left.set_xlabel("step")
            left.set_ylabel("validation loss (nat)")
            left.legend()
            table = tables[workload].dropna(subset=["steps_ratio"])
            shown = table[np.isfinite(table["steps_ratio"])].iloc[::-1]
            places = np.arange(len(shown))
            spread = [
                shown["steps_ratio"] - shown["steps_low"],
                shown["steps_high"] - shown["steps_ratio"],
            ]
            right.errorbar(shown["steps_ratio"], places, xerr=spread, fmt="o", capsize=3)
            right.set_yticks(places, list(shown.index))
            right.axvline(1.0, color=palette.muted, linewidth=1.0)
            right.set_xlabel(f"steps to the target, over {target.rival}'s")
        return figure

    words = "; ".join(
        f"on {workload}, {OURS} needs {_words(comparison, workload)}" for workload in workloads
    )
    return Plate(
        draw,
        "Validation loss against steps for four optimisers, and every arm's steps to the target "
        f"over those of the best standard optimiser: {words}.",
    )


def _mean_curve(comparison: Comparison, workload: str, arm: str) -> tuple[list[int], list[float]]:
    results = comparison.results[workload][arm]
    steps = [judged.step for judged in max(results, key=lambda r: len(r.judged)).judged]
    losses = [
        [math.nan if judged.loss is None else judged.loss for judged in result.judged]
        for result in results
    ]
    whole = [row for row in losses if len(row) == len(steps)]
    return steps, np.mean(whole, axis=0).tolist()


def _words(comparison: Comparison, workload: str) -> str:
    ratio = comparison.steps_ratio(workload)
    rival = comparison.targets[workload].rival
    if not math.isfinite(ratio.mean):
        return f"more steps than it was given, for some seeds; the rival is {rival}"
    return f"{ratio.mean:.2f} ({ratio.low:.2f} to {ratio.high:.2f}) of the steps of {rival}"
