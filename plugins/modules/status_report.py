#!/usr/bin/python
# Copyright (c) 2026, paddock.fastapi contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin status_report, which runs on the control node."""

from __future__ import annotations

DOCUMENTATION = r"""
module: status_report
short_description: Judge and show what the module status found on all hosts
version_added: 0.1.0
description:
  - Shows a table, a JSON document, or a page for a browser, of what M(paddock.fastapi.status) found on each host and
    the play registered as C(status_found). A host that has no such result, or whose task failed, is in it with the
    reason.
  - Each problem has a level. V(critical) is what users feel, or what cannot be told. V(warning) is what will hurt
    later, or what differs from the settings.
  - It is to be run once, for all hosts.
author: paddock.fastapi contributors (@paddock)
options:
  hosts:
    description: Names of the hosts to show, in this order.
    type: list
    elements: str
    required: true
  format:
    description:
      - What to make of it, a V(table) for people, V(json) for machines, or V(html), a page for a browser.
      - The page is one file that loads nothing and runs no script.
    type: str
    choices: [table, json, html]
    default: table
  output:
    description:
      - File on the control node to write that to instead, whole or not at all.
      - With O(format=html), it is V(status.html) in the current folder, unless it is said, and its path is shown.
      - Only its owner may read a new one, because it says what runs where, and what is wrong with it. One that is there
        already keeps its mode.
    type: path
  fail_on:
    description: The least level that is a failure.
    type: str
    choices: [warning, critical, never]
    default: critical
  certificate_days:
    description: How many days before its end a certificate is a warning.
    type: int
    default: 14
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
  - module: paddock.fastapi.status
"""

EXAMPLES = r"""
- name: Show what runs where
  paddock.fastapi.status_report:
    hosts: "{{ ansible_play_hosts_all }}"
    format: json
    output: status.json
  run_once: true

- name: Make a page of it
  paddock.fastapi.status_report:
    hosts: "{{ ansible_play_hosts_all }}"
    format: html
  run_once: true
"""

RETURN = r"""
level:
  description: The worst level of all problems, V(ok), V(warning) or V(critical).
  returned: always
  type: str
  sample: ok
"""
