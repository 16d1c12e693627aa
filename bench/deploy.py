"""Deploy the same app in several ways, and compare: how long it takes, and what those who use the app see of it.

Each way gets throw-away hosts of its own, one way after the other: paddock (this collection), tutorial, hup and pyinfra
(bench/peers). It ends with a Markdown table, the collection's own targets, and JSON and the table in bench/results/.
The exit code says whether the targets were met, and whether everything worked that must.

    make bench-deploy                                         about a quarter of an hour
    make bench-deploy ARGS=--quick                            everything once, one host
    make bench-deploy ARGS="--quick --ways paddock,pyinfra"   some of the ways
"""

import argparse
import asyncio
import datetime
import functools
import json
import math
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import httpx2
from host import KILL, Host, HostError, Paddock, Ran, say
from load import KEPT, Load, Rates, Target, running
from tally import Tally
from ways import WAYS, PaddockWay, Way, way_of

RESULTS = Path(__file__).parent / "results"
# About 45 requests a second, sent whether those before were answered or not. Event streams and WebSockets are left out:
# each of these ways ends them, and make bench-rollout counts ours.
RATES = Rates(
    bulk=0, kept_get=15, new_get=5, kept_post=10, note=2, h2_get=5, h2_post=3, slow=0.5, echo=0, streams=0, sockets=0
)

FIRST = "first deploy, bare host"
SITE = "nothing changed, preparation included"
SAME = "nothing changed"
CHANGE = "code change: wall"
ANSWERS = "code change: new release answers"
CHANGES = "code changes under load"
WARM = "rollback, warm"
COLD = "rollback, cold"
AGAIN = "old source deployed again"
ROLLBACKS = "rollbacks under load"
START = "start of the app"
MENDED = "broken release mended"
KILLED = "kill -9 of the server's master"
SAME_FLEET = "nothing changed, 4 hosts"
CHANGE_FLEET = "code change, 4 hosts"

LIMITS = {SAME: 3.5, ANSWERS: 7.0, WARM: 3.5, COLD: 5.0}
APPEARS = 15.0  # seconds that the new code has to answer after a success
BROKEN_AFTER = 3.0  # seconds that a broken release has to take the site down
START_APP = """
begin=$(date +%s%N)
systemctl start {unit}.socket {unit}.service
until curl -sf -o /dev/null --unix-socket {folder}/app.sock http://localhost/readyz; do sleep 0.01; done
end=$(date +%s%N)
systemctl stop {unit}.service {unit}.socket
echo $(((end - begin) / 1000000))
"""


@dataclass(frozen=True)
class Sizes:
    """How much of everything."""

    repeats: int
    loaded: int  # code changes under load
    hosts: int


FULL, QUICK = Sizes(3, 2, 4), Sizes(1, 1, 1)


@dataclass(frozen=True)
class Loss:
    """What those who used the app saw."""

    events: int
    sent: int
    failed: int
    outage: float  # seconds; infinite if it did not end
    slowest: float  # seconds that the slowest right answer took
    slowest_client: str
    kinds: dict[str, int]

    @classmethod
    def of(cls, tally: Tally, events: int) -> "Loss":
        """Sum up."""
        slowest, client = max(
            (
                (max(client.seconds), client.name)
                for client in tally.clients.values()
                if client.is_request and client.right
            ),
            default=(math.inf, "none was answered"),
        )
        return cls(events, tally.sent, len(tally.failures), tally.longest_outage(), slowest, client, tally.kinds())


@dataclass
class Figures:
    """What was measured of one way."""

    seconds: dict[str, list[float]] = field(default_factory=dict)
    losses: dict[str, Loss] = field(default_factory=dict)
    broken: tuple[int, bool] | None = None  # exit code, and whether the site still serves
    wrong: list[str] = field(default_factory=list)

    def took(self, row: str, seconds: float) -> None:
        """Remember a time."""
        self.seconds.setdefault(row, []).append(seconds)

    def median(self, row: str) -> float | None:
        """Return the median of what was measured, if anything was."""
        return statistics.median(self.seconds[row]) if row in self.seconds else None


