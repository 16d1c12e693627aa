#!/usr/bin/python
# Copyright (c) 2026, paddock.fastapi contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module switch."""

from __future__ import annotations

DOCUMENTATION = r"""
module: switch
short_description: Make a release the live one, and prove it
version_added: 0.1.0
description:
  - Points C(/srv/APP/current) at a release by one rename. NGINX resolves that link at every connect, so new upstream
    connections go to the new release at once, and nothing is reloaded.
  - Then it asks through the public listener until this release answers several times in a row. If it does not, the
    link goes back to the release before, and the module fails.
  - The instance of the release is started first, if it does not run, and must then answer over its own socket. So this
    is a rollback as well. If it waits to be retired, it no longer is. It is enabled before the link is changed, so that
    a reboot at any moment brings up what is live.
  - An instance of which a process has ended since it passed its gate is marked bad, and not switched to.
  - What came of it is written into the app's log of rollouts, unless the release was live already.
  - The instance that was live is disabled, but keeps running for what it still has to answer.
author: paddock.fastapi contributors (@paddock)
options:
  app:
    description: Name of the app.
    type: str
    required: true
  release:
    description: Id of the release.
    type: str
    required: true
  state:
    description: V(absent) takes the release out of service without another in its place, if it is the live one.
    type: str
    choices: [live, absent]
    default: live
  host:
    description: Host name to ask for.
    type: str
    required: true
  address:
    description: Address of the public listener.
    type: str
    default: 127.0.0.1
  port:
    description: Port of the public listener.
    type: int
    default: 443
  certificate:
    description: File on the host with the certificate that the listener must show. Without it, plain HTTP is spoken.
    type: path
  health:
    description:
      - What a healthy answer is, as in the option C(health) of an app, with the same defaults.
      - If the instance has to be started, RV(ignore:successes) is how many answers in a row its gate takes.
    type: dict
    default: {}
  successes:
    description: How many answers in a row must come from the release.
    type: int
    default: 5
  timeout:
    description: Seconds after which the proof has failed.
    type: int
    default: 20
  bad:
    description: If given, the release that was live before is marked bad for this reason, once the switch is proven.
    type: str
  reason:
    description:
      - Why, if this undoes a switch because another host failed. The app's log of rollouts says so.
      - The release that was live for a moment is then none that a rollback would choose.
    type: str
    default: ""
  lock:
    description:
      - Who rolls out, as M(paddock.fastapi.pack) returns it. The lock of the app is taken or renewed for this run.
      - Without it, no lock is used.
    type: dict
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
  - module: paddock.fastapi.retire
"""

EXAMPLES = r"""
- name: Switch to the new release
  paddock.fastapi.switch:
    app: shop
    release: 20261122T154042Z-0a1b2c3d4e5f
    host: shop.example.com
    certificate: /etc/ssl/paddock/shop.crt
"""

RETURN = r"""
app:
  description: Name of the app.
  returned: always
  type: str
  sample: shop
before:
  description: Release that was live before; V(null) if there was none.
  returned: always
  type: str
  sample: 20261121T090000Z-5f4e3d2c1b0a
live:
  description: Release that is live now.
  returned: always
  type: str
  sample: 20261122T154042Z-0a1b2c3d4e5f
requests:
  description: Requests that the proof took.
  returned: always, except in check mode
  type: int
  sample: 5
"""

import contextlib
import functools
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.paddock.fastapi.plugins.module_utils._audit import record
from ansible_collections.paddock.fastapi.plugins.module_utils._hints import report, telling
from ansible_collections.paddock.fastapi.plugins.module_utils._instance import Instance
from ansible_collections.paddock.fastapi.plugins.module_utils._layout import App
from ansible_collections.paddock.fastapi.plugins.module_utils._lock import LockedError, take
from ansible_collections.paddock.fastapi.plugins.module_utils._probe import (
    Answer,
    Expectation,
    Target,
    as_result,
    until_healthy,
)
from ansible_collections.paddock.fastapi.plugins.module_utils._settings import Settings, SettingsError, read_health
from ansible_collections.paddock.fastapi.plugins.module_utils._systemd import SystemdError, journal

