# Copyright (c) 2026, paddock.fastapi contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Look at a host, and compare what was found with the inventory."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping
from pathlib import Path

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.paddock.fastapi.plugins.action.pack import recipe
from ansible_collections.paddock.fastapi.plugins.module_utils._layout import digest_of
from ansible_collections.paddock.fastapi.plugins.module_utils._settings import (
    Settings,
    SettingsError,
    digest,
    public,
    size,
)
from ansible_collections.paddock.fastapi.plugins.plugin_utils._inventory import (
    Run,
    base_folder,
    fingerprint,
    is_dead,
    read_settings,
)


class ActionModule(ActionBase):  # type: ignore[misc]
    """Send the settings of the apps, and compare what comes back with them."""

    TRANSFERS_FILES = False
    _VALID_ARGS = frozenset({"http_port", "https_port"})

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Return what the module found, with what is configured beside it."""
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        variables = task_vars or {}
        try:
            apps = read_settings(variables, self._templar.template)
        except SettingsError as error:
            raise AnsibleActionFail(str(error)) from None
        arguments = {**self._task.args, "apps": [public(app) for app in apps]}
        result |= self._execute_module("paddock.fastapi.status", module_args=arguments, task_vars=task_vars)
        settings = {app["name"]: app for app in apps}
        base = base_folder(variables)
        for found in result.get("apps", []):
            if found["rollout"]:
                found["rollout"]["dead"] |= is_dead(found["rollout"])
            configured = settings.get(found["app"])
            found["drift"] = configured and found["live"] and _drift(configured, found, base)
            _add_sizes(found, configured, result["ansible_facts"]["paddock"])
        return result


def _drift(app: Settings, found: Mapping[str, t.Any], base: Path) -> dict[str, t.Any]:
    """Tell whether a deploy would make another release than the live one: of other settings, of another source.

    With what its own record says of its source, the settings give the digest of the live release, or they differ.
    """
    live = found["live"]
    ours = Run().once("recipe", recipe)
    made_of = live["fingerprint"]
    now, unknown = fingerprint(app, base)
    would_be = digest(app, now, ours) if now else None
    same = [release for release in found["releases"] if digest_of(release) == would_be]
    return {
        "settings": digest(app, made_of, ours) != digest_of(live["release"]) if made_of else None,
        "source": made_of != now if made_of and now else None,
        "source_unknown": unknown,
        # An earlier release that is just what the inventory asks for: after a rollback, the one that was left.
        "release": same[-1] if same and live["release"] not in same else None,
    }


def _add_sizes(found: dict[str, t.Any], app: Settings | None, host: Mapping[str, t.Any]) -> None:
    """Add what a release made now would have: the host may have grown or shrunk since."""
    sized, found["size_problem"] = None, ""
    if app:
        try:
            sized = size(app, host)
        except SettingsError as error:
            found["size_problem"] = str(error)
    found["workers"]["configured"] = sized and sized["workers"]
    for name, limit in found["limits"].items():
        limit["configured"] = sized and sized["limits"][name]
