# Copyright (c) 2026, paddock.fastapi contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One HTTP request as a health check makes it, over a Unix socket or through the public listener.

Standard library only, because it runs on the target.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import time
import typing as t
from collections.abc import Callable
from dataclasses import dataclass

RELEASE_HEADER = "X-Paddock-Release"
# Enough to look for a text in, and to show: health answers are small.
BODY_LIMIT = 64 * 1024
# An answer that takes longer is not healthy. While a server restarts, a connection waits in its socket for ever.
ATTEMPT_SECONDS = 3.0


@dataclass(frozen=True)
class Target:
    """Where to ask: over `socket`, or at `address`:`port`, with TLS if `tls`."""

    host: str
    socket: str | None = None
    address: str = "127.0.0.1"
    port: int = 443
    tls: bool = True
    certificate: str | None = None

    def __str__(self) -> str:
        if self.socket:
            return f"unix:{self.socket}"
        return f"{'https' if self.tls else 'http'}://{self.host}:{self.port}"


@dataclass(frozen=True)
class Expectation:
    """What a healthy answer is: its status, a text in its body, the release that gave it."""

    path: str = "/healthz"
    status: int = 200
    contains: str | None = None
    release: str | None = None


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
        self.sock = socket.create_connection((target.address, target.port), self.timeout)
        if target.tls:
            self.sock = _tls(target.certificate).wrap_socket(self.sock, server_hostname=target.host)


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
        release = response.getheader(RELEASE_HEADER)
        status = response.status
    except TimeoutError:
        return Answer(problem=f"no answer within {round(timeout, 1):g} s", seconds=time.monotonic() - started)
    except (OSError, http.client.HTTPException) as error:
        return Answer(problem=f"{type(error).__name__}: {error}", seconds=time.monotonic() - started)
    finally:
        connection.close()
    return Answer(_compare(expected, status, body, release), status, body, release, time.monotonic() - started)


def _compare(expected: Expectation, status: int, body: str, release: str | None) -> str:
    if status != expected.status:
        return f"{expected.path} answered {status} instead of {expected.status}"
    if expected.contains is not None and expected.contains not in body:
        return f"{expected.path} answered {status}, but its body lacks {expected.contains!r}"
    if expected.release is not None and release != expected.release:
        return f"{expected.path} was answered by release {release or 'none of ours'} instead of {expected.release}"
    return ""


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
        allowed = max(0.5, min(ATTEMPT_SECONDS, deadline - time.monotonic()))
        before, answer = answer, ask(target, expected, allowed)
        asked += 1
        if answer.seconds >= allowed and allowed < ATTEMPT_SECONDS and before.problem:
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
