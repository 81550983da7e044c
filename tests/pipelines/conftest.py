"""The real programs that logs are shipped with."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable

import pytest

DebianProgram = Callable[[str, str], str]

# Daemons are in directories that a user's PATH may lack.
_WHERE = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])


@pytest.fixture
def debian_program() -> DebianProgram:
    """Find a program by its name and its Debian package.

    Where it is missing the test is skipped, but fails if the environment variable CI is set.
    """

    def find(name: str, package: str) -> str:
        program = shutil.which(name, path=_WHERE)
        if program is not None:
            return program
        reason = f"{name} is missing: apt-get install {package}"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)

    return find
