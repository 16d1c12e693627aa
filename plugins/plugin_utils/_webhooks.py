# Copyright (c) 2026, paddock.fastapi contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tell others of a rollout: who is told, what, and that nothing but a warning comes of it if that fails."""

from __future__ import annotations

import datetime
import difflib
import http.client
import json
import re
import socket
import ssl
import threading
import time
import typing as t
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping, Sequence

from ansible_collections.paddock.fastapi.plugins.module_utils._settings import (
    HEADER_NAME,
    Option,
    Problem,
    Settings,
    SettingsError,
    read_table,
)
from ansible_collections.paddock.fastapi.plugins.plugin_utils._inventory import read_list

# Where users list who is to be told.
VARIABLE = "fastapi_webhooks"
# The schema's version: it grows when a key changes its meaning or goes, not when one is added.
VERSION = 1
SUCCESS, FAILURE, WENT_BACK = RESULTS = ("success", "failure", "went back")
# What one may want to be told of.
KINDS = ("success", "failure", "rollback")
# Of an error, what tells most: its first lines, without those of the app's log, which may hold anything.
REASON_LINES = 3
REASON_LENGTH = 500
LOG = re.compile(r"(Last lines of |Its last lines)")
URL = re.compile(r"https?://[\x21-\x7e]+")
# What a header can hold.
HEADER_VALUE = re.compile(r"[\x20-\x7e]+")

Message = dict[str, t.Any]


def _check_url(value: str) -> str | None:
    """Say what is wrong with a URL without showing it, as those of many services are secrets."""
    try:
        parts = urllib.parse.urlsplit(value)
        usable = bool(URL.fullmatch(value) and parts.hostname and parts.port != 0)
    except ValueError:
        usable = False
    if not usable:
        return "it is not a URL; write one such as https://hooks.example.com/rollouts"
    if "@" in parts.netloc:
        return "it has a user or password in it; write them into headers, as Authorization"
    return None