@dataclass
class Trial:
    """One way, measured on hosts of its own."""

    way: Way
    sizes: Sizes
    figures: Figures = field(default_factory=Figures)
    markers: list[str] = field(default_factory=list)  # what went live, the last one serves
    releases: dict[str, str] = field(default_factory=dict)  # by marker, where there are releases
    written: int = 0
    load: Load | None = None

    async def run(self) -> None:
        """Measure everything."""
        await self.way.fleet.up()
        await self.measure(FIRST, self.way.prepare)
        await self.trust(self.way.fleet.first)
        await self.appears(self.markers[-1], self.way.fleet.first)
        if isinstance(self.way, PaddockWay):
            self.releases[self.markers[-1]] = await self.way.fleet.live()
            await self.times(SITE, self.way.prepare)
        await self.times(SAME, self.way.deploy)
        if isinstance(self.way, PaddockWay):
            await self.measure_releases(self.way)
        else:
            await self.measure_in_place()
        await self.measure_kill()
        if len(self.way.fleet.hosts) > 1:
            await self.measure_fleet()

    async def measure_releases(self, way: PaddockWay) -> None:
        """Measure changes and rollbacks of what keeps releases."""
        for _ in range(self.sizes.repeats):
            await self.change(CHANGE, ANSWERS)
            await self.back(way, WARM)
        # As many as the cold rollbacks go back over.
        async with self.traffic(CHANGES, self.sizes.repeats + 1):
            for _ in range(self.sizes.repeats + 1):
                await self.change()
        await self.retired(way.fleet)
        await self.measure_start(way.fleet)
        async with self.traffic(ROLLBACKS, 2):
            await self.back(way)
            await self.change()
            await self.back(way)
            await self.retired(way.fleet)
        for _ in range(self.sizes.repeats):
            await self.back(way, COLD)
        code, serves = await self.break_it()
        if not code:
            self.figures.wrong.append("a broken release was a success")
        if not serves:
            self.figures.wrong.append("a broken release took the site down")

    async def measure_in_place(self) -> None:
        """Measure changes of what changes the app in place; it has no rollback but the old source."""
        for _ in range(self.sizes.repeats):
            await self.change(CHANGE, ANSWERS)
        await self.change(AGAIN, marker=self.markers[-2])
        async with self.traffic(CHANGES, self.sizes.loaded):
            for _ in range(self.sizes.loaded):
                await self.change()
        await self.break_it()
        try:
            await self.change(MENDED)
        except HostError:
            # systemd refuses to start what ended too often, for ten seconds.
            await asyncio.sleep(10)
            await self.change(MENDED)

    async def measure_kill(self) -> None:
        """Kill the server's master, once under load."""
        unit = await self.way.unit()
        async with self.traffic(KILLED, 1) as load:
            say(f"{self.way.name}: kill -9 of {unit}")
            await self.way.fleet.first.ask(KILL.format(unit=unit))
            await load.stopped(8)
        if math.isinf(self.figures.losses[KILLED].outage):
            self.figures.wrong.append("it did not come back after kill -9")

    async def measure_fleet(self) -> None:
        """Measure with all hosts: those that were left out so far are prepared first."""
        self.way.everywhere = True
        self.write()  # what lies there last may be bad: broken, or rolled back from
        await self.measure("the other hosts", self.way.prepare)
        for host in self.way.fleet.hosts:
            await self.trust(host)
            await self.appears(self.markers[-1], host)
        await self.measure(SAME_FLEET, self.way.deploy)
        # What takes long differs little, and is measured once.
        short = self.figures.seconds[SAME_FLEET][0] < 10  # noqa: PLR2004 - seconds
        for _ in range(self.sizes.repeats - 1 if short else 0):
            await self.measure(SAME_FLEET, self.way.deploy)
        for _ in range(self.sizes.repeats if short else 1):
            await self.change(CHANGE_FLEET)

    async def measure_start(self, fleet: Paddock) -> None:
        """Measure how long the app itself takes from the start of an instance until its socket answers."""
        live = await fleet.live()
        listed = (await fleet.first.ask("ls /srv/notes/releases")).split()
        release = next(name for name in sorted(listed) if name != live)
        for _ in range(self.sizes.repeats):
            command = START_APP.format(unit=f"notes@{release}", folder=f"/srv/notes/releases/{release}")
            seconds = int(await fleet.first.ask(command)) / 1000
            self.figures.took(START, seconds)
            say(f"{self.way.name}: {START}: {seconds:.1f} s")

    # ---- Steps

    async def times(self, row: str, action: Callable[[str], Awaitable[Ran]]) -> None:
        """Measure something that changes nothing."""
        for _ in range(self.sizes.repeats):
            await self.measure(row, action)

    async def measure(self, row: str, action: Callable[[str], Awaitable[Ran]]) -> None:
        """Run something that has to succeed, and take its time."""
        if not self.markers:
            self.write()
        self.finished(row, await action(self.markers[-1]))

    def write(self, breaks: str = "") -> str:
        """Write the next change of the app."""
        marker = f"m{self.written}"
        self.written += 1
        self.way.write(marker, breaks)
        if not breaks:
            self.markers.append(marker)
        return marker

    def finished(self, row: str, ran: Ran) -> None:
        """Take the time of a run that has to succeed."""
        if ran.code:
            raise HostError(f"{row}: exit code {ran.code}: {ran.output[-3000:]}")
        self.figures.took(row, ran.end - ran.start)
        say(f"{self.way.name}: {row}: {ran.end - ran.start:.1f} s")

    async def change(self, row: str = CHANGES, answers: str = "", marker: str = "") -> None:
        """Change the code, or write that of an earlier marker again, and deploy."""
        if marker:
            self.way.write(marker)
            self.markers.append(marker)
        else:
            marker = self.write()
        await self.goes_live(row, answers, self.way.deploy(marker), marker, self.markers[-2])

    async def back(self, way: PaddockWay, row: str = ROLLBACKS) -> None:
        """Roll back to the release before, whose instance still runs or does not, as the row has it."""
        before = self.markers.pop()
        warm = self.releases[self.markers[-1]] in await way.fleet.instances()
        if row != ROLLBACKS and warm != (row == WARM):
            raise HostError(f"{row}: the instance of the release before {'still' if warm else 'no longer'} runs")
        await self.goes_live(row, "", way.roll_back(), self.markers[-1], before)

    async def goes_live(self, row: str, answers: str, action: Awaitable[Ran], marker: str, before: str) -> None:
        """Run something after which a marker has to answer on all hosts concerned; take the time until it does."""
        if self.load:
            self.load.markers.allow(marker)
        hosts = self.way.fleet.hosts if self.way.everywhere else [self.way.fleet.first]
        start = time.time()
        looking = asyncio.gather(*(self.appears(marker, host, within=600) for host in hosts))
        try:
            self.finished(row, await action)
            done, _ = await asyncio.wait([looking], timeout=APPEARS)
            if not done:
                raise HostError(f"{row}: it succeeded, but {marker} does not answer")
            seen = max(looking.result()) - start
        finally:
            looking.cancel()
        if answers:
            self.figures.took(answers, seen)
        if isinstance(self.way, PaddockWay):
            self.releases[marker] = await self.way.fleet.live()
        if self.load:
            self.load.markers.forbid(before, KEPT)
            await self.load.stopped(2)

    async def break_it(self) -> tuple[int, bool]:
        """Deploy a release that cannot be imported. Return the exit code, and whether the site serves afterwards."""
        live = self.markers[-1]
        ran = await self.way.deploy(self.write("import error"))
        await asyncio.sleep(BROKEN_AFTER)
        answers = [await ask_marker(self.way.fleet.first) for _ in range(5)]
        serves = answers == [live] * 5
        self.figures.broken = (ran.code, serves)
        say(f"{self.way.name}: broken release: exit code {ran.code}, the site {'serves' if serves else 'is down'}")
        return self.figures.broken

    async def retired(self, fleet: Paddock) -> None:
        """Wait until only what is live runs."""
        for _ in range(fleet.standby + 15):
            if len(await fleet.instances()) == 1:
                return
            await asyncio.sleep(1)
        raise HostError("the old instance does not retire")

    async def trust(self, host: Host) -> None:
        """Learn the certificate of a host."""
        await host.fetch_certificate(self.way.certificate)

    async def appears(self, marker: str, host: Host, within: float = APPEARS) -> float:
        """Return when a marker answered on a host for the first time, asked on a new connection each time."""
        end = time.monotonic() + within
        while time.monotonic() < end:
            if await ask_marker(host) == marker:
                return time.time()
            await asyncio.sleep(0.1)
        raise HostError(f"{marker} does not answer on {host.name}")

    @asynccontextmanager
    async def traffic(self, row: str, events: int) -> AsyncIterator[Load]:
        """Send requests while the body runs, and a little before and after; then count."""
        first = self.way.fleet.first
        load = Load(target_of(first), RATES)
        load.markers.allow(self.markers[-1])
        self.load = load
        interrupted = False
        try:
            async with running(load):
                await load.stopped(2)
                yield load
                await load.stopped(2)
                interrupted = load.stop.is_set()
        finally:
            self.load = None
        if interrupted:
            raise HostError("the run was stopped")
        loss = self.figures.losses[row] = Loss.of(load.tally, events)
        say(f"{self.way.name}: {row}: {lost(loss)}; slowest answer {loss.slowest:.1f} s")
        for failure in load.tally.failures[:5]:
            say(f"{self.way.name}: {row}: {failure.client}: {failure.kind}: {failure.text}")


