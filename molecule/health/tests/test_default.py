"""What the probe asked for, as NGINX's log has it, and that asking was all it did."""

from __future__ import annotations

import json
import typing as t

import pytest
from testinfra.host import Host

# Successful checks: one by site, and those in converge.yml, which Molecule runs twice: 20, and one for each family.
SUCCESSES = 1 + 2 * (20 + 2)


def requests(host: Host, domain: str) -> list[dict[str, t.Any]]:
    """Return the probe's requests for a domain."""
    entries = [json.loads(line) for line in host.check_output("cat /var/log/nginx/access.log").splitlines()]
    return [entry for entry in entries if entry["user_agent"] == "paddock-probe" and entry["host"] == domain]


@pytest.mark.parametrize(("app", "path"), [("witness", "/healthz"), ("plain", "/ready")])
def test_it_asks_in_public_for_the_apps_own_path(host: Host, app: str, path: str) -> None:
    asked = requests(host, f"{app}.test")
    live = host.check_output("readlink /srv/%s/current", app).removeprefix("releases/")
    assert {entry["method"] for entry in asked} == {"GET"}
    assert {entry["path"] for entry in asked} == ({path, "/slow"} if app == "witness" else {path})
    assert [entry["release"] for entry in asked if entry["status"] == 200].count(live) >= SUCCESSES
    # Once each time that converge.yml ran; all else went over IPv4.
    assert [entry["client"] for entry in asked].count("::1") == 2
    assert {entry["client"] for entry in asked} == {"127.0.0.1", "::1"}


@pytest.mark.parametrize("app", ["broken", "wrong", "right"])
def test_what_did_not_pass_the_gate_is_gone(host: Host, app: str) -> None:
    assert host.check_output("systemctl list-units --all --plain --no-legend '%s@*'", app) == ""
    assert host.run("test -e /srv/%s/current", app).rc == 1


@pytest.mark.parametrize("app", ["witness", "plain"])
def test_what_was_checked_still_runs(host: Host, app: str) -> None:
    live = host.check_output("readlink /srv/%s/current", app).removeprefix("releases/")
    shown = host.check_output("systemctl show --property ActiveState,NRestarts %s@%s.service", app, live)
    assert set(shown.split()) == {"ActiveState=active", "NRestarts=0"}
