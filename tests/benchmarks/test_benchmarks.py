"""Every benchmark does what it claims to measure, and the table says what was found."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks import runner
from benchmarks.__main__ import arguments
from benchmarks.baselines import os_write
from benchmarks.figures import GOALS, OTHERS, Figure
from benchmarks.groups import GROUPS, PROCESSES, SIZES, in_turns, measure_group
from benchmarks.growth import grow
from benchmarks.lines import LINE, WrongLinesError, check_lines
from benchmarks.page import BEGIN, END, put_table
from benchmarks.runner import measure
from benchmarks.steps import WORKS, of_file_handler, of_lines, report
from benchmarks.table import table
from benchmarks.written import calls

FIGURES = [*GOALS, *OTHERS]


@pytest.mark.parametrize("group", GROUPS)
def test_a_group_does_its_work_and_has_what_the_table_shows(group: str) -> None:
    if group == "orjson":
        pytest.importorskip("orjson", reason="orjson is an extra")
    samples = measure_group(group, "tiny")

    assert all(value >= 0 for values in samples.values() for value in values)
    shown = {name for figure in FIGURES for name in (figure.measured, figure.beside) if name}
    of_this_group = {name.partition("/")[2] for name in shown if name.startswith(f"{group}/")}
    assert of_this_group <= samples.keys()


def test_a_group_is_measured_in_processes_of_its_own() -> None:
    measured = measure(["lines"], processes=2, size="tiny")

    assert len(measured["lines/task_log"]) == 2 * SIZES["tiny"].rounds


def test_a_machine_that_is_too_slow_for_more_processes_has_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(runner, "SECONDS", 0.0)

    measured = measure(["disabled"], processes=3, size="tiny")

    assert len(measured["disabled/task_log"]) == SIZES["tiny"].rounds


def test_a_group_that_has_one_figure_of_each_process_has_more_processes() -> None:
    measured = measure(["file-memory"], processes=1, size="tiny")

    assert len(measured["file-memory/growth"]) == PROCESSES["file-memory"] > 1


def test_a_group_whose_module_is_not_installed_has_no_samples(tmp_path: Path) -> None:
    works = {"os.write": calls(os_write)}
    size = SIZES["tiny"]

    assert in_turns(works, needs=["json"])(size, tmp_path).keys() == {"os.write"}
    assert in_turns(works, needs=["json", "no_such_module"])(size, tmp_path) == {}


@pytest.mark.parametrize("content", ["", LINE, LINE + "other\n", LINE + LINE[1:]])
def test_lines_that_are_missing_or_other_than_they_should_be_are_an_error(
    tmp_path: Path, content: str
) -> None:
    path = tmp_path / "task.log"
    path.write_text(content)

    with pytest.raises(WrongLinesError):
        check_lines(path, 2)


def test_lines_are_counted_in_the_files_that_were_rolled_too(tmp_path: Path) -> None:
    for name in ("task.log", "task.log.1"):
        (tmp_path / name).write_text(LINE)

    check_lines(tmp_path / "task.log", 2)


FIGURE = Figure("a line", "lines/a", "lines/b", most=0.5)


@pytest.mark.parametrize(
    ("ours", "met"), [([1.0, 1.0], "yes"), ([1.0, 3.0], "no")], ids=["within", "beyond"]
)
def test_a_goal_is_met_where_the_ratio_is_within_it(ours: list[float], met: str) -> None:
    rows = table([FIGURE], {"lines/a": ours, "lines/b": [2.0, 2.0]}).splitlines()

    assert rows[-1].split("|")[-2].strip() == met


def test_what_is_not_installed_is_said_to_be() -> None:
    assert "not installed" in table([FIGURE], {"lines/a": [1.0]})


def test_an_amount_has_the_unit_that_suits_it() -> None:
    figures = [
        Figure("a", "x", unit="second"),
        Figure("b", "y", unit="byte"),
        Figure("c", "z", unit="per second"),
    ]

    shown = table(figures, {"x": [2.5e-6], "y": [3_000_000], "z": [1234.0]})

    assert all(amount in shown for amount in ("2.5 µs", "3 MB", "1234 /s"))


on_python_3_11 = pytest.mark.skipif(
    sys.version_info >= (3, 12),
    reason="the page's counts are Python 3.11's, and 3.12.1 crashes when instructions are traced",
)


@on_python_3_11
def test_steps_are_counted_in_all_threads_that_a_work_keeps_busy() -> None:
    text = report()

    assert [name for name in WORKS if f"{name}: " not in text] == []
    assert "statements.py: Statement.bound" in text  # in the thread that writes rows


@on_python_3_11
def test_a_line_takes_fewer_calls_than_the_standard_librarys_own(tmp_path: Path) -> None:
    ours, theirs = of_lines(tmp_path / "ours.log"), of_file_handler(tmp_path / "theirs.log")

    assert ours.calls.total() < 0.65 * theirs.calls.total()


def test_growth_is_measured_at_rising_sizes() -> None:
    curves = grow("tiny")

    for curve in curves:
        sizes = [size for size, _ in curve.points]
        assert sizes == sorted(set(sizes))
        assert all(seconds > 0 for _, seconds in curve.points)


def test_a_table_takes_the_place_of_the_last_one(tmp_path: Path) -> None:
    page = tmp_path / "speed.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")

    put_table("new", page)

    assert page.read_text() == f"before\n{BEGIN}\n\nnew\n\n{END}\nafter\n"


@pytest.mark.parametrize(
    "given",
    [
        ["--processes", "0"],
        ["--processes", "-1"],
        ["no-such-group"],
        ["lines", "growth"],
        ["lines", "docs"],
        ["growth", "--size", "tiny"],
        ["docs", "--output", "samples.json"],
    ],
    ids=" ".join,
)
def test_what_cannot_be_measured_is_refused(
    given: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as refused:
        arguments(given)

    assert refused.value.code == 2
    assert "error:" in capsys.readouterr().err
