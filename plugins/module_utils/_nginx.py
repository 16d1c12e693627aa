# Copyright (c) 2026, paddock.fastapi contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""NGINX as its own program shows it. Standard library only."""

from __future__ import annotations

import contextlib
import re
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from ansible_collections.paddock.fastapi.plugins.module_utils._command import run
from ansible_collections.paddock.fastapi.plugins.module_utils._ours import is_ours
from ansible_collections.paddock.fastapi.plugins.module_utils._systemd import SystemdError, show, systemctl

NGINX = "/usr/sbin/nginx"
ROOT = Path("/etc/nginx")
# The one file that the collection replaces, whoever wrote it.
MAIN = "nginx.conf"
ERRORS = Path("/var/log/nginx/error.log")
# There while files are written that NGINX has not loaded: a run that was killed in between is made good by the next.
UNLOADED = Path("/run/paddock-nginx-unloaded")
# Seconds that NGINX has to begin anew after a reload.
RELOADING = 15
# What keeps it from going on; a worker that cannot serve a request says so in other words.
SEVERE = re.compile(r"\[emerg\] (?:\d+#\d+: )?(.*)")
# It tries five times to listen at an address that is in use, and ends with the other message.
TRYING = re.compile(r"bind\(\) to .*")


def is_foreign(path: Path) -> bool:
    """Tell whether a file is there that somebody else wrote. In a folder of the collection's own all is its own."""
    return path.is_file() and not path.is_relative_to(ROOT / "paddock") and not is_ours(path)


def check(root: Path | None = None) -> str:
    """Return what NGINX has against its configuration, or an empty text. root: a copy of it, to be read instead."""
    command = [NGINX, "-t", *(["-c", str(root / MAIN)] if root else [])]
    done = run(command)
    found = "\n".join(_severe(done.stderr)) or done.stderr.strip() or f"it ended with {done.returncode}"
    return (found.replace(str(root), str(ROOT)) if root else found) if done.returncode else ""


def rehearse(change: Callable[[Path], None]) -> str:
    """Change a copy of the configuration, and return what NGINX has against it. change: is given the copy's folder.

    The copy is read as the real one is because the files in it are included by paths that are relative to it.
    """
    with tempfile.TemporaryDirectory(prefix="paddock-nginx-") as folder:
        copy = Path(folder) / "nginx"
        shutil.copytree(ROOT, copy, symlinks=True)
        change(copy)
        return check(copy)


def reload() -> None:
    """Have NGINX load its configuration, and see that it did. Raises SystemdError.

    Its service says that all is well as soon as NGINX has been told. It may still find that it cannot listen at an
    address; then it goes on with what it has, and says so only in its log.
    """
    master = show(["nginx.service"], "MainPID")["nginx.service"]["MainPID"]
    before, logged = _workers(master), _size(ERRORS)
    systemctl("reload", "nginx.service")
    deadline = time.monotonic() + RELOADING
    while not _workers(master) - before:
        said = _severe(_read_from(ERRORS, logged))
        if time.monotonic() > deadline or not all(map(TRYING.fullmatch, said)):
            raise SystemdError("\n".join(["NGINX did not load it:", *(said or [f"see {ERRORS}"])]))
        time.sleep(0.05)


def _severe(text: str) -> list[str]:
    """Return the severe messages of a log, each once."""
    return list(dict.fromkeys(SEVERE.findall(text)))


def _workers(master: str) -> set[str]:
    with contextlib.suppress(OSError):
        return set(Path(f"/proc/{master}/task/{master}/children").read_text(encoding="ascii").split())
    return set()


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _read_from(path: Path, offset: int) -> str:
    with contextlib.suppress(OSError), path.open("rb") as file:
        file.seek(offset)
        return file.read().decode(errors="replace")
    return ""
