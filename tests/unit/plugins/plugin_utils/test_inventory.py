# Copyright (c) 2026, paddock.fastapi contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of reading the apps of a host, with Ansible's own templating."""

from __future__ import annotations

import multiprocessing
import os
import re
import subprocess
import typing as t
from pathlib import Path

import pytest
from ansible import constants
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from ansible_collections.paddock.fastapi.plugins.module_utils._settings import Settings, SettingsError
from ansible_collections.paddock.fastapi.plugins.plugin_utils._inventory import (
    Run,
    base_folder,
    is_dead,
    plain,
    read_apps,
)
from ansible_collections.paddock.fastapi.tests.unit.helpers import a_key, an_app, certificate_pem, key_pem, trusted


def read(folder: Path, apps: t.Any, variable: str = "fastapi_apps", **variables: t.Any) -> list[Settings]:
    (folder / "shop/shop").mkdir(parents=True, exist_ok=True)
    (folder / "shop/shop/main.py").write_text("app = None\n")
    (folder / "shop/requirements.txt").write_text("fastapi==0.165.0\n")
    found = trusted({"inventory_dir": str(folder), "fastapi_apps": apps, **variables})
    templar = Templar(loader=DataLoader(), variables=found)
    return read_apps(found, templar.template, variable)


def problems(folder: Path, apps: t.Any, **variables: t.Any) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        read(folder, apps, **variables)
    return str(caught.value).splitlines()


def app(**options: t.Any) -> dict[str, t.Any]:
    return an_app(**{"source": "shop", **options})


def test_every_option_is_templated(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        [
            app(
                domains=["{{ host }}.example.com"],
                env={"URL": "postgresql://{{ password }}@db", "N": "{{ number }}", "LIST": "{{ flag }}"},
                workers="{{ number }}",
                factory="{{ flag }}",
                health={"path": "/{{ host }}"},
            )
        ],
        host="web",
        password="geheim",  # noqa: S106 - a test's
        number=3,
        flag=True,
    )[0]
    assert found["domains"] == ["web.example.com"]
    assert found["env"]["URL"] == "postgresql://geheim@db"
    assert (found["workers"], found["factory"], found["health"]["path"]) == (3, True, "/web")
    assert {type(value) for value in (found["name"], found["domains"][0], found["env"]["URL"])} == {str}


def test_the_whole_list_may_be_a_template(tmp_path: Path) -> None:
    found = read(tmp_path, "{{ one + two }}", one=[app()], two=[app(name="blog", domains=["b.example"])])
    assert [entry["name"] for entry in found] == ["shop", "blog"]


def test_another_variable(tmp_path: Path) -> None:
    assert read(tmp_path, [], variable="app_apps", app_apps=[app()])[0]["name"] == "shop"


