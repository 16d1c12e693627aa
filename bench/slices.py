"""What serve.py and observe.py share: set-ups of one host take turns in short slices, and wrk counts what they answer.

The machine's speed drifts: only ratios within a round count.
"""

import argparse
import datetime
import json
import shlex
import statistics
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from host import CLONE, HostError, Paddock, run, say

HERE = Path(__file__).parent
RESULTS = HERE / "results"
APP = HERE / "serve_app"
WORKERS = 2
PORT = 8080  # of the collection's NGINX
PEERS = "/etc/peers"
CONNECTIONS = 64
FILES = {
    "json": '{"id":1,"title":"A note","tags":["a","b"],"done":false}',
    "size": '{"size":1000}',
    "posted": json.dumps({"text": "x" * 1000}),
}


@dataclass(frozen=True)
class Contestant:
    """What serves: where, and which units that takes, those that listen last."""

    name: str
    port: int
    units: tuple[str, ...]
    host: str = "localhost"


@dataclass(frozen=True)
class Workload:
    """What is asked for; the names of the files on the host with the right answer, and with what is posted."""

    name: str
    path: str
    answer: str
    posted: str = ""
    idle: int = 0  # kept connections that ask nothing meanwhile


@dataclass(frozen=True)
class Slice:
    """What wrk counted: right answers, wrong ones, and requests that were not answered."""

    right: int
    wrong: int
    lost: int
    seconds: float
    p50_ms: float
    p99_ms: float

    @property
    def rate(self) -> float:
        """Right answers per second."""
        return self.right / self.seconds


@dataclass(frozen=True)
class Goal:
    """One of the collection's own targets."""

    name: str
    value: str
    limit: str
    met: bool


@dataclass
class Figures:
    """What was measured."""

    slices: dict[str, dict[str, list[Slice]]] = field(default_factory=dict)  # by workload and contestant
    wrong: list[str] = field(default_factory=list)

    def add(self, workload: str, contestant: str, counted: Slice) -> None:
        """Remember a slice. One that was not answered right is no measurement."""
        self.slices.setdefault(workload, {}).setdefault(contestant, []).append(counted)
        if counted.wrong or counted.lost or not counted.right:
            self.wrong.append(
                f"{contestant}, {workload}: {counted.wrong} wrong and {counted.lost} lost of {counted.right}"
            )

    def pairs(self, workload: str, one: str, other: str) -> list[tuple[Slice, Slice]]:
        """Return the slices of two contestants, round by round."""
        slices = self.slices.get(workload, {})
        return [*zip(slices.get(one, []), slices.get(other, []), strict=False)]

    def ratios(self, workload: str, one: str, other: str) -> list[float]:
        """Compare the requests per second of two contestants, round by round."""
        return [first.rate / second.rate for first, second in self.pairs(workload, one, other) if second.right]


