# Copyright (c) 2026, paddock.fastapi contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter app_users."""

from __future__ import annotations

DOCUMENTATION = r"""
name: app_users
short_description: What NGINX reads the users of the apps of a host from
version_added: 0.1.0
author: paddock.fastapi contributors
description:
  - Returns the files in which NGINX looks up the users of apps and paths, with hashed passwords, as the option C(users)
    has them.
  - The settings that P(paddock.fastapi.app_settings#filter) returns only name these files, because they are secret.
positional: _input
options:
  _input:
    description: The apps, as written in C(fastapi_apps).
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
secret: "{{ fastapi_apps | paddock.fastapi.app_users }}"
"""

RETURN = r"""
_value:
  description: Contents by path.
  returned: always
  type: dict
  sample:
    /etc/nginx/paddock/shop.users: "alice:$6$saltsaltsalt$..."
"""

import typing as t

from ansible.errors import AnsibleFilterError
from ansible_collections.paddock.fastapi.plugins.module_utils._settings import SettingsError, resolve, users_files
from ansible_collections.paddock.fastapi.plugins.plugin_utils._inventory import plain


def app_users(apps: t.Any) -> dict[str, str]:
    """Return the files of users of all apps, contents by path."""
    try:
        return {path: text for app in resolve(plain(apps)) for path, text in users_files(app).items()}
    except SettingsError as error:
        raise AnsibleFilterError(str(error)) from None


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return them by name."""
        return {"app_users": app_users}
