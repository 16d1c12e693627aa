#!/usr/bin/python
# Copyright (c) 2026, paddock.fastapi contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module release_command."""

from __future__ import annotations

DOCUMENTATION = r"""
module: release_command
short_description: Run a command of a release as its app would
version_added: 0.1.0
description:
  - Runs a command, such as a database migration, as the app's user, in the release's folder, with its environment
    and credentials, its virtual environment first on the path, and no more rights than the app has.
  - systemd runs it, so that it stops with everything it started when the time is over.
author: paddock.fastapi contributors (@paddock)
options:
  app:
    description: Name of the app, which is its user as well.
    type: str
    required: true
  release:
    description: Id of the release.
    type: str
    required: true
  argv:
    description: The command and its arguments.
    type: list
    elements: str
    required: true
  writable:
    description: Folders that it may write to.
    type: list
    elements: path
    required: true
  sandbox:
    description:
      - The app's option of this name, of which those parts count that say which files there are and who may use them.
      - What it leaves out is as safe as can be.
    type: dict
    default: {}
  timeout:
    description: Seconds that it may take.
    type: int
    default: 3600
extends_documentation_fragment:
  - ansible.builtin.action_common_attributes
attributes:
  check_mode:
    support: full
    details: Nothing is run in check mode.
  diff_mode:
    support: none
  platform:
    platforms: linux
"""

EXAMPLES = r"""
- name: Migrate the database
  paddock.fastapi.release_command:
    app: shop
    release: 20261122T154042Z-0a1b2c3d4e5f
    argv: [alembic, upgrade, head]
    writable: [/srv/shop/shared]
"""

RETURN = r"""
lines:
  description: What the command printed.
  returned: when it was run
  type: list
  elements: str
  sample: ["INFO  [alembic.runtime.migration] Running upgrade  -> 5a1c, create notes"]
"""

import shutil

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.paddock.fastapi.plugins.module_utils._audit import record
from ansible_collections.paddock.fastapi.plugins.module_utils._command import run
from ansible_collections.paddock.fastapi.plugins.module_utils._hints import report
from ansible_collections.paddock.fastapi.plugins.module_utils._layout import App
from ansible_collections.paddock.fastapi.plugins.module_utils._lock import holder

YES_NO = {True: "yes", False: "no"}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "app": {"type": "str", "required": True},
            "release": {"type": "str", "required": True},
            "argv": {"type": "list", "elements": "str", "required": True},
            "writable": {"type": "list", "elements": "path", "required": True},
            "sandbox": {"type": "dict", "default": {}},
            "timeout": {"type": "int", "default": 3600},
        },
        supports_check_mode=True,
    )
    if module.check_mode:
        module.exit_json(changed=True)
    wanted = module.params
    app = App.of(wanted["app"])
    folder = app.release(wanted["release"])
    source = folder / "src"
    program = wanted["argv"][0]
    path = f"{folder}/venv/bin:/usr/local/bin:/usr/bin:/bin"
    # A path is the source's, a name is looked up.
    found = shutil.which(source / program if "/" in program else program, path=path)
    if not found:
        module.fail_json(
            msg=f"app {app.name}: there is no command {program!r} in the release; "
            "is the package that has it in the requirements?"
        )
    sandbox = wanted["sandbox"]
    properties = {
        "User": app.name,
        "WorkingDirectory": str(source),
        "EnvironmentFile": f"{folder}/env",
        "Environment": (
            f"PATH={path} PADDOCK_APP={app.name} PADDOCK_RELEASE={wanted['release']} PADDOCK_SHARED={app.root}/shared"
        ),
        "RuntimeMaxSec": str(wanted["timeout"]),
        "NoNewPrivileges": "yes",
        "PrivateTmp": YES_NO[sandbox.get("private_tmp", True)],
        "ProtectSystem": "strict",
        "ProtectHome": YES_NO[sandbox.get("protect_home", True)],
        "ReadWritePaths": " ".join(wanted["writable"]),
        "SupplementaryGroups": " ".join(sandbox.get("supplementary_groups", [])),
        "UMask": "0027",
    }
    # systemd would expand $WORDS of a command line.
    command = ["systemd-run", "--quiet", "--wait", "--pipe", "--collect"]
    command += [f"--property={name}={value}" for name, value in properties.items()]
    command += [f"--property=LoadCredential={value}" for value in app.load_credentials(wanted["release"])]
    done = run([*command, *(word.replace("$", "$$") for word in (str(found), *wanted["argv"][1:]))], together=True)
    lines = done.stdout.splitlines()
    if done.returncode:
        reason = f"{' '.join(wanted['argv'])!r} failed with exit code {done.returncode}"
        if holder(app):  # as part of a rollout
            record(app, "failed", release=wanted["release"], before=app.live(), reason=reason, warn=module.warn)
        module.fail_json(
            msg=report(f"app {app.name}: {reason}", lines[-30:], "Its last lines"), rc=done.returncode, lines=lines
        )
    module.exit_json(changed=True, lines=lines)


if __name__ == "__main__":
    main()
