# Copyright (c) 2026, paddock.fastapi contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of the health check's requests, against real servers on this machine."""

from __future__ import annotations

import contextlib
import http.server
import socket
import socketserver
import ssl
import threading
import time
import typing as t
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ansible_collections.paddock.fastapi.plugins.module_utils._probe import (
    Answer,
    Expectation,
    Target,
    as_result,
    ask,
    until_healthy,
)
from ansible_collections.paddock.fastapi.tests.unit.helpers import LIVE, NEW, a_key, certificate_pem, key_pem

Reply = Callable[[int], tuple[int, str, str]]


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.seen.append((self.path, dict(self.headers)))
        status, body, release = self.server.reply(len(self.server.seen))
        content = body.encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        if release:
            self.send_header("X-Paddock-Release", release)
        for name, value in self.server.headers:
            self.send_header(name, value)
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(content)

    def log_message(self, *_arguments: t.Any) -> None:
        """Say nothing."""

    def address_string(self) -> str:
        return "test"


class Server(socketserver.ThreadingTCPServer):
    """A server that answers what it is told to."""

    allow_reuse_address = True
    daemon_threads = True

    headers: tuple[tuple[str, str], ...] = ()

    def __init__(self, reply: Reply, path: Path | None = None, address: str = "127.0.0.1") -> None:
        self.reply = reply
        self.seen: list[tuple[str, dict[str, str]]] = []
        if path:
            self.address_family = socket.AF_UNIX
        elif ":" in address:
            self.address_family = socket.AF_INET6
        super().__init__(t.cast("t.Any", str(path)) if path else (address, 0), _Handler)

    def handle_error(self, *_arguments: t.Any) -> None:
        """Say nothing: a client that goes away is no error."""


@contextlib.contextmanager
def serving(
    reply: Reply, path: Path | None = None, certificate: Path | None = None, address: str = "127.0.0.1"
) -> Iterator[Server]:
    server = Server(reply, path, address)
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def fine(_request: int) -> tuple[int, str, str]:
    return 200, '{"status": "ok"}', NEW


def plain(server: Server) -> Target:
    return Target("shop.example.com", port=int(server.server_address[1]), tls=False)


def make_certificate(path: Path, domains: list[str], **validity: float) -> Path:
    key = a_key()
    path.write_bytes(key_pem(key) + certificate_pem(key, domains, **validity))
    return path


@pytest.mark.parametrize(
    ("expected", "problem"),
    [
        (Expectation(), ""),
        (Expectation(contains='"ok"', release=NEW), ""),
        (Expectation(status=204), "/healthz answered 200 instead of 204"),
        (Expectation(path="/x?y=1", status=503), "/x?y=1 answered 200 instead of 503"),
        (Expectation(contains="ready"), "/healthz answered 200, but its body lacks 'ready'"),
        (Expectation(release=LIVE), f"/healthz was answered by release {NEW} instead of {LIVE}"),
    ],
)
def test_answers_are_compared_with_what_is_expected(expected: Expectation, problem: str) -> None:
    with serving(fine) as server:
        answer = ask(plain(server), expected, 5)
    assert answer.problem == problem
    assert (answer.status, answer.body, answer.release) == (200, '{"status": "ok"}', NEW)
    path, headers = server.seen[0]
    assert path == expected.path
    assert headers == {
        "Host": "shop.example.com",
        "Accept-Encoding": "identity",
        "User-Agent": "paddock-probe",
        "Connection": "close",
    }


DOCUMENT = (
    '{"status": "ok", "ready": true, "load": 1, "none": null, "checks": [{"name": "db", "ok": false}], "a b": 1.5}'
)
HEADERS = (("Content-Type", "application/json; charset=utf-8"), ("X-Empty", ""), ("Vary", "A"), ("Vary", "B"))
LONG = "x" * 200


