#!/usr/bin/python
# Copyright (c) 2026, paddock.fastapi contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module health_check."""

from __future__ import annotations

DOCUMENTATION = r"""
module: health_check
short_description: Ask an app whether it is healthy, until it is or the time is over
version_added: 0.1.0
description:
  - Asks over the socket of an instance (the gate) or through the public listener of this host, with TLS,
    the real server name and the real Host header.
  - A gate that is not passed is written into the app's log of rollouts.
  - Stops early when the instance has given up starting.
  - When it fails it says why first, then shows the last lines that the instance logged, with a hint for known causes.
author: paddock.fastapi contributors (@paddock)
options:
  app:
    description: Name of the app.
    type: str
    required: true
  release:
    description: Release that must answer. Without it any may.
    type: str
  socket:
    description: Unix socket to ask. Without it the public listener is asked.
    type: path
  host:
    description: Host name to ask for.
    type: str
    required: true
  address:
    description: Address of the public listener, or a name that has one. The default is that of this host itself,
      V(127.0.0.1) or V(::1).
    type: str
  family:
    description: V(ipv4) or V(ipv6) to ask over that alone. With V(any), the first address that somebody listens at.
    type: str
    choices: [any, ipv4, ipv6]
    default: any
  port:
    description: Port of the public listener.
    type: int
    default: 443
  certificate:
    description:
      - File on the host with the certificate that the listener must show. Without it, plain HTTP is spoken.
      - With O(socket), where no TLS is spoken, the app is told by it that its clients use HTTPS, as NGINX tells it.
    type: path
  health:
    description:
      - What a healthy answer is, as in the option C(health) of an app, with the same defaults.
      - RV(ignore:path), RV(ignore:status), RV(ignore:contains), RV(ignore:pattern), RV(ignore:json),
        RV(ignore:headers) and RV(ignore:max_seconds) count here; the README of the collection describes them.
    type: dict
    default: {}
  successes:
    description: How many healthy answers in a row it takes.
    type: int
    default: 1
  timeout:
    description: Seconds that this may take.
    type: int
    default: 60
  nofile:
    description: With O(socket), open files that each process of the instance must have been given, or more.
    type: int
  mark_bad:
    description: Mark the release bad if it is not healthy, so that it is not deployed again by accident.
    type: bool
    default: false
extends_documentation_fragment:
  - ansible.builtin.action_common_attributes
attributes:
  check_mode:
    support: full
    details: Nothing is asked in check mode, because what would be asked may not be there.
  diff_mode:
    support: none
  platform:
    platforms: linux
"""

EXAMPLES = r"""
- name: Gate a new instance over its own socket
  paddock.fastapi.health_check:
    app: shop
    release: 20261122T154042Z-0a1b2c3d4e5f
    socket: /srv/shop/releases/20261122T154042Z-0a1b2c3d4e5f/app.sock
    host: shop.example.com

- name: Check what the public sees
  paddock.fastapi.health_check:
    app: shop
    host: shop.example.com
    certificate: /etc/ssl/paddock/shop.crt

- name: Check what the public sees over IPv6, and that the database is up
  paddock.fastapi.health_check:
    app: shop
    host: shop.example.com
    family: ipv6
    certificate: /etc/ssl/paddock/shop.crt
    successes: 3
    health:
      path: /readyz
      json: {database.status: up}
      headers: {Content-Type: application/json}
      max_seconds: 0.5
"""

RETURN = r"""
requests:
  description: How many requests were made.
  returned: always, except in check mode
  type: int
  sample: 3
answer:
  description: The last answer.
  returned: always, except in check mode
  type: dict
  sample: {status: 200, body: '{"status":"ok"}', release: 20261122T154042Z-0a1b2c3d4e5f, problem: ""}
"""