@functools.cache
def target_of(host: Host) -> Target:
    """Return where a host answers; making what it trusts takes longer than a request."""
    return Target(host.url, host.certificate)


async def ask_marker(host: Host) -> str:
    """Ask for the marker; without an answer it is empty."""
    try:
        async with httpx2.AsyncClient(verify=target_of(host).tls, timeout=2, trust_env=False) as http:
            return str((await http.get(f"{host.url}/marker")).raise_for_status().json()["marker"])
    except (httpx2.HTTPError, ValueError, KeyError):
        return ""


def lost(loss: Loss) -> str:
    """Tell how many requests failed, and how long nothing was answered."""
    outage = "" if not loss.failed else ", down to the end" if math.isinf(loss.outage) else f", {loss.outage:.1f} s"
    return f"{loss.failed:,} of {loss.sent:,} failed{outage}"


# ---- What came of it


@dataclass(frozen=True)
class Goal:
    """One of the collection's own targets."""

    name: str
    value: str
    limit: str
    met: bool


def goals(figures: Figures) -> list[Goal]:
    """Compare what was measured of the collection with its targets; what was not measured is missed."""
    judged = []
    start = figures.median(START)
    for row, name in (
        (SAME, "`deploy`, nothing changed"),
        (ANSWERS, "code change, the new release answers"),
        (WARM, "warm rollback"),
        (COLD, "cold rollback"),
    ):
        seconds = figures.median(row)
        limit, said = LIMITS[row], f"at most {LIMITS[row]:.1f} s"
        if row == COLD and start is not None:
            limit += start
            said = f"at most {limit:.1f} s: {LIMITS[row]:.1f} s and the app's own start, {start:.1f} s"
        met = seconds is not None and seconds <= limit
        judged.append(Goal(name, "not measured" if seconds is None else f"{seconds:.1f} s", said, met))
    for row in (CHANGES, ROLLBACKS):
        loss = figures.losses.get(row)
        value = lost(loss) if loss else "not measured"
        judged.append(Goal(f"requests, {row}", value, "0 failed", loss is not None and loss.sent > 0 == loss.failed))
    return judged


