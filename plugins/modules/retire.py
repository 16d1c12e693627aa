#!/usr/bin/python
# Copyright (c) 2026, paddock.fastapi contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module retire."""

from __future__ import annotations

DOCUMENTATION = r"""
module: retire
short_description: Let old instances go, and delete releases that are not kept
version_added: 0.1.0
description:
  - Every instance of the app that is not live is disabled now, and stopped by systemd itself after O(standby) seconds,
    by a transient timer. This happens though the control node has gone away.
  - Releases beyond O(keep) are deleted, the oldest first, never the live one nor one whose instance still runs.
author: paddock.fastapi contributors (@paddock)
options:
  app:
    description: Name of the app.
    type: str
    required: true
  standby:
    description: Seconds that an old instance keeps running.
    type: int
    default: 60
  keep:
    description: Releases to keep, the live one included.
    type: int
    default: 5
  lock:
    description:
      - Who rolls out, as M(paddock.fastapi.pack) returns it. The lock of the app is taken over from a run that died.
        This is the end of a rollout, so it is given back.
      - Without it, no lock is used.
    type: dict
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
  - module: paddock.fastapi.switch
"""

EXAMPLES = r"""
- name: Retire what is not live
  paddock.fastapi.retire:
    app: shop
    standby: 60
    keep: 5
"""

RETURN = r"""
retired:
  description: Releases whose instances systemd will stop.
  returned: always
  type: list
  elements: str
  sample: [20261121T090000Z-5f4e3d2c1b0a]
pruned:
  description: Releases that were deleted.
  returned: always
  type: list
  elements: str
  sample: []
"""

import contextlib

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.paddock.fastapi.plugins.module_utils._command import run
from ansible_collections.paddock.fastapi.plugins.module_utils._host import app_states
from ansible_collections.paddock.fastapi.plugins.module_utils._instance import Instance
from ansible_collections.paddock.fastapi.plugins.module_utils._layout import App, prunable
from ansible_collections.paddock.fastapi.plugins.module_utils._lock import LockedError, take
from ansible_collections.paddock.fastapi.plugins.module_utils._lock import release as give_back
from ansible_collections.paddock.fastapi.plugins.module_utils._systemd import SystemdError, systemctl


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "app": {"type": "str", "required": True},
            "standby": {"type": "int", "default": 60},
            "keep": {"type": "int", "default": 5},
            "lock": {"type": "dict"},
        },
        supports_check_mode=True,
    )
    app = App.of(module.params["app"])
    try:
        if not module.check_mode:
            take(app, module.params["lock"])
        state = app_states([app.name])[app.name]
        pruned = prunable(app.complete(), module.params["keep"], {state["live"], *state["up"]}, state["bad"])
        result = {"retired": state["stale"], "pruned": pruned, "changed": bool(state["stale"] or pruned)}
        if module.check_mode:
            module.exit_json(**result)
        for release in state["stale"]:
            _retire(app, release, module.params["standby"])
        for release in pruned:
            Instance(app, release).forget()
            app.remove(release)
        give_back(app, module.params["lock"])
    except (LockedError, SystemdError, OSError) as error:
        module.fail_json(msg=f"app {app.name}: cannot retire old releases: {error}")
    module.exit_json(**result)


def _retire(app: App, release: str, standby: int) -> None:
    """Disable an instance now and have systemd stop it later."""
    instance = Instance(app, release)
    units = instance.units
    instance.disable()
    if not standby:
        systemctl("stop", *units)
        with contextlib.suppress(SystemdError):  # most did not fail
            systemctl("reset-failed", *units)
        return
    command = ["systemd-run", "--quiet", "--collect", f"--unit={app.name}-retire-{release}", f"--on-active={standby}"]
    # A second of slack, not the minute that timers have by default.
    command += ["--timer-property=AccuracySec=1s", f"--description=Stop the old instance {release} of {app.name}"]
    # The live release is never stopped: by then a rollback may have made this one live again.
    # One that had to be killed is forgotten: as a failed unit it would be retired anew by every run, and never pruned.
    # No quotes, semicolons or variables: systemd 252 misreads what it wrote of them itself, whenever it is reloaded.
    script = (
        f"test ! {app.current} -ef {app.release(release)} && systemctl stop {' '.join(units)} "
        f"&& systemctl reset-failed {' '.join(units)} 2>/dev/null || true"
    )
    command += ["/bin/sh", "-c", script]
    done = run(command)
    if done.returncode:
        raise SystemdError(done.stderr.strip())


if __name__ == "__main__":
    main()
