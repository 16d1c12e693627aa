# Copyright (c) 2026, paddock.fastapi contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of the action plugins, in real runs of ansible-playbook against this machine."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
import typing as t
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from ansible import constants
from ansible.errors import AnsibleActionFail
from ansible_collections.paddock.fastapi.plugins.action import choose_release as choose_action
from ansible_collections.paddock.fastapi.plugins.action import pack as pack_action
from ansible_collections.paddock.fastapi.plugins.action import status as status_action
from ansible_collections.paddock.fastapi.plugins.action import status_report as report_action
from ansible_collections.paddock.fastapi.plugins.module_utils._settings import SettingsError, digest, resolve
from ansible_collections.paddock.fastapi.plugins.plugin_utils._inventory import fingerprint
from ansible_collections.paddock.fastapi.tests.unit.helpers import AS_ROOT, LIVE, NEW, OLD, ROOT, an_app, write_files
from ansible_collections.paddock.fastapi.tests.unit.plugins.plugin_utils.test_webhooks import receiving

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
            "taken": [],
            "bad": {},
            "lock": None,
        },
    },
}

SIZED = {"nofile": 4096, "tasks_max": 1024, "memory_high": None, "memory_max": None, "cpu_quota": None}


def play(folder: Path, tasks: list[dict[str, t.Any]], *, verbosity: str = "-vv", **variables: t.Any) -> tuple[int, str]:
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
        [program, verbosity, "-i", "inventory.yml", "play.yml"],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


@pytest.mark.slow
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
                "credentials": "{{ fastapi_apps[0].credentials }}",
                "uv": str(uv),
                "cache": str(tmp_path / "cache"),
            },
            "throttle": 1,
            "when": AS_ROOT,
        },
    ]
    app = an_app(source="shop", env={"KEY": "{{ key }}", "DEBUG": False}, credentials={"token": "{{ key }}"})
    code, output = play(tmp_path, tasks, fastapi_apps=[app], key='ge"he$im')
    assert code == 0, output
    assert "he$im" not in output
    results = [json.loads((tmp_path / f"{host}.json").read_text()) for host in ("web1", "web2")]
    assert results[0] == results[1], "hosts of one run must agree on the release and its archive"
    packed = results[0]["packed"]
    assert not {"env", "credentials"} & set(packed["apps"][0])
    assert "env" not in results[0]["validated"]["apps"][0]
    assert [entry["name"] for entry in results[0]["validated"]["apps"]] == ["shop"]
    todo = packed["pending"][0]
    assert (todo["release"], todo["live"], todo["built"]) == (packed["apps"][0]["release"], False, False)
    assert (todo["workers"], todo["limits"]) == (3, SIZED)
    assert todo["release"].endswith(f"Z-{todo['digest']}")
    assert not list((tmp_path / "local").glob("*")), "a run leaves nothing on the control node"
    assert not [path for path in tmp_path.iterdir() if "{" in path.name]
    if AS_ROOT:
        folder = tmp_path / "srv/releases" / todo["release"]
        assert (folder / "env").read_text() == 'DEBUG="false"\nKEY="ge\\"he\\$im"\n'
        assert (folder / "credentials/token").read_text() == 'ge"he$im'
        assert (folder / "release.json").is_file()
        assert "web1 | changed" in output or "changed: [web1]" in output


@pytest.mark.slow
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


def test_what_has_the_name_for_something_else_is_not_taken_over() -> None:
    apps = [{"name": name, "root": f"/srv/{name}"} for name in ("shop", "blog")]
    states: dict[str, dict[str, t.Any]] = {"shop": {"taken": ["a user shop (…)", "/srv/shop"]}, "blog": {"taken": []}}
    with pytest.raises(SettingsError) as caught:
        pack_action._check_names(apps, states)  # noqa: SLF001
    assert str(caught.value) == (
        "app shop: name: the host has a user shop (…) and /srv/shop already, which this collection did not make; "
        "choose another name, or have what is there renamed (a user that is to be the app's has /srv/shop as its home)"
    )
    pack_action._check_names(apps[1:], states)  # noqa: SLF001


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


