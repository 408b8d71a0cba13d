"""Figures of the Cantor prototypes, as published: distribution, sorted curve, cross-scale."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.stats import kstest

from geobasin.figures.style import Palette, Plate, axes
from geobasin.head import COMPONENTS
from geobasin.model import GeoFractalDavid
from geobasin.probe import prototype_table, prototypes, weight_table


def prototype_distribution(model: GeoFractalDavid) -> Plate:
    """Histogram of the Cantor prototypes, a panel for each scale.

    Args:
        model: trained.

    Returns:
        The figure.
    """
    table = prototype_table(model)

    def draw(palette: Palette) -> Figure:
        figure, panels = axes(palette, rows=len(model.scales), height=1.2 + 1.3 * len(model.scales))
        low = min(0.0, float(table["min"].min()))
        high = max(1.0, float(table["max"].max()))
        bins = np.linspace(low, high, 21)
        for panel, scale, colour in zip(
            panels, model.scales, palette.cycle(len(model.scales)), strict=True
        ):
            panel.hist(prototypes(model, scale), bins=list(bins), color=colour)
            panel.axvline(table["mean"][scale], color=palette.ink, linestyle="--", linewidth=1.2)
            panel.set_ylabel("classes")
            panel.set_title(f"scale {scale}", loc="left")
        panels[-1].set_xlabel("Cantor prototype (dashed: mean)")
        return figure

    parts = [
        f"scale {scale}: mean {row['mean']:.3f}, from {row['min']:.3f} to {row['max']:.3f}"
        for scale, row in table.iterrows()
    ]
    return Plate(draw, "Histograms of the classes' Cantor prototypes. " + "; ".join(parts) + ".")


def prototypes_sorted(model: GeoFractalDavid) -> Plate:
    """The prototypes of every scale in rising order, beside an even spread over [0, 1].

    Args:
        model: trained.

    Returns:
        The figure.
    """
    return sorted_curves({scale: prototypes(model, scale) for scale in model.scales})


def sorted_curves(places: Mapping[int, NDArray[np.float64]]) -> Plate:
    """Prototypes in rising order, a curve for each scale, beside an even spread over [0, 1].

    Args:
        places: the prototypes, [C], of every scale.

    Returns:
        The figure.
    """
    count = len(next(iter(places.values())))
    even = (np.arange(count) + 0.5) / count

    def draw(palette: Palette) -> Figure:
        figure, (panel,) = axes(palette)
        panel.plot(np.arange(count), even, color=palette.muted, linestyle="--", label="even")
        markers = ("o", "s", "^", "D", "v", "P")
        for index, ((scale, values), colour) in enumerate(
            zip(places.items(), palette.cycle(len(places)), strict=True)
        ):
            panel.plot(
                np.arange(count),
                np.sort(values),
                color=colour,
                marker=markers[index % len(markers)] if count <= 30 else None,
                markersize=4,
                label=f"scale {scale}",
            )
        panel.set_xlabel("rank of the class")
        panel.set_ylabel("Cantor prototype")
        panel.legend()
        return figure

    worst = max(float(kstest(values, "uniform").statistic) for values in places.values())
    return Plate(
        draw,
        f"Sorted Cantor prototypes of {count} classes at {len(places)} scales; the largest "
        f"Kolmogorov-Smirnov distance to an even spread is {worst:.3f}.",
    )


def prototypes_cross_scale(model: GeoFractalDavid) -> Plate:
    """Mean and deviation of the prototypes, and the geometric weights, against the scale.

    Args:
        model: trained.

    Returns:
        The figure.
    """
    table, weights = prototype_table(model), weight_table(model)
    names = [str(scale) for scale in model.scales]

    def draw(palette: Palette) -> Figure:
        figure, (top, bottom) = axes(palette, rows=2, height=4.6)
        top.errorbar(
            names, table["mean"], yerr=table["std"], fmt="o", capsize=4, color=palette.series[0]
        )
        top.set_ylabel("prototype\n(mean, deviation)")
        base = np.zeros(len(names))
        for component, colour in zip(COMPONENTS, palette.series, strict=False):
            share = weights[component].to_numpy()
            bottom.bar(names, share, bottom=base, color=colour, label=component, width=0.6)
            base = base + share
        bottom.set_ylabel("geometric weight")
        bottom.set_xlabel("scale (dimensions)")
        bottom.set_ylim(0, 1)
        bottom.legend(ncols=3, loc="upper center", bbox_to_anchor=(0.5, 1.28))
        return figure

    parts = [
        f"scale {scale}: " + ", ".join(f"{name} {row[name]:.2f}" for name in COMPONENTS)
        for scale, row in weights.iterrows()
    ]
    return Plate(
        draw,
        "Above, mean and deviation of the Cantor prototypes at each scale; below, the weights of "
        "the three components. " + "; ".join(parts) + ".",
    )
