"""Text in the forms that every database keeps alike."""

from __future__ import annotations

import hashlib

from fastapi_taskflow.sanitise import plain_text

MAX_TEXT = 500_000
"""Characters that are kept of a message, an error or a traceback.

In UTF-8, and with what is kept for searching, it is still below the 16 MB that MariaDB takes at
once.
"""


def storable(text: str) -> str:
    r"""Text without what databases refuse: NUL is written ``\x00``, a surrogate ``\ud800``."""
    if type(text) is str and text.isascii() and "\0" not in text:  # nearly all is like that
        return text
    return plain_text(text).replace("\0", r"\x00")


def cut(text: str) -> str:
    """A storable text that ends, and says so, where it would be too long."""
    text = storable(text)
    if len(text) <= MAX_TEXT:
        return text
    end = f"... ({len(text):,} characters)"
    return text[: MAX_TEXT - len(end)] + end


def exact(text: str, length: int) -> str:
    r"""A form that no other text has, of at most so many characters: as it is, where that fits.

    Backslashes are doubled, so that those of ``\0`` and ``\ud800`` are told from them. A text that
    is too long is known by its SHA-256, and begins with ``\~``, as no other does.
    """
    doubled = text.replace("\\", "\\\\").replace("\0", "\\0")
    form = doubled.encode("utf-8", "backslashreplace").decode()
    if len(form) <= length:
        return form
    digest = hashlib.sha256(form.encode()).hexdigest()
    return f"\\~{digest} {form}"[:length]
