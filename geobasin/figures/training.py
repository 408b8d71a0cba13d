"""Figures of a training run: accuracy, the loss and its terms, alpha."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from geobasin.figures.style import Palette, Plate, axes
from geobasin.head import COMPONENTS
from geobasin.probe import history_table
from geobasin.train import EpochRecord


def training_curves(history: Sequence[EpochRecord]) -> Plate:
    """Validation accuracy, fused and per scale, and the terms of the loss, epoch by epoch.

    Args:
        history: of a run.

    Returns:
        The figure.
    """
    table = history_table(history)
    scales = [name for name in table if str(name).startswith("val_")]
    terms = ["contrastive", "scale_contrastive", "coherence", "separation"]

    def draw(palette: Palette) -> Figure:
        figure, (top, bottom) = axes(palette, rows=2, height=5.6)
        colours = palette.cycle(len(scales) + 1)
        for name, colour in zip(scales, colours[1:], strict=True):
            label = f"scale {str(name).removeprefix('val_')}"
            top.plot(table.index, table[name], color=colour, linewidth=1.2, label=label)
        top.plot(table.index, table["val"], color=colours[0], linewidth=2.4, label="fused")
        top.set_ylabel("validation accuracy")
        top.legend(ncols=2, loc="lower right")
        for name, colour in zip(terms, palette.series, strict=False):
            bottom.plot(table.index, table[name], color=colour, label=name.replace("_", " "))
        bottom.set_yscale("log")
        bottom.set_ylabel("term of the loss")
        bottom.set_xlabel("epoch")
        _whole_epochs(top, bottom)
        bottom.legend(ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1.0))
        return figure

    last = table.iloc[-1]
    return Plate(
        draw,
        f"Over {len(table)} epochs the fused validation accuracy rises from "
        f"{table['val'].iloc[0]:.3f} to {last['val']:.3f}, while the contrastive term falls from "
        f"{table['contrastive'].iloc[0]:.3f} to {last['contrastive']:.3f}.",
    )


def structure_path(history: Sequence[EpochRecord]) -> Plate:
    """How alpha and the geometric weights moved, epoch by epoch.

    Args:
        history: of a run.

    Returns:
        The figure: alpha above, the three weights of every scale below.
    """
    alpha = history_table(history)["alpha"]
    scales = list(history[-1].geometric_weights)
    epochs = [record.epoch for record in history]
    styles = ("-", "--", ":", "-.")

    def draw(palette: Palette) -> Figure:
        figure, (top, bottom) = axes(palette, rows=2, height=5.0)
        top.plot(epochs, alpha, color=palette.series[3], marker="o", markersize=3)
        top.axhline(0.5, color=palette.muted, linestyle="--", linewidth=1)
        top.set_ylabel("alpha (dashed: 1/2)")
        for component, colour in zip(COMPONENTS, palette.series, strict=False):
            for index, scale in enumerate(scales):
                bottom.plot(
                    epochs,
                    [record.geometric_weights[scale][component] for record in history],
                    color=colour,
                    linestyle=styles[index % len(styles)],
                    label=f"{component}, {scale}",
                )
        bottom.set_ylabel("geometric weight")
        bottom.set_xlabel("epoch")
        _whole_epochs(top, bottom)
        bottom.legend(ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0), fontsize=7.5)
        return figure

    last = history[-1].geometric_weights
    parts = "; ".join(
        f"scale {scale}: " + ", ".join(f"{name} {last[scale][name]:.2f}" for name in COMPONENTS)
        for scale in scales
    )
    return Plate(
        draw,
        f"Over {len(epochs)} epochs alpha goes from {alpha.iloc[0]:.3f} to {alpha.iloc[-1]:.3f}; "
        f"the weights end at {parts}.",
    )


def accuracy_bars(table: pd.DataFrame) -> Plate:
    """Test accuracy of several methods with their intervals, best last.

    Args:
        table: indexed by method, with columns ``accuracy``, ``low`` and ``high`` (fractions).

    Returns:
        The figure.
    """
    ordered = table.sort_values("accuracy")

    def draw(palette: Palette) -> Figure:
        figure, (panel,) = axes(palette, height=0.9 + 0.36 * len(ordered))
        centre = ordered["accuracy"]
        colours = [
            palette.series[1] if str(name).startswith("GeoFractalDavid") else palette.series[0]
            for name in ordered.index
        ]
        panel.hlines(range(len(ordered)), ordered["low"], ordered["high"], colors=colours)
        panel.scatter(centre, range(len(ordered)), color=colours, zorder=3)
        panel.set_yticks(range(len(ordered)), [str(name) for name in ordered.index])
        panel.set_xlabel("test accuracy, 95 % interval")
        panel.set_ylim(-0.6, len(ordered) - 0.4)
        return figure

    parts = [
        f"{name} {row['accuracy']:.3f} ({row['low']:.3f} to {row['high']:.3f})"
        for name, row in ordered[::-1].iterrows()
    ]
    return Plate(draw, "Test accuracy with 95 % intervals: " + "; ".join(parts) + ".")


def _whole_epochs(*panels: Axes) -> None:
    for panel in panels:
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
