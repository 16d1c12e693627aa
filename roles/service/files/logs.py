# Copyright (c) 2026, paddock.fastapi contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the server logs, and what its app logs by the standard library: one record is one line, for journald.

An app that says itself where its records go is left alone. All others would only have their warnings printed, without
time, level or origin, by Python's handler of last resort: this file puts a better one in its place.

PADDOCK_LOG_FORMAT is json or text, PADDOCK_LOG_LEVEL the least level that is logged.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import sys
import time
import typing as t
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from json.encoder import encode_basestring as _quoted

App = Callable[[t.Any, t.Any, t.Any], Awaitable[None]]

# Of the request that is worked on: NGINX's name for it, which its access log has too.
request_id: ContextVar[str] = ContextVar("paddock_request_id", default="")
# Adds the ids of a trace to a record; the part that traces sets it.
trace_of: Callable[[], dict[str, str]] | None = None

APP = os.environ.get("PADDOCK_APP", "")
RELEASE = os.environ.get("PADDOCK_RELEASE", "")
FORMAT = os.environ.get("PADDOCK_LOG_FORMAT", "json")
LEVEL = os.environ.get("PADDOCK_LOG_LEVEL", "info").upper()
# What every record has; the rest was given as `extra`. Uvicorn's repeats the message with colours.
STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}
# Bytes: journald makes two entries of a longer line (LineMax, 48K).
LONGEST = 47_000
# Characters of a message or traceback that remain of those that are too long: its beginning and its end say most. The
# second is for text of which each character takes six in JSON.
KEPT = (6_000, 1_500)
# sd-daemon(3): what stands before a line is its priority, and no part of it.
PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6), (0, 7))

# In every line, the same in all of this process.
ABOUT = f'"app":{_quoted(APP)},"release":{_quoted(RELEASE)}'

_encode = json.JSONEncoder(ensure_ascii=False, default=str, separators=(",", ":"), check_circular=False).encode


class JsonFormatter(logging.Formatter):
    """Write a record as an object of JSON on one line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line. Raises nothing for what cannot be written as JSON: its text stands there instead."""
        message = record.getMessage().rstrip()
        more: dict[str, t.Any] = {**trace_of()} if trace_of else {}
        if record.exc_info and not record.exc_text:
            record.exc_text = self.formatException(record.exc_info)
        if record.exc_text:
            more["exception"] = record.exc_text
        if record.stack_info:
            more["stack"] = record.stack_info
        if not vars(record).keys() <= STANDARD:
            more["extra"] = {name: value for name, value in vars(record).items() if name not in STANDARD}
        line = _line(record, message, more)
        for kept in KEPT:
            # No character has more than four bytes.
            if 4 * len(line) <= LONGEST or len(line.encode(errors="replace")) <= LONGEST:
                break
            line = _line(record, _cut(message, kept), _shorter(more, kept))
        return line


def _line(record: logging.LogRecord, message: str, more: dict[str, t.Any]) -> str:
    """Return the line. What all records have is put together here: an encoder takes three times as long for it."""
    line = (
        f'{{"time":"{_second(int(record.created))}.{int(record.msecs):03d}Z"'
        f',"level":{_quoted(str(record.levelname))},"logger":{_quoted(str(record.name))},"message":{_quoted(message)}'
        f',"request_id":{_quoted(request_id.get())},{ABOUT},"pid":{record.process or "null"}'
    )
    if not more:
        return line + "}"
    try:
        rest = _encode(more)
    except (ValueError, TypeError, RecursionError):  # what contains itself, or has keys that are no text
        rest = _encode({**more, "extra": repr(more["extra"])})
    return f"{line},{rest[1:]}"


class TextFormatter(logging.Formatter):
    """Write a record for people. journald knows the time and the process."""

    def __init__(self) -> None:
        super().__init__("%(levelname)s %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, and those of a traceback."""
        text = super().format(record)
        found = request_id.get()
        return f"{text} [{found}]" if found else text


class Journal(logging.Handler):
    """Write records to standard error, which journald reads."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(JsonFormatter() if FORMAT == "json" else TextFormatter())
        self.prefixed = "JOURNAL_STREAM" in os.environ

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record. At once: a process that is killed has logged what it said."""
        try:
            text = self.format(record)
            if self.prefixed:
                prefix = _prefix(record.levelno)
                text = prefix + text.replace("\n", f"\n{prefix}")
            data = text.encode(errors="replace") + b"\n"
            while data:
                data = data[os.write(2, data) :]
        except Exception:  # noqa: BLE001 - as logging's own handlers do: to log must not fail a request
            self.handleError(record)


@functools.cache
def _prefix(level: int) -> str:
    """Return what tells journald the priority of a line."""
    return next(f"<{priority}>" for least, priority in PRIORITIES if level >= least)


_written: tuple[int, str] = (0, "")


def _second(moment: int) -> str:
    """Return a second as ISO 8601 has it. Most records are of the same one as the last."""
    global _written  # noqa: PLW0603
    if _written[0] != moment:
        _written = (moment, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(moment)))
    return _written[1]


def _cut(text: str, kept: int) -> str:
    return text if len(text) <= kept else f"{text[: kept // 2]} [...] {text[-kept // 2 :]}"


def _shorter(more: dict[str, t.Any], kept: int) -> dict[str, t.Any]:
    """Cut what is too long for one line of journald, and say so."""
    texts = {name: _cut(more[name], kept) for name in ("exception", "stack") if name in more}
    extra = {"extra": _cut(repr(more["extra"]), kept)} if "extra" in more else {}
    # What no cut makes short enough is a name or an id of a request, which NGINX limits.
    return more | texts | extra | {"cut": True}


handler = Journal()


def make_handler() -> logging.Handler:
    """Return the handler, for a configuration that names it by its import string."""
    return handler


def install() -> None:
    """Have records that nobody else takes written here, and what ends the process as well."""
    logging.lastResort = handler
    logging.root.setLevel(LEVEL)
    basic_config = logging.basicConfig

    def configure(**options: t.Any) -> None:
        # logging.info() and its like come here without any, if nothing has been configured.
        if options:
            basic_config(**options)

    logging.basicConfig = configure

    def ended(kind: type[BaseException], error: BaseException, trace: t.Any) -> None:
        if issubclass(kind, Exception):
            logging.getLogger("paddock").critical("the process ends by an exception", exc_info=(kind, error, trace))
        else:
            sys.__excepthook__(kind, error, trace)

    sys.excepthook = ended


def leave_alone() -> None:
    """Give an app that has configured logging itself the level that it would have had without us."""
    if logging.root.handlers and logging.root.level == logging.getLevelName(LEVEL):
        logging.root.setLevel(logging.WARNING)


def wrap(app: App) -> App:
    """Return the app; what is logged while it works on a request has that request's id."""

    async def logged(scope: t.Any, receive: t.Any, send: t.Any) -> None:
        if scope["type"] != "lifespan":
            for name, value in scope["headers"]:
                if name == b"x-request-id":
                    request_id.set(value.decode("latin-1"))
                    break
        await app(scope, receive, send)

    return logged
