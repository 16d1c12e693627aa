# Copyright (c) 2026, paddock.fastapi contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Callback rollout."""

from __future__ import annotations

DOCUMENTATION = r"""
name: rollout
type: stdout
short_description: A rollout as its stages, with a line for each host
version_added: 0.1.0
description:
  - Shows the plays of a playbook as stages, with how long each took and what it changed on which hosts. What changed
    nothing is not shown, so a run that changes nothing ends with a line for each host, and that is all.
  - On a terminal each host has a line that tells what it is doing, updated in place. Otherwise, and with E(NO_COLOR),
    everything is plain text in the order in which it happens.
  - A task that fails is shown at once, with its host, its stage and its whole message. So are warnings, differences
    (C(--diff)) and what M(ansible.builtin.debug) says.
  - In the end there is a line for each host, with the release of each app that is live, how many tasks changed
    something, and the seconds until the host was done.
  - With C(-v) it is P(ansible.builtin.default#callback), with all its options, which matter only then.
author: paddock.fastapi contributors (@paddock)
extends_documentation_fragment:
  - default_callback
  - result_format_callback
requirements:
  - set as stdout in configuration
"""

EXAMPLES = r"""
ansible.cfg: |
  [defaults]
  stdout_callback = paddock.fastapi.rollout
"""

import contextlib
import functools
import os
import shutil
import sys
import threading
import time
import typing as t
from collections.abc import Callable, Iterable, Iterator

from ansible import constants, context
from ansible.plugins.callback.default import CallbackModule as Default
from ansible.utils.color import ANSIBLE_COLOR
from ansible_collections.paddock.fastapi.plugins.plugin_utils._progress import (
    Line,
    Progress,
    Step,
    printable,
    reason,
    redraw,
)

# Lines that name what changed are wrapped, so that they can be read.
WIDEST = 100
COLORS = {
    "ok": constants.COLOR_OK,
    "changed": constants.COLOR_CHANGED,
    "failed": constants.COLOR_ERROR,
    "unreachable": constants.COLOR_UNREACHABLE,
    "": None,
}

Event = Callable[..., None]


def event(method: Event) -> Event:
    """Leave an event to the default callback with -v."""
    default = getattr(Default, method.__name__)

    @functools.wraps(method)
    def choose(self: CallbackModule, *arguments: t.Any, **named: t.Any) -> None:
        (default if self._display.verbosity else method)(self, *arguments, **named)

    return choose


