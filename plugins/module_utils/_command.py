# Copyright (c) 2026, paddock.fastapi contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one place where programs are started on the target. Standard library only."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path


def run(
    command: Sequence[str],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: str = "",
    together: bool = False,
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end and return its exit code and what it printed. Raises OSError if it cannot be started.

    cwd, env: its folder and its environment; ours, if they are not said. together: what it prints as errors stands
    among the rest, in the order in which it came. What is not UTF-8 comes out as U+FFFD.
    """
    # ansible-core wants AnsibleModule.run_command; the functions that come here serve several modules and have none.
    return subprocess.run(  # pylint: disable=ansible-bad-function
        command,
        cwd=cwd,
        env=env,
        input=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT if together else subprocess.PIPE,
        text=True,
        errors="replace",
        check=False,
    )
