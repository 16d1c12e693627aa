# Copyright (c) 2026, paddock.fastapi contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of who is told of a rollout, and of what comes of it if they cannot be, with real receivers on this machine."""

from __future__ import annotations

import contextlib
import datetime
import http.server
import json
import re
import socket
import ssl
import threading
import time
import typing as t
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from ansible_collections.paddock.fastapi.plugins.module_utils._settings import Settings, SettingsError
from ansible_collections.paddock.fastapi.plugins.plugin_utils._webhooks import (
    KINDS,
    RESULTS,
    WEBHOOK,
    in_words,
    kinds_of,
    messages,
    read_webhooks,
    reason_of,
    shown,
    tell,
)
from ansible_collections.paddock.fastapi.tests.unit.helpers import (
    LIVE,
    NEW,
    OLD,
    ROOT,
    a_key,
    certificate_pem,
    key_pem,
    trusted,
)

SECRET = "geheim"  # noqa: S105 - a test's
URL = f"https://hooks.example.com/services/{SECRET}?key={SECRET}"
DEFAULTS = {"format": "json", "on": list(KINDS), "headers": {}, "timeout": 5}


# -- who is told ----------------------------------------------------------------------------------------------------


def read(webhooks: t.Any, **variables: t.Any) -> list[Settings]:
    found = trusted({"fastapi_webhooks": webhooks, **variables})
    return read_webhooks(found, Templar(loader=DataLoader(), variables=found).template)


def problems(webhooks: t.Any, **variables: t.Any) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        read(webhooks, **variables)
    return str(caught.value).splitlines()


def test_nobody_need_be_told() -> None:
    assert read_webhooks({}, lambda value: value) == []
    assert read(None) == read([]) == []


def test_defaults() -> None:
    assert read([{"url": URL}]) == [{"url": URL, **DEFAULTS}]


def test_each_value_and_the_whole_may_be_a_template() -> None:
    webhook = {"url": "https://hooks.example.com/{{ token }}", "headers": {"Authorization": "Bearer {{ token }}"}}
    expected = {
        **DEFAULTS,
        "url": f"https://hooks.example.com/{SECRET}",
        "headers": {"Authorization": f"Bearer {SECRET}"},
    }
    assert read([webhook], token=SECRET) == [expected]
    assert read("{{ those }}", those=[webhook], token=SECRET) == [expected]
    assert read(["{{ that }}"], that=webhook, token=SECRET) == [expected]


NOT_A_URL = "it is not a URL; write one such as https://hooks.example.com/rollouts"
NO_HEADER = "X is empty, no text, or has characters that no header can hold; put its value in quotes"


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("url", "http://127.0.0.1:8080"),
        ("url", "https://[::1]:8443/a/b?c=d&e=%20#f"),
        ("format", "slack"),
        ("on", ["failure"]),
        ("on", ["rollback", "success", "failure"]),
        ("headers", {"Authorization": "Bearer x y", "X-A": "{}~"}),
        ("timeout", 1),
        ("timeout", 60),
    ],
)
def test_valid_values_are_taken_over(option: str, value: t.Any) -> None:
    assert read([{"url": URL, option: value}])[0][option] == value


INVALID: list[tuple[str, t.Any, str]] = [
    ("url", None, "is missing; Where to send it."),
    ("url", "", "it is not text"),
    ("url", ["https://a.example"], "it is not text"),
    *[
        ("url", value, NOT_A_URL)
        for value in (
            *(
                "hooks.example.com/a",
                "ftp://a.example/",
                "https://",
                "https:///a",
                "https://:443/",
                "https://a.example/a b",
            ),
            *(
                "https://a.example/\n",
                "https://ä.example/",
                "https://a.example:x/",
                "https://a.example:99999/",
                "https://[::1/",
            ),
            *("https://a.example:0/", "javascript:alert(1)"),
        )
    ],
    (
        "url",
        "https://user:geheim@a.example/",
        "it has a user or password in it; write them into headers, as Authorization",
    ),
    ("format", "teams", "'teams' is not known; choose one of json, slack"),
    ("format", "slak", "'slak' is not known; did you mean 'slack'?"),
    ("on", [], "is empty; choose of success, failure, rollback, or leave it out for all"),
    ("on", "failure", "'failure' is not a list of texts"),
    ("on", ["success", "all"], "'all' is not known; choose of success, failure, rollback"),
    ("on", ["sucess"], "'sucess' is not known; did you mean 'success'?"),
    ("headers", [SECRET], "it is not a mapping of names to values"),
    ("headers", {"X Y": SECRET}, "'X Y' is not the name of a header; use letters, digits and dashes"),
    *[("headers", {"X": value}, NO_HEADER) for value in (f"{SECRET}\r\nY: 1", "ä", "", None, 5, True)],
    ("timeout", 0, "0 is out of range; write 1 to 60"),
    ("timeout", 61, "61 is out of range; write 1 to 60"),
    ("timeout", "5s", "'5s' is not a whole number"),
    ("channel", "#ops", "unknown option; known options: format, headers, on, timeout, url"),
    ("heders", {}, "unknown option; did you mean 'headers'?"),
]


