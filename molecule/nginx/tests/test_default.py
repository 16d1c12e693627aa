"""What the public, the app and the host's own probe see through NGINX."""

from __future__ import annotations

import json
import typing as t
from collections.abc import Callable

import pytest
from testinfra.backend.base import CommandResult
from testinfra.host import Host

RELEASE = "20260101T000000Z-000000000000"
CERTIFICATE = "/etc/ssl/paddock/shop.crt"
# curl's exit codes.
NO_ANSWER, TLS_REFUSED = {52, 56}, 35

Curl = Callable[..., CommandResult]


@pytest.fixture
def ports(name: str) -> tuple[int, int]:
    return (8080, 8443) if name == "debian13" else (80, 443)


@pytest.fixture
def public(host: Host) -> str:
    """Return an address of the host that is not loopback: a client that uses it comes from there as well."""
    return host.check_output("hostname -I").split()[0]


@pytest.fixture
def curl(host: Host, ports: tuple[int, int]) -> Curl:
    """Return a function that asks NGINX for PATH of DOMAIN, over https or http, at ADDRESS."""

    def ask(domain: str, path: str, *options: str, scheme: str = "https", address: str = "127.0.0.1") -> CommandResult:
        port = ports[scheme == "https"]
        command = ["curl", "--silent", "--max-time", "10", "--cacert", CERTIFICATE, *options]
        command += ["--connect-to", f"{domain}:{port}:{address}:{port}", f"{scheme}://{domain}:{port}{path}"]
        return host.run(" ".join(["%s"] * len(command)), *command)

    return ask


def echoed(result: CommandResult) -> dict[str, t.Any]:
    assert result.rc == 0, result
    return t.cast("dict[str, t.Any]", json.loads(result.stdout))


def status(result: CommandResult) -> str:
    assert result.rc == 0, result
    return result.stdout.splitlines()[0].split()[1]


def test_it_takes_turns_with_the_apps(host: Host) -> None:
    policies = host.check_output("pgrep --exact nginx | xargs --replace chrt --pid {} | grep policy").splitlines()
    assert len(policies) >= 2
    assert all(policy.endswith("SCHED_BATCH") for policy in policies), policies


@pytest.mark.parametrize("version", ["1.1", "2"])
def test_https_speaks_both_versions_of_http(curl: Curl, version: str) -> None:
    shown = curl(
        "shop.test", "/", f"--http{version}", "--output", "/dev/null", "--write-out", "%{http_code} %{http_version}"
    )
    assert shown.stdout == f"200 {version}"


def test_tls_is_what_the_policy_says(curl: Curl, name: str) -> None:
    """It is `modern` on one host, and `intermediate` on the other."""
    results = [curl("shop.test", "/", f"--tlsv{version}", "--tls-max", version).rc for version in ("1.2", "1.3")]
    assert results == ([TLS_REFUSED, 0] if name == "debian13" else [0, 0])


def test_keys_are_exchanged_safe_from_quantum_computers_where_openssl_can(
    host: Host, name: str, ports: tuple[int, int]
) -> None:
    if name == "debian13":  # OpenSSL 3.5; the other's 3.0 cannot, as a client neither
        command = "openssl s_client -connect 127.0.0.1:%s -servername shop.test </dev/null 2>&1"
        assert "Negotiated TLS1.3 group: X25519MLKEM768" in host.check_output(command, str(ports[1]))


def test_http3_and_brotli_can_be_turned_off(host: Host, name: str) -> None:
    if name == "debian13":  # the other's NGINX has no HTTP/3
        assert host.check_output("nginx -T 2>/dev/null | grep -c -e ' quic' -e 'brotli on' || true") == "0"
        assert host.check_output("ss --udp --listening --numeric | grep -c 8443 || true") == "0"


def test_directives_of_the_user_are_there(host: Host, name: str) -> None:
    shown = host.check_output("nginx -T 2>/dev/null | grep -c nginx_scenario || true")
    assert shown == ("1" if name == "debian13" else "0")


def test_tls_is_not_old(curl: Curl) -> None:
    old = curl("shop.test", "/", "--tlsv1.0", "--tls-max", "1.1", "--ciphers", "DEFAULT@SECLEVEL=0")
    assert old.rc == TLS_REFUSED


def test_http_redirects_for_good_and_keeps_the_method(curl: Curl, ports: tuple[int, int]) -> None:
    answer = curl("www.shop.test", "/a/b?c=d", "--head", scheme="http")
    port = "" if ports[1] == 443 else f":{ports[1]}"
    assert status(answer) == "308"
    assert f"Location: https://www.shop.test{port}/a/b?c=d" in answer.stdout


def test_an_app_without_tls_is_served_over_http(curl: Curl) -> None:
    assert echoed(curl("plain.test", "/", scheme="http"))["headers"]["x-forwarded-proto"] == "http"


def test_both_families_of_addresses_are_served(host: Host, curl: Curl) -> None:
    # An empty table means that this machine has no IPv6 at all.
    loopbacks = ["127.0.0.1", "[::1]"] if host.check_output("cat /proc/net/if_inet6") else ["127.0.0.1"]
    assert [echoed(curl("shop.test", "/", address=address))["path"] for address in loopbacks] == ["/"] * len(loopbacks)


def test_unknown_names_get_no_answer(curl: Curl) -> None:
    assert curl("unknown.test", "/", scheme="http").rc in NO_ANSWER


def test_unknown_names_get_no_certificate(curl: Curl) -> None:
    assert curl("unknown.test", "/", "--insecure").rc == TLS_REFUSED


def test_addresses_get_no_certificate(curl: Curl) -> None:
    assert curl("127.0.0.1", "/", "--insecure").rc == TLS_REFUSED


