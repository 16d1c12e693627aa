"""Everything that can go wrong with a rollout, while people use the app: none of them notices.

Each test lets a rollout fail, looks at what is left of it, and then rolls out something good. Traffic of all kinds runs
through the public listener of each host all the while; every answer is compared, and the variants of the app tell by
their markers which of them answered. Where a failure is one host's alone, each of the two has another.

The tests build on each other.
"""

import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from fleet import Fleet, Played
from traffic import FEWEST_PER_SECOND, Traffic, traffic

SCENARIO = Path(__file__).parents[1]
APP: dict[str, Any] = yaml.safe_load((SCENARIO / "vars/apps.yml").read_text())["apps"][0]
# Clients of which every test must see right answers. Streams of events are whole only after twenty seconds.
CLIENTS = ["GET kept", "GET new connection", "POST kept", "POST note, GET it", "GET h2", "POST h2"]
CLIENTS += ["GET that waits", "GET that waits h2", "WebSocket echo"]

LOOK = """
    cd /srv/shop
    echo "live $(basename "$(readlink current)")"
    for release in $(ls releases); do echo "release $release"; done
    for file in releases/*/release.json; do echo "built $(basename "$(dirname "$file")")"; done
    for file in $(ls releases/*/app.sock); do echo "socket $(basename "$(dirname "$file")")"; done
    for file in $(ls releases/*/bad); do echo "bad $(basename "$(dirname "$file")") $(cat "$file")"; done
    for unit in $(ls /etc/systemd/system/*.wants | grep '^shop@'); do echo "enabled $unit"; done
    systemctl list-units --plain --no-legend --state=active,activating,deactivating,failed "shop@*" "shop-guard@*" |
        while read -r unit rest; do echo "unit $unit"; done
    cmp --silent current/units/@.service /etc/systemd/system/shop@.service || echo "foreign shop@.service"
    for file in $(ls -A | grep -v -x -e releases -e shared -e current -e rollouts.jsonl); do echo "foreign $file"; done
"""


@dataclass(frozen=True)
class State:
    """What there is of the app on a host."""

    found: dict[str, list[str]]

    @classmethod
    def of(cls, text: str) -> "State":
        """Read what LOOK has found."""
        found: dict[str, list[str]] = {}
        for line in text.splitlines():
            word, _, rest = line.partition(" ")
            found.setdefault(word, []).append(rest)
        return cls(found)

    def releases(self, word: str) -> set[str]:
        """Return the releases of which there is such a thing."""
        return set(re.findall(r"\d{8}T\d{6}Z-[0-9a-f]{12}", " ".join(self.found.get(word, []))))

    @property
    def live(self) -> str:
        """Return the release that is live."""
        return self.found["live"][0]

    @property
    def started(self) -> set[str]:
        """Return the releases of which there is an instance, or anything of one."""
        return self.releases("unit") | self.releases("enabled") | self.releases("socket")

    @property
    def bad(self) -> dict[str, str]:
        """Return why each bad release is bad."""
        return dict(line.split(" ", 1) for line in self.found.get("bad", []))