@pytest.mark.parametrize(
    ("expected", "problem"),
    [
        ({"pattern": r'"status":\s+"(ok|fine)"'}, ""),
        ({"pattern": "^ok"}, "but its body does not match '^ok'"),
        ({"json": {}}, ""),
        ({"json": {"status": "ok", "checks.0.name": "db", "checks.0.ok": False, "none": None, "a b": 1.5}}, ""),
        ({"json": {"load": 1.0}}, ""),
        ({"json": {"status": "down"}}, 'but status in its JSON is "ok" instead of "down"'),
        ({"json": {"checks.0.ok": True}}, "but checks.0.ok in its JSON is false instead of true"),
        ({"json": {"ready": 1}}, "but ready in its JSON is true instead of 1"),
        ({"json": {"load": True}}, "but load in its JSON is 1 instead of true"),
        ({"json": {"load": "1"}}, 'but load in its JSON is 1 instead of "1"'),
        ({"json": {"none": "x"}}, 'but none in its JSON is null instead of "x"'),
        ({"json": {"gone": "ok"}}, 'but its JSON has no gone, which should be "ok"'),
        ({"json": {"checks.1.ok": True}}, "but its JSON has no checks.1.ok, which should be true"),
        ({"json": {"checks.-1.ok": True}}, "but its JSON has no checks.-1.ok, which should be true"),
        ({"json": {"status.0": "o"}}, 'but its JSON has no status.0, which should be "o"'),
        ({"json": {"checks": "x"}}, 'but checks in its JSON is [{"name": "db", "ok": false}] instead of "x"'),
        ({"headers": {"content-type": "application/json", "X-Empty": None, "Vary": "A, B"}}, ""),
        ({"headers": {"X-Gone": ""}}, "but without the header X-Gone"),
        (
            {"headers": {"Content-Type": "text/html"}},
            "but its header Content-Type is 'application/json; charset=utf-8' and lacks 'text/html'",
        ),
        ({"headers": {"X-Empty": 0}}, "but its header X-Empty is '' and lacks '0'"),
        ({"max_seconds": 2}, ""),
        # The first that is wrong is told.
        ({"status": 201, "json": {"status": "down"}}, "instead of 201"),
    ],
)
def test_all_that_an_answer_may_have_to_be(expected: dict[str, t.Any], problem: str) -> None:
    with serving(lambda _request: (200, DOCUMENT, NEW)) as server:
        server.headers = HEADERS
        found = ask(plain(server), Expectation(**expected), 5).problem
    separator = " " if problem.startswith("instead") else ", "
    assert found == (f"/healthz answered 200{separator}{problem}" if problem else "")


@pytest.mark.parametrize("body", ["", "ok", '{"status": "ok"', "<html>"])
def test_a_body_that_is_not_json(body: str) -> None:
    with serving(lambda _request: (200, body, NEW)) as server:
        problem = ask(plain(server), Expectation(json={"status": "ok"}), 5).problem
    assert problem == "/healthz answered 200, but its body is not JSON"


def test_of_what_is_wrong_no_more_is_told_than_helps() -> None:
    with serving(lambda _request: (200, f'{{"status": "{LONG}"}}', NEW)) as server:
        server.headers = (("X-Long", LONG),)
        wrong_json = ask(plain(server), Expectation(json={"status": "y"}), 5).problem
        wrong_header = ask(plain(server), Expectation(headers={"X-Long": "y"}), 5).problem
    shown = "x" * 99
    assert wrong_json == f'/healthz answered 200, but status in its JSON is "{shown}… instead of "y"'
    assert wrong_header == f"/healthz answered 200, but its header X-Long is '{shown}… and lacks 'y'"


@pytest.mark.slow
@pytest.mark.parametrize(("seconds", "most", "fine"), [(0, 0.25, True), (0.3, 0.25, False), (0.3, 5, True)])
def test_an_answer_that_comes_late_is_told_from_none(seconds: float, most: float, *, fine: bool) -> None:
    def late(_request: int) -> tuple[int, str, str]:
        time.sleep(seconds)
        return 200, "", NEW

    expected = Expectation(max_seconds=most)
    with serving(late) as server:
        answer = ask(plain(server), expected, expected.patience)
    assert fine is not answer.problem.startswith("/healthz answered 200 after 0.3")
    assert fine is not answer.problem.endswith(" s instead of 0.25 s at most")
    assert (answer.status, fine or answer.seconds >= seconds) == (200, True)


@pytest.mark.parametrize(("most", "patience"), [(None, 3), (0.1, 3), (3.5, 3.5), (60, 60)])
def test_who_may_take_longer_is_waited_for(most: float | None, patience: float) -> None:
    assert Expectation(max_seconds=most).patience == patience


@pytest.mark.parametrize(
    ("listens", "family", "answers"),
    [
        ("127.0.0.1", "any", True),
        ("127.0.0.1", "ipv4", True),
        ("127.0.0.1", "ipv6", False),
        ("::1", "any", False),
        ("::1", "ipv4", False),
        ("::1", "ipv6", True),
    ],
)
def test_families_of_this_host(listens: str, family: str, *, answers: bool) -> None:
    with serving(fine, address=listens) as server:
        target = Target("shop.example.com", family=family, port=int(server.server_address[1]), tls=False)
        answer = ask(target, Expectation(release=NEW), 5)
    expected = "" if answers else "ConnectionRefusedError: [Errno 111] Connection refused"
    assert answer.problem == expected
    assert [headers["Host"] for _path, headers in server.seen] == (["shop.example.com"] if answers else [])