def test_no_variable(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        read(tmp_path, [], variable="app_apps")
    assert str(caught.value) == (
        "app ?: app_apps is not defined for this host; list the apps in the inventory or in group_vars"
    )


@pytest.mark.parametrize(
    ("options", "where"),
    [
        ({"env": {"DATABASE_URL": "x{{ vault_url }}"}}, "env.DATABASE_URL"),
        ({"workers": "{{ vault_url }}"}, "workers"),
        ({"health": {"path": "{{ vault_url }}"}}, "health.path"),
        ({"domains": ["a.example", "{{ vault_url }}"]}, "domains"),
    ],
)
def test_undefined_variables_name_app_and_option(tmp_path: Path, options: dict[str, t.Any], where: str) -> None:
    found = problems(tmp_path, [app(**options)])
    assert len(found) == 1
    pattern = rf"app shop: {re.escape(where)}: .*'vault_url' is undefined; define it, in a vault file if it is a secret"
    assert re.fullmatch(pattern, found[0])


def test_all_undefined_variables_are_named(tmp_path: Path) -> None:
    found = problems(tmp_path, [app(env={"A": "{{ a }}", "B": "{{ b }}"}), app(name="blog", python="{{ c }}")])
    assert [line.split(": ")[:2] for line in found] == [
        ["app shop", "env.A"],
        ["app shop", "env.B"],
        ["app blog", "python"],
    ]


def test_templates_that_are_wrong_name_app_and_option(tmp_path: Path) -> None:
    found = problems(tmp_path, [app(python="{{ 5 | no_such_filter }}")])
    assert found[0].startswith("app shop: python: ")
    assert "no_such_filter" in found[0]


def test_a_list_that_is_undefined_names_the_variable(tmp_path: Path) -> None:
    found = problems(tmp_path, "{{ our_apps }}")
    assert re.fullmatch(r"fastapi_apps: .*'our_apps' is undefined", found[0])


@pytest.mark.parametrize("apps", ["text", {"name": "shop"}, 5])
def test_no_list(tmp_path: Path, apps: t.Any) -> None:
    assert problems(tmp_path, apps) == ["app ?: fastapi_apps is not a list; begin each app with '- name: …'"]


def test_entries_that_are_no_apps(tmp_path: Path) -> None:
    assert problems(tmp_path, ["shop"]) == ["app number 1: 'shop' is not a mapping of options"]


def test_sources_and_certificates_are_looked_at(tmp_path: Path) -> None:
    key = a_key()
    (tmp_path / "a.crt").write_bytes(certificate_pem(key, ["blog.example.com"]))
    (tmp_path / "a.key").write_bytes(key_pem(key))
    tls = {"mode": "provided", "certificate": "a.crt", "key": "a.key"}
    assert problems(tmp_path, [app(source="../gone", tls=tls), app(name="b", source="shop>1", domains=["b.e"])]) == [
        f"app shop: source: there is no {tmp_path.parent}/gone; paths are relative to the inventory's folder",
        f"app shop: tls.certificate: {tmp_path}/a.crt does not name shop.example.com; it names blog.example.com",
        "app b: source: 'shop>1' is not pinned; write the one version that is to run, such as shop==1.4.2",
    ]
    assert read(tmp_path, [app(domains=["blog.example.com"], tls=tls)])[0]["tls"]["certificate"] == "a.crt"


def test_paths_are_relative_to_the_inventory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert base_folder({"inventory_dir": str(tmp_path)}) == tmp_path
    monkeypatch.chdir(tmp_path)
    assert base_folder({"inventory_dir": None}) == base_folder({}) == tmp_path


class Text(str):
    """A text as Ansible has them: with more than text in it."""

    __slots__ = ("tag",)


class Number(int):
    """A number of the kind."""


def test_plain() -> None:
    found = plain({Text("a"): [Text("b"), (Number(1), 1.5, True, None)], 2: {"c": Text("d")}})
    assert found == {"a": ["b", [1, 1.5, True, None]], "2": {"c": "d"}}
    assert {type(value) for value in (*found, found["a"][0], found["2"]["c"])} == {str}
    assert [type(value) for value in found["a"][1]] == [int, float, bool, type(None)]


@pytest.fixture
def local_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(constants, "DEFAULT_LOCAL_TMP", str(tmp_path))
    return tmp_path


def test_all_of_a_run_share_one_folder(local_tmp: Path) -> None:
    assert Run().folder == Run().folder == local_tmp / "paddock"
    assert Run().folder.stat().st_mode & 0o777 == 0o700


def _ask(calls: Path, answers: t.Any) -> None:
    def make() -> str:
        with calls.open("a") as file:
            file.write("made\n")
        return f"{multiprocessing.current_process().pid} é"

    answers.put((Run().once("name", make), Run().stamp()))


def test_once_is_once_for_all_processes(local_tmp: Path) -> None:
    # Ansible forks as well.
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    processes = [context.Process(target=_ask, args=(local_tmp / "calls", answers)) for _number in range(6)]
    for process in processes:
        process.start()
    found = {answers.get(timeout=10) for _process in processes}
    for process in processes:
        process.join()
    assert len(found) == 1
    assert (local_tmp / "calls").read_text() == "made\n"


def test_what_failed_once_is_tried_again(local_tmp: Path) -> None:
    assert local_tmp

    def fail() -> str:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        Run().once("name", fail)
    assert Run().once("name", lambda: "made") == "made"


def test_stamps(local_tmp: Path) -> None:
    assert local_tmp
    assert re.fullmatch(r"\d{8}T\d{6}Z", Run().stamp())
    assert Run().stamp() == Run().stamp()


def test_a_run_of_this_machine_is_dead_when_its_process_is_gone(local_tmp: Path) -> None:
    assert local_tmp
    mine = Run().holder()
    ended = subprocess.Popen(["true"])
    ended.wait()
    assert not is_dead({**mine, "pid": os.getpid()})
    assert is_dead({**mine, "pid": ended.pid})
    assert not is_dead({**mine, "pid": ended.pid, "control": "elsewhere"}), "only its own machine knows"
