#!/usr/bin/python
# Copyright (c) 2026, paddock.fastapi contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module instance."""

from __future__ import annotations

DOCUMENTATION = r"""
module: instance
short_description: Start or remove the instance of a release
version_added: 0.1.0
description:
  - An instance is a release that runs, as C(APP@ID.service) behind C(APP@ID.socket).
  - With O(state=started) the release gets its server configuration, the template units of the app are written,
    and the instance is started. It gets no traffic by that, and does not come up at boot before
    M(paddock.fastapi.switch) makes it the live one.
  - With O(state=absent) the instance is stopped and disabled, and the units of the live release come back.
    The live release itself is refused.
author: paddock.fastapi contributors (@paddock)
options:
  app:
    description: Name of the app.
    type: str
    required: true
  root:
    description: Folder of the app. Default is C(/srv/APP).
    type: path
  release:
    description: Id of the release.
    type: str
    required: true
  state:
    description: What the instance is to be.
    type: str
    choices: [started, absent]
    default: started
  files:
    description:
      - Server configuration of the release, by file name. C(run) is what systemd starts.
      - It is written once, because a release does not change.
    type: dict
    default: {}
  units:
    description: Contents of the app's template units, by what follows the app's name in theirs.
    type: dict
    default: {}
  lock:
    description:
      - Who rolls out, as M(paddock.fastapi.pack) returns it. With O(state=started) the lock of the app is taken or
        renewed, with O(state=absent) it is given back.
      - Without it, no lock is used.
    type: dict
extends_documentation_fragment:
  - ansible.builtin.action_common_attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  platform:
    platforms: linux
seealso:
  - module: paddock.fastapi.release
  - module: paddock.fastapi.health_check
"""

EXAMPLES = r"""
- name: Start the instance
  paddock.fastapi.instance:
    app: shop
    release: 20261122T154042Z-0a1b2c3d4e5f
    files:
      run: "{{ lookup('ansible.builtin.template', 'run.j2') }}"
    units:
      "@.service": "{{ lookup('ansible.builtin.template', 'app.service.j2') }}"
      "@.socket": "{{ lookup('ansible.builtin.template', 'app.socket.j2') }}"

- name: Remove an instance that did not pass its gate
  paddock.fastapi.instance:
    app: shop
    release: 20261122T154042Z-0a1b2c3d4e5f
    state: absent
"""

RETURN = r"""
units:
  description: The units of the instance.
  returned: success
  type: list
  elements: str
  sample: [shop@20261122T154042Z-0a1b2c3d4e5f.socket, shop@20261122T154042Z-0a1b2c3d4e5f.service]
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.paddock.fastapi.plugins.module_utils._audit import record
from ansible_collections.paddock.fastapi.plugins.module_utils._instance import Instance
from ansible_collections.paddock.fastapi.plugins.module_utils._layout import App
from ansible_collections.paddock.fastapi.plugins.module_utils._lock import LockedError, holder, is_free, take
from ansible_collections.paddock.fastapi.plugins.module_utils._lock import release as give_back
from ansible_collections.paddock.fastapi.plugins.module_utils._systemd import SystemdError


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "app": {"type": "str", "required": True},
            "root": {"type": "path"},
            "release": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["started", "absent"], "default": "started"},
            "files": {"type": "dict", "default": {}},
            "units": {"type": "dict", "default": {}},
            "lock": {"type": "dict"},
        },
        supports_check_mode=True,
    )
    wanted = module.params
    app = App.of(wanted["app"], wanted["root"])
    instance = Instance(app, wanted["release"])
    result: dict[str, t.Any] = {"units": instance.units}
    try:
        if wanted["state"] == "absent":
            if app.live() == wanted["release"]:
                module.fail_json(msg=f"app {app.name}: {wanted['release']} is live; switch to another release first")
            if wanted["lock"] and not is_free(holder(app), wanted["lock"]):
                # A run that was refused the lock cleans up after nobody.
                module.exit_json(**result, changed=False)
            result["changed"] = instance.remove(check=module.check_mode)
            if not module.check_mode:
                give_back(app, wanted["lock"])
        else:
            if not module.check_mode and wanted["release"] not in app.complete():
                module.fail_json(
                    msg=f"app {app.name}: there is no release {wanted['release']} on this host; build it first"
                )
            result["diff"] = instance.write_units(wanted["units"], check=module.check_mode)
            if module.check_mode:
                module.exit_json(**result, changed=bool(result["diff"]) or not instance.is_up())
            take(app, wanted["lock"])
            instance.write_files(wanted["files"], wanted["units"])
            result["changed"] = instance.start() or bool(result["diff"])
    except (LockedError, SystemdError, OSError, KeyError) as error:
        if wanted["state"] == "started" and not (module.check_mode or isinstance(error, LockedError)):
            reason = f"it was not started: {error}"
            record(app, "failed", release=wanted["release"], before=app.live(), reason=reason, warn=module.warn)
        module.fail_json(
            msg=f"app {app.name}: the instance of {wanted['release']} cannot be {wanted['state']}: {error}"
        )
    module.exit_json(**result)


if __name__ == "__main__":
    main()
