#!/usr/bin/python
# Copyright (c) 2026, paddock.fastapi contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module kernel_minimum."""

from __future__ import annotations

DOCUMENTATION = r"""
module: kernel_minimum
short_description: Raise kernel limits that are too low, and never lower one
version_added: 0.1.0
description:
  - Sets whole-number kernel parameters (sysctl) that are below a minimum, now and for every boot.
  - What is high enough already is left alone, so another tool's higher value stays.
author: paddock.fastapi contributors (@paddock)
options:
  minimums:
    description: Least values by name of the parameter.
    type: dict
    required: true
  path:
    description: File that keeps what was raised.
    type: path
    default: /etc/sysctl.d/60-paddock.conf
extends_documentation_fragment:
  - ansible.builtin.action_common_attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  platform:
    platforms: linux
"""

EXAMPLES = r"""
- name: Let listen queues be long
  paddock.fastapi.kernel_minimum:
    minimums:
      net.core.somaxconn: 4096
"""

RETURN = r"""
raised:
  description: Parameters that were raised, with their value before.
  returned: always
  type: dict
  sample: {net.core.somaxconn: 128}
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.paddock.fastapi.plugins.module_utils._layout import write

HEADER = "# Managed by Ansible (paddock.fastapi): kernel limits that were too low here.\n"


class LimitError(RuntimeError):
    """The kernel does not take the value; the message says what this host allows."""


def parameter(name: str) -> Path:
    """Find the file of a parameter (sysctl(8))."""
    return Path("/proc/sys") / name.replace(".", "/")


def read(name: str) -> int:
    """Read a parameter."""
    try:
        return int(parameter(name).read_text(encoding="utf-8"))
    except OSError as error:
        raise LimitError(f"{name} does not exist on this host; remove it from the minimums") from error
    except ValueError as error:
        raise LimitError(f"{name} is no whole number; only such parameters have a minimum") from error


def kept(text: str) -> dict[str, int]:
    """Read what the file keeps."""
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line and not line.startswith("#"))
    return {name.strip(): int(value) for name, _sign, value in pairs}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "minimums": {"type": "dict", "required": True},
            "path": {"type": "path", "default": "/etc/sysctl.d/60-paddock.conf"},
        },
        supports_check_mode=True,
    )
    path = Path(module.params["path"])
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    try:
        minimums = {name: int(value) for name, value in module.params["minimums"].items()}
        raised = {name: now for name, least in minimums.items() if (now := read(name)) < least}
        # What this file raised once must stay in it, though it is high enough now.
        keep = {name: value for name, value in minimums.items() if name in raised or name in kept(before)}
        after = HEADER + "".join(f"{name} = {value}\n" for name, value in sorted(keep.items())) if keep else ""
        if not module.check_mode:
            for name in raised:
                _raise(name, minimums[name])
            if keep:
                write(path, after, 0o644)
            else:
                path.unlink(missing_ok=True)
    except (LimitError, ValueError, OSError) as error:
        module.fail_json(msg=str(error))
    diff = {"before_header": str(path), "after_header": str(path), "before": before, "after": after}
    module.exit_json(changed=bool(raised) or before != after, raised=raised, diff=diff)


def _raise(name: str, value: int) -> None:
    try:
        parameter(name).write_text(str(value), encoding="utf-8")
    except OSError as error:
        raise LimitError(
            f"{name} cannot be raised to {value} ({error.strerror}): this host allows {read(name)}; "
            "ask for no more, or raise it where the host gets it from (a container's engine, for one)"
        ) from error


if __name__ == "__main__":
    main()