def table(ways: dict[str, Figures]) -> str:
    """Return the comparison as a Markdown table."""

    def times(figures: Figures, *rows: str) -> str:
        return " and ".join(f"{figures.median(row):.1f} s" for row in rows if row in figures.seconds)

    def losses(figures: Figures, row: str) -> str:
        loss = figures.losses.get(row)
        return f"{loss.events}: {lost(loss)}" if loss else ""

    def same(figures: Figures) -> str:
        site = times(figures, SITE)
        return times(figures, SAME) + (f" (`site`: {site})" if site else "")

    def rollback(figures: Figures) -> str:
        again = times(figures, AGAIN)
        return f"none; old source again: {again}" if again else times(figures, WARM, COLD)

    def broken(figures: Figures) -> str:
        if not figures.broken:
            return ""
        code, serves = figures.broken
        return f"exit code {code}, {'serves' if serves else 'down until fixed'}"

    def killed(figures: Figures) -> str:
        loss = figures.losses.get(KILLED)
        return f"{lost(loss)}; slowest answer {loss.slowest:.1f} s" if loss else ""

    rows: list[tuple[str, Callable[[Figures], str]]] = [
        (FIRST, lambda figures: times(figures, FIRST)),
        (SAME, same),
        (CHANGE, lambda figures: times(figures, CHANGE)),
        (ANSWERS, lambda figures: times(figures, ANSWERS)),
        ("code changes under load, longest outage", lambda figures: losses(figures, CHANGES)),
        ("rollback (paddock: warm and cold)", rollback),
        ("rollbacks under load, longest outage", lambda figures: losses(figures, ROLLBACKS)),
        ("broken release (import error)", broken),
        ("`kill -9` of the server's master under load", killed),
        (SAME_FLEET, lambda figures: times(figures, SAME_FLEET)),
        (CHANGE_FLEET, lambda figures: times(figures, CHANGE_FLEET)),
    ]
    lines = [f"| | {' | '.join(ways)} |", "| --- |" + " --- |" * len(ways)]
    lines += [f"| {name} | {' | '.join(cell(figures) for figures in ways.values())} |" for name, cell in rows]
    return "\n".join(lines) + "\n"


