# Copyright (c) 2026, paddock.fastapi contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter hosts_staging."""

from __future__ import annotations

DOCUMENTATION = r"""
name: hosts_staging
short_description: Which hosts of a play stage a new release of an app
version_added: 0.1.0
author: paddock.fastapi contributors
description:
  - Returns those of the given hosts on which the role P(paddock.fastapi.app#role) found the app pending,
    in their order. The first of them does what is to be done once for all hosts.
positional: _input, hostvars, app
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
  app:
    description: Name of the app.
    type: str
    required: true
"""

EXAMPLES = r"""
first: "{{ ansible_play_hosts | paddock.fastapi.hosts_staging(hostvars, 'shop') | first }}"
"""

RETURN = r"""
_value:
  description: Names of the hosts.
  type: list
  elements: str
"""

import typing as t
from collections.abc import Mapping


def hosts_staging(hosts: list[str], hostvars: Mapping[str, Mapping[str, t.Any]], app: str) -> list[str]:
    """Return the hosts on which an app is pending."""
    return [host for host in hosts if app in _pending(hostvars[host])]


def _pending(variables: Mapping[str, t.Any]) -> set[str]:
    # A host that failed before the role looked has no result.
    rollout = variables["app_rollout"] if "app_rollout" in variables else {}  # noqa: SIM401 - hostvars has no get()
    return {entry["name"] for entry in rollout.get("pending", [])}


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return them by name."""
        return {"hosts_staging": hosts_staging}
