"""SIGTERM and SIGINT: heard before the server acts, passed on to it, and put back."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest

from fastapi_taskflow import InMemoryLogger, TaskManager

SIGNALS = [signal.SIGTERM, signal.SIGINT]
IDS = ["SIGTERM", "SIGINT"]


class Server:
    """Stands where a server's signal handlers are, and notes what it is told."""

    def __init__(self) -> None:
        self.told: list[int] = []

    def handle(self, number: int, frame: FrameType | None) -> None:
        self.told.append(number)


@pytest.fixture(autouse=True)
def server() -> Iterator[Server]:
    server = Server()
    before = {number: signal.signal(number, server.handle) for number in SIGNALS}

    yield server

    for number, handler in before.items():
        signal.signal(number, handler)


def _handlers() -> list[Any]:
    return [signal.getsignal(number) for number in SIGNALS]


def _raise(number: int) -> None:
    signal.raise_signal(number)


@pytest.mark.parametrize("number", SIGNALS, ids=IDS)
def test_a_signal_is_passed_on_once_and_the_handler_put_back(server: Server, number: int) -> None:
    manager = TaskManager()

    async def main() -> None:
        async with manager:
            _raise(number)
            await asyncio.sleep(0)

    asyncio.run(main())
    after = _handlers()
    _raise(number)

    assert server.told == [number, number]
    assert after == [server.handle] * 2


@pytest.mark.parametrize("number", SIGNALS, ids=IDS)
def test_the_time_for_running_tasks_counts_from_the_signal(
    memory: InMemoryLogger, number: int
) -> None:
    manager = TaskManager(loggers=[memory], shutdown_timeout=0)

    async def main() -> list[str]:
        started = asyncio.Event()

        async def body() -> None:
            started.set()
            await asyncio.Event().wait()

        async with manager:
            call = asyncio.create_task(manager.execute(body))
            await started.wait()
            _raise(number)
            await call  # it ends while the lifespan still runs
            return [event.status.value for event in memory.lifecycle_events]

    assert asyncio.run(main()) == ["running", "interrupted"]


def test_a_second_signal_reaches_the_server_too(server: Server) -> None:
    async def main() -> None:
        async with TaskManager():
            _raise(signal.SIGINT)
            _raise(signal.SIGINT)
            await asyncio.sleep(0)

    asyncio.run(main())

    assert server.told == [signal.SIGINT] * 2


@pytest.mark.parametrize("handler", [signal.SIG_IGN, signal.SIG_DFL], ids=["ignored", "default"])
def test_where_python_has_no_handler_none_is_set(handler: signal.Handlers) -> None:
    signal.signal(signal.SIGTERM, handler)

    async def main() -> Any:
        async with TaskManager():
            return signal.getsignal(signal.SIGTERM)

    assert asyncio.run(main()) is handler
    assert signal.getsignal(signal.SIGTERM) is handler


def test_in_another_thread_no_handler_is_touched(server: Server) -> None:
    seen: list[list[Any]] = []

    async def main() -> None:
        async with TaskManager():
            seen.append(_handlers())

    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    thread.join(30)

    assert seen == [[server.handle] * 2]


@contextlib.contextmanager
def _chained() -> Iterator[None]:
    """Somebody who chains in front as we do, and does not put anything back."""
    previous = signal.getsignal(signal.SIGTERM)
    assert callable(previous)
    chain: Callable[..., Any] = previous

    def chained(number: int, frame: FrameType | None) -> None:
        chain(number, frame)

    signal.signal(signal.SIGTERM, chained)
    yield


def test_a_handler_that_was_set_meanwhile_stays_and_still_reaches_the_server(
    server: Server,
) -> None:
    async def main() -> None:
        async with TaskManager():
            with _chained():
                pass

    asyncio.run(main())
    _raise(signal.SIGTERM)

    assert server.told == [signal.SIGTERM]


def test_started_again_below_somebody_elses_handler_a_signal_comes_once(server: Server) -> None:
    manager = TaskManager()

    async def main(*, chain: bool) -> None:
        async with manager:
            if chain:
                with _chained():
                    pass
            else:
                _raise(signal.SIGTERM)
                await asyncio.sleep(0)

    asyncio.run(main(chain=True))
    asyncio.run(main(chain=False))

    assert server.told == [signal.SIGTERM]


@pytest.mark.parametrize("first_out", [0, 1], ids=["first stops first", "last stops first"])
def test_of_two_managers_either_may_stop_first_and_no_signal_is_lost(
    server: Server, first_out: int
) -> None:
    managers = [TaskManager(), TaskManager()]

    async def main() -> None:
        for manager in managers:
            await manager.startup()
        await managers.pop(first_out).shutdown()
        _raise(signal.SIGTERM)
        await asyncio.sleep(0)
        await managers.pop().shutdown()

    asyncio.run(main())
    _raise(signal.SIGTERM)

    assert server.told == [signal.SIGTERM] * 2


def test_of_starts_at_once_a_signal_is_passed_on_once(server: Server) -> None:
    manager = TaskManager()

    async def main() -> None:
        await asyncio.gather(*(manager.startup() for _ in range(3)))
        _raise(signal.SIGTERM)
        await asyncio.sleep(0)
        for _ in range(3):
            await manager.shutdown()

    asyncio.run(main())

    assert server.told == [signal.SIGTERM]
    assert _handlers() == [server.handle] * 2
