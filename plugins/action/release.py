# Copyright (c) 2026, paddock.fastapi contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Send what a release is built from, then build it."""

from __future__ import annotations

import contextlib
import json
import tempfile
import typing as t
from pathlib import Path

from ansible.plugins.action import ActionBase
from ansible_collections.paddock.fastapi.plugins.module_utils._settings import environment_file
from ansible_collections.paddock.fastapi.plugins.plugin_utils._inventory import Run, plain

REQUIREMENTS = Path(__file__).parents[2] / "roles/app/files"


class ActionModule(ActionBase):  # type: ignore[misc]
    """Send the archive, the secrets and the pinned server packages, if the host lacks the release."""

    TRANSFERS_FILES = True
    _VALID_ARGS = frozenset(
        {"app", "env", "credentials", "index_url", "extra_index_url", "uv", "cache", "lock", "lock_wait"}
    )

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Build the release of one app."""
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        # Secrets travel as files that only root can read: arguments of a module are shown with -vvv.
        secrets = {
            "environment": environment_file(plain(arguments.pop("env", None) or {})),
            "credentials_file": json.dumps(plain(arguments.pop("credentials", None) or {})),
        }
        app = plain(arguments["app"])
        if not app["built"] and not self._task.check_mode:
            arguments |= self._send(app, secrets)
        result |= self._execute_module("paddock.fastapi.release", module_args=arguments, task_vars=task_vars)
        return result

    def _send(self, app: dict[str, t.Any], secrets: dict[str, str]) -> dict[str, str]:
        folder = self._connection._shell.tmpdir or self._make_tmp_path()  # noqa: SLF001 - as core's own actions do
        wanted = ["server", "tracing"] if app["tracing"]["endpoint"] else ["server"]
        files = {f"{name}_requirements": str(REQUIREMENTS / f"{name}-requirements.txt") for name in wanted}
        files["archive"] = app["packed"]["archive"]
        with contextlib.ExitStack() as kept:
            for name, text in secrets.items():
                # Only its owner can read such a file, and no two hosts share one.
                file = kept.enter_context(tempfile.NamedTemporaryFile("w", dir=Run().folder, encoding="utf-8"))
                file.write(text)
                file.flush()
                files[name] = file.name
            return {name: self._transfer_file(local, f"{folder}/{name}") for name, local in files.items()}
