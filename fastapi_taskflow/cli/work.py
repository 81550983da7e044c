"""The demo's tasks: real work on a real file."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator
from pathlib import Path

from fastapi_taskflow.context import get_task_context
from fastapi_taskflow.loggers import task_log

CHUNK = 1 << 20
ARCHIVE_IS_BACK_AT_ATTEMPT = 2


def hash_file(path: Path) -> str:
    """Hash a file, in a worker thread."""
    digest = hashlib.sha256()
    for chunk, done, total in _chunks(path):
        digest.update(chunk)
        task_log(f"hashed {done:,} of {total:,} bytes", done=done, total=total)
    task_log(f"sha256 is {digest.hexdigest()}", sha256=digest.hexdigest())
    return digest.hexdigest()


async def count_words(path: Path) -> dict[str, int]:
    """Count a file's lines and words, on the event loop; the reading is done beside it."""
    lines = words = 0
    rest = b""
    reading = _chunks(path)
    while part := await asyncio.to_thread(next, reading, None):
        chunk, done, total = part
        lines += chunk.count(b"\n")
        text = rest + chunk
        rest = text[len(text.rstrip()) - len(text.split()[-1]) :] if text.split() else b""
        words += len(text.split()) - bool(rest)
        task_log(f"read {done:,} of {total:,} bytes", level="debug", done=done, total=total)
    counts = {"lines": lines, "words": words + bool(rest)}
    task_log("{lines:,} lines, {words:,} words".format(**counts), **counts)
    return counts


def archive_file(path: Path, archive: Path) -> None:
    """Copy a file to an archive that is busy for the first two attempts."""
    context = get_task_context()
    attempt = ARCHIVE_IS_BACK_AT_ATTEMPT if context is None else context.attempt
    task_log(f"copying {path.name} to the archive")
    if attempt < ARCHIVE_IS_BACK_AT_ATTEMPT:
        raise ConnectionError("the archive is busy (this demo's is, twice)")
    archive.mkdir(parents=True, exist_ok=True)
    (archive / path.name).write_bytes(path.read_bytes())
    task_log(f"archived as {archive / path.name}")


def verify_signature(path: Path) -> None:
    """Look for a detached signature, which nobody has uploaded."""
    signature = path.with_name(path.name + ".sig")
    task_log(f"looking for {signature.name}", level="warning")
    signature.read_bytes()


def _chunks(path: Path) -> Iterator[tuple[bytes, int, int]]:
    """A file's chunks, each with the bytes read so far and the file's size."""
    total, done = path.stat().st_size, 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            done += len(chunk)
            yield chunk, done, total
