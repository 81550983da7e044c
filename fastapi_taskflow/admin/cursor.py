"""Cursors: a position in a listing, as a short opaque text for URLs."""

from __future__ import annotations

import base64
import binascii
from datetime import datetime

from fastapi_taskflow.store.base import Position


def write_cursor(position: Position) -> str:
    """The cursor for a position."""
    text = f"{position.created_at.isoformat()} {position.task_id}"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def read_cursor(cursor: str) -> Position:
    """The position of a cursor.

    Raises:
        ValueError: It is none that ``write_cursor`` made.
    """
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
    except (binascii.Error, UnicodeError) as error:
        raise ValueError("no cursor") from error
    time, _, task_id = text.partition(" ")
    created_at = datetime.fromisoformat(time)
    if not task_id or created_at.tzinfo is None:
        raise ValueError("no cursor")
    return Position(created_at, task_id)