# -- notify ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("check", [False, True])
def test_notify(tmp_path: Path, *, check: bool) -> None:
    rolled_out = {
        "pending": [{"name": "shop", "release": NEW}],
        "lock": {"by": "alice@laptop", "since": "2026-11-22 15:40:42 UTC", "playbook": "rollback"},
    }
    failed = {"name": "Fail", "ansible.builtin.fail": {"msg": "no disk"}, "when": "inventory_hostname == 'web2'"}
    notify = {
        "name": "Tell",
        "paddock.fastapi.notify": {"hosts": "{{ ansible_play_hosts_all }}", "result": "{{ result }}"},
        "run_once": True,
        "check_mode": check,
    }

    def tell(result: str) -> dict[str, t.Any]:
        return {**notify, "vars": {"result": result}}

    tasks: list[dict[str, t.Any]] = [
        # Nothing is new yet.
        tell("success"),
        {
            "name": "Find",
            "ansible.builtin.set_fact": {"cacheable": True, "paddock": {"apps": {"shop": {"live": LIVE}}}},
        },
        {"name": "Roll out", "ansible.builtin.set_fact": {"app_rollout": rolled_out}},
        tell("success"),
        {"name": "Try", "block": [failed], "rescue": [tell("failure")]},
    ]
    with receiving() as server:
        url = f"http://127.0.0.1:{server.server_address[1]}/services/ge{{{{ heim }}}}"
        dead = {"url": "http://127.0.0.1:9/ge{{ heim }}", "headers": {"Authorization": "Bearer ge{{ heim }}"}}
        code, output = play(
            tmp_path, tasks, heim="heim-und-still", fastapi_webhooks=[{"url": url}, dead], verbosity="-vvvv"
        )
    assert code == 0, output
    assert "heim-und-still" not in output
    warning = "fastapi_webhooks[2] (http://127.0.0.1:9) was not told of the rollout of shop: Connection refused"
    assert (warning in " ".join(output.split())) is not check
    if check:
        assert server.got == []
        return
    assert {path for path, _headers, _body in server.got} == {"/services/geheim-und-still"}
    bodies = [body for _path, _headers, body in server.got]
    assert [(body["result"], body["reason"]) for body in bodies] == [("success", ""), ("failure", "web2: no disk")]
    for body in bodies:
        assert (body["playbook"], body["by"], body["from"], body["to"]) == ("rollback", "alice@laptop", LIVE, NEW)
        assert [host["host"] for host in body["hosts"]] == ["web1", "web2"]


@pytest.mark.slow
def test_without_webhooks_nobody_is_told(tmp_path: Path) -> None:
    tasks = [{"name": "Tell", "paddock.fastapi.notify": {"hosts": ["web1"], "result": "success"}, "run_once": True}]
    code, output = play(tmp_path, tasks)
    assert code == 0, output
    assert re.search(r"web1 .*\bok=0 .*\bskipped=1\b", output)


@pytest.mark.slow
def test_mistakes_in_webhooks_end_the_run_with_those_in_apps(tmp_path: Path) -> None:
    webhook = {"url": "https://hooks.example.com/geheim geheim", "on": ["sucess"]}
    tasks = [{"name": "Validate", "paddock.fastapi.validate": None}]
    code, output = play(tmp_path, tasks, fastapi_apps=[an_app(source="gone")], fastapi_webhooks=[webhook])
    assert code != 0
    said = " ".join(output.split())
    for text in ("fastapi_webhooks[1].url: it is not a URL", "fastapi_webhooks[1].on: 'sucess'", "app shop: source: "):
        assert text in said
    assert "geheim" not in output
    assert "Traceback" not in output


# -- status ---------------------------------------------------------------------------------------------------------

FOUND: dict[str, t.Any] = {
    "ansible_facts": {"paddock": {"nginx": "1.26.3"}},
    "nginx": {"installed": True, "active": True, "enabled": True, "unloaded": False, "problem": "", "files": {}},
    "apps": [],
}
NOT_ENABLED = {**FOUND, "nginx": {**FOUND["nginx"], "enabled": False}}
NOT_FOUND = {"msg": "no systemd"}
# Each with what was found, the options, and whether it fails, or why.
REPORTS: list[tuple[dict[str, t.Any], dict[str, str], bool | str]] = [
    (FOUND, {"fail_on": "critical"}, False),
    (FOUND, {"fail_on": "warning"}, False),
    (NOT_ENABLED, {"fail_on": "critical"}, False),
    (NOT_ENABLED, {"fail_on": "warning"}, True),
    (NOT_FOUND, {"fail_on": "critical"}, True),
    (NOT_FOUND, {"fail_on": "warning"}, True),
    (NOT_FOUND, {"fail_on": "never"}, False),
    (FOUND, {"format": "json", "output": "out.json"}, False),
    (FOUND, {"format": "html", "output": "out.html"}, False),
    (FOUND, {"format": "html"}, False),
    (NOT_FOUND, {"format": "html", "output": "shared.html", "fail_on": "critical"}, True),
    (FOUND, {"format": "xml"}, "value of format must be one of: table, json, html, got: xml"),
    (FOUND, {"fail_on": "ever"}, "value of fail_on must be one of: warning, critical, never, got: ever"),
    (
        FOUND,
        {"output": "/nowhere/at/all"},
        "-e output=/nowhere/at/all: it cannot be written: No such file or directory",
    ),
]