import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.paddock.fastapi.plugins.module_utils._audit import record
from ansible_collections.paddock.fastapi.plugins.module_utils._hints import report, telling
from ansible_collections.paddock.fastapi.plugins.module_utils._host import nofile_ceiling
from ansible_collections.paddock.fastapi.plugins.module_utils._instance import Instance
from ansible_collections.paddock.fastapi.plugins.module_utils._layout import App
from ansible_collections.paddock.fastapi.plugins.module_utils._probe import (
    Answer,
    Expectation,
    Target,
    as_result,
    until_healthy,
)
from ansible_collections.paddock.fastapi.plugins.module_utils._settings import SettingsError, read_health
from ansible_collections.paddock.fastapi.plugins.module_utils._systemd import journal, show

# An instance that died this often while it was asked will not come up by itself.
RESTARTS = 2


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "app": {"type": "str", "required": True},
            "release": {"type": "str"},
            "socket": {"type": "path"},
            "host": {"type": "str", "required": True},
            "address": {"type": "str"},
            "family": {"type": "str", "choices": ["any", "ipv4", "ipv6"], "default": "any"},
            "port": {"type": "int", "default": 443},
            "certificate": {"type": "path"},
            "health": {"type": "dict", "default": {}},
            "successes": {"type": "int", "default": 1},
            "timeout": {"type": "int", "default": 60},
            "nofile": {"type": "int"},
            "mark_bad": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    if module.check_mode:
        module.exit_json(changed=False)
    wanted = module.params
    app = App.of(wanted["app"])
    try:
        health = read_health(app.name, wanted["health"])
    except SettingsError as error:
        module.fail_json(msg=str(error))
    release = wanted["release"] or app.live() or ""
    unit = app.service_unit(release)
    started = time.time()
    restarts = _restarts(unit) if release else 0

    def given_up(_answer: Answer) -> str:
        count = _restarts(unit) - restarts
        return f"the instance ended {count} times while it started" if count >= RESTARTS else ""

    healthy, requests, answer = until_healthy(
        Target(
            wanted["host"],
            socket=wanted["socket"],
            address=wanted["address"],
            family=wanted["family"],
            port=wanted["port"],
            tls=bool(wanted["certificate"]),
            certificate=wanted["certificate"],
        ),
        Expectation.of(health, wanted["release"], public=not wanted["socket"]),
        timeout=wanted["timeout"],
        successes=wanted["successes"],
        give_up=given_up if release else None,
    )
    result = {"changed": False, "requests": requests, "answer": as_result(answer)}
    if healthy:
        if wanted["socket"] and release:
            instance = Instance(app, release)
            given = instance.nofile() if wanted["nofile"] else None
            if given and given < wanted["nofile"]:
                ceiling, origin = nofile_ceiling()
                reason = (
                    f"limits.nofile: {wanted['nofile']} was asked for, and systemd gave {given}; "
                    f"this host allows {ceiling}: ask for less, raise {origin}, "
                    f"or look for what overrides {unit} (systemctl cat)"
                )
                record(app, "did not pass", release=release, before=app.live(), reason=reason, warn=module.warn)
                module.fail_json(msg=f"app {app.name}: {reason}", **result)
            instance.pass_gate()
        module.exit_json(**result)
    where = (
        "its own socket" if wanted["socket"] else f"{'https' if wanted['certificate'] else 'http'}://{wanted['host']}"
    )
    reason = f"app {app.name}: release {release or 'none'} is not healthy over {where}: {answer}"
    if answer.status == 404:  # noqa: PLR2004 - HTTP
        reason += "\nHint: the app has no such path; set health.path to one that answers when the app can serve."
    if wanted["mark_bad"] and release:
        app.mark_bad(release, f"it did not pass its gate: {answer.problem}")
    if wanted["socket"] and release:
        record(app, "did not pass", release=release, before=app.live(), reason=answer.problem, warn=module.warn)
    lines = telling(journal(unit, lines=200, since=started - 120)) if release else []
    module.fail_json(msg=report(reason, lines, f"Last lines of {unit}"), **result)


def _restarts(unit: str) -> int:
    found = show([unit], "NRestarts").get(unit, {})
    return int(found.get("NRestarts") or 0)


if __name__ == "__main__":
    main()
