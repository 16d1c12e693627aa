"""What NGINX is told depends on its version, and the test hosts have only two of them."""

from __future__ import annotations

import typing as t
from pathlib import Path

import jinja2
import pytest
import yaml
from ansible.plugins.test.core import version_compare

ROLE = Path(__file__).parents[2] / "roles/nginx"


def rendered(version: str) -> tuple[dict[str, t.Any], str]:
    """Return the role's variables that depend on the version, and nginx.conf."""
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, trim_blocks=True)  # noqa: S701 - no HTML
    environment.tests["version"] = version_compare
    written = yaml.safe_load((ROLE / "vars/main.yml").read_text())
    facts = {"paddock": {"nginx": version, "os_family": "Debian", "ipv6": True}}
    known: dict[str, t.Any] = {"ansible_facts": facts, "__nginx_users": written["__nginx_users"]}
    known |= {name: name for name in ("ansible_managed", "nginx_worker_processes", "nginx_worker_connections")}
    known |= {name: name for name in ("__nginx_nofile", "nginx_http_port", "nginx_https_port")}
    for name in ("__nginx_version", "__nginx_http2_directive", "__nginx_keepalive_min_timeout"):
        found = environment.from_string(written[name]).render(known)
        known[name] = {"True": True, "False": False}.get(found, found)
    return known, environment.from_string((ROLE / "templates/nginx.conf.j2").read_text()).render(known)


@pytest.mark.parametrize(
    ("version", "http2_directive", "spares_kept_connections"),
    [
        ("1.22.1", False, False),
        ("1.25.0", False, False),
        ("1.25.1", True, False),
        ("1.26.3", True, False),
        ("1.27.3", True, False),
        ("1.27.4", True, True),
        ("1.30.6", True, True),
        ("", True, True),  # unknown: the newest
    ],
)
def test_what_a_version_can(version: str, *, http2_directive: bool, spares_kept_connections: bool) -> None:
    known, text = rendered(version)
    assert known["__nginx_http2_directive"] is http2_directive
    assert ("keepalive_min_timeout 10s;" in text) is spares_kept_connections