# All in one worker, because of what they share.
of_one_run = pytest.mark.xdist_group("reports")


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, list[dict[str, t.Any]]]:
    """Make all reports in one run, and return its folder, what it said, and their results."""
    folder = tmp_path_factory.mktemp("reports")
    # What is there keeps its mode.
    (folder / "shared.html").touch(0o640)
    tasks: list[dict[str, t.Any]] = []
    for number, (found, options, _failure) in enumerate(REPORTS):
        # A path that is absolute stays as it is.
        output = {"output": str(folder / options["output"])} if "output" in options else {}
        tasks += [
            {"name": "Find", "ansible.builtin.set_fact": {"status_found": found}},
            {
                "name": "Report",
                "paddock.fastapi.status_report": {"hosts": "{{ ansible_play_hosts_all }}", **options, **output},
                "run_once": True,
                "ignore_errors": True,
                "register": f"report_{number}",
            },
        ]
    results = ", ".join(f"report_{number}" for number in range(len(REPORTS)))
    copy = {"content": f"{{{{ [{results}] | to_json }}}}", "dest": f"{folder}/results.json", "mode": "0600"}
    tasks.append({"name": "Keep", "ansible.builtin.copy": copy, "run_once": True})
    code, said = play(folder, tasks)
    assert code == 0, said
    return folder, said, json.loads((folder / "results.json").read_text())


@pytest.mark.slow
@of_one_run
@pytest.mark.parametrize("number", range(len(REPORTS)))
def test_what_makes_a_report_fail(reported: tuple[Path, str, list[dict[str, t.Any]]], number: int) -> None:
    _found, options, failure = REPORTS[number]
    result = reported[2][number]
    assert result.get("failed", False) is bool(failure)
    if failure:
        expected = f"; not well: web1, web2 (-e fail_on={options['fail_on']})" if failure is True else failure
        assert expected in result["msg"]


@pytest.mark.slow
@of_one_run
def test_a_report_is_shown_as_lines(reported: tuple[Path, str, list[dict[str, t.Any]]]) -> None:
    lines = reported[1].splitlines()
    assert "2 hosts, 0 apps: all is well" in lines
    shown = [line.split()[:2] for line in lines if line.startswith("ok  ")]
    # Of those on FOUND that are shown: the first two.
    assert shown == [["ok", "web1"], ["ok", "web2"]] * 2
    assert "Traceback" not in reported[1]


@pytest.mark.slow
@of_one_run
def test_a_report_goes_to_a_file(reported: tuple[Path, str, list[dict[str, t.Any]]]) -> None:
    folder, output, _results = reported
    assert [host["host"] for host in json.loads((folder / "out.json").read_text())["hosts"]] == ["web1", "web2"]
    assert '"hosts"' not in output
    written = [folder / name for name in ("out.json", "out.html", "shared.html")]
    assert [path.stat().st_mode & 0o777 for path in written] == [0o600, 0o600, 0o640]
    assert [path.name for path in folder.glob(".*")] == []


@pytest.mark.slow
@of_one_run
def test_a_page_is_a_file_whose_path_is_told(reported: tuple[Path, str, list[dict[str, t.Any]]]) -> None:
    folder, output, _results = reported
    for name, level in {"out.html": "ok", "status.html": "ok", "shared.html": "critical"}.items():
        assert f"The page is {folder / name}" in output.splitlines()
        assert f"<title>{level}: 2 hosts, 0 apps: " in (folder / name).read_text()


def test_a_report_is_written_whatever_a_host_says(tmp_path: Path) -> None:
    report_action._write(tmp_path / "out", "no \udcff text\n")  # noqa: SLF001
    assert (tmp_path / "out").read_bytes() == b"no ? text\n"


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
    found: dict[str, t.Any] = {"workers": {"running": 2}, "limits": {"nofile": {"running": 9}}}
    status_action._add_sizes(found, resolve([an_app(**options)])[0], HOST)  # noqa: SLF001
    assert (found["workers"]["configured"], found["limits"]["nofile"]["configured"]) == expected[:2]
    assert found["size_problem"].startswith(expected[2])
    assert bool(found["size_problem"]) is bool(expected[2])


# -- without a run of Ansible ---------------------------------------------------------------------------------------


def act(module: t.Any, arguments: dict[str, t.Any], variables: dict[str, t.Any]) -> dict[str, t.Any]:
    """Run an action as Ansible calls it, for a host with these variables."""
    task = SimpleNamespace(args=arguments, async_val=0, check_mode=False, action=module.__name__)
    connection = SimpleNamespace(_shell=SimpleNamespace(tmpdir=None))
    templar = SimpleNamespace(template=lambda value: value)
    result: dict[str, t.Any] = module.ActionModule(task, connection, None, None, templar, None).run(None, variables)
    return result


