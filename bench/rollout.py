"""Roll out, fail and roll back under constant mixed traffic, and count every request.

It starts a test host of its own, deploys the sample app to it, and runs the events of a schedule while clients talk to
the app through the public HTTPS listener. It ends with a table, and with JSON and a plot in bench/results/. The exit
code says whether all held: no request failed, p99 during rollouts at most 3 times the steady p99, and every event
ended as it should.

    make bench-rollout                 the whole schedule
    make bench-rollout ARGS=--quick    a minute of it
"""

import argparse
import asyncio
import datetime
import json
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from host import KILL, HostError, Paddock, Ran, say
from load import KEPT, Load, Rates, Target, missing_programs, running
from plot import plot
from schedule import SCHEDULES, Does, Event, schedule, write_app
from tally import Latency, Phase, Span, Timeline

RESULTS = Path(__file__).parent / "results"
RATIO = 3.0
RELOAD = "for i in $(seq 20); do nginx -s reload; sleep 0.3; done"


@dataclass(frozen=True)
class Sizes:
    """How much of everything."""

    schedule: str
    requests: int
    bulk: float
    standby: int
    warmup: float
    steady: float
    timeout: float
    longest: float


SIZES = {
    # As much as leaves the two processors of our machine, which load and control node share, something to deploy with.
    "full": Sizes("full", 500_000, 360, 10, 10, 40, 10, 1800),
    "quick": Sizes("quick", 0, 200, 8, 4, 10, 10, 150),
    "break": Sizes("break", 0, 200, 8, 4, 10, 10, 150),
}


@dataclass(frozen=True)
class Done:
    """An event that is over. `wrong` says what should have been otherwise."""

    event: Event
    start: float
    end: float
    wrong: str = ""


