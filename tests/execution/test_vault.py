"""Stored arguments are encrypted with the first key, read with any, and never show one."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

import pytest

from fastapi_taskflow.errors import ConfigurationError, ConfigurationTypeError, DecryptionError
from fastapi_taskflow.execution.vault import Vault, is_sealed

fernet = pytest.importorskip("cryptography.fernet", reason="cryptography is an extra")

OLD = b"b2xkLW9sZC1vbGQtb2xkLW9sZC1vbGQtb2xkLW9sZC0="
NEW = "bmV3LW5ldy1uZXctbmV3LW5ldy1uZXctbmV3LW5ldy0="
JSON = '{"positional":{"name":"Zoë \\u0000 \U0001f600"},"rest":[],"keyword":{}}'


@pytest.mark.parametrize("keys", [NEW, OLD, [NEW], (NEW, OLD)], ids=["str", "bytes", "one", "two"])
def test_what_is_sealed_is_hidden_and_comes_back(keys: Any) -> None:
    vault = Vault(keys)

    token = vault.seal(JSON)

    assert vault.encrypts
    assert is_sealed(token)
    assert token.isascii()
    assert "name" not in token
    assert vault.unseal(token) == JSON


def test_the_first_key_encrypts_and_all_decrypt() -> None:
    both = Vault([NEW, OLD])

    assert Vault(NEW).unseal(both.seal(JSON)) == JSON
    assert both.unseal(Vault(OLD).seal(JSON)) == JSON


def test_without_a_key_texts_stay_as_they_are() -> None:
    vault = Vault()

    assert not vault.encrypts
    assert vault.seal(JSON) == JSON
    assert not is_sealed(JSON)
    assert vault.unseal(JSON) == JSON


def test_what_was_stored_before_there_was_a_key_can_be_read() -> None:
    assert Vault(NEW).unseal(JSON) == JSON


@pytest.mark.parametrize(
    ("vault", "said"),
    [(Vault(), "there is no encrypt_args_key"), (Vault(NEW), "none of the encrypt_args_key fits")],
    ids=["no key", "another key"],
)
def test_what_no_key_opens_is_an_error(vault: Vault, said: str) -> None:
    token = Vault(OLD).seal(JSON)

    with pytest.raises(DecryptionError, match=said):
        vault.unseal(token)


@pytest.mark.parametrize(
    "damage",
    [
        lambda token: token[:-10],
        lambda token: token[:20] + "AAAA" + token[24:],
        lambda _: "fernet:",
        lambda _: "fernet:ü",
    ],
    ids=["short", "changed", "empty", "no base64"],
)
def test_a_damaged_token_is_an_error(damage: Callable[[str], str]) -> None:
    vault = Vault(OLD)

    with pytest.raises(DecryptionError, match="or the text was changed"):
        vault.unseal(damage(vault.seal(JSON)))


@pytest.mark.parametrize(
    ("keys", "error"),
    [
        ("", ConfigurationError),
        ("hunter2hunter2", ConfigurationError),
        (b"hunter2\xff", ConfigurationError),
        ("hunter2ü", ConfigurationError),
        (NEW[:-4], ConfigurationError),
        ([NEW, "hunter2"], ConfigurationError),
        ([NEW, None], ConfigurationTypeError),
        ([], ConfigurationError),
        ({NEW}, ConfigurationTypeError),
        (20, ConfigurationTypeError),
    ],
    ids=["empty", "password", "bytes", "umlaut", "short", "second", "None", "none", "set", "int"],
)
def test_a_wrong_key_is_an_error_that_tells_how_to_make_one(
    keys: Any, error: type[Exception]
) -> None:
    with pytest.raises(error, match=r"encrypt_args_key=.*Fernet\.generate_key") as caught:
        Vault(keys)

    shown = "".join(traceback.format_exception(caught.value)) + repr(vars(caught.value))
    assert "hunter2" not in shown
    assert NEW[:8] not in shown
    assert caught.value.__context__ is None


def test_the_wrong_one_of_several_keys_is_named() -> None:
    with pytest.raises(ConfigurationError, match="key 2 of 3 is not one"):
        Vault([NEW, "hunter2", OLD])


def test_no_key_is_shown() -> None:
    assert repr(Vault([NEW, OLD])) == "Vault(<2 keys>)"
    assert repr(Vault()) == "Vault(<0 keys>)"


def test_a_key_that_was_generated_fits() -> None:
    vault = Vault(fernet.Fernet.generate_key().decode())

    assert vault.unseal(vault.seal("")) == ""


MISSING = """
import sys
sys.modules["cryptography"] = None
from fastapi_taskflow.execution.vault import Vault
assert Vault().seal("{}") == "{}"
Vault("a2V5")
"""


def test_without_the_package_the_extra_is_named(run_python: Callable[[str], Any]) -> None:
    result = run_python(MISSING)

    assert result.returncode == 1
    assert 'pip install "fastapi-taskflow[encryption]"' in result.stderr
    assert "a2V5'" not in result.stderr.splitlines()[-1]
