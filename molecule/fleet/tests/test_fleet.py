"""A fleet as one: what one host lacks no host gets. And what clients and a reboot see of a rollout.

The tests build on each other, and share a rollout where they can. On debian12 and debian13 the app runs under
Gunicorn, on the third host under Uvicorn alone.
"""

import json
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from fleet import Fleet
from testinfra.host import Host

PROJECT = Path(__file__).parents[3]
APP: dict[str, Any] = yaml.safe_load((Path(__file__).parents[1] / "vars/apps.yml").read_text())["apps"][0]
SERVER = "{{ (inventory_hostname == 'third') | ternary('uvicorn', 'gunicorn') }}"
DRAIN = 10  # what the collection makes of the app's graceful_timeout
# Long enough for a look at what is on standby, however slowly the run ends after it has told systemd to retire it.
STANDBY = 30
BENCH = PROJECT / ".cache/bench"
# The tests can be run again on the same hosts.
RUN = int(time.time())
CURL = "curl -sS --max-time 20 --cacert /etc/ssl/paddock/beacon.crt"

Live = dict[str, str]


def version(number: int, env: dict[str, str] | None = None, **options: object) -> list[dict[str, Any]]:
    """Return the app as its release of that number."""
    return [{**APP, "server": SERVER, "env": {"VERSION": f"{RUN}-{number}", **(env or {})}, **options}]


def live(fleet: Fleet) -> Live:
    return {name: Path(target).name for name, target in fleet.each("readlink /srv/beacon/current").items()}


def serves(fleet: Fleet, expected: Live, *, alone: bool = False) -> None:
    """Check that each host serves that release, that only it comes up at boot, and whether only it runs."""
    assert live(fleet) == expected
    for name, release in expected.items():
        host = fleet.hosts[name]
        assert json.loads(host.check_output(f"{CURL} https://localhost/"))["release"] == release
        assert enabled(host) == {release}
        assert release in running(host)
        assert not alone or running(host) == {release}


def enabled(host: Host) -> set[str]:
    return set(re.findall(r"beacon@(\S+)\.(?:service|socket)", host.check_output("ls /etc/systemd/system/*.wants")))


def running(host: Host) -> set[str]:
    """Return the releases of which anything is there: a service that is starting, stopping or failed, or a socket."""
    listed = host.check_output("systemctl list-units --all --plain --no-legend 'beacon@*'")
    units = [line.split() for line in listed.splitlines()]
    return {unit.partition("@")[2].rpartition(".")[0] for unit, _, active, *_ in units if active != "inactive"}


def newest(fleet: Fleet) -> Live:
    return {name: max(text.split()) for name, text in fleet.each("ls /srv/beacon/releases").items()}


def dropped(fleet: Fleet, releases: Live) -> None:
    """Check that nothing is left of these instances on any host."""
    for name, release in releases.items():
        assert release not in running(fleet.hosts[name])
        assert fleet.hosts[name].run(f"test -e /srv/beacon/releases/{release}/app.sock").rc != 0


def migrations(fleet: Fleet) -> dict[str, list[str]]:
    """Return the releases that migrated, as often as they did."""
    return {name: text.split() for name, text in fleet.each("cat /srv/beacon/shared/migrations || true").items()}


def added(before: dict[str, list[str]], after: dict[str, list[str]]) -> dict[str, int]:
    return {name: len(after[name]) - len(before[name]) for name in before}


def words(output: str) -> str:
    return " ".join(output.split())


def reboot(hosts: list[Host]) -> None:
    """Restart hosts and wait until systemd has booted; no playbook is run."""

    def booted() -> list[str]:
        return [host.check_output("systemctl show --property=UserspaceTimestampMonotonic") for host in hosts]

    before = booted()
    names = [host.check_output("hostname") for host in hosts]
    subprocess.run([PROJECT / "tests/hosts/reboot", *names], check=True)
    assert not set(before) & set(booted())


WATCH = """
import os, time
last = None
while True:
    found = os.readlink("/srv/beacon/current")
    if found != last:
        print(time.time(), found)
    last = found
    time.sleep(0.02)
"""


@dataclass
class Seen:
    """What `current` pointed at, as a host saw it while a rollout ran: moments and releases, where it changed."""

    changes: list[tuple[float, str]]

    def since(self, release: str) -> float:
        """Return when a release went live."""
        return next(moment for moment, seen in self.changes if seen == release)

    @property
    def releases(self) -> list[str]:
        """Return what was live, one after the other."""
        return [release for _, release in self.changes]


