# Copyright (c) 2026, paddock.fastapi contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The instance of a release: its units, enabled, started and removed. Standard library only."""

from __future__ import annotations

import contextlib
import grp
import json
import shutil
from pathlib import Path

from ansible_collections.paddock.fastapi.plugins.module_utils._layout import App, write
from ansible_collections.paddock.fastapi.plugins.module_utils._systemd import (
    UNITS,
    SystemdError,
    nofile_of,
    show,
    systemctl,
)

DROP_IN_HEAD = "# Written by paddock.fastapi, of what lies in the release.\n[Service]\n"


def units_of(app: App, release: str) -> dict[str, str]:
    """Return the units that a release came with: contents by what follows the app's name.

    Its credentials are its instance's alone, in a drop-in: the others are the app's, and while the next release is on
    its way, an instance that crashes must come up again with credentials of its own.
    """
    kept = app.release(release) / "units"
    contents = {path.name: path.read_text(encoding="utf-8") for path in kept.iterdir()} if kept.is_dir() else {}
    if credentials := app.load_credentials(release):
        lines = "".join(f"LoadCredential={credential}\n" for credential in credentials)
        contents[f"@{release}.service.d/credentials.conf"] = DROP_IN_HEAD + lines
    return contents


class Instance:
    """The instance of one release on this host."""

    def __init__(self, app: App, release: str) -> None:
        self.app = app
        self.release = release
        self.units = [app.socket_unit(release), app.service_unit(release)]

    def write_units(self, contents: dict[str, str], *, check: bool) -> list[dict[str, str]]:
        """Write the app's template units and return the differences. contents: by what follows the app's name."""
        differences = []
        for suffix, content in sorted(contents.items()):
            path = UNITS / f"{self.app.name}{suffix}"
            before = path.read_text(encoding="utf-8") if path.exists() else ""
            if before != content:
                differences.append(
                    {"before_header": str(path), "after_header": str(path), "before": before, "after": content}
                )
                if not check:
                    path.parent.mkdir(mode=0o755, exist_ok=True)
                    write(path, content, 0o644)
        if differences and not check:
            systemctl("daemon-reload")
        return differences

    def write_files(self, files: dict[str, str], units: dict[str, str]) -> None:
        """Complete the release: its server configuration, and a copy of the units that it was started with."""
        group = grp.getgrnam(self.app.name).gr_gid
        folder = self.app.release(self.release)
        for name, content in files.items():
            write(folder / name, content, 0o750 if name == "run" else 0o640, group)
        (folder / "units").mkdir(mode=0o750, exist_ok=True)
        for suffix, content in units.items():
            write(folder / "units" / suffix, content, 0o640, group)

    def is_up(self) -> bool:
        """Tell whether starting the instance would change nothing."""
        return all(entry["ActiveState"] == "active" for entry in show(self.units, "ActiveState").values())

    def start(self) -> bool:
        """Start the instance with the units that it came with, and return whether that changed anything."""
        self._cancel_retirement()
        self.install_units(self.release)
        if self.is_up():
            return False
        self._forget_failures()
        self.forget_gate()
        systemctl("start", *self.units)
        return True

    def enable(self) -> None:
        """Have the instance come up at boot: for the live one alone, so right before it becomes that."""
        # Only what is not yet as wanted, because systemd reads all its units anew each time.
        if len(self._links()) < len(self.units):
            systemctl("enable", "--quiet", *self.units)

    def disable(self) -> None:
        """Have the instance stay down at boot. It keeps running."""
        if self._links():
            systemctl("disable", "--quiet", *self.units)

    def _links(self) -> list[Path]:
        """Return what has the instance come up at boot."""
        return [path for unit in self.units for path in UNITS.glob(f"*.wants/{unit}")]

    def _cancel_retirement(self) -> None:
        # The time of a standby instance may come at any moment, also between this start and the switch to it.
        retire = f"{self.app.name}-retire-{self.release}"
        units = [f"{retire}.timer", f"{retire}.service"]
        found = show(units, "ActiveState")
        due = [unit for unit in units if unit in found and found[unit]["ActiveState"] != "inactive"]
        if due:
            with contextlib.suppress(SystemdError):  # it may have come just now; then start() starts it again
                systemctl("stop", *due)

    def _forget_failures(self) -> None:
        failed = [unit for unit, entry in show(self.units, "ActiveState").items() if entry["ActiveState"] == "failed"]
        if failed:
            systemctl("reset-failed", *failed)

    def _processes(self) -> list[int]:
        """Return the processes that serve, which end only by a fault: the main one, and Gunicorn's workers.

        Uvicorn's are left out: with one worker, the children of the main process are the app's own.
        """
        service = self.app.service_unit(self.release)
        main = show([service], "MainPID").get(service, {}).get("MainPID") or "0"
        children = ""
        if self.app.metadata(self.release).get("server") == "gunicorn":
            with contextlib.suppress(OSError):  # it does not run
                children = Path(f"/proc/{main}/task/{main}/children").read_text(encoding="ascii")
        return [int(pid) for pid in (main, *children.split())]

    def nofile(self) -> int | None:
        """Return how many files each process that serves may really have open: the least of them, if any runs."""
        given = [nofile_of(pid) for pid in self._processes()]
        return min((number for number in given if number is not None), default=None)

    @property
    def _gated(self) -> Path:
        return self.app.release(self.release) / "gated"

    def pass_gate(self) -> None:
        """Remember the processes that passed the gate."""
        if self.release in self.app.complete():
            write(self._gated, json.dumps(self._processes()) + "\n", 0o644)

    def passed_gate(self) -> bool:
        """Tell whether it may have traffic: it passed the gate since it was started, or was live before."""
        return self._gated.exists() or self.release in self.app.marks()[0]

    def ended_since_gate(self) -> bool:
        """Tell whether one of them has ended since."""
        try:
            gated = json.loads(self._gated.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return False
        return not set(gated) <= set(self._processes())

    def forget_gate(self) -> None:
        """Once it is live, what ends is started again, and a rollback may come back to it. A start wants a new gate."""
        self._gated.unlink(missing_ok=True)

    def remove(self, *, check: bool) -> bool:
        """Stop and disable the instance and bring back the units of the live release."""
        found = show(self.units, "ActiveState", "UnitFileState")
        gone = all(
            entry["ActiveState"] == "inactive" and entry["UnitFileState"] != "enabled" for entry in found.values()
        )
        if check or gone:
            return not gone
        systemctl("disable", "--quiet", "--now", *self.units)
        self._forget_failures()
        if live := self.app.live():
            self.install_units(live)
        return True

    def install_units(self, release: str) -> None:
        """Make the template units those that a release came with: so a rollback brings back the sandbox as well."""
        self.write_units(units_of(self.app, release), check=False)

    def forget(self) -> None:
        """Delete what only this instance has beside the app's units. It does not run, and its release goes."""
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(UNITS / f"{self.app.service_unit(self.release)}.d")
