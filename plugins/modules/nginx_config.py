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
  - Changes a copy of NGINX's whole configuration and has NGINX check that. Only then are the files written, NGINX is
    reloaded, and seen to have begun anew.
  - When the check fails, nothing has been touched. When NGINX cannot use what it accepted, such as an address that
    another program listens at, every file is put back. Either way NGINX goes on with what it has, and the error names
    the file or address at fault.
  - What somebody else wrote is not touched. C(/etc/nginx/nginx.conf) is replaced all the same; what it was before is
    kept beside it, as C(nginx.conf.before-paddock).
author: paddock.fastapi contributors (@paddock)
options:
  files:
    description:
      - Contents by absolute path, below C(/etc/nginx).
      - But for C(nginx.conf) and what lies in C(/etc/nginx/paddock), their first line says V((paddock.fastapi, role
        nginx\)), by which they are known later. Where a file lies that does not say so, the module fails.
    type: dict
    required: true
  secret:
    description: Further files, which only root and O(group) can read. Their contents are not shown.
    type: dict
    default: {}
  group:
    description: Group that NGINX runs as.
    type: str
    default: www-data
  absent:
    description:
      - Files of NGINX's package that must not be there, such as the site that it brings.
      - One that somebody has changed is somebody's site, and stays.
    type: list
    elements: path
    default: []
  exclusive:
    description:
      - Patterns of files of the collection's own that must not be there, unless they are among O(files) or O(secret).
    type: list
    elements: str
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

import grp
import hashlib
import os
import re
import shutil
import typing as t
from collections.abc import Mapping
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.paddock.fastapi.plugins.module_utils import _nginx
from ansible_collections.paddock.fastapi.plugins.module_utils._command import run
from ansible_collections.paddock.fastapi.plugins.module_utils._layout import write
from ansible_collections.paddock.fastapi.plugins.module_utils._systemd import SystemdError, show, systemctl

# What a file or link was: a link's target or a file's content; None if there was nothing.
Former = t.Optional[tuple[t.Literal["link", "file"], bytes]]  # noqa: UP045 - this is no annotation


def former(path: Path) -> Former:
    """Remember what is at a path. NGINX does not care about encodings, so neither does this."""
    if path.is_symlink():
        return "link", os.fsencode(path.readlink())
    return ("file", path.read_bytes()) if path.exists() else None


class Files:
    """Files of NGINX's, as they are to be. What only some may read has a group."""

    def __init__(self, wanted: Mapping[Path, str | None], groups: Mapping[Path, int]) -> None:
        self.groups = groups
        self.before = {path: former(path) for path in wanted}
        changes = {path: as_former(content) for path, content in wanted.items()}
        self.changes = {path: becomes for path, becomes in changes.items() if self.before[path] != becomes}
        self._keep(_nginx.ROOT / _nginx.MAIN)

    def _keep(self, path: Path) -> None:
        """Have a copy made of somebody else's file that is to be replaced, unless there is one."""
        beside = path.with_name(f"{path.name}.before-paddock")
        if path in self.changes and _nginx.is_foreign(path) and not beside.exists():
            self.before[beside], self.changes[beside] = None, self.before[path]

    def put(self, path: Path, was: Former, place: Path | None = None) -> None:
        """Have a file or link, or nothing, at a path. place: where that path is meanwhile."""
        place = place or path
        if was and was[0] == "file":
            place.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            group = self.groups.get(path)
            write(place, was[1], 0o644 if group is None else 0o640, group or 0)
            return
        place.unlink(missing_ok=True)
        if was:
            place.symlink_to(os.fsdecode(was[1]))

    def change(self, root: Path = Path("/")) -> None:
        """Make all changes. root: of a copy of NGINX's folder."""
        for path, becomes in self.changes.items():
            inside = root / path.relative_to(_nginx.ROOT) if root != Path("/") else path
            self.put(path, becomes, inside)

    def restore(self) -> None:
        """Put back what was there."""
        for path in self.changes:
            self.put(path, self.before[path])


def apply(files: Files) -> str:
    """Have NGINX use the files. Returns what it has against them; then nothing has been touched."""
    problem = _nginx.rehearse(files.change) if files.changes else _nginx.check()
    if problem:
        return problem
    if files.changes:
        _nginx.UNLOADED.touch()
        files.change()
    unit = show(["nginx.service"], "ActiveState", "NeedDaemonReload")["nginx.service"]
    if unit.get("NeedDaemonReload") == "yes":
        systemctl("daemon-reload")
    if _nginx.UNLOADED.exists():
        if unit["ActiveState"] == "active":
            _nginx.reload()
        _nginx.UNLOADED.unlink()
    return ""


