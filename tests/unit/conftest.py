# Copyright (c) 2026, paddock.fastapi contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make this clone importable as paddock.fastapi, and keep tests off the machine that they run on."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
import tarfile
import typing as t
from pathlib import Path

import pytest
from hypothesis import HealthCheck, configuration, settings

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / ".collections"))

from ansible.module_utils import basic
from ansible_collections.paddock.fastapi.plugins.module_utils import _host, _layout, _ours, _systemd
from ansible_collections.paddock.fastapi.tests.unit.helpers import AS_ROOT, Exit, Programs, RunModule

configuration.set_hypothesis_home_dir(ROOT / ".cache/hypothesis")
settings.register_profile(
    "unit",
    deadline=None,
    database=None,
    derandomize=True,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
# For the edit-to-answer loop.
settings.register_profile("quick", settings.get_profile("unit"), max_examples=6)
# For a long search after a change of what they test: HYPOTHESIS_PROFILE=thorough.
settings.register_profile("thorough", settings.get_profile("unit"), derandomize=False, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "unit"))

PLUGINS = "ansible_collections.paddock.fastapi.plugins"


@pytest.fixture(autouse=True)
def _quiet_git(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep this machine's settings of git away, and what a hook sets for it."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", os.devnull)


@pytest.fixture(autouse=True)
def _ownership(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let code that gives files to root run as somebody else, who then owns them."""
    if AS_ROOT:
        return
    found = Path.lstat

    def lstat(path: Path) -> os.stat_result:
        values, more = t.cast("tuple[tuple[int, ...], dict[str, t.Any]]", found(path).__reduce__()[1])
        return os.stat_result((*values[:4], 0, *values[5:]), more)

    monkeypatch.setattr(os, "fchown", lambda _handle, _user, _group: None)
    monkeypatch.setattr(os, "chown", lambda _path, _user, _group: None)
    monkeypatch.setattr(tarfile.TarFile, "chown", lambda *_arguments: None)
    monkeypatch.setattr(Path, "lstat", lstat)


@pytest.fixture(autouse=True)
def _settled_journal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for no journal: what stands in for it is never behind."""
    monkeypatch.setattr(_systemd, "SETTLING_SECONDS", 0)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Programs:
    """Return a folder that stands first on the path."""
    made = Programs(tmp_path / "programs")
    monkeypatch.setenv("PATH", f"{made.folder}:{os.environ['PATH']}")
    return made


@pytest.fixture
def srv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder that apps lie in instead of /srv, and have units lie beside it."""
    folder = tmp_path / "srv"
    (folder / "shop/releases").mkdir(parents=True)

    def of(name: str, root: str | None = None) -> _layout.App:
        return _layout.App(name, Path(root) if root else folder / name)

    monkeypatch.setattr(_layout.App, "of", of)
    units = tmp_path / "units"
    units.mkdir()
    for module in (_host, _ours):
        monkeypatch.setattr(module, "UNITS", units)
    return folder


@pytest.fixture
def run_module(monkeypatch: pytest.MonkeyPatch) -> RunModule:
    """Return a function that runs a module and returns its result."""

    def run(name: str, arguments: dict[str, t.Any], *, check: bool = False) -> dict[str, t.Any]:
        module = importlib.import_module(f"{PLUGINS}.modules.{name}")

        def ended(result: dict[str, t.Any]) -> t.NoReturn:
            # As it goes over the wire.
            raise Exit(json.loads(json.dumps(result)))

        def exit_json(_self: basic.AnsibleModule, **result: t.Any) -> t.NoReturn:
            ended({"failed": False, **result})

        def fail_json(_self: basic.AnsibleModule, msg: str, **result: t.Any) -> t.NoReturn:
            ended({**result, "msg": msg, "failed": True})

        monkeypatch.setattr(basic.AnsibleModule, "exit_json", exit_json)
        monkeypatch.setattr(basic.AnsibleModule, "fail_json", fail_json)
        with _arguments({**arguments, "_ansible_check_mode": check}), pytest.raises(Exit) as ended_with:
            module.main()
        return ended_with.value.result

    return run


@contextlib.contextmanager
def _arguments(arguments: dict[str, t.Any]) -> t.Iterator[None]:
    """Hand arguments to a module, in every version of ansible-core that is supported."""
    try:
        testing = importlib.import_module("ansible.module_utils.testing")
    except ImportError:  # before 2.19
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(basic, "_ANSIBLE_ARGS", json.dumps({"ANSIBLE_MODULE_ARGS": arguments}).encode())
            yield
    else:
        with testing.patch_module_args(arguments):
            yield
