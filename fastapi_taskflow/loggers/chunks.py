"""Lines by as many as one write may have, each formatted only when its turn has come."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from fastapi_taskflow.guard import let_pass

Line = TypeVar("Line", str, bytes)


def formatted(
    records: Iterable[logging.LogRecord],
    form: Callable[[logging.LogRecord], Line],
    failed: Callable[[BaseException], None],
    done: Callable[[int], None],
) -> Iterator[Line]:
    """The lines of records.

    Args:
        records: The records.
        form: Makes a line.
        failed: Called with the error where it can't; that record has no line.
        done: Called with 1 after that.
    """
    for record in records:
        try:
            line = form(record)
        except BaseException as error:  # noqa: BLE001  # see let_pass
            let_pass(error)
            failed(error)
            done(1)
        else:
            yield line


def chunks(
    lines: Iterable[Line], room: Callable[[Line], int], size: Callable[[Line], int] = len
) -> Iterator[list[Line]]:
    """Lines by as many as go out by one write; one that is full does not wait for the next line.

    Args:
        lines: The lines.
        room: How much a write may have that begins with this line; it may be longer itself.
        size: How much a line is.
    """
    chunk: list[Line] = []
    left = 0
    for line in lines:
        count = size(line)
        if chunk and count > left:
            yield chunk
            chunk = []
        if not chunk:
            left = room(line)
        chunk.append(line)
        left -= count
        if left <= 0:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
