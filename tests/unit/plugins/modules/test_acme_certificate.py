# Copyright (c) 2026, paddock.fastapi contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When a CA is asked, what for, and what is said when it does not help. certbot is a script here; Molecule has a CA."""

from __future__ import annotations

import http.server
import re
import socket
import threading
import typing as t
from pathlib import Path

import pytest
from ansible_collections.paddock.fastapi.plugins.module_utils import _acme
from ansible_collections.paddock.fastapi.plugins.modules import acme_certificate
from ansible_collections.paddock.fastapi.tests.unit.helpers import (
    ROOT,
    Programs,
    RunModule,
    a_key,
    certificate_pem,
    key_pem,
)

DIRECTORY = "https://ca.test/dir"
WANTED = {"app": "shop", "domains": ["shop.test"], "email": "ops@shop.test", "directory": DIRECTORY, "precheck": False}


class Certbot:
    """A certbot that has whatever the CA of a test would issue."""

    def __init__(self, folder: Path, programs: Programs) -> None:
        self.folder, self.programs = folder, programs
        self.live = folder / "letsencrypt/live/paddock-shop"
        self.renewal = folder / "letsencrypt/renewal/paddock-shop.conf"
        self.offered = folder / "offered"
        for path in (self.renewal.parent, self.offered, folder / "tls"):
            path.mkdir(parents=True)
        self.answer()

    def then(self, script: str) -> None:
        """Have it do something after it has answered."""
        self.answer(after=script)

    def answer(self, script: str = "", after: str = "") -> None:
        """Have it do something before it answers."""
        keep = "for word; do case $word in *.ini) cp $word {0}/told ;; esac; done; env >{0}/environment"
        issue = "mkdir -p {1}; cp {0}/offered/* {1}; printf 'server = {2}\\n# renew_before_expiry = 30 days\\n' >{3}"
        issued = issue.format(self.folder, self.live, DIRECTORY, self.renewal)
        self.programs.add("certbot", f"{keep.format(self.folder)}\n{script}\n{issued}\n{after}")

    def offer(self, *domains: str, last: float = 90) -> None:
        """Have a certificate for certbot to bring."""
        key = a_key()
        (self.offered / "fullchain.pem").write_bytes(certificate_pem(key, [*domains], first=0, last=last))
        (self.offered / "privkey.pem").write_bytes(key_pem(key))

    @property
    def asked(self) -> list[str]:
        return [call for call in self.programs.calls if call.startswith("certbot ")]

    @property
    def shown(self) -> bytes:
        """What NGINX has."""
        return (self.folder / "tls/shop.crt").read_bytes()


@pytest.fixture
def certbot(tmp_path: Path, programs: Programs, monkeypatch: pytest.MonkeyPatch) -> Certbot:
    monkeypatch.setattr(_acme, "LETSENCRYPT", tmp_path / "letsencrypt")
    monkeypatch.setattr(_acme, "WEBROOT", tmp_path / "webroot")
    monkeypatch.setattr(acme_certificate, "TLS_ROOT", tmp_path / "tls")
    tls = tmp_path / "tls"
    hook = (ROOT / "roles/tls/files/certbot-deploy-hook").read_text(encoding="utf-8")
    monkeypatch.setattr(_acme, "HOOK", programs.add("hook", hook.replace("/etc/ssl/paddock", str(tls))))
    programs.add("nginx")
    programs.add("systemctl")
    made = Certbot(tmp_path, programs)
    made.offer("shop.test")
    return made


def test_the_first_certificate(certbot: Certbot, run_module: RunModule) -> None:
    found = run_module("acme_certificate", WANTED)
    assert (found["failed"], found["changed"], found["reason"]) == (False, True, "there is none")
    [call] = certbot.asked
    for words in (
        "certonly",
        f"--server {DIRECTORY}",
        "--cert-name paddock-shop",
        "--domains shop.test",
        "ops@shop.test",
    ):
        assert words in call
    assert certbot.shown == (certbot.offered / "fullchain.pem").read_bytes()


@pytest.mark.parametrize(("life", "left"), [(90, 30), (45, 15), (160 / 24, 80 / 24)])
def test_certbot_is_told_when_to_renew(certbot: Certbot, run_module: RunModule, life: float, left: float) -> None:
    certbot.offer("shop.test", last=life)
    run_module("acme_certificate", WANTED)
    told = certbot.renewal.read_text()
    assert re.findall(r"^.*renew_before_expiry.*$", told, re.MULTILINE) == [
        f"renew_before_expiry = {round(left * 86400)} seconds"
    ]
    assert f"server = {DIRECTORY}" in told