class CallbackModule(Default):  # type: ignore[misc]
    """Hand what happens to the progress, and show the lines that it returns."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "paddock.fastapi.rollout"

    def __init__(self) -> None:
        super().__init__()
        self._terminal: Terminal | None = None
        self._progress = Progress()
        # Names of tasks as they are when a task begins: templated.
        self._names: dict[str, str] = {}
        # Hosts and tasks of which an item has failed.
        self._told: set[tuple[str, str]] = set()

    # -- stages and tasks ---------------------------------------------------------------------------------------------

    @event
    def v2_playbook_on_start(self, playbook: t.Any) -> None:
        """Say if nothing will be changed."""
        del playbook
        check = bool(context.CLIARGS["check"])
        if sys.stdout.isatty() and ANSIBLE_COLOR and os.environ.get("TERM") != "dumb":
            self._terminal = Terminal(self._display)
        width = min(shutil.get_terminal_size().columns, WIDEST) if self._terminal else WIDEST
        self._progress = Progress(check=check, width=width)
        if check:
            self._show([Line("Check mode: nothing is changed.")])

    @event
    def v2_playbook_on_play_start(self, play: t.Any) -> None:
        """Begin a stage, and tell of the one before."""
        self._show(self._progress.begin_stage(play._uuid, printable(play.get_name().strip()), time.monotonic()))  # noqa: SLF001

    @event
    def v2_playbook_on_task_start(self, task: t.Any, is_conditional: object) -> None:
        """Keep the name, which is templated just now."""
        del is_conditional
        self._names[task._uuid] = _name(task)  # noqa: SLF001

    @event
    def v2_playbook_on_handler_task_start(self, task: t.Any) -> None:
        """Do the same with a handler."""
        self._names[task._uuid] = _name(task)  # noqa: SLF001

    @event
    def v2_playbook_on_include(self, included_file: t.Any) -> None:
        """Say nothing: how tasks are kept in files is not what one wants to know."""

    @event
    def v2_playbook_on_no_hosts_remaining(self) -> None:
        """Say nothing: all of them have failed, and were told of."""

    @event
    def v2_runner_on_start(self, host: t.Any, task: t.Any) -> None:
        """Show what the host does."""
        self._progress.goes_on(host.get_name(), self._step(task), time.monotonic())
        self._show([])

    # -- results ------------------------------------------------------------------------------------------------------

    @event
    def v2_runner_on_ok(self, result: t.Any) -> None:
        """Note what changed, and what is live."""
        self._done(result)

    @event
    def v2_runner_on_skipped(self, result: t.Any) -> None:
        """Note that it is done."""
        self._done(result)

    @event
    def v2_runner_on_failed(self, result: t.Any, ignore_errors: bool = False) -> None:  # noqa: FBT001, FBT002
        """Say why. The items of a loop have said it themselves."""
        self._done(result, well=False)
        if (_host(result), result._task._uuid) not in self._told:  # noqa: SLF001
            self._fail(result, ignored=ignore_errors)

    @event
    def v2_runner_on_unreachable(self, result: t.Any) -> None:
        """Say why."""
        self._done(result, well=False)
        self._fail(result, kind="unreachable", ignored=bool(result._task.ignore_unreachable))  # noqa: SLF001

    @event
    def v2_runner_item_on_ok(self, result: t.Any) -> None:
        """Note what changed, and what is live."""
        self._item(result)

    @event
    def v2_runner_item_on_skipped(self, result: t.Any) -> None:
        """Note that it is done."""
        self._item(result)

    @event
    def v2_runner_item_on_failed(self, result: t.Any) -> None:
        """Say why."""
        self._item(result, well=False)
        self._told.add((_host(result), result._task._uuid))  # noqa: SLF001
        self._fail(result, self._item_of(result), ignored=bool(result._task.ignore_errors))  # noqa: SLF001

    @event
    def v2_runner_retry(self, result: t.Any) -> None:
        """Show which attempt it was."""
        found = result._result  # noqa: SLF001
        step = self._step(result._task, f"attempt {found['attempts']} of {found['retries']}")  # noqa: SLF001
        self._progress.goes_on(_host(result), step, time.monotonic())
        self._show([])

    @event
    def v2_on_file_diff(self, result: t.Any) -> None:
        """Show differences, and of which task on which host they are."""
        found = result._result  # noqa: SLF001
        for part in found.get("results", [found]):
            if part.get("changed") and (diff := self._get_diff(part.get("diff") or [])):
                step = self._step(result._task, self._item_of(result, part))  # noqa: SLF001
                self._show([Line(f"{_host(result)}, {step}:")])
                self._display.display(diff)

    @event
    def v2_playbook_on_stats(self, stats: t.Any) -> None:
        """Tell how it ended."""
        lines = self._progress.end({host: stats.summarize(host) for host in sorted(stats.processed)}, time.monotonic())
        if self._terminal:
            self._terminal.leave()
            self._terminal = None
        self._show(lines)

    # -- within -------------------------------------------------------------------------------------------------------

    def _done(self, result: t.Any, *, well: bool = True) -> None:
        found, host, now = result._result, _host(result), time.monotonic()  # noqa: SLF001
        self._progress.done(host, now)
        # The items of a loop have been told of by themselves.
        if "results" not in found:
            self._learn(result, self._step(result._task), well=well)  # noqa: SLF001
        self._show([])
        self._handle_warnings(found)

    def _item(self, result: t.Any, *, well: bool = True) -> None:
        step = self._step(result._task, self._item_of(result))  # noqa: SLF001
        self._progress.goes_on(_host(result), step, time.monotonic())
        self._learn(result, step, well=well)
        self._handle_warnings(result._result)  # noqa: SLF001

    def _learn(self, result: t.Any, step: Step, *, well: bool) -> None:
        """Learn what changed, what a task is there to say, and what the collection's own modules tell is live."""
        found, host, now = result._result, _host(result), time.monotonic()  # noqa: SLF001
        if well and found.get("changed"):
            self._show(self._progress.change(host, step, now))
        if well and found.get("_ansible_verbose_always"):
            text = found["msg"] if isinstance(found.get("msg"), str) else self._dump_results(found)
            self._show([Line(f"{host}: {printable(text).strip()}")])
        action = result._task.resolved_action  # noqa: SLF001
        if action == "paddock.fastapi.host_facts":
            apps = found.get("ansible_facts", {}).get("paddock", {}).get("apps")
            if apps:
                self._progress.found(host, {app: state["live"] for app, state in apps.items()}, now)
        elif action == "paddock.fastapi.pack" and "apps" in found:
            self._progress.found(host, {}, now)
        elif action == "paddock.fastapi.switch" and "live" in found:
            # One host has all go back: in a loop over what the filter rollouts returns.
            item = found.get("item")
            there = item["host"] if isinstance(item, dict) else host
            self._progress.switched(there, found["app"], found["before"], found["live"], now)

    def _fail(self, result: t.Any, item: str = "", **how: t.Any) -> None:
        found = result._result  # noqa: SLF001
        text = reason(found) or self._dump_results(found)
        step = self._step(result._task, item)  # noqa: SLF001
        self._show(self._progress.fail(_host(result), step, text, time.monotonic(), **how))

    def _item_of(self, result: t.Any, found: t.Any = None) -> str:
        label = self._get_item_label(found or result._result)  # noqa: SLF001
        return "" if label is None else printable(str(label))

    def _step(self, task: t.Any, item: str = "") -> Step:
        return Step(self._names.get(task._uuid) or _name(task), item)  # noqa: SLF001

    def _show(self, lines: Iterable[Line]) -> None:
        with self._terminal.paused() if self._terminal else contextlib.nullcontext():
            for line in lines:
                self._display.display(line.text, color=COLORS[line.kind])
            if self._terminal:
                self._terminal.lines = self._progress.live(*self._terminal.size())


