"""Puts what was measured into the documentation."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.growth import Curve
from benchmarks.plot import draw
from benchmarks.runner import ROOT

FOLDER = ROOT / "docs" / "explanation"
CURVES = ROOT / "benchmarks" / "results" / "growth.json"
BEGIN, END = "<!-- table -->", "<!-- end of table -->"


def put_table(shown: str, page: Path = FOLDER / "speed.md") -> None:
    """Replace the table of the page."""
    text = page.read_text(encoding="utf-8")
    new = f"{BEGIN}\n\n{shown}\n\n{END}"
    between = re.compile(f"{BEGIN}.*{END}", re.DOTALL)
    page.write_text(between.sub(lambda _: new, text), encoding="utf-8")


def save(
    curves: Sequence[Curve], data: Path = CURVES, picture: Path = FOLDER / "growth.svg"
) -> None:
    """Write the curves, and draw them."""
    data.parent.mkdir(exist_ok=True)
    text = json.dumps([asdict(curve) for curve in curves], indent=2)
    data.write_text(text + "\n", encoding="utf-8")
    draw(curves, picture)
