# Copyright (c) 2026, paddock.fastapi contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What docs/sizing.md promises of any inventory and any host."""

from __future__ import annotations

import copy
import json
import re
import shlex
import typing as t

import hypothesis.strategies as st
from ansible_collections.paddock.fastapi.plugins.module_utils._settings import (
    HEALTH,
    LIMITS,
    OPTIONS,
    TIMEOUTS,
    TLS,
    Option,
    Problem,
    Settings,
    SettingsError,
    resolve,
    size,
)
from ansible_collections.paddock.fastapi.tests.unit.helpers import an_app
from ansible_collections.paddock.fastapi.tests.unit.plugins.module_utils.test_settings import INVALID, VALID, nest
from hypothesis import assume, given

# What follows from it all, and is no option.
DERIVED = {
    "current",
    "locations",
    "maintenance",
    "max_requests_jitter",
    "names",
    "releases",
    "root",
    "shared",
    "static",
    "user",
    "writable",
}

# -- any inventory --------------------------------------------------------------------------------------------------

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8)
JUNK = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)


def written(option: Option) -> st.SearchStrategy[t.Any]:
    """Write something of the right kind, which may still be wrong."""
    if option.choices:
        return st.sampled_from(option.choices)
    if option.kind in {"options", "table"}:
        nested = st.fixed_dictionaries(
            {}, optional={name: each for name, inner in option.options.items() for each in [written(inner)]}
        )
        return nested if option.kind == "options" else st.dictionaries(st.sampled_from(["/a", "/a/", "b"]), nested)
    least, most = int(option.minimum), int(option.maximum)
    numbers = st.integers(least - 1, most + 1) | st.integers(least, least + 300)
    kinds: dict[str, st.SearchStrategy[t.Any]] = {
        "str": st.sampled_from(["a", "/a", "a:b", "10m", "1r/s"]),
        "int": numbers | numbers.map(str),
        "float": numbers | numbers.map(lambda number: f"{number}.5") | st.floats(),
        "bool": st.booleans(),
        "list": st.lists(st.sampled_from(["a", "a.example", "10.0.0.0/8", "/a"]), max_size=2),
        "map": st.dictionaries(st.sampled_from(["A", "b-c"]), SCALARS, max_size=2),
    }
    return kinds[option.kind]


KNOWN = st.sampled_from([nest(path, value) for path, value, *_message in [*VALID, *INVALID]])
OF_THE_KIND = st.fixed_dictionaries({}, optional={name: written(option) for name, option in OPTIONS.items()})
STRANGE = st.dictionaries(st.sampled_from(sorted(OPTIONS)) | st.text(max_size=5), JUNK, max_size=2)
PARTS = st.lists(KNOWN | OF_THE_KIND | STRANGE, max_size=3)


Result = t.TypeVar("Result")


def attempt(function: t.Callable[..., Result], *arguments: t.Any) -> tuple[Result | None, tuple[Problem, ...]]:
    """Return a result, or the problems that stand in its way. Anything else that is raised is a mistake of ours."""
    try:
        return function(*arguments), ()
    except SettingsError as error:
        return None, error.problems


@given(PARTS)
def test_any_entry_gives_complete_settings_or_a_message_that_names_the_option(parts: list[dict[str, t.Any]]) -> None:
    app = an_app()
    for part in parts:
        app |= part
    before = copy.deepcopy(app)
    found, problems = attempt(resolve, [app])
    if found is None:
        assert problems
        for problem in problems:
            named = [name for name in {*OPTIONS, *app} if re.match(re.escape(name) + r"([.\[]|$)", problem.option)]
            assert named, "it names nothing that somebody could have written"
            assert f"{problem.option}: " in str(problem)
            assert problem.message
    else:
        assert [{*settings} for settings in found] == [{*OPTIONS, *DERIVED}]
        assert {*found[0]["tls"]} >= {*TLS}
        assert {*found[0]["limits"]} == {*LIMITS}
        # It goes through Ansible's templates and to the host.
        assert json.loads(json.dumps(found[0])) == found[0]
    assert app == before, "what the user wrote was changed"


@given(JUNK)
def test_no_inventory_at_all_ends_in_a_traceback(inventory: t.Any) -> None:
    found, problems = attempt(resolve, inventory)
    assert problems if found is None else found == []


VALID_PARTS = st.lists(
    st.sampled_from([nest(path, value) for path, value in VALID]) | OF_THE_KIND, min_size=1, max_size=4
)