# After so many wrong answers of the new release it goes back, without waiting for the time to be over.
WRONG = 10
ENDED = "its instance ended after it had passed the gate"


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "app": {"type": "str", "required": True},
            "release": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["live", "absent"], "default": "live"},
            "host": {"type": "str", "required": True},
            "address": {"type": "str", "default": "127.0.0.1"},
            "port": {"type": "int", "default": 443},
            "certificate": {"type": "path"},
            "health": {"type": "dict", "default": {}},
            "successes": {"type": "int", "default": 5},
            "timeout": {"type": "int", "default": 20},
            "bad": {"type": "str"},
            "reason": {"type": "str", "default": ""},
            "lock": {"type": "dict"},
        },
        supports_check_mode=True,
    )
    wanted = module.params
    app = App.of(wanted["app"])
    release = wanted["release"]
    before = app.live()
    after = release if wanted["state"] == "live" else None if before == release else before
    result: dict[str, t.Any] = {
        "app": app.name,
        "before": before,
        "live": after,
        "changed": before != after,
        "diff": {"before": f"{app.current} -> {before}\n", "after": f"{app.current} -> {after}\n"},
    }
    if module.check_mode or (after != release and before == after):
        module.exit_json(**result)
    log = functools.partial(record, app, warn=module.warn)
    event = "went back" if wanted["reason"] else "rolled back" if wanted["bad"] else "switched"
    if after is None:
        app.current.unlink()
        log("went back", release=None, before=before, reason=wanted["reason"])
        app.forget_proof(release)
        module.exit_json(**result)
    if release not in app.complete():
        module.fail_json(msg=f"app {app.name}: there is no release {release} on this host; deploy it first", **result)
    unchanged = result | {"live": before, "changed": False}
    instance = Instance(app, release)
    try:
        health = read_health(app.name, wanted["health"])
        take(app, wanted["lock"])
        if problem := _start(instance, wanted, health):
            log("did not pass", release=release, before=before, reason=problem)
            module.fail_json(msg=_told(app, release, f"cannot switch to {release}: {problem}"), **unchanged)
        # Enabled before the rename: a reboot at any moment brings up what is live.
        instance.enable()
        app.point_current(release)
    except (LockedError, OSError, SettingsError, SystemdError) as error:
        if isinstance(error, OSError | SystemdError):
            log("failed", release=release, before=before, reason=f"cannot switch to it: {error}")
        module.fail_json(msg=f"app {app.name}: cannot switch to {release}: {error}", **unchanged)
    target = Target(
        wanted["host"],
        address=wanted["address"],
        port=wanted["port"],
        tls=bool(wanted["certificate"]),
        certificate=wanted["certificate"],
    )
    proven, requests, answer = until_healthy(
        target,
        Expectation.of(health, release, public=True),
        timeout=wanted["timeout"],
        successes=wanted["successes"],
        interval=0.05,
        give_up=_hopeless(release),
    )
    result |= {"requests": requests, "answer": as_result(answer)}
    if not proven:
        _go_back(app, release, before)
        log("went back", release=before, before=release, reason=answer.problem)
        state = f"{before} is live again" if before else "nothing is live, as before"
        reason = f"release {release} does not answer through {target}: {answer}\n{state}."
        module.fail_json(msg=_told(app, release, reason), **(result | {"live": before, "changed": False}))
    app.mark_proven(release)
    instance.forget_gate()
    if before != release:
        log(event, release=release, before=before, reason=wanted["reason"])
        _leave(app, before, wanted)
    module.exit_json(**result)


def _start(instance: Instance, wanted: Settings, health: Settings) -> str:
    """Have the instance run, and return what speaks against switching to it."""
    app, release = instance.app, instance.release
    if instance.ended_since_gate():
        app.mark_bad(release, ENDED)
        return ENDED
    if not instance.start() and instance.passed_gate():
        return ""
    # It did not run, or no longer: a standby instance may have been retired since it was chosen. Or it runs because a
    # run was killed before its gate.
    gate = Target(wanted["host"], socket=str(app.socket(release)), tls=bool(wanted["certificate"]))
    proven, _count, answer = until_healthy(
        gate,
        Expectation.of(health, release, public=False),
        timeout=wanted["timeout"],
        successes=health["successes"],
        interval=0.05,
    )
    return "" if proven else f"over its own socket, {answer}"


def _hopeless(release: str) -> t.Callable[[Answer], str]:
    """Count the wrong answers of the new release, and say when there are enough."""
    wrong = 0

    def give_up(answer: Answer) -> str:
        nonlocal wrong
        # The release before may still answer over connections that NGINX has kept, which says nothing of this one.
        wrong += answer.release in {None, release}
        return answer.problem if wrong >= WRONG else ""

    return give_up


def _told(app: App, release: str, reason: str) -> str:
    """Write why it failed, with the last lines of the instance."""
    unit = app.service_unit(release)
    return report(f"app {app.name}: {reason}", telling(journal(unit)), f"Last lines of {unit}")


def _go_back(app: App, release: str, before: str | None) -> None:
    if before:
        app.point_current(before)
        with contextlib.suppress(OSError, SystemdError):  # it serves; its units are what a restart would need
            Instance(app, before).install_units(before)
    else:
        app.current.unlink()
    if before != release:
        _disable(app, release)


def _leave(app: App, before: str | None, wanted: Settings) -> None:
    """Do with what was live as is wanted: it stays as what one may go back to, or not."""
    if not before:
        return
    if wanted["bad"]:
        app.mark_bad(before, wanted["bad"])
    if wanted["reason"]:
        app.forget_proof(before)
    _disable(app, before)


def _disable(app: App, release: str) -> None:
    with contextlib.suppress(SystemdError):  # it may have been removed by hand; then there is nothing to disable
        Instance(app, release).disable()


if __name__ == "__main__":
    main()
