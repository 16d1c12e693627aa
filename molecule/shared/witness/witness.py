"""A small ASGI app that tells how it runs: in which loop, with which rights, and what of a request reached it."""

import asyncio
import errno
import json
import mmap
import os
import pwd
import socket
import tempfile
import typing as t
from collections.abc import Awaitable, Callable
from pathlib import Path

Message = dict[str, t.Any]


async def app(
    scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
) -> None:
    """Answer /healthz, /slow, /attempts, and everything else with a description of the process and the request."""
    if scope["type"] == "lifespan":
        while (message := await receive())["type"] != "lifespan.shutdown":
            await send({"type": f"{message['type']}.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    if scope["path"] == "/slow":
        await asyncio.sleep(2)
    answer = {"/healthz": lambda: {"status": "ok"}, "/attempts": attempts}.get(scope["path"], lambda: describe(scope))()
    body = json.dumps(answer).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def describe(scope: Message) -> Message:
    """Tell who this process is, and what it sees of a request."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return {
        "pid": os.getpid(),
        "user": pwd.getpwuid(os.getuid()).pw_name,
        "loop": type(asyncio.get_running_loop()).__module__,
        "client": scope["client"],
        "scheme": scope["scheme"],
        "environment": dict(os.environ),
        "status": {name: value.strip() for name, _, value in (line.partition(":") for line in lines)},
        "processes": [path.name for path in Path("/proc").iterdir() if path.name.isdigit()],
    }


def attempts() -> Message:
    """Try what an app may do and what it may not, and tell what came of it."""
    here = Path(__file__).parent
    shared = Path(os.environ["PADDOCK_SHARED"])
    temporary = Path(tempfile.gettempdir())
    tried: dict[str, Callable[[], object]] = {
        "write to the release": lambda: (here / "trial").write_text("trial"),
        "write to shared": lambda: (shared / "trial").write_text("trial"),
        "write to the temporary folder": lambda: (temporary / "witness-trial").write_text("trial"),
        "write to the system": lambda: Path("/etc/trial").write_text("trial", encoding="utf-8"),
        "read its environment's file": lambda: (here.parent / "env").read_text(encoding="utf-8"),
        "look into homes": lambda: list(Path("/root").iterdir()),
        "change the kernel": lambda: Path("/proc/sys/net/core/somaxconn").write_text("1", encoding="utf-8"),
        "open an internet socket": lambda: socket.socket(socket.AF_INET).close(),
        "open a netlink socket": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW).close(),
        "make memory executable": lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC),
        "become real-time": lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)),
        "make a setuid file": lambda: (shared / "trial").chmod(0o4755),
    }
    results = {}
    for name, attempt in tried.items():
        try:
            attempt()
        except OSError as error:
            results[name] = errno.errorcode[error.errno or 0]
        else:
            results[name] = "done"
    return results