@dataclass
class Bench:
    """One run."""

    fleet: Paddock
    sizes: Sizes
    events: list[Event]
    load: Load
    done: list[Done] = field(default_factory=list)
    good: list[tuple[str, str]] = field(
        default_factory=list
    )  # release and marker, the one that went live last at the end
    deploys: int = 0

    async def prepare(self) -> None:
        """Start the host and the first release."""
        say(f"a Debian {self.fleet.distro} host")
        await self.fleet.up()
        write_app(self.fleet.source, "m0")
        say("site")
        ran = await self.fleet.play("site")
        if ran.code:
            raise HostError(ran.output[-3000:])
        await self.fleet.fetch_certificate()
        self.good = [(await self.fleet.live(), "m0")]
        self.load.markers.allow("m0")

    async def run(self) -> tuple[float, float, float]:
        """Run all events under load. Return when the load began, was warm, and ended."""
        start = time.time()
        say(f"load on {self.fleet.first.url}")
        async with running(self.load) as task:
            warm = start + self.sizes.warmup
            await self.wait(self.sizes.warmup + self.sizes.steady, task)
            for event in self.events:
                if self.load.stop.is_set():
                    break
                self.done.append(await self.perform(event))
                await self.wait(event.after, task)
            # Until the last old instance is gone, and a little longer.
            await self.wait(self.sizes.standby + 4, task)
            while self.load.tally.sent < self.sizes.requests and time.time() < start + self.sizes.longest:
                if await self.wait(5, task):
                    break
            end = time.time()
        return start, warm, end

    async def wait(self, seconds: float, task: asyncio.Task[None]) -> bool:
        """Leave the host alone, unless the load ends; tell whether it has."""
        return task.done() or await self.load.stopped(seconds)

    async def perform(self, event: Event) -> Done:
        """Run one event, and compare what came of it."""
        say(event.name)
        start = time.time()
        failed = len(self.load.tally.failures)
        try:
            match event.does:
                case Does.DEPLOY | Does.FAIL:
                    wrong = await self._deploy(event)
                case Does.WARM | Does.COLD:
                    wrong = await self._roll_back(event)
                case _:
                    kill = KILL.format(unit=f"notes@{self.good[-1][0]}.service")
                    await self.fleet.first.ask(kill if event.does == Does.KILL else RELOAD)
                    wrong = ""
        except (HostError, TimeoutError) as error:
            wrong = str(error) or "it did not end"
        end = time.time()
        lost = len(self.load.tally.failures) - failed
        say(
            f"{event.name}: {end - start:.1f} s{f', {lost} failed' if lost else ''}{f', but: {wrong}' if wrong else ''}"
        )
        return Done(event, start, end, wrong)

    async def _deploy(self, event: Event) -> str:
        self.deploys += 1
        marker = f"m{self.deploys}"
        write_app(self.fleet.source, marker, event.breaks)
        live, before = self.good[-1]
        if event.does == Does.FAIL:
            ran = await self.fleet.play("deploy")
            if ran.code == 0:
                return "it succeeded"
            return "" if await self.fleet.live() == live else "another release is live"
        return await self._goes_live("deploy", marker, before)

    async def _roll_back(self, event: Event) -> str:
        live, before = self.good[-1]
        release, marker = next(((name, mark) for name, mark in reversed(self.good) if name != live), ("", ""))
        if not release:
            return "there is no release to go back to"
        warm = release in await self.fleet.instances()
        if warm != (event.does == Does.WARM):
            return f"the instance of {release} {'still' if warm else 'no longer'} runs"
        # To the release before is what a rollback does when told nothing.
        arguments = [] if event.does == Does.WARM else ["-e", f"release={release}"]
        wrong = await self._goes_live("rollback", marker, before, *arguments)
        if not wrong:
            self.good = [entry for entry in self.good if entry[0] != live]  # nobody goes back to what is bad
        return wrong

    async def _goes_live(self, playbook: str, marker: str, before: str, *arguments: str) -> str:
        markers = self.load.markers
        markers.allow(marker)
        ran: Ran = await self.fleet.play(playbook, *arguments)
        if ran.code:
            markers.forbid(marker)
            return ran.output[-2000:]
        markers.forbid(before, KEPT)
        self.good.append((await self.fleet.live(), marker))
        if not self.load.rates.kept_get:
            return ""
        await self.load.stopped(1)
        return "" if markers.seen.get(marker, 0) >= ran.start else f"nobody was answered {marker}"

    def result(self, start: float, warm: float, end: float, versions: dict[str, str]) -> dict[str, Any]:
        """Sum up."""
        tally = self.load.tally
        spans = [Span(Phase.WARMUP, start, warm)]
        for done in self.done:
            spans.append(Span(Phase.ROLLOUT, done.start, done.end))
            # The timer that retires the old instance has a second of slack.
            spans.append(Span(Phase.RETIRE, done.end, done.end + self.fleet.standby + 2))
        timeline = Timeline(spans)
        phases = tally.by_phase(timeline)
        steady, rollout = phases[Phase.STEADY], phases[Phase.ROLLOUT]
        ratio = round(rollout.p99 / steady.p99, 2) if steady and rollout else None
        missed = [f"{done.event.name}: {done.wrong}" for done in self.done if done.wrong]
        if len(self.done) < len(self.events):
            missed.append(f"{len(self.done)} of {len(self.events)} events: the run was stopped")
        if tally.failures:
            missed.append(f"{len(tally.failures)} of {tally.sent} requests failed; there should be none")
        if ratio is None or ratio > RATIO:
            missed.append(f"p99 during rollouts is {ratio} times the steady p99; at most {RATIO:g} times is good")
        if tally.sent < self.sizes.requests:
            missed.append(f"{tally.sent} requests were sent; there should be {self.sizes.requests}")
        return {
            "missed": missed,
            "sent": tally.sent,
            "failed": len(tally.failures),
            "kinds": tally.kinds(),
            "ratio": ratio,
            "steady": steady.as_json() if steady else None,
            "phases": {phase: latency.as_json() if latency else None for phase, latency in phases.items()},
            "limits": {"ratio": RATIO, "failed": 0, "requests": self.sizes.requests},
            "start": start,
            "seconds": round(end - start, 1),
            "versions": versions,
            "nice": self.fleet.nice,
            "clients": {
                name: {
                    "sent": client.sent,
                    "right": client.right,
                    "failed": client.failed,
                    "reconnects": client.reconnects,
                    "judged": client.is_request,
                    "phases": {
                        phase: latency.as_json() if latency else None
                        for phase, latency in tally.by_phase(timeline, client).items()
                    },
                }
                for name, client in tally.clients.items()
            },
            "events": [self._event(done, steady) for done in self.done],
            "failures": [vars(failure) for failure in sorted(tally.failures, key=lambda each: each.time)[:1000]],
            "series": tally.series(start, end),
        }

    def _event(self, done: Done, steady: Latency | None) -> dict[str, Any]:
        latency = Latency.of(self.load.tally.within(done.start, done.end))
        until = done.end + self.fleet.standby + 2
        return {
            "name": done.event.name,
            "does": str(done.event.does),
            "start": done.start,
            "end": done.end,
            "seconds": round(done.end - done.start, 1),
            "failed": sum(done.start <= failure.time < until for failure in self.load.tally.failures),
            "latency": latency.as_json() if latency else None,
            "ratio": round(latency.p99 / steady.p99, 2) if latency and steady else None,
            "wrong": done.wrong,
        }


