# Copyright (c) 2026, paddock.fastapi contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check what a host's apps are, and who is told of them, on the control node."""

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.paddock.fastapi.plugins.module_utils._settings import (
    Problem,
    Settings,
    SettingsError,
    public,
)
from ansible_collections.paddock.fastapi.plugins.plugin_utils._inventory import read_apps
from ansible_collections.paddock.fastapi.plugins.plugin_utils._webhooks import read_webhooks


class ActionModule(ActionBase):  # type: ignore[misc]
    """Check the apps of a host; nothing is sent anywhere."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _VALID_ARGS: frozenset[str] = frozenset()

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Return the settings of all apps, without what is secret."""
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        problems: list[Problem] = []
        apps: list[Settings] = []
        for read in (read_webhooks, read_apps):
            try:
                apps = read(task_vars or {}, self._templar.template)
            except SettingsError as error:
                problems += error.problems
        if problems:
            raise AnsibleActionFail(str(SettingsError(problems)))
        return result | {"changed": False, "apps": [public(app) for app in apps]}
