#!/usr/bin/python
# Copyright (c) 2026, paddock.fastapi contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin pack, which runs on the control node."""

from __future__ import annotations

DOCUMENTATION = r"""
module: pack
short_description: Pack the sources of a host's apps on the control node
version_added: 0.1.0
description:
  - Checks the apps as M(paddock.fastapi.validate) does, then packs each source once per run, so that every host gets
    the same bytes, and fingerprints it.
  - A directory gives what git does not ignore; a git URL the tree of its ref; a wheel, sdist or requirement itself.
  - Compares with what M(paddock.fastapi.host_facts) found, and tells what this host has yet to stage, with the sizes
    that fit the host.
author: paddock.fastapi contributors (@paddock)
options:
  facts:
    description: What M(paddock.fastapi.host_facts) found. Default is the fact RV(ignore:paddock).
    type: dict
  variable:
    description: Name of the variable that lists the apps.
    type: str
    default: fastapi_apps
  force:
    description: Stage a release although it is marked bad.
    type: bool
    default: false
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
  - This is an action plugin; nothing is sent to the host. Archives lie in the run's temporary folder.
  - Git objects are kept in C(~/.cache/paddock.fastapi) between runs.
seealso:
  - module: paddock.fastapi.release
"""

EXAMPLES = r"""
- name: Pack the sources
  paddock.fastapi.pack:
  register: packed
"""

RETURN = r"""
apps:
  description: Settings of all apps, with RV(ignore:digest), RV(ignore:release) and RV(ignore:packed).
  returned: success
  type: list
  elements: dict
  sample:
    - name: shop
      digest: 0a1b2c3d4e5f
      release: 20261122T154042Z-0a1b2c3d4e5f
lock:
  description: Who rolls out, for the options O(paddock.fastapi.release#module:lock) and their like.
  returned: success
  type: dict
  sample: {run: 20261122T154042Z-0a1b2c3d, by: alice@laptop, pid: 4711, since: 2026-11-22 15:40:42 UTC, dead: []}
pending:
  description: Those of them that this host has yet to stage, with workers and limits as they fit it.
  returned: success
  type: list
  elements: dict
  sample: []
"""
