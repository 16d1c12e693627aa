"""What dies comes back by itself, and what that costs the people who use the app is counted.

A request that somebody works on when he dies cannot be saved, unless it may be sent twice: then NGINX asks again.
"""

import re
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml
from fleet import Fleet
from traffic import Traffic, traffic

APP: dict[str, Any] = yaml.safe_load((Path(__file__).parents[1] / "vars/apps.yml").read_text())["apps"][0]
LIVE = "live=$(basename $(readlink /srv/shop/current)) unit=shop@$live.service"
MASTER = f"{LIVE}; systemctl kill --signal=KILL --kill-who=main $unit"
WORKER = f"{LIVE}; kill -KILL $(pgrep --parent $(systemctl show --value --property MainPID $unit) | head -n 1)"
CURL = "curl -sS --max-time 60 --cacert /etc/ssl/paddock/shop.crt --connect-to ::127.0.0.1: https://localhost/marker"
# What is lost with whoever works on it: what may not be sent twice, and what has begun to be answered.
NOT_REPEATED = {"POST", "WebSocket", "SSE"}
# While NGINX restarts nobody listens, for as long as the connections that are open are given to end.
RESTART_SECONDS = 12


@pytest.fixture(scope="module")
def loads(fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Traffic]]:
    folder = tmp_path_factory.mktemp("certificates")
    played = fleet.play("deploy", fastapi_apps=[APP])
    assert played.code == 0, played.output
    with ExitStack() as stack:
        loads = {}
        for name, host in fleet.hosts.items():
            certificate = folder / f"{name}.crt"
            certificate.write_text(host.check_output("cat /etc/ssl/paddock/shop.crt"))
            loads[name] = stack.enter_context(traffic(name, certificate, APP["env"]["MARKER"]))
        yield loads


def lost(loads: dict[str, Traffic], seconds: float) -> dict[str, list[dict[str, Any]]]:
    """Wait, and return what has failed on each host since the last time; there is traffic in the end."""
    time.sleep(seconds)
    found = {}
    for name, load in loads.items():
        load.expect(APP["env"]["MARKER"])
        right, failures, _ = load.take()
        assert right["GET new connection"], name
        found[name] = failures
        print(name, dict(right), dict(Counter(f"{each['client']}: {each['kind']}" for each in failures)))  # noqa: T201
    return found


@pytest.mark.parametrize("command", [pytest.param(WORKER, id="worker"), pytest.param(MASTER, id="server")])
def test_a_process_that_is_killed(fleet: Fleet, loads: dict[str, Traffic], command: str) -> None:
    assert lost(loads, 2) == {name: [] for name in fleet.hosts}
    # Out of memory it ends in the same way; the unit says that the rest of the service goes on then.
    assert set(fleet.each(f"{LIVE}; systemctl show --value --property OOMPolicy $unit").values()) == {"continue"}
    for _ in range(2):
        fleet.each(command)
        for failures in lost(loads, 6).values():
            others = [each for each in failures if each["client"].split()[0] not in NOT_REPEATED]
            # One that NGINX repeats may, rarely, meet nothing but kept connections to the dead.
            assert len(others) <= 1, others
    assert lost(loads, 4) == {name: [] for name in fleet.hosts}


def test_nginx_is_upgraded(fleet: Fleet, loads: dict[str, Traffic]) -> None:
    """The distribution restarts it then, which is the one thing here that refuses connections."""
    lost(loads, 1)
    fleet.each("DEBIAN_FRONTEND=noninteractive apt-get install --reinstall --yes --quiet nginx nginx-common 2>&1")
    for failures in lost(loads, 2).values():
        refused = [each["time"] for each in failures if each["kind"] == "refused"]
        print(f"refused for {max(refused) - min(refused):.1f} s" if refused else "none refused")  # noqa: T201
        assert not refused or max(refused) - min(refused) < RESTART_SECONDS
    assert lost(loads, 4) == {name: [] for name in fleet.hosts}


def test_a_server_that_does_not_come_up(fleet: Fleet) -> None:
    """Nobody waits for long, and service comes back by itself."""
    module = "/srv/shop/current/src/main.py"
    fleet.each(f"mv {module} {module}.away; {MASTER}")
    end = time.monotonic() + 15
    answers: dict[str, list[tuple[str, float]]] = {name: [] for name in fleet.hosts}
    while time.monotonic() < end:
        shown = fleet.each(f"{CURL} -o /dev/null -w '%{{http_code}} %header{{retry-after}} %{{time_total}}'")
        for name, text in shown.items():
            status, seconds = text.rsplit(" ", 1)
            answers[name].append((status, float(seconds)))
    for name, found in answers.items():
        print(name, found)  # noqa: T201
        assert {status for status, _ in found} == {"503 5"}, name
        assert max(seconds for _, seconds in found) < 10, name
        assert all(seconds < 2 for _, seconds in found[1:]), name
    fleet.each(f"mv {module}.away {module}")
    fleet.until(f"{CURL} | grep -q marker")
    for name, host in fleet.hosts.items():
        assert re.search("answering 503 until it does", host.check_output("journalctl -u 'shop-guard@*'")), name
    # The guard has gone with the first connection that the server took.
    fleet.until("! systemctl list-units --plain --no-legend --state=active 'shop-guard@*' | grep -q guard")