def resolved(parts: list[dict[str, t.Any]]) -> Settings:
    """Return settings of an app that is written well; other examples are thrown away."""
    app = an_app()
    for part in parts:
        app |= part
    try:
        return resolve([app])[0]
    except SettingsError:
        assume(False)  # noqa: FBT003 - Hypothesis has it so
        raise


def as_written(settings: Settings) -> dict[str, t.Any]:
    """Write settings as a user would who leaves nothing to be derived."""
    nested = {"tls": TLS, "health": HEALTH, "timeouts": TIMEOUTS}
    app = {name: settings[name] for name in OPTIONS}
    for name, table in nested.items():
        app[name] = {option: settings[name][option] for option in table}
    if settings["server"] == "uvicorn":
        del app["timeouts"]["stall"]
    return app | {"migrate": shlex.join(settings["migrate"]) or None, "root_path": settings["root_path"] or None}


@given(VALID_PARTS)
def test_what_is_derived_can_be_written_and_changes_nothing(parts: list[dict[str, t.Any]]) -> None:
    settings = resolved(parts)
    again = resolve([as_written(settings)])[0]
    if settings["server"] == "uvicorn":
        assert again["timeouts"].pop("stall") == settings["timeouts"]["stall"]
        again["timeouts"]["stall"] = settings["timeouts"]["stall"]
    assert again == settings


# -- any host -------------------------------------------------------------------------------------------------------

HOSTS = st.fixed_dictionaries(
    {
        "cpus": st.integers(1, 512),
        "memory_mb": st.integers(0, 2**11) | st.integers(0, 2**22),
        "nofile_ceiling": st.integers(256, 2**30),
        "nofile_ceiling_from": st.just("fs.nr_open"),
    }
)
SIZES = st.fixed_dictionaries(
    {},
    optional={
        "workers": st.integers(1, 512),
        "worker_memory": st.integers(16, 4096),
        "max_requests": st.integers(100, 10000),
        "limits": st.fixed_dictionaries(
            {},
            optional={
                "nofile": st.integers(256, 2**20),
                "tasks_max": st.integers(64, 2**12),
                "memory_high": st.integers(16, 2**16),
                "memory_max": st.integers(16, 2**16),
                "cpu_quota": st.integers(5, 102400),
            },
        ),
    },
)


@given(SIZES, HOSTS)
def test_sizes_are_what_the_host_can_give(options: dict[str, t.Any], host: dict[str, t.Any]) -> None:
    app = resolved([options])
    sized, problems = attempt(size, app, host)
    if sized is None:
        assert problems
        assert {problem.option for problem in problems} <= {"limits.nofile", "limits.tasks_max", "max_requests"}
        assert all(options.get(problem.option.partition(".")[0]) for problem in problems)
        return
    limits, quota = app["limits"], app["limits"]["cpu_quota"]
    bounds = [host["memory_mb"] - 256, limits["memory_high"], limits["memory_max"]]
    memory = min(bound for bound in bounds if bound is not None)
    cpus = min(host["cpus"], -(-quota // 100)) if quota else host["cpus"]
    workers = sized["workers"]
    if app["workers"]:
        assert workers == app["workers"]
    else:
        assert 1 <= workers <= max(2, cpus), "more than one per CPU, but for the second"
        assert workers == 1 or workers * app["worker_memory"] <= memory, "the memory does not hold them"
        assert workers >= min(max(2, cpus), memory // app["worker_memory"]), "there was room for more"
    assert not app["max_requests"] or workers > 1, "nobody answers while it is replaced"
    assert sized["limits"]["tasks_max"] > workers
    assert limits["tasks_max"] or sized["limits"]["tasks_max"] >= max(1024, 256 * workers)
    assert sized["limits"]["nofile"] <= host["nofile_ceiling"]
    assert limits["nofile"] in {None, sized["limits"]["nofile"]}
    assert {name for name in app if app[name] != sized[name]} <= {"workers", "limits"}
    assert size(sized, host) == sized, "what was derived cannot be written"


@given(SIZES, HOSTS, st.integers(0, 2**20), st.integers(0, 64))
def test_a_larger_host_never_gives_less(
    options: dict[str, t.Any], host: dict[str, t.Any], memory: int, cpus: int
) -> None:
    app = resolved([options])
    larger = {**host, "memory_mb": host["memory_mb"] + memory, "cpus": host["cpus"] + cpus}
    try:
        before = size(app, host)
        after = size(app, larger)
    except SettingsError:
        assume(False)  # noqa: FBT003 - Hypothesis has it so
        raise
    assert after["workers"] >= before["workers"]
    assert after["limits"]["tasks_max"] >= before["limits"]["tasks_max"]