@pytest.mark.parametrize(("option", "value", "message"), INVALID)
def test_mistakes_are_named_with_place_and_fix_and_without_secrets(option: str, value: t.Any, message: str) -> None:
    found = problems([{"url": URL}, {"url": URL, option: value}])
    assert found == [f"fastapi_webhooks[2].{option}: {message}"]
    assert SECRET not in found[0]


def test_every_option_has_invalid_values_here() -> None:
    assert {option for option, _value, _message in INVALID} >= {*WEBHOOK}


@pytest.mark.parametrize(
    ("webhooks", "message"),
    [
        ({"url": URL}, "fastapi_webhooks: is not a list; begin each webhook with '- url: …'"),
        (URL, "fastapi_webhooks: is not a list; begin each webhook with '- url: …'"),
        ([URL], "fastapi_webhooks[1]: is not a mapping of options"),
        ([{"url": "{{ vault_url }}"}], "fastapi_webhooks[1].url: 'vault_url' is undefined"),
        ([{"url": f"https://a.example/{SECRET}{{{{ 1 +"}], "fastapi_webhooks[1].url: "),
        ("{{ gone }}", "fastapi_webhooks: 'gone' is undefined"),
    ],
)
def test_what_is_no_list_of_webhooks(webhooks: t.Any, message: str) -> None:
    found = problems(webhooks)
    assert len(found) == 1
    assert found[0].startswith(message)
    assert SECRET not in found[0]


# -- what is told ---------------------------------------------------------------------------------------------------

LOCK = {"by": "alice@laptop", "since": "2026-11-22 15:40:42 UTC", "playbook": "deploy"}
NOW = datetime.datetime(2026, 11, 22, 15, 40, 56, tzinfo=datetime.UTC)


def entry(host: str, app: str = "shop", before: str | None = LIVE, release: str = NEW) -> dict[str, t.Any]:
    return {"host": host, "app": app, "before": before, "release": release, "lock": LOCK}


MESSAGE = messages([entry("web1"), entry("web2")], "success", "", NOW)[0]


def test_one_message_for_each_app_whatever_the_number_of_hosts() -> None:
    found = messages([entry("web1"), entry("web1", "blog", None), entry("web2")], "failure", "why", NOW)
    assert found[0] == {
        "version": 1,
        "time": "2026-11-22T15:40:56Z",
        "app": "shop",
        "playbook": "deploy",
        "result": "failure",
        "by": "alice@laptop",
        "from": LIVE,
        "to": NEW,
        "hosts": [{"host": "web1", "from": LIVE, "to": NEW}, {"host": "web2", "from": LIVE, "to": NEW}],
        "seconds": 14,
        "reason": "why",
    }
    assert [(message["app"], message["from"]) for message in found] == [("shop", LIVE), ("blog", None)]
    assert messages([], "success", "", NOW) == []


def test_what_differs_between_hosts_is_told_of_each_alone() -> None:
    found = messages([entry("web1"), entry("web2", before=None, release=OLD)], "success", "", NOW)[0]
    assert (found["from"], found["to"]) == (None, None)
    assert [(host["from"], host["to"]) for host in found["hosts"]] == [(LIVE, NEW), (None, OLD)]


def test_the_documentation_has_every_key_and_value() -> None:
    section = (ROOT / "docs/howto.md").read_text(encoding="utf-8").partition("\n## Tell others of a rollout\n")[2]
    section = section.partition("\n## ")[0]
    keys = {*MESSAGE} - {"hosts"} | {f"hosts[].{key}" for key in MESSAGE["hosts"][0]}
    assert set(re.findall(r"(?m)^\| `([^`]+)` \|", section.partition("| key |")[2].partition("\n\n")[0])) == keys
    for word in (*RESULTS, *KINDS, *WEBHOOK):
        assert f"`{word}`" in section