def tables(result: dict[str, Any]) -> str:
    """Return the result as tables."""
    blank = dict.fromkeys(("p50_ms", "p99_ms", "max_ms"), float("nan"))
    lines = [
        f"{'':24}{'':9}{'':9}{'':8}{'re-':>9}{'steady, ms':>24}{'during rollouts, ms':>24}",
        f"{'client':24}{'sent':>9}{'right':>9}{'failed':>8}{'connects':>9}" + f"{'p50':>8}{'p99':>8}{'max':>8}" * 2,
    ]

    def figures(phases: dict[str, Any]) -> str:
        chosen = [phases[phase] or blank for phase in (Phase.STEADY, Phase.ROLLOUT)]
        return "".join(f"{each[key]:8.1f}" for each in chosen for key in ("p50_ms", "p99_ms", "max_ms"))

    for name, client in result["clients"].items():
        counts = f"{client['sent']:9}{client['right']:9}{client['failed']:8}{client['reconnects']:9}"
        lines.append(f"{name:24}{counts}{figures(client['phases'])}{'' if client['judged'] else '  *'}")
    reconnects = sum(client["reconnects"] for client in result["clients"].values())
    counts = f"{result['sent']:9}{result['sent'] - result['failed']:9}{result['failed']:8}{reconnects:9}"
    lines += [f"{'all':24}{counts}{figures(result['phases'])}", "* not among the latencies of all", ""]
    lines.append(f"{'event':36}{'seconds':>8}{'failed':>8}{'p50':>8}{'p99':>8}{'max':>8}  ms   p99 : steady p99")
    for event in result["events"]:
        latency = event["latency"] or blank
        shown = "".join(f"{latency[key]:8.1f}" for key in ("p50_ms", "p99_ms", "max_ms"))
        lines.append(f"{event['name']:36}{event['seconds']:8.1f}{event['failed']:8}{shown}{event['ratio'] or '?':>10}")
    rate = result["sent"] / result["seconds"]
    lines += ["", f"{result['sent']} requests in {result['seconds']:.0f} s ({rate:.0f} per second)"]
    by_phase = ", ".join(f"{phase} {entry['p99_ms']:.1f}" for phase, entry in result["phases"].items() if entry)
    lines.append(f"p99, ms: {by_phase}")
    if result["kinds"]:
        lines.append("failed: " + ", ".join(f"{count} {kind}" for kind, count in result["kinds"].items()))
    return "\n".join(lines).replace("nan", "  -")


async def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_const", const="quick", dest="schedule", help="about a minute")
    parser.add_argument("--schedule", choices=SCHEDULES, help="'break' shows what a loss looks like")
    parser.add_argument("--distro", choices=["12", "13"], default="13")
    parser.add_argument("--rate", type=float, help="requests per second of wrk and h2load together")
    parser.add_argument("--nice", type=int, default=0, help="priority of the playbooks; 0 is as everything else")
    parser.add_argument("--keep", action="store_true", help="leave the host for a look")
    parser.set_defaults(schedule="full")  # of two options that set it
    arguments = parser.parse_args()
    if missing := missing_programs():
        say(f"install {' and '.join(missing)}: make bench-rollout does")
        return 2
    sizes = SIZES[arguments.schedule]
    fleet = Paddock(arguments.distro, standby=sizes.standby, nice=arguments.nice)
    load = Load(Target(fleet.first.url), Rates(bulk=arguments.rate or sizes.bulk), timeout=sizes.timeout)
    bench = Bench(fleet, sizes, schedule(sizes.schedule), load)
    RESULTS.mkdir(exist_ok=True)
    stem = RESULTS / f"{datetime.datetime.now(datetime.UTC):%Y%m%dT%H%M%SZ}-{arguments.schedule}"
    try:
        await bench.prepare()
        load.target = Target(fleet.first.url, fleet.first.certificate)
        versions = await fleet.versions()
        start, warm, end = await bench.run()
        result = bench.result(start, warm, end, versions)
        if result["failed"]:
            stem.with_suffix(".evidence").write_text(await fleet.evidence(start), encoding="utf-8")
    except HostError as error:
        say(f"the host could not be set up: {error}")
        return 2
    finally:
        if arguments.keep:
            say(f"kept: ssh -F {fleet.folder}/ssh {fleet.first.name}; tests/hosts/down {fleet.first.name}")
        else:
            await fleet.down()
    stem.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    plot(result, stem.with_suffix(".svg"))
    print(tables(result))  # noqa: T201
    for missed in result["missed"]:
        say(f"MISSED  {missed}")
    say(f"{'missed' if result['missed'] else 'all held'}; bench/results/{stem.name}.json and .svg")
    return 1 if result["missed"] else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
