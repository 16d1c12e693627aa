"""Every role keeps its promises: spec and defaults say the same, and its files are as they should be."""

from __future__ import annotations

import re
import typing as t
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

ROLES = Path(__file__).parents[2] / "roles"
NAMES = sorted(path.name for path in ROLES.iterdir())
TASK_FILES = sorted(ROLES.glob("*/tasks/*.yml")) + sorted(ROLES.glob("*/handlers/*.yml"))
# One that begins with _ is a part of others.
TEMPLATES = sorted(ROLES.glob("*/templates/[!_]*"))
# Ansible's type for a value of Python's.
TYPES = {str: ("str", "path"), int: ("int",), bool: ("bool",), list: ("list",), dict: ("dict",)}
MAX_TASKS = 12


def relative(path: Path) -> str:
    return str(path.relative_to(ROLES))


def load(path: Path) -> t.Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def defaults_of(role: str) -> dict[str, t.Any]:
    return t.cast("dict[str, t.Any]", load(ROLES / role / "defaults/main.yml"))


def undefined_of(role: str) -> set[str]:
    """Return the variables that defaults/main.yml only describes: commented out, because their default is computed."""
    text = (ROLES / role / "defaults/main.yml").read_text(encoding="utf-8")
    return set(re.findall(rf"^# ({role}_\w+):", text, re.MULTILINE))


def entry_points(role: str) -> dict[str, t.Any]:
    return t.cast("dict[str, t.Any]", load(ROLES / role / "meta/argument_specs.yml")["argument_specs"])


def options_of(role: str) -> dict[str, dict[str, t.Any]]:
    return {name: option for entry in entry_points(role).values() for name, option in entry["options"].items()}


def tasks(entries: list[dict[str, t.Any]]) -> Iterator[dict[str, t.Any]]:
    """Yield tasks and blocks, whatever block they are in."""
    for entry in entries:
        yield entry
        for part in ("block", "rescue", "always"):
            yield from tasks(entry.get(part, []))


def templated(value: t.Any) -> bool:
    return isinstance(value, str) and "{{" in value


def test_there_are_seven_roles() -> None:
    assert NAMES == ["app", "health", "limits", "nginx", "python", "service", "tls"]


@pytest.mark.parametrize("role", NAMES)
def test_spec_and_defaults_name_the_same_variables(role: str) -> None:
    assert set(options_of(role)) == set(defaults_of(role)) | undefined_of(role)


@pytest.mark.parametrize("role", NAMES)
def test_variables_carry_the_name_of_their_role(role: str) -> None:
    variables = load(ROLES / role / "vars/main.yml")
    assert [name for name in options_of(role) if not name.startswith(f"{role}_")] == []
    assert [name for name in variables if not name.startswith(f"__{role}_")] == []


@pytest.mark.parametrize("role", NAMES)
def test_spec_has_every_literal_default_and_no_other(role: str) -> None:
    literal = {name: value for name, value in defaults_of(role).items() if not templated(value)}
    assert {name: option["default"] for name, option in options_of(role).items() if "default" in option} == literal


@pytest.mark.parametrize("role", NAMES)
def test_every_option_is_typed_and_described(role: str) -> None:
    for name, option in options_of(role).items():
        assert option.get("type"), name
        assert option.get("description"), name
        assert option["type"] != "list" or option.get("elements"), name
        if "default" in option:
            assert option["type"] in TYPES[type(option["default"])], name


@pytest.mark.parametrize("role", NAMES)
def test_options_of_apps_are_checked_in_one_place(role: str) -> None:
    for name, option in options_of(role).items():
        if name.endswith("_apps"):
            assert (option["type"], option["elements"]) == ("list", "dict"), name
            assert "options" not in option, name


@pytest.mark.parametrize("role", NAMES)
def test_computed_defaults_are_told_in_words(role: str) -> None:
    for name, option in options_of(role).items():
        if "default" not in option:
            assert "default" in str(option["description"]).lower(), name


@pytest.mark.parametrize("role", NAMES)
def test_every_entry_point_has_its_tasks(role: str) -> None:
    # A file that begins with _ is a part of others.
    files = {path.name for path in (ROLES / role / "tasks").glob("[!_]*")}
    assert {f"{name}.yml" for name in entry_points(role)} == files


@pytest.mark.parametrize("role", NAMES)
def test_roles_depend_on_no_other(role: str) -> None:
    meta = load(ROLES / role / "meta/main.yml")
    assert meta["dependencies"] == []
    others = "|".join(other for other in NAMES if other != role)
    # What the role app leaves to do is the one thing that is handed on.
    read = set(re.findall(rf"\b(?:{others})_[a-z_]+", " ".join(str(value) for value in defaults_of(role).values())))
    assert read <= {"app_rollout"}


@pytest.mark.parametrize("role", NAMES)
def test_readme_has_a_playbook(role: str) -> None:
    text = (ROLES / role / "README.md").read_text(encoding="utf-8")
    examples = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert examples, "a README without an example"
    for example in examples:
        used = [
            task.get("ansible.builtin.import_role", {}) for play in yaml.safe_load(example) for task in play["tasks"]
        ]
        assert f"paddock.fastapi.{role}" in [arguments.get("name") for arguments in used]


@pytest.mark.parametrize("path", TASK_FILES, ids=relative)
def test_every_task_is_named_and_by_full_name(path: Path) -> None:
    for task in tasks(load(path)):
        assert str(task.get("name", ""))[:1].isupper(), task
        module = next((key for key in task if "." in key), None)
        assert module or "block" in task, task
        role = task[module]["name"] if module and module.endswith(("import_role", "include_role")) else ""
        assert role.startswith("paddock.fastapi.") or not role, task


@pytest.mark.parametrize("path", TASK_FILES, ids=relative)
def test_task_files_are_short(path: Path) -> None:
    assert sum("block" not in task for task in tasks(load(path))) <= MAX_TASKS


@pytest.mark.parametrize("path", TASK_FILES, ids=relative)
def test_failures_are_never_ignored(path: Path) -> None:
    for task in tasks(load(path)):
        assert "ignore_errors" not in task, task
        assert task.get("failed_when") is not False, task


@pytest.mark.parametrize("path", TEMPLATES, ids=relative)
def test_templates_say_who_manages_the_file(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    first = next(line for line in text.splitlines() if not line.startswith("#!"))
    role = path.relative_to(ROLES).parts[0]
    assert first == f"# {{{{ ansible_managed }}}} (paddock.fastapi, role {role})"
    # A date would make a change of every run.
    assert not re.search(r"now\(|strftime|ansible_date_time|date_time", text)
