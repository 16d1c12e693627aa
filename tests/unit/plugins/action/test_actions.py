# Copyright (c) 2026, paddock.fastapi contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of the action plugins, in real runs of ansible-playbook against this machine."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible import constants
from ansible_collections.paddock.fastapi.plugins.action import pack as pack_action
from ansible_collections.paddock.fastapi.plugins.action import status as status_action
from ansible_collections.paddock.fastapi.plugins.module_utils._settings import SettingsError, digest, resolve
from ansible_collections.paddock.fastapi.plugins.plugin_utils._inventory import fingerprint
from ansible_collections.paddock.fastapi.tests.unit.helpers import AS_ROOT, LIVE, ROOT, an_app, write_files

PYTHON = platform.python_version()
HOST = {
    "nofile_ceiling": 4096,
    "nofile_ceiling_from": "fs.nr_open",
    "memory_mb": 4096,
    "cpus": 3,
    "interpreters": {"python3": PYTHON},
    "apps": {
        "shop": {
            "releases": [LIVE],
            "live": LIVE,
            "running": True,
            "enabled": True,
            "prepared": False,
            "bad": {},
            "lock": None,
        },
    },
}


def play(folder: Path, tasks: list[dict[str, t.Any]], **variables: t.Any) -> tuple[int, str]:
    """Run tasks on two hosts that are this machine."""
    hosts = dict.fromkeys(["web1", "web2"], None)
    common = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, **variables}
    inventory = {"all": {"hosts": hosts, "vars": common}}
    (folder / "inventory.yml").write_text(yaml.safe_dump(inventory))
    plays = [{"name": "Test", "hosts": "all", "gather_facts": False, "tasks": tasks}]
    (folder / "play.yml").write_text(yaml.safe_dump(plays))
    (folder / "ansible.cfg").touch()
    environment = {
        **os.environ,
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".collections"),
        "ANSIBLE_CONFIG": str(folder / "ansible.cfg"),
        "ANSIBLE_HOME": str(folder / "home"),
        "ANSIBLE_LOCAL_TEMP": str(folder / "local"),
        "ANSIBLE_REMOTE_TEMP": str(folder / "remote"),
        "ANSIBLE_NOCOLOR": "1",
        "HOME": str(folder),
    }
    program = Path(sys.executable).with_name("ansible-playbook")
    done = subprocess.run(
        [program, "-vv", "-i", "inventory.yml", "play.yml"],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


def test_a_rollout(tmp_path: Path) -> None:
    write_files(tmp_path / "shop", {"shop/main.py": "app = None\n", "requirements.txt": ""})
    (tmp_path / "srv/releases").mkdir(parents=True)
    uv = (
        write_files(
            tmp_path,
            {
                "uv": '#!/bin/sh\nfor last in "$@"; do :; done\ncase "$*" in *" venv "*) mkdir -p "$last/bin"; '
                'printf "#!/bin/sh\\n" > "$last/bin/python"; chmod 755 "$last/bin/python" ;; esac\n'
            },
        )
        / "uv"
    )
    uv.chmod(0o755)
    group = subprocess.run(["id", "-gn"], capture_output=True, text=True, check=True).stdout.strip()
    tasks: list[dict[str, t.Any]] = [
        {"name": "Validate", "paddock.fastapi.validate": None, "register": "validated"},
        {"name": "Pack", "paddock.fastapi.pack": {"facts": HOST}, "register": "packed"},
        {
            "name": "Keep",
            "ansible.builtin.copy": {
                "content": "{{ {'validated': validated, 'packed': packed} | to_json }}",
                "dest": f"{tmp_path}/{{{{ inventory_hostname }}}}.json",
                "mode": "0600",
            },
        },
        {
            "name": "Build",
            "paddock.fastapi.release": {
                "app": f"{{{{ packed.pending[0] | combine({{'root': '{tmp_path}/srv', 'user': '{group}'}}) }}}}",
                "env": "{{ fastapi_apps[0].env }}",
                "uv": str(uv),
                "cache": str(tmp_path / "cache"),
            },
            "throttle": 1,
            "when": AS_ROOT,
        },
    ]
    app = an_app(source="shop", env={"KEY": "{{ key }}", "DEBUG": False})
    code, output = play(tmp_path, tasks, fastapi_apps=[app], key='ge"he$im')
    assert code == 0, output
    assert "he$im" not in output
    results = [json.loads((tmp_path / f"{host}.json").read_text()) for host in ("web1", "web2")]
    assert results[0] == results[1], "hosts of one run must agree on the release and its archive"
    packed = results[0]["packed"]
    assert "env" not in packed["apps"][0]
    assert "env" not in results[0]["validated"]["apps"][0]
    assert [entry["name"] for entry in results[0]["validated"]["apps"]] == ["shop"]
    todo = packed["pending"][0]
    assert (todo["release"], todo["live"], todo["built"]) == (packed["apps"][0]["release"], False, False)
    assert (todo["workers"], todo["limits"]) == (3, {"nofile": 4096})
    assert todo["release"].endswith(f"Z-{todo['digest']}")
    assert not list((tmp_path / "local").glob("*")), "a run leaves nothing on the control node"
    assert not [path for path in tmp_path.iterdir() if "{" in path.name]
    if AS_ROOT:
        folder = tmp_path / "srv/releases" / todo["release"]
        assert (folder / "env").read_text() == 'DEBUG="false"\nKEY="ge\\"he\\$im"\n'
        assert (folder / "release.json").is_file()
        assert "web1 | changed" in output or "changed: [web1]" in output


def test_mistakes_end_the_run_before_anything_is_sent(tmp_path: Path) -> None:
    app = an_app(source="gone", env={"KEY": "{{ vault_key }}"})
    code, output = play(
        tmp_path,
        [{"name": "Validate", "paddock.fastapi.validate": None}, {"name": "Never", "ansible.builtin.ping": None}],
        fastapi_apps=[app],
    )
    assert code != 0
    assert "app shop: env.KEY: 'vault_key' is undefined; define it, in a vault file if it is a secret" in output
    assert "TASK [Never]" not in output
    assert "Traceback" not in output


def test_check_mode_does_not_miss_what_it_did_not_install() -> None:
    check_python(">=3.13", python="python3.13", missing_is_wrong=False)


def check_python(requires: str, *, python: str = "python3", missing_is_wrong: bool = True) -> None:
    app = {"name": "shop", "python": python, "packed": {"requires_python": requires}}
    facts = {"interpreters": {"python3": "3.11.2"}}
    pack_action.ActionModule._check_python([app], facts, missing_is_wrong=missing_is_wrong)  # noqa: SLF001


@pytest.mark.parametrize("requires", ["", ">=3.11", ">=3.9,<4", "~=3.11"])
def test_an_interpreter_that_fits(requires: str) -> None:
    check_python(requires)


@pytest.mark.parametrize(
    ("requires", "python", "message"),
    [
        (
            ">=3.12",
            "python3",
            "the app asks for Python >=3.12, but python3 on the host is 3.11.2; set python to an interpreter that fits",
        ),
        (
            "",
            "python3.13",
            "the host has no interpreter 'python3.13'; install it (python_packages names packages to install), "
            "or choose another",
        ),
    ],
)
def test_an_interpreter_that_does_not_fit(requires: str, python: str, message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        check_python(requires, python=python)
    assert str(caught.value) == f"app shop: python: {message}"


def test_a_requirement_of_python_that_is_none() -> None:
    with pytest.raises(SettingsError) as caught:
        check_python("three")
    assert str(caught.value) == "app shop: source: its requires-python, 'three', is no version specifier; correct it"


def test_the_recipe_covers_templates_and_server_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = pack_action.recipe()
    assert before == pack_action.recipe()
    names = {"service/templates/run.j2": "a", "service/files/x.py": "b", "app/files/server-requirements.txt": "d"}
    monkeypatch.setattr(pack_action, "ROLES", write_files(tmp_path, names))
    found = {pack_action.recipe()}
    for name in names:
        write_files(tmp_path, {name: "c"})
        found.add(pack_action.recipe())
    assert len(found) == 4
    assert before not in found


# -- status ---------------------------------------------------------------------------------------------------------

FOUND: dict[str, t.Any] = {
    "ansible_facts": {"paddock": {"nginx": "1.26.3"}},
    "nginx": {"installed": True, "active": True, "enabled": True, "unloaded": False, "problem": "", "files": {}},
    "apps": [],
}
REPORT: dict[str, t.Any] = {
    "name": "Report",
    "paddock.fastapi.status_report": {"hosts": "{{ ansible_play_hosts_all }}"},
    "run_once": True,
}


def report(folder: Path, found: dict[str, t.Any], **options: t.Any) -> tuple[int, str]:
    """Run status_report on what was found on both hosts."""
    task = {**REPORT, "paddock.fastapi.status_report": {"hosts": "{{ ansible_play_hosts_all }}", **options}}
    return play(folder, [task], status_found=found)


def test_a_report_is_shown_as_lines(tmp_path: Path) -> None:
    code, output = report(tmp_path, FOUND)
    assert code == 0, output
    lines = output.splitlines()
    assert "2 hosts, 0 apps: all is well" in lines
    assert [line.split()[:2] for line in lines if line.startswith("ok  ")] == [["ok", "web1"], ["ok", "web2"]]


@pytest.mark.parametrize(
    ("enabled", "fail_on", "fails"),
    [
        (True, "critical", False),
        (True, "warning", False),
        (False, "critical", False),
        (False, "warning", True),
        (None, "critical", True),
        (None, "warning", True),
        (None, "never", False),
    ],
)
def test_what_makes_a_report_fail(tmp_path: Path, enabled: bool | None, fail_on: str, fails: bool) -> None:  # noqa: FBT001
    found = {**FOUND, "nginx": {**FOUND["nginx"], "enabled": enabled}} if enabled is not None else {"msg": "no systemd"}
    code, output = report(tmp_path, found, fail_on=fail_on)
    assert bool(code) is fails, output
    assert (f"; not well: web1, web2 (-e fail_on={fail_on})" in " ".join(output.split())) is fails


def test_a_report_goes_to_a_file(tmp_path: Path) -> None:
    code, output = report(tmp_path, FOUND, format="json", output=f"{tmp_path}/out.json")
    assert code == 0, output
    assert [host["host"] for host in json.loads((tmp_path / "out.json").read_text())["hosts"]] == ["web1", "web2"]
    assert '"hosts"' not in output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "xml"}, "value of format must be one of: table, json, got: xml"),
        ({"fail_on": "ever"}, "value of fail_on must be one of: warning, critical, never, got: ever"),
        ({"output": "/nowhere/at/all"}, "-e output=/nowhere/at/all: it cannot be written: No such file or directory"),
    ],
)
def test_mistakes_of_a_report(tmp_path: Path, options: dict[str, str], message: str) -> None:
    code, output = report(tmp_path, FOUND, **options)
    assert code != 0
    assert message in output
    assert "Traceback" not in output


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[dict[str, t.Any], Path]:
    """Return settings of an app, and the folder that its source is relative to."""
    monkeypatch.setattr(constants, "DEFAULT_LOCAL_TMP", str(tmp_path))
    write_files(tmp_path / "shop", {"shop/main.py": "app = None\n", "requirements.txt": ""})
    return resolve([an_app(source="shop")])[0], tmp_path


