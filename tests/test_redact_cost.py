"""What the search for the values of keys costs, in the steps that its expressions take.

Each expression is also run by a matcher in Python that tries what the real one tries, in the
same order, and counts. It is checked against the real one at each call.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fastapi_taskflow.redact import text as module
from fastapi_taskflow.redact.keys import KeyNames
from fastapi_taskflow.redact.text import KeyedText

KEYS = ["password", "token", "cookie", "api_key"]
parser: Any = re._parser  # type: ignore[attr-defined]  # noqa: SLF001  # nothing public tells what an expression is made of

CATEGORIES: dict[str, Callable[[str], bool]] = {
    "CATEGORY_SPACE": str.isspace,
    "CATEGORY_WORD": lambda char: char.isalnum() or char == "_",
}


def is_one_of(char: str, choices: Sequence[tuple[Any, Any]]) -> bool:
    negated, found = False, False
    for kind, value in choices:
        match str(kind):
            case "NEGATE":
                negated = True
            case "LITERAL":
                found = found or char == chr(value)
            case "RANGE":
                found = found or value[0] <= ord(char) <= value[1]
            case "CATEGORY":
                category = str(value)
                is_it = CATEGORIES[category.replace("_NOT_", "_")](char)
                found = found or is_it != ("_NOT_" in category)
    return found != negated


class Walk:
    """One attempt of an expression at a text: all ends it would try, in its order."""

    def __init__(self, text: str, flags: int) -> None:
        self.text = text
        self.ignores_case = bool(flags & re.IGNORECASE)
        self.groups: dict[int, str] = {}
        self.steps = 0

    def ends(self, nodes: Sequence[tuple[Any, Any]], start: int) -> Iterator[int]:
        if not nodes:
            yield start
            return
        for end in self.node(*nodes[0], start):
            yield from self.ends(nodes[1:], end)

    def first(self, nodes: Sequence[tuple[Any, Any]], start: int) -> int | None:
        return next(self.ends(nodes, start), None)

    def node(self, kind: Any, value: Any, start: int) -> Iterator[int]:
        self.steps += 1
        found = getattr(self, f"on_{str(kind).lower()}")(value, start)
        if found is True:
            yield start
        elif found:
            yield from found

    def char(self, choices: Sequence[tuple[Any, Any]], start: int) -> list[int]:
        char = self.text[start : start + 1]
        spellings = {char, char.lower(), char.upper()} if self.ignores_case else {char}
        negated = str(choices[0][0]) == "NEGATE"
        decide = all if negated else any
        return [start + 1] if char and decide(is_one_of(c, choices) for c in spellings) else []

    def on_in(self, choices: Any, start: int) -> list[int]:
        return self.char(choices, start)

    def on_literal(self, value: int, start: int) -> list[int]:
        return self.char([("LITERAL", value)], start)

    def on_not_literal(self, value: int, start: int) -> list[int]:
        return self.char([("NEGATE", None), ("LITERAL", value)], start)

    def on_at(self, where: Any, start: int) -> bool:
        if str(where) == "AT_END_STRING":
            return start == len(self.text)
        assert str(where) == "AT_BOUNDARY"
        around = self.text[max(start - 1, 0) : start], self.text[start : start + 1]
        before, after = (bool(char) and CATEGORIES["CATEGORY_WORD"](char) for char in around)
        return before != after

    def on_assert(self, value: Any, start: int) -> bool:
        direction, nodes = value
        start -= nodes.getwidth()[0] if direction < 0 else 0
        return start >= 0 and self.first(nodes, start) is not None

    def on_assert_not(self, value: Any, start: int) -> bool:
        return not self.on_assert(value, start)

    def on_groupref(self, group: int, start: int) -> list[int]:
        end = start + len(self.groups[group])
        return [end] if self.text[start:end] == self.groups[group] else []

    def on_subpattern(self, value: Any, start: int) -> Iterator[int]:
        group, _, _, nodes = value
        for end in self.ends(nodes, start):
            if group is not None:
                self.groups[group] = self.text[start:end]
            yield end

    def on_branch(self, value: Any, start: int) -> Iterator[int]:
        for nodes in value[1]:
            yield from self.ends(nodes, start)

    def on_possessive_repeat(self, value: Any, start: int) -> list[int]:
        low, high, nodes = value
        count, end = 0, start
        while count < int(high) and (reached := self.first(nodes, end)) not in (None, end):
            count, end = count + 1, reached or 0
        return [end] if count >= low else []

    def on_max_repeat(self, value: Any, start: int) -> Iterator[int]:
        """Each count of one character from the most to the least; of more, no more than one."""
        low, high, nodes = value
        if nodes.getwidth() != (1, 1):
            assert (low, high) == (0, 1)
            yield from self.ends(nodes, start)
            yield start
            return
        end = start
        while end - start < int(high) and self.first(nodes, end) is not None:
            end += 1
        for each in range(end, start + low - 1, -1):
            self.steps += 1
            yield each


class Counted:
    """An expression that counts its steps."""

    steps = 0

    def __init__(self, pattern: re.Pattern[str]) -> None:
        self.pattern = pattern
        self.nodes = list(parser.parse(pattern.pattern, pattern.flags))

    def match(self, text: str, start: int = 0) -> re.Match[str] | None:
        found = self.pattern.match(text, start)
        self._attempt(text, start, found)
        return found

    def search(self, text: str, start: int = 0) -> re.Match[str] | None:
        found = self.pattern.search(text, start)
        for place in range(start, found.start() if found else len(text)):
            self._attempt(text, place, None)
        if found:
            self._attempt(text, found.start(), found)
        return found

    def finditer(self, text: str, start: int = 0) -> Iterator[re.Match[str]]:
        while found := self.search(text, start):
            assert found.end() > found.start()
            yield found
            start = found.end()

    def _attempt(self, text: str, start: int, found: re.Match[str] | None) -> None:
        walk = Walk(text, self.pattern.flags)
        end = walk.first(self.nodes, start)
        Counted.steps += walk.steps
        assert end == (found.end() if found else None), (self.pattern.pattern, text, start)


def counted(owner: dict[str, Any]) -> dict[str, Any]:
    """The expressions among attributes, counting."""
    changed: dict[str, Any] = {}
    for name, value in owner.items():
        if isinstance(value, re.Pattern):
            changed[name] = Counted(value)
        elif name == "_QUOTES":
            changed[name] = counted(value)
    return changed


def steps_for(text: str) -> int:
    """How many steps it takes to find the values in a text."""
    keyed = KeyedText(KeyNames(KEYS))
    vars(keyed).update(counted(vars(keyed)))
    Counted.steps = 0
    with pytest.MonkeyPatch.context() as patch:
        for name, value in counted(vars(module)).items():
            patch.setattr(module, name, value)
        spans = list(keyed.spans(text))
    assert spans == list(KeyedText(KeyNames(KEYS)).spans(text))
    return Counted.steps


UNITS = [
    *("a", "x", "=", ":", " ", "-", "_", "(", "[]", "<", "'", '"', ",", "&a", ",a", "; a=", "\n"),
    *("\\", '\\"', "\\\\'", "password=", "password=[", "password='", 'password="\\', "token: "),
    *("token=<", "token: str", "token: a = ", "str | ", 'token="""', '""', "api key ", "bearer "),
    *("cookie: a=b; ", "://", "://a:", "a@", "password=a&", "('token', 'a", "('token', ", "('a', "),
    *('("token", "a")', "(\\'token\\', \\'", "'--token', ", "'--token', 'a'", "<token>", "<token "),
    *("<token>a</", "<token><![CDATA[", "]]", "</", "<a:token>a"),
]
"""What may be the start of something, many times."""


