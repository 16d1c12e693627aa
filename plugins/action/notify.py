# Copyright (c) 2026, paddock.fastapi contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tell the webhooks how a rollout ended."""

from __future__ import annotations

import datetime
import typing as t
from collections.abc import Iterator, Mapping, Sequence

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.paddock.fastapi.plugins.module_utils._settings import SettingsError
from ansible_collections.paddock.fastapi.plugins.plugin_utils._inventory import plain, registered
from ansible_collections.paddock.fastapi.plugins.plugin_utils._webhooks import (
    RESULTS,
    SUCCESS,
    messages,
    read_webhooks,
    reason_of,
    tell,
)


class ActionModule(ActionBase):  # type: ignore[misc]
    """Read what was rolled out of the hosts' variables, and tell of it; whatever comes of that, the rollout goes on."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _VALID_ARGS = frozenset({"hosts", "result"})

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Return how many messages there were. The webhooks are not among the arguments, which Ansible may show."""
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        _checked, wanted = self.validate_argument_spec(
            argument_spec={
                "hosts": {"type": "list", "elements": "str", "required": True},
                "result": {"type": "str", "choices": list(RESULTS), "required": True},
            }
        )
        variables = task_vars or {}
        problems: Sequence[object]
        told = []
        try:
            webhooks = read_webhooks(variables, self._templar.template)
        except SettingsError as error:  # a variable has changed since it was checked
            problems = error.problems
        else:
            if not webhooks:
                return result | {"changed": False, "skipped": True, "skip_reason": "fastapi_webhooks names nobody"}
            hostvars = variables["hostvars"]
            if not self._task.check_mode:
                failures = {host: registered(hostvars[host], "ansible_failed_result") for host in wanted["hosts"]}
                reason = "" if wanted["result"] == SUCCESS else reason_of(failures)
                now = datetime.datetime.now(datetime.UTC)
                told = messages(list(rolled_out(wanted["hosts"], hostvars)), wanted["result"], reason, now)
            problems = tell(webhooks, told)
        for problem in problems:
            Display().warning(str(problem))
        return result | {"changed": False, "messages": len(told)}


def rolled_out(hosts: Sequence[str], hostvars: Mapping[str, t.Any]) -> Iterator[dict[str, t.Any]]:
    """Find which apps were to be rolled out on which hosts, by whom, and what was live there before."""
    for host in hosts:
        rollout = registered(hostvars[host], "app_rollout")
        states = plain(hostvars[host]["ansible_facts"]).get("paddock", {}).get("apps", {}) if rollout else {}
        for app in rollout.get("pending", []):
            yield {
                "host": host,
                "app": app["name"],
                "release": app["release"],
                "before": states[app["name"]]["live"],
                "lock": rollout["lock"],
            }
