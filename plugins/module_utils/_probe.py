# Copyright (c) 2026, paddock.fastapi contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One HTTP request as a health check makes it, over a Unix socket or through the public listener.

Standard library only, because it runs on the target.
"""

from __future__ import annotations

import http.client
import json
import re
import socket
import ssl
import time
import typing as t
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

RELEASE_HEADER = "X-Paddock-Release"
# Enough to look for a text in, and to show: health answers are small.
BODY_LIMIT = 64 * 1024
# An answer that takes longer is not healthy, unless the app may take more. While a server restarts, a connection waits
# in its socket for ever.
ATTEMPT_SECONDS = 3.0
# Of what came and is wrong, as much is told.
TOLD = 100
FAMILIES = {"any": socket.AF_UNSPEC, "ipv4": socket.AF_INET, "ipv6": socket.AF_INET6}
LOOPBACK = {"any": "127.0.0.1", "ipv4": "127.0.0.1", "ipv6": "::1"}


@dataclass(frozen=True)
class Target:
    """Where to ask: over `socket`, or at `address`:`port`, with TLS if `tls`.

    address: this host's own if it is None. family: ipv4 or ipv6 for addresses of that kind alone, or any.
    """

    host: str
    socket: str | None = None
    address: str | None = None
    family: str = "any"
    port: int = 443
    tls: bool = True
    certificate: str | None = None

    def __str__(self) -> str:
        if self.socket:
            return f"unix:{self.socket}"
        return f"{'https' if self.tls else 'http'}://{self.host}:{self.port}"


@dataclass(frozen=True)
class Expectation:
    """What a healthy answer is: its status, body, headers and time, and the release that gave it.

    json: values by dotted path. headers: a text that each of them contains. See the options of an app's `health`.
    """

    path: str = "/healthz"
    status: int = 200
    contains: str | None = None
    pattern: str | None = None
    json: Mapping[str, t.Any] = field(default_factory=dict)
    headers: Mapping[str, t.Any] = field(default_factory=dict)
    max_seconds: float | None = None
    release: str | None = None

    @classmethod
    def of(cls, health: Mapping[str, t.Any], release: str | None, *, public: bool) -> Expectation:
        """Expect what the settings of an app say. public: where its paths begin with its root_path."""
        return cls(
            path=health["public_path"] if public else health["path"],
            release=release,
            **{name: health[name] for name in ("status", "contains", "pattern", "json", "headers", "max_seconds")},
        )

    @property
    def patience(self) -> float:
        """How many seconds an answer is waited for: one that comes too late is told from none."""
        return max(ATTEMPT_SECONDS, self.max_seconds or 0)


@dataclass(frozen=True)
class Answer:
    """What came back: `problem` is empty if it was as expected."""

    problem: str = ""
    status: int | None = None
    body: str = ""
    release: str | None = None
    seconds: float = 0.0

    def __str__(self) -> str:
        """Say what was wrong with it, and what it was."""
        said = " ".join(self.body.split())[:300]
        return f"{self.problem}\nIts answer: {said}" if said else self.problem


class _Connection(http.client.HTTPConnection):
    def __init__(self, target: Target, timeout: float) -> None:
        super().__init__(target.host, timeout=timeout)
        self._target = target

    def connect(self) -> None:
        """Connect to where the target says, not to where its name resolves."""
        target = self._target
        if target.socket:
            self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.sock.settimeout(self.timeout)
            self.sock.connect(target.socket)
            return
        self.sock = _connect(target, self.timeout)
        if target.tls:
            self.sock = _tls(target.certificate).wrap_socket(self.sock, server_hostname=target.host)


def _connect(target: Target, timeout: float | None) -> socket.socket:
    """Connect to the first address of the family that somebody listens at."""
    address = target.address or LOOPBACK[target.family]
    try:
        found = socket.getaddrinfo(address, target.port, FAMILIES[target.family], socket.SOCK_STREAM)
    except socket.gaierror as error:
        kind = "" if target.family == "any" else f" of the family {target.family}"
        raise ConnectionError(f"{address} has no address{kind}: {error.strerror}") from None
    problem: OSError = ConnectionError(f"{address} has no address")
    for family, *_rest, where in found:
        connection = socket.socket(family, socket.SOCK_STREAM)
        connection.settimeout(timeout)
        try:
            connection.connect(where)
        except OSError as error:
            connection.close()
            problem = error
        else:
            return connection
    raise problem


def _tls(certificate: str | None) -> ssl.SSLContext:
    """Trust exactly the certificate that the host is configured to show, whoever signed it."""
    context = ssl.create_default_context(cafile=certificate)
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    # Python 3.13 also wants extensions that private authorities often leave out, which no browser asks for.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def ask(target: Target, expected: Expectation, timeout: float) -> Answer:
    """Make one request and compare its answer with what is expected. Never raises for what a server does."""
    started = time.monotonic()
    connection = _Connection(target, timeout)
    headers = {"User-Agent": "paddock-probe", "Connection": "close"}
    if target.socket:
        # As NGINX would: an app that redirects plain HTTP, or cannot do with a proxy, shows it before it gets traffic.
        scheme = "https" if target.tls else "http"
        forwarded = {"For": "127.0.0.1", "Proto": scheme, "Host": target.host}
        headers |= {f"X-Forwarded-{name}": value for name, value in forwarded.items()}
    try:
        connection.request("GET", expected.path, headers=headers)
        response = connection.getresponse()
        body = response.read(BODY_LIMIT).decode(errors="replace")
    except TimeoutError:
        return Answer(problem=f"no answer within {round(timeout, 1):g} s", seconds=time.monotonic() - started)
    except (OSError, http.client.HTTPException) as error:
        return Answer(problem=f"{type(error).__name__}: {error}", seconds=time.monotonic() - started)
    finally:
        connection.close()
    seconds = time.monotonic() - started
    problem = next((f"{expected.path} {complaint}" for complaint in _complaints(expected, response, body, seconds)), "")
    return Answer(problem, response.status, body, response.getheader(RELEASE_HEADER), seconds)


def _complaints(expected: Expectation, response: http.client.HTTPResponse, body: str, seconds: float) -> Iterator[str]:
    """Say what is wrong with an answer, what tells most first."""
    answered = f"answered {response.status}"
    if response.status != expected.status:
        yield f"{answered} instead of {expected.status}"
    if expected.contains is not None and expected.contains not in body:
        yield f"{answered}, but its body lacks {expected.contains!r}"
    if expected.pattern is not None and not re.search(expected.pattern, body):
        yield f"{answered}, but its body does not match {expected.pattern!r}"
    if expected.json and (wrong := _compare_json(expected.json, body)):
        yield f"{answered}, but {wrong}"
    for name, text in expected.headers.items():
        value = response.getheader(name)
        wanted = "" if text is None else str(text)
        if value is None:
            yield f"{answered}, but without the header {name}"
        elif wanted not in value:
            yield f"{answered}, but its header {name} is {_shortened(repr(value))} and lacks {wanted!r}"
    if expected.max_seconds is not None and seconds > expected.max_seconds:
        yield f"{answered} after {seconds:.3g} s instead of {expected.max_seconds:g} s at most"
    release = response.getheader(RELEASE_HEADER)
    if expected.release is not None and release != expected.release:
        yield f"was answered by release {release or 'none of ours'} instead of {expected.release}"


def _compare_json(expected: Mapping[str, t.Any], body: str) -> str:
    try:
        document = json.loads(body)
    except ValueError:
        return "its body is not JSON"
    for path, wanted in expected.items():
        found = document
        for key in path.split("."):
            if isinstance(found, dict) and key in found:
                found = found[key]
            elif isinstance(found, list) and key.isdecimal() and int(key) < len(found):
                found = found[int(key)]
            else:
                return f"its JSON has no {path}, which should be {_as_json(wanted)}"
        # To Python, true is 1.
        if found != wanted or isinstance(found, bool) is not isinstance(wanted, bool):
            return f"{path} in its JSON is {_as_json(found)} instead of {_as_json(wanted)}"
    return ""


def _as_json(value: t.Any) -> str:
    return _shortened(json.dumps(value, ensure_ascii=False))


def _shortened(text: str) -> str:
    return text if len(text) <= TOLD else f"{text[:TOLD]}…"


def until_healthy(
    target: Target,
    expected: Expectation,
    *,
    timeout: float,
    successes: int,
    interval: float = 0.1,
    give_up: Callable[[Answer], str] | None = None,
) -> tuple[bool, int, Answer]:
    """Ask until `successes` answers in a row are right, for `timeout` seconds at most.

    give_up: told each wrong answer; a text it returns is a reason to stop at once.
    Returns whether it is healthy, how many requests were made, and the last answer.
    """
    deadline = time.monotonic() + timeout
    asked = row = 0
    answer = Answer()
    while True:
        allowed = max(0.5, min(expected.patience, deadline - time.monotonic()))
        before, answer = answer, ask(target, expected, allowed)
        asked += 1
        if answer.seconds >= allowed and allowed < expected.patience and before.problem:
            # Cut short by the end of the time, which is not what is wrong with it.
            answer = before
        row = 0 if answer.problem else row + 1
        if row >= successes:
            return True, asked, answer
        if answer.problem and give_up and (reason := give_up(answer)):
            return False, asked, _with_problem(answer, reason)
        if time.monotonic() + interval >= deadline:
            short = f"only {row} right answers in a row within {timeout:g} s instead of {successes}"
            return False, asked, answer if answer.problem else _with_problem(answer, short)
        if answer.problem:
            time.sleep(interval)


def _with_problem(answer: Answer, problem: str) -> Answer:
    return Answer(problem, answer.status, answer.body, answer.release, answer.seconds)


def as_result(answer: Answer) -> dict[str, t.Any]:
    """Describe an answer for a module's result."""
    return {"status": answer.status, "body": answer.body[:2000], "release": answer.release, "problem": answer.problem}
