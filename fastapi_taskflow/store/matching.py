"""What a query's text and tags find, the same for every store."""

from __future__ import annotations

import json
from collections.abc import Mapping

from fastapi_taskflow.sanitise import plain_text


def contains_text(text: str, *fields: str | None) -> bool:
    """Whether one of the fields has the text in it, in any case of any script."""
    folded = _fold(text)
    return any(field is not None and folded in _fold(field) for field in fields)


def has_tags(wanted: Mapping[str, str], tags: Mapping[str, str]) -> bool:
    """Whether all the wanted tags are among a record's."""
    return wanted.items() <= tags.items()


def has_tags_json(wanted: str, tags: str) -> bool:
    """The same of two JSON objects, as a database has them."""
    return has_tags(json.loads(wanted), json.loads(tags))


def _fold(text: str) -> str:
    return plain_text(text).casefold()  # plain, as a database has it: without lone surrogates