@dataclass
class Turns:
    """The host, and who serves on it."""

    fleet: Paddock
    contestants: list[Contestant] = field(init=False, default_factory=list)
    # What runs on the host.
    scripts: tuple[Path, ...] = field(init=False, default=(HERE / "peers/serve.lua",))

    async def prepare(self) -> None:
        """Set up the host, and stop what serves there."""
        await self.fleet.up()
        await self.play("paddock.fastapi.site")
        scripts = [str(path) for path in self.scripts]
        await self.play(HERE / "peers/load.yml", "-e", json.dumps({"load_scripts": scripts, "load_files": FILES}))

    async def play(self, playbook: str | Path, *arguments: str) -> None:
        """Run a playbook that has to succeed."""
        ran = await self.fleet.playbook(playbook, *arguments)
        if ran.code:
            raise HostError(ran.output[-3000:])

    async def unit(self, app: str) -> str:
        """Return the unit of an app's live release."""
        live = await self.fleet.first.ask(f"readlink /srv/{app}/current")
        return f"{app}@{Path(live.strip()).name}"

    def order(self, number: int) -> list[Contestant]:
        """Return who comes after whom in a round: each is first in turn, and is followed by others than last time."""
        shift = number % len(self.contestants)
        turned = self.contestants[shift:] + self.contestants[:shift]
        return turned[:1] + turned[:0:-1] if number % 2 else turned

    def answers(self, contestant: Contestant) -> str:
        """Return what waits for its first answer."""
        asked = f"curl -sf -o /dev/null -H 'Host: {contestant.host}' http://127.0.0.1:{contestant.port}/json"
        return f"for _ in $(seq 200); do {asked} && exit; sleep 0.1; done; exit 1"

    @asynccontextmanager
    async def serving(self, contestant: Contestant) -> AsyncIterator[None]:
        """Have one of them serve, and nothing else, while the body runs."""
        ask = self.fleet.first.ask
        try:
            await ask(f"systemctl start {shlex.join(contestant.units)}; {self.answers(contestant)}")
            yield
        finally:
            # Those that listen first, so that the app has nothing left to wait for.
            for unit in reversed(contestant.units):
                await ask(f"systemctl stop {shlex.quote(unit)}")

    async def measure(self) -> None:
        """Let them take turns."""
        raise NotImplementedError

    async def versions(self) -> dict[str, str]:
        """Return what the figures hold for."""
        wrk = await self.fleet.first.ask("wrk -v | head -n 1")
        return {**await self.fleet.versions(), "wrk": wrk.split(" [")[0]}

    async def whole(self, *, keep: bool) -> dict[str, str] | None:
        """Set up the host, measure, and remove it. Return the versions; none: nothing was measured."""
        try:
            say(f"a host with Debian {self.fleet.distro}")
            await self.prepare()
            versions = await self.versions()
            await self.measure()
        except HostError as error:
            say(f"the host is not what it should be: {error}")
            return None
        else:
            return versions
        finally:
            if keep:
                name = self.fleet.first.name
                say(f"kept: ssh -F {self.fleet.folder}/ssh {name}; tests/hosts/down {name}")
            else:
                await self.fleet.down()

    def command(self, contestant: Contestant, workload: Workload, seconds: int) -> str:
        """Return what has wrk ask for some seconds."""
        return shlex.join(
            [
                *("wrk", "-t2", f"-c{CONNECTIONS}", f"-d{seconds}s", "-H", f"Host: {contestant.host}"),
                *("-s", f"{PEERS}/serve.lua", f"http://127.0.0.1:{contestant.port}{workload.path}", "--"),
                *(f"{PEERS}/{name}" for name in (workload.answer, workload.posted) if name),
            ]
        )

    async def slice(self, contestant: Contestant, workload: Workload, seconds: int) -> Slice:
        """Have wrk ask for some seconds."""
        return counted(await self.fleet.first.ask(self.command(contestant, workload, seconds), within=120))


def counted(output: str) -> Slice:
    """Return what wrk says that it counted."""
    found = [line.removeprefix("RESULT ") for line in output.splitlines() if line.startswith("RESULT ")]
    if len(found) != 1:
        raise HostError(f"wrk: {output}")
    return Slice(**json.loads(found[0]))


def spread(ratios: list[float]) -> str:
    """Tell the median, and the smallest and largest."""
    if not ratios:
        return "not measured"
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def goals_table(judged: list[Goal]) -> str:
    """Return the targets as Markdown."""
    lines = ["| paddock's own targets | measured | target | |", "| --- | --- | --- | --- |"]
    lines += [f"| {goal.name} | {goal.value} | {goal.limit} | {'met' if goal.met else 'MISSED'} |" for goal in judged]
    return "\n".join(lines) + "\n"


async def report(
    name: str,
    start: float,
    text: str,
    judged: list[Goal],
    figures: Figures,
    draw: Callable[[dict[str, Any], Path], None] | None = None,
    **others: Any,
) -> int:
    """Write down what was measured, and say what was missed. Return the exit code."""
    missed = [f"{goal.name}: {goal.value}; {goal.limit}" for goal in judged if not goal.met] + figures.wrong
    result = {
        "start": start,
        "seconds": round(time.time() - start, 1),
        "commit": (await run("git", "-C", CLONE, "describe", "--always", "--dirty")).output.strip(),
        **others,
        **asdict(figures),
        "goals": [asdict(goal) for goal in judged],
        "missed": missed,
    }
    RESULTS.mkdir(exist_ok=True)
    stem = RESULTS / f"{datetime.datetime.now(datetime.UTC):%Y%m%dT%H%M%SZ}-{name}"
    stem.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    stem.with_suffix(".md").write_text(text, encoding="utf-8")
    if draw:
        draw(result, stem.with_suffix(".svg"))
    print(text)  # noqa: T201
    for each in missed:
        say(f"MISSED  {each}")
    say(f"{'missed' if missed else 'all met'}, {result['seconds']:.0f} s; bench/results/{stem.name}.*")
    return 1 if missed else 0


def parser(about: str | None, full: object, quick: object) -> argparse.ArgumentParser:
    """Return the options that all have."""
    options = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--quick", action="store_const", const=quick, default=full, dest="sizes")
    options.add_argument("--distro", choices=["12", "13"], default="13")
    options.add_argument("--keep", action="store_true", help="leave the host for a look")
    return options
