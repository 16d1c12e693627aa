"""Workers that are replaced under load, and an app that misbehaves beside others that must not notice."""

import hashlib
import json
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml
from fleet import Fleet
from testinfra.host import Host
from traffic import Traffic, traffic

APPS: list[dict[str, Any]] = yaml.safe_load((Path(__file__).parents[1] / "vars/apps.yml").read_text())["apps"]
SHOP, KIOSK, STRAINED = APPS
LIMITS: dict[str, int] = STRAINED["limits"]
MAX_EXPOSURE = 1.5
# How often workers are to be replaced under load, and for how many seconds a slow machine may take over that.
REPLACED = 4
SECONDS = 180
# More than each worker may have open; a worker that has none left answers nothing, which is not awaited here.
OPEN = (
    "for i in $(seq 50); do "
    "curl -sk -o /dev/null --max-time 1 --connect-to ::127.0.0.1: https://strained.test/open/10 || true; done"
)


def unit_of(host: Host, app: str) -> str:
    return f"{app}@{Path(host.check_output('readlink /srv/%s/current', app)).name}.service"


def shown(host: Host, unit: str, name: str) -> str:
    return str(host.check_output("systemctl show --value --property %s %s", name, unit))


def journal(host: Host, unit: str, since: str) -> str:
    """Return what a unit has logged since then."""
    return str(host.check_output("journalctl --unit %s --no-pager --since %s", unit, since))


def ask(host: Host, path: str) -> Any:
    """Ask the app that misbehaves, through NGINX."""
    command = "curl -sS --fail --max-time 40 --cacert /etc/ssl/paddock/strained.crt --connect-to ::127.0.0.1: %s"
    return json.loads(host.check_output(command, f"https://strained.test/{path}"))["came"]


def server(host: Host) -> list[int]:
    """Return the server's processes, the main one first."""
    main = shown(host, unit_of(host, "strained"), "MainPID")
    return [int(main), *map(int, host.check_output("pgrep --parent %s", main).split())]


def restart(host: Host) -> None:
    """Have the app that misbehaves begin anew."""
    host.check_output("systemctl restart %s", unit_of(host, "strained"))
    assert ask(host, "healthz") == "ok"


@pytest.fixture(scope="module")
def loads(fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[tuple[str, str], Traffic]]:
    """Send traffic to both well-behaved apps of both hosts, from before the first test to after the last."""
    folder = tmp_path_factory.mktemp("certificates")
    with ExitStack() as stack:
        loads = {}
        for name, host in fleet.hosts.items():
            for app in (SHOP, KIOSK):
                certificate = folder / f"{name}-{app['name']}.crt"
                certificate.write_text(host.check_output("cat /etc/ssl/paddock/%s.crt", app["name"]))
                load = traffic(name, certificate, app["env"]["MARKER"], app["domains"][0])
                loads[name, app["name"]] = stack.enter_context(load)
        time.sleep(2)
        yield loads


def answered(loads: dict[tuple[str, str], Traffic]) -> int:
    """Return how many requests were answered since the last time; none may have failed.

    What lasts longer than a worker has to end is no request: event streams and WebSockets end with their worker.
    """
    total = 0
    for key, load in loads.items():
        load.expect(SHOP["env"]["MARKER"])
        right, failures, _ = load.take()
        lost = [each for each in failures if each["client"].split()[0] not in {"SSE", "WebSocket"}]
        assert lost == [], key
        assert right, key
        total += sum(right.values())
    return total


@pytest.fixture(autouse=True)
def _nobody_else_notices(loads: dict[tuple[str, str], Traffic]) -> Iterator[None]:
    yield
    time.sleep(1)
    print(f"{answered(loads)} requests to the others, 0 failed")  # noqa: T201


def test_workers_are_replaced_and_no_request_is_lost(fleet: Fleet, loads: dict[tuple[str, str], Traffic]) -> None:
    hosts = fleet.hosts
    begun = {name: host.check_output("date '+%F %T'") for name, host in hosts.items()}
    wanted = {(name, app, unit_of(host, app)) for name, host in hosts.items() for app in ("shop", "kiosk")}
    sent, end = 0, time.monotonic() + SECONDS
    while True:
        time.sleep(5)
        sent += answered(loads)
        told = {each: journal(hosts[each[0]], each[2], begun[each[0]]) for each in wanted}
        replaced = {each: len(re.findall("Maximum request limit of [0-9]+ exceeded", told[each])) for each in wanted}
        if min(replaced.values()) >= REPLACED:
            break
        assert time.monotonic() < end, replaced
    print(f"{sent} requests, 0 failed, while workers were replaced: {sorted(replaced.items())}")  # noqa: T201
    for name, app, unit in wanted:
        assert "WORKER TIMEOUT" not in told[name, app, unit]
        assert shown(hosts[name], unit, "NRestarts") == "0"


@pytest.mark.parametrize("app", ["shop", "kiosk"])
def test_workers_that_are_told_to_end_lose_no_request(
    fleet: Fleet, loads: dict[tuple[str, str], Traffic], app: str
) -> None:
    for _ in range(3):
        for host in fleet.hosts.values():
            main = shown(host, unit_of(host, app), "MainPID")
            host.check_output("kill -TERM $(pgrep --newest --parent %s)", main)
        time.sleep(8)
        answered(loads)


