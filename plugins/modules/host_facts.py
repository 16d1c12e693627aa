#!/usr/bin/python
# Copyright (c) 2026, paddock.fastapi contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module host_facts."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_facts
short_description: Facts that deploying needs, in one quick call
version_added: 0.1.0
description:
  - Gathers what the roles of this collection need of a host, and which releases of its apps lie there and run.
  - It takes a fifth of the time of M(ansible.builtin.setup).
  - Of each app it says what else bears its name there, a user or folder of somebody else's, as RV(ignore:taken).
  - It fails on a host that is not Linux, or that is not run by systemd, and says so.
author: paddock.fastapi contributors (@paddock)
options:
  apps:
    description: Names of the apps to look for.
    type: list
    elements: str
    default: []
  interpreters:
    description: Python interpreters whose version is wanted, as commands or paths.
    type: list
    elements: str
    default: []
extends_documentation_fragment:
  - ansible.builtin.action_common_attributes
  - ansible.builtin.action_common_attributes.facts
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  facts:
    support: full
  platform:
    platforms: linux
"""

EXAMPLES = r"""
- name: Look at the host and at its app shop
  paddock.fastapi.host_facts:
    apps: [shop]
    interpreters: [python3]
"""

RETURN = r"""
ansible_facts:
  description: One fact, RV(ignore:paddock).
  returned: success
  type: dict
  contains:
    paddock:
      description: What the host has and what runs on it.
      returned: success
      type: dict
      sample:
        os_family: Debian
        distribution: debian
        distribution_version: "13"
        package_manager: apt
        systemd: "257"
        nginx: 1.26.3
        uv: 0.13.9
        cpus: 2
        memory_mb: 3900
        nofile_ceiling: 1048576
        nofile_ceiling_from: fs.nr_open
        somaxconn: 4096
        ipv6: true
        interpreters: {python3: 3.13.5}
        apps:
          shop:
            live: 20261122T154042Z-0a1b2c3d4e5f
            releases: [20261122T154042Z-0a1b2c3d4e5f]
            proven: {20261122T154042Z-0a1b2c3d4e5f: 1795362043.12}
            bad: {}
            warm: []
            lock: null
            running: true
            enabled: true
            stale: []
            prepared: true
            taken: []
"""


from ansible.module_utils.basic import AnsibleModule
from ansible_collections.paddock.fastapi.plugins.module_utils._host import (
    UnsupportedHostError,
    app_states,
    facts,
    python_version,
)
from ansible_collections.paddock.fastapi.plugins.module_utils._systemd import SystemdError


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "apps": {"type": "list", "elements": "str", "default": []},
            "interpreters": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    try:
        found = facts()
        found["apps"] = app_states(module.params["apps"])
        found["interpreters"] = {name: python_version(name) for name in module.params["interpreters"]}
    except (UnsupportedHostError, SystemdError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, ansible_facts={"paddock": found})


if __name__ == "__main__":
    main()