@dataclass
class Shop:
    """The app on both hosts, and those who use it."""

    fleet: Fleet
    traffic: dict[str, Traffic]
    marker: str = APP["env"]["MARKER"]
    # Markers differ between runs of these tests, so that hosts that were kept have not seen them.
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(int(time.time())))

    def variant(self, **env: object) -> dict[str, Any]:
        """Return the app as a new variant."""
        return {**APP, "env": {"MARKER": f"m{next(self.numbers)}", **env}}

    def expect(self, *markers: str) -> None:
        """Say which variants may answer the public of both hosts."""
        for each in self.traffic.values():
            each.expect(*markers)

    def states(self) -> dict[str, State]:
        """Look at both hosts."""
        return {name: State.of(text) for name, text in self.fleet.each(f"( {LOOK} ) 2>/dev/null").items()}

    def live(self) -> dict[str, str]:
        """Return the release that is live on each host."""
        return {name: state.live for name, state in self.states().items()}

    def play(self, app: dict[str, Any], playbook: str = "deploy") -> Played:
        """Run a playbook for this app alone."""
        return self.fleet.play(playbook, fastapi_apps=[app])

    def fail(self, app: dict[str, Any], playbook: str = "deploy") -> tuple[Played, dict[str, set[str]]]:
        """Roll out what must not go live, and return what was said, and which releases are new on each host."""
        before = self.states()
        played = self.play(app, playbook)
        assert played.code != 0, played.output
        after = self.states()
        for name, state in after.items():
            assert state.live == before[name].live
            assert state.live in state.started
            assert state.releases("enabled") == {state.live}
            assert state.releases("release") == state.releases("built")
            assert "foreign" not in state.found
        return played, {name: after[name].releases("release") - before[name].releases("release") for name in after}

    def succeed(self, app: dict[str, Any] | None = None, playbook: str = "deploy") -> Played:
        """Roll out what is good: it is all that runs in the end, on both hosts."""
        app = app or self.variant()
        marker = str(app["env"]["MARKER"])
        self.expect(self.marker, marker)
        played = self.play(app, playbook)
        assert played.code == 0, played.output
        self.expect(marker)
        self.marker = marker
        self.settle()
        assert {host.check_output("cat /srv/shop/current/env") for host in self.fleet.hosts.values()} == {
            "\n".join(f'{name}="{value}"' for name, value in sorted(app["env"].items()))
        }
        return played

    def settle(self) -> None:
        """Wait until nothing runs but what is live."""
        deadline = time.monotonic() + 60
        while any(state.started != {state.live} for state in self.states().values()) and time.monotonic() < deadline:
            time.sleep(0.3)
        for state in self.states().values():
            assert state.started == {state.live}
            assert state.releases("release") == state.releases("built")
            assert "foreign" not in state.found


