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
  - Runs a command, such as a database migration, as the app's user, in the release's folder, with its environment,
    its virtual environment first on the path, and no more rights than the app has.
  - systemd runs it, so that it stops with everything it started when the time is over.
author: paddock.fastapi contributors
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
import subprocess

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.paddock.fastapi.plugins.module_utils._hints import report
from ansible_collections.paddock.fastapi.plugins.module_utils._layout import App


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "app": {"type": "str", "required": True},
            "release": {"type": "str", "required": True},
            "argv": {"type": "list", "elements": "str", "required": True},
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
    properties = {
        "User": app.name,
        "WorkingDirectory": str(source),
        "EnvironmentFile": f"{folder}/env",
        "Environment": (
            f"PATH={path} PADDOCK_APP={app.name} PADDOCK_RELEASE={wanted['release']} PADDOCK_SHARED={app.root}/shared"
        ),
        "RuntimeMaxSec": str(wanted["timeout"]),
        "NoNewPrivileges": "yes",
        "PrivateTmp": "yes",
        "ProtectSystem": "strict",
        "ProtectHome": "yes",
        "ReadWritePaths": f"{app.root}/shared",
        "UMask": "0027",
    }
    # systemd would expand $WORDS of a command line.
    command = ["systemd-run", "--quiet", "--wait", "--pipe", "--collect"]
    command += [f"--property={name}={value}" for name, value in properties.items()]
    done = subprocess.run(
        [*command, *(word.replace("$", "$$") for word in (str(found), *wanted["argv"][1:]))],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    lines = done.stdout.splitlines()
    if done.returncode:
        reason = f"app {app.name}: {' '.join(wanted['argv'])!r} failed with exit code {done.returncode}"
        module.fail_json(msg=report(reason, lines[-30:], "Its last lines"), rc=done.returncode, lines=lines)
    module.exit_json(changed=True, lines=lines)


if __name__ == "__main__":
    main()
