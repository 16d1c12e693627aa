#!/usr/bin/python
# Copyright (c) 2026, paddock.fastapi contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin notify, which runs on the control node."""

from __future__ import annotations

DOCUMENTATION = r"""
module: notify
short_description: Tell webhooks how a rollout ended
version_added: 0.1.0
description:
  - Sends one message for each app that was rolled out, for all hosts together, to each of C(fastapi_webhooks) that
    wants it. C(docs/howto.md) describes the messages.
  - What was rolled out is read from C(app_rollout), which M(paddock.fastapi.pack) or M(paddock.fastapi.choose_release)
    left on each host. Where nothing was new, nothing is sent. Without C(fastapi_webhooks) it is skipped.
  - A receiver that cannot be reached is a warning, without what is secret of its URL. It delays the rollout by its
    time-out at most.
  - It is to be run once, for all hosts.
author: paddock.fastapi contributors (@paddock)
options:
  hosts:
    description: Names of the hosts of the rollout.
    type: list
    elements: str
    required: true
  result:
    description: How it ended. V(went back) is a failure after which all hosts are at the release of before.
    type: str
    choices: [success, failure, went back]
    required: true
extends_documentation_fragment:
  - ansible.builtin.action_common_attributes
attributes:
  check_mode:
    support: full
    details: Nothing is sent in check mode.
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
- name: Tell that it is live
  paddock.fastapi.notify:
    hosts: "{{ ansible_play_hosts_all }}"
    result: success
  run_once: true
"""

RETURN = r"""
messages:
  description: How many messages there were to send, whoever wanted them.
  returned: if it is not skipped
  type: int
  sample: 1
"""
