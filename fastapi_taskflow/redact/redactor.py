"""The rules of what is secret, and their use on texts and values."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import quote, quote_plus

from fastapi_taskflow.errors import ConfigurationError, ConfigurationTypeError
from fastapi_taskflow.fork import restart_after_fork
from fastapi_taskflow.redact.keys import DEFAULT_KEYS, KeyNames
from fastapi_taskflow.redact.text import KeyedText, Span
from fastapi_taskflow.redact.values import RedactedCopy

MIN_SECRET = 4
"""Characters that a secret must have: a shorter one would be found in half of all words."""

_ESCAPE = re.compile("%[0-9A-F]{2}")

Pattern = str | re.Pattern[str]


class Redactor:
    """Takes secrets out of texts and values. Thread-safe; it changes nothing that it is given.

    A value is secret if it stands under a secret key, in a mapping, a pair or in text such as
    ``key=value``, ``"key": "value"``, ``?key=value``, ``Authorization: Bearer value``,
    ``("key", "value")`` or ``<key>value</key>``; if a pattern matches it; or if it is a
    registered secret, wherever it appears, also quoted for a URL or escaped as ``repr()`` and
    JSON do.

    Args:
        keys: Names of secret keys. A key must be one of them as a whole; case, and what is
            between the words of a name ("-", "_", a space, nothing), don't matter. Empty
            means none.
        patterns: Regular expressions, as text or compiled. Their groups are replaced, or the
            whole match where there are none.
        secrets: Texts that are secret themselves, of 4 characters or more.
        replacement: What is put in a secret's place.

    Raises:
        ConfigurationError: A key or secret is too short, a pattern is wrong or would match
            the empty text.
    """

    def __init__(
        self,
        *,
        keys: Iterable[str] = DEFAULT_KEYS,
        patterns: Iterable[Pattern] = (),
        secrets: Iterable[str] = (),
        replacement: str = "[redacted]",
    ) -> None:
        if not isinstance(replacement, str):
            raise ConfigurationTypeError("replacement", replacement, 'text, such as "[redacted]"')
        self.keys = KeyNames(_listed("keys", keys))
        self.replacement = replacement
        self._keyed = KeyedText(self.keys)
        self._patterns = [_compiled(pattern) for pattern in _listed("patterns", patterns)]
        self._literals: tuple[str, ...] = ()
        self.start_afresh()
        restart_after_fork(self)
        self.register(*_listed("secrets", secrets))

    def start_afresh(self) -> None:
        """Have a lock that nobody holds."""
        self._guard = threading.Lock()

    def register(self, *secrets: str) -> None:
        """Add secrets; they count at once, and as long as this object is used.

        Raises:
            ConfigurationError: One is no text, or has less than 4 characters.
        """
        literals = [form for secret in secrets for form in _forms(_checked(secret))]
        with self._guard:
            self._literals = tuple(dict.fromkeys((*self._literals, *literals)))

    def text(self, text: str) -> str:
        """The text without secrets; the same object, if there are none."""
        spans = [*self._keyed.spans(text), *self._free_spans(text)]
        return self._replace(text, spans) if spans else text

    def unkeyed(self, text: str) -> str:
        """The same for text in which a key's name says nothing: a number's digits, code."""
        spans = list(self._free_spans(text))
        return self._replace(text, spans) if spans else text

    def value(self, value: Any) -> Any:
        """A copy of any value without secrets; the same object, if there are none.

        Containers become the built-in ones, cycles are kept. Any other object whose text has
        a secret becomes that text without it. It never raises: what can't be read, or is
        nested too deeply to be searched, is replaced.
        """
        if type(value) is str:
            return self.text(value)
        return RedactedCopy(self).root(value)

    def mapping(self, mapping: dict[str, Any]) -> dict[str, Any]:
        """The same for a mapping that shall stay one."""
        redacted = self.value(mapping)
        return redacted if isinstance(redacted, dict) else {}

    def _free_spans(self, text: str) -> Iterator[Span]:
        """The places of what is secret without a key."""
        for literal in self._literals:
            start = text.find(literal)
            while start >= 0:
                end = start + len(literal)
                yield Span(start, end)
                start = text.find(literal, end)
        for pattern in self._patterns:
            for match in pattern.finditer(text):
                yield from _matched_spans(match)

    def _replace(self, text: str, spans: list[Span]) -> str:
        done, parts = 0, []
        for start, end, quote_mark in sorted(spans, key=_first_and_longest):
            if end <= done or self._is_replaced(text, start, end):
                continue
            if start >= done:
                parts += [text[done:start], quote_mark, self.replacement, quote_mark]
            done = end
        return "".join([*parts, text[done:]]) if parts else text

    def _is_replaced(self, text: str, start: int, end: int) -> bool:
        """Whether a place lies within a replacement, so that redacting twice changes nothing."""
        size = len(self.replacement)
        return text.find(self.replacement, max(end - size, 0), start + size) >= 0


def _first_and_longest(span: Span) -> tuple[int, int]:
    return span.start, -span.end


def _matched_spans(match: re.Match[str]) -> list[Span]:
    groups = range(1, match.re.groups + 1)
    spans = [Span(*match.span(group)) for group in groups if match[group]] or [Span(*match.span())]
    return [span for span in spans if span.start < span.end]


def _listed(parameter: str, choice: object) -> list[Any]:
    """The items of a parameter that takes several."""
    if isinstance(choice, (str, bytes)) or not isinstance(choice, Iterable):
        shown = type(choice).__name__ if parameter == "secrets" else choice
        raise ConfigurationTypeError(parameter, shown, "a list")
    if isinstance(choice, list):  # dictConfig's resolve "ext://" and "cfg://" for an index only
        return [choice[index] for index in range(len(choice))]
    return list(choice)


def _compiled(pattern: object) -> re.Pattern[str]:
    expected = 'regular expressions of text, such as "sk-[a-z0-9]+", that never match ""'
    if isinstance(pattern, re.Pattern) and isinstance(pattern.pattern, str):
        compiled = pattern
    elif isinstance(pattern, str):
        try:
            compiled = re.compile(pattern)
        except re.error as error:
            raise ConfigurationError("patterns", pattern, f"{expected}: {error}") from error
    else:
        raise ConfigurationTypeError("patterns", pattern, expected)
    if compiled.search("") is not None:
        raise ConfigurationError("patterns", compiled.pattern, expected)
    return compiled


def _checked(secret: object) -> str:
    # The error must not show what is secret.
    expected = f"texts of {MIN_SECRET} characters or more"
    if not isinstance(secret, str):
        raise ConfigurationTypeError("secrets", f"<{type(secret).__name__}>", expected)
    if len(secret.strip()) < MIN_SECRET:
        raise ConfigurationError("secrets", f"<text of {len(secret)} characters>", expected)
    return str.__str__(secret)


def _forms(secret: str) -> Iterator[str]:
    """A secret as it is, and as it looks in URLs, in JSON and in the ``repr()`` of a container."""
    escaped = repr(secret)[1:-1]
    yield secret
    yield escaped
    yield escaped.replace('"', '\\"')
    yield escaped.replace("'", "\\'")
    yield repr(secret.encode("utf-8", "backslashreplace"))[2:-1]
    yield json.dumps(secret)[1:-1]
    yield json.dumps(secret, ensure_ascii=False)[1:-1]
    for quoted in (
        quote(secret, errors="replace"),
        quote(secret, safe="", errors="replace"),
        quote_plus(secret, errors="replace"),
    ):
        yield quoted
        yield _ESCAPE.sub(_lowered, quoted)


def _lowered(escape: re.Match[str]) -> str:
    return escape[0].lower()
