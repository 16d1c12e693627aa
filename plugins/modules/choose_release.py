#!/usr/bin/python
# Copyright (c) 2026, paddock.fastapi contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin choose_release, which runs on the control node."""

from __future__ import annotations

DOCUMENTATION = r"""
module: choose_release
short_description: Choose the release that a rollback goes back to
version_added: 0.1.0
description:
  - Chooses the release that was live before the present one, from what M(paddock.fastapi.host_facts) found.
  - A release that is marked bad is never chosen. No source is looked at, so none needs to be there.
author: paddock.fastapi contributors (@paddock)
options:
  app:
    description: Name of the app. It may be left out where the host has only one.
    type: str
  release:
    description: Id of a release to go back to.
    type: str
  lock_wait:
    description: Seconds to wait for another rollout to end. With V(0) such a rollout is an error.
    type: int
    default: 0
extends_documentation_fragment:
  - ansible.builtin.action_common_attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  platform:
    platforms: all
notes:
  - This is an action plugin; nothing is sent to the host.
seealso:
  - module: paddock.fastapi.switch
"""

EXAMPLES = r"""
- name: Choose the release to go back to
  paddock.fastapi.choose_release:
  register: app_rollout
"""

RETURN = r"""
pending:
  description: The app with the release to go back to, and whether its instance still runs.
  returned: success
  type: list
  elements: dict
  sample:
    - name: shop
      release: 20261121T090000Z-5f4e3d2c1b0a
      warm: true
lock:
  description: Who rolls back, for the options O(paddock.fastapi.switch#module:lock) and their like.
  returned: success
  type: dict
  sample: {run: 20261122T154042Z-0a1b2c3d, by: alice@laptop, pid: 4711, since: 2026-11-22 15:40:42 UTC, dead: []}
"""
