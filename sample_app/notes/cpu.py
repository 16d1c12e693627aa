"""Work that needs the processor, done in a process of its own so that the event loop stays free."""

import asyncio
import multiprocessing
import os
import signal
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from math import isqrt
from threading import Thread
from typing import TypeVar

Result = TypeVar("Result")


class Cpu:
    """One helper process for each server worker, started when there is first something to do."""

    def __init__(self) -> None:
        """Start nothing yet."""
        self._pool: ProcessPoolExecutor | None = None

    async def run(self, function: Callable[[int], Result], argument: int) -> Result:
        """Call a module's function in the helper process and return what it returns.

        Raises `BrokenProcessPool` if the helper died, out of memory for instance. The next call starts another.
        """
        if self._pool is None:
            # Spawned, not forked: a fork would copy the locks of this process's threads in whatever state they are.
            self._pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _settle_in)
        pool = self._pool
        try:
            return await asyncio.get_running_loop().run_in_executor(pool, function, argument)
        except BrokenProcessPool:
            if self._pool is pool:
                self._pool = None
            raise

    async def close(self) -> None:
        """Drop what waits, finish what runs, and end the helper process."""
        if self._pool is not None:
            await asyncio.to_thread(self._pool.shutdown, cancel_futures=True)


def _settle_in() -> None:
    """Prepare the helper process: Ctrl-C is for the server, and it must not outlive a server that was killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def primes_up_to(limit: int) -> tuple[int, int | None]:
    """Return how many primes there are up to a limit, and the largest: the sieve of Eratosthenes."""
    sieve = bytearray([0, 0]) + bytearray([1]) * (limit - 1)
    for number in range(2, isqrt(limit) + 1):
        if sieve[number]:
            multiples = range(number * number, limit + 1, number)
            sieve[multiples.start :: number] = bytes(len(multiples))
    largest = sieve.rfind(1)
    return sieve.count(1), None if largest < 0 else largest
