"""How a line's object becomes text: orjson where it is installed, else the standard library."""

from __future__ import annotations

import codecs
import importlib
import json
import re
from collections.abc import Callable
from typing import Any

from fastapi_taskflow.checks import one_of
from fastapi_taskflow.errors import ConfigurationError

Encode = Callable[[dict[str, Any]], str]
"""Makes ASCII text of an object of JSON types, or raises TypeError or ValueError."""

ENCODERS = ("orjson", "json")

_to_json = json.JSONEncoder(
    ensure_ascii=False, check_circular=False, allow_nan=False, separators=(",", ":")
).encode

_quoted = json.JSONEncoder().encode
_TEXT = re.compile(r'[^"\\]+')


def find_encoder(name: str | None) -> Encode:
    """The encoder of a name; with None the fastest one there is.

    Both write the same object. A line is ASCII, so it survives every handler's encoding, and
    what could end or disguise it (U+2028, C1 controls, bidirectional overrides) is escaped.

    Raises:
        ConfigurationError: The name is unknown, or orjson is not installed.
    """
    if name is not None:
        one_of("encoder", name, ENCODERS)
    if name == "json":
        return encode_json
    try:
        orjson = importlib.import_module("orjson")
    except ImportError as error:
        if name is None:
            return encode_json
        hint = "the package orjson (pip install 'fastapi-taskflow[orjson]'), or 'json'"
        raise ConfigurationError("encoder", name, hint) from error
    return _orjson_encoder(orjson.dumps)


def encode_json(data: dict[str, Any]) -> str:
    """Encode with the standard library."""
    return _in_ascii(_to_json(data))


def _orjson_encoder(dumps: Callable[[object], bytes]) -> Encode:
    def encode(data: dict[str, Any]) -> str:
        try:
            line = dumps(data).decode()
        except TypeError:  # a whole number of more than 64 bits
            return encode_json(data)
        return _in_ascii(line)

    return encode


def _in_ascii(line: str) -> str:
    """Escape what is not ASCII, and DEL, the one control character that encoders leave.

    Raises:
        UnicodeEncodeError: There is half of a surrogate pair.
    """
    if not line.isascii():
        line = line.encode("ascii", _ESCAPED).decode()
    return line if "\x7f" not in line else line.replace("\x7f", r"\u007f")


def _escape(error: UnicodeError) -> tuple[str, int]:
    """Write out the text that a codec has stopped at, up to its end or the next backslash."""
    found = isinstance(error, UnicodeEncodeError) and _TEXT.match(error.object, error.start)
    if not found:
        raise error
    found[0].encode()
    return _quoted(found[0])[1:-1], found.end()


# An error handler is several times as fast as a regular expression.
_ESCAPED = "fastapi_taskflow.escaped"
codecs.register_error(_ESCAPED, _escape)