def test_what_is_left_of_a_lost_certificate_is_in_nobodys_way(certbot: Certbot, run_module: RunModule) -> None:
    """The real one refuses to begin beside an archive of the same name."""
    run_module("acme_certificate", WANTED)
    archive = certbot.live.parents[1] / "archive/paddock-shop"
    archive.mkdir(parents=True)
    certbot.renewal.unlink()
    certbot.answer(f"test ! -e {archive} || exit 1")
    assert run_module("acme_certificate", WANTED)["changed"] is True


def test_nothing_is_asked_of_a_ca_twice(certbot: Certbot, run_module: RunModule) -> None:
    run_module("acme_certificate", WANTED)
    found = run_module("acme_certificate", WANTED)
    assert (found["failed"], found["changed"], found["reason"]) == (False, False, "")
    assert len(certbot.asked) == 1


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"domains": ["shop.test", "www.shop.test"]}, "it names other hosts"),
        ({"directory": "https://other.test/dir"}, f"it is from {DIRECTORY}"),
    ],
)
def test_another_certificate_is_wanted(
    certbot: Certbot, run_module: RunModule, change: dict[str, t.Any], reason: str
) -> None:
    run_module("acme_certificate", WANTED)
    checked = run_module("acme_certificate", WANTED | change, check=True)
    assert (checked["changed"], checked["reason"], len(certbot.asked)) == (True, reason, 1)
    assert run_module("acme_certificate", WANTED | change)["reason"] == reason
    assert len(certbot.asked) == 2


@pytest.mark.parametrize(("last", "asked"), [(40, 1), (14, 2), (-1, 2)])
def test_a_certificate_that_the_timer_did_not_renew(
    certbot: Certbot, run_module: RunModule, last: float, asked: int
) -> None:
    """Of 90 days, 30 are left when it should be renewed, and 15 when somebody else must see to it."""
    key = a_key()
    (certbot.offered / "fullchain.pem").write_bytes(certificate_pem(key, ["shop.test"], first=last - 90, last=last))
    (certbot.offered / "privkey.pem").write_bytes(key_pem(key))
    run_module("acme_certificate", WANTED)
    run_module("acme_certificate", WANTED)
    assert len(certbot.asked) == asked


def test_a_lost_file_needs_no_ca(certbot: Certbot, run_module: RunModule) -> None:
    run_module("acme_certificate", WANTED)
    (certbot.folder / "tls/shop.key").unlink()
    assert run_module("acme_certificate", WANTED)["reason"] == "NGINX has another one"
    assert (certbot.folder / "tls/shop.key").exists()
    assert len(certbot.asked) == 1


@pytest.mark.parametrize("name", ["renewal/paddock-shop.conf", "live/paddock-shop/fullchain.pem"])
def test_a_lost_file_of_certbot_s(certbot: Certbot, run_module: RunModule, name: str) -> None:
    """Half a certificate would stop certbot."""
    run_module("acme_certificate", WANTED)
    (certbot.folder / "letsencrypt" / name).unlink()
    certbot.answer(f"[ ! -e {certbot.live} ] && [ ! -e {certbot.renewal} ] || exit 1")
    found = run_module("acme_certificate", WANTED)
    assert (found["failed"], found["reason"]) == (False, "there is none")


def test_what_the_ca_wants_to_know_is_not_on_the_command_line(certbot: Certbot, run_module: RunModule) -> None:
    more = {"eab_kid": "us", "eab_hmac_key": "c2VjcmV0", "ca_bundle": "/etc/ca.pem", "profile": "shortlived"}
    run_module("acme_certificate", WANTED | more)
    assert (certbot.folder / "told").read_text() == "eab-kid = us\neab-hmac-key = c2VjcmV0\n"
    assert "c2VjcmV0" not in certbot.asked[0]
    assert "--required-profile shortlived" in certbot.asked[0]
    assert "REQUESTS_CA_BUNDLE=/etc/ca.pem" in (certbot.folder / "environment").read_text()


def test_a_ca_that_does_not_help(certbot: Certbot, run_module: RunModule) -> None:
    run_module("acme_certificate", WANTED)
    before = certbot.shown
    certbot.answer("echo Saving debug log to x; echo 'Connection refused' >&2; exit 1")
    found = run_module("acme_certificate", WANTED | {"domains": ["shop.test", "www.shop.test"]})
    assert (found["failed"], found["changed"]) == (True, False)
    assert found["msg"] == (
        "app shop: there is no new certificate (it names other hosts): Connection refused\n"
        "NGINX goes on with the certificate that it has."
    )
    assert certbot.shown == before


