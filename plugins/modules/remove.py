#!/usr/bin/python
# Copyright (c) 2026, paddock.fastapi contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module remove."""

from __future__ import annotations

DOCUMENTATION = r"""
module: remove
short_description: Take an app off a host
version_added: 0.1.0
description:
  - Stops and disables all instances of the app, and deletes its units, releases, certificate and key.
  - What the app itself has written, C(/srv/APP/shared), stays, and so do its user and its log of rollouts, unless
    O(purge) is set.
  - NGINX must no longer know the app; the playbook C(paddock.fastapi.remove) sees to that first.
  - What the collection did not make, a folder or user that is only called so, is refused.
author: paddock.fastapi contributors (@paddock)
options:
  app:
    description: Name of the app.
    type: str
    required: true
  purge:
    description: Whether to delete all of C(/srv/APP), and the app's user and group, as well.
    type: bool
    default: false
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
  - module: paddock.fastapi.nginx_config
"""

EXAMPLES = r"""
- name: Take the shop off this host, and keep its data
  paddock.fastapi.remove:
    app: shop
"""

RETURN = r"""
stopped:
  description: Units that were stopped or disabled.
  returned: success
  type: list
  elements: str
  sample: [shop@20261122T154042Z-0a1b2c3d4e5f.service, shop@20261122T154042Z-0a1b2c3d4e5f.socket]
deleted:
  description: Files and folders that were deleted.
  returned: success
  type: list
  elements: str
  sample: [/etc/systemd/system/shop@.service, /srv/shop/current, /srv/shop/releases]
"""

import contextlib
import pwd
import shutil
from collections.abc import Iterable
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.paddock.fastapi.plugins.module_utils import _nginx
from ansible_collections.paddock.fastapi.plugins.module_utils._audit import NAME
from ansible_collections.paddock.fastapi.plugins.module_utils._command import run
from ansible_collections.paddock.fastapi.plugins.module_utils._layout import App
from ansible_collections.paddock.fastapi.plugins.module_utils._lock import describe, holder, is_free
from ansible_collections.paddock.fastapi.plugins.module_utils._ours import TEMPLATE_UNITS, taken
from ansible_collections.paddock.fastapi.plugins.module_utils._settings import APP_NAME, NGINX_ROOT, TLS_ROOT
from ansible_collections.paddock.fastapi.plugins.module_utils._systemd import UNITS, SystemdError, show, systemctl

# The app's own, and what was rolled out of it.
KEPT = {"shared", NAME}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "app": {"type": "str", "required": True},
            "purge": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    name, purge = module.params["app"], module.params["purge"]
    if not APP_NAME.fullmatch(name):
        module.fail_json(msg=f"{name!r} is no name that an app can have")
    app = App.of(name)
    held = holder(app)
    if held and not is_free(held, {"run": ""}):
        module.fail_json(msg=f"app {name}: {describe(held)}")
    if others := taken(app):
        module.fail_json(
            msg=f"app {name}: {' and '.join(others)} on this host is somebody else's, not an app's; nothing was removed"
        )
    site = _nginx.ROOT / f"conf.d/{name}.conf"
    if site.exists() and not _nginx.is_foreign(site):
        module.fail_json(msg=f"app {name}: NGINX still knows it; run the playbook paddock.fastapi.remove -e app={name}")
    units, paths = _units(name), _paths(app, purge=purge)
    user = purge and _has_user(name)
    result = {"stopped": units, "deleted": [str(path) for path in paths], "changed": bool(units or paths or user)}
    if module.check_mode:
        module.exit_json(**result)
    try:
        if units:
            systemctl("disable", "--quiet", "--now", *units)
        _delete(paths)
        if result["changed"]:
            systemctl("daemon-reload")
            with contextlib.suppress(SystemdError):  # most did not fail
                systemctl("reset-failed", f"{name}@*", f"{name}-guard@*")
        if user:
            _delete_user(name)
    except (SystemdError, OSError) as error:
        module.fail_json(msg=f"app {name}: it cannot be removed: {error}\nRun again once that is mended.")
    module.exit_json(**result)


def _delete_user(name: str) -> None:
    done = run(["userdel", name])
    if done.returncode:
        raise OSError(done.stderr.strip() or f"userdel ended with {done.returncode}")


def _units(name: str) -> list[str]:
    """Return what runs of the app, waits for it, or comes up at boot."""
    patterns = [f"{name}@*.socket", f"{name}@*.service", f"{name}-guard@*.service"]
    patterns += [f"{name}-retire-*.timer", f"{name}-retire-*.service"]
    active = {unit for unit, entry in show(patterns, "ActiveState").items() if entry["ActiveState"] != "inactive"}
    enabled = {path.name for pattern in patterns for path in UNITS.glob(f"*.wants/{pattern}")}
    return sorted(active | enabled)


def _paths(app: App, *, purge: bool) -> list[Path]:
    """Return what lies on the host of the app."""
    found = [UNITS / f"{app.name}{suffix}" for suffix in TEMPLATE_UNITS]
    found += UNITS.glob(f"{app.name}@?*.service.d")
    found += [Path(TLS_ROOT) / f"{app.name}{suffix}" for suffix in (".crt", ".key")]
    found += [Path(NGINX_ROOT) / f"{app.name}.users", *Path(NGINX_ROOT).glob(f"{app.name}.*.users")]
    if purge:
        found.append(app.root)
    elif app.root.is_dir():
        found += [path for path in app.root.iterdir() if path.name not in KEPT]
    return sorted(path for path in found if path.exists() or path.is_symlink())


def _delete(paths: Iterable[Path]) -> None:
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _has_user(name: str) -> bool:
    with contextlib.suppress(KeyError):
        return bool(pwd.getpwnam(name))
    return False


if __name__ == "__main__":
    main()
