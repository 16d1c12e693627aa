#!/usr/bin/python
# Copyright (c) 2026, paddock.fastapi contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module status."""

from __future__ import annotations

DOCUMENTATION = r"""
module: status
short_description: What runs on a host, how well, and how it differs from what is configured
version_added: 0.1.0
description:
  - Looks, in one call, at every app of C(fastapi_apps) and at every other app of this collection that the host still
    has. It asks each live app once for its health, through the public listener. It changes nothing.
  - On the control node it then compares with the settings. The settings of a release are those that the live one was
    made with if they give its digest. The source is compared as well, unless it is in git, which is not fetched.
  - M(paddock.fastapi.status_report) judges what was found, and shows it.
author: paddock.fastapi contributors (@paddock)
options:
  apps:
    description: Settings of the apps that are configured. The action plugin fills them in.
    type: list
    elements: dict
    default: []
  http_port:
    description: Port of the public listener for plain HTTP.
    type: int
    default: 80
  https_port:
    description: Port of the public listener for HTTPS.
    type: int
    default: 443
extends_documentation_fragment:
  - ansible.builtin.action_common_attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  platform:
    platforms: linux
seealso:
  - module: paddock.fastapi.status_report
"""

EXAMPLES = r"""
- name: Ask each host what runs there
  paddock.fastapi.status:
    https_port: 8443
  register: status_found
"""

RETURN = r"""
apps:
  description:
    - What was found of each app, with the keys that C(docs/status.md) describes, without level and problems.
  returned: success
  type: list
  elements: dict
  sample:
    - app: shop
      configured: true
      live: {release: 20261122T154042Z-0a1b2c3d4e5f, age_seconds: 3600, by: alice@laptop}
      running: true
      enabled: true
      workers: {running: 2, release: 2, configured: 2}
nginx:
  description: How NGINX is, and the digests of its files that the roles write.
  returned: success
  type: dict
  sample: {installed: true, active: true, enabled: true, unloaded: false, problem: "", files: {}}
ansible_facts:
  description: One fact, RV(ignore:paddock), as M(paddock.fastapi.host_facts) returns it, without its apps.
  returned: success
  type: dict
  sample:
    paddock: {os_family: Debian, systemd: "257", nginx: 1.26.3, cpus: 2, memory_mb: 3900, nofile_ceiling: 1048576}
"""


from ansible.module_utils.basic import AnsibleModule
from ansible_collections.paddock.fastapi.plugins.module_utils._host import UnsupportedHostError, facts
from ansible_collections.paddock.fastapi.plugins.module_utils._status import look
from ansible_collections.paddock.fastapi.plugins.module_utils._systemd import SystemdError


def main() -> None:
    """Run the module: the action plugin has filled in the settings of the apps."""
    module = AnsibleModule(
        argument_spec={
            "apps": {"type": "list", "elements": "dict", "default": []},
            "http_port": {"type": "int", "default": 80},
            "https_port": {"type": "int", "default": 443},
        },
        supports_check_mode=True,
    )
    wanted = module.params
    try:
        host = facts()
        found = look(wanted["apps"], wanted["http_port"], wanted["https_port"])
    except (UnsupportedHostError, SystemdError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, ansible_facts={"paddock": host}, **found)


if __name__ == "__main__":
    main()