@pytest.mark.parametrize(
    ("playbook", "result", "kinds"),
    [
        ("deploy", "success", {"success"}),
        ("deploy", "failure", {"failure"}),
        ("deploy", "went back", {"failure", "rollback"}),
        ("rollback", "success", {"success", "rollback"}),
        ("rollback", "failure", {"failure"}),
        ("rollback", "went back", {"failure", "rollback"}),
    ],
)
def test_kinds(playbook: str, result: str, kinds: set[str]) -> None:
    assert kinds_of({**MESSAGE, "playbook": playbook, "result": result}) == kinds


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({}, f"*shop*: deployed `{NEW}` on 2 hosts in 14 s, by alice@laptop; before: `{LIVE}`"),
        ({"from": None}, f"*shop*: deployed `{NEW}` on 2 hosts in 14 s, by alice@laptop; before: none, or several"),
        (
            {"playbook": "rollback", "hosts": [{}], "to": None},
            f"*shop*: rolled back to several releases on 1 host in 14 s, by alice@laptop; before: `{LIVE}`",
        ),
        (
            {"result": "failure", "reason": "web1: a <b> & c\nd"},
            f"*shop*: the deploy of `{NEW}` on 2 hosts failed after 14 s, by alice@laptop\n"
            "> web1: a &lt;b&gt; &amp; c\n> d",
        ),
        (
            {"result": "went back", "playbook": "rollback"},
            f"*shop*: the rollback to `{NEW}` on 2 hosts failed after 14 s, by alice@laptop, and went back to `{LIVE}`",
        ),
        (
            {"result": "went back", "from": None},
            f"*shop*: the deploy of `{NEW}` on 2 hosts failed after 14 s, by alice@laptop, "
            "and went back to what was live before",
        ),
    ],
)
def test_in_words(changes: dict[str, t.Any], text: str) -> None:
    assert in_words({**MESSAGE, **changes}) == text


@pytest.mark.parametrize(
    ("failures", "reason"),
    [
        ({}, ""),
        ({"web1": {}}, ""),
        ({"web1": {}, "web2": {"msg": " no disk\n"}}, "web2: no disk"),
        (
            {"web1": {"results": [{"failed": False, "msg": "fine"}, {"failed": True, "msg": "bad"}], "msg": "All"}},
            "web1: bad",
        ),
        ({"web1": {"msg": "a\nIts answer: b\nHint: c\nd"}}, "web1: a\nIts answer: b\nHint: c"),
        ({"web1": {"msg": f"a\nLast lines of shop@1.service:\n  {SECRET}"}}, "web1: a"),
        ({"web1": {"msg": f"a\nIts last lines:\n  {SECRET}"}}, "web1: a"),
        ({"web1": {"msg": "x" * 1000}}, f"web1: {'x' * 494}"),
    ],
)
def test_reasons(failures: dict[str, dict[str, t.Any]], reason: str) -> None:
    assert reason_of(failures) == reason


# -- telling --------------------------------------------------------------------------------------------------------


class _Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        t.cast("Receiver", self.server).got.append((self.path, dict(self.headers), json.loads(body)))
        code = t.cast("Receiver", self.server).code
        self.send_response(code)
        if code == 302:
            self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self) -> None:
        t.cast("Receiver", self.server).got.append((self.path, {}, None))

    def log_message(self, *_arguments: t.Any) -> None:
        """Say nothing."""


class Receiver(http.server.ThreadingHTTPServer):
    """What is told of rollouts."""

    code = 200

    def __init__(self, certificate: Path | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Receiver)
        self.got: list[tuple[str, dict[str, str], t.Any]] = []
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self.socket = context.wrap_socket(self.socket, server_side=True)

    def handle_error(self, *_arguments: t.Any) -> None:
        """Say nothing: a client that goes away is no error."""


@contextlib.contextmanager
def receiving(certificate: Path | None = None) -> Iterator[Receiver]:
    server = Receiver(certificate)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def webhook(port: int, scheme: str = "http", **options: t.Any) -> Settings:
    return {"url": f"{scheme}://127.0.0.1:{port}/services/{SECRET}?key={SECRET}", **DEFAULTS, **options}


