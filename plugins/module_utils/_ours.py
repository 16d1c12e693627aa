# Copyright (c) 2026, paddock.fastapi contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host has under an app's name that is somebody else's. Standard library only.

A host that was in use before may have a user, a folder, units or a site of NGINX of that name: for something else, or
for the very app that is to be moved here. Nothing of it is taken over, changed or deleted.
"""

from __future__ import annotations

import grp
import pwd
from collections.abc import Iterator
from pathlib import Path

from ansible_collections.paddock.fastapi.plugins.module_utils._audit import NAME as LOG
from ansible_collections.paddock.fastapi.plugins.module_utils._layout import App
from ansible_collections.paddock.fastapi.plugins.module_utils._systemd import UNITS

# All files that are made of templates say so in their first line.
MARK = b"(paddock.fastapi, role "
# What follows the app's name in the names of its template units.
TEMPLATE_UNITS = ("@.service", "@.socket", "-guard@.service")
# What may lie in an app's folder before its first release, and after it was removed: its data, its log, and what a disk
# of its own brings.
WITHOUT_RELEASES = {"shared", LOG, "lost+found"}


def is_ours(path: Path) -> bool:
    """Tell whether this collection wrote a file. Raises OSError if it cannot be read."""
    with path.open("rb") as file:
        return MARK in file.readline()


def taken(app: App) -> list[str]:
    """Return what bears the app's name and is somebody else's, in words for a message; nothing, if the name is free."""
    return [*_accounts(app), *_folders(app), *_units(app)]


def _accounts(app: App) -> Iterator[str]:
    try:
        home = pwd.getpwnam(app.name).pw_dir
    except KeyError:
        try:
            members = grp.getgrnam(app.name).gr_mem
        except KeyError:
            return
        # Without any, it may be of a run that was killed before it made the user.
        if members:
            yield f"a group {app.name} (with {', '.join(members)})"
        return
    if home != str(app.root):
        yield f"a user {app.name} (its home is {home})"


def _folders(app: App) -> Iterator[str]:
    if app.releases.is_dir() or not app.root.exists():
        return
    if not app.root.is_dir() or {path.name for path in app.root.iterdir()} - WITHOUT_RELEASES:
        yield str(app.root)


def _units(app: App) -> Iterator[str]:
    for path in (UNITS / f"{app.name}{suffix}" for suffix in TEMPLATE_UNITS):
        if path.exists() and not is_ours(path):
            yield str(path)
