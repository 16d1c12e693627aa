# Copyright (c) 2026, paddock.fastapi contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Choose what a rollback goes back to, from what was found on the host."""

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.paddock.fastapi.plugins.module_utils._layout import NoTargetError, rollback_target
from ansible_collections.paddock.fastapi.plugins.module_utils._settings import Settings, SettingsError, public
from ansible_collections.paddock.fastapi.plugins.plugin_utils._inventory import lock_for, read_settings
from ansible_collections.paddock.fastapi.plugins.plugin_utils._webhooks import read_webhooks


class ActionModule(ActionBase):  # type: ignore[misc]
    """Choose a release; nothing is sent anywhere, and no source is needed."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _VALID_ARGS = frozenset({"app", "release", "lock_wait"})

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Return the same as pack does, with the releases to go back to as `pending`."""
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        variables = task_vars or {}
        states = variables["ansible_facts"]["paddock"]["apps"]
        arguments = self._task.args
        try:
            apps = [public(app) for app in read_settings(variables, self._templar.template)]
            read_webhooks(variables, self._templar.template)
            lock = lock_for(states, int(arguments.get("lock_wait", 0)), "rollback")
            app = self._choose_app(apps, arguments.get("app"))
            state = states[app["name"]]
            release = rollback_target(app["name"], state, arguments.get("release"))
        except (SettingsError, NoTargetError) as error:
            raise AnsibleActionFail(str(error)) from None
        target = {
            **app,
            "release": release,
            "live": False,
            "warm": release in state["warm"],
            "rolled_back": f"it was rolled back from at {lock['since']} by {lock['by']}",
        }
        return result | {"changed": False, "apps": [app], "pending": [target], "lock": lock}

    @staticmethod
    def _choose_app(apps: list[Settings], wanted: str | None) -> Settings:
        names = ", ".join(app["name"] for app in apps)
        if wanted is None and len(apps) != 1:
            raise AnsibleActionFail(f"this host has the apps {names}; say with -e app=NAME which is to go back")
        found = [app for app in apps if wanted in (None, app["name"])]
        if not found:
            raise AnsibleActionFail(f"there is no app {wanted!r}; this host has {names}")
        return found[0]
