"""What serving costs: requests per second through what the collection deploys, beside what people would otherwise run.

All of them are on one throw-away host, with the same app, the same virtual environment and two workers, without TLS.
They take turns, each slice with nothing else running, because the machine's speed drifts: only ratios within a round
count.

    paddock           NGINX and Gunicorn, as the collection sets them up by default
    paddock uvicorn   the same with `server: uvicorn`
    uvicorn           `uvicorn --workers 2` alone
    tutorial          the unit and the site that tutorials give, after `pip install fastapi uvicorn gunicorn`
    tutorial standard the same after `pip install "uvicorn[standard]"`, which brings uvloop and httptools
    granian           Granian behind the collection's NGINX
    nginx             NGINX without an app: the limit

    make bench-serve                      about a quarter of an hour
    make bench-serve ARGS=--quick         short slices, three rounds
"""

import asyncio
import json
import shlex
import statistics
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

from host import Paddock, say
from plot import plot_serving
from slices import (
    APP,
    FILES,
    HERE,
    PEERS,
    PORT,
    WORKERS,
    Contestant,
    Figures,
    Goal,
    Slice,
    Turns,
    Workload,
    counted,
    goals_table,
    parser,
    report,
    spread,
)

JSON = Workload("JSON", "/json", "json")
LARGE = Workload("100 KiB", "/large", "large")
POST = Workload("POST", "/echo", "size", "posted")
IDLE = Workload("JSON, 1,000 idle connections", "/json", "json", idle=1000)
WORKLOADS = [JSON, LARGE, POST, IDLE]
CONCURRENT = 5000
# More requests at a time than one worker of NGINX passes on, and not more connections than it has.
BEYOND = 9000
OURS, BARE, TUTORIAL, STANDARD, LIMIT = "paddock", "uvicorn", "tutorial", "tutorial standard", "nginx"
# At least so many times the other's requests per second.
RATIOS = {BARE: 0.85, TUTORIAL: 1.7, STANDARD: 1.7}


@dataclass(frozen=True)
class Sizes:
    """How much of everything."""

    rounds: int
    seconds: int
    other_rounds: int  # of what is not judged
    other_seconds: int


FULL, QUICK = Sizes(9, 3, 3, 2), Sizes(3, 2, 1, 2)


@dataclass
class Crowd:
    """What many connections were answered, step by step."""

    connections: int
    steps: list[dict[str, int]]

    def total(self) -> Counter[str]:
        """Count over all steps."""
        return sum((Counter(step) for step in self.steps), Counter())

    def failed(self, *allowed: str) -> int:
        """Count what is none of these."""
        return sum(count for outcome, count in self.total().items() if outcome not in allowed)


@dataclass
class ServeFigures(Figures):
    """What was measured, many connections included."""

    held: Crowd | None = None
    shed: Crowd | None = None


class ServeFleet(Paddock):
    """A host with the app twice, once for each process model."""

    def variables(self) -> dict[str, Any]:
        """Return the apps, and the ports."""
        apps = [
            {
                "name": server,
                "source": str(APP),
                "module": "main:app",
                "domains": [f"{server}.test"],
                "server": server,
                "workers": WORKERS,
                "tls": {"mode": "off"},
            }
            for server in ("gunicorn", "uvicorn")
        ]
        return {"fastapi_http_port": PORT, "fastapi_https_port": 8443, "fastapi_apps": apps}


