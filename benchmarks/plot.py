"""The curves of growth as one picture."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.growth import Curve

BLUE, INK, QUIET = "#2b6cb0", "#1f2937", "#4b5563"
STYLE = {
    "svg.fonttype": "none",  # text stays text: it can be searched, and read aloud
    "svg.hashsalt": "growth",  # the same curves give the same file
    "font.family": "sans-serif",
    "font.sans-serif": ["system-ui", "DejaVu Sans"],
    "text.color": INK,
    "axes.labelcolor": QUIET,
    "axes.edgecolor": "#c3c8d0",
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e5e7eb",
}


def draw(curves: Sequence[Curve], path: Path) -> None:
    """Draw a panel for each on a sheet of its own white, for pages light and dark."""
    matplotlib: Any = importlib.import_module("matplotlib")
    matplotlib.use("svg")
    pyplot: Any = importlib.import_module("matplotlib.pyplot")
    with pyplot.rc_context(STYLE):
        figure, panels = pyplot.subplots(2, 2, figsize=(9.2, 6.4), layout="constrained")
        for panel, curve in zip(panels.flat, curves, strict=True):
            _draw_one(panel, curve)
        figure.savefig(path, facecolor="white", metadata={"Date": None})
        pyplot.close(figure)


def _draw_one(panel: Any, curve: Curve) -> None:
    sizes = [size for size, _ in curve.points]
    microseconds = [seconds * 1e6 for _, seconds in curve.points]
    panel.plot(sizes, microseconds, color=BLUE, marker="o", linewidth=2)
    panel.set_title(curve.title, loc="left", fontsize=12)
    panel.set_xlabel(curve.size)
    panel.set_ylabel(f"µs per {curve.microseconds}")
    panel.set_ylim(0, max(microseconds) * 1.25)
    if max(sizes) > 10:
        panel.set_xscale("log")
    else:
        panel.set_xticks(sizes)
