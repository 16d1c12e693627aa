#!/usr/bin/python
# Copyright (c) 2026, paddock.fastapi contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module release."""

from __future__ import annotations

DOCUMENTATION = r"""
module: release
short_description: Build a release of an app
version_added: 0.1.0
description:
  - Sends the packed source of an app to a host and builds an immutable release from it in C(/srv/APP/releases/ID),
    with its own virtual environment, byte code, environment file and credentials.
  - Hashes are checked where the source has a lock file or hashed requirements.
  - The server packages that the app does not pin itself are added as this collection pins them, by hash.
  - A release that lies there already is left alone. A build that fails leaves nothing behind.
author: paddock.fastapi contributors (@paddock)
options:
  app:
    description: One app, as M(paddock.fastapi.pack) returns it in RV(ignore:pending).
    type: dict
    required: true
  env:
    description: Environment variables of the app. They reach the host as a file and are never shown.
    type: dict
    default: {}
  credentials:
    description: Secrets that the app reads from files, by name. They reach the host as a file and are never shown.
    type: dict
    default: {}
  index_url:
    description: Package index to use, if not the public one.
    type: str
  extra_index_url:
    description: Package index that is asked first.
    type: str
  uv:
    description: Path of uv on the host.
    type: path
    required: true
  cache:
    description: Folder of uv's cache, shared by all releases.
    type: path
    default: /var/cache/paddock/uv
  lock:
    description:
      - Who rolls out, as M(paddock.fastapi.pack) returns it in RV(ignore:lock). The lock of the app is taken for it.
      - Without it, no lock is used.
    type: dict
  lock_wait:
    description: Seconds to wait for another rollout of the app to end.
    type: int
    default: 0
  archive:
    description: The packed source on the host. The action plugin sends it and fills this in, as all below.
    type: path
  environment:
    description: File of O(env) on the host.
    type: path
  credentials_file:
    description: File of O(credentials) on the host.
    type: path
  server_requirements:
    description: File of the server packages on the host.
    type: path
  tracing_requirements:
    description: File of the packages for traces on the host, for an app that has them.
    type: path
extends_documentation_fragment:
  - ansible.builtin.action_common_attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  platform:
    platforms: linux
notes:
  - Build backends of source distributions run as root here. Prefer wheels, as C(uv pip compile) with hashes gives them.
seealso:
  - module: paddock.fastapi.pack
  - module: paddock.fastapi.instance
"""

EXAMPLES = r"""
- name: Build the release
  paddock.fastapi.release:
    app: "{{ item }}"
    env: "{{ shop_environment }}"
    uv: /opt/paddock/uv/bin/uv
  loop: "{{ packed.pending }}"
"""

RETURN = r"""
release:
  description: Id of the release.
  returned: success
  type: str
  sample: 20261122T154042Z-0a1b2c3d4e5f
path:
  description: Folder of the release.
  returned: success
  type: str
  sample: /srv/shop/releases/20261122T154042Z-0a1b2c3d4e5f
seconds:
  description: What each step of the build took.
  returned: when it was built
  type: dict
  sample: {unpack: 0.02, environment: 1.31, compile: 0.12}
"""

import grp
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.paddock.fastapi.plugins.module_utils._audit import record
from ansible_collections.paddock.fastapi.plugins.module_utils._build import Build, BuildError
from ansible_collections.paddock.fastapi.plugins.module_utils._layout import App
from ansible_collections.paddock.fastapi.plugins.module_utils._lock import LockedError, take


def main() -> None:
    """Run the module: the action plugin has sent its files and filled in their paths."""
    module = AnsibleModule(
        argument_spec={
            "app": {"type": "dict", "required": True},
            # The action plugin takes these two out, and sends them as files.
            "env": {"type": "dict", "default": {}, "no_log": True},
            "credentials": {"type": "dict", "default": {}, "no_log": True},
            "index_url": {"type": "str", "no_log": True},
            "extra_index_url": {"type": "str", "no_log": True},
            "uv": {"type": "path", "required": True},
            "cache": {"type": "path", "default": "/var/cache/paddock/uv"},
            "lock": {"type": "dict"},
            "lock_wait": {"type": "int", "default": 0},
            "archive": {"type": "path"},
            "environment": {"type": "path"},
            "credentials_file": {"type": "path"},
            "server_requirements": {"type": "path"},
            "tracing_requirements": {"type": "path"},
        },
        supports_check_mode=True,
    )
    wanted = module.params["app"]
    app = App.of(wanted["name"], wanted["root"])
    release = wanted["release"]
    result = {"release": release, "path": str(app.release(release)), "changed": False}
    try:
        if not module.check_mode:
            take(app, module.params["lock"], module.params["lock_wait"])
    except (LockedError, OSError) as error:
        module.fail_json(msg=str(error), **result)
    if release in app.complete():
        module.exit_json(**result)
    result |= {"changed": True, "diff": _diff(app, wanted)}
    if module.check_mode:
        module.exit_json(**result)
    packed = wanted["packed"]
    try:
        build = Build(
            app=app,
            release=release,
            archive=Path(module.params["archive"]),
            environment=Path(module.params["environment"]),
            credentials=Path(module.params["credentials_file"]),
            added_requirements=[
                Path(module.params[name])
                for name in ("server_requirements", "tracing_requirements")
                if module.params[name]
            ],
            group=grp.getgrnam(wanted["user"]).gr_gid,
            uv=module.params["uv"],
            cache=Path(module.params["cache"]),
            python=wanted["python"],
            install=packed["install"],
            index_url=module.params["index_url"],
            extra_index_url=module.params["extra_index_url"],
            static=wanted.get("static", ()),
            metadata={
                "app": app.name,
                "id": release,
                "digest": wanted["digest"],
                "kind": packed["kind"],
                "source": packed["described"],
                "fingerprint": packed["fingerprint"],
                "module": wanted["module"],
                "server": wanted["server"],
                "by": (module.params["lock"] or {}).get("by", ""),
            },
        )
        build.run()
    except (BuildError, OSError, KeyError) as error:
        reason = f"it was not built: {error}"
        record(app, "failed", release=release, before=app.live(), reason=reason, warn=module.warn)
        module.fail_json(msg=f"app {app.name}: {error}")
    module.exit_json(**result, seconds=build.seconds)


def _diff(app: App, wanted: dict[str, object]) -> dict[str, str]:
    """Show which source replaces which."""
    live = app.live()
    before = f"{live} {app.metadata(live)['source']}\n" if live in app.complete() and live else ""
    packed = wanted["packed"]
    source = packed["described"] if isinstance(packed, dict) else ""
    header = f"newest release of {app.name}"
    return {
        "before_header": header,
        "after_header": header,
        "before": before,
        "after": f"{wanted['release']} {source}\n",
    }


if __name__ == "__main__":
    main()