@pytest.mark.parametrize("listens", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("family", ["any", "ipv4", "ipv6"])
def test_families_of_a_name(monkeypatch: pytest.MonkeyPatch, listens: str, family: str) -> None:
    resolve = socket.getaddrinfo

    def both(_name: str, port: int, kind: int = 0, *_rest: t.Any) -> list[t.Any]:
        found = [each for address in ("::1", "127.0.0.1") for each in resolve(address, port, type=socket.SOCK_STREAM)]
        return [each for each in found if kind in {0, each[0]}]

    with serving(fine, address=listens) as server:
        monkeypatch.setattr(socket, "getaddrinfo", both)
        target = Target("a.example", address="a.example", family=family, port=int(server.server_address[1]), tls=False)
        answer = ask(target, Expectation(), 5)
    right = family == "any" or (family == "ipv6") is (":" in listens)
    assert answer.problem == ("" if right else "ConnectionRefusedError: [Errno 111] Connection refused")


def test_an_address_of_another_family() -> None:
    answer = ask(Target("a.example", address="::1", family="ipv4", port=9, tls=False), Expectation(), 5)
    assert answer.problem.startswith("ConnectionError: ::1 has no address of the family ipv4: ")


def test_an_answer_of_something_else() -> None:
    with serving(lambda _request: (200, "", "")) as server:
        answer = ask(plain(server), Expectation(release=NEW), 5)
    assert answer.problem == f"/healthz was answered by release none of ours instead of {NEW}"


def test_a_redirect_is_not_followed() -> None:
    with serving(lambda _request: (301, "", NEW)) as server:
        assert ask(plain(server), Expectation(), 5).problem == "/healthz answered 301 instead of 200"
    assert len(server.seen) == 1


def test_a_large_body_is_not_read_to_its_end() -> None:
    with serving(lambda _request: (200, "é" * 100_000, NEW)) as server:
        assert len(ask(plain(server), Expectation(), 5).body) == 32 * 1024


def test_over_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    with serving(fine, path) as server:
        answer = ask(Target("shop.example.com", socket=str(path)), Expectation(release=NEW), 5)
    assert answer.problem == ""
    assert server.seen[0][1]["Host"] == "shop.example.com"


@pytest.mark.parametrize(("tls", "scheme"), [(True, "https"), (False, "http")])
def test_over_its_socket_an_app_is_asked_as_nginx_asks_it(tmp_path: Path, scheme: str, *, tls: bool) -> None:
    path = tmp_path / "app.sock"
    with serving(fine, path) as server:
        ask(Target("shop.example.com", socket=str(path), tls=tls), Expectation(), 5)
    forwarded = {name: value for name, value in server.seen[0][1].items() if name.startswith("X-Forwarded-")}
    assert forwarded == {
        "X-Forwarded-For": "127.0.0.1",
        "X-Forwarded-Proto": scheme,
        "X-Forwarded-Host": "shop.example.com",
    }


@pytest.mark.parametrize("made", ["gone", "stale"])
def test_a_socket_that_nobody_listens_on(tmp_path: Path, made: str) -> None:
    path = tmp_path / "app.sock"
    if made == "stale":
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(str(path))
    answer = ask(Target("shop.example.com", socket=str(path)), Expectation(), 5)
    reason = {"gone": "FileNotFoundError: [Errno 2]", "stale": "ConnectionRefusedError: [Errno 111]"}[made]
    assert answer.problem.startswith(reason)
    assert answer.status is None


def test_refused() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    answer = ask(Target("shop.example.com", port=port, tls=False), Expectation(), 5)
    assert answer.problem == "ConnectionRefusedError: [Errno 111] Connection refused"


def test_a_server_that_hangs() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        target = Target("shop.example.com", port=listener.getsockname()[1], tls=False)
        answer = ask(target, Expectation(), 0.2)
    assert answer.problem == "no answer within 0.2 s"
    assert 0.2 <= answer.seconds < 2


@pytest.mark.parametrize("reply", [b"", b"HTTP/1.1 ", b"SSH-2.0-x\r\n", b"HTTP/1.1 200 OK\r\n" + b"x" * 70000])
def test_a_server_that_speaks_no_http(reply: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer_once() -> None:
            connection, _address = listener.accept()
            with connection, contextlib.suppress(OSError):
                connection.recv(1000)
                connection.sendall(reply)

        thread = threading.Thread(target=answer_once)
        thread.start()
        answer = ask(Target("shop.example.com", port=listener.getsockname()[1], tls=False), Expectation(), 5)
        thread.join()
    assert answer.problem
    assert answer.status is None


def over_tls(server: Server, certificate: Path) -> Answer:
    target = Target("shop.example.com", port=int(server.server_address[1]), certificate=str(certificate))
    return ask(target, Expectation(release=NEW), 5)


def test_the_configured_certificate_is_trusted(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path / "a.pem", ["shop.example.com"])
    with serving(fine, certificate=certificate) as server:
        assert over_tls(server, certificate).problem == ""


@pytest.mark.parametrize(
    ("domains", "validity", "reason"),
    [
        (["blog.example.com"], {}, "Hostname mismatch"),
        (["shop.example.com"], {"first": -9, "last": -1}, "certificate has expired"),
    ],
)
def test_a_wrong_certificate(tmp_path: Path, domains: list[str], validity: dict[str, float], reason: str) -> None:
    certificate = make_certificate(tmp_path / "a.pem", domains, **validity)
    with serving(fine, certificate=certificate) as server:
        problem = over_tls(server, certificate).problem
    assert problem.startswith("SSLCertVerificationError")
    assert reason in problem


def test_another_certificate_than_the_configured_one(tmp_path: Path) -> None:
    shown = make_certificate(tmp_path / "a.pem", ["shop.example.com"])
    with serving(fine, certificate=shown) as server:
        problem = over_tls(server, make_certificate(tmp_path / "b.pem", ["shop.example.com"])).problem
    assert problem.startswith("SSLCertVerificationError")


def test_plain_http_where_tls_is_expected(tmp_path: Path) -> None:
    with serving(fine) as server:
        problem = over_tls(server, make_certificate(tmp_path / "a.pem", ["shop.example.com"])).problem
    assert problem.startswith("SSLError")


def test_a_certificate_file_that_is_gone() -> None:
    with serving(fine) as server:
        assert over_tls(server, Path("/nonexistent/a.pem")).problem.startswith("FileNotFoundError")


def healthy(server: Server, **options: t.Any) -> tuple[bool, int, Answer]:
    # What is not about time has enough of it, however busy the machine is.
    defaults = {"timeout": 60.0, "successes": 3, "interval": 0.01}
    return until_healthy(plain(server), Expectation(release=NEW, max_seconds=30), **(defaults | options))


def test_right_answers_in_a_row() -> None:
    with serving(fine) as server:
        proven, requests, answer = healthy(server)
    assert (proven, requests, answer.problem) == (True, 3, "")


def test_a_wrong_answer_begins_a_new_row() -> None:
    with serving(lambda request: (503 if request in (1, 4) else 200, "", NEW)) as server:
        proven, requests, answer = healthy(server)
    assert (proven, requests, answer.problem) == (True, 7, "")


def test_the_time_is_over() -> None:
    started = time.monotonic()
    with serving(lambda _request: (503, "no database", NEW)) as server:
        proven, requests, answer = healthy(server, timeout=0.2)
    assert (proven, answer.problem) == (False, "/healthz answered 503 instead of 200")
    assert answer.body == "no database"
    assert requests == len(server.seen) > 1
    assert time.monotonic() - started < 2


@pytest.mark.slow
def test_a_last_try_that_was_cut_short_is_not_the_reason() -> None:
    def slower_and_slower(request: int) -> tuple[int, str, str]:
        time.sleep(0 if request == 1 else 2)
        return 503, "", NEW

    with serving(slower_and_slower) as server:
        proven, requests, answer = healthy(server, timeout=0.2)
    assert (proven, requests, answer.problem) == (False, 2, "/healthz answered 503 instead of 200")


def test_an_answer_tells_what_was_wrong_and_what_it_was() -> None:
    assert str(Answer("no answer within 3 s")) == "no answer within 3 s"
    assert str(Answer("it answered 500", 500, "Internal\n Error", NEW)) == "it answered 500\nIts answer: Internal Error"


def test_too_few_right_answers_are_a_reason_of_their_own() -> None:
    with serving(fine) as server:
        proven, requests, answer = healthy(server, timeout=0.1, successes=10**6)
    assert not proven
    assert answer.problem == f"only {requests} right answers in a row within 0.1 s instead of 1000000"


def test_giving_up() -> None:
    reasons = iter(["", "", "it died"])
    with serving(lambda _request: (503, "", NEW)) as server:
        proven, requests, answer = healthy(server, give_up=lambda answer: next(reasons) if answer.status == 503 else "")
    assert (proven, requests, answer.problem, answer.status) == (False, 3, "it died", 503)


def test_nobody_gives_up_while_answers_are_right() -> None:
    with serving(fine) as server:
        proven, requests, answer = healthy(server, give_up=lambda answer: f"it died: {answer}")
    assert (proven, requests, answer.problem) == (True, 3, "")


def test_targets_are_described() -> None:
    assert str(Target("a.example", socket="/run/a.sock")) == "unix:/run/a.sock"
    assert str(Target("a.example")) == "https://a.example:443"
    assert str(Target("a.example", port=80, tls=False)) == "http://a.example:80"


def test_results_are_short() -> None:
    assert as_result(Answer("p", 500, "x" * 5000, NEW, 1.5)) == {
        "status": 500,
        "body": "x" * 2000,
        "release": NEW,
        "problem": "p",
    }
