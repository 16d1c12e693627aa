# Copyright (c) 2026, paddock.fastapi contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests that plugins do what they document: options, defaults, examples."""

from __future__ import annotations

import importlib
import inspect
import typing as t

import pytest
import yaml
from ansible.module_utils import basic
from ansible_collections.paddock.fastapi.tests.unit.helpers import COLLECTION, ROOT, documentation

PLUGINS = "ansible_collections.paddock.fastapi.plugins"
# The action fills these in, and takes them from nobody else.
INTERNAL = {
    "release": {"archive", "environment", "credentials_file", "server_requirements", "tracing_requirements"},
    "status": {"apps"},
}


def names(kind: str) -> list[str]:
    return sorted(path.stem for path in (ROOT / "plugins" / kind).glob("[a-z]*.py"))


def load(kind: str, name: str) -> t.Any:
    return importlib.import_module(f"{PLUGINS}.{kind}.{name}")


MODULES = names("modules")
ACTIONS = names("action")
ONLY_ACTIONS = [name for name in ACTIONS if not hasattr(load("modules", name), "main")]
FILTERS = names("filter")
CALLBACKS = names("callback")


def options(kind: str, name: str) -> dict[str, dict[str, t.Any]]:
    return documentation(load(kind, name).DOCUMENTATION)["options"] or {}


class _SpecError(Exception):
    def __init__(self, arguments: dict[str, t.Any]) -> None:
        super().__init__()
        self.arguments = arguments


def specification(name: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, t.Any]:
    """Return the arguments of AnsibleModule."""

    def stop(_self: basic.AnsibleModule, **arguments: t.Any) -> None:
        raise _SpecError(arguments)

    monkeypatch.setattr(basic.AnsibleModule, "__init__", stop)
    with pytest.raises(_SpecError) as caught:
        load("modules", name).main()
    return caught.value.arguments


def test_there_are_plugins() -> None:
    assert len(MODULES) >= 12
    assert ONLY_ACTIONS == ["choose_release", "notify", "pack", "status_report", "validate"]
    assert set(ACTIONS) <= set(MODULES), "every action is documented as a module"
    assert CALLBACKS == ["rollout"]
    assert (COLLECTION / "galaxy.yml").is_file()


@pytest.mark.parametrize("name", [name for name in MODULES if name not in ONLY_ACTIONS])
def test_options_are_as_documented(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given = specification(name, monkeypatch)
    known = {"type", "required", "default", "choices", "elements"}
    spec = {
        option: {key: value for key, value in entry.items() if key in known}
        for option, entry in given["argument_spec"].items()
    }
    documented = {
        option: {key: value for key, value in entry.items() if key in known}
        for option, entry in options("modules", name).items()
    }
    assert spec == documented
    assert given["supports_check_mode"] is True


@pytest.mark.parametrize("name", ACTIONS)
def test_actions_take_what_is_documented(name: str) -> None:
    action = load("action", name).ActionModule
    assert set(action._VALID_ARGS) == set(options("modules", name)) - INTERNAL.get(name, set())  # noqa: SLF001


@pytest.mark.parametrize("name", MODULES)
def test_documentation_of_modules(name: str) -> None:
    module = load("modules", name)
    text = documentation(module.DOCUMENTATION)
    assert text["module"] == name
    assert text["short_description"][-1] != "."
    assert {"description", "author", "version_added", "options", "attributes"} <= set(text)
    assert {"check_mode", "diff_mode", "platform"} <= set(text["attributes"])
    assert all(entry["description"] for entry in (text["options"] or {}).values())


@pytest.mark.parametrize("name", MODULES)
def test_returned_values_are_described(name: str) -> None:
    assert_described(yaml.safe_load(load("modules", name).RETURN))


def assert_described(returned: dict[str, dict[str, t.Any]]) -> None:
    """Check that each value is described, and shown as it may be: itself, or all that it contains."""
    assert returned
    for value in returned.values():
        assert {"description", "returned", "type"} <= set(value)
        if "sample" not in value:
            assert_described(value["contains"])


@pytest.mark.parametrize("name", MODULES)
def test_examples_of_modules_are_valid(name: str) -> None:
    tasks = yaml.safe_load(load("modules", name).EXAMPLES)
    known = options("modules", name)
    required = {option for option, entry in known.items() if entry.get("required")}
    assert tasks
    for task in tasks:
        given = set(task[f"paddock.fastapi.{name}"] or {})
        assert required <= given <= set(known)


@pytest.mark.parametrize("name", FILTERS)
def test_documentation_of_filters(name: str) -> None:
    plugin = load("filter", name)
    text = documentation(plugin.DOCUMENTATION)
    filters = plugin.FilterModule().filters()
    assert list(filters) == [text["name"]] == [name]
    positional = [option.strip() for option in text["positional"].split(",")]
    assert positional == list(text["options"])
    assert len(inspect.signature(filters[name]).parameters) == len(positional)
    assert f"paddock.fastapi.{name}" in str(yaml.safe_load(plugin.EXAMPLES))
    returned = yaml.safe_load(plugin.RETURN)
    assert list(returned) == ["_value"]
    assert_described(returned)
    sample = returned["_value"]["sample"]
    assert type(sample).__name__ == returned["_value"]["type"]


@pytest.mark.parametrize("name", CALLBACKS)
def test_documentation_of_callbacks(name: str) -> None:
    plugin = load("callback", name)
    text = documentation(plugin.DOCUMENTATION)
    assert (text["name"], text["type"]) == (name, plugin.CallbackModule.CALLBACK_TYPE)
    assert f"paddock.fastapi.{name}" == plugin.CallbackModule.CALLBACK_NAME
    assert text["short_description"][-1] != "."
    assert {"description", "author", "version_added"} <= set(text)
    assert f"stdout_callback = paddock.fastapi.{name}" in yaml.safe_load(plugin.EXAMPLES)["ansible.cfg"]
