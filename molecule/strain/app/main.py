"""An app that uses what apps use, and misbehaves in every way when asked to. Plain ASGI."""

import asyncio
import hashlib
import json
import multiprocessing
import os
import sqlite3
import time
import typing as t
from collections.abc import Awaitable, Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from math import factorial
from pathlib import Path

Message = dict[str, t.Any]

# What was leaked.
files: list[t.BinaryIO] = []
memory: list[bytearray] = []


def credential(name: str) -> str:
    """Read a secret, and tell no more of it than that it is the right one."""
    secret = (Path(os.environ["CREDENTIALS_DIRECTORY"]) / name).read_bytes()
    return hashlib.sha256(secret).hexdigest()


def write(value: str) -> int:
    """Write to the database, and return how many have."""
    path = Path(os.environ["PADDOCK_SHARED"]) / "strain.db"
    with closing(sqlite3.connect(path, timeout=20)) as database, database:
        database.execute("CREATE TABLE IF NOT EXISTS written (value TEXT)")
        database.execute("INSERT INTO written VALUES (?)", (value,))
        return int(database.execute("SELECT count(*) FROM written").fetchone()[0])


def compute(method: str, number: int) -> int:
    """Have other processes compute, started in the way that `method` names."""
    with ProcessPoolExecutor(2, multiprocessing.get_context(method)) as pool:
        return sum(pool.map(factorial, [number] * 2))


def open_files(count: int) -> int:
    """Leak file descriptors."""
    files.extend(Path("/dev/null").open("rb") for _ in range(count))  # noqa: SIM115 - that is the leak
    return len(files)


def take_memory(mib: int) -> int:
    """Leak memory, and touch all of it."""
    memory.append(bytearray(os.urandom(2**20) * mib))
    return sum(map(len, memory)) // 2**20


def block(seconds: int) -> int:
    """Stop the event loop."""
    time.sleep(seconds)
    return seconds


def fork(count: int) -> int:
    """Leave processes behind that do nothing but be there."""
    for _ in range(count):
        if os.fork() == 0:
            time.sleep(600)
            os._exit(0)
    return count


DOES: dict[str, Callable[[str], object]] = {
    "pid": lambda _: os.getpid(),
    "credential": credential,
    "write": write,
    "compute": lambda method: compute(method, 20),
    "open": lambda count: open_files(int(count)),
    "take": lambda mib: take_memory(int(mib)),
    "block": lambda seconds: block(int(seconds)),
    "fork": lambda count: fork(int(count)),
}


async def app(
    scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
) -> None:
    """Do what /WORD/ARGUMENT names; /healthz does nothing."""
    if scope["type"] == "lifespan":
        while (message := await receive())["type"] != "lifespan.shutdown":
            await send({"type": f"{message['type']}.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    word, _, argument = scope["path"].strip("/").partition("/")
    does = DOES.get(word, lambda _: "ok")
    # In the loop itself where that is the point.
    came = does(argument) if word in {"block", "fork"} else await asyncio.to_thread(does, argument)
    body = json.dumps({"came": came}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
