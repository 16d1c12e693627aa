# Copyright (c) 2026, paddock.fastapi contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of what known messages mean."""

from __future__ import annotations

import re

import pytest
from ansible_collections.paddock.fastapi.plugins.module_utils._hints import HINTS, hint, report
from ansible_collections.paddock.fastapi.tests.unit.helpers import NEW

MESSAGES: list[tuple[str, str]] = [
    (
        "ModuleNotFoundError: No module named 'shop.db'",
        "shop.db is not installed in the release: is it in the requirements, and is app_dir right?",
    ),
    ("/srv/shop/venv/bin/python: No module named gunicorn", "gunicorn is not installed in the release: "),
    ("Failed to find attribute 'application' in 'shop.main'.", "shop.main has no application: "),
    ("Failed to find attribute 'create_app()' in 'shop.main'.", "shop.main has no create_app(): "),
    ('ERROR:    Error loading ASGI app. Attribute "api" not found in module "shop.main".', "shop.main has no api: "),
    ("gunicorn.errors.AppImportError: Application object must be callable.", "the attribute in option module is no "),
    (
        '  File "uvicorn/middleware/asgi2.py", line 14, in __call__\n    instance = self.app(scope)\n'
        "TypeError: 'dict' object is not callable",
        "the attribute in option module is no ASGI app; ",
    ),
    (
        "TypeError: Flask.__call__() takes 3 positional arguments but 4 were given",
        "this looks like a WSGI app (Flask, Django's wsgi.py); ",
    ),
    ("TypeError: X.__call__() missing 1 required positional argument: 'start_response'", "this looks like a WSGI app"),
    ("KeyError: 'CREDENTIALS_DIRECTORY'", "the app wants a credential that it does not have: "),
    (
        f"FileNotFoundError: [Errno 2] No such file or directory: '/run/credentials/shop@{NEW}.service/token'",
        "the app wants a credential that it does not have: ",
    ),
    ("KeyError: 'DATABASE_URL'", "the app wants the environment variable DATABASE_URL: "),
    ("sqlite3.OperationalError: unable to open database file", "SQLite cannot open its file: "),
    ("OSError: [Errno 30] Read-only file system: '/srv/shop/x.log'", "/srv/shop/x.log is not writable for the app: "),
    (
        "shop@x.service: Failed to set up mount namespacing: /run/systemd/unit-root/data: No such file or directory",
        "there is no folder /data on the host: ",
    ),
    ("Failed to set up mount namespacing: /data/a: No such file or directory", "there is no folder /data/a on the "),
    (
        "shop@x.service: Failed to determine supplementary groups: Operation not permitted",
        "a group of sandbox.supplementary_groups is not there: ",
    ),
    ("MemoryError: Cannot allocate write+execute memory for ffi.callback().", "the app makes code at run time: "),
    ("LLVM ERROR: Unable to allocate section memory!", "the app makes code at run time: "),
    ("OSError: [Errno 97] Address family not supported by protocol", "the app wants a socket of an unusual kind: "),
    ("OSError: [Errno 98] Address already in use", "another process has this address; "),
    ("error: failed to create directory: No space left on device (os error 28)", "the disk is full: "),
    ("  × Failed to download `h11==0.16.0`\n  ╰─▶ Hash mismatch for `h11==0.16.0`", "a downloaded file is not the one"),
    (
        "error: In `--require-hashes` mode, all requirements must have a hash, but none were provided for: h11==0.16.0",
        "every requirement needs == and a hash: ",
    ),
    (
        "error: The lockfile at `uv.lock` needs to be updated, but `--locked` was provided.",
        "uv.lock does not fit pyproject.toml: ",
    ),
    (
        "  × No solution found when resolving dependencies:\n  ╰─▶ Because Python 3.11.2 does not satisfy "
        "Python>=3.13 and shop==0.1.0 depends on Python>=3.13, we can conclude",
        "the interpreter does not fit: ",
    ),
    (
        "error: Failed to fetch: `https://index.example.com/simple/h11/`\n  Caused by: invalid peer certificate: "
        "UnknownIssuer",
        "the index's certificate is not trusted: ",
    ),
    (
        "error: Failed to fetch: `https://index.example.com/simple/h11/`\n  Caused by: error sending request for url\n"
        "  Caused by: tcp connect error\n  Caused by: Connection refused (os error 111)",
        "the package index is not reachable from the host: ",
    ),
    (
        "  Caused by: dns error\n  Caused by: failed to lookup address information: Name or service not known",
        "the package index is not reachable from the host: ",
    ),
    (
        "  × No solution found when resolving dependencies:\n  ╰─▶ Because h12 was not found in the package registry",
        "a requirement cannot be met: ",
    ),
    (
        "Because there is no version of h11==99 and you require h11==99, we can conclude that your requirements are "
        "unsatisfiable.",
        "a requirement cannot be met: ",
    ),
    (
        'psycopg.OperationalError: connection failed: connection to server at "10.0.0.5", port 5432 failed: Connection '
        "refused\n\tIs the server running on that host and accepting TCP/IP connections?",
        "something that the app needs (its database, for one) does not answer: ",
    ),
    ("ConnectionRefusedError: [Errno 111] Connect call failed ('127.0.0.1', 5432)", "something that the app needs "),
    ("socket.gaierror: [Errno -3] Temporary failure in name resolution", "something that the app needs "),
    ("[INFO] Using worker: Worker\n[INFO] Booting worker with pid: 7", "importing the app takes too long: "),
    (
        "[INFO] Started server process [7]\n[INFO] Waiting for application startup.",
        "the app's lifespan takes too long: ",
    ),
    (
        "[ERROR] Worker failed\ngunicorn.errors.HaltServer: <HaltServer 'Worker failed to boot.' 3>",
        "the app fails while it starts: ",
    ),
]


@pytest.mark.parametrize(("message", "advice"), MESSAGES)
def test_known_messages(message: str, advice: str) -> None:
    assert hint(message.splitlines()).startswith(advice)


def test_every_hint_has_a_message_here() -> None:
    given = [hint(message.splitlines()) for message, _advice in MESSAGES]
    patterns = [re.sub(r"\\\{\d\\\}", ".+", re.escape(advice)) for _pattern, advice in HINTS]
    assert [pattern for pattern in patterns if not any(re.fullmatch(pattern, text) for text in given)] == []


@pytest.mark.parametrize(
    "message",
    [
        "",
        "[INFO] Booting worker with pid: 7\n[INFO] Waiting for application startup.\n[INFO] Application started.",
        "INFO:     Application startup complete.",
        "TypeError: 'NoneType' object is not callable",
        "KeyError: 'id'",
    ],
)
def test_no_hint_is_better_than_a_wrong_one(message: str) -> None:
    assert hint([message]) == ""


def test_a_report_begins_with_the_reason() -> None:
    lines = ["Traceback:  ", "", "KeyError: 'SECRET'"]
    assert report("It failed", lines, "Its last lines") == (
        "It failed\n"
        "Hint: the app wants the environment variable SECRET: set it in the app's option env.\n"
        "Its last lines:\n"
        "  Traceback:\n"
        "  KeyError: 'SECRET'"
    )


def test_a_hint_that_asks_ends_as_a_question() -> None:
    assert "\nHint: x is not installed in the release: is it in the requirements, and is app_dir right?\n" in report(
        "It failed", ["No module named 'x'"], "Its last lines"
    )


def test_a_report_without_lines() -> None:
    assert report("It failed", [" "], "Its last lines") == "It failed"
