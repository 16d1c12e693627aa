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
HOUR, DAY = 3600, 86400
# A client that asks again and again, from before the first test to after the last, and notes what is not right.
WATCH = """
while :; do
    code=$(curl -sS --insecure --max-time 10 -o /dev/null -w '%{http_code}' https://notes.test/healthz 2>&1)
    case $code in 200) echo . >>/run/watch.right ;; *) echo "$(date) $code" >>/run/watch.wrong ;; esac
    sleep 0.2
done
"""
# What makes certbot's own unit believe that it is later.
CLOCK = """[Service]
Environment=LD_PRELOAD=/usr/$LIB/faketime/libfaketime.so.1 FAKETIME=+{} FAKETIME_DONT_FAKE_MONOTONIC=1
Environment=PYTHONPATH=/run/clock
"""
# Python sleeps until a moment of the monotonic clock, and libfaketime of Debian 12 takes that for one of the other.
SLEEP = "import select, time\ntime.sleep = lambda seconds: select.select([], [], [], seconds) and None\n"


def site(fleet: Fleet, domains: list[str] | None = None, **options: object) -> Played:
    """Run the site playbook with the CA of the hosts."""
    app = {**APP, "domains": domains or ["notes.test"], "aliases": ["www.notes.test"], **options}
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


def reloads(fleet: Fleet) -> dict[str, int]:
    """Return how often NGINX has been reloaded."""
    return {name: int(text) for name, text in fleet.each("journalctl -u nginx | grep -c 'Reloaded ' || true").items()}


def renew(fleet: Fleet, later: float = 0) -> None:
    """Have certbot's unit look at the certificates, as its timer would. later: seconds from now."""
    folder = "/run/systemd/system/certbot.service.d"
    for host in fleet.hosts.values():
        if later:
            host.check_output("mkdir -p /run/clock && printf %s >/run/clock/sitecustomize.py", SLEEP)
            host.check_output(f"mkdir -p {folder} && printf %s >{folder}/clock.conf", CLOCK.format(round(later)))
        done = host.run("systemctl daemon-reload && systemctl start certbot.service")
        host.check_output(f"rm -f {folder}/clock.conf && systemctl daemon-reload")
        assert done.rc == 0, done.stderr


def live(fleet: Fleet, seconds: int) -> None:
    """Have the CAs issue certificates that live so long."""
    # Older versions of Pebble read the first of them, newer ones the second.
    life = {"certificateValidityPeriod": seconds, "profiles": {"default": {"validityPeriod": seconds}}}
    change = "import json, sys; p = '/etc/pebble.json'; c = json.load(open(p)); c['pebble'] |= json.loads(sys.argv[1])"
    for host in fleet.hosts.values():
        host.check_output("python3 -c %s %s", f"{change}; json.dump(c, open(p, 'w'))", json.dumps(life))
    # They forget all accounts, so certbot must make another.
    fleet.each("systemctl restart pebble && rm -r /etc/letsencrypt/accounts")


@pytest.fixture(scope="module", autouse=True)
def _watch(fleet: Fleet) -> Iterator[None]:
    """Ask each host all the time."""
    for host in fleet.hosts.values():
        host.check_output("rm -f /run/watch.* && systemd-run --quiet --unit=watch sh -c %s", WATCH)
    yield
    fleet.each("systemctl stop watch")


@pytest.fixture(autouse=True)
def _answering(fleet: Fleet) -> Iterator[None]:
    """Whatever a test does: the app answers over HTTPS all the while."""
    before = fleet.each("wc -l </run/watch.right || true")
    yield
    assert set(fleet.each("cat /run/watch.wrong 2>/dev/null || true").values()) == {""}
    after = fleet.each("wc -l </run/watch.right")
    assert all(int(after[name]) > int(before[name] or 0) for name in after)


def test_the_first_run_has_one_issued(fleet: Fleet) -> None:
    for host in fleet.hosts.values():
        found = certificate(host)
        assert "Pebble Intermediate CA" in found["issuer"]
        assert found["names"] == "notes.test www.notes.test"
        assert host.check_output("stat --format=%s /etc/ssl/paddock/notes.key", "%a") == "600"
        # The account that the CA knows is told in a file: nobody else could see it.
        assert VARIABLES["authority"]["tls_acme_eab_hmac_key"] not in host.check_output("journalctl --no-pager")
        assert host.check_output("systemctl is-enabled certbot.timer") == "enabled"
        assert host.check_output("systemctl is-active certbot.timer") == "active"


def test_the_second_run_changes_nothing(fleet: Fleet) -> None:
    before = shown(fleet), orders(fleet), reloads(fleet)
    played = works(site(fleet))
    assert [played.recap(name, "changed") for name in fleet.hosts] == [0, 0], played.output
    assert (shown(fleet), orders(fleet), reloads(fleet)) == before


