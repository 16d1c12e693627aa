# Copyright (c) 2026, paddock.fastapi contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A run of a playbook as stages and hosts. Pure: what happens comes in, with its time, and lines come out."""

from __future__ import annotations

import re
import textwrap
import typing as t
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

# So many hosts are named; of more, three and how many more there are.
NAMED = 5
INDENT = "    "

Result = Mapping[str, t.Any]


class Line(t.NamedTuple):
    """A line, and what it tells of: `ok`, `changed`, `failed`, `unreachable`, or nothing of these."""

    text: str
    kind: str = ""


class Step(t.NamedTuple):
    """A task, or one item of its loop."""

    name: str
    item: str = ""

    def __str__(self) -> str:
        """Write it for people. An item that is not to be told has parentheses already."""
        item = self.item if self.item.startswith("(") else f"({self.item})"
        return f"{self.name} {item}" if self.item else self.name


@dataclass
class Stage:
    """A play, whatever number of batches it has."""

    key: str
    name: str
    begun: float
    ended: float
    # By host, what changed something, in this order: the task and its items.
    changes: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    worked: bool = False

    def lines(self, width: int) -> list[Line]:
        """Tell how long it took, and what changed where."""
        took = f"{self.name:<20} {span(self.ended - self.begun):>8}"
        by_changes: dict[str, list[str]] = {}
        for host, steps in sorted(self.changes.items()):
            told = "; ".join(str(Step(name, ", ".join(items))) for name, items in steps.items())
            by_changes.setdefault(told, []).append(host)
        lines = [
            line
            for told, hosts in by_changes.items()
            for line in textwrap.wrap(
                f"{named(hosts)}: {told}",
                width,
                initial_indent=INDENT,
                subsequent_indent=INDENT * 2,
                break_on_hyphens=False,
                break_long_words=False,
            )
        ]
        return [Line(took, "changed" if self.changes else "ok"), *map(Line, lines)]


@dataclass
class Host:
    """A host: what it does, what became of it, and what is live there."""

    begun: float
    ended: float
    doing: str = ""
    # The stage that it failed in, or could not be reached in.
    where: str = ""
    changes: int = 0
    # By app, what was live before, and what is now. None: nothing told of its apps.
    apps: dict[str, tuple[str | None, str | None]] | None = None
    reasons: list[str] = field(default_factory=list)


