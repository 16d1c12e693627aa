"""Many connections at once to a server on this host: each asks, and every answer is compared. Standard library only.

crowd.py PORT HOST CONNECTIONS SECONDS [STEP...]

A step is a path that all connections ask for, one after the other within some SECONDS, or at once with 0, and its only
right body after a space; or `hold`, which says "held" and waits for a line on the standard input. It ends with a line
of JSON: what was answered in each step, and what became of the connections.
"""

import asyncio
import collections
import json
import sys

WITHIN = 60.0
# So that the queue of the listener is not what is measured.
AT_ONCE = 100


class Crowd:
    """Connections that are kept open, and what they were answered."""

    def __init__(self, port: int, host: str, connections: int, seconds: float) -> None:
        self.port = port
        self.host = host
        self.connections = connections
        self.seconds = seconds
        self.open: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self.steps: list[dict[str, int]] = []

    async def run(self, steps: list[str]) -> None:
        """Open all connections, and do what the steps say."""
        turn = asyncio.Semaphore(AT_ONCE)

        async def connect() -> None:
            async with turn:
                self.open.append(await asyncio.open_connection("127.0.0.1", self.port))

        await asyncio.gather(*(connect() for _ in range(self.connections)))
        for step in steps:
            if step == "hold":
                print("held", flush=True)  # noqa: T201
                await asyncio.to_thread(sys.stdin.readline)
                continue
            path, _, body = step.partition(" ")
            outcomes = await asyncio.gather(
                *(
                    self.ask(*each, path, body.encode(), self.seconds * number / self.connections)
                    for number, each in enumerate(self.open)
                )
            )
            self.steps.append(dict(collections.Counter(outcomes)))
        for _, writer in self.open:
            writer.close()

    async def ask(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str, right: bytes, delay: float
    ) -> str:
        """Ask for a path; return the status, or what is wrong."""
        await asyncio.sleep(delay)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {self.host}\r\n\r\n".encode())
        try:
            async with asyncio.timeout(WITHIN):
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                status, *lines = head.split("\r\n")
                headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
                body = await reader.readexactly(int(headers["content-length"]))
        except (OSError, EOFError, TimeoutError, KeyError, ValueError) as error:
            return type(error).__name__
        code = status.split()[1]
        if code == "200" and body != right:
            return "wrong body"
        if code == "503" and not headers.get("retry-after"):
            return "503 without Retry-After"
        return code


def main() -> None:
    """Run what the command line says."""
    crowd = Crowd(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
    asyncio.run(crowd.run(sys.argv[5:]))
    print(json.dumps({"connections": len(crowd.open), "steps": crowd.steps}))  # noqa: T201


if __name__ == "__main__":
    main()