BACK: dict[str, t.Any] = {
    "live": NEW,
    "releases": [OLD, LIVE, NEW],
    "proven": {OLD: 1.0, LIVE: 2.0, NEW: 3.0},
    "bad": {},
    "warm": [LIVE],
    "lock": None,
}


def going_back(arguments: dict[str, t.Any], *names: str, **state: t.Any) -> dict[str, t.Any]:
    """Choose what a host with these apps, all of them in one state, goes back to."""
    apps = [an_app(name=name, domains=[f"{name}.example.com"], env={"A": "geheim"}) for name in names or ["shop"]]
    states = {app["name"]: {**BACK, **state} for app in apps}
    variables = {"fastapi_apps": apps, "ansible_facts": {"paddock": {"apps": states}}}
    return act(choose_action, arguments, variables)


@pytest.mark.parametrize(
    ("arguments", "names", "expected"),
    [
        ({}, ["shop"], ("shop", LIVE, True)),
        ({"release": OLD}, ["shop"], ("shop", OLD, False)),
        ({"app": "blog"}, ["shop", "blog"], ("blog", LIVE, True)),
    ],
)
def test_choosing_what_to_go_back_to(
    arguments: dict[str, t.Any], names: list[str], expected: tuple[str, str, bool]
) -> None:
    found = going_back(arguments, *names)
    (target,) = found["pending"]
    assert (target["name"], target["release"], target["warm"]) == expected
    assert [app["name"] for app in found["apps"]] == [target["name"]]
    assert target["rolled_back"] == f"it was rolled back from at {found['lock']['since']} by {found['lock']['by']}"
    assert (found["changed"], target["live"], "geheim" in str(found)) == (False, False, False)


@pytest.mark.parametrize(
    ("arguments", "names", "state", "message"),
    [
        ({}, ["shop", "blog"], {}, "this host has the apps shop, blog; say with -e app=NAME which is to go back"),
        ({"app": "shpo"}, ["shop"], {}, "there is no app 'shpo'; this host has shop"),
        ({}, ["Shop"], {}, "app Shop: name: 'Shop' is not valid"),
        ({"release": NEW}, ["shop"], {}, f"app shop: release {NEW} is live already"),
        ({}, ["shop"], {"proven": {}}, "app shop: there is no earlier good release on this host to go back to"),
        (
            {},
            ["shop"],
            {"lock": {"run": "r", "by": "ops", "control": "c", "pid": 1, "since": "today", "silent": 1}},
            "app shop: ops (process 1 there) is rolling it out since today",
        ),
        ({"relase": NEW}, ["shop"], {}, "relase"),
    ],
)
def test_nothing_to_go_back_to(
    arguments: dict[str, t.Any], names: list[str], state: dict[str, t.Any], message: str
) -> None:
    with pytest.raises(AnsibleActionFail) as caught:
        going_back(arguments, *names, **state)
    assert message in str(caught.value)


@pytest.mark.parametrize("configured", [True, False])
def test_status_has_what_is_configured_beside_what_runs(
    shop: tuple[dict[str, t.Any], Path], monkeypatch: pytest.MonkeyPatch, *, configured: bool
) -> None:
    _app, base = shop
    sent: list[dict[str, t.Any]] = []
    rollout = {"control": "elsewhere", "pid": 1, "dead": True}
    found = {
        "app": "shop" if configured else "blog",
        "live": {"release": LIVE, "fingerprint": "older"},
        "releases": [LIVE],
        "rollout": rollout,
        "workers": {"running": 2},
        "limits": {"nofile": {"running": 9}},
    }

    def execute(_self: t.Any, name: str, module_args: dict[str, t.Any], **_rest: t.Any) -> dict[str, t.Any]:
        sent.append({"name": name, **module_args})
        return {"apps": [found], "ansible_facts": {"paddock": HOST}}

    monkeypatch.setattr(status_action.ActionModule, "_execute_module", execute)
    variables = {"fastapi_apps": [an_app(source="shop", env={"A": "geheim"})], "inventory_dir": str(base)}
    result = act(status_action, {"http_port": 81}, variables)["apps"][0]
    assert (sent[0]["name"], sent[0]["http_port"]) == ("paddock.fastapi.status", 81)
    assert "geheim" not in str(sent)
    assert result["rollout"]["dead"] is True
    assert result["workers"] == {"running": 2, "configured": 3 if configured else None}
    assert result["limits"]["nofile"] == {"running": 9, "configured": 4096 if configured else None}
    if configured:
        assert (result["drift"]["settings"], result["drift"]["source"]) == (True, True)
    else:
        assert result["drift"] is None


def test_status_of_what_is_written_wrong() -> None:
    with pytest.raises(AnsibleActionFail, match="fastapi_apps is not defined for this host"):
        act(status_action, {}, {})
