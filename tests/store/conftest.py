"""Real database servers of the tests' own: private, small, and gone at the end."""

from __future__ import annotations

import contextlib
import glob
import itertools
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError

from fastapi_taskflow.store.connections import Connections
from fastapi_taskflow.store.schema import metadata, owners, versions
from fastapi_taskflow.store.sql import Database

_WHERE = os.pathsep.join(
    [
        os.environ.get("PATH", os.defpath),
        "/usr/sbin",
        *sorted(glob.glob("/usr/lib/postgresql/*/bin"), reverse=True),
    ]
)
_DEADLINE = 60.0
PASSWORD = "s3cret/pass@word"
_QUOTED = "s3cret%2Fpass%40word"


def _program(name: str, package: str) -> str:
    """Find a server's program; where it is missing the test is skipped, but fails under CI."""
    program = shutil.which(name, path=_WHERE)
    if program is not None:
        return program
    reason = f"{name} is missing: apt-get install {package}"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


class Server(ABC):
    """A server that listens on a socket in its own folder. PostgreSQL refuses to run as root."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._numbers = itertools.count(1)
        self._process: subprocess.Popen[bytes] | None = None
        self._shared: Database | None = None
        self._as_user: dict[str, Any] = {}
        if os.geteuid() == 0:
            shutil.chown(folder, "nobody")
            self._as_user = {"user": "nobody", "extra_groups": []}

    @abstractmethod
    def install(self) -> None:
        """Make the folder's data."""

    @abstractmethod
    def command(self) -> list[str]:
        """What runs the server."""

    @abstractmethod
    def url(self, database: str) -> str:
        """A database's URL."""

    @abstractmethod
    def admin_url(self) -> str:
        """The URL of the database that is always there."""

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        deadline = time.monotonic() + _DEADLINE
        while True:  # PostgreSQL ends at once while processes of a killed one are still there
            if self._process is None or self._process.poll() is not None:
                self._process = self._started()
            with contextlib.suppress(OperationalError):
                return self.execute("SELECT 1")
            assert time.monotonic() < deadline, (self.folder / "log").read_text()
            time.sleep(0.05)

    def kill(self) -> None:
        """End it as a crash does."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def execute(self, statement: str) -> None:
        """Execute a statement as the server's administrator."""
        engine = create_engine(self.admin_url(), isolation_level="AUTOCOMMIT")
        try:
            with engine.connect() as connection:
                connection.execute(text(statement))
        finally:
            engine.dispose()

    def new_database(self, options: str = "") -> str:
        """Make an empty database, and give its URL."""
        name = f"tasks_{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name} {options}")
        return self.url(name)

    def emptied_database(self) -> str:
        """A database with empty tables, the same one as long as nobody lives in it.

        Making tables takes its time; but a manager that a test has left would take the next
        one's tasks for those of the dead.
        """
        if self._shared is not None and _has_owners(self._shared):
            self._shared.close()
            self._shared = None
        if self._shared is None:
            self._shared = Database(Connections(self.new_database()))
            self._shared.open()
        with self._shared.transaction() as connection:
            for table in metadata.sorted_tables:
                if table is not versions:
                    connection.execute(table.delete())
        self._shared.close()
        return self._shared.url.render_as_string(hide_password=False)

    def run(self, *command: str) -> None:
        """Run a program of the server's, as its user."""
        done = subprocess.run(
            command, cwd=self.folder, capture_output=True, text=True, check=False, **self._as_user
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def _started(self) -> subprocess.Popen[bytes]:
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(
                self.command(),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                **self._as_user,
            )


def _has_owners(database: Database) -> bool:
    with database.reading() as connection:
        return connection.execute(owners.select().limit(1)).first() is not None


class Postgres(Server):
    """PostgreSQL, which orders text by language where it is not told otherwise."""

    def install(self) -> None:
        password = self.folder / "password"
        password.write_text(PASSWORD)
        self.run(
            _program("initdb", "postgresql"),
            *("--pgdata=data", "--username=taskflow", "--pwfile=password", "--no-sync"),
            *("--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8"),
            *("--locale-provider=icu", "--icu-locale=en-US"),
        )

    def command(self) -> list[str]:
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.folder),
            "fsync": "off",  # what is written survives a killed server, if not a power cut
            "shared_buffers": "16MB",
            "max_connections": "40",
            "autovacuum": "off",
        }
        given = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return [_program("postgres", "postgresql"), "-D", "data", *given]

    def url(self, database: str) -> str:
        return f"postgresql://taskflow:{_QUOTED}@/{database}?host={self.folder}"

    def admin_url(self) -> str:
        return self.url("postgres").replace("postgresql:", "postgresql+psycopg:")