def test_messages_arrive() -> None:
    failed = {**MESSAGE, "app": "blog", "result": "failure"}
    with receiving() as server:
        port = server.server_address[1]
        hooks = [
            webhook(port, headers={"Authorization": "Bearer x", "user-agent": "us"}),
            webhook(port, format="slack", on=["failure"]),
            webhook(port, on=["rollback"]),
        ]
        assert tell(hooks, [MESSAGE, failed]) == []
    assert sorted(body.get("app", "slack") for _path, _headers, body in server.got) == ["blog", "shop", "slack"]
    paths, headers, bodies = zip(*server.got, strict=True)
    assert set(paths) == {f"/services/{SECRET}?key={SECRET}"}
    assert {each["Content-Type"] for each in headers} == {"application/json"}
    assert [each.get("Authorization") for each in headers].count("Bearer x") == 2
    assert MESSAGE in bodies
    assert failed in bodies
    assert {"text": in_words(failed)} in bodies


def told(problem: str, url: str) -> list[str]:
    return [f"fastapi_webhooks[1] ({url}) was not told of the rollout of shop: {problem}"]


@pytest.mark.parametrize("code", [500, 404, 302, 204])
def test_answers(code: int) -> None:
    with receiving() as server:
        server.code = code
        port = server.server_address[1]
        found = tell([webhook(port)], [MESSAGE])
    assert found == ([] if code == 204 else told(f"it answered {code}", f"http://127.0.0.1:{port}"))
    # Nobody else is told what is meant for one.
    assert len(server.got) == 1


def test_a_receiver_that_is_gone() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert tell([webhook(port)], [MESSAGE]) == told("Connection refused", f"http://127.0.0.1:{port}")


@pytest.mark.slow
@pytest.mark.parametrize("answers", [b"", b"HTTP/1.1 200 OK\r\nX: 1\r\n"])
def test_a_receiver_that_hangs_costs_its_timeout_and_no_more(answers: bytes) -> None:
    stop = threading.Event()

    def trickle() -> None:
        # A byte now and then is a sign of life, and would keep a request waiting for ever.
        connection, _address = listener.accept()
        with connection, contextlib.suppress(OSError):
            for number in range(len(answers)):
                connection.sendall(answers[number : number + 1])
                stop.wait(0.2)
            stop.wait(10)

    with socket.create_server(("127.0.0.1", 0)) as listener, receiving() as server:
        thread = threading.Thread(target=trickle)
        thread.start()
        port = listener.getsockname()[1]
        started = time.monotonic()
        found = tell([webhook(port, timeout=1), webhook(server.server_address[1])], [MESSAGE])
        seconds = time.monotonic() - started
        stop.set()
        thread.join()
    assert found == told("no answer within 1 s", f"http://127.0.0.1:{port}")
    assert len(server.got) == 1, "others are told all the same"
    assert 0.9 < seconds < 2


@pytest.mark.slow
def test_a_name_server_that_hangs_costs_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(*_arguments: t.Any, **_options: t.Any) -> t.NoReturn:
        time.sleep(3)
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    started = time.monotonic()
    found = tell([webhook(80, timeout=1)], [MESSAGE])
    assert found == told("no answer within 1 s", "http://127.0.0.1:80")
    assert time.monotonic() - started < 2


def test_a_name_that_does_not_resolve() -> None:
    hook = {**webhook(80), "url": f"https://nobody.invalid/{SECRET}"}
    found = tell([hook], [MESSAGE])
    assert found[0].startswith(told("its name does not resolve: ", "https://nobody.invalid")[0])
    assert SECRET not in found[0]


def test_a_certificate_that_is_not_trusted(tmp_path: Path) -> None:
    key = a_key()
    certificate = tmp_path / "a.pem"
    certificate.write_bytes(key_pem(key) + certificate_pem(key, ["a.example"]))
    with receiving(certificate) as server:
        port = server.server_address[1]
        found = tell([webhook(port, "https")], [MESSAGE])
    assert found[0].startswith(told("its certificate is not trusted: ", f"https://127.0.0.1:{port}")[0])
    assert server.got == []


def test_a_receiver_that_speaks_something_else() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _address = listener.accept()
            with connection:
                connection.recv(10000)
                connection.sendall(b"SSH-2.0-x\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        port = listener.getsockname()[1]
        assert tell([webhook(port)], [MESSAGE]) == told("BadStatusLine", f"http://127.0.0.1:{port}")
        thread.join()


def test_urls_are_shown_without_what_may_be_secret() -> None:
    assert shown(URL) == "https://hooks.example.com"
    assert shown(f"http://[::1]:8080?{SECRET}#{SECRET}") == "http://[::1]:8080"
