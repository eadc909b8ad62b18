"""How plots look: matplotlib figures without pyplot, so without a window, a backend or any state."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from headrace.errors import InvalidParameter
from headrace.models.evaluation.arrays import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Curves in a plot, beyond which nobody could tell them apart.
MOST_CURVES = 10


class Curve(NamedTuple):
    """A line with a name; ``style`` is matplotlib's."""

    name: str
    x: Any
    y: Any
    style: str = "-"


class Band(NamedTuple):
    """An area between two lines."""

    name: str
    x: Any
    low: Any
    high: Any


def lines(
    title: str,
    x: str,
    y: str,
    curves: Sequence[Curve],
    *,
    bands: Sequence[Band] = (),
    steps: bool = False,
    diagonal: bool = False,
    unit: bool = False,
) -> bytes:
    """Lines in one plot, as PNG.

    Args:
        title: Above it.
        x: Label of the horizontal axis.
        y: Label of the vertical axis.
        curves: The lines.
        bands: Areas behind them.
        steps: Lines are steps.
        diagonal: Draw the line from (0, 0) to (1, 1).
        unit: Both axes go from 0 to 1.
    """
    figure, axes = _figure()
    if diagonal:
        axes.plot([0, 1], [0, 1], color="gray", linestyle="dashed", linewidth=0.8)
    for band in bands:
        axes.fill_between(band.x, band.low, band.high, alpha=0.2, label=_literal(band.name))
    for curve in curves:
        axes.plot(
            curve.x,
            curve.y,
            curve.style,
            label=_literal(curve.name),
            linewidth=1.2,
            markersize=4,
            drawstyle="steps-post" if steps else "default",
        )
    if unit:
        axes.set_xlim(-0.02, 1.02)
        axes.set_ylim(-0.02, 1.02)
    _label(axes, title, x, y)
    if len(curves) > 1 or any(curve.name for curve in curves):
        axes.legend(fontsize=8, loc="best")
    return _png(figure)


def matrix(title: str, counts: Array, labels: Sequence[str]) -> bytes:
    """A confusion matrix: shares of each true label as colour, counts as text."""
    size = len(labels)
    figure, axes = _figure(width=max(5.0, min(14.0, 2.5 + 0.45 * size)), height=None)
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, shrink=0.8, label="share of the true label")
    places = range(size)
    axes.set_xticks(places, labels, rotation=45 if size > 5 else 0, fontsize=8)
    axes.set_yticks(places, labels, fontsize=8)
    if size <= 20:
        for row in places:
            for column in places:
                axes.text(
                    column,
                    row,
                    f"{counts[row, column]:g}",
                    ha="center",
                    va="center",
                    fontsize=8,
                    color="white" if shares[row, column] > 0.5 else "black",
                )
    _label(axes, title, "predicted", "true")
    return _png(figure)


def scatter(title: str, x: str, y: str, points: Curve, *, diagonal: bool) -> bytes:
    """Points, and the line where both are equal, or where the vertical one is zero."""
    figure, axes = _figure()
    axes.scatter(points.x, points.y, s=8, alpha=0.5, linewidths=0)
    if diagonal and len(points.x):
        ends = [
            float(min(np.min(points.x), np.min(points.y))),
            float(max(np.max(points.x), np.max(points.y))),
        ]
        axes.plot(ends, ends, color="gray", linestyle="dashed", linewidth=0.8)
    elif not diagonal:
        axes.axhline(0, color="gray", linestyle="dashed", linewidth=0.8)
    _label(axes, title, x, y)
    return _png(figure)


def histogram(title: str, x: str, edges: Array, counts: Array) -> bytes:
    """Bars over a range."""
    figure, axes = _figure()
    axes.bar(edges[:-1], counts, width=np.diff(edges), align="edge", edgecolor="white")
    _label(axes, title, x, "rows")
    return _png(figure)


def panels(
    title: str, x: str, parts: Sequence[tuple[str, Sequence[Curve], Sequence[Band]]]
) -> bytes:
    """Several plots of lines above each other, each with its name."""
    figure, _ = _figure(height=1.0 + 2.2 * len(parts), empty=True)
    for number, (name, curves, bands) in enumerate(parts, 1):
        axes = figure.add_subplot(len(parts), 1, number)
        for band in bands:
            axes.fill_between(band.x, band.low, band.high, alpha=0.2, label=_literal(band.name))
        for curve in curves:
            axes.plot(
                curve.x,
                curve.y,
                curve.style,
                label=_literal(curve.name),
                linewidth=1.2,
                markersize=3,
            )
        _label(axes, name, x if number == len(parts) else "", "")
        axes.tick_params(axis="x", labelsize=7)
        axes.legend(fontsize=7, loc="best")
    figure.suptitle(title, fontsize=11)
    return _png(figure)


def _figure(
    width: float = 6.4, height: float | None = 4.4, *, empty: bool = False
) -> tuple[Figure, Axes]:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise InvalidParameter(
            "Plots need matplotlib (pip install headrace[evaluate]), or evaluate with plots=False."
        ) from None
    figure = Figure(figsize=(width, height or width * 0.85), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes: Any = None if empty else figure.add_subplot()
    return figure, axes


def _label(axes: Axes, title: str, x: str, y: str) -> None:
    axes.set_title(_literal(title), fontsize=10)
    axes.set_xlabel(_literal(x), fontsize=9)
    axes.set_ylabel(_literal(y), fontsize=9)


def _literal(text: str) -> str:
    """Text in which ``$`` does not begin a formula."""
    return text.replace("$", r"\$")


def _png(figure: Figure) -> bytes:
    out = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a label in a script that the font lacks
        figure.savefig(out, format="png")
    return out.getvalue()