def test_a_domain_more(fleet: Fleet) -> None:
    accounts = "ls /etc/letsencrypt/accounts/localhost:14000/dir"
    account, asked = fleet.each(accounts), orders(fleet)
    works(site(fleet, ["notes.test", "api.notes.test"]))
    assert {found["names"] for found in shown(fleet).values()} == {"api.notes.test notes.test www.notes.test"}
    assert orders(fleet) == {name: count + 1 for name, count in asked.items()}
    # One account, however many certificates.
    assert fleet.each(accounts) == account
    works(site(fleet))


def test_a_lost_file_comes_back_without_the_ca(fleet: Fleet) -> None:
    before, asked = shown(fleet), orders(fleet)
    fleet.each("rm /etc/ssl/paddock/notes.crt")
    works(site(fleet))
    assert (shown(fleet), orders(fleet)) == (before, asked)


@pytest.mark.parametrize("name", ["renewal/paddock-notes.conf", "live/paddock-notes/fullchain.pem"])
def test_a_lost_file_of_certbot_s_costs_a_certificate(fleet: Fleet, name: str) -> None:
    before = shown(fleet)
    fleet.each(f"rm /etc/letsencrypt/{name}")
    works(site(fleet))
    assert all(before[name]["serial"] != after["serial"] for name, after in shown(fleet).items())


def test_a_renewal_is_loaded_without_a_run(fleet: Fleet) -> None:
    before, loaded = shown(fleet), reloads(fleet)
    fleet.each(RENEW)
    after = shown(fleet)
    assert all(before[name]["serial"] != after[name]["serial"] for name in before)
    assert reloads(fleet) == {name: count + 1 for name, count in loaded.items()}


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
    played = site(fleet, ["notes.test", "api.notes.test"])
    fleet.each("systemctl start pebble")
    assert played.code != 0
    assert "app notes: there is no new certificate (it names other hosts): " in played.output
    assert shown(fleet) == before
    # It has forgotten all accounts: certbot makes another.
    fleet.each("rm -r /etc/letsencrypt/accounts")
    works(site(fleet, ["notes.test", "api.notes.test"]))
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
    played = site(fleet, ["notes.test", "api.notes.test"])
    fleet.each("""curl -sS -d '{"host": "api.notes.test."}' http://127.0.0.1:8055/clear-a""")
    assert played.code != 0
    assert "Domain: api.notes.test" in played.output
    assert shown(fleet) == before


@pytest.mark.parametrize(("life", "due"), [(160 * HOUR, 80 * HOUR), (45 * DAY, 30 * DAY)], ids=["6-days", "45-days"])
def test_a_certificate_is_renewed_in_time_and_no_sooner(fleet: Fleet, life: int, due: int) -> None:
    live(fleet, life)
    fleet.each("certbot delete --non-interactive --cert-name paddock-notes")
    works(site(fleet))
    issued, asked, loaded = shown(fleet), orders(fleet), reloads(fleet)
    renew(fleet)
    renew(fleet, due - 5 * HOUR)
    assert (shown(fleet), orders(fleet), reloads(fleet)) == (issued, asked, loaded)
    renew(fleet, due + 5 * HOUR)
    renewed = shown(fleet)
    assert all(issued[name]["serial"] != found["serial"] for name, found in renewed.items())
    assert reloads(fleet) == {name: count + 1 for name, count in loaded.items()}
    # certbot has written its settings anew, and knows it still.
    renew(fleet, due - 5 * HOUR)
    assert shown(fleet) == renewed
    renew(fleet, due + 5 * HOUR)
    assert all(renewed[name]["serial"] != found["serial"] for name, found in shown(fleet).items())


def test_a_certificate_is_renewed_while_one_waits(fleet: Fleet) -> None:
    """The same without a wrong clock: for one that lives so short that it can be waited for."""
    life = 90
    live(fleet, life)
    # Another domain, so that it is issued anew.
    works(site(fleet, ["notes.test", "api.notes.test"]))
    first, start = shown(fleet), time.monotonic()
    renew(fleet)
    assert shown(fleet) == first
    time.sleep(max(0, life / 2 + 1 - (time.monotonic() - start)))
    renew(fleet)
    assert all(first[name]["serial"] != after["serial"] for name, after in shown(fleet).items())


def test_another_mode_and_back(fleet: Fleet) -> None:
    live(fleet, 90 * DAY)
    works(site(fleet, tls={"mode": "selfsigned"}))
    assert all(found["issuer"] == found["subject"] for found in shown(fleet).values())
    assert set(fleet.each("ls /etc/letsencrypt/renewal").values()) == {""}
    works(site(fleet))
    assert all("Pebble Intermediate CA" in found["issuer"] for found in shown(fleet).values())
