"""``python -m benchmarks.load PORT REQUESTS``: clients of a server, in a process of their own.

Each keeps its connection, and sends its next request when it has the answer to the last one.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Iterator
from statistics import quantiles

CLIENTS = 16
REQUEST = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"
OK = b"HTTP/1.1 200 "


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(REQUEST)
    head = await reader.readuntil(b"\r\n\r\n")
    if not head.startswith(OK):
        raise RuntimeError(head.decode())
    length = next(
        int(line.split(b":")[1])
        for line in head.lower().splitlines()
        if line.startswith(b"content-length:")
    )
    await reader.readexactly(length)


async def _client(port: int, requests: Iterator[int], took: list[float]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for _ in requests:
        start = time.perf_counter()
        await _ask(reader, writer)
        took.append(time.perf_counter() - start)
    writer.close()
    await writer.wait_closed()


async def load(port: int, requests: int) -> dict[str, float]:
    """Send requests; give how many a second were answered, and the slowest but one in a hundred."""
    took: list[float] = []
    shared = iter(range(requests))
    start = time.perf_counter()
    await asyncio.gather(*(_client(port, shared, took) for _ in range(CLIENTS)))
    seconds = time.perf_counter() - start
    return {"requests": len(took) / seconds, "p99": quantiles(took, n=100)[-1]}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(load(*map(int, sys.argv[1:])))))