def _check_kinds(values: list[str]) -> str | None:
    if not values:
        return f"is empty; choose of {', '.join(KINDS)}, or leave it out for all"
    wrong = next((value for value in values if value not in KINDS), None)
    if wrong is None:
        return None
    close = difflib.get_close_matches(wrong, KINDS, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"choose of {', '.join(KINDS)}"
    return f"{wrong!r} is not known; {hint}"


def _check_headers(values: Mapping[str, t.Any]) -> str | None:
    for name, value in values.items():
        if not HEADER_NAME.fullmatch(str(name)):
            return f"{name!r} is not the name of a header; use letters, digits and dashes"
        if not isinstance(value, str) or not HEADER_VALUE.fullmatch(value):
            return f"{name} is empty, no text, or has characters that no header can hold; put its value in quotes"
    return None


WEBHOOK = {
    "url": Option("str", "Where to send it.", required=True, secret=True, check=_check_url),
    "format": Option("str", "`json`, or `slack` for what is compatible with it.", "json", choices=("json", "slack")),
    "on": Option("list", "What to tell of.", list(KINDS), check=_check_kinds),
    "headers": Option("map", "Further headers of the request.", {}, secret=True, check=_check_headers),
    "timeout": Option("int", "Seconds that it may take.", 5, minimum=1, maximum=60),
}


def read_webhooks(task_vars: Mapping[str, t.Any], template: Callable[[t.Any], t.Any]) -> list[Settings]:
    """Return who is to be told, each option templated by itself and checked.

    Raises SettingsError with everything that is wrong.
    """
    if task_vars.get(VARIABLE) is None:
        return []
    found, problems = read_list(
        task_vars[VARIABLE], template, VARIABLE, lambda number, _webhook: ("", f"{VARIABLE}[{number}]")
    )
    if not isinstance(found, list):
        problems.append(Problem("", VARIABLE, "is not a list; begin each webhook with '- url: …'"))
        found = []
    webhooks = []
    for number, entry in enumerate(found, start=1):
        where = f"{VARIABLE}[{number}]"
        if not isinstance(entry, Mapping):
            problems.append(Problem("", where, "is not a mapping of options"))
            continue
        values, wrong = read_table("", entry, WEBHOOK, f"{where}.")
        webhooks.append(values)
        # What could not be templated has been told of.
        problems += [each for each in wrong if each.option not in {problem.option for problem in problems}]
    if problems:
        raise SettingsError(problems)
    return webhooks


def shown(url: str) -> str:
    """Return as much of a URL as may be seen."""
    parts = urllib.parse.urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


# -- what is told ---------------------------------------------------------------------------------------------------


def messages(
    rolled_out: Sequence[Mapping[str, t.Any]], result: str, reason: str, now: datetime.datetime
) -> list[Message]:
    """Return one message for each app.

    rolled_out: host, app, before, release and lock, for each host and app that is rolled out.
    """
    found = []
    for app in dict.fromkeys(entry["app"] for entry in rolled_out):
        hosts = [
            {"host": entry["host"], "from": entry["before"], "to": entry["release"]}
            for entry in rolled_out
            if entry["app"] == app
        ]
        lock = next(entry["lock"] for entry in rolled_out if entry["app"] == app)
        since = datetime.datetime.strptime(lock["since"], "%Y-%m-%d %H:%M:%S UTC").replace(tzinfo=datetime.UTC)
        found.append(
            {
                "version": VERSION,
                "time": f"{now:%Y-%m-%dT%H:%M:%SZ}",
                "app": app,
                "playbook": lock["playbook"],
                "result": result,
                "by": lock["by"],
                "from": _common(host["from"] for host in hosts),
                "to": _common(host["to"] for host in hosts),
                "hosts": hosts,
                "seconds": max(0, round((now - since).total_seconds())),
                "reason": reason,
            }
        )
    return found


def _common(values: t.Iterable[str | None]) -> str | None:
    """Return what all have, if they have the same."""
    different = set(values)
    return different.pop() if len(different) == 1 else None


def reason_of(failures: Mapping[str, Mapping[str, t.Any]]) -> str:
    """Say why a rollout failed: what the first host says that has something to say. failures: results by host."""
    for host, failed in failures.items():
        results = [each for each in failed.get("results") or [failed] if each.get("failed", True)]
        for text in (str(result.get("msg") or "").strip() for result in results):
            if text:
                lines = text.splitlines()
                end = next((number for number, line in enumerate(lines) if LOG.match(line)), len(lines))
                told = "\n".join(lines[: min(end, REASON_LINES)])
                return f"{host}: {told}"[:REASON_LENGTH]
    return ""


def kinds_of(message: Message) -> set[str]:
    """Tell what a message is of: a rollback that succeeds is both, and so is a failure that was undone."""
    kinds = {SUCCESS: {"success"}, FAILURE: {"failure"}, WENT_BACK: {"failure", "rollback"}}[message["result"]]
    return kinds | ({"rollback"} if message["playbook"] == "rollback" and message["result"] == SUCCESS else set())


def in_words(message: Message) -> str:
    """Write a message for people, with Slack's marks."""
    number = len(message["hosts"])
    on = f"{number} host{'' if number == 1 else 's'}"
    after = f"{message['seconds']} s, by {message['by']}"
    to = f"`{message['to']}`" if message["to"] else "several releases"
    before = f"`{message['from']}`" if message["from"] else "what was live before"
    doing, done = {"deploy": ("the deploy of", "deployed"), "rollback": ("the rollback to", "rolled back to")}[
        message["playbook"]
    ]
    text = {
        SUCCESS: f"{done} {to} on {on} in {after}; before: {before if message['from'] else 'none, or several'}",
        FAILURE: f"{doing} {to} on {on} failed after {after}",
        WENT_BACK: f"{doing} {to} on {on} failed after {after}, and went back to {before}",
    }[message["result"]]
    quoted = "".join(f"\n> {_escaped(line)}" for line in message["reason"].splitlines())
    return f"*{_escaped(message['app'])}*: {text}{quoted}"


def _escaped(text: str) -> str:
    for mark, name in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        text = text.replace(mark, name)
    return text


# -- telling --------------------------------------------------------------------------------------------------------


class _Stay(urllib.request.HTTPRedirectHandler):
    """Follow no redirect: what is secret is for one server alone."""

    def redirect_request(self, *_arguments: t.Any) -> None:
        return None


def tell(webhooks: Sequence[Settings], told: Sequence[Message]) -> list[str]:
    """Send every message to all who want it, all at a time, and return what went wrong.

    It takes no longer than the longest of their time-outs, whatever a name server, proxy or receiver does.
    """
    wanted = [
        (number, webhook, message)
        for number, webhook in enumerate(webhooks, start=1)
        for message in told
        if kinds_of(message) & set(webhook["on"])
    ]
    problems: dict[int, str] = {}
    threads = []
    for place, (_number, webhook, message) in enumerate(wanted):
        # A thread that does not end is left behind: nobody waits for it, at the end of the process neither.
        threads.append(threading.Thread(target=_deliver, args=(webhook, message, problems, place), daemon=True))
        threads[-1].start()
    started = time.monotonic()
    found = []
    for place, (number, webhook, message) in enumerate(wanted):
        threads[place].join(max(0.0, started + webhook["timeout"] - time.monotonic()))
        problem = problems.get(place, f"no answer within {webhook['timeout']} s")
        if problem:
            where = f"{VARIABLE}[{number}] ({shown(webhook['url'])})"
            found.append(f"{where} was not told of the rollout of {message['app']}: {problem}")
    return found


def _deliver(webhook: Settings, message: Message, problems: dict[int, str], place: int) -> None:
    body = {"text": in_words(message)} if webhook["format"] == "slack" else message
    # Errors are told in words of our own: those of the library may name the URL.
    try:
        request = urllib.request.Request(  # noqa: S310 - its scheme was checked
            webhook["url"],
            json.dumps(body).encode(),
            {"User-Agent": "paddock.fastapi", **webhook["headers"], "Content-Type": "application/json"},
            method="POST",
        )
        with urllib.request.build_opener(_Stay).open(request, timeout=webhook["timeout"]):
            problems[place] = ""
    except urllib.error.HTTPError as error:
        problems[place] = f"it answered {error.code}"
    except (OSError, http.client.HTTPException, ValueError) as error:
        problems[place] = _in_short(error, webhook["timeout"])


def _in_short(error: BaseException, timeout: int) -> str:
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, TimeoutError):
        return f"no answer within {timeout} s"
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {cause.verify_message}"
    if isinstance(cause, socket.gaierror):
        return f"its name does not resolve: {cause.strerror}"
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    return type(cause).__name__
