# Copyright (c) 2026, paddock.fastapi contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the apps of a host as the inventory has them, value by value, so that an error can name the one at fault."""

from __future__ import annotations

import datetime
import fcntl
import getpass
import hashlib
import json
import os
import secrets
import socket
import typing as t
from collections.abc import Callable, Mapping
from pathlib import Path

from ansible import constants
from ansible.errors import AnsibleError, AnsibleUndefinedVariable
from ansible_collections.paddock.fastapi.plugins.module_utils._lock import describe, is_free
from ansible_collections.paddock.fastapi.plugins.module_utils._settings import (
    Problem,
    Settings,
    SettingsError,
    resolve,
)
from ansible_collections.paddock.fastapi.plugins.plugin_utils._certificate import CertificateError, check_pair
from ansible_collections.paddock.fastapi.plugins.plugin_utils._source import SourceError, classify, locate, pack

# Where users list their apps.
VARIABLE = "fastapi_apps"
# Git objects are kept between runs.
GIT_CACHE = Path("~/.cache/paddock.fastapi").expanduser()


def base_folder(task_vars: Mapping[str, t.Any]) -> Path:
    """Return the folder that paths in an inventory are relative to: the inventory's own."""
    return Path(task_vars.get("inventory_dir") or Path.cwd())


def read_apps(
    task_vars: Mapping[str, t.Any], template: Callable[[t.Any], t.Any], variable: str = VARIABLE
) -> list[Settings]:
    """Return the settings of all apps of a host as read_settings does, with their packed sources.

    Raises SettingsError with everything that is wrong.
    """
    return with_files(read_settings(task_vars, template, variable), base_folder(task_vars))


def read_settings(
    task_vars: Mapping[str, t.Any], template: Callable[[t.Any], t.Any], variable: str = VARIABLE
) -> list[Settings]:
    """Return the settings of all apps of a host, each option templated by itself and checked.

    Raises SettingsError with everything that is wrong.
    """
    if variable not in task_vars:
        raise SettingsError(
            [
                Problem(
                    "?", "", f"{variable} is not defined for this host; list the apps in the inventory or in group_vars"
                )
            ]
        )
    apps, problems = read_list(task_vars[variable], template, variable, lambda _number, app: (app.get("name", "?"), ""))
    if problems:
        raise SettingsError(problems)
    return resolve(apps)


def read_list(
    raw: t.Any,
    template: Callable[[t.Any], t.Any],
    variable: str,
    call: Callable[[int, Mapping[str, t.Any]], tuple[str, str]],
) -> tuple[t.Any, list[Problem]]:
    """Return what should be a list, each value of its entries templated by itself, and what went wrong with them.

    call: returns the app that an entry is of, and where it is, from its number and itself.
    Raises SettingsError if the whole of it is a template that fails.
    """
    if isinstance(raw, str):
        try:
            raw = template(raw)
        except AnsibleError as error:
            raise SettingsError([Problem("", variable, _in_short(error).rstrip("."))]) from None
    if not isinstance(raw, list):
        return raw, []
    problems: list[Problem] = []
    found = []
    for number, item in enumerate(raw, start=1):
        entry = template(item) if isinstance(item, str) else item  # one that is a variable of its own
        if isinstance(entry, Mapping):
            name, where = call(number, entry)
            entry = _template(entry, template, problems, str(name), where)
        found.append(entry)
    return found, problems


def _in_short(error: AnsibleError) -> str:
    """Return what an error of a template says, without the template: some versions show all of it."""
    return str(error).partition("\n")[0].partition(". String: ")[0]


def _template(
    entry: Mapping[str, t.Any], template: Callable[[t.Any], t.Any], problems: list[Problem], name: str, begins: str
) -> t.Any:
    def walk(value: t.Any, where: str) -> t.Any:
        if isinstance(value, Mapping):
            return {str(key): walk(inner, f"{where}.{key}" if where else str(key)) for key, inner in value.items()}
        if isinstance(value, list | tuple):
            return [walk(inner, where) for inner in value]
        try:
            result = template(value)
        except AnsibleUndefinedVariable as error:
            reason = _in_short(error).rstrip(".")
            problems.append(Problem(name, where, f"{reason}; define it, in a vault file if it is a secret"))
        except AnsibleError as error:
            problems.append(Problem(name, where, _in_short(error)))
        else:
            return plain(result)
        return ""

    return walk(entry, begins)


def plain(value: t.Any) -> t.Any:
    """Turn what templates give (vaulted text, tagged values) into plain data."""
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    for kind in (bool, int, float):
        if isinstance(value, kind):
            return kind(value)
    return None if value is None else str(value)


