"""Level names: strict where they configure, forgiving nowhere else."""

from __future__ import annotations

import logging

import pytest

from fastapi_taskflow import ConfigurationError
from fastapi_taskflow.levels import level_name, level_number


@pytest.mark.parametrize(
    ("level", "number"),
    [("debug", 10), ("INFO", 20), ("Warning", 30), ("warn", 30), ("error", 40), (50, 50)],
)
def test_names_in_any_case_and_numbers_are_levels(level: str | int, number: int) -> None:
    assert level_number(level) == number


def test_registered_names_are_levels() -> None:
    logging.addLevelName(25, "Notice")

    assert level_number("notice") == level_number(25) == 25
    assert level_name(25) == "notice"


@pytest.mark.parametrize("level", ["loud", "", "notset", 0, -1, 17, True, None, 1.5, []])
def test_anything_else_is_an_error_that_lists_the_levels(level: object) -> None:
    with pytest.raises(ConfigurationError) as caught:
        level_number(level)

    assert str(caught.value).startswith(f"min_level={level!r} can't be used; expected one of ")
    assert "'debug', 'info', 'warning'" in str(caught.value)