def drift(
    app: dict[str, t.Any], base: Path, digest_of_live: str, made_of: str | None, *others: str
) -> dict[str, t.Any]:
    live = f"20261121T090000Z-{digest_of_live}"
    found = {"live": {"release": live, "fingerprint": made_of}, "releases": [live, *others]}
    return status_action._drift(app, found, base)  # noqa: SLF001


def test_drift(shop: tuple[dict[str, t.Any], Path]) -> None:
    app, base = shop
    made_of = fingerprint(app, base)[0]
    assert made_of
    live = digest(app, made_of, pack_action.recipe())
    known = {"source_unknown": "", "release": None}
    assert drift(app, base, live, made_of) == {**known, "settings": False, "source": False}
    assert drift({**app, "workers": 9}, base, live, made_of) == {**known, "settings": True, "source": False}
    # What NGINX or the rollout alone reads makes no new release.
    assert drift({**app, "standby": 9}, base, live, made_of)["settings"] is False
    older = digest(app, "older", pack_action.recipe())
    assert drift(app, base, older, "older") == {**known, "settings": False, "source": True}
    # The configured one lies there already, for instance after a rollback.
    again = f"20261120T080000Z-{live}"
    assert drift(app, base, older, "older", again)["release"] == again
    unknown = {"settings": None, "source": None, "source_unknown": "", "release": None}
    assert drift(app, base, "aaaaaaaaaaaa", None) == unknown


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("https://example.com/shop.git@main", "it is in git, which is not fetched to look"),
        ("./gone", "there is no "),
    ],
)
def test_drift_of_a_source_that_cannot_be_told(shop: tuple[dict[str, t.Any], Path], source: str, told: str) -> None:
    app, base = shop
    live = digest(app, "f", pack_action.recipe())
    found = drift({**app, "source": source}, base, live, "f")
    assert (found["settings"], found["source"], found["release"]) == (False, None, None)
    assert told in found["source_unknown"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, (3, 4096, "")),
        ({"workers": 7, "limits": {"nofile": 1024}}, (7, 1024, "")),
        (
            {"limits": {"nofile": 5000}},
            (None, None, "app shop: limits.nofile: 5000 is above what this host allows, 4096"),
        ),
    ],
)
def test_sizes_that_a_new_release_would_have(options: dict[str, t.Any], expected: tuple[t.Any, t.Any, str]) -> None:
    found: dict[str, t.Any] = {"workers": {"running": 2}, "nofile": {"running": 9}}
    status_action._add_sizes(found, resolve([an_app(**options)])[0], HOST)  # noqa: SLF001
    assert (found["workers"]["configured"], found["nofile"]["configured"]) == expected[:2]
    assert found["size_problem"].startswith(expected[2])
    assert bool(found["size_problem"]) is bool(expected[2])
