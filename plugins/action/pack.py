# Copyright (c) 2026, paddock.fastapi contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pack the sources of a host's apps on the control node and tell what the host must stage."""

from __future__ import annotations

import hashlib
import typing as t
from collections.abc import Mapping
from pathlib import Path

from ansible.errors import AnsibleActionFail
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase
from ansible_collections.paddock.fastapi.plugins.module_utils._layout import pending, release_id
from ansible_collections.paddock.fastapi.plugins.module_utils._settings import (
    Problem,
    Settings,
    SettingsError,
    digest,
    public,
    size,
)
from ansible_collections.paddock.fastapi.plugins.plugin_utils._inventory import (
    VARIABLE,
    Run,
    lock_for,
    read_apps,
)

ROLES = Path(__file__).parents[2] / "roles"


class ActionModule(ActionBase):  # type: ignore[misc]
    """Pack sources once per run, whatever the number of hosts."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _VALID_ARGS: frozenset[str] = frozenset({"facts", "variable", "force", "lock_wait"})

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Return `apps`, all of them, and `pending`, those that this host has yet to stage."""
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        variables = task_vars or {}
        facts: Mapping[str, t.Any] = self._task.args.get("facts") or variables["ansible_facts"]["paddock"]
        try:
            settings = read_apps(variables, self._templar.template, self._task.args.get("variable", VARIABLE))
            lock = lock_for(facts["apps"], int(self._task.args.get("lock_wait", 0)), "deploy")
            packed = [self._name_release(app) for app in settings]
            todo = [size(app, facts) for app in pending(packed, facts["apps"])]
            _check_names(todo, facts["apps"])
            # Check mode installs no interpreter that the role python would have installed by now.
            if not boolean(self._task.args.get("force", False)):
                _check_marks(todo)
            self._check_python(todo, facts, missing_is_wrong=not self._task.check_mode)
        except SettingsError as error:
            raise AnsibleActionFail(str(error)) from None
        return result | {"changed": False, "apps": packed, "pending": todo, "lock": lock}

    @staticmethod
    def _name_release(app: Settings) -> Settings:
        """Name the release that an app's source and settings make."""
        run = Run()
        app_digest = digest(app, app["packed"]["fingerprint"], run.once("recipe", recipe))
        release = release_id(run.stamp(), app_digest)
        return {**public(app), "app_dir": app["packed"]["app_dir"], "digest": app_digest, "release": release}

    @staticmethod
    def _check_python(apps: list[Settings], facts: Mapping[str, t.Any], *, missing_is_wrong: bool) -> None:
        problems = []
        for app in apps:
            wanted, found = app["packed"]["requires_python"], facts["interpreters"].get(app["python"])
            if not found:
                if not missing_is_wrong:
                    continue
                problems.append(
                    Problem(
                        app["name"],
                        "python",
                        f"the host has no interpreter {app['python']!r}; install it "
                        "(python_packages names packages to install), or choose another",
                    )
                )
            elif not _fits(app, found):
                problems.append(
                    Problem(
                        app["name"],
                        "python",
                        f"the app asks for Python {wanted}, but {app['python']} on the host is {found}; "
                        "set python to an interpreter that fits",
                    )
                )
        if problems:
            raise SettingsError(problems)


def _check_names(apps: list[Settings], states: Mapping[str, Mapping[str, t.Any]]) -> None:
    """Refuse to take over what the host has for something else."""
    problems = [
        Problem(
            app["name"],
            "name",
            f"the host has {' and '.join(taken)} already, which this collection did not make; choose another name, or "
            f"have what is there renamed (a user that is to be the app's has {app['root']} as its home)",
        )
        for app in apps
        if (taken := states[app["name"]]["taken"])
    ]
    if problems:
        raise SettingsError(problems)


def _check_marks(apps: list[Settings]) -> None:
    """Refuse to deploy by accident what has proven bad."""
    problems = [
        Problem(
            app["name"],
            "",
            f"release {app['release']}, of this very source and settings, is marked bad: {app['bad']}; "
            "change what was wrong with it, or deploy it all the same with -e fastapi_force=true",
        )
        for app in apps
        if app["bad"] and not app["live"]
    ]
    if problems:
        raise SettingsError(problems)


def _fits(app: Settings, version: str) -> bool:
    """Tell whether an app runs with this version of Python."""
    # ansible-core brings it; whoever only lists plugins need not have it.
    from packaging.specifiers import InvalidSpecifier, SpecifierSet  # noqa: PLC0415

    wanted = app["packed"]["requires_python"]
    try:
        return SpecifierSet(wanted).contains(version)
    except InvalidSpecifier:
        message = f"its requires-python, {wanted!r}, is no version specifier; correct it"
        raise SettingsError([Problem(app["name"], "source", message)]) from None


def recipe() -> str:
    """Return a digest of the collection's own part of a release: templates, what runs beside it, server packages."""
    found = [*(ROLES / "service/templates").glob("*"), *(ROLES / "service/files").glob("*.py")]
    files = sorted([*found, *(ROLES / "app/files").glob("*-requirements.txt")])
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in files)).hexdigest()
