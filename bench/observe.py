"""What it costs to observe an app: requests per second with logs, metrics and traces, beside those without.

One app, set up as the collection does by default, on one throw-away host, in seven variants that each differ from the
first by one option. All of them run, and are asked for a second in turn, again and again: the machine's speed changes
within seconds, and what is compared has to meet the same. Each request is answered with a small object, and logs one
record by the standard library.

    JSON            as by default: JSON logs, metrics, no traces
    same            the same once more: what differs is noise
    text            `log: {format: text}`
    no record       `log: {level: warning}`
    no metrics      `metrics: false`
    traced          `tracing` at 1 %, with a receiver
    traced, dead    the same, and nobody receives

    make bench-observe                    about a quarter of an hour
    make bench-observe ARGS=--quick       three rounds
"""

import asyncio
import random
import statistics
import sys
import time
from dataclasses import asdict, dataclass, field
from typing import Any

from host import CLONE, Paddock, say
from slices import (
    APP,
    CONNECTIONS,
    PEERS,
    PORT,
    WORKERS,
    Contestant,
    Figures,
    Goal,
    Slice,
    Turns,
    Workload,
    goals_table,
    parser,
    report,
    spread,
)

RECORD = "A note was asked for"
PLAIN, SAME, TEXT, SILENT, UNCOUNTED, TRACED, DEAD = (
    *("JSON", "same", "text", "no record", "no metrics", "traced", "traced, dead"),
)
PERCENT = 1
RECEIVER, NOBODY = 4318, 4319  # ports


def tracing(port: int) -> dict[str, Any]:
    """Return settings that have spans sent there."""
    return {"tracing": {"endpoint": f"http://127.0.0.1:{port}", "sample_percent": PERCENT}}


# By variant, what is not as by default.
VARIANTS: dict[str, dict[str, Any]] = {
    PLAIN: {},
    SAME: {},
    TEXT: {"log": {"format": "text"}},
    SILENT: {"log": {"level": "warning"}},
    UNCOUNTED: {"metrics": False},
    TRACED: tracing(RECEIVER),
    DEAD: tracing(NOBODY),
}
WORKLOAD = Workload("logged", "/logged", "json")
# No variant may log more within 30 seconds.
BURST = 10_000_000


@dataclass(frozen=True)
class Price:
    """What is compared: with, and without. At least so many times the requests per second, if that was promised."""

    name: str
    one: str
    other: str = PLAIN
    least: float | None = None
    p99: bool = False  # may not be worse than noise


NOISE = Price("nothing: the same twice", SAME)
PRICES = [
    Price("JSON logs, beside text", PLAIN, TEXT, least=0.95),
    Price("one record per request in JSON, beside none", PLAIN, SILENT),
    Price("metrics, beside none", PLAIN, UNCOUNTED),
    Price(f"traces at {PERCENT} %, beside none", TRACED, least=0.95, p99=True),
    Price(f"traces at {PERCENT} % that nobody receives, beside none", DEAD, least=0.95, p99=True),
    NOISE,
]


@dataclass(frozen=True)
class Sizes:
    """How much of everything."""

    rounds: int  # with new processes: no two of the same app are equally fast
    turns: int = 6  # of each variant in a round, a second each
    # Seconds, for all at once. What a worker does with its first spans takes longer than ever after, and is over then:
    # it sends them after five.
    warm: int = 10


FULL, QUICK = Sizes(12), Sizes(3)


@dataclass
class ObserveFigures(Figures):
    """What was measured, and what proves that it was observed meanwhile."""

    asked: dict[str, int] = field(default_factory=dict)  # by variant, right answers of all slices
    records: dict[str, int] = field(default_factory=dict)  # in the journal
    # By variant and round, microseconds of processor time that an app and its server had for a request. What it does
    # between its turns is in it, so this is not drowned by what else the machine does.
    processor_us: dict[str, list[float]] = field(default_factory=dict)
    spans: int = 0  # of requests, that the receiver had

    def log(self, variant: str, asked: int, records: int, slices: int) -> None:
        """Compare a round's records with its right answers. What is under way when wrk ends is only logged."""
        self.asked[variant] = self.asked.get(variant, 0) + asked
        self.records[variant] = self.records.get(variant, 0) + records
        least, most = (0, 0) if variant == SILENT else (asked, asked + slices * CONNECTIONS)
        if not least <= records <= most:
            self.wrong.append(f"{variant}: {records} records of {asked} requests are in the journal")

    def times(self, price: Price) -> list[float]:
        """Return how many times as many requests are answered with it, round by round."""
        return self.ratios(WORKLOAD.name, price.one, price.other)

    def p99_times(self, price: Price) -> list[float]:
        """Compare the 99th percentiles with it and without, round by round."""
        pairs = self.pairs(WORKLOAD.name, price.one, price.other)
        return [first.p99_ms / second.p99_ms for first, second in pairs if second.p99_ms]

    def processor_times(self, price: Price) -> list[float]:
        """Compare the processor time for a request with it and without, round by round."""
        one, other = (self.processor_us.get(variant, []) for variant in (price.one, price.other))
        return [first / second for first, second in zip(one, other, strict=True)]