@contextmanager
def watched(fleet: Fleet) -> Iterator[dict[str, Seen]]:
    """Watch what is live on each host; the result is there when the body has ended."""
    unit = "systemd-run --quiet --collect --unit=watch --property=StandardOutput=truncate:/run/watched"
    fleet.each(f"{unit} python3 -uc '{WATCH}'")
    result: dict[str, Seen] = {}
    try:
        yield result
    finally:
        for name, text in fleet.each("systemctl stop watch; cat /run/watched").items():
            changes = (line.split() for line in text.splitlines())
            result[name] = Seen([(float(moment), Path(target).name) for moment, target in changes])


def events(fleet: Fleet) -> dict[str, list[dict[str, Any]]]:
    return {
        name: [json.loads(line) for line in text.splitlines()]
        for name, text in fleet.each("cat /srv/beacon/rollouts.jsonl || true").items()
    }


# ---- The barrier


def test_a_reboot_in_steady_state_brings_up_what_is_live(fleet: Fleet) -> None:
    before = live(fleet)
    reboot([*fleet.hosts.values()])
    serves(fleet, before, alone=True)


def test_a_host_that_fails_its_gate_keeps_all_back(fleet: Fleet) -> None:
    before, migrated, logged = live(fleet), migrations(fleet), events(fleet)
    broken = "{{ 'beacon:nope' if inventory_hostname == 'third' else 'beacon:app' }}"
    played = fleet.play("deploy", fastapi_apps=version(1, module=broken))
    assert played.code != 0
    assert "Nothing was switched on any host, and what was live is live." in words(played.output)
    assert played.output.count("Another host failed.") >= len(fleet.hosts) - 1
    serves(fleet, before, alone=True)
    new = newest(fleet)
    assert all(new[name] != before[name] for name in before)
    dropped(fleet, new)
    # The two that did pass switched to nothing, not even for a moment.
    since = [entry["event"] for name, log in events(fleet).items() for entry in log[len(logged[name]) :]]
    assert set(since) <= {"did not pass"}
    # One database for all: one migration for all, by the first host.
    assert added(migrated, migrations(fleet)) == {"debian12": 1, "debian13": 0, "third": 0}


def test_a_migration_that_fails_keeps_all_back(fleet: Fleet) -> None:
    before, migrated = live(fleet), migrations(fleet)
    played = fleet.play("deploy", fastapi_apps=version(2, {"MIGRATION_FAILS": "1"}))
    assert played.code != 0
    assert "'python migrate.py' failed with exit code 1" in words(played.output)
    serves(fleet, before, alone=True)
    assert added(migrated, migrations(fleet)) == {"debian12": 1, "debian13": 0, "third": 0}


def test_a_host_that_fails_in_the_second_batch_takes_the_first_batch_back(fleet: Fleet) -> None:
    before, logged = live(fleet), events(fleet)
    third = fleet.hosts["third"]
    wrong = "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=x -addext subjectAltName=DNS:localhost"
    third.check_output("cp -p /etc/ssl/paddock/beacon.crt /root/kept.crt")
    third.check_output(f"{wrong} -keyout /dev/null -out /etc/ssl/paddock/beacon.crt 2>&1")
    try:
        with watched(fleet) as seen:
            played = fleet.play("deploy", fastapi_apps=version(3), fastapi_serial=2)
    finally:
        third.check_output("mv /root/kept.crt /etc/ssl/paddock/beacon.crt")
    assert played.code != 0
    assert "The switch failed, and every host is back at what was live before." in words(played.output)
    assert "CERTIFICATE_VERIFY_FAILED" in played.output
    serves(fleet, before)
    new = newest(fleet)
    for name in fleet.hosts:
        assert seen[name].releases == [before[name], new[name], before[name]]
    # The first batch was switched and proven when the second began, and went back after it had failed.
    first = max(seen[name].since(new[name]) for name in ("debian12", "debian13"))
    assert first < seen["third"].since(new["third"])
    log = {name: [entry["event"] for entry in entries[len(logged[name]) :]] for name, entries in events(fleet).items()}
    back = ["switched", "went back"]
    assert log == {"debian12": back, "debian13": back, "third": ["went back"]}


# ---- What clients see


@dataclass
class Clients:
    """Clients of one host, in an environment that has real client libraries."""

    process: subprocess.Popen[str]
    result: list[dict[str, Any]]

    def of(self, kind: str) -> list[dict[str, Any]]:
        """Return the connections of a kind."""
        return [each for each in self.result if each["kind"].startswith(kind)]


