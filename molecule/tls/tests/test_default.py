"""Certificates as clients see them, and keys as nobody does."""

import datetime
import os
from pathlib import Path

import pytest
from cryptography import x509
from testinfra.host import Host

PAIRS = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "pairs"
DOMAINS = {
    "fresh": ["fresh.test"],
    "kept": ["kept.test", "www.kept.test"],
    "expiring": ["expiring.test"],
    "renamed": ["renamed.test"],
    "mixed": ["mixed.test"],
}
REMADE = [name for name in DOMAINS if name != "kept"]


def on_the_wire(host: Host, domain: str) -> list[x509.Certificate]:
    shown = host.check_output("openssl s_client -connect 127.0.0.1:443 -servername %s -showcerts </dev/null", domain)
    return x509.load_pem_x509_certificates(shown.encode())


def names(certificate: x509.Certificate) -> list[str]:
    extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return extension.value.get_values_for_type(x509.DNSName)


@pytest.mark.parametrize("app", DOMAINS)
def test_clients_see_a_certificate_for_every_domain(host: Host, app: str) -> None:
    for domain in DOMAINS[app]:
        assert [names(certificate) for certificate in on_the_wire(host, domain)] == [DOMAINS[app]]


@pytest.mark.parametrize("app", DOMAINS)
def test_clients_can_verify_it(host: Host, app: str) -> None:
    for domain in DOMAINS[app]:
        address = f"{domain}:443:127.0.0.1"
        certificate = f"/etc/ssl/paddock/{app}.crt"
        # There is no app, so NGINX answers 502; what counts is that TLS is good.
        command = "curl --silent --output /dev/null --write-out '%%{http_code}' --resolve %s --cacert %s https://%s/"
        assert host.check_output(command, address, certificate, domain) == "502"


@pytest.mark.parametrize("app", REMADE)
def test_what_was_no_good_is_new(host: Host, app: str) -> None:
    (leaf,) = on_the_wire(host, DOMAINS[app][0])
    left = leaf.not_valid_after_utc - datetime.datetime.now(datetime.UTC)
    assert datetime.timedelta(days=89) < left < datetime.timedelta(days=90, minutes=1)


def test_what_was_good_is_the_same(host: Host) -> None:
    host.check_output("cd /etc/ssl/paddock && sha256sum --check --status /root/kept.sha256")


def test_clients_see_the_new_certificate_that_was_provided_with_its_issuer(host: Host) -> None:
    provided = x509.load_pem_x509_certificates((PAIRS / "new/pair.pem").read_bytes())
    assert on_the_wire(host, "provided.test") == provided


@pytest.mark.parametrize("app", [*DOMAINS, "provided"])
def test_only_root_can_read_a_key(host: Host, app: str) -> None:
    key = f"/etc/ssl/paddock/{app}.key"
    assert host.check_output("stat --format '%%U %%G %%a' %s", key) == "root root 600"
    assert "Permission denied" in host.run("runuser -u www-data -- cat %s", key).stderr


@pytest.mark.parametrize("app", [*DOMAINS, "provided"])
def test_only_root_can_change_a_certificate(host: Host, app: str) -> None:
    assert host.check_output("stat --format '%%U %%G %%a' /etc/ssl/paddock/%s.crt", app) == "root root 644"


def test_an_app_without_tls_has_none(host: Host) -> None:
    kept = {f"{app}.{kind}" for app in [*DOMAINS, "provided"] for kind in ("crt", "key")}
    assert set(host.check_output("ls /etc/ssl/paddock").split()) == kept


def test_the_log_holds_no_key(host: Host) -> None:
    assert host.check_output("journalctl --no-pager | grep -c 'PRIVATE KEY' || true") == "0"