@pytest.fixture(scope="module")
def shop(fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("certificates")
    # Hosts that were kept may have something else.
    played = fleet.play("deploy", fastapi_apps=[APP])
    assert played.code == 0, played.output
    with ExitStack() as stack:
        loads = {}
        for name, host in fleet.hosts.items():
            certificate = folder / f"{name}.crt"
            certificate.write_text(host.check_output("cat /etc/ssl/paddock/shop.crt"))
            loads[name] = stack.enter_context(traffic(name, certificate, APP["env"]["MARKER"]))
        shop = Shop(fleet, loads)
        shop.expect(shop.marker)
        yield shop
        assert {name: each.end() for name, each in loads.items()} == {name: [] for name in loads}


@pytest.fixture(autouse=True)
def nobody_notices(shop: Shop) -> Iterator[None]:
    """Whatever happens, every request is answered right; and there are requests."""
    for each in shop.traffic.values():
        each.take()
    yield
    shop.expect(shop.marker)
    for name, each in shop.traffic.items():
        right, failures, seconds = each.take()
        assert failures == [], name
        assert all(right[client] for client in CLIENTS), (name, right)
        assert sum(right.values()) > seconds * FEWEST_PER_SECOND, (name, right, seconds)


def messages(played: Played) -> dict[str, list[str]]:
    """Return for each host what its failed tasks said."""
    found: dict[str, list[str]] = {}
    pattern = r"^(?:failed|fatal): \[(\w+)\].*?=> *\n(.*?)(?=^\S|\Z)"
    for host, result in re.findall(pattern, played.output, re.MULTILINE | re.DOTALL):
        found.setdefault(host, []).append(str(yaml.safe_load(result)["msg"]))
    return found


@dataclass(frozen=True)
class Told:
    """What a failure must be told with: why, what to do about it, and the lines that show it."""

    reason: str
    hint: str = ""
    line: str = ""

    def check(self, said: list[str], app: str = "app shop: ") -> None:
        """Look at the first message of a host: the reason, then the hint, then the lines. The last repeats it."""
        first = said[0]
        assert re.match(re.escape(app) + self.reason, first), first
        assert self.hint in first
        assert self.line in first
        assert not (self.hint and self.line) or first.index(self.hint) < first.index(self.line)
        assert first in said[-1]


GATE = {
    "import": Told(
        r"release \S+ is not healthy over its own socket: the instance ended \d times while it started\n",
        "Hint: shop_payments is not installed in the release",
        "ModuleNotFoundError: No module named 'shop_payments'",
    ),
    "lifespan": Told(
        r"release \S+ is not healthy over its own socket: the instance ended \d times while it started\n",
        "Hint: the app wants the environment variable PAYMENTS_KEY: set it in the app's option env.",
        "KeyError: 'PAYMENTS_KEY'",
    ),
    "import hangs": Told(
        r"release \S+ is not healthy over its own socket: no answer within 3 s\n",
        "Hint: importing the app takes too long",
        "Booting worker with pid",
    ),
    "lifespan hangs": Told(
        r"release \S+ is not healthy over its own socket: no answer within 3 s\n",
        "Hint: the app's lifespan takes too long",
        "Waiting for application startup.",
    ),
    "500": Told(
        r"release \S+ is not healthy over its own socket: /healthz answered 500 instead of 200\n"
        r"Its answer: Internal Server Error\n",
        line="RuntimeError: the stock cannot be counted",
    ),
    "slow": Told(
        r"release \S+ is not healthy over its own socket: no answer within 3 s\n", line="Application startup complete."
    ),
    "body": Told(
        r"release \S+ is not healthy over its own socket: /healthz answered 200, but its body lacks '\"ok\"'\n"
        r'Its answer: {"status":"warming up"}\n'
    ),
    "crash in public": Told(
        r"release \S+ is not healthy over its own socket: RemoteDisconnected: ", line="exited with code 9"
    ),
}


@pytest.mark.parametrize(
    "faults",
    [("import", "lifespan"), ("import hangs", "lifespan hangs"), ("500", "slow"), ("body", "crash in public")],
    ids=", ".join,
)
def test_a_release_that_does_not_pass_its_gate(shop: Shop, faults: tuple[str, str]) -> None:
    fault_of = dict(zip(shop.fleet.hosts, faults, strict=True))
    app = shop.variant(FAULT=f"{{{{ {fault_of}[inventory_hostname] }}}}")
    if faults != ("import", "lifespan"):  # which are given up, however long the gate might last
        app["health"] = {**app["health"], "timeout": 6}
    played, new = shop.fail(app)
    states = shop.states()
    for name, fault in fault_of.items():
        said = messages(played)[name]
        GATE[fault].check(said)
        assert said[-1].startswith("Nothing was switched on any host, and what was live is live. app shop: ")
        (release,) = new[name]
        assert release not in states[name].started
        assert states[name].bad[release].startswith("it did not pass its gate: ")
    shop.succeed()


def copy_of_the_app(folder: Path) -> Path:
    return Path(shutil.copytree(SCENARIO / "app", folder / "app", ignore=shutil.ignore_patterns("__pycache__")))


def test_a_dependency_that_cannot_be_installed(shop: Shop, tmp_path: Path) -> None:
    source = copy_of_the_app(tmp_path)
    pinned = (source / "requirements.txt").read_text()
    (source / "missing.txt").write_text(re.sub(r"^idna==\S+", "idna==999.0", pinned, flags=re.MULTILINE))
    (source / "forged.txt").write_text(re.sub(r"(?<=sha256:)[0-9a-f]{64}", "0" * 64, pinned))
    files = dict(zip(shop.fleet.hosts, ["missing.txt", "forged.txt"], strict=True))
    app = {**shop.variant(), "source": str(source), "requirements": f"{{{{ {files}[inventory_hostname] }}}}"}
    played, new = shop.fail(app)
    said = messages(played)
    failed = r"the release cannot be built: uv .* failed\n"
    Told(failed, "Hint: a requirement cannot be met", "idna==999.0").check(said["debian12"])
    Told(failed, "Hint: a downloaded file is not the one that was pinned", "Hash mismatch").check(said["debian13"])
    assert new == {name: set() for name in new}
    shop.succeed()


def test_an_index_that_is_unreachable_and_a_disk_that_fills_up(shop: Shop, tmp_path: Path) -> None:
    """What is larger than it looked fills the disk of one host while it is unpacked; the other host has more room."""
    source = copy_of_the_app(tmp_path)
    with (source / "stock.bin").open("wb") as file:
        file.truncate(150 * 2**20)
    full = shop.fleet.hosts["debian13"]
    free = int(full.check_output("df --output=avail --block-size=1M /srv/shop | tail -n 1"))
    full.check_output("fallocate -l %sM /srv/shop/shared/filler", str(free - 110))
    try:
        app = {**shop.variant(), "source": str(source), "index_url": "http://127.0.0.1:9/simple"}
        played, new = shop.fail(app)
        said = messages(played)
        Told(
            r"the release cannot be built: uv .* failed\n", "Hint: the package index is not reachable from the host"
        ).check(said["debian12"])
        Told(
            r"the release cannot be built: step unpack failed: \[Errno 28\] No space left on device",
            "Hint: the disk is full: free space, or lower keep_releases",
        ).check(said["debian13"])
        assert new == {name: set() for name in new}
    finally:
        full.check_output("rm /srv/shop/shared/filler")
    shop.succeed()


def test_a_migration_that_fails(shop: Shop) -> None:
    played, new = shop.fail(shop.variant(FAULT="migration"))
    states = shop.states()
    for name, said in messages(played).items():
        Told(
            r"'python migrate.py' failed with exit code 1\n",
            "Hint: SQLite cannot open its file",
            "unable to open database file",
        ).check(said)
        # It was built, and is migrated again as it is when the same is rolled out again.
        (release,) = new[name]
        assert release not in states[name].started
        assert release not in states[name].bad
    shop.succeed()


def test_a_foreign_file_that_nginx_does_not_accept(shop: Shop) -> None:
    shop.fleet.each("echo 'no_such_directive on;' >/etc/nginx/conf.d/zz-foreign.conf")
    try:
        played, new = shop.fail({**shop.variant(), "max_body_size": "11m"}, "site")
    finally:
        shop.fleet.each("rm /etc/nginx/conf.d/zz-foreign.conf")
    for said in messages(played).values():
        assert "/etc/nginx/conf.d/zz-foreign.conf (line 1) is not ours; repair or remove it, then run again" in said[0]
        assert 'unknown directive "no_such_directive"' in said[0]
    assert new == {name: set() for name in new}
    shop.succeed(playbook="site")


def test_a_release_that_answers_the_public_otherwise(shop: Shop) -> None:
    """It passes its gate, is switched to, does not prove itself, and goes: by itself and at once."""
    app = shop.variant(FAULT="503 in public")
    shop.expect(shop.marker, app["env"]["MARKER"])
    before = shop.live()
    played, new = shop.fail(app)
    for name, said in messages(played).items():
        Told(
            r"release \S+ does not answer through https://localhost:443: /healthz answered 503 instead of 200\n"
            rf"Its answer: {{\"status\":\"closed\"}}\n{before[name]} is live again\.\n"
        ).check(said)
        assert said[-1].startswith("The switch failed, and every host is back at what was live before. app shop: ")
        log = shop.fleet.hosts[name].check_output("tail -n 1 /srv/shop/rollouts.jsonl")
        assert json.loads(log)["event"] == "went back"
        assert len(new[name]) == 1
    # Twenty seconds would have been enough for hundreds.
    assert all(10 <= int(count) < 60 for count in re.findall(r"^ +requests: (\d+)$", played.output, re.MULTILINE))
    shop.settle()
    shop.succeed()


def test_a_release_that_ends_between_its_gate_and_the_switch(shop: Shop) -> None:
    """One host's ends a second after it started, while the other host's is still starting."""
    crash, start = {"debian12": "crash", "debian13": ""}, {"debian12": 0, "debian13": 3}
    app = shop.variant(
        FAULT=f"{{{{ {crash}[inventory_hostname] }}}}", START_SECONDS=f"{{{{ {start}[inventory_hostname] }}}}"
    )
    # The healthy one may be switched to, until the other host fails.
    shop.traffic["debian13"].expect(shop.marker, app["env"]["MARKER"])
    played, new = shop.fail(app)
    said = messages(played)
    Told(r"cannot switch to \S+: its instance ended after it had passed the gate\n", line="exited with code 9").check(
        said["debian12"]
    )
    (release,) = new["debian12"]
    assert "ended after it had passed the gate" in shop.states()["debian12"].bad[release]
    shop.settle()
    shop.succeed()


# -- the control node dies, or is cut off ---------------------------------------------------------------------------

UNFINISHED = "for folder in /srv/shop/releases/*/; do test -e $folder/release.json || exit 0; done; exit 1"
TWO_RUN = "test $(systemctl list-units --plain --no-legend --state=active 'shop@*.service' | wc -l) = 2"


def kill(process: subprocess.Popen[str]) -> None:
    """Kill a control node: what it has started on the hosts goes on, and nobody reads what that says."""
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


@pytest.mark.parametrize(
    ("env", "condition"),
    [
        pytest.param({}, UNFINISHED, id="building"),
        pytest.param({"START_SECONDS": 5}, TWO_RUN, id="gating"),
    ],
)
def test_a_control_node_that_dies_while_it_stages(shop: Shop, env: dict[str, object], condition: str) -> None:
    """What it has begun goes with the next run, although that has another source."""
    before = shop.live()
    process = shop.fleet.start("deploy", fastapi_apps=[shop.variant(**env)])
    shop.fleet.until(condition)
    kill(process)
    assert shop.live() == before
    shop.succeed()
    assert all(release != before[name] for name, release in shop.live().items())


def test_a_control_node_that_dies_while_it_switches(shop: Shop) -> None:
    before = shop.live()
    app = shop.variant(FAULT="slow in public")
    shop.expect(shop.marker, app["env"]["MARKER"])
    process = shop.fleet.start("deploy", fastapi_apps=[app])
    shop.fleet.until(f"test $(basename $(readlink /srv/shop/current)) != {before['debian12']}")
    kill(process)
    shop.succeed(app)


def test_a_control_node_that_dies_while_it_retires(shop: Shop) -> None:
    app = shop.variant()
    shop.expect(shop.marker, app["env"]["MARKER"])
    process = shop.fleet.start("deploy", fastapi_apps=[app])
    assert process.stdout
    assert any("Let systemd retire" in line for line in process.stdout)
    kill(process)
    shop.succeed(app)


def test_a_connection_that_is_cut_during_the_switch(shop: Shop) -> None:
    """The host finishes the switch by itself, and the next run finds that out."""
    before = shop.live()
    app = shop.variant(FAULT="slow in public")
    shop.expect(shop.marker, app["env"]["MARKER"])
    process = shop.fleet.start("deploy", fastapi_apps=[app])
    shop.fleet.until(f"test $(basename $(readlink /srv/shop/current)) != {before['debian12']}")
    settings = SCENARIO.parents[1] / f".cache/molecule/{SCENARIO.name}.ssh"
    command: list[str | Path] = ["ssh", "-F", settings, "-O", "check", "debian12"]
    master = subprocess.run(command, check=True, capture_output=True, text=True)
    os.kill(int(re.findall(r"pid=(\d+)", master.stdout + master.stderr)[0]), signal.SIGKILL)
    output, _ = process.communicate()
    assert process.returncode != 0
    assert "UNREACHABLE!" in output
    for name, state in shop.states().items():
        assert state.live in {before[name], max(state.releases("built"))}
        assert state.live in state.started
    shop.succeed(app)