def name_of(variant: str) -> str:
    """Return what the variant's app is called."""
    return variant.lower().replace(",", "").replace(" ", "-")


class ObserveFleet(Paddock):
    """A host with the app once for each variant."""

    def variables(self) -> dict[str, Any]:
        """Return the apps, and the ports."""
        apps = [
            {
                "name": name_of(variant),
                "source": str(APP),
                "module": "main:app",
                "domains": [f"{name_of(variant)}.test"],
                "workers": WORKERS,
                "tls": {"mode": "off"},
                **settings,
                "log": {"burst": BURST, **settings.get("log", {})},
            }
            for variant, settings in VARIANTS.items()
        ]
        return {"fastapi_http_port": PORT, "fastapi_https_port": 8443, "fastapi_apps": apps}


@dataclass
class Bench(Turns):
    """The host, and the variants on it."""

    sizes: Sizes
    figures: ObserveFigures = field(default_factory=ObserveFigures)

    async def prepare(self) -> None:
        """Set up the host, with a receiver of traces."""
        self.scripts += (CLONE / "molecule/observability/receiver.py",)
        await super().prepare()
        # The app's environment has OpenTelemetry's definition of what is sent.
        python = f"/srv/{name_of(TRACED)}/current/venv/bin/python"
        await self.fleet.first.ask(
            f"systemd-run --unit=peer-receiver {python} {PEERS}/receiver.py {RECEIVER} {PEERS}/spans"
        )
        self.contestants = [
            Contestant(variant, PORT, (await self.unit(name_of(variant)),), f"{name_of(variant)}.test")
            for variant in VARIANTS
        ]

    async def measure(self) -> None:
        """Let all of them take turns."""
        for number in range(self.sizes.rounds):
            await self.round(random.Random(number))  # noqa: S311 - an order, and the same in each run
            # A journal that grows for ever would make the last round slower than the first.
            await self.fleet.first.ask("journalctl --rotate --vacuum-size=1M")
            told = ", ".join(f"{price.one} / {price.other} {spread(self.figures.times(price))}" for price in PRICES)
            say(f"round {number + 1}: {told}")
        self.figures.spans = int(await self.fleet.first.ask(f"grep -c '\"kind\": 2' {PEERS}/spans || true"))

    async def processor(self) -> list[float]:
        """Return the microseconds of processor time that each app and its server have had."""
        units = " ".join(contestant.units[0] for contestant in self.contestants)
        told = await self.fleet.first.ask(f"systemctl show --property=CPUUsageNSec --value {units}")
        return [int(spent) / 1000 for spent in told.split()]

    async def round(self, chance: random.Random) -> None:
        """Measure all of them, and see that the journal has all that was logged."""
        ask = self.fleet.first.ask
        for contestant in self.contestants:
            await ask(f"systemctl restart {contestant.units[0]}; {self.answers(contestant)}")
        warmed = await asyncio.gather(*(self.slice(each, WORKLOAD, self.sizes.warm) for each in self.contestants))
        found: dict[str, list[Slice]] = {each.name: [] for each in self.contestants}
        before = await self.processor()
        for _ in range(self.sizes.turns):
            # By chance, not by order(): there each follows one of two, whose records journald may still be writing.
            for contestant in chance.sample(self.contestants, k=len(self.contestants)):
                found[contestant.name].append(await self.slice(contestant, WORKLOAD, 1))
        after = await self.processor()
        await ask("journalctl --sync")
        for number, (contestant, warm) in enumerate(zip(self.contestants, warmed, strict=True)):
            counted = together(found[contestant.name])
            spent = (after[number] - before[number]) / counted.right
            self.figures.processor_us.setdefault(contestant.name, []).append(spent)
            self.figures.add(WORKLOAD.name, contestant.name, counted)
            run = (await ask(f"systemctl show --property=InvocationID --value {contestant.units[0]}")).strip()
            records = f"journalctl --quiet --output=cat _SYSTEMD_INVOCATION_ID={run} | grep -c '{RECORD}' || true"
            asked = warm.right + counted.right
            self.figures.log(contestant.name, asked, int(await ask(records)), self.sizes.turns + 1)