class Terminal:
    """The lines of the hosts, below all that is said on a terminal.

    Warnings come from anywhere and at any time, so what anybody says through Ansible's display goes above the lines.
    A process that Ansible forks for a task says nothing by itself: it hands it to this one.
    """

    def __init__(self, display: t.Any) -> None:
        self._display = display
        self._say = display.display
        self._lock = threading.RLock()
        self._process = os.getpid()
        self._paused = False
        self._drawn: list[str] = []
        self.lines: list[str] = []
        display.display = self._above

    @staticmethod
    def size() -> tuple[int, int]:
        """Return how long lines may be, and how many there may be."""
        size = shutil.get_terminal_size()
        return size.columns, max(1, size.lines - 2)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Take the lines away for a while, so that something can be said where they were."""
        with self._lock:
            nested, self._paused = self._paused, True
            yield
            self._paused = nested
            if not nested:
                self._draw(self.lines)

    def leave(self) -> None:
        """Take the lines away for good."""
        with self._lock:
            self._draw([])
            self._display.display = self._say

    def _above(self, *arguments: t.Any, **named: t.Any) -> None:
        if os.getpid() != self._process:
            self._say(*arguments, **named)
            return
        with self.paused():
            self._draw([])
            self._say(*arguments, **named)
            sys.stderr.flush()

    def _draw(self, lines: list[str]) -> None:
        if lines == self._drawn:
            return
        sys.stdout.write(redraw(len(self._drawn), lines))
        sys.stdout.flush()
        self._drawn = lines


def _name(task: t.Any) -> str:
    return printable(task.name or task.action)


def _host(result: t.Any) -> str:
    return str(result._host.get_name())  # noqa: SLF001