class MariaDB(Server):
    """MariaDB, whose own collation has no case and no trailing spaces."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        # PyMySQL leaves a Unix socket open where nobody listens, so a port it is.
        self._port = _free_port()

    def install(self) -> None:
        _program("my_print_defaults", "mariadb-client-core")
        self.run(
            _program("mariadb-install-db", "mariadb-server-core"),
            *("--no-defaults", f"--datadir={self.folder / 'data'}", "--skip-test-db"),
            *("--auth-root-authentication-method=normal", "--skip-name-resolve"),
            *("--innodb-log-file-size=8M", "--innodb-flush-method=nosync"),
        )
        user = f"CREATE USER IF NOT EXISTS taskflow IDENTIFIED BY '{PASSWORD}';"
        (self.folder / "init").write_text(
            f"{user}\nGRANT ALL ON *.* TO taskflow WITH GRANT OPTION;\n"
        )

    def command(self) -> list[str]:
        return [
            _program("mariadbd", "mariadb-server-core"),
            *("--no-defaults", f"--datadir={self.folder / 'data'}", "--skip-name-resolve"),
            *("--bind-address=127.0.0.1", f"--port={self._port}"),
            *(f"--socket={self.folder / 'socket'}", f"--pid-file={self.folder / 'pid'}"),
            *("--innodb-flush-method=nosync", "--innodb-flush-log-at-trx-commit=2"),
            *("--innodb-log-file-size=8M", "--innodb-buffer-pool-size=16M"),
            *("--aria-pagecache-buffer-size=8M", "--performance-schema=off"),
            f"--init-file={self.folder / 'init'}",
        ]

    def url(self, database: str) -> str:
        return f"mariadb://taskflow:{_QUOTED}@127.0.0.1:{self._port}/{database}"

    def admin_url(self) -> str:
        return self.url("mysql").replace("mariadb:", "mariadb+pymysql:")


def _free_port() -> int:
    """A port that nobody listens on, nor gets for a connection by the system."""
    while True:
        port = 20_000 + secrets.randbelow(10_000)  # pytest-randomly seeds the other numbers
        with contextlib.suppress(OSError), contextlib.closing(socket.socket()) as probe:
            probe.bind(("127.0.0.1", port))
            return port


@contextlib.contextmanager
def _running(kind: type[Server]) -> Iterator[Server]:
    folder = Path(tempfile.mkdtemp(prefix="taskflow-server-"))  # a socket's path is short
    server = kind(folder)
    try:
        server.install()
        server.start()
        yield server
    finally:
        with contextlib.suppress(AssertionError):  # it never started
            server.kill()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Server]:
    """A PostgreSQL server."""
    with _running(Postgres) as server:
        yield server


@pytest.fixture(scope="session")
def mariadb() -> Iterator[Server]:
    """A MariaDB server."""
    with _running(MariaDB) as server:
        yield server


DIALECTS = ("sqlite", "postgresql", "mariadb")


@pytest.fixture
def database_of(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., str]:
    """Give the path or URL of a dialect's database: with empty tables, or ``new`` and without."""

    def give(dialect: str, *, new: bool = False) -> str:
        if dialect == "sqlite":
            return str(tmp_path / "tasks.db")
        server: Server = request.getfixturevalue(dialect)
        return server.new_database() if new else server.emptied_database()

    return give


@pytest.fixture(params=DIALECTS)
def location(request: pytest.FixtureRequest, database_of: Callable[..., str]) -> str:
    """A database with empty tables, of each dialect."""
    return database_of(request.param)


@pytest.fixture(params=DIALECTS)
def new_location(request: pytest.FixtureRequest, database_of: Callable[..., str]) -> str:
    """A database without tables, of each dialect."""
    return database_of(request.param, new=True)


@pytest.fixture(params=DIALECTS[1:])
def server(request: pytest.FixtureRequest) -> Server:
    """Each of the servers."""
    found: Server = request.getfixturevalue(request.param)
    return found