@dataclass
class Bench(Turns):
    """The host, and who serves on it."""

    sizes: Sizes
    figures: ServeFigures = field(default_factory=ServeFigures)

    async def prepare(self) -> None:
        """Set up the host with the peers as well."""
        await super().prepare()
        await self.play(HERE / "peers/serve.yml", "-e", json.dumps({"workers": WORKERS}))
        # The collection's NGINX, but for the name and the socket.
        await self.fleet.first.ask(
            "sed 's,/srv/gunicorn/current/app.sock,/run/peer-granian/app.sock,; s,gunicorn,granian,g'"
            " /etc/nginx/conf.d/gunicorn.conf >/etc/nginx/conf.d/granian.conf"
        )
        await self.fleet.first.ask(
            "systemctl daemon-reload; systemctl stop nginx.service 'gunicorn@*.service' 'uvicorn@*.service'"
        )
        gunicorn, uvicorn = [await self.unit(app) for app in ("gunicorn", "uvicorn")]
        self.contestants = [
            Contestant(OURS, PORT, (gunicorn, "nginx"), "gunicorn.test"),
            Contestant("paddock uvicorn", PORT, (uvicorn, "nginx"), "uvicorn.test"),
            Contestant(BARE, 8001, ("peer-uvicorn",)),
            Contestant(TUTORIAL, 8002, ("peer-tutorial", "peer-tutorial-nginx")),
            Contestant(STANDARD, 8002, ("peer-tutorial-standard", "peer-tutorial-nginx")),
            Contestant("granian", PORT, ("peer-granian", "nginx"), "granian.test"),
            Contestant(LIMIT, 8003, ("peer-limit-nginx",)),
        ]

    async def measure(self) -> None:
        """Let all of them take turns at each workload, and then try many connections on ours."""
        for workload in WORKLOADS:
            judged = workload is JSON
            rounds = self.sizes.rounds if judged else self.sizes.other_rounds
            seconds = self.sizes.seconds if judged else self.sizes.other_seconds
            for number in range(rounds):
                for contestant in self.order(number):
                    async with self.serving(contestant):
                        await self.slice(contestant, workload, 1)
                        counted = await self.slice(contestant, workload, seconds)
                    self.figures.add(workload.name, contestant.name, counted)
            say(f"{workload.name}: {', '.join(self.summary(workload.name))}")
        ours = self.contestants[0]
        async with self.serving(ours):
            self.figures.held = await self.crowd(ours, CONCURRENT, 2, "/json", "/sleep?seconds=5.0", "/json")
        say(f"{CONCURRENT:,} connections: {told(self.figures.held)}")
        async with self.serving(ours):
            self.figures.shed = await self.crowd(ours, BEYOND, 0, "/sleep?seconds=15.0", "/json")
        say(f"{BEYOND:,} connections: {told(self.figures.shed)}")

    def summary(self, workload: str) -> list[str]:
        """Tell how each compares with the bare server."""
        return [f"{each.name} {spread(self.figures.ratios(workload, each.name, BARE))}" for each in self.contestants]

    async def slice(self, contestant: Contestant, workload: Workload, seconds: int) -> Slice:
        """Have wrk ask for some seconds, beside idle connections if there are to be any."""
        if not workload.idle:
            return await super().slice(contestant, workload, seconds)
        # They have been answered before, and are again.
        asked = (
            f"coproc {self.crowd_command(contestant, workload.idle, 1, '/json', 'hold', '/json')};"
            f' read -r line <&"${{COPROC[0]}}"; [ "$line" = held ] || exit 1;'
            f" {self.command(contestant, workload, seconds)};"
            ' echo >&"${COPROC[1]}"; cat <&"${COPROC[0]}"'
        )
        output = await self.fleet.first.ask(f"bash -c {shlex.quote(asked)}", within=120)
        if failed := Crowd(**json.loads(output.splitlines()[-1])).failed("200"):
            self.figures.wrong.append(f"{contestant.name}: {failed} answers of idle connections")
        return counted(output)

    @staticmethod
    def crowd_command(contestant: Contestant, connections: int, seconds: int, *steps: str) -> str:
        """Return the command of many connections."""
        return shlex.join(
            ["python3", f"{PEERS}/crowd.py", str(contestant.port), contestant.host, str(connections), str(seconds)]
            + [f"{step} {right_answer(step)}" if step.startswith("/") else step for step in steps]
        )

    async def crowd(self, contestant: Contestant, connections: int, seconds: int, *steps: str) -> Crowd:
        """Have many connections ask, within some seconds."""
        command = self.crowd_command(contestant, connections, seconds, *steps)
        return Crowd(**json.loads(await self.fleet.first.ask(f"ulimit -n $(ulimit -Hn); {command}", within=300)))

    async def versions(self) -> dict[str, str]:
        """Return what the figures hold for."""
        python = "/srv/gunicorn/current/venv/bin/python"
        asked = "import granian, fastapi; print(granian.__version__, fastapi.__version__)"
        told = await self.fleet.first.ask(f"{python} -c {shlex.quote(asked)}")
        return {**await super().versions(), "granian and fastapi": told.strip()}


def right_answer(path: str) -> str:
    """Return the only right body."""
    if path == "/json":
        return FILES["json"]
    return json.dumps({"seconds": float(path.partition("=")[2])}, separators=(",", ":"))


def told(crowd: Crowd) -> str:
    """Tell what was answered in each step."""
    return "; ".join(", ".join(f"{count:,} x {outcome}" for outcome, count in step.items()) for step in crowd.steps)


def goals(figures: ServeFigures) -> list[Goal]:
    """Compare what was measured with the targets; what was not measured is missed."""
    judged = []
    for other, limit in RATIOS.items():
        ratios = figures.ratios(JSON.name, OURS, other)
        met = bool(ratios) and statistics.median(ratios) >= limit
        judged.append(Goal(f"JSON, beside {other}", spread(ratios), f"at least {limit} times", met))
    held, shed = figures.held, figures.shed
    judged.append(
        Goal(
            f"{CONCURRENT:,} connections, all with a request under way",
            told(held) if held else "not measured",
            "all answered right",
            bool(held and held.connections == CONCURRENT and held.steps and not held.failed("200")),
        )
    )
    judged.append(
        Goal(
            f"{shed.connections:,} connections that ask at once" if shed else "more connections",
            told(shed) if shed else "not measured",
            "some answered 503 with Retry-After, all others right",
            bool(shed and shed.total()["503"] and not shed.failed("200", "503")),
        )
    )
    return judged


def tables(figures: Figures, judged: list[Goal]) -> str:
    """Return what was measured as Markdown."""
    names = list(figures.slices.get(JSON.name, {}))
    lines = [f"| times `uvicorn`, median (spread) | {' | '.join(names)} |", "| --- |" + " --- |" * len(names)]
    for workload in figures.slices:
        cells = (spread(figures.ratios(workload, name, BARE)) for name in names)
        lines.append(f"| {workload} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n\n" + goals_table(judged)


async def main() -> int:
    """Run the benchmark."""
    arguments = parser(__doc__, FULL, QUICK).parse_args()
    start = time.time()
    fleet = ServeFleet(arguments.distro, name="bench-serve", app="gunicorn")
    bench = Bench(fleet, arguments.sizes)
    versions = await bench.whole(keep=arguments.keep)
    if versions is None:
        return 2
    judged = goals(bench.figures)
    text = tables(bench.figures, judged)
    about: dict[str, Any] = {"versions": versions, "sizes": asdict(arguments.sizes)}
    return await report("serve", start, text, judged, bench.figures, plot_serving, **about)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
