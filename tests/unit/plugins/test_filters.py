# Copyright (c) 2026, paddock.fastapi contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of the filters."""

from __future__ import annotations

import typing as t

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.paddock.fastapi.plugins.filter.app_settings import app_settings
from ansible_collections.paddock.fastapi.plugins.filter.app_users import app_users
from ansible_collections.paddock.fastapi.plugins.filter.rollouts import rollouts
from ansible_collections.paddock.fastapi.plugins.module_utils._settings import public, resolve
from ansible_collections.paddock.fastapi.tests.unit.helpers import an_app


def test_app_settings() -> None:
    found = app_settings([an_app(env={"A": "geheim"})])
    assert found == [public(resolve([an_app()])[0])]
    assert "env" not in found[0]


@pytest.mark.parametrize(
    ("apps", "message"),
    [
        (None, "app ?: fastapi_apps is not a list; begin each app with '- name: …'"),
        ([an_app(worker=1)], "app shop: worker: unknown option; did you mean 'workers'?"),
    ],
)
def test_app_settings_names_mistakes(apps: t.Any, message: str) -> None:
    with pytest.raises(AnsibleFilterError) as caught:
        app_settings(apps)
    assert message in str(caught.value)


HASHED = "$6$saltsaltsalt$" + "x" * 86


def test_app_users() -> None:
    app = an_app(users={"alice": HASHED}, paths={"/admin/": {"users": {"bob": HASHED}}, "/open": {"users": {}}})
    found = app_users([app, an_app(name="blog", domains=["blog.example.com"])])
    assert sorted(found.values()) == [f"alice:{HASHED}\n", f"bob:{HASHED}\n"]
    (settings,) = app_settings([app])
    named = {rules["users_file"] for rules in settings["locations"] if rules.get("users_file")}
    assert set(found) == named, "what is written must be what NGINX is told to read"


def test_app_users_names_mistakes() -> None:
    with pytest.raises(AnsibleFilterError) as caught:
        app_users([an_app(users={"alice": "geheim"})])
    assert str(caught.value).startswith("app shop: users: the password of alice is not hashed")


class HostVars(dict[str, t.Any]):
    """Variables of a host as Ansible has them, which lack get()."""

    def get(self, *_arguments: t.Any) -> t.NoReturn:
        raise AssertionError("Ansible's have no get()")


def test_rollouts() -> None:
    switched = {"item": "blog", "changed": True, "before": "old"}
    hostvars = {
        "a": HostVars(app_rollout={"pending": [{"name": "blog"}]}, fastapi_switch={"results": [switched]}),
        "b": HostVars(app_rollout={"pending": [{"name": "blog"}, {"name": "shop"}]}),
        "c": HostVars(),
        "d": HostVars(app_rollout={"skipped": True}),
        "e": HostVars(
            app_rollout={"pending": [{"name": "shop"}]},
            fastapi_switch={"results": [{"item": "shop", "changed": True, "before": "old", "failed": True}]},
        ),
    }
    assert [
        (entry["host"], entry["app"]["name"], entry["switched"], entry["before"])
        for entry in rollouts(["e", "d", "c", "b", "a"], hostvars)
    ] == [
        ("e", "shop", False, None),
        ("b", "blog", False, None),
        ("b", "shop", False, None),
        ("a", "blog", True, "old"),
    ]
    assert rollouts(["c"], hostvars) == []
