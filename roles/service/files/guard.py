# Copyright (c) 2026, paddock.fastapi contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Answer 503 in the place of a server that does not come up.

The socket belongs to systemd, so connections wait in it while the server restarts: for a second or two that is what
nobody notices. A server that crashes again and again would let them wait for as long as NGINX reads, though. So this
is started with the server, and ends when the server takes its first connection. If it does not take any for GRACE
seconds, those that wait are told so, and again, until it does.

Usage: guard.py CURRENT RELEASE, with the listening socket as file descriptor 3. It answers only while the link CURRENT
points at RELEASE, because nobody but the gate waits for an instance that is not live.
"""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
import sys
import time
from pathlib import Path

LISTENER = 3
# Seconds for which clients may wait for a server that restarts; with ROUND they are the longest that anyone waits.
GRACE = 6.0
# Seconds between looks at who waits. In each the queue must run empty once if the server takes connections.
ROUND = 0.5
GLANCE = 0.01
# Seconds for a client to send its request: what is closed unread counts as an error for who wrote it.
PATIENCE = 5.0
BODY = b"The service is not available at the moment. Please try again soon.\n"
ANSWER = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain; charset=utf-8\r\nRetry-After: 5\r\n"
    b"Cache-Control: no-store\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
)


async def is_taken(listener: socket.socket) -> bool:
    """Tell whether the server takes what waits. At least one connection waits when this is called."""
    queue = select.poll()
    queue.register(listener, select.POLLIN)
    end = time.monotonic() + ROUND
    while time.monotonic() < end:
        if not queue.poll(0):
            return True
        await asyncio.sleep(GLANCE)
    return False


async def apologize(connection: socket.socket) -> None:
    """Answer one client, and read what it sends until it has read the answer."""
    with contextlib.suppress(OSError, TimeoutError):
        reader, writer = await asyncio.open_unix_connection(sock=connection)
        try:
            async with asyncio.timeout(PATIENCE):
                await reader.readuntil(b"\r\n\r\n")
                writer.write(ANSWER)
                await writer.drain()
                writer.write_eof()
                while await reader.read(65536):
                    pass
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # nobody there any more (our own knock), or no HTTP
        finally:
            writer.close()


def waiting(listener: socket.socket) -> list[socket.socket]:
    """Take all connections that wait."""
    taken = []
    with contextlib.suppress(BlockingIOError):
        while True:
            connection, _address = listener.accept()
            taken.append(connection)
    return taken


def knock(listener: socket.socket) -> None:
    """Let a connection wait, so that the queue is not empty before the server takes from it."""
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as client,
        contextlib.suppress(BlockingIOError),  # the queue is full, so others wait
    ):
        client.connect(listener.getsockname())


def is_live(current: Path, release: str) -> bool:
    """Tell whether clients come to this instance."""
    return current.readlink().name == release


async def guard(listener: socket.socket, current: Path, release: str) -> None:
    """Stand in for the server until it takes a connection."""
    started = time.monotonic()
    answering = False
    apologies: set[asyncio.Task[None]] = set()
    knock(listener)
    while not await is_taken(listener):
        if time.monotonic() - started < GRACE or not is_live(current, release):
            continue
        if not answering:
            answering = True
            print(f"The server has not come up for {GRACE:g} s: answering 503 until it does", flush=True)
        for connection in waiting(listener):
            task = asyncio.create_task(apologize(connection))
            apologies.add(task)
            task.add_done_callback(apologies.discard)
        knock(listener)
    if answering:
        print("The server has come up", flush=True)
    await asyncio.gather(*apologies)


def main() -> None:
    """Run the guard."""
    current, release = sys.argv[1:]
    with socket.socket(fileno=LISTENER) as listener:
        listener.settimeout(0)
        with contextlib.suppress(FileNotFoundError):  # there is no live release yet, or the socket is gone
            asyncio.run(guard(listener, Path(current), release))


if __name__ == "__main__":
    main()