def goals_table(judged: list[Goal]) -> str:
    """Return the targets as a Markdown table."""
    lines = ["| paddock's own targets | measured | target | |", "| --- | --- | --- | --- |"]
    lines += [f"| {goal.name} | {goal.value} | {goal.limit} | {'met' if goal.met else 'MISSED'} |" for goal in judged]
    return "\n".join(lines) + "\n"


def as_json(figures: Figures) -> dict[str, Any]:
    """Return everything that was measured; an outage that did not end is null."""
    return {
        "seconds": {row: [round(each, 2) for each in values] for row, values in figures.seconds.items()},
        "losses": {
            row: {key: None if value == math.inf else value for key, value in asdict(loss).items()}
            for row, loss in figures.losses.items()
        },
        "broken": {"code": figures.broken[0], "serves": figures.broken[1]} if figures.broken else None,
        "wrong": figures.wrong,
    }


async def compare(
    names: list[str], sizes: Sizes, distro: str, *, keep: bool
) -> tuple[dict[str, Figures], dict[str, str]]:
    """Measure one way after the other. What goes wrong with one leaves the others alone."""
    ways: dict[str, Figures] = {}
    versions: dict[str, str] = {}
    for name in names:
        # hup differs from the tutorial in one task, so a fleet would say nothing new.
        trial = Trial(way_of(name, distro, 1 if name == "hup" else sizes.hosts), sizes)
        ways[name] = trial.figures
        fleet = trial.way.fleet
        try:
            await trial.run()
            if isinstance(fleet, Paddock):
                versions |= await fleet.versions()
        except (HostError, TimeoutError) as error:
            trial.figures.wrong.append(str(error) or "a command did not end")
            say(f"{name}: {trial.figures.wrong[-1]}")
        finally:
            if keep:
                hosts = " ".join(host.name for host in fleet.hosts)
                say(f"kept: ssh -F {fleet.folder}/ssh {fleet.first.name}; tests/hosts/down {hosts}")
            else:
                await fleet.down()
    return ways, versions


async def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_const", const=QUICK, default=FULL, dest="sizes")
    parser.add_argument("--ways", default=",".join(WAYS), help="some of them; the targets are those of paddock")
    parser.add_argument("--distro", choices=["12", "13"], default="13")
    parser.add_argument("--keep", action="store_true", help="leave the hosts for a look")
    arguments = parser.parse_args()
    names = arguments.ways.split(",")
    if unknown := set(names) - set(WAYS):
        parser.error(f"there is no way {', '.join(sorted(unknown))}: choose from {', '.join(WAYS)}")
    start = time.time()
    ways, versions = await compare(names, arguments.sizes, arguments.distro, keep=arguments.keep)
    judged = goals(ways[PaddockWay.name]) if PaddockWay.name in ways else []
    missed = [f"{goal.name}: {goal.value}; {goal.limit}" for goal in judged if not goal.met]
    missed += [f"{name}: {wrong}" for name, figures in ways.items() for wrong in figures.wrong]
    text = "\n".join([table(ways), *([goals_table(judged)] if judged else [])])
    result = {
        "start": start,
        "seconds": round(time.time() - start, 1),
        "versions": versions,
        "sizes": asdict(arguments.sizes),
        "ways": {name: as_json(figures) for name, figures in ways.items()},
        "goals": [asdict(goal) for goal in judged],
        "missed": missed,
    }
    RESULTS.mkdir(exist_ok=True)
    stem = RESULTS / f"{datetime.datetime.now(datetime.UTC):%Y%m%dT%H%M%SZ}-deploy"
    stem.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    stem.with_suffix(".md").write_text(text, encoding="utf-8")
    print(text)  # noqa: T201
    for each in missed:
        say(f"MISSED  {each}")
    outcome = "missed" if missed else "all met" if judged else "everything worked"
    say(f"{outcome}, {result['seconds']:.0f} s; bench/results/{stem.name}.json and .md")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
