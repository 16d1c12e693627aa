#!/usr/bin/python
# Copyright (c) 2026, paddock.fastapi contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin validate, which runs on the control node."""

from __future__ import annotations

DOCUMENTATION = r"""
module: validate
short_description: Check the apps of a host on the control node
version_added: 0.1.0
description:
  - Reads C(fastapi_apps) of the host, option by option, and checks all of it before the host is asked anything.
  - Every mistake is named with its app, its option, what was written, and how to mend it. All are shown at once.
  - C(fastapi_webhooks) is checked as well.
  - Sources are packed, so that whatever is wrong with one is seen here as well, and certificates are looked at.
author: paddock.fastapi contributors (@paddock)
options: {}
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
"""

EXAMPLES = r"""
- name: Validate the apps
  paddock.fastapi.validate:
  register: validated
"""

RETURN = r"""
apps:
  description: Settings of the apps, with all defaults, without what is secret.
  returned: success
  type: list
  elements: dict
  sample:
    - name: shop
      module: shop.main:app
      domains: [shop.example.com]
"""
