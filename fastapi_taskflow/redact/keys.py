"""The names under which secrets are kept, and how such a name is recognised."""

from __future__ import annotations

import re
from collections.abc import Iterable

from fastapi_taskflow.errors import ConfigurationError, ConfigurationTypeError

DEFAULT_KEYS = (
    "password",
    "passwd",
    "pwd",
    "passphrase",
    "db_password",
    "database_password",
    "secret",
    "secret_key",
    "client_secret",
    "api_secret",
    "token",
    "access_token",
    "refresh_token",
    "id_token",
    "auth_token",
    "api_token",
    "bearer_token",
    "jwt",
    "otp",
    "session_token",
    "csrf_token",
    "csrfmiddlewaretoken",
    "xsrf_token",
    "x_auth_token",
    "x_csrf_token",
    "x_xsrf_token",
    "api_key",
    "x_api_key",
    "access_key",
    "secret_access_key",
    "aws_secret_access_key",
    "encryption_key",
    "signing_key",
    "private_key",
    "authorization",
    "proxy_authorization",
    "cookie",
    "set_cookie",
    "credentials",
    "session_id",
    "session_key",
)
"""Names whose values are secret almost everywhere."""

_NO_SEPARATORS = str.maketrans("", "", "-_ \t\r\n")
_EXPECTED = 'a list of key names, such as ["password", "api_key"]'


class KeyNames:
    """Names of keys: case doesn't matter, nor does ``-``, ``_``, a space or nothing between words.

    Args:
        names: The names, in any of these spellings, camel case too.

    Raises:
        ConfigurationError: A name is none.
    """

    def __init__(self, names: Iterable[object]) -> None:
        words = {_words(name) for name in names}
        spellings = sorted(map(_spelling, words), key=len, reverse=True)
        self.spelling = "|".join(spellings)
        self._pattern = re.compile(self.spelling, re.IGNORECASE)
        self._joined = {"".join(each) for each in words}

    def match(self, key: object) -> bool:
        """Whether a key is, as a whole, one of the names."""
        if isinstance(key, bytes):
            key = key.decode("latin-1")  # of headers, as ASGI has them
        if not isinstance(key, str):
            return False
        name = str.__str__(key)
        return (
            name.translate(_NO_SEPARATORS).casefold() in self._joined  # few are: it saves time
            and self._pattern.fullmatch(name.strip()) is not None
        )


def _spelling(words: tuple[str, ...]) -> str:
    """A regular expression for all spellings of a name."""
    return "[-_ ]?".join(map(re.escape, words))


def _words(name: object) -> tuple[str, ...]:
    if not isinstance(name, str):
        raise ConfigurationTypeError("keys", name, _EXPECTED)
    words = re.split(r"[-_\s]+|(?<=[a-z0-9])(?=[A-Z])", name)
    if not any(words):
        raise ConfigurationError("keys", name, _EXPECTED)
    return tuple(word.casefold() for word in words if word)
