"""Counting: every request that was sent, what became of it, and how long it took."""

import math
import time
from array import array
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import accumulate


class Kind(StrEnum):
    """What can go wrong with a request."""

    REFUSED = "refused"  # no connection
    RESET = "reset"  # the connection ended before the answer began
    TRUNCATED = "truncated"  # it ended within the answer
    STATUS = "status"  # another status than the right one
    WRONG = "wrong answer"  # the right status with something else
    TIMEOUT = "timeout"  # no complete answer in time
    LOST = "lost"  # a generator that cannot tell which of the first three it was
    OTHER = "other"


class Phase(StrEnum):
    """What happens on the host while a request runs. A later phase outranks an earlier one."""

    STEADY = "steady"
    WARMUP = "warm-up"
    RETIRE = "retire"  # after a rollout, until the old instance is gone
    ROLLOUT = "rollout"  # while a playbook runs


RANK = {phase: rank for rank, phase in enumerate(Phase)}


@dataclass(frozen=True)
class Span:
    """A stretch of time that is not steady."""

    phase: Phase
    start: float
    end: float
    name: str = ""


class Timeline:
    """Tells the phase of a request from the spans; where they overlap, the higher phase counts."""

    def __init__(self, spans: Iterable[Span]) -> None:
        spans = list(spans)
        self._edges = sorted({edge for span in spans for edge in (span.start, span.end)})
        self._phases = [
            max(
                (span.phase for span in spans if span.start <= edge < span.end),
                key=RANK.__getitem__,
                default=Phase.STEADY,
            )
            for edge in self._edges
        ]

    def phase(self, start: float, seconds: float) -> Phase:
        """Return the highest phase that a request touched."""
        first = bisect_right(self._edges, start) - 1
        last = bisect_right(self._edges, start + seconds) - 1
        touched = [self._phases[index] if index >= 0 else Phase.STEADY for index in range(first, last + 1)]
        return max(touched, key=RANK.__getitem__)


@dataclass(frozen=True)
class Failure:
    """A request that was not answered right."""

    time: float
    client: str
    kind: Kind
    text: str


@dataclass
class Client:
    """The counts of one kind of client."""

    name: str
    is_request: bool = True  # one whose latency is judged; not a stream, nor a request that waits on purpose
    sent: int = 0
    failed: int = 0
    reconnects: int = 0
    starts: "array[float]" = field(default_factory=lambda: array("d"))
    seconds: "array[float]" = field(default_factory=lambda: array("d"))

    @property
    def right(self) -> int:
        """Requests that were answered right."""
        return len(self.starts)

    @property
    def unaccounted(self) -> int:
        """Requests of which nobody knows; none, once the load has ended."""
        return self.sent - self.right - self.failed


@dataclass(frozen=True)
class Latency:
    """How long requests took, in seconds."""

    count: int
    p50: float
    p99: float
    longest: float

    @classmethod
    def of(cls, seconds: Iterable[float]) -> "Latency | None":
        """Sum up; nothing if there was no request."""
        ordered = sorted(seconds)
        if not ordered:
            return None
        return cls(len(ordered), percentile(ordered, 50), percentile(ordered, 99), ordered[-1])

    def as_json(self) -> dict[str, float]:
        """Return milliseconds."""
        return {
            "count": self.count,
            "p50_ms": round(self.p50 * 1000, 2),
            "p99_ms": round(self.p99 * 1000, 2),
            "max_ms": round(self.longest * 1000, 2),
        }


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Return the smallest value that `percent` of all are not above (nearest rank)."""
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


class Tally:
    """All clients together."""

    def __init__(self) -> None:
        self.clients: dict[str, Client] = {}
        self.failures: list[Failure] = []

    def client(self, name: str, *, is_request: bool = True) -> Client:
        """Return the counts of a client, made at its first use."""
        return self.clients.setdefault(name, Client(name, is_request))

    def right(self, client: Client, start: float, seconds: float) -> None:
        """Count a right answer."""
        client.starts.append(start)
        client.seconds.append(seconds)

    def failed(self, client: Client, kind: Kind, text: str, at: float | None = None) -> None:
        """Count and remember a failure."""
        client.failed += 1
        self.failures.append(Failure(time.time() if at is None else at, client.name, kind, text))

    def close(self) -> None:
        """Count as failed whatever is not accounted for."""
        for client in self.clients.values():
            for _ in range(client.unaccounted):
                self.failed(client, Kind.LOST, "nobody knows what became of it")

    @property
    def sent(self) -> int:
        """Requests of all clients."""
        return sum(client.sent for client in self.clients.values())

    def kinds(self) -> dict[str, int]:
        """Count the failures of each kind."""
        return dict(Counter(str(failure.kind) for failure in self.failures).most_common())

    def by_phase(self, timeline: Timeline, client: Client | None = None) -> dict[Phase, Latency | None]:
        """Return the latency in each phase, of one client or of all whose latency is judged."""
        chosen = [client] if client else [each for each in self.clients.values() if each.is_request]
        seconds: dict[Phase, list[float]] = {phase: [] for phase in Phase}
        for each in chosen:
            for start, took in zip(each.starts, each.seconds, strict=True):
                seconds[timeline.phase(start, took)].append(took)
        return {phase: Latency.of(values) for phase, values in seconds.items()}

    def within(self, start: float, end: float) -> list[float]:
        """Return the latencies of judged requests that ran between two moments."""
        return [
            took
            for client in self.clients.values()
            if client.is_request
            for began, took in zip(client.starts, client.seconds, strict=True)
            if began < end and began + took > start
        ]

    def longest_outage(self) -> float:
        """Return the longest time from the start of a failed request until one that began later was answered right.

        It is infinite if none was.
        """
        right = sorted(
            (start, start + seconds)
            for client in self.clients.values()
            if client.is_request
            for start, seconds in zip(client.starts, client.seconds, strict=True)
        )
        starts = [start for start, _ in right]
        # For each of them the earliest end of it and those after it.
        ends = list(accumulate((end for _, end in reversed(right)), min))[::-1]
        outage = 0.0
        for failure in self.failures:
            index = bisect_left(starts, failure.time)
            outage = max(outage, ends[index] - failure.time if index < len(ends) else math.inf)
        return outage

    def series(self, start: float, end: float) -> dict[str, list[float]]:
        """Return for each second how many requests began, how many failed, and the p99 in milliseconds."""
        length = max(1, math.ceil(end - start))
        seconds: list[list[float]] = [[] for _ in range(length)]
        began = [0] * length
        failed = [0] * length
        for client in self.clients.values():
            for at, took in zip(client.starts, client.seconds, strict=True):
                index = min(max(int(at - start), 0), length - 1)
                began[index] += 1
                if client.is_request:
                    seconds[index].append(took)
        for failure in self.failures:
            index = min(max(int(failure.time - start), 0), length - 1)
            began[index] += 1
            failed[index] += 1
        p99 = [round(percentile(sorted(values), 99) * 1000, 2) if values else math.nan for values in seconds]
        return {"requests": [*began], "failed": [*failed], "p99_ms": p99}