def together(slices: list[Slice]) -> Slice:
    """Return the slices of a round as one. Its percentiles are the middle ones."""
    return Slice(
        right=sum(s.right for s in slices),
        wrong=sum(s.wrong for s in slices),
        lost=sum(s.lost for s in slices),
        seconds=sum(s.seconds for s in slices),
        p50_ms=statistics.median(s.p50_ms for s in slices),
        p99_ms=statistics.median(s.p99_ms for s in slices),
    )


def goals(figures: ObserveFigures) -> list[Goal]:
    """Compare what was measured with the targets; what was not measured is missed."""
    judged = []
    for price in PRICES:
        if price.least is not None:
            ratios = figures.times(price)
            met = bool(ratios) and statistics.median(ratios) >= price.least
            judged.append(Goal(price.name, spread(ratios), f"at least {price.least} times", met))
    # Nine of ten rounds differ by less, whichever of the two that are the same is taken for the other.
    noise = sorted(max(ratio, 1 / ratio) for ratio in figures.p99_times(NOISE) if ratio)
    most = noise[int(0.9 * (len(noise) - 1))] if noise else 0.0
    for price in PRICES:
        if price.p99:
            ratios = figures.p99_times(price)
            met = bool(ratios) and statistics.median(ratios) <= most
            limit = f"at most {most:.2f} times: noise, in nine of ten rounds"
            judged.append(Goal(f"p99, {price.name}", spread(ratios), limit, met))
    asked = figures.asked.get(TRACED, 0)
    share = 100 * figures.spans / asked if asked else 0.0
    met = 0.8 * PERCENT <= share <= 1.2 * PERCENT
    value = f"{figures.spans:,} of {asked:,} requests ({share:.2f} %)"
    judged.append(Goal("traces that the receiver had", value, f"{PERCENT} %, or a fifth more or less", met))
    return judged


def tables(figures: ObserveFigures, judged: list[Goal]) -> str:
    """Return what was measured as Markdown."""
    lines = [
        "| what costs | requests per second, times | p99, times | processor time of the app, times |",
        "| --- | --- | --- | --- |",
    ]
    for price in PRICES:
        columns = (figures.times(price), figures.p99_times(price), figures.processor_times(price))
        lines.append(f"| {price.name} | {' | '.join(map(spread, columns))} |")
    lines += [
        "",
        "| medians | requests per second | p50 | p99 | processor time of the app for a request |",
        "| --- | --- | --- | --- | --- |",
    ]
    for variant, slices in figures.slices.get(WORKLOAD.name, {}).items():
        rate, p50, p99 = (
            statistics.median(values) for values in zip(*((s.rate, s.p50_ms, s.p99_ms) for s in slices), strict=True)
        )
        spent = statistics.median(figures.processor_us[variant])
        lines.append(f"| {variant} | {rate:,.0f} | {p50:.1f} ms | {p99:.1f} ms | {spent:.1f} µs |")
    lines += ["", "| journal | records, of requests |", "| --- | --- |"]
    lines += [f"| {variant} | {figures.records[variant]:,} of {asked:,} |" for variant, asked in figures.asked.items()]
    return "\n".join(lines) + "\n\n" + goals_table(judged)


async def main() -> int:
    """Run the benchmark."""
    arguments = parser(__doc__, FULL, QUICK).parse_args()
    start = time.time()
    fleet = ObserveFleet(arguments.distro, name="bench-observe", app=name_of(PLAIN))
    bench = Bench(fleet, arguments.sizes)
    versions = await bench.whole(keep=arguments.keep)
    if versions is None:
        return 2
    judged = goals(bench.figures)
    about: dict[str, Any] = {"versions": versions, "sizes": asdict(arguments.sizes)}
    return await report("observe", start, tables(bench.figures, judged), judged, bench.figures, **about)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
