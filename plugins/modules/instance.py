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
    and the instance is enabled and started. It gets no traffic by that.
  - With O(state=absent) the instance is stopped and disabled, and the units of the live release come back.
    The live release itself is refused.
author: paddock.fastapi contributors
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
    description: Contents of the app's template units, C(service) and C(socket).
    type: dict
    default: {}
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
      service: "{{ lookup('ansible.builtin.template', 'app.service.j2') }}"
      socket: "{{ lookup('ansible.builtin.template', 'app.socket.j2') }}"

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

import grp
import typing as t
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.paddock.fastapi.plugins.module_utils._layout import App, write
from ansible_collections.paddock.fastapi.plugins.module_utils._systemd import UNITS, SystemdError, show, systemctl


class Instance:
    """The instance of one release on this host."""

    def __init__(self, app: App, release: str) -> None:
        self.app = app
        self.release = release
        self.units = [app.socket_unit(release), app.service_unit(release)]

    def write_units(self, contents: dict[str, str], *, check: bool) -> list[dict[str, str]]:
        """Write the app's template units and return the differences."""
        differences = []
        for kind, content in sorted(contents.items()):
            path = UNITS / f"{self.app.name}@.{kind}"
            before = path.read_text(encoding="utf-8") if path.exists() else ""
            if before != content:
                differences.append(
                    {"before_header": str(path), "after_header": str(path), "before": before, "after": content}
                )
                if not check:
                    write(path, content, 0o644)
        if differences and not check:
            systemctl("daemon-reload")
        return differences

    def write_files(self, files: dict[str, str], units: dict[str, str]) -> None:
        """Complete the release: its server configuration, and a copy of the units that it was started with."""
        group = grp.getgrnam(self.app.name).gr_gid
        folder = self.app.release(self.release)
        for name, content in files.items():
            write(folder / name, content, 0o750 if name == "run" else 0o640, group)
        (folder / "units").mkdir(mode=0o750, exist_ok=True)
        for kind, content in units.items():
            write(folder / "units" / kind, content, 0o640, group)

    def start(self) -> bool:
        """Enable and start the instance, and return whether that changed anything."""
        found = show(self.units, "ActiveState", "UnitFileState")
        enabled = all(entry["UnitFileState"] == "enabled" for entry in found.values())
        active = all(entry["ActiveState"] == "active" for entry in found.values())
        # Enabled before it gets traffic: a reboot at any moment then brings up what is live.
        if not enabled:
            systemctl("enable", "--quiet", *self.units)
        if not active:
            self._forget_failures()
            systemctl("start", *self.units)
        return not (enabled and active)

    def _forget_failures(self) -> None:
        failed = [unit for unit, entry in show(self.units, "ActiveState").items() if entry["ActiveState"] == "failed"]
        if failed:
            systemctl("reset-failed", *failed)

    def remove(self, *, check: bool) -> bool:
        """Stop and disable the instance and bring back the units of the live release."""
        found = show(self.units, "ActiveState", "UnitFileState")
        gone = all(
            entry["ActiveState"] == "inactive" and entry["UnitFileState"] != "enabled" for entry in found.values()
        )
        if check or gone:
            return not gone
        systemctl("disable", "--quiet", "--now", *self.units)
        self._forget_failures()
        live = self.app.live()
        kept = self.app.release(live) / "units" if live else Path("/nonexistent")
        if kept.is_dir():
            self.write_units({path.name: path.read_text(encoding="utf-8") for path in kept.iterdir()}, check=False)
        return True


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
            result["changed"] = instance.remove(check=module.check_mode)
        else:
            result["diff"] = instance.write_units(wanted["units"], check=module.check_mode)
            if module.check_mode:
                module.exit_json(**result, changed=True)
            instance.write_files(wanted["files"], wanted["units"])
            result["changed"] = instance.start() or bool(result["diff"])
    except (SystemdError, OSError, KeyError) as error:
        module.fail_json(
            msg=f"app {app.name}: the instance of {wanted['release']} cannot be {wanted['state']}: {error}"
        )
    module.exit_json(**result)


if __name__ == "__main__":
    main()