@contextmanager
def clients(host: Host, name: str, folder: Path) -> Iterator[Clients]:
    """Open connections to a host; how they ended is there when the body has ended."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    certificate = folder / f"{name}.crt"
    certificate.write_text(host.check_output("cat /etc/ssl/paddock/beacon.crt"))
    # Not over the shared connection, which ends with whoever made it.
    config = PROJECT / ".cache/molecule/fleet.ssh"
    tunnel = subprocess.Popen(
        ["ssh", "-F", config, "-o", "ControlPath=none", "-N", "-L", f"127.0.0.1:{port}:127.0.0.1:443", name]
    )
    command: list[str | Path] = [
        BENCH / "bin/python",
        PROJECT / "bench/lasting.py",
        f"https://localhost:{port}",
        "--certificate",
    ]
    # However long the rollout takes: one of these ends after the old instance was told to stop, and within its time.
    command += [certificate, "--streams", *map(str, range(12, 200, 6)), "300", "--requests", "3", "8", "15"]
    try:
        until_open(port)
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout
                assert process.stdout.readline() == "ready\n"
                found = Clients(process, [])
                yield found
                found.result = json.loads(process.communicate(timeout=120)[0])
            finally:
                # Otherwise a test that fails would wait for clients whose instance nobody stops any more.
                process.kill()
    finally:
        tunnel.terminate()
        tunnel.wait()


def until_open(port: int) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise TimeoutError(port)


# Asks an instance over its own socket until that is gone; each request takes two seconds.
LAST_REQUESTS = """
    while [ -S {socket} ]; do
        began=$(date +%s.%N)
        (echo $began $(curl -s --max-time 20 --unix-socket {socket} -o /dev/null -w '%{{http_code}} ' \
            'http://localhost/slow?seconds=2'; date +%s.%N)) &
        sleep 0.4
    done
    wait