def is_linear(start: str, unit: str, end: str) -> bool:
    """Whether twice the text takes about twice the steps: four times, if each has all again."""
    number = 240 // len(unit) + 1
    once, twice = (steps_for(start + unit * n + end) for n in (number, 2 * number))
    return twice <= 2.4 * once


@pytest.mark.parametrize("start", ["", 'password=["', "('token', \"", "token: <"])
def test_twice_the_text_takes_twice_the_steps(start: str) -> None:
    assert [unit for unit in UNITS if not is_linear(start, unit, "=,</://")] == []


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.sampled_from(UNITS), min_size=2, max_size=4).map("".join),
    st.sampled_from(["=,</://", "'=,</://", '")=,</://']),
)
@example("cookie: a=b; ('token', \"", "")
def test_twice_any_text_takes_twice_the_steps(unit: str, end: str) -> None:
    assert is_linear("", unit, end)


def test_quotes_of_ever_more_levels_do_not_take_more_steps_each() -> None:
    """Each unit opens a quote that no other closes: only so many are looked at to the end."""

    def text(levels: int) -> str:
        marks = ["\\" * level for level in range(levels)]
        return "".join(f"({mark}'token{mark}', {mark}'" for mark in marks)

    few, many = text(40), text(80)

    assert steps_for(many) / len(many) <= 1.2 * steps_for(few) / len(few)
