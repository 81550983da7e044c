"""How a line's object becomes text: orjson where it is installed, else the standard library."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from typing import Any

from fastapi_taskflow.checks import one_of
from fastapi_taskflow.errors import ConfigurationError

Encode = Callable[[dict[str, Any]], str]
"""Makes ASCII text of an object that ``sanitise()`` has made plain."""

ENCODERS = ("orjson", "json")

_to_json = json.JSONEncoder(check_circular=False, allow_nan=False, separators=(",", ":")).encode


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
    return _without_delete(_to_json(data))


def _orjson_encoder(dumps: Callable[[object], bytes]) -> Encode:
    def encode(data: dict[str, Any]) -> str:
        try:
            line = dumps(data).decode()
        except TypeError:  # a whole number of more than 64 bits
            return encode_json(data)
        # orjson leaves what is not ASCII as it is, and can't be told otherwise.
        return _without_delete(line) if line.isascii() else encode_json(data)

    return encode


def _without_delete(line: str) -> str:
    """Escape the one control character that encoders leave as it is."""
    return line if "\x7f" not in line else line.replace("\x7f", r"\u007f")