@pytest.mark.parametrize("version", ["1.1", "2"])
def test_a_known_certificate_does_not_open_unknown_names(curl: Curl, version: str) -> None:
    # NGINX closes, or, since 1.26.3, tells the client that it is at the wrong address.
    options = [
        f"--http{version}",
        "--header",
        "Host: unknown.test",
        "--write-out",
        "%{http_code}",
        "--output",
        "/dev/null",
    ]
    assert curl("shop.test", "/", *options).stdout in {"000", "421"}


def test_clients_cannot_say_where_they_come_from(curl: Curl, public: str) -> None:
    forged = {
        "X-Forwarded-For": "192.0.2.1",
        "X-Forwarded-Proto": "gopher",
        "X-Forwarded-Host": "forged.test",
        "Forwarded": "for=192.0.2.1",
        "X-Request-ID": "forged",
    }
    options = [word for name, value in forged.items() for word in ("--header", f"{name}: {value}")]
    seen = echoed(curl("shop.test", "/", *options, address=public))["headers"]
    assert seen["x-forwarded-for"] == public
    assert seen["x-forwarded-proto"] == "https"
    assert seen["x-forwarded-host"] == seen["host"]
    assert "forwarded" not in seen
    assert seen["x-request-id"] != "forged"


def test_the_app_sees_the_host_that_was_asked_for(curl: Curl, ports: tuple[int, int]) -> None:
    host = "www.shop.test" if ports[1] == 443 else f"www.shop.test:{ports[1]}"
    assert echoed(curl("www.shop.test", "/"))["headers"]["host"] == host


def test_the_public_does_not_see_the_release(curl: Curl, public: str) -> None:
    answer = curl("shop.test", "/", "--include", address=public)
    assert status(answer) == "200"
    assert "paddock" not in answer.stdout.lower()
    assert RELEASE not in answer.stdout


def test_the_host_itself_sees_the_release(curl: Curl) -> None:
    assert f"x-paddock-release: {RELEASE.lower()}" in curl("shop.test", "/", "--include").stdout.lower()


def test_nginx_does_not_tell_its_version(curl: Curl, public: str) -> None:
    answer = curl("shop.test", "/", "--head", address=public)
    assert "server: nginx" in answer.stdout.lower().splitlines()


@pytest.mark.parametrize(
    ("domain", "scheme", "size", "wanted"),
    [
        ("shop.test", "https", 10 * 2**20, "200"),
        ("shop.test", "https", 10 * 2**20 + 1, "413"),
        ("plain.test", "http", 1024, "200"),
        ("plain.test", "http", 1025, "413"),
    ],
)
def test_bodies_have_a_limit(host: Host, curl: Curl, domain: str, scheme: str, size: int, wanted: str) -> None:
    host.check_output("head -c %s /dev/zero >/tmp/body", str(size))
    options = ["--data-binary", "@/tmp/body", "--output", "/dev/null", "--write-out", "%{http_code}"]
    assert curl(domain, "/", *options, scheme=scheme).stdout == wanted


def test_answers_arrive_as_they_are_sent(curl: Curl) -> None:
    answer = curl("shop.test", "/drip", "--no-buffer", "--max-time", "3")
    assert answer.stdout == "first\n"


def test_websockets_pass(curl: Curl) -> None:
    options = ["--http1.1", "--header", "Connection: Upgrade", "--header", "Upgrade: websocket"]
    seen = echoed(curl("shop.test", "/", *options))["headers"]
    assert (seen["connection"], seen["upgrade"]) == ("upgrade", "websocket")


def test_other_requests_upgrade_nothing(curl: Curl) -> None:
    seen = echoed(curl("shop.test", "/"))["headers"]
    assert "upgrade" not in seen
    assert "connection" not in seen


def test_the_log_tells_who_answered(host: Host, curl: Curl, public: str) -> None:
    seen = echoed(curl("shop.test", "/logged", "--header", 'User-Agent: "quoted" \\ text', address=public))["headers"]
    # NGINX writes once a second.
    host.check_output("sleep 1.5")
    entries = [json.loads(line) for line in host.check_output("cat /var/log/nginx/access.log").splitlines()]
    (entry,) = [entry for entry in entries if entry["request_id"] == seen["x-request-id"]]
    assert entry["release"] == RELEASE
    assert entry["client"] == public
    assert entry["status"] == 200
    assert entry["user_agent"] == '"quoted" \\ text'


def test_workers_may_open_what_they_need(
    name: str,
    allowed_nofile: int,
    children: Callable[[str], list[int]],
    nofile_of: Callable[[int], tuple[int, int]],
) -> None:
    wanted = min((1024 if name == "debian13" else 16384) * 2 + 256, allowed_nofile)
    workers = children("nginx.service")
    assert {nofile_of(worker) for worker in workers} == {(wanted, wanted)}
    assert len(workers) == 3 or name == "debian12"


def test_workers_are_not_root(host: Host, children: Callable[[str], list[int]]) -> None:
    owners = {host.check_output("stat --format %%U /proc/%s", str(pid)) for pid in children("nginx.service")}
    assert owners == {"www-data"}


def test_it_comes_back_after_a_boot(host: Host) -> None:
    assert host.check_output("systemctl is-enabled nginx.service") == "enabled"


def test_what_is_not_ours_is_still_there(host: Host) -> None:
    assert host.check_output("cat /etc/nginx/conf.d/foreign.conf") == "server_names_hash_max_size 1024;"


def test_the_site_that_the_package_brings_is_gone(host: Host) -> None:
    assert host.check_output("ls /etc/nginx/sites-enabled") == ""


def test_nginx_has_nothing_to_warn_about(host: Host) -> None:
    checked = host.run("nginx -t")
    assert checked.rc == 0
    assert "warn" not in checked.stderr
