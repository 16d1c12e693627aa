"""What systemd and the servers are told of an app, and what of it follows from which option."""

from __future__ import annotations

import shlex
import typing as t
from pathlib import Path

import jinja2
import pytest
from ansible.plugins.filter.core import ternary
from ansible_collections.paddock.fastapi.plugins.module_utils._settings import SANDBOX, public, resolve, size
from ansible_collections.paddock.fastapi.tests.unit.helpers import NEW, an_app

TEMPLATES = Path(__file__).parents[2] / "roles/service/templates"
HOST = {"nofile_ceiling": 1048576, "nofile_ceiling_from": "fs.nr_open", "memory_mb": 4096, "cpus": 4}
# As Ansible has it: what is no HTML is not escaped.
ENVIRONMENT = jinja2.Environment(
    loader=jinja2.FileSystemLoader(TEMPLATES),
    trim_blocks=True,
    undefined=jinja2.StrictUndefined,
    autoescape=jinja2.select_autoescape(),
)
ENVIRONMENT.filters["ternary"] = ternary


def written(template: str, **options: t.Any) -> str:
    """Return what the role writes for an app."""
    (app,) = resolve([an_app(**options)])
    settings = {**public(size(app, HOST)), "release": NEW, "app_dir": "."}
    template_of = ENVIRONMENT.get_template(template)
    return template_of.render(__service_app=settings, ansible_managed="managed", service_proxy_group="www-data")


def unit(template: str = "app.service.j2", **options: t.Any) -> dict[str, list[str]]:
    """Return the directives of a unit: all values, by name."""
    found: dict[str, list[str]] = {}
    for line in written(template, **options).splitlines():
        if "=" in line and not line.startswith("#"):
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


def test_only_tasks_and_files_are_limited_by_default() -> None:
    found = unit()
    assert (found["LimitNOFILE"], found["TasksMax"], found["OOMPolicy"]) == (["65536"], ["1024"], ["continue"])
    assert not {"MemoryHigh", "MemoryMax", "CPUQuota"} & set(found)


@pytest.mark.parametrize(
    ("limit", "value", "directive", "told"),
    [
        ("nofile", 4096, "LimitNOFILE", "4096"),
        ("tasks_max", 99, "TasksMax", "99"),
        ("memory_high", 300, "MemoryHigh", "300M"),
        ("memory_max", 400, "MemoryMax", "400M"),
        ("cpu_quota", 150, "CPUQuota", "150%"),
    ],
)
def test_each_limit_is_told_to_systemd(limit: str, value: int, directive: str, told: str) -> None:
    assert unit(limits={limit: value})[directive] == [told]


STRICT = {
    "CapabilityBoundingSet": [""],
    "LockPersonality": ["yes"],
    "MemoryDenyWriteExecute": ["yes"],
    "NoNewPrivileges": ["yes"],
    "PrivateDevices": ["yes"],
    "PrivateTmp": ["yes"],
    "ProtectClock": ["yes"],
    "ProtectControlGroups": ["yes"],
    "ProtectHome": ["yes"],
    "ProtectHostname": ["yes"],
    "ProtectKernelLogs": ["yes"],
    "ProtectKernelModules": ["yes"],
    "ProtectKernelTunables": ["yes"],
    "ProtectProc": ["invisible"],
    "ProtectSystem": ["strict"],
    "RemoveIPC": ["yes"],
    "RestrictAddressFamilies": ["AF_UNIX AF_INET AF_INET6"],
    "RestrictNamespaces": ["yes"],
    "RestrictRealtime": ["yes"],
    "RestrictSUIDSGID": ["yes"],
    "SystemCallArchitectures": ["native"],
    "SystemCallErrorNumber": ["EPERM"],
    "SystemCallFilter": ["@system-service", "~@privileged @resources"],
}
# What each switch takes away, or changes.
SWITCHES: dict[str, dict[str, list[str]]] = {
    "memory_deny_write_execute": {"MemoryDenyWriteExecute": ["no"]},
    "system_call_filter": {"SystemCallFilter": [], "SystemCallErrorNumber": []},
    "restrict_namespaces": {"RestrictNamespaces": ["no"]},
    "restrict_address_families": {"RestrictAddressFamilies": []},
    "private_devices": {"PrivateDevices": ["no"], "ProtectClock": ["no"]},
    "private_tmp": {"PrivateTmp": ["no"], "ReadWritePaths": ["/srv/shop/shared /tmp /var/tmp"]},
    "protect_home": {"ProtectHome": ["no"]},
    "protect_proc": {"ProtectProc": ["default"]},
}


