# Copyright (c) 2026, paddock.fastapi contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Show what was found on all hosts: as lines, or in a file."""

from __future__ import annotations

import contextlib
import json
import os
import stat
import tempfile
import typing as t
from pathlib import Path

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.paddock.fastapi.plugins.plugin_utils._inventory import registered
from ansible_collections.paddock.fastapi.plugins.plugin_utils._page import page
from ansible_collections.paddock.fastapi.plugins.plugin_utils._report import LEVELS, fleet, summary, table, unwell

FORMATS = ["table", "json", "html"]
# A page is for a browser, not for a terminal, so it is a file in any case.
PAGE = "status.html"


class ActionModule(ActionBase):  # type: ignore[misc]
    """Judge and show; nothing is sent anywhere."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _VALID_ARGS = frozenset({"hosts", "format", "output", "fail_on", "certificate_days"})

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Return the worst level."""
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        _checked, wanted = self.validate_argument_spec(
            argument_spec={
                "hosts": {"type": "list", "elements": "str", "required": True},
                "format": {"type": "str", "choices": FORMATS, "default": "table"},
                "output": {"type": "path"},
                "fail_on": {"type": "str", "choices": [*LEVELS[1:], "never"], "default": "critical"},
                "certificate_days": {"type": "int", "default": 14},
            }
        )
        hostvars = (task_vars or {})["hostvars"]
        found = {host: registered(hostvars[host], "status_found") for host in wanted["hosts"]}
        files = {host: registered(hostvars[host], "nginx_expected") for host in wanted["hosts"]}
        document = fleet(found, files, wanted["certificate_days"])
        output = wanted["output"] or (PAGE if wanted["format"] == "html" else None)
        lines = _lines(document, wanted["format"])
        if output:
            _write(Path(output), "\n".join(lines) + "\n")
            if wanted["format"] == "html":
                Display().display(f"The page is {Path(output).absolute()}")
        else:
            # Lines as they are, in every version of Ansible: the default callback would show a result quoted.
            for line in lines:
                Display().display(line)
        result |= {"changed": False, "level": document["level"]}
        least = wanted["fail_on"]
        if least != "never" and (names := unwell(document, least)):
            told = f"{summary(document)}; not well: {', '.join(names)} (-e fail_on={least})"
            result |= {"failed": True, "msg": told}
        return result


def _lines(document: dict[str, t.Any], wanted: str) -> list[str]:
    if wanted == "html":
        return page(document).rstrip("\n").split("\n")
    return table(document) if wanted == "table" else json.dumps(document, indent=2).splitlines()


def _write(path: Path, text: str) -> None:
    """Put a file in place, whole or not at all.

    What runs where, and what is wrong with it, is worth something to an attacker, so it is for the caller's eyes alone.
    Who shows it to others says so once, by chmod: a file that is there keeps its mode.
    """
    try:
        handle, beside = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            # A host may say what is no text at all.
            with os.fdopen(handle, "w", encoding="utf-8", errors="replace") as file:
                file.write(text)
            with contextlib.suppress(FileNotFoundError):
                Path(beside).chmod(stat.S_IMODE(path.stat().st_mode))
            Path(beside).replace(path)
        finally:
            Path(beside).unlink(missing_ok=True)
    except OSError as error:
        raise AnsibleActionFail(f"-e output={path}: it cannot be written: {error.strerror}") from None
