"""``python -m benchmarks``: measures everything, and prints one table."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.figures import GOALS, OTHERS
from benchmarks.groups import GROUPS, SIZES
from benchmarks.growth import grow
from benchmarks.page import put_table, save
from benchmarks.runner import dump, measure
from benchmarks.steps import report
from benchmarks.table import machine, table

WHOLE = ("growth", "docs", "steps")
HELP = f"""what to measure, of {", ".join(GROUPS)}; nothing for all of them; or growth, for plots of
how costs grow; or docs, for both, put into the documentation; or steps, to count what a line and a
task consist of"""


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=HELP)
    parser.add_argument("--processes", type=int, default=3, help="how many for each group")
    parser.add_argument("--size", choices=SIZES, default="full", help="how much in each")
    parser.add_argument("--output", type=Path, help="a file for all samples, to read with pyperf")
    asked = parser.parse_args(given)
    if unknown := set(asked.groups) - {*GROUPS, *WHOLE}:
        parser.error(f"no such group: {', '.join(sorted(unknown))}")
    if "steps" in asked.groups and sys.version_info[:2] == (3, 12):
        parser.error("steps: not with Python 3.12, which may crash when instructions are traced")
    if asked.processes < 1:
        parser.error("--processes: 1 or more")
    if (whole := set(asked.groups) & set(WHOLE)) and (
        len(asked.groups) > 1 or asked.output is not None or asked.size != "full"
    ):
        parser.error(f"{', '.join(sorted(whole))}: alone, of full size, and without --output")
    return asked


def main(given: Sequence[str] | None = None) -> None:
    """Measure, and print the table."""
    asked = arguments(given)
    if asked.groups == ["growth"]:
        save(grow(asked.size))
        return
    if asked.groups == ["steps"]:
        print(report())
        return
    for_docs = asked.groups == ["docs"]
    groups = list(GROUPS) if for_docs or not asked.groups else asked.groups
    measured = measure(groups, processes=asked.processes, size=asked.size)
    if asked.output is not None:
        dump(measured, asked.output)
    wanted = [figure for figure in (*GOALS, *OTHERS) if figure.measured.partition("/")[0] in groups]
    tiny = (
        "" if asked.size == "full" else "\n\nSmall amounts: see that all works, not what it costs."
    )
    shown = f"{machine()}{tiny}\n\n{table(wanted, measured)}"
    print(shown)
    if for_docs:
        put_table(shown)
        save(grow(asked.size))


if __name__ == "__main__":
    main()
