"""What a query's text and tags find, the same for every store."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi_taskflow.store.texts import storable

_BETWEEN = "\x1e"


def contains_text(text: str, *fields: str | None) -> bool:
    """Whether one of the fields has the text in it, in any case of any script."""
    folded = fold(text)
    return any(field is not None and folded in fold(field) for field in fields)


def searchable(*fields: str | None) -> str:
    """One text in which a folded text is found where one of the fields has it."""
    return _BETWEEN.join(fold(field) for field in fields if field is not None)


def fold(text: str) -> str:
    """A text as it is compared: as a database has it, and without its case."""
    return storable(text).casefold().replace(_BETWEEN, r"\x1e")


def has_tags(wanted: Mapping[str, str], tags: Mapping[str, str]) -> bool:
    """Whether all the wanted tags are among a record's."""
    return wanted.items() <= tags.items()