def test_a_restart_by_hand_loses_no_request(fleet: Fleet, loads: dict[tuple[str, str], Traffic]) -> None:
    """But for streams and WebSockets, which have to end when their instance does."""
    for host in fleet.hosts.values():
        for app in ("shop", "kiosk"):
            host.check_output("systemctl restart %s", unit_of(host, app))
    time.sleep(3)
    assert answered(loads)


def test_it_has_its_limits(fleet: Fleet) -> None:
    for host in fleet.hosts.values():
        unit = unit_of(host, "strained")
        for pid in server(host):
            line = host.check_output("grep '^Max open files' /proc/%s/limits", str(pid)).split()
            assert (line[3], line[4]) == (str(LIMITS["nofile"]), str(LIMITS["nofile"]))
        mib = 2**20
        assert shown(host, unit, "TasksMax") == str(LIMITS["tasks_max"])
        assert shown(host, unit, "MemoryHigh") == str(LIMITS["memory_high"] * mib)
        assert shown(host, unit, "MemoryMax") == str(LIMITS["memory_max"] * mib)
        assert shown(host, unit, "CPUQuotaPerSecUSec") in {"1.5s", "1.500s", "1.500000s"}
        assert shown(host, unit, "TimeoutStopUSec") == "25s"


def test_it_serves_writes_computes_and_reads_its_credential(fleet: Fleet) -> None:
    for host in fleet.hosts.values():
        secret = hashlib.sha256(STRAINED["credentials"]["token"].encode()).hexdigest()
        assert ask(host, "credential/token") == secret
        before = ask(host, "write/one")
        assert ask(host, "write/two") == before + 1
        for method in ("spawn", "forkserver", "fork"):
            assert ask(host, f"compute/{method}") == 2 * 2432902008176640000
        unit = unit_of(host, "strained")
        rated = host.check_output("systemd-analyze security --no-pager %s | tail -n 1", unit)
        assert float(rated.partition(": ")[2].split()[0]) <= MAX_EXPOSURE
        checked = host.run("systemd-analyze verify %s", unit)
        assert (checked.rc, checked.stderr) == (0, "")


def test_nobody_else_reads_its_credential(fleet: Fleet) -> None:
    secret = STRAINED["credentials"]["token"]
    for host in fleet.hosts.values():
        unit = unit_of(host, "strained")
        main = server(host)[0]
        for command in (
            f"systemctl show {unit}",
            f"journalctl --unit {unit} --no-pager",
            f"tr '\\0' '\\n' </proc/{main}/environ",
            "ps -e -o args",
        ):
            assert secret.splitlines()[0] not in host.check_output(command)
        release = unit.partition("@")[2].removesuffix(".service")
        kept = f"/srv/strained/releases/{release}/credentials"
        for path in (f"{kept}/token", f"/run/credentials/{unit}/token"):
            assert host.run("test -e %s", path).rc == 0, path
            for user in ("shop", "www-data", "nobody"):
                assert host.run("runuser -u %s -- cat %s", user, path).rc == 1, (user, path)
        # In its release only root reads it: the app has the copy that systemd made.
        assert host.run("runuser -u strained -- cat %s", f"{kept}/token").rc == 1


def test_it_leaks_files(fleet: Fleet) -> None:
    for host in fleet.hosts.values():
        restart(host)
        host.check_output(OPEN)
        said = told(fleet, host)
        assert re.search(r"a process of it has \d+ files open, and its limits.nofile is 256", said), said
        assert "Too many open files" in journal(host, unit_of(host, "strained"), "-1min")
        restart(host)


def test_it_leaks_memory(fleet: Fleet) -> None:
    for host in fleet.hosts.values():
        for _ in range(6):
            ask(host, "take/90")
        said = told(fleet, host)
        assert re.search(r"it uses \d+ MiB of memory, and its limits.memory_high is 500", said), said
        restart(host)


def test_it_blocks_its_event_loop(fleet: Fleet) -> None:
    for host in fleet.hosts.values():
        before = server(host)
        begun = time.monotonic()
        # A POST, because a GET whose worker dies is given to the next.
        command = "curl -sk -X POST --max-time 60 --connect-to ::127.0.0.1: https://strained.test/block/50"
        host.check_output(f"{command} >/dev/null 2>&1 & sleep 1")
        # The other worker answers meanwhile.
        assert ask(host, "healthz") == "ok"
        while (after := server(host))[1:] == before[1:]:
            assert time.monotonic() - begun < 25, "the worker was not replaced"
            time.sleep(0.5)
        assert after[0] == before[0]
        assert "WORKER TIMEOUT" in journal(host, unit_of(host, "strained"), "-1min")


def test_it_forks(fleet: Fleet) -> None:
    for host in fleet.hosts.values():
        restart(host)
        ask(host, "fork/55")
        said = told(fleet, host)
        assert re.search(r"it runs \d+ processes and threads, and its limits.tasks_max is 64", said), said
        assert int(host.check_output("pgrep --count --uid strained")) > 55
        restart(host)
        assert int(host.check_output("pgrep --count --uid strained")) < 10


def told(fleet: Fleet, host: Host) -> str:
    """Return what status says of one host."""
    name = str(host.backend.get_hostname())
    played = fleet.play("status", "--limit", name, fastapi_apps=APPS)
    return " ".join(played.output.split())
