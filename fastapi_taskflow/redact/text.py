r"""Where in a text the values of secret keys are.

Each place is looked at a bounded number of times, whatever the text: what could match in many
ways is matched possessively, and a value's end is looked for only where a value begins.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from fastapi_taskflow.redact.keys import KeyNames


class Span(NamedTuple):
    """A part of a text that must go, and what to put around its replacement."""

    start: int
    end: int
    quote: str = ""


_SCHEME = re.compile(
    r"(?:bearer|basic|digest|token|negotiate|ntlm|jwt|api-?key|aws4-hmac-sha256)[ \t]++(?=\S)",
    re.IGNORECASE,
)
_ANY_SCHEME = re.compile(r"[A-Za-z][\w-]*+[ \t]++(?=[\w\"'+/.~-])")
_OPENING_QUOTE = re.compile(r"""[bfru]{0,2}+(\\*+)(["'])(\1\2\1\2)?+""", re.IGNORECASE)
_BARE = re.compile(
    r"""(?:
        [^\s&,;()\[\]{}'"\\=]++
      | = (?: "[^"\n]*+" )?
      | \\++ (?!["'])
      | [&,;] (?! \s | \Z | [\w.%-]{1,64}+ [=:] )  # what is no end is a part of the value
      | [)\]}'"] (?=\w)
    )*+""",
    re.VERBOSE,
)
_ANNOTATION = re.compile(
    r"""(?:
        (?: [a-z]\w{0,31}+ \. )?+  # "typing."
        (?: str | bytes | string | int | float | bool | none | any | object | secretstr
          | secretbytes | optional | union | final | annotated | classvar | list | dict | tuple )
        \b [ \t\[\]|,?]*+
    )++ = (?!=) [ \t]*+""",
    re.IGNORECASE | re.VERBOSE,
)
_ASSIGNED = re.compile(r"[ \t]++=(?!=)[ \t]*+")
_ANGLED = re.compile(r"<[^<>]*+>")  # many an object's repr()
_ANOTHER = re.compile(r"[;,][ \t]*+[^\s=;,]++(?==)")
_MARK = re.compile(r"""[()\[\]{}]|(?<!\\)(\\*+)(["'])""")
_QUOTES = {quote: re.compile(rf"(?<!\\)(\\*+){quote}") for quote in "\"'"}

_CLOSED = re.compile(r"\s*+(?:,\s*+)?+[)\]]|\Z")

_OPENING, _CLOSING = "([{", ")]}"

_USERINFO = re.compile(r"""://[^\s/?#:@'"]*+:([^\s/?#'"]+)@""")


class KeyedText:
    """Finds the values of keys in texts.

    Args:
        names: The keys.
    """

    def __init__(self, names: KeyNames) -> None:
        self._key = re.compile(
            rf"""(?<!\w)(?<!\w-)(?P<name>{names.spelling})"""
            r"""(?:(?P<quote>\\*+["'])\]?\s*+(?:[:=]{1,2}+>?|!=)\s*+"""
            r"""|[ \t]*+(?:[:=]{1,2}+>?|!=)[ \t]*+)""",
            re.IGNORECASE,
        )
        # With 15 backslashes at most there are 32 kinds of quotes, and of those that are still
        # open at a place of the text no two are of one kind: none is read more often than that.
        self._pair = re.compile(
            r"""(?:(?P<bracket>[(\[])\s*+[bru]{0,2}+\\*+["']|["']--?+)"""
            rf"""(?:{names.spelling})\\*+["']\s*+,\s*+"""
            r"""(?=[bfru]{0,2}+\\{0,15}+["'])""",
            re.IGNORECASE,
        )
        self._element = re.compile(
            rf"""<(?:[\w.-]{{1,64}}+:)?+(?:{names.spelling})(?:\s[^<>]*+)?+>"""
            r"""(?:\s*+<!\[CDATA\[((?:[^\]]|\](?!\]>))++)|(?!\s*+<)([^<]++)</)""",
            re.IGNORECASE,
        )
        self._any = bool(names.spelling)
        self._userinfo = names.match("password")

    def spans(self, text: str) -> Iterator[Span]:
        """The values' places; a URL's password is among them if passwords are."""
        if not self._any:
            return
        if ":" in text or "=" in text:
            yield from self._values(text)
        if "," in text:
            yield from self._pairs(text)
        if "</" in text:
            for match in self._element.finditer(text):
                yield Span(*match.span(match.lastindex or 0))
        if self._userinfo and "://" in text:
            for match in _USERINFO.finditer(text):
                yield Span(*match.span(1))

    def _values(self, text: str) -> Iterator[Span]:
        """What follows a key and a colon or an equals sign."""
        key = self._key.search(text)
        while key is not None:
            end = key.end()
            for span in _assigned(text, key):
                if span.start < span.end:
                    yield span
                end = max(end, span.end)
            key = self._key.search(text, end)

    def _pairs(self, text: str) -> Iterator[Span]:
        """The second of two texts in brackets, and what follows an option in a list."""
        for key in self._pair.finditer(text):
            opening = _OPENING_QUOTE.match(text, key.end())
            if opening is None:
                continue
            closing = _value_end(text, opening)
            value = Span(opening.end(), closing.start)
            is_value = (
                _CLOSED.match(text, closing.end)
                if key["bracket"]
                else not text.startswith("-", value.start)
            )
            if is_value and value.start < value.end:
                yield value


def _assigned(text: str, key: re.Match[str]) -> Iterator[Span]:
    """The places of a key's value: behind its type, or of all in ``key: type = value``."""
    annotation = _ANNOTATION.match(text, key.end())
    span = _value_span(text, annotation.end() if annotation else key.end(), key)
    yield span
    while another := _ASSIGNED.match(text, span.end):
        span = _value_span(text, another.end(), key)
        yield span


def _value_span(text: str, start: int, key: re.Match[str]) -> Span:
    opening = _OPENING_QUOTE.match(text, start)
    if opening is not None:
        return Span(opening.end(), _value_end(text, opening).start)
    is_header = key["name"].lower().endswith(("authorization", "cookie"))
    end = _header_end(text, start) if is_header else _bare_end(text, start)
    return Span(start, end, key["quote"] or "")


def _header_end(text: str, start: int) -> int:
    """The end of a header's value: a scheme and what follows, or a list of ``name=value``."""
    scheme = _ANY_SCHEME.match(text, start)
    end = _bare_end(text, scheme.end() if scheme else start)
    while another := _ANOTHER.match(text, end):
        end = _bare_end(text, another.end())
    return end


def _bare_end(text: str, start: int) -> int:
    """The end of a value without quotes; brackets in it are passed over as a whole."""
    for kind in (_SCHEME, _ANGLED):
        if found := kind.match(text, start):
            start = found.end()
    while True:
        bare = _BARE.match(text, start)
        end = start if bare is None else bare.end()
        if text[end : end + 1] not in _OPENING or end == len(text):
            return end
        start = _closing_end(text, end)


def _closing_end(text: str, start: int) -> int:
    """Where the bracket at a place is closed; the text's end, if it never is."""
    depth, end = 0, start
    while mark := _MARK.search(text, end):
        end = mark.end()
        if mark[2]:
            end = _quoted_end(text, mark).end
        else:
            depth += 1 if mark[0] in _OPENING else -1
        if not depth:
            return end
    return len(text)


def _value_end(text: str, opening: re.Match[str]) -> Span:
    """The quote, or the three of them, that close a value."""
    if not opening[3]:
        return _quoted_end(text, opening)
    mark = opening[3] + opening[1] + opening[2]
    start = text.find(mark, opening.end())
    return Span(start, start + len(mark)) if start >= 0 else Span(len(text), len(text))


def _quoted_end(text: str, opening: re.Match[str]) -> Span:
    r"""The quote that closes an opening one; a place behind the text's end, if none does.

    In text that was itself put into quotes, n backslashes stand before the opening quote and
    the closing one. A quote within the value has more, and so have backslashes of the value:
    as each pair of quotes doubles what is there, these come in groups of 2 * (n + 1).
    """
    level = len(opening[1])
    for closing in _QUOTES[opening[2]].finditer(text, opening.end()):
        if len(closing[1]) % (2 * (level + 1)) == level:
            return Span(closing.end() - 1 - level, closing.end())
    return Span(len(text), len(text))
