"""What it costs to observe an app: requests per second with logs, metrics and traces, beside those without.

One app, set up as the collection does by default, on one throw-away host, in seven variants that each differ from the
first by one option. They take turns, as in serve.py; each request is answered with a small object, and logs one record
by the standard library.

    JSON            as by default: JSON logs, metrics, no traces
    same            the same once more: what differs is noise
    text            `log: {format: text}`
    no record       `log: {level: warning}`
    no metrics      `metrics: false`
    traced          `tracing` at 1 %, with a receiver
    traced, dead    the same, and nobody receives

    make bench-observe                    about twelve minutes
    make bench-observe ARGS=--quick       three rounds
"""

import asyncio
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

LOGGED = Workload("one record per request", "/logged", "json")
RECORD = "A note was asked for"
PLAIN, SAME, TEXT, SILENT, UNCOUNTED, TRACED, DEAD = (
    *("JSON", "same", "text", "no record", "no metrics", "traced", "traced, dead"),
)
PERCENT = 1
RECEIVER, NOBODY = 4318, 4319  # ports


def tracing(port: int) -> dict[str, Any]:
    """Return settings that have spans sent each second, not each fifth, so that every slice has some of that."""
    endpoint = f"http://127.0.0.1:{port}"
    return {
        "tracing": {"endpoint": endpoint, "sample_percent": PERCENT},
        "env": {"OTEL_BSP_SCHEDULE_DELAY": 1000},
    }


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
# No slices may log more within 30 seconds.
BURST = 10_000_000


@dataclass(frozen=True)
class Price:
    """What is compared: with, and without. At least so many times the requests per second, if that was promised."""

    name: str
    one: str
    other: str
    least: float | None = None
    p99: bool = False  # may not be worse than noise


NOISE = Price("nothing: the same twice", SAME, PLAIN)
PRICES = [
    Price("JSON logs, beside text", PLAIN, TEXT, 0.95),
    Price("one record per request in JSON, beside none", PLAIN, SILENT),
    Price("metrics, beside none", PLAIN, UNCOUNTED),
    Price(f"traces at {PERCENT} %, beside none", TRACED, PLAIN, 0.95, p99=True),
    Price(f"traces at {PERCENT} % that nobody receives, beside none", DEAD, PLAIN, 0.95, p99=True),
    NOISE,
]


@dataclass(frozen=True)
class Sizes:
    """How much of everything."""

    rounds: int
    seconds: int


FULL, QUICK = Sizes(14, 3), Sizes(3, 2)


@dataclass
class ObserveFigures(Figures):
    """What was measured, and what proves that it was observed meanwhile."""

    asked: dict[str, int] = field(default_factory=dict)  # by variant, right answers of all slices
    records: dict[str, int] = field(default_factory=dict)  # in the journal
    spans: int = 0  # of requests, that the receiver had

    def log(self, variant: str, asked: int, records: int) -> None:
        """Compare a turn's records with its right answers. What is under way as wrk ends is logged, and not counted."""
        self.asked[variant] = self.asked.get(variant, 0) + asked
        self.records[variant] = self.records.get(variant, 0) + records
        least, most = (0, 0) if variant == SILENT else (asked, asked + 2 * CONNECTIONS)
        if not least <= records <= most:
            self.wrong.append(f"{variant}: {records} records of {asked} requests are in the journal")

    def p99_ratios(self, one: str, other: str) -> list[float]:
        """Compare the 99th percentiles of two variants, round by round."""
        return [first.p99_ms / second.p99_ms for first, second in self.pairs(LOGGED.name, one, other) if second.p99_ms]


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
        ask = self.fleet.first.ask
        units = {variant: await self.unit(name_of(variant)) for variant in VARIANTS}
        await ask(f"systemctl stop nginx.service {' '.join(f'{unit}.service' for unit in units.values())}")
        # The app's environment has OpenTelemetry's definition of what is sent.
        python = f"/srv/{name_of(TRACED)}/current/venv/bin/python"
        await ask(f"systemd-run --unit=peer-receiver {python} {PEERS}/receiver.py {RECEIVER} {PEERS}/spans")
        self.contestants = [
            Contestant(variant, PORT, (unit, "nginx"), f"{name_of(variant)}.test") for variant, unit in units.items()
        ]

    async def measure(self) -> None:
        """Let all of them take turns."""
        for number in range(self.sizes.rounds):
            for contestant in self.order(number):
                counted = await self.turn(contestant)
                self.figures.add(LOGGED.name, contestant.name, counted)
            # A journal that grows for ever would make the last round slower than the first.
            await self.fleet.first.ask("journalctl --rotate --vacuum-size=1M")
            told = ", ".join(f"{price.one} / {price.other} {spread(self.ratios(price))}" for price in PRICES)
            say(f"round {number + 1}: {told}")
        self.figures.spans = int(await self.fleet.first.ask(f"grep -c '\"kind\": 2' {PEERS}/spans || true"))

    async def turn(self, contestant: Contestant) -> Slice:
        """Measure one of them, and see that the journal has all that was logged."""
        ask = self.fleet.first.ask
        async with self.serving(contestant):
            run = (await ask(f"systemctl show --property=InvocationID --value {contestant.units[0]}")).strip()
            warmed = await self.slice(contestant, LOGGED, 1)
            counted = await self.slice(contestant, LOGGED, self.sizes.seconds)
        found = f"journalctl --quiet --output=cat _SYSTEMD_INVOCATION_ID={run} | grep -c '{RECORD}' || true"
        records = int(await ask(f"journalctl --sync; {found}"))
        self.figures.log(contestant.name, warmed.right + counted.right, records)
        return counted

    def ratios(self, price: Price) -> list[float]:
        """Return how many times as many requests are answered with it, round by round."""
        return self.figures.ratios(LOGGED.name, price.one, price.other)


def goals(figures: ObserveFigures) -> list[Goal]:
    """Compare what was measured with the targets; what was not measured is missed."""
    judged = []
    for price in PRICES:
        if price.least is not None:
            ratios = figures.ratios(LOGGED.name, price.one, price.other)
            met = bool(ratios) and statistics.median(ratios) >= price.least
            judged.append(Goal(price.name, spread(ratios), f"at least {price.least} times", met))
    noise = sorted(figures.p99_ratios(NOISE.one, NOISE.other))
    # Nine of ten rounds differ by less.
    most = noise[int(0.9 * (len(noise) - 1))] if noise else 0.0
    for price in PRICES:
        if price.p99:
            ratios = figures.p99_ratios(price.one, price.other)
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
    lines = ["| what costs | requests per second, times | p99, times |", "| --- | --- | --- |"]
    for price in PRICES:
        ratios = figures.ratios(LOGGED.name, price.one, price.other)
        lines.append(f"| {price.name} | {spread(ratios)} | {spread(figures.p99_ratios(price.one, price.other))} |")
    lines += ["", "| medians | requests per second | p50 | p99 | records, of requests |", "| --- |" + " --- |" * 4]
    for variant, slices in figures.slices.get(LOGGED.name, {}).items():
        rate, p50, p99 = (
            statistics.median(figures) for figures in zip(*((s.rate, s.p50_ms, s.p99_ms) for s in slices), strict=True)
        )
        kept = f"{figures.records.get(variant, 0):,} of {figures.asked.get(variant, 0):,}"
        lines.append(f"| {variant} | {rate:,.0f} | {p50:.1f} ms | {p99:.1f} ms | {kept} |")
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
