"""What testssl.sh of Debian 13 finds wrong with the TLS of both hosts. The reports are in docs/testssl.md."""

import json
import os
from pathlib import Path

import pytest
from fleet import Fleet
from testinfra.host import Host

# The newer testssl.sh of the two asks both hosts.
JUDGE = "debian13"
DOMAIN = "fresh.test"
SCAN = (
    "testssl --warnings batch --quiet --color 0 --nodns none --assuming-http --ip {address} --add-ca {name}.crt"
    f" --jsonfile {{name}}.json {DOMAIN}:443 >{{name}}.txt"
)
# Of a certificate that nobody issued, so that nobody can revoke it.
NOT_OURS = {"cert_revocation"}


@pytest.fixture(scope="module")
def reports(fleet: Fleet) -> dict[str, list[dict[str, str]]]:
    """Return the findings for each host."""
    judge = fleet.hosts[JUDGE]
    judge.check_output("DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet testssl.sh 2>&1")
    commands = []
    for name, host in fleet.hosts.items():
        certificate = host.check_output("cat /etc/ssl/paddock/fresh.crt")
        judge.check_output(f"rm -f {name}.*; echo '{certificate}' >{name}.crt")
        commands.append(SCAN.format(name=name, address=host.check_output("hostname -I").split()[0]))
    judge.check_output(" & ".join(commands) + " & wait")
    folder = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"])
    for name in fleet.hosts:
        (folder / f"testssl-{name}.txt").write_text(judge.check_output(f"cat {name}.txt"))
    return {name: json.loads(judge.check_output(f"cat {name}.json")) for name in fleet.hosts}


@pytest.fixture
def findings(host: Host, reports: dict[str, list[dict[str, str]]]) -> dict[str, dict[str, str]]:
    return {finding["id"]: finding for finding in reports[str(host.backend.get_hostname())]}


def test_the_grade_is_an_a(findings: dict[str, dict[str, str]]) -> None:
    assert findings["overall_grade"]["finding"] in {"A", "A+"}
    assert findings["protocol_support_score"]["finding"] == "100"


def test_nothing_is_worse_than_low(findings: dict[str, dict[str, str]]) -> None:
    worse = {name: found for name, found in findings.items() if found["severity"] in {"MEDIUM", "HIGH", "CRITICAL"}}
    assert set(worse) <= NOT_OURS, worse


def test_only_two_versions_are_spoken(findings: dict[str, dict[str, str]]) -> None:
    versions = {"SSLv2": False, "SSLv3": False, "TLS1": False, "TLS1_1": False, "TLS1_2": True, "TLS1_3": True}
    offered = {name: not findings[name]["finding"].startswith("not offered") for name in versions}
    assert offered == versions