def is_as_packaged(name: str) -> bool:
    """Tell whether a file, or what a link leads to, is as its package brought it. Where dpkg is not at home, it is."""
    path = Path(name).resolve()
    if not shutil.which("dpkg-query") or not path.is_file():
        return True
    owner = run(["dpkg-query", "--search", str(path)]).stdout.partition(":")[0]
    brought = run(["dpkg-query", "--show", "--showformat=${Conffiles}", owner]).stdout if owner else ""
    # No secret depends on it: dpkg has no other.
    found = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    return f" {path} {found}" in brought.splitlines()


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "files": {"type": "dict", "required": True},
            "secret": {"type": "dict", "default": {}, "no_log": True},
            "group": {"type": "str", "default": "www-data"},
            "absent": {"type": "list", "elements": "path", "default": []},
            "exclusive": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    secret = {Path(path): content for path, content in module.params["secret"].items()}
    wanted: dict[Path, str | None] = {Path(path): None for path in module.params["absent"] if is_as_packaged(path)}
    unwanted = (path for pattern in module.params["exclusive"] for path in Path("/").glob(pattern.lstrip("/")))
    wanted |= {path: None for path in unwanted if not _nginx.is_foreign(path)}
    wanted |= {Path(path): content for path, content in module.params["files"].items()}
    try:
        group = grp.getgrnam(module.params["group"]).gr_gid if secret else 0
        files = Files({**wanted, **secret}, dict.fromkeys(secret, group))
    except (KeyError, OSError) as error:
        module.fail_json(msg=f"NGINX cannot be configured: {error}")
    if foreign := [path for path in files.changes if files.changes[path] and _is_in_the_way(path)]:
        names = " and ".join(map(str, foreign))
        module.fail_json(
            msg=f"NGINX cannot be configured: {names} would be replaced, and is not ours; rename it, or call the app "
            "otherwise. Nothing was changed."
        )
    result = {
        "written": sorted(str(path) for path in files.changes),
        "changed": bool(files.changes),
        "diff": [
            _diff(path, files.before[path], becomes, secret=path in secret)
            for path, becomes in sorted(files.changes.items())
        ],
    }
    if module.check_mode:
        module.exit_json(**result)
    unloaded = _nginx.UNLOADED.exists()
    try:
        problem = apply(files)
        touched, problem = not problem, _explain(problem, wanted) if problem else ""
    except (OSError, SystemdError) as error:
        touched, problem = True, f"NGINX cannot be configured: {error}"
    if problem:
        if touched:
            # If the files stayed, the next run would find nothing to change and never load them.
            files.restore()
            if not unloaded:
                # NGINX has loaded what is there again. A reload would cost idle clients their connections.
                _nginx.UNLOADED.unlink(missing_ok=True)
        result |= {"changed": False, "written": []}
        module.fail_json(
            msg=f"{problem}\nIts files are as they were before, and NGINX goes on with what it has loaded.", **result
        )
    module.exit_json(**result)


def as_former(content: str | None) -> Former:
    """Say how a file with this content is remembered."""
    return None if content is None else ("file", content.encode())


def _is_in_the_way(path: Path) -> bool:
    return path != _nginx.ROOT / _nginx.MAIN and _nginx.is_foreign(path)


def _explain(problem: str, ours: t.Container[Path]) -> str:
    found = re.search(r" in (/\S+):(\d+)", problem)
    if found and Path(found.group(1)) not in ours:
        advice = f"{found.group(1)} (line {found.group(2)}) is not ours; repair or remove it, then run again"
    else:
        advice = "correct the settings that this comes from, then run again"
    return f"NGINX does not accept its configuration: {advice}.\n{problem}"


def _diff(path: Path, was: Former, becomes: Former, *, secret: bool) -> dict[str, str]:
    before, after = (state[1].decode(errors="replace") if state else "" for state in (was, becomes))
    if secret:
        before, after = before and "(secret, as it was)\n", after and "(secret, changed)\n"
    return {"before_header": str(path), "after_header": str(path), "before": before, "after": after}


if __name__ == "__main__":
    main()
