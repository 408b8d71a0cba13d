"""The figure of a comparison of optimisers: validation loss, and its difference to the rival's."""

import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from geobasin.compare_protocol import OURS, STANDARD
from geobasin.compare_result import Comparison
from geobasin.compare_table import verdict_words
from geobasin.figures.style import Palette, Plate, axes

_STYLES = ("-", "--", "-.", ":")


def comparison_figure(comparison: Comparison) -> Plate:
    """Draw, for every workload, the validation loss of the standard optimisers and DCLR.

    Args:
        comparison: finished.

    Returns:
        The figure, two panels for each workload: the mean loss of the seeds with the target, and
        below it the loss after the last step less the rival's, with the 95 % interval, of every arm
        that is compared with the rival.
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
        figure, panels = axes(palette, rows=2 * len(workloads), height=9.0 * len(workloads))
        for row, workload in enumerate(workloads):
            curve, forest = panels[2 * row], panels[2 * row + 1]
            target = comparison.targets[workload]
            for arm, style in zip(arms, _STYLES, strict=True):
                steps, losses = curves[workload, arm]
                curve.plot(steps, losses, style, label=arm)
            curve.axhline(target.loss, color=palette.muted, linewidth=1.0)
            curve.set_title(f"{workload}; the line is the target")
            curve.set_xlabel("step")
            curve.set_ylabel("validation loss (nat)")
            curve.legend()
            table = tables[workload]
            _draw_differences(forest, table[table["against"] == target.rival], palette)
            forest.set_xlabel(f"last validation loss less {target.rival}'s (nat)")
        return figure

    words = "; ".join(f"on {name}, {OURS} {verdict_words(comparison, name)}" for name in workloads)
    return Plate(
        draw,
        "Validation loss against steps for four optimisers, and every arm's last loss less that of "
        f"the best standard optimiser: {words}.",
    )


def _draw_differences(panel: Axes, table: pd.DataFrame, palette: Palette) -> None:
    shown = table[np.isfinite(table["loss_difference"])].iloc[::-1]
    places = np.arange(len(shown))
    middle = shown["loss_difference"]
    spread = [middle - shown["loss_low"], shown["loss_high"] - middle]
    panel.errorbar(middle, places, xerr=spread, fmt="o", capsize=3)
    # Names above their lines: beside them they would take half of a narrow page.
    for place, name in zip(places, shown.index, strict=True):
        across = panel.get_yaxis_transform()
        panel.text(0.01, place + 0.35, str(name), transform=across, fontsize=9, va="center")
    panel.set_yticks([])
    panel.set_ylim(-0.7, len(shown))
    panel.axvline(0.0, color=palette.muted, linewidth=1.0)


def _mean_curve(comparison: Comparison, workload: str, arm: str) -> tuple[list[int], list[float]]:
    results = comparison.results[workload][arm]
    steps = [judged.step for judged in max(results, key=lambda r: len(r.judged)).judged]
    losses = [
        [math.nan if judged.loss is None else judged.loss for judged in result.judged]
        for result in results
    ]
    whole = [row for row in losses if len(row) == len(steps)]
    return steps, np.mean(whole, axis=0).tolist()
