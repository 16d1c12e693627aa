# Copyright (c) 2026, paddock.fastapi contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter rollouts."""

from __future__ import annotations

DOCUMENTATION = r"""
name: rollouts
short_description: Which apps are rolled out on which hosts in this run
version_added: 0.1.0
author: paddock.fastapi contributors
description:
  - Reads what the role P(paddock.fastapi.app#role) found pending on each host, and what the playbook
    C(paddock.fastapi.deploy) has switched there.
  - By this a host does for all what is to be done once, and what was switched is undone when a later host fails.
positional: _input, hostvars
options:
  _input:
    description: Names of hosts.
    type: list
    elements: str
    required: true
  hostvars:
    description: The variable of this name.
    type: dict
    required: true
"""

EXAMPLES = r"""
undo: "{{ ansible_play_hosts_all | paddock.fastapi.rollouts(hostvars) | selectattr('switched') }}"
"""

RETURN = r"""
_value:
  description:
    - One entry per host and app, in the order of the hosts, with RV(ignore:host), RV(ignore:app) (its settings),
      RV(ignore:switched), and RV(ignore:before), the release that was live before if it was switched.
  returned: always
  type: list
  elements: dict
  sample:
    - host: web1.example.com
      app: {name: shop, release: 20261122T154042Z-0a1b2c3d4e5f}
      switched: true
      before: 20261121T090000Z-5f4e3d2c1b0a
"""

import typing as t
from collections.abc import Mapping


def rollouts(hosts: list[str], hostvars: Mapping[str, Mapping[str, t.Any]]) -> list[dict[str, t.Any]]:
    """Return one entry per host and app."""
    found = []
    for host in hosts:
        # A host that failed early, or whose batch has not begun, lacks a result.
        pending = _registered(hostvars[host], "app_rollout").get("pending", [])
        results = _registered(hostvars[host], "fastapi_switch").get("results", [])
        done = {result["item"]: result for result in results if result.get("changed") and not result.get("failed")}
        for app in pending:
            result = done.get(app["name"], {})
            found.append({"host": host, "app": app, "switched": bool(result), "before": result.get("before")})
    return found


def _registered(variables: Mapping[str, t.Any], name: str) -> Mapping[str, t.Any]:
    return t.cast("Mapping[str, t.Any]", variables[name]) if name in variables else {}


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return them by name."""
        return {"rollouts": rollouts}
