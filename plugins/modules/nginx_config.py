#!/usr/bin/python
# Copyright (c) 2026, paddock.fastapi contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module nginx_config."""

from __future__ import annotations

DOCUMENTATION = r"""
module: nginx_config
short_description: Change NGINX's configuration, all of it or nothing
version_added: 0.1.0
description:
  - Writes a set of files, has NGINX check its whole configuration, and reloads it if anything changed.
  - When the check fails, every file is put back as it was, NGINX goes on with what it has, and the error names the
    file at fault.
author: paddock.fastapi contributors
options:
  files:
    description: Contents by absolute path.
    type: dict
    required: true
  absent:
    description: Files that must not be there, such as the site that the package brings.
    type: list
    elements: path
    default: []
extends_documentation_fragment:
  - ansible.builtin.action_common_attributes
attributes:
  check_mode:
    support: full
    details: The configuration is not checked in check mode, because nothing is written.
  diff_mode:
    support: full
  platform:
    platforms: linux
"""

EXAMPLES = r"""
- name: Configure NGINX
  paddock.fastapi.nginx_config:
    files:
      /etc/nginx/nginx.conf: "{{ lookup('ansible.builtin.template', 'nginx.conf.j2') }}"
    absent:
      - /etc/nginx/sites-enabled/default
"""

RETURN = r"""
written:
  description: Files that were written or removed.
  returned: always
  type: list
  elements: str
  sample: [/etc/nginx/conf.d/shop.conf]
"""

import os
import re
import typing as t
from collections.abc import Mapping
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.paddock.fastapi.plugins.module_utils._layout import write
from ansible_collections.paddock.fastapi.plugins.module_utils._nginx import UNLOADED, check
from ansible_collections.paddock.fastapi.plugins.module_utils._systemd import SystemdError, show, systemctl

# What a file or link was: a link's target or a file's content; None if there was nothing.
Former = tuple[t.Literal["link", "file"], bytes] | None


def former(path: Path) -> Former:
    """Remember what is at a path. NGINX does not care about encodings, so neither does this."""
    if path.is_symlink():
        return "link", os.fsencode(path.readlink())
    return ("file", path.read_bytes()) if path.exists() else None


def restore(path: Path, was: Former) -> None:
    """Put back what was at a path."""
    if was and was[0] == "file":
        write(path, was[1], 0o644)
        return
    path.unlink(missing_ok=True)
    if was:
        path.symlink_to(os.fsdecode(was[1]))


def apply(changes: Mapping[Path, str | None]) -> str:
    """Write and remove files, and have NGINX use them. Returns what it has against them."""
    if changes:
        UNLOADED.touch()
    for path, content in changes.items():
        if content is None:
            path.unlink(missing_ok=True)
        else:
            path.parent.mkdir(mode=0o755, exist_ok=True)
            write(path, content, 0o644)
    problem = check()
    if UNLOADED.exists() and not problem:
        if show(["nginx.service"], "ActiveState")["nginx.service"]["ActiveState"] == "active":
            systemctl("reload", "nginx.service")
        UNLOADED.unlink()
    return problem


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "files": {"type": "dict", "required": True},
            "absent": {"type": "list", "elements": "path", "default": []},
        },
        supports_check_mode=True,
    )
    wanted: dict[Path, str | None] = {Path(path): content for path, content in module.params["files"].items()}
    wanted |= {Path(path): None for path in module.params["absent"]}
    before = {path: former(path) for path in wanted}
    changes = {path: content for path, content in wanted.items() if before[path] != _as_former(content)}
    result = {
        "written": sorted(str(path) for path in changes),
        "changed": bool(changes),
        "diff": [_diff(path, before[path], content) for path, content in sorted(changes.items())],
    }
    if module.check_mode:
        module.exit_json(**result)
    unloaded, found = UNLOADED.exists(), ""
    try:
        found = apply(changes)
        problem = _explain(found, set(wanted)) if found else ""
    except (OSError, SystemdError) as error:
        problem = f"NGINX cannot be configured: {error}"
    if problem:
        # Whatever it was: if the files stayed, the next run would find nothing to change and never load them.
        for path in changes:
            restore(path, before[path])
        if found and not unloaded:
            # NGINX has loaded what is there again. A reload by the next run would cost idle clients their connections.
            UNLOADED.unlink(missing_ok=True)
        result |= {"changed": False, "written": []}
        module.fail_json(
            msg=f"{problem}\nIts files are as they were before, and NGINX goes on with what it has loaded.", **result
        )
    module.exit_json(**result)


def _as_former(content: str | None) -> Former:
    return None if content is None else ("file", content.encode())


def _explain(problem: str, ours: set[Path]) -> str:
    found = re.search(r" in (/\S+):(\d+)", problem)
    if found and Path(found.group(1)) not in ours:
        advice = f"{found.group(1)} (line {found.group(2)}) is not ours; repair or remove it, then run again"
    else:
        advice = "correct the settings that this comes from, then run again"
    return f"NGINX does not accept its configuration: {advice}.\n{problem}"


def _diff(path: Path, was: Former, content: str | None) -> dict[str, str]:
    before = was[1].decode(errors="replace") if was else ""
    return {"before_header": str(path), "after_header": str(path), "before": before, "after": content or ""}


if __name__ == "__main__":
    main()