"""


@dataclass
class Rollout:
    """The rollout that the next tests look at from several sides."""

    before: Live
    after: Live
    seen: dict[str, Seen]
    migrated: dict[str, int]
    clients: dict[str, Clients]
    last_requests: dict[str, list[tuple[float, str, float]]]
    stopped: dict[str, float]
    played: str


@pytest.fixture(scope="module")
def rollout(fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Rollout:
    """One host after the other is switched, under clients; then the first is rebooted while the old release is warm."""
    subprocess.run([PROJECT / "tests/venv", BENCH, PROJECT / "bench/requirements.txt"], check=True)
    folder = tmp_path_factory.mktemp("clients")
    before, migrated = live(fleet), migrations(fleet)
    with ExitStack() as stack, ThreadPoolExecutor() as threads:
        talking = {
            name: stack.enter_context(clients(fleet.hosts[name], name, folder)) for name in ("debian13", "third")
        }
        with watched(fleet) as seen:
            played = fleet.play("deploy", fastapi_apps=version(4, migrate_on="all", standby=STANDBY), fastapi_serial=1)
        assert played.code == 0, played.output
        after = live(fleet)
        assert all(after[name] != before[name] for name in before)
        last = {
            name: threads.submit(
                fleet.hosts[name].check_output,
                LAST_REQUESTS.format(socket=f"/srv/beacon/releases/{before[name]}/app.sock"),
            )
            for name in talking
        }
        for name, host in fleet.hosts.items():
            # On standby: warm, but a boot would not bring it up.
            assert running(host) == {before[name], after[name]}
            assert enabled(host) == {after[name]}
        reboot([fleet.hosts["debian12"]])
        serves(fleet, after)
        assert running(fleet.hosts["debian12"]) == {after["debian12"]}
    answers = {name: [line.split() for line in each.result().splitlines()] for name, each in last.items()}
    return Rollout(
        before,
        after,
        seen,
        added(migrated, migrations(fleet)),
        talking,
        {name: [(float(a), code, float(b)) for a, code, b in lines] for name, lines in answers.items()},
        {name: stopped(fleet.hosts[name], before[name]) for name in talking},
        played.output,
    )


def stopped(host: Host, release: str) -> float:
    """Return when systemd told an instance to stop."""
    log = host.check_output(f"journalctl --no-pager -o short-unix --unit beacon@{release}.service")
    return max(float(line.split()[0]) for line in log.splitlines() if "]: Stopping beacon@" in line)


def test_batches_are_switched_one_after_the_other(rollout: Rollout) -> None:
    moments = [rollout.seen[name].since(rollout.after[name]) for name in ("debian12", "debian13", "third")]
    assert moments == sorted(moments)
    for name, seen in rollout.seen.items():
        assert seen.releases == [rollout.before[name], rollout.after[name]]
    # Each switch and its proof is a call of its own: no two hosts were switched by one task.
    assert rollout.played.count("TASK [Switch to the new releases]") == len(rollout.seen)


def test_where_hosts_have_databases_of_their_own_each_migrates_once(rollout: Rollout) -> None:
    assert rollout.migrated == {"debian12": 1, "debian13": 1, "third": 1}


@pytest.mark.parametrize("name", ["debian13", "third"])
def test_event_streams_stay_with_their_instance_and_end_whole(rollout: Rollout, name: str) -> None:
    told = rollout.stopped[name]
    streams = rollout.clients[name].of("stream")
    assert all(each["releases"] == [rollout.before[name]] for each in streams)
    due = {each["seconds"]: each for each in streams if each["start"] + each["seconds"] < told + DRAIN - 1}
    # Some ended before the old instance was told to stop, and one after it.
    assert any(each["end"] > told for each in due.values())
    for seconds, each in due.items():
        assert (each["problem"], each["answers"]) == ("", seconds * 2)


@pytest.mark.parametrize("name", ["debian13", "third"])
def test_an_event_stream_without_end_is_cut_when_the_time_is_over(rollout: Rollout, name: str) -> None:
    (endless,) = [each for each in rollout.clients[name].of("stream") if each["seconds"] == 300]
    assert endless["releases"] == [rollout.before[name]]
    assert rollout.stopped[name] + DRAIN - 1 < endless["end"] < rollout.stopped[name] + DRAIN + 5
    assert endless["problem"]


@pytest.mark.parametrize("name", ["debian13", "third"])
def test_web_sockets_stay_with_their_instance_and_are_told_when_it_goes(rollout: Rollout, name: str) -> None:
    (each,) = rollout.clients[name].of("websocket")
    assert each["releases"] == [rollout.before[name]]
    assert each["code"] in {1001, 1012}, each
    assert each["last"] > rollout.seen[name].since(rollout.after[name]) + 3
    # When the requests that were under way have been answered, at the latest when their time is over.
    assert rollout.stopped[name] - 0.5 < each["end"] < rollout.stopped[name] + DRAIN


@pytest.mark.parametrize("name", ["debian13", "third"])
def test_requests_in_flight_are_finished(rollout: Rollout, name: str) -> None:
    requests = rollout.clients[name].of("request")
    assert {(each["code"], each["problem"]) for each in requests} == {(200, "")}
    switched = rollout.seen[name].since(rollout.after[name])
    for seconds in (3, 8, 15):
        over = [
            each for each in requests if each["seconds"] == seconds and each["start"] < switched - 1 < each["end"] - 1
        ]
        # What began before the switch was answered by the old release. A second is left to get as far as NGINX.
        assert {release for each in over for release in each["releases"]} == {rollout.before[name]}
    late = [each for each in requests if each["start"] > switched + 3]
    assert {release for each in late for release in each["releases"]} == {rollout.after[name]}


@pytest.mark.parametrize("name", ["debian13", "third"])
def test_requests_that_began_just_before_the_old_instance_stops_are_finished(rollout: Rollout, name: str) -> None:
    told = rollout.stopped[name]
    just = [answer for answer in rollout.last_requests[name] if told - 1.5 < answer[0] < told - 0.1]
    assert just
    assert {code for _, code, _ in just} == {"200"}
    assert all(end > told for _, _, end in just)


def test_the_old_instance_goes_without_another_run(fleet: Fleet, rollout: Rollout) -> None:
    deadline = time.monotonic() + 20
    while any(running(host) != {rollout.after[name]} for name, host in fleet.hosts.items()):
        assert time.monotonic() < deadline
        time.sleep(0.5)
    serves(fleet, rollout.after, alone=True)
    assert all(not text for text in fleet.each("systemctl list-units --plain --no-legend 'beacon-retire-*'").values())


# ---- Reboots


def test_a_reboot_after_a_run_was_killed_in_its_gate(fleet: Fleet) -> None:
    before = live(fleet)
    # It answers, but is not healthy, so the gate goes on asking.
    killed = fleet.start("deploy", fastapi_apps=version(5, {"HEALTHY": "no"}))
    deadline = time.monotonic() + 120
    while not all(len(running(host)) == 2 for host in fleet.hosts.values()):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert all(len(running(host)) == 2 for host in fleet.hosts.values())
    # One is not rebooted: there the next run finds the instance that was left.
    reboot([fleet.hosts["debian12"], fleet.hosts["debian13"]])
    serves(fleet, before)
    for name in ("debian12", "debian13"):
        assert running(fleet.hosts[name]) == {before[name]}


def test_the_next_rollout_clears_up(fleet: Fleet) -> None:
    before = live(fleet)
    played = fleet.play("deploy", fastapi_apps=version(6, standby=0))
    assert played.code == 0, played.output
    assert all(release != before[name] for name, release in live(fleet).items())
    serves(fleet, live(fleet), alone=True)


def test_a_reboot_after_a_rollback(fleet: Fleet) -> None:
    before = live(fleet)
    played = fleet.play("rollback", fastapi_apps=version(6))
    assert played.code == 0, played.output
    after = live(fleet)
    assert all(after[name] != before[name] for name in before)
    for name, host in fleet.hosts.items():
        assert running(host) == {before[name], after[name]}
    reboot([*fleet.hosts.values()])
    serves(fleet, after, alone=True)