@pytest.mark.parametrize("template", ["app.service.j2", "guard.service.j2"])
def test_the_sandbox_is_strict_by_default(template: str) -> None:
    found = unit(template)
    assert {name: found.get(name) for name in STRICT} == STRICT


def test_every_switch_is_known_here() -> None:
    assert set(SWITCHES) == {name for name, option in SANDBOX.items() if option.kind == "bool"}
    assert all(option.default is True for option in SANDBOX.values() if option.kind == "bool")


@pytest.mark.parametrize("switch", SWITCHES)
def test_a_switch_changes_what_it_says_and_nothing_else(switch: str) -> None:
    strict, found = unit(), unit(sandbox={switch: False})
    changed = {name: found.get(name, []) for name in {*strict, *found} if found.get(name) != strict.get(name)}
    assert changed == SWITCHES[switch]


def test_folders_and_groups_are_the_app_s_alone() -> None:
    more = {"write_paths": ["/data/a", "/mnt/b"], "supplementary_groups": ["render", "video"]}
    assert unit()["ReadWritePaths"] == ["/srv/shop/shared"]
    assert "SupplementaryGroups" not in unit()
    found = unit(sandbox=more)
    assert found["ReadWritePaths"] == ["/srv/shop/shared /data/a /mnt/b"]
    assert found["SupplementaryGroups"] == ["render video"]
    assert unit(sandbox={"private_tmp": False})["ReadWritePaths"] == ["/srv/shop/shared /tmp /var/tmp"]
    assert not {"ReadWritePaths", "SupplementaryGroups"} & set(unit("guard.service.j2", sandbox=more))


@pytest.mark.parametrize(
    ("template", "server", "told"),
    [
        ("gunicorn.conf.py.j2", "gunicorn", "max_requests = 1000\nmax_requests_jitter = 200\n"),
        (
            "uvicorn.run.j2",
            "uvicorn",
            "    --limit-max-requests 1000 --limit-max-requests-jitter 200 \\\n    --log-level info --no-access",
        ),
    ],
)
def test_workers_are_replaced_only_if_asked_for(template: str, server: str, told: str) -> None:
    assert "max" not in written(template, server=server)
    assert told in written(template, server=server, max_requests=1000)


def test_the_servers_can_read_what_they_are_told() -> None:
    options = {"max_requests": 1000, "root_path": "/api", "factory": True}
    compile(written("gunicorn.conf.py.j2", **options), "gunicorn.conf.py", "exec")
    *_comments, command = written("uvicorn.run.j2", server="uvicorn", **options).replace("\\\n", "").splitlines()
    words = shlex.split(command)
    assert words[:1] == ["exec"]
    assert words[-2:] == ["--header", f"X-Paddock-Release:{NEW}"]
    assert words[words.index("--limit-max-requests") + 1] == "1000"


def test_time_outs_reach_who_keeps_them() -> None:
    options: dict[str, t.Any] = {"timeouts": {"keepalive": 31, "stall": 83, "drain": 17, "stop": 97}}
    assert unit(**options)["TimeoutStopSec"] == ["97"]
    gunicorn = written("gunicorn.conf.py.j2", **options)
    for line in ("keepalive = 31", "timeout = 83", "graceful_timeout = 30", '    "timeout_graceful_shutdown": 17,'):
        assert f"{line}\n" in gunicorn
    del options["timeouts"]["stall"]
    uvicorn = written("uvicorn.run.j2", server="uvicorn", **options)
    assert "--timeout-keep-alive 31 --timeout-graceful-shutdown 17 " in uvicorn