class Progress:
    """What has happened so far.

    A run that changes nothing tells of no stage, so stages are held back until something is changed, or fails.
    """

    def __init__(self, *, check: bool = False, width: int = 100) -> None:
        self._check = check
        self._width = width
        self._stages: list[Stage] = []
        self._told = 0
        self._eventful = False
        self._hosts: dict[str, Host] = {}
        # Why hosts failed, and which of them was the first that failed so.
        self._reasons: dict[str, str] = {}

    # -- what happens -------------------------------------------------------------------------------------------------

    def begin_stage(self, key: str, name: str, now: float) -> list[Line]:
        """Begin a play, or another batch of it. Returns what there is to say of the one before."""
        if self._stages and self._stages[-1].key == key:
            return []
        lines = self._end_stage(now)
        self._stages.append(Stage(key, name, now, now))
        return lines

    def goes_on(self, host: str, step: Step, now: float) -> None:
        """Have begun a task, or have come further in it: an item of its loop is done, or it is tried again."""
        self._host(host, now).doing = f"{self._stages[-1].name}: {step}"

    def change(self, host: str, step: Step, now: float) -> list[Line]:
        """Have changed something. Returns the stages before, which are worth telling now."""
        steps = self._stages[-1].changes.setdefault(host, {})
        if step.name not in steps:
            self._host(host, now).changes += 1
        items = steps.setdefault(step.name, [])
        if step.item:
            items.append(step.item)
        self._eventful = True
        return self._tell(len(self._stages) - 1)

    def done(self, host: str, now: float) -> None:
        """Have ended a task, however."""
        self._host(host, now).ended = now
        self._stages[-1].worked = True

    def fail(
        self, host: str, step: Step, text: str, now: float, *, kind: str = "failed", ignored: bool = False
    ) -> list[Line]:
        """Have failed, or not be reached. Returns why, without what was said of this host already."""
        entry, stage = self._host(host, now), self._stages[-1].name
        if not ignored:
            entry.where, entry.doing = stage, f"{stage}: {kind}"
            self._eventful = True
        text = printable(text).strip()
        for known in reversed(entry.reasons):
            # What ends a rescue says again why it came to that.
            text = text.removesuffix(known).strip()
        first = self._reasons.setdefault(text, host)
        if not text:
            why = ["as before"]
        elif first == host:
            entry.reasons.append(text)
            why = text.splitlines()
        else:
            why = [f"as {first}"]
        head = f"{host} {kind} in {stage}: {step}{', which is ignored' if ignored else ''}"
        before = self._tell(len(self._stages) - 1) if self._eventful else []
        return [*before, Line(head, kind), *(Line(f"{INDENT}{line}".rstrip()) for line in why)]

    def found(self, host: str, apps: Mapping[str, str | None], now: float) -> None:
        """Have seen what is live on a host."""
        known = self._host(host, now)
        known.apps = {app: (live, live) for app, live in apps.items()} | (known.apps or {})

    def switched(self, host: str, app: str, before: str | None, live: str | None, now: float) -> None:
        """Have another release live; or again the one that was."""
        known = self._host(host, now)
        known.apps = known.apps or {}
        first, _live = known.apps.get(app, (before, before))
        known.apps[app] = (first, live)

    # -- what is shown ------------------------------------------------------------------------------------------------

    def live(self, columns: int, rows: int) -> list[str]:
        """Return a line for each host, as they are at the moment: no more, and none longer, than fit."""
        wide = max(map(len, self._hosts), default=0)
        lines = [f"{name:<{wide}}  {entry.doing}" for name, entry in self._hosts.items()]
        if len(lines) > rows:
            lines = [*lines[: rows - 1], f"and {len(lines) - rows + 1} more hosts"]
        return [printable(line)[: columns - 1] for line in lines]

    def end(self, summaries: Mapping[str, Mapping[str, int]], now: float) -> list[Line]:
        """Say of each host what is live there, what changed, and how long it took; and who failed.

        summaries: Ansible's own figures, by host.
        """
        lines = self._end_stage(now)
        if self._eventful:
            lines.append(Line(""))
        kinds = {name: kind_of(summary) for name, summary in summaries.items()}
        rows = [
            (
                kinds[name],
                name,
                span(self._host(name, now).ended - self._host(name, now).begun),
                "; ".join(self._outcome(self._host(name, now), kinds[name], summary)),
            )
            for name, summary in summaries.items()
        ]
        wide = [max((len(row[column]) for row in rows), default=0) for column in range(3)]
        for kind, name, took, told in rows:
            lines.append(Line(f"{kind:<{wide[0]}}  {name:<{wide[1]}}  {took:>{wide[2]}}  {told}".rstrip(), kind))
        bad = {kind: [name for name in kinds if kinds[name] == kind] for kind in ("failed", "unreachable")}
        if len(rows) > 1 or any(bad.values()):
            took = span(now - (self._stages[0].begun if self._stages else now))
            told = "".join(f"; {kind}: {', '.join(names)}" for kind, names in bad.items() if names)
            lines.append(Line(f"{len(rows)} host{'' if len(rows) == 1 else 's'}, {took}{told}"))
        return lines

    def _outcome(self, entry: Host, kind: str, summary: Mapping[str, int]) -> Iterable[str]:
        if kind in {"failed", "unreachable"} and entry.where:
            yield f"in {entry.where}"
        if entry.apps is not None:
            yield ", ".join(self._app(app, *releases) for app, releases in entry.apps.items()) or "no app"
        if entry.changes:
            yield f"{entry.changes} change{'' if entry.changes == 1 else 's'}{' to come' if self._check else ''}"
        elif kind == "ok":
            yield "no change"
        for word in ("rescued", "ignored"):
            if summary.get(word) and kind in {"ok", "changed"}:
                yield f"{summary[word]} failed and {word}"

    def _app(self, app: str, before: str | None, live: str | None) -> str:
        if before == live:
            return f"{app} {live or 'not deployed'}"
        if self._check:
            return f"{app} {before or 'not deployed'}, would be {live or 'off'}"
        return f"{app} {live or 'off'} ({f'before {before}' if before else 'new'})"

    # -- within -------------------------------------------------------------------------------------------------------

    def _end_stage(self, now: float) -> list[Line]:
        if not self._stages:
            return []
        self._stages[-1].ended = now
        return self._tell(len(self._stages)) if self._eventful else []

    def _tell(self, count: int) -> list[Line]:
        """Tell of the first stages, as far as they were not told of and anything was done in them."""
        stages = self._stages[self._told : count]
        self._told = max(self._told, count)
        return [line for stage in stages if stage.worked for line in stage.lines(self._width)]

    def _host(self, name: str, now: float) -> Host:
        return self._hosts.setdefault(name, Host(now, now))


def redraw(before: int, lines: Sequence[str]) -> str:
    """Return what puts these lines in the place of as many others, the last that a terminal shows."""
    up = f"\x1b[{before}A" if before else ""
    return f"{up}\r\x1b[J" + "".join(f"{line}\n" for line in lines)


def kind_of(summary: Mapping[str, int]) -> str:
    """Return what became of a host, by Ansible's figures."""
    for key, kind in (("unreachable", "unreachable"), ("failures", "failed"), ("changed", "changed")):
        if summary.get(key):
            return kind
    return "ok"


def reason(result: Result) -> str:
    """Return why a task failed: its message, whole, and what its program said if the message does not tell."""
    # Newer versions of ansible-core say before some messages what the heading says already.
    message = str(result.get("msg") or result.get("censored") or "").removeprefix("Task failed: ")
    said = [result.get(key) for key in ("module_stderr", "stderr", "module_stdout", "stdout")]
    told = next((str(text).strip() for text in said if text and str(text).strip()), "")
    return f"{message}\n{told}".strip() if told and told not in message else message


def printable(text: str) -> str:
    """Return a text without what would move a terminal's cursor or change its colours."""
    text = text.replace("\r\n", "\n")
    return re.sub(r"[^\n\t\x20-\x7e\xa0-\U0010ffff]", lambda found: f"\\x{ord(found[0]):02x}", text)


def named(hosts: Sequence[str]) -> str:
    """Name hosts, or the first of many."""
    if len(hosts) <= NAMED:
        return ", ".join(hosts)
    return f"{', '.join(hosts[: NAMED - 2])} and {len(hosts) - NAMED + 2} more"


def span(seconds: float) -> str:
    """Write how long something took."""
    minutes, rest = divmod(round(seconds, 1), 60)
    return f"{minutes:.0f} min {rest:.0f} s" if minutes else f"{rest:.1f} s"