def test_a_certificate_that_nginx_does_not_accept(certbot: Certbot, run_module: RunModule, programs: Programs) -> None:
    run_module("acme_certificate", WANTED)
    before = certbot.shown
    certbot.offer("shop.test", "www.shop.test")
    programs.add("nginx", "echo no >&2; exit 1")
    found = run_module("acme_certificate", WANTED | {"domains": ["shop.test", "www.shop.test"]})
    assert found["msg"].startswith(
        "app shop: there is no new certificate (it names other hosts): NGINX does not accept its configuration with "
        "the new certificate of shop, and keeps the old one: no\n"
    )
    assert certbot.shown == before
    assert sorted(path.name for path in (certbot.folder / "tls").iterdir()) == ["shop.crt", "shop.key"]


@pytest.mark.usefixtures("certbot")
def test_nginx_is_reloaded_once(run_module: RunModule, programs: Programs) -> None:
    run_module("acme_certificate", WANTED)
    run_module("acme_certificate", WANTED)
    assert [call for call in programs.calls if call.startswith("systemctl reload")] == [
        "systemctl reload nginx.service"
    ]


def test_certbot_has_run_the_hook(certbot: Certbot, run_module: RunModule, programs: Programs) -> None:
    """As certbot does when it has had a certificate of that name."""
    run_module("acme_certificate", WANTED)
    certbot.offer("shop.test", "www.shop.test")
    certbot.then(f"RENEWED_LINEAGE={certbot.live} {_acme.HOOK}")
    run_module("acme_certificate", WANTED | {"domains": ["shop.test", "www.shop.test"]})
    assert len([call for call in programs.calls if call.startswith("systemctl reload")]) == 2


def test_a_certificate_that_is_no_longer_wanted(certbot: Certbot, run_module: RunModule) -> None:
    absent = {"app": "shop", "state": "absent"}
    assert run_module("acme_certificate", absent)["changed"] is False
    assert certbot.asked == []
    run_module("acme_certificate", WANTED)
    assert run_module("acme_certificate", absent, check=True)["changed"] is True
    assert run_module("acme_certificate", absent)["changed"] is True
    assert not certbot.renewal.exists()
    assert not certbot.live.exists()
    assert certbot.shown == (certbot.offered / "fullchain.pem").read_bytes()


class Web:
    """What answers on the port that a CA asks at."""

    def __init__(self, folder: Path, status: int | None) -> None:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status or 200)
                self.end_headers()
                self.wfile.write((folder / self.path.lstrip("/")).read_bytes() if status is None else b"hello")

            def log_message(self, format: str, *args: t.Any) -> None:  # noqa: A002  # its name in the base class
                pass

        self.server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("domain", "status", "message"),
    [
        ("localhost", None, ""),
        ("localhost", 404, r"localhost does not reach this host: 127.0.0.1, port \d+, answers 404; correct its DNS"),
        ("localhost", 200, r"localhost does not reach this host: 127.0.0.1, port \d+, answers something else"),
        ("localhost", 0, r"localhost does not reach this host: 127.0.0.1, port \d+, does not answer \("),
        ("nowhere.invalid", None, r"nowhere.invalid does not resolve \(.*\); make its DNS record"),
    ],
)
def test_the_ca_is_asked_only_for_domains_that_reach_the_host(
    certbot: Certbot,
    run_module: RunModule,
    monkeypatch: pytest.MonkeyPatch,
    domain: str,
    status: int | None,
    message: str,
) -> None:
    web = Web(certbot.folder / "webroot", status)
    monkeypatch.setattr(_acme, "HTTP_PORT", web.server.server_port)
    if domain == "localhost":
        # Not ::1 as well, where nobody listens.
        only = [(socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", web.server.server_port))]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_arguments, **_options: only)
    if status == 0:
        web.server.shutdown()
        web.server.server_close()
    found = run_module("acme_certificate", WANTED | {"domains": [domain], "precheck": True})
    web.server.server_close()
    assert found["failed"] is bool(message)
    assert bool(certbot.asked) is not bool(message)
    if message:
        assert re.search(message, found["msg"])
    # The proof is gone, whatever came of it.
    assert list((certbot.folder / "webroot/.well-known/acme-challenge").iterdir()) == []
