"""What has NGINX reload, and what else changes beside an app, costs those who use the app nothing.

A reload closes the connections that clients keep and do not use at that moment, so requests on their way would be lost.
"""

import json
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml
from fleet import Fleet
from traffic import FEWEST_PER_SECOND, Traffic, traffic

SCENARIO = Path(__file__).parents[1]
VARIABLES = yaml.safe_load((SCENARIO / "vars/apps.yml").read_text())
APP: dict[str, Any] = {**VARIABLES["apps"][0], "aliases": []}
DOMAIN = "notes.test"
OTHER: dict[str, Any] = {**APP, "name": "other", "domains": ["other.test"], "tls": {"mode": "selfsigned"}}
RENEW = "REQUESTS_CA_BUNDLE=/etc/ssl/paddock/acme-ca.pem certbot renew --no-random-sleep-on-renew --force-renewal"
SERIAL = (
    f"echo | openssl s_client -connect 127.0.0.1:443 -servername {DOMAIN} 2>/dev/null | openssl x509 -noout -serial"
)


# The clients of the load give up what is on its way over HTTP/2 as soon as NGINX says that it takes no new requests,
# though it answers those that it has begun (RFC 9113, 6.8). curl does not, so it asks on each host whether they are
# answered.
GIVEN_UP = "RemoteProtocolError: <ConnectionTerminated error_code:0,"
WAIT = f"""
while :; do
    curl -sS --insecure --http2 --max-time 20 --connect-to ::127.0.0.1: -o /dev/null \
        -w '%{{http_version}} %{{http_code}} ' 'https://{DOMAIN}/slow?seconds=3' >>/root/waited &
    sleep 0.5
done
"""


def site(fleet: Fleet, *apps: dict[str, Any]) -> None:
    authority = {**VARIABLES["authority"], "tls_acme_ca_bundle": "{{ scenario_folder }}/{{ inventory_hostname }}.pem"}
    played = fleet.play("site", "-e", json.dumps(authority), fastapi_apps=list(apps))
    assert played.code == 0, played.output


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a certificate that somebody else has issued."""
    folder = tmp_path_factory.mktemp("pair")
    subprocess.run([SCENARIO.parent / "tls/make_pair", folder, DOMAIN], check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def loads(fleet: Fleet, pair: Path) -> Iterator[dict[str, Traffic]]:
    """Send traffic to all hosts, by clients that trust the CA of the host and the other issuer."""
    # The CA may have begun anew, and so have forgotten whom it knew.
    fleet.each("systemctl restart pebble; rm -rf /etc/letsencrypt/accounts /etc/letsencrypt/renewal/*")
    site(fleet, APP)
    with ExitStack() as stack:
        loads = {}
        for name, host in fleet.hosts.items():
            trusted = pair / f"{name}.pem"
            root = host.check_output("curl -sS --insecure https://127.0.0.1:15000/roots/0")
            trusted.write_text(f"{root}\n{(pair / 'ca.pem').read_text()}")
            loads[name] = stack.enter_context(traffic(name, trusted, APP["env"]["MARKER"], DOMAIN))
        yield loads


@pytest.fixture(autouse=True)
def nothing_fails(fleet: Fleet, loads: dict[str, Traffic]) -> Iterator[None]:
    """Whatever a test does: there was traffic, and all of it was answered right."""
    for load in loads.values():
        load.expect(APP["env"]["MARKER"])
        load.take()
    for host in fleet.hosts.values():
        host.check_output(
            "rm -f /root/waited; systemd-run --quiet --unit=waiting --property=KillMode=process sh -c %s", WAIT
        )
    yield
    fleet.each("systemctl stop waiting.service")
    time.sleep(5)  # for what is on its way, and for the connections that the reload has left
    for name, waited in fleet.each("cat /root/waited").items():
        assert set(re.findall(r"\S+ \S+", waited)) == {"2 200"}, name
    for name, load in loads.items():
        load.expect(APP["env"]["MARKER"])
        right, failures, seconds = load.take()
        failures = [each for each in failures if "h2" not in each["client"] or not each["text"].startswith(GIVEN_UP)]
        print(f"{name}: {sum(right.values())} requests in {seconds:.0f} s, {len(failures)} failed")  # noqa: T201
        assert failures == [], name
        assert sum(right.values()) > FEWEST_PER_SECOND * seconds


def reloads(fleet: Fleet) -> dict[str, int]:
    found = fleet.each("journalctl -u nginx --no-pager | grep -c 'Reloaded nginx' || true")
    return {name: int(text) for name, text in found.items()}


def test_a_certificate_is_renewed(fleet: Fleet) -> None:
    before, reloaded = fleet.each(SERIAL), reloads(fleet)
    for _ in range(3):
        fleet.each(RENEW)
    after = fleet.each(SERIAL)
    assert all(before[name] != after[name] for name in before)
    assert reloads(fleet) == {name: count + 3 for name, count in reloaded.items()}


def test_the_mode_is_changed_and_changed_back(fleet: Fleet, pair: Path) -> None:
    before = fleet.each(SERIAL)
    tls = {"mode": "provided", "certificate": str(pair / "pair.pem"), "key": str(pair / "pair.key")}
    site(fleet, {**APP, "tls": tls})
    between = fleet.each(SERIAL)
    assert len(set(between.values())) == 1
    site(fleet, APP)
    after = fleet.each(SERIAL)
    assert all(len({before[name], between[name], after[name]}) == 3 for name in before)


def test_an_app_is_added_and_removed(fleet: Fleet) -> None:
    curl = "curl -sS --insecure --max-time 10 --connect-to ::127.0.0.1: -o /dev/null -w '%{http_code}'"
    site(fleet, APP, OTHER)
    assert set(fleet.each(f"{curl} https://other.test/healthz").values()) == {"200"}
    played = fleet.play("remove", "-e", "app=other", fastapi_apps=[APP])
    assert played.code == 0, played.output
    left = "ls -d /srv/other/* /etc/systemd/system/other* /etc/ssl/paddock/other.* /etc/nginx/conf.d/other.conf"
    assert set(fleet.each(f"{left} 2>/dev/null || true").values()) == {"/srv/other/rollouts.jsonl\n/srv/other/shared"}
    assert set(fleet.each("systemctl list-units --plain --no-legend --all 'other@*' 'other-*'").values()) == {""}
    refused = fleet.play("remove", "-e", "app=notes", fastapi_apps=[APP])
    assert refused.code != 0
    assert "must no longer be in fastapi_apps" in " ".join(refused.output.split())
    again = fleet.play("remove", "-e", "app=other", fastapi_apps=[APP])
    assert [again.recap(name, "changed") for name in fleet.hosts] == [0] * len(fleet.hosts), again.output
