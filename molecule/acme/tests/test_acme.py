"""Certificates from a real CA, which runs on each host: issued, renewed, refused, and given up again.

The tests build on each other. Whatever happens to the CA: each ends with a site that answers.
"""

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from fleet import Fleet, Played
from testinfra.host import Host

VARIABLES = yaml.safe_load((Path(__file__).parents[1] / "vars/apps.yml").read_text())
APP: dict[str, Any] = VARIABLES["apps"][0]
LINEAGE = "/etc/letsencrypt/live/paddock-notes/fullchain.pem"
# As its unit calls it, but whether due or not.
RENEW = "REQUESTS_CA_BUNDLE=/etc/ssl/paddock/acme-ca.pem certbot renew --no-random-sleep-on-renew --force-renewal"
# Seconds that a short-lived certificate lives here; certbot may renew it when a third of them is left.
LIFE = 45


def site(fleet: Fleet, domains: list[str] | None = None, **options: object) -> Played:
    """Run the site playbook with the CA of the hosts."""
    app = {**APP, "domains": domains or ["notes.test", "www.notes.test"], **options}
    variables = {**VARIABLES["authority"], "tls_acme_ca_bundle": "{{ scenario_folder }}/{{ inventory_hostname }}.pem"}
    return fleet.play("site", "--tags", "tls,nginx", "-e", json.dumps(variables), fastapi_apps=[app])


def works(played: Played) -> Played:
    assert played.code == 0, played.output
    return played


def certificate(host: Host) -> dict[str, str]:
    """Return what NGINX shows."""
    text = host.check_output(
        "echo | openssl s_client -connect 127.0.0.1:443 -servername notes.test 2>/dev/null |"
        " openssl x509 -noout -serial -issuer -subject -ext subjectAltName"
    )
    found = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    return {**found, "names": " ".join(sorted(re.findall(r"DNS:([^\s,]+)", text)))}


def shown(fleet: Fleet) -> dict[str, dict[str, str]]:
    return {name: certificate(host) for name, host in fleet.hosts.items()}


def orders(fleet: Fleet) -> dict[str, int]:
    """Return how many certificates each CA was asked for."""
    return {name: int(text) for name, text in fleet.each("journalctl -u pebble | grep -c 'POST /order-plz'").items()}


@pytest.fixture(autouse=True)
def answering(fleet: Fleet) -> Iterator[None]:
    """However a test ends: the app answers over HTTPS."""
    yield
    curl = "curl -sS --insecure --max-time 10 --connect-to ::127.0.0.1: -o /dev/null -w '%{http_code}'"
    assert set(fleet.each(f"{curl} https://notes.test/healthz").values()) == {"200"}


def test_the_first_run_has_one_issued(fleet: Fleet) -> None:
    for host in fleet.hosts.values():
        found = certificate(host)
        assert "Pebble Intermediate CA" in found["issuer"]
        assert found["names"] == "notes.test"
        assert host.check_output("stat --format=%s /etc/ssl/paddock/notes.key", "%a") == "600"
        # The account that the CA knows is told in a file: nobody else could see it.
        assert VARIABLES["authority"]["tls_acme_eab_hmac_key"] not in host.check_output("journalctl --no-pager")
        assert host.check_output("systemctl is-enabled certbot.timer") == "enabled"
        assert host.check_output("systemctl is-active certbot.timer") == "active"


def test_the_second_run_changes_nothing(fleet: Fleet) -> None:
    before, asked = shown(fleet), orders(fleet)
    played = works(site(fleet, ["notes.test"]))
    assert [played.recap(name, "changed") for name in fleet.hosts] == [0, 0], played.output
    assert (shown(fleet), orders(fleet)) == (before, asked)


def test_a_domain_more(fleet: Fleet) -> None:
    works(site(fleet))
    assert {found["names"] for found in shown(fleet).values()} == {"notes.test www.notes.test"}
    # One account, however many certificates.
    assert set(fleet.each("ls /etc/letsencrypt/accounts/localhost_14000/dir | wc -l").values()) == {"1"}


def test_a_lost_file_comes_back_without_the_ca(fleet: Fleet) -> None:
    before, asked = shown(fleet), orders(fleet)
    fleet.each("rm /etc/ssl/paddock/notes.crt")
    works(site(fleet))
    assert (shown(fleet), orders(fleet)) == (before, asked)


def test_a_renewal_is_loaded_without_a_run(fleet: Fleet) -> None:
    before = shown(fleet)
    fleet.each(RENEW)
    after = shown(fleet)
    assert all(before[name]["serial"] != after[name]["serial"] for name in before)


