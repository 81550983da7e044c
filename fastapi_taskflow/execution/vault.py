"""Stored arguments encrypted, where there is a key; without one they stay as they are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from fastapi_taskflow.errors import ConfigurationError, ConfigurationTypeError, DecryptionError

if TYPE_CHECKING:
    from cryptography.fernet import Fernet

Key = str | bytes
"""A Fernet key: 32 bytes in URL-safe base64."""

SEAL = "fernet:"
"""What an encrypted text begins with. JSON never does."""

_PARAMETER = "encrypt_args_key"

_HIDDEN = "***"

_EXPECTED = (
    "a Fernet key (32 bytes in URL-safe base64) or a list of them, as made by: python -c "
    '"from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())"'
)


class Vault:
    """Encrypts texts with the first of its keys, and decrypts them with any. Thread-safe.

    To change the key, put the new one first and leave the old one until no stored task needs
    it. Texts that were stored before there was a key can be read with one, too.

    Args:
        keys: One key or several, each a text or bytes; None means no encryption.

    Raises:
        ConfigurationError: A key is none, or the package cryptography is missing. No key is
            in the message.
    """

    def __init__(self, keys: Key | Sequence[Key] | None = None) -> None:
        self._size = 0
        if keys is None:
            return
        fernets = _fernets(keys)
        from cryptography.fernet import MultiFernet  # noqa: PLC0415  # optional

        self._fernet = MultiFernet(fernets)
        self._size = len(fernets)

    @property
    def encrypts(self) -> bool:
        """Whether there is a key."""
        return self._size > 0

    def seal(self, text: str) -> str:
        """Encrypt a text; without a key it is returned as it is."""
        if not self.encrypts:
            return text
        return SEAL + self._fernet.encrypt(text.encode()).decode("ascii")

    def unseal(self, stored: str) -> str:
        """Decrypt what ``seal()`` made; a text that isn't encrypted is returned as it is.

        Raises:
            DecryptionError: It is encrypted, and none of the keys fits.
        """
        if not is_sealed(stored):
            return stored
        if not self.encrypts:
            raise DecryptionError(self._size)
        from cryptography.fernet import InvalidToken  # noqa: PLC0415  # optional

        try:
            return self._fernet.decrypt(stored.removeprefix(SEAL)).decode()
        except (InvalidToken, ValueError):  # ValueError: it is not even ASCII
            raise DecryptionError(self._size) from None

    def opens(self, stored: str) -> bool:
        """Whether a stored text can be read: it is not encrypted, or one of the keys fits."""
        try:
            self.unseal(stored)
        except DecryptionError:
            return False
        return True

    def __repr__(self) -> str:
        return f"Vault(<{self._size} keys>)"


def is_sealed(stored: str) -> bool:
    """Whether a stored text is encrypted, rather than JSON."""
    return stored.startswith(SEAL)


def _fernets(keys: object) -> list[Fernet]:
    given = [keys] if isinstance(keys, (str, bytes)) else keys
    if not isinstance(given, (list, tuple)):  # a set has no first one
        raise ConfigurationTypeError(_PARAMETER, _HIDDEN, _EXPECTED)
    if not given:
        raise ConfigurationError(_PARAMETER, [], f"{_EXPECTED}; or None")
    return list(_opened(given))


def _opened(keys: Sequence[object]) -> Iterator[Fernet]:
    try:
        from cryptography.fernet import Fernet  # noqa: PLC0415  # optional
    except ImportError as error:
        hint = 'the package cryptography (pip install "fastapi-taskflow[encryption]"), or None'
        raise ConfigurationError(_PARAMETER, _HIDDEN, hint) from error
    for place, key in enumerate(keys, 1):
        expected = f"{_EXPECTED}; key {place} of {len(keys)} is not one"
        if not isinstance(key, (str, bytes)):
            raise ConfigurationTypeError(_PARAMETER, _HIDDEN, expected)
        try:
            fernet = Fernet(key)
        except ValueError:
            fernet = None
        if fernet is None:  # raised out here: no context has the key
            raise ConfigurationError(_PARAMETER, _HIDDEN, expected)
        yield fernet