def registered(variables: Mapping[str, t.Any], name: str) -> dict[str, t.Any]:
    """Return what a task has registered on a host, or nothing if it did not come to that."""
    return t.cast("dict[str, t.Any]", plain(variables[name])) if name in variables else {}


def with_files(apps: list[Settings], base: Path) -> list[Settings]:
    """Add to each app its packed source, and check certificates with their keys: what lies on the control node.

    Raises SettingsError with everything that is wrong.
    """
    problems: list[Problem] = []
    result = []
    for app in apps:
        try:
            result.append({**app, "packed": _pack_once(app, base)})
        except SourceError as error:
            problems.append(Problem(app["name"], error.option, str(error)))
        if app["tls"]["mode"] == "provided":
            try:
                check_pair(locate(app["tls"]["certificate"], base), locate(app["tls"]["key"], base), app["names"])
            except CertificateError as error:
                problems.append(Problem(app["name"], f"tls.{error.option}", str(error)))
    if problems:
        raise SettingsError(problems)
    return result


def _pack_once(app: Settings, base: Path) -> dict[str, t.Any]:
    """Pack a source once per run, whatever the number of hosts and plays."""
    run = Run()
    key = json.dumps([app["source"], app["requirements"], app["module"], app["app_dir"], str(base)])
    name = f"source-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
    packed = run.once(name, lambda: json.dumps(pack(app, base, run.folder, GIT_CACHE).as_dict()))
    return t.cast("dict[str, t.Any]", json.loads(packed))


def fingerprint(app: Settings, base: Path) -> tuple[str | None, str]:
    """Return the fingerprint of an app's source as it is now, or None and why it cannot be told.

    For those who look: git would have to be fetched, and a server of git that does not answer must not make them wait.
    """
    try:
        if classify(app["source"], base) == "git":
            return None, "it is in git, which is not fetched to look"
        return _pack_once(app, base)["fingerprint"], ""
    except SourceError as error:
        return None, str(error)


class Run:
    """Files of one run of ansible-playbook, which all its hosts share and which vanish with it."""

    def __init__(self) -> None:
        # The constant, not the config value: asking for that one makes a new folder each time.
        self.folder = Path(constants.DEFAULT_LOCAL_TMP) / "paddock"
        self.folder.mkdir(mode=0o700, exist_ok=True)

    def once(self, name: str, make: Callable[[], str]) -> str:
        """Return what `make` returned the first time that anyone asked for `name` in this run.

        Ansible works on several hosts at once, each in a process of its own.
        """
        path = self.folder / name
        with path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not path.exists():
                path.write_text(make(), encoding="utf-8")
            return path.read_text(encoding="utf-8")

    def stamp(self) -> str:
        """Return the time of this run, for release ids."""
        return self.once("stamp", lambda: datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%SZ"))

    def holder(self) -> dict[str, t.Any]:
        """Return who rolls out, as a lock on a host says it."""

        def make() -> str:
            now = datetime.datetime.now(datetime.UTC)
            # Hosts are worked on by children of the one process that is ansible-playbook.
            return json.dumps(
                {
                    "run": f"{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}",
                    "by": f"{getpass.getuser()}@{socket.gethostname()}",
                    "control": _control_node(),
                    "pid": os.getppid(),
                    "since": f"{now:%Y-%m-%d %H:%M:%S} UTC",
                }
            )

        return t.cast("dict[str, t.Any]", json.loads(self.once("holder", make)))


def _control_node() -> str:
    """Name this machine, and this boot of it where that can be told: process ids begin anew with each."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    return f"{socket.gethostname()} {boot.read_text(encoding='utf-8').strip() if boot.exists() else ''}".strip()


def lock_for(states: Mapping[str, Mapping[str, t.Any]], wait: int, playbook: str) -> dict[str, t.Any]:
    """Return the lock that this run takes on a host, and which runs it knows to be dead.

    states: what host_facts found, by app. playbook: deploy or rollback, for those who are told of it.
    Raises SettingsError if a living rollout holds a lock, unless it is waited for.
    """
    mine = {**Run().holder(), "playbook": playbook}
    others = {name: state["lock"] for name, state in states.items() if state["lock"]}
    dead = [held["run"] for held in others.values() if is_dead(held)]
    mine["dead"] = dead
    problems = [Problem(name, "", describe(held)) for name, held in others.items() if not is_free(held, mine)]
    if problems and not wait:
        raise SettingsError(problems)
    return mine


def is_dead(held: Mapping[str, t.Any]) -> bool:
    """Tell whether this machine knows that the holder of a lock has ended: it ran here, and runs no more."""
    return held["control"] == _control_node() and not _lives(held["pid"])


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