def test_a_renewal_that_nginx_does_not_accept_is_not_installed(fleet: Fleet) -> None:
    before = shown(fleet)
    fleet.each("echo 'no_such_directive on;' >/etc/nginx/conf.d/zz-foreign.conf")
    try:
        said = fleet.each(f"{RENEW} 2>&1")
    finally:
        fleet.each("rm /etc/nginx/conf.d/zz-foreign.conf")
    assert all("keeps the old one" in text for text in said.values()), said
    fleet.each("systemctl reload nginx")
    assert shown(fleet) == before
    # What the CA has issued is there; the next run installs it.
    works(site(fleet))
    assert all(before[name]["serial"] != after["serial"] for name, after in shown(fleet).items())


def test_a_ca_that_is_down(fleet: Fleet) -> None:
    before = shown(fleet)
    fleet.each("systemctl stop pebble")
    played = site(fleet, ["notes.test", "www.notes.test", "api.notes.test"])
    fleet.each("systemctl start pebble")
    assert played.code != 0
    assert "app notes: there is no new certificate (it names other hosts): " in played.output
    assert shown(fleet) == before
    # It has forgotten all accounts: certbot makes another.
    fleet.each("rm -r /etc/letsencrypt/accounts")
    works(site(fleet, ["notes.test", "www.notes.test", "api.notes.test"]))
    assert {found["names"] for found in shown(fleet).values()} == {"api.notes.test notes.test www.notes.test"}


def others(fleet: Fleet) -> dict[str, str]:
    """Return for each host an address that is the other's."""
    first, second = fleet.hosts
    addresses = {name: text.split()[0] for name, text in fleet.each("hostname -I").items()}
    return {first: addresses[second], second: addresses[first]}


@pytest.mark.parametrize(
    ("address", "message"),
    [
        pytest.param("", r"elsewhere\.test does not resolve \(", id="no-record"),
        pytest.param("other", r"elsewhere\.test does not reach this host: [\d.]+, port 80, answers 404", id="another"),
    ],
)
def test_a_domain_that_does_not_reach_the_host_costs_no_order(fleet: Fleet, address: str, message: str) -> None:
    before, asked = shown(fleet), orders(fleet)
    if address:
        for name, other in others(fleet).items():
            fleet.hosts[name].check_output("echo %s elsewhere.test >>/etc/hosts", other)
    played = site(fleet, ["notes.test", "elsewhere.test"])
    assert played.code != 0
    assert len(re.findall(message, " ".join(played.output.split()))) >= len(fleet.hosts)
    assert (shown(fleet), orders(fleet)) == (before, asked)


def test_a_challenge_that_fails(fleet: Fleet) -> None:
    works(site(fleet))
    before = shown(fleet)
    for name, other in others(fleet).items():  # for the CA alone, the name is another host
        body = json.dumps({"host": "api.notes.test.", "addresses": [other]})
        fleet.hosts[name].check_output("curl -sS -d %s http://127.0.0.1:8055/add-a", body)
    played = site(fleet, ["notes.test", "www.notes.test", "api.notes.test"])
    fleet.each("""curl -sS -d '{"host": "api.notes.test."}' http://127.0.0.1:8055/clear-a""")
    assert played.code != 0
    assert "Domain: api.notes.test" in played.output
    assert shown(fleet) == before


def test_a_short_lived_certificate_is_renewed_in_time(fleet: Fleet) -> None:
    # Older versions of Pebble read the first of them, newer ones the second.
    life = f'"certificateValidityPeriod": {LIFE}, "profiles": {{"default": {{"validityPeriod": {LIFE}}}}},'
    fleet.each(f"sed -i 's/\"pebble\": {{/&{life}/' /etc/pebble.json && systemctl restart pebble")
    # The CA has forgotten all accounts.
    fleet.each("rm -r /etc/letsencrypt/accounts")
    works(site(fleet, ["notes.test"]))
    first, start = shown(fleet), time.monotonic()
    fleet.each("systemctl start certbot.service")
    assert shown(fleet) == first
    time.sleep(max(0, LIFE * 2 / 3 + 2 - (time.monotonic() - start)))
    fleet.each("systemctl start certbot.service")
    assert all(first[name]["serial"] != after["serial"] for name, after in shown(fleet).items())


def test_another_mode_and_back(fleet: Fleet) -> None:
    works(site(fleet, tls={"mode": "selfsigned"}))
    assert all(found["issuer"] == found["subject"] for found in shown(fleet).values())
    assert set(fleet.each("ls /etc/letsencrypt/renewal").values()) == {""}
    works(site(fleet))
    assert all("Pebble Intermediate CA" in found["issuer"] for found in shown(fleet).values())
