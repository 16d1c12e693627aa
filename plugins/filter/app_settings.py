# Copyright (c) 2026, paddock.fastapi contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter app_settings."""

from __future__ import annotations

DOCUMENTATION = r"""
name: app_settings
short_description: Everything that follows from what a user wrote for the apps of a host
version_added: 0.1.0
author: paddock.fastapi contributors
description:
  - Checks a list of apps and returns their settings with all defaults, names, paths and time-outs.
  - Every mistake is named with its app and option, and how to mend it.
  - Environment variables, credentials and index URLs are left out, because they may be secret.
positional: _input
options:
  _input:
    description: The apps, as written in C(fastapi_apps).
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
apps: "{{ fastapi_apps | paddock.fastapi.app_settings }}"
"""

RETURN = r"""
_value:
  description: Settings of the apps. The sample shows some of them.
  returned: always
  type: list
  elements: dict
  sample:
    - name: shop
      domains: [shop.example.com]
      server: gunicorn
      timeout: 60
      current: /srv/shop/current
      tls: {mode: selfsigned, certificate_path: /etc/ssl/paddock/shop.crt, key_path: /etc/ssl/paddock/shop.key}
"""

import typing as t

from ansible.errors import AnsibleFilterError
from ansible_collections.paddock.fastapi.plugins.module_utils._settings import Settings, SettingsError, public, resolve
from ansible_collections.paddock.fastapi.plugins.plugin_utils._inventory import plain


def app_settings(apps: t.Any) -> list[Settings]:
    """Return the settings of apps, without what is secret."""
    try:
        return [public(app) for app in resolve(plain(apps))]
    except SettingsError as error:
        raise AnsibleFilterError(str(error)) from None


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return them by name."""
        return {"app_settings": app_settings}
